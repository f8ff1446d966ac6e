"""The leaderboard: rows in order, floors among them, and names from strangers kept inert."""

from __future__ import annotations

import datetime
import gzip
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from llm4rec_bench import BenchError, CardRefused, Score, Task, read_run, score
from llm4rec_bench.leaderboard import (
    SCORES,
    Entry,
    Repetition,
    Reproduced,
    escaped,
    read_changes,
    read_entries,
    save_scores,
    tables,
)
from llm4rec_bench.leaderboard import leaderboard as page_of
from llm4rec_bench.scoring import Latency, Tokens
from llm4rec_bench.statistics import Interval, Percentile
from llm4rec_bench.submission import Card
from tests.conftest import ROOT
from tests.scoring.test_score import random_rows, write_run

CARD = {
    "name": "a-name", "title": "A title", "authors": ["Somebody"], "licence": "MIT",
    "description": "What it does.", "tasks": ["toy-v1"],
    "hardware": "a machine", "command": "make run",
}  # fmt: skip

HOSTILE = [
    "a | b || c",
    "![image](https://evil.example/x.png)",
    "[link](https://evil.example)",
    "[link]: https://evil.example",
    "<https://evil.example>",
    "https://evil.example/path",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<!-- comment",
    "--> <b>bold</b>",
    "`code` and ``more``",
    "*emphasis* __strong__ ~~gone~~",
    "&lt;b&gt; &#60;b&#62; &amp;",
    "\\| \\` \\[a](b)",
    "# heading",
    "- item",
    "> quote",
    "$x^2$ $$y$$",
    "=HYPERLINK(1)",
    "+1+1",
    "@everyone #1",
    "](submissions/other) | 1.0000 | [",
    "a\u200bb\u200dc\ufeffd",
    "\u202eright to left\u202c",
    "\u2028line\u2029paragraph",
    "Ünïcödé 電影 🎬",
]
"""One line each, as a card may hold them."""


@pytest.fixture(scope="module")
def base(toy: Task, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Score]:
    """A score for each track."""
    folder = tmp_path_factory.mktemp("runs")
    paths = {
        track: write_run(folder / f"{track}.jsonl", toy, track, random_rows(toy, track))
        for track in toy.recipe.tracks
    }
    found = {track: score(read_run(path, toy)) for track, path in paths.items()}
    RUNS.update({found[track].run_digest: path for track, path in paths.items()})
    return found


RUNS: dict[str, Path] = {}
"""The run file of each score in `base`, by digest."""


def entry(found: Score, value: float | None = None, **card: Any) -> Entry:
    """An entry whose card differs from the plain one, with another value to sort by."""
    if value is not None:
        first = next(iter(found.metrics))
        metrics = found.metrics | {first: Interval(value, value - 0.1, value + 0.1)}
        found = msgspec.structs.replace(found, metrics=metrics)
    return Entry(msgspec.convert(CARD | card, Card), found)


def leaderboard(entries: list[Entry]) -> str:
    """The page of some entries, at the board's first version."""
    return page_of(tables(entries), read_changes(ROOT / "tests"))


def tokens(page: str) -> list[Token]:
    """All tokens of a page, read as GitHub reads it: CommonMark with tables."""
    parsed = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(page)
    return [token for block in parsed for token in [block, *(block.children or [])]]


def cells(page: str) -> list[list[str]]:
    """The text of each row of all tables, as a reader sees it."""
    rows: list[list[str]] = []
    parsed = MarkdownIt("commonmark").enable("table").parse(page)
    inside = False
    for token in parsed:
        inside = token.type in {"td_open", "th_open"} or (inside and token.type == "inline")
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and inside:
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def plain(text: str) -> str:
    """What a reader sees: one line, without what does not print."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_read_as_the_text_it_is(base: dict[str, Score], text: str) -> None:
    page = leaderboard([entry(base["ranking"], title=text, hardware=text)])
    harmless = leaderboard([entry(base["ranking"])])
    kinds = [token.type for token in tokens(page)]
    assert kinds == [token.type for token in tokens(harmless)]
    links = [token.attrs["href"] for token in tokens(page) if token.type == "link_open"]
    assert links == ["tasks/toy-v1/README.md", "submissions/a-name"]
    (row,) = [row for row in cells(page) if plain(row[1]) == plain(text)]
    assert (len(row), plain(row[-2])) == (17, plain(text))


@pytest.mark.parametrize("text", ["a\nb", "a\n\n# heading", "a\r\n| b |", "\t a \v b \x85 c"])
def test_escaped_text_has_one_line(text: str) -> None:
    assert len(escaped(text).splitlines()) == 1
    assert not set(escaped(text)) & set("|\t\v\x85")
    (inline,) = [token for token in tokens(escaped(text)) if token.type == "inline"]
    assert "".join(child.content for child in inline.children or []) == plain(text)


@pytest.mark.parametrize("field", ["title", "hardware"])
@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "\x9b31m", "\x00", "bell\a", "\x85", ""])
def test_a_card_with_control_characters_is_refused(
    tmp_path: Path, base: dict[str, Score], field: str, text: str
) -> None:
    folder = submission(tmp_path, [base["ranking"]], **{field: text})
    with pytest.raises(CardRefused, match=re.escape(f"{folder / 'submission.toml'}: ")) as refused:
        read_entries(tmp_path)
    assert field in str(refused.value)


@pytest.mark.parametrize("text", ["www.evil.example", "see WWW.evil.example/x?y=z"])
def test_github_finds_no_address_to_link_by_itself(text: str) -> None:
    # Its extended autolinks begin at a bare `www.` in the source, with no mark of Markdown's.
    assert "www." not in escaped(text).lower()


def test_github_finds_no_mail_to_link_by_itself() -> None:
    # It looks for these after entities are read, so something must stand beside the sign.
    assert not re.search(r"[\w.+-](@|&#64;)\w", escaped("somebody@evil.example"))


def submission(submissions: Path, scores: list[Score], folder: str = "a-name", **card: Any) -> Path:
    """A folder with a card and its saved scores."""
    place = submissions / folder
    place.mkdir(parents=True, exist_ok=True)
    fields = CARD | {"name": folder} | card
    lines = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in fields.items()]
    (place / "submission.toml").write_text("\n".join(lines), "utf-8")
    for found in scores:
        shutil.copy(RUNS[found.run_digest], place / f"{found.task}.{found.track}.jsonl")
    save_scores(place, scores)
    return place


def test_rows_are_sorted_with_the_floors_in_their_places(base: dict[str, Score]) -> None:
    found = base["ranking"]
    floors = {
        "ceiling": found.floors.ceiling, "popularity": found.floors.popularity,
        "as given": found.floors.as_given, "random": found.floors.random,
    }  # fmt: skip
    page = leaderboard([
        entry(found, 0.2, name="low", title="Low"),
        entry(found, 0.95, name="high", title="High"),
        entry(found, 0.3, name="middle", title="Middle"),
    ])  # fmt: skip
    head, *rows = cells(page)
    assert head == [
        "rank",
        "system",
        "reads",
        *found.metrics,
        "order",
        "valid",
        "p50 ms",
        "p95 ms",
        "tokens",
        "cost",
        "exposure",
        "hardware",
        "run",
    ]
    values = [float(row[3].split()[0]) for row in rows]
    assert values == sorted(values, reverse=True)
    names = [row[1] for row in rows]
    assert sorted(names) == sorted(["High", "Middle", "Low", *floors])
    assert [name for name in names if name not in floors] == ["High", "Middle", "Low"]
    for row in rows:
        if row[1] in floors:
            expected = [f"{floors[row[1]][metric]:.4f}" for metric in found.metrics]
            assert [row[0], *row[2:]] == ["", "", *expected, *[""] * 9]


def test_a_row_shows_value_deviation_interval_and_latency(base: dict[str, Score]) -> None:
    metrics = dict.fromkeys(base["ranking"].metrics, Interval(0.12345, 0.1, 0.2, 0.01234))
    found = msgspec.structs.replace(
        base["ranking"],
        metrics=metrics,
        latency=Latency(300, 5.0, {"p50": Percentile(1.234, 1.0, 2.0)}, 200.0),
        tokens={
            kind: Tokens(300, mean)
            for kind, mean in (("prompt", 1200.4), ("completion", 30.0), ("cached", 900.0))
        },
    )
    (row,) = [row for row in cells(leaderboard([entry(found)])) if row[1] == "A title"]
    share = f"{found.validity.valid_share:.1%}"
    value = "0.1235 ±0.0123 (0.1000–0.2000)"
    places = [by_place.value for by_place in found.order.by_place.values()]
    order = f"{min(places):.3f}–{max(places):.3f}"
    digest = found.run_digest[7:19]
    assert f"300 requests; digest `{found.track_digest}`." in leaderboard([entry(found)])
    assert row[2:] == [
        "ids",
        *[value] * 5,
        order,
        share,
        "1.23",
        "–",
        "1,230",
        "–",
        "–",
        "a machine",
        digest,
    ]


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.5, "0.200–0.400"),
        (0.0011, "0.200–0.400"),
        (0.0009, "**0.200–0.400**"),
        (None, "0.200–0.400"),
    ],
)
def test_what_the_place_of_the_target_does_is_shown(
    base: dict[str, Score], p: float | None, shown: str
) -> None:
    by_place = {
        name: msgspec.structs.replace(place, value=value)
        for (name, place), value in zip(
            base["ranking"].order.by_place.items(), (0.4, 0.3, 0.2, 0.25), strict=True
        )
    }
    order = msgspec.structs.replace(base["ranking"].order, by_place=by_place, p=p)
    page = leaderboard([entry(msgspec.structs.replace(base["ranking"], order=order))])
    assert f" | {shown} | " in page
    without = leaderboard([entry(base["retrieval"])])
    assert " order |" not in without


def test_what_few_rows_state_is_marked(base: dict[str, Score]) -> None:
    found = msgspec.structs.replace(
        base["ranking"],
        latency=Latency(150, 5.0, {"p50": Percentile(1.234, 1.0, 2.0)}, 200.0),
        tokens={"prompt": Tokens(300, 1200.4), "completion": Tokens(3, 30.0)},
    )
    (row,) = [row for row in cells(leaderboard([entry(found)])) if row[1] == "A title"]
    assert row[10:13] == ["1.23 (of 50.0%)", "–", "1,230 (of 1.0%)"]


@pytest.mark.parametrize(
    ("reads", "shown"),
    [
        ([], "ids"),
        (["title"], "title"),
        (["metadata"], "metadata"),
        (["wikipedia", "title"], "title + wikipedia"),
        (["wikipedia", "metadata", "title"], "title + metadata + wikipedia"),
    ],
)
def test_a_row_says_what_the_method_reads(
    base: dict[str, Score], reads: list[str], shown: str
) -> None:
    for track, found in base.items():
        page = leaderboard([entry(found, reads=reads), entry(found, title="Other")])
        assert {row[1]: row[2] for row in cells(page) if row[0] not in {"", "rank"}} == {
            "A title": shown,
            "Other": "ids",
        }, track


def test_entries_that_rank_alike_are_told(base: dict[str, Score]) -> None:
    one = base["ranking"]
    repeated = msgspec.structs.replace(one, top_digests=["sha256:x", *one.top_digests])
    page = leaderboard([entry(one, title="One"), entry(repeated, title="Two")])
    assert page.count("same-rankings") == 2
    nothing = msgspec.structs.replace(
        one, validity=msgspec.structs.replace(one.validity, items_per_row=0.0)
    )
    assert "same-rankings" not in leaderboard([entry(nothing), entry(nothing)])


def test_only_pools_that_are_drawn_are_labelled_as_sampled_metrics(base: dict[str, Score]) -> None:
    parts = leaderboard([entry(found) for found in base.values()]).split("\n### ")[1:]
    assert [part.splitlines()[0] for part in parts] == [
        "retrieval", "ranking", "ranking-popular", "reranking",
    ]  # fmt: skip
    assert ["sampled metric" in part for part in parts] == [False, True, True, False]
    assert ["*as given* is the first stage" in " ".join(part.split()) for part in parts] == [
        False, False, False, True,
    ]  # fmt: skip
    inside = ["inside this task version" in " ".join(part.split()) for part in parts]
    assert inside == [False, True, True, True]


def test_the_toy_task_stands_last_and_tasks_in_order(base: dict[str, Score]) -> None:
    found = base["retrieval"]
    entries = [
        entry(msgspec.structs.replace(found, task=task))
        for task in ("toy-v1", "shakespeare-v1", "ml-100k-v1")
    ]
    heads = re.findall(r"^## (.*)$", leaderboard(entries), re.MULTILINE)
    assert heads[-1] == "Changes"
    assert heads[:-1] == [
        f"[{task}](tasks/{task}/README.md)" for task in ("ml-100k-v1", "shakespeare-v1", "toy-v1")
    ]


def test_validation_scores_are_not_on_the_board(base: dict[str, Score]) -> None:
    found = msgspec.structs.replace(base["retrieval"], split="validation")
    assert leaderboard([entry(found, title="Peeked")]) == leaderboard([])


def test_the_page_does_not_depend_on_the_order_of_entries(base: dict[str, Score]) -> None:
    entries = [entry(found, title=title) for found in base.values() for title in ("One", "Two")]
    assert leaderboard(entries) == leaderboard(entries[::-1])


def test_entries_are_read_back_as_they_were_saved(tmp_path: Path, base: dict[str, Score]) -> None:
    submission(tmp_path, list(base.values()), "second")
    submission(tmp_path, [base["ranking"]], "first")
    (tmp_path / "notes.txt").touch()
    found = [(entry.card.name, entry.score) for entry in read_entries(tmp_path)]
    by_track = sorted(base.values(), key=lambda score: score.track)
    assert found == [("first", base["ranking"]), *(("second", score) for score in by_track)]


def test_a_folder_without_a_card_is_not_silently_left_out(
    tmp_path: Path, base: dict[str, Score]
) -> None:
    submission(tmp_path, [base["ranking"]])
    (tmp_path / "a-name" / "submission.toml").unlink()
    with pytest.raises(CardRefused, match=r"a-name/submission\.toml: No such file"):
        read_entries(tmp_path)


def test_a_card_names_the_tasks_it_is_entered_on(tmp_path: Path, base: dict[str, Score]) -> None:
    submission(tmp_path, [base["ranking"]], tasks=["ml-100k-v1"])
    with pytest.raises(CardRefused, match="tasks does not name toy-v1"):
        read_entries(tmp_path)


def test_a_card_must_bear_the_name_of_its_folder(tmp_path: Path, base: dict[str, Score]) -> None:
    submission(tmp_path, [base["ranking"]], "mine", name="theirs")
    with pytest.raises(CardRefused, match="name 'theirs' is not the folder's name"):
        read_entries(tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", "a b", "a](x)", "A", "", "-a", "a\n"])
def test_a_name_that_is_no_folder_name_is_refused(
    tmp_path: Path, base: dict[str, Score], name: str
) -> None:
    submission(tmp_path, [base["ranking"]], "mine", name=name)
    with pytest.raises(CardRefused, match=r"submission\.toml: .*name"):
        read_entries(tmp_path)


def test_missing_scores_say_which_command_makes_them(
    tmp_path: Path, base: dict[str, Score]
) -> None:
    folder = submission(tmp_path, [base["ranking"]])
    (folder / SCORES).unlink()
    with pytest.raises(CardRefused) as refused:
        read_entries(tmp_path)
    assert str(refused.value) == (
        f"{folder / SCORES}: No such file or directory; run: llm4rec-bench score {folder} --save"
    )


def _set(where: list[str | int], value: object) -> Any:
    def edit(saved: Any) -> Any:
        inner = saved
        for step in where[:-1]:
            inner = inner[step]
        inner[where[-1]] = value
        return saved

    return edit


def _drop(where: list[str | int]) -> Any:
    def edit(saved: Any) -> Any:
        inner = saved
        for step in where[:-1]:
            inner = inner[step]
        del inner[where[-1]]
        return saved

    return edit


EDITS = {
    "unknown field of the file": _set(["note"], "hello"),
    "unknown field of a score": _set(["scores", 0, "bonus"], 1),
    "unknown field of a value": _set(["scores", 0, "metrics", "ndcg@10", "bonus"], 1),
    "unknown field of the floors": _set(["scores", 0, "floors", "bonus"], {}),
    "unknown field of a slice": _set(["scores", 0, "slices", "tied", "bonus"], 1),
    "value of another type": _set(["scores", 0, "metrics", "ndcg@10", "value"], "1.0"),
    "null value": _set(["scores", 0, "metrics", "ndcg@10", "value"], None),
    "missing field": _drop(["scores", 0, "run_digest"]),
    "missing metric": _drop(["scores", 0, "metrics", "recall@10"]),
    "no metrics": _set(["scores", 0, "metrics"], {}),
    "a metric nobody defined": _set(
        ["scores", 0, "metrics", "[x](y)"],
        {"value": 0.5, "low": 0.4, "high": 0.6, "std_between_runs": None},
    ),
    "missing floor": _drop(["scores", 0, "floors", "random", "recall@10"]),
    "another format": _set(["format"], "llm4rec-bench/999"),
    "another version of the scorer": _set(["scores", 0, "scorer"], "0"),
    "another version of the task": _set(["scores", 0, "track_digest"], "sha256:" + "0" * 64),
    "another run": _set(["scores", 0, "run_digest"], "sha256:" + "0" * 64),
    "another track": _set(["scores", 0, "track"], "ranking-popular"),
    "an unknown task": _set(["scores", 0, "task"], "toy-v2"),
    "the same score twice": lambda saved: {**saved, "scores": saved["scores"] * 2},
    "no score of a run": _set(["scores"], []),
    "ranks of other requests": _set(["scores", 0, "ranks"], "eJxjAAAAAQAB"),
    "ranks that are no ranks": _set(["scores", 0, "ranks"], "???"),
    "not a list": _set(["scores"], {}),
    "not an object": lambda saved: [saved],
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_scores_that_the_scorer_did_not_write_are_refused(
    tmp_path: Path, base: dict[str, Score], edit: Any
) -> None:
    other = submission(tmp_path, [base["ranking"]], "other")
    folder = submission(tmp_path, [base["ranking"]])
    saved = edit(msgspec.json.decode((folder / SCORES).read_bytes()))
    (folder / SCORES).write_bytes(msgspec.json.encode(saved))
    with pytest.raises(CardRefused) as refused:
        leaderboard(read_entries(tmp_path))
    assert str(folder / SCORES) in str(refused.value)
    assert f"run: llm4rec-bench score {folder} --save" in str(refused.value)
    assert str(other) not in str(refused.value)


def test_scores_without_their_runs_are_refused(tmp_path: Path, base: dict[str, Score]) -> None:
    folder = submission(tmp_path, [base["ranking"]])
    (folder / "toy-v1.ranking.jsonl").unlink()
    with pytest.raises(CardRefused, match="belongs to no run file"):
        read_entries(tmp_path)


def test_runs_are_known_by_what_they_hold_unpacked(tmp_path: Path, base: dict[str, Score]) -> None:
    folder = submission(tmp_path, [base["ranking"]])
    plain = folder / "toy-v1.ranking.jsonl"
    (folder / "toy-v1.ranking.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert [entry.score for entry in read_entries(tmp_path)] == [base["ranking"]]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_scores_are_refused(tmp_path: Path, base: dict[str, Score], content: bytes) -> None:
    folder = submission(tmp_path, [base["ranking"]])
    (folder / SCORES).write_bytes(content)
    with pytest.raises(CardRefused, match=r"scores\.json: .*--save"):
        read_entries(tmp_path)


def test_saving_is_stable(tmp_path: Path, base: dict[str, Score]) -> None:
    save_scores(tmp_path, base.values())
    first = (tmp_path / SCORES).read_bytes()
    save_scores(tmp_path, [base[track] for track in sorted(base)])
    assert (tmp_path / SCORES).read_bytes() == first
    assert first.endswith(b"}\n")
    assert [path.name for path in tmp_path.iterdir()] == [SCORES]


def test_saving_is_all_or_nothing(
    tmp_path: Path, base: dict[str, Score], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_scores(tmp_path, base.values())
    before = (tmp_path / SCORES).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.replace", full)
        with pytest.raises(OSError, match="No space"):
            save_scores(tmp_path, [base["ranking"]])
    assert (tmp_path / SCORES).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [SCORES]


PRICES = {
    "date": datetime.date(2026, 11, 20), "currency": "USD", "source": "a page",
    "prompt": 1.0, "completion": 10.0,
}  # fmt: skip


def test_a_row_says_what_a_run_cost_and_what_its_models_may_have_seen(
    base: dict[str, Score],
) -> None:
    """(2,000 x 1 + 100 x 10) / 1e6 a request, a thousand times: 3 dollars."""
    rows = base["ranking"].validity.statuses
    known = sum(rows.values())
    tokens = {"prompt": Tokens(known, 2000.0), "completion": Tokens(known, 100.0)}
    found = msgspec.structs.replace(base["ranking"], tokens=tokens)
    model = {"name": "a/b", "revision": "c"}
    page = leaderboard([
        entry(found, title="Dear", prices=PRICES, models=[model], exposure="possible"),
        entry(base["ranking"], name="cheap", title="Silent", prices=PRICES),
        entry(found, name="free", title="Free"),
    ])  # fmt: skip
    shown = {row[1]: row[-4:-2] for row in cells(page)}
    assert shown["Dear"] == ["3.00 USD (2026-11-20)", "possible"]
    assert shown["Silent"] == ["–", "–"]
    assert shown["Free"] == ["–", "–"]
    few = {"prompt": Tokens(known, 2000.0)}
    page = leaderboard(
        [entry(msgspec.structs.replace(found, tokens=few), title="Dear", prices=PRICES)]
    )
    assert [row[-4] for row in cells(page) if row[1] == "Dear"] == ["≥ 2.00 USD (2026-11-20)"]


def test_a_card_with_models_says_whether_they_have_seen_the_data(base: dict[str, Score]) -> None:
    with pytest.raises(msgspec.ValidationError, match="exposure: is missing"):
        entry(base["ranking"], models=[{"name": "a/b", "revision": "c"}])


def repetition(found: Score, **how: Any) -> Repetition:
    given: dict[str, Any] = {
        "run_digest": found.run_digest, "how": "run", "same": 1.0, "difference": 0.0,
        "low": 0.0, "high": 0.0, "date": datetime.date(2026, 11, 20),
        "card": entry(found).card.fingerprint(found.task, found.track),
    }  # fmt: skip
    return Repetition(**(given | how))


@pytest.mark.parametrize(
    ("how", "marked"),
    [
        ({}, True),
        ({"same": 0.4, "difference": -0.01, "low": -0.03, "high": 0.01}, True),
        ({"same": 0.4, "difference": -0.05, "low": -0.08, "high": -0.02}, False),
        ({"run_digest": "sha256:another"}, False),
        ({"how": "replay"}, False),
        ({"card": "sha256:another"}, False),
    ],
)
def test_a_run_that_was_made_again_is_marked(
    base: dict[str, Score], how: dict[str, Any], marked: bool
) -> None:
    found = base["ranking"]
    noted = Reproduced(runs={"a-name/toy-v1.ranking": repetition(found, **how)})
    page = page_of(tables([entry(found)], noted), read_changes(ROOT / "tests"))
    assert ("submissions/a-name) ✓ |" in page) == marked


def test_a_superseded_task_stays_at_the_end_and_says_so(
    base: dict[str, Score], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("llm4rec_bench.leaderboard.board")
    real = module.read_recipe
    old = lambda folder: msgspec.structs.replace(  # noqa: E731
        real(folder), lifecycle="superseded" if folder.name == "ml-100k-v1" else "current"
    )
    monkeypatch.setattr(module, "read_recipe", old)
    found = base["retrieval"]
    page = leaderboard([
        entry(msgspec.structs.replace(found, task=task)) for task in ("ml-100k-v1", "toy-v1")
    ])  # fmt: skip
    heads = re.findall(r"^## \[(.*?)\]", page, re.MULTILINE)
    assert heads == ["toy-v1", "ml-100k-v1"]
    assert page.count("is superseded: a newer one has taken its place") == 1


def test_the_board_has_a_version_and_says_why_it_changed(
    base: dict[str, Score], tmp_path: Path
) -> None:
    (tmp_path / "changes.toml").write_text(
        '[[change]]\nversion = 2\ndate = 2026-12-01\nwhat = "Scorer 2: | ties"\n'
        '[[change]]\nversion = 1\ndate = 2026-11-01\nwhat = "First"\n'
    )
    page = page_of(tables([entry(base["ranking"])]), read_changes(tmp_path))
    assert "Version 2 of 2026-12-01 · scorer version 1 · 1 systems · 1 entries" in page
    assert "* **2** (2026-12-01): Scorer 2&#58; &#124; ties\n* **1** (2026-11-01): First" in page
    (tmp_path / "changes.toml").write_text(
        '[[change]]\nversion = 3\ndate = 2026-11-01\nwhat = ""\n'
    )
    with pytest.raises(BenchError, match="expected them newest first, down to 1"):
        read_changes(tmp_path)


def test_a_card_may_run_more_often_on_one_task() -> None:
    card = msgspec.convert(CARD | {"runs": 1, "on": {"toy-v1/ranking": {"runs": 3}}}, Card)
    assert (card.runs_on("toy-v1", "ranking"), card.runs_on("toy-v1", "retrieval")) == (3, 1)
    other = msgspec.convert(CARD, Card)
    assert card.fingerprint("toy-v1", "ranking") != other.fingerprint("toy-v1", "ranking")
    assert card.fingerprint("toy-v1", "retrieval") == other.fingerprint("toy-v1", "retrieval")


@pytest.mark.parametrize("mark", "✓✔✅☑")
def test_no_title_bears_the_mark_of_the_maintainers(tmp_path: Path, mark: str) -> None:
    place = submission(tmp_path, [], title=f"Forged {mark}")
    with pytest.raises(CardRefused, match=r"title: expected one line .* without the check mark"):
        read_entries(place.parent)
