"""The pages: what stands on them, that it is text and nothing else, and that all links lead on."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import unquote

import msgspec
import pytest

from llm4rec_bench import Task
from llm4rec_bench.compare import SIGNIFICANT
from llm4rec_bench.files import replace_text
from llm4rec_bench.leaderboard import board
from llm4rec_bench.site.build import POLICY, pages
from llm4rec_bench.site.text import is_web, plain
from llm4rec_bench.submission import read_card
from tests.site.conftest import TEXTS, Runs, Site, hostile_card, with_titles

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Page(HTMLParser):
    """A page as a browser without scripts reads it."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._within = ""
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts.append(data)
        elif data.strip():
            self.texts.append(" ".join(data.split()))

    def comments(self) -> int:
        return self.rawdata.count("<!--")

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def ids(self) -> list[str]:
        return [by["id"] or "" for _, by in self.tags if "id" in by]


def html(site: Site) -> dict[str, Page]:
    return {name: Page(data) for name, data in site.items() if name.endswith(".html")}


def test_a_site_has_a_page_for_each_board_entry_and_task(harmless: Site) -> None:
    names = {name for name in harmless if not name.startswith(("assets/", "tasks/"))}
    entries = {f"entries/entry-{number:02}.html" for number in range(len(TEXTS))}
    assert names == {"index.html", "compare.html", "boards/toy-v1.html", *entries}
    assert "tasks/toy-v1.html" in harmless


def test_every_page_has_landmarks_a_policy_and_one_heading(harmless: Site) -> None:
    for name, page in html(harmless).items():
        assert [by.get("lang") for by in page.of("html")] == ["en"], name
        assert [len(page.of(tag)) for tag in ("main", "nav", "footer", "h1")] == [1] * 4
        policies = [
            by["content"] for by in page.of("meta") if "Content-Security-Policy" in by.values()
        ]
        assert policies == [POLICY], name
        assert len(set(page.ids)) == len(page.ids), name
        assert len(page.of("table")) == len(page.of("caption")), name
        heads = [by for by in page.of("th") if by.get("scope") not in {"col", "row", "rowgroup"}]
        assert not heads, name
        labelled = [by for by in page.of("input") + page.of("select") if not by.get("id")]
        assert all("data-facet" in by for by in labelled), name
    assert "'unsafe" not in POLICY


def test_nothing_is_styled_or_scripted_within_a_page(hostile: Site) -> None:
    for name, page in html(hostile).items():
        for tag, attributes in page.tags:
            assert tag != "style", name
            assert not [by for by in attributes if by == "style" or by.startswith("on")], name
        for by in page.of("script"):
            assert "src" in by or by.get("type") == "application/json", name


def test_all_links_lead_somewhere(hostile: Site) -> None:
    read = html(hostile)
    for name, page in read.items():
        for tag, attributes in page.tags:
            for kind in ("href", "src"):
                target = attributes.get(kind)
                if target is None:
                    continue
                if tag == "a" and target.startswith("https://"):
                    assert attributes.get("rel") == "noopener nofollow ugc", (name, target)
                    continue
                path, _, part = target.partition("#")
                place = name if not path else _joined(name, unquote(path))
                assert place in hostile, (name, target)
                if part and place.endswith(".html") and "=" not in part:
                    assert part in read[place].ids, (name, target)


def _joined(page: str, path: str) -> str:
    parts: list[str] = []
    for part in (PurePosixPath(page).parent / path).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def test_no_file_fetches_from_another_place(hostile: Site) -> None:
    for name, page in html(hostile).items():
        for tag, attributes in page.tags:
            if tag != "a":
                fetched = [attributes.get(kind) or "" for kind in ("href", "src", "data", "action")]
                assert not [by for by in fetched if ":" in by or by.startswith("//")], name
    css = hostile["assets/site.css"].decode()
    assert "url(" not in css and "@import" not in css
    for name in ("site.js", "compare.js"):
        text = hostile[f"assets/{name}"].decode().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text and "innerHTML" not in text and "eval" not in text


def shape(page: Page) -> list[str]:
    """Its elements, but for names in a plot, which stand only where they fit."""
    return [tag for tag, _ in page.tags if tag != "text"]


def test_what_strangers_wrote_makes_no_element(hostile: Site, harmless: Site) -> None:
    assert hostile.keys() == harmless.keys()
    for name, page in html(hostile).items():
        other = Page(harmless[name])
        if name.startswith(("entries/", "boards/", "compare")):
            assert shape(page) == shape(other), name
        else:
            assert sorted(shape(page)) == sorted(shape(other)), name
        assert page.comments() == 0, name


def test_what_strangers_wrote_is_read_as_it_stands(hostile: Site) -> None:
    for number, text in enumerate(TEXTS):
        page = Page(hostile[f"entries/entry-{number:02}.html"])
        seen = " ".join(plain(text).split())
        joined = " ".join(page.texts)
        # Title, heading, two authors, two paragraphs and more.
        assert joined.count(seen) >= 9, text
    board_page = " ".join(Page(hostile["boards/toy-v1.html"]).texts)
    assert all(" ".join(plain(text).split()) in board_page for text in TEXTS)


def test_no_page_holds_what_does_not_print(hostile: Site) -> None:
    for name, data in hostile.items():
        if name.endswith(".html"):
            found = {char for char in data.decode() if not char.isprintable()} - {"\n"}
            assert not found, name


def test_data_for_scripts_is_read_back_and_ends_no_script(hostile: Site) -> None:
    for other in html(hostile).values():
        for text in other.scripts:
            json.loads(text)
            assert not set(text) & set("<>&"), text


def test_the_comparison_is_given_every_name_as_text(hostile: Site) -> None:
    page = Page(hostile["compare.html"])
    data = next(json.loads(text) for text in page.scripts if '"systems"' in text)
    assert [title for title, _ in data["systems"].values()] == [plain(text) for text in TEXTS]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://example.org/a?b=c", True),
        ("http://example.org", False),
        ("javascript:alert(1)", False),
        ("https://example.org/a b", False),
        ("https://example.org/\u202e", False),
        (" https://example.org", False),
        ("https://example.org\n", False),
        ("//example.org", False),
    ],
)
def test_only_plain_https_is_linked(address: str, allowed: bool) -> None:
    assert is_web(address) is allowed


def test_the_same_entries_give_the_same_bytes(runs: Runs, toy: Task, tmp_path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
    for name in ("first", "second"):
        runs.enter(tmp_path / "one", name)
    for name in ("second", "first"):
        runs.enter(tmp_path / "two", name)
    made = [
        pages(board(tmp_path / place), tmp_path / place, lambda _: toy) for place in ("one", "two")
    ]
    assert made[0] == made[1]


def rows(page: Page, data: bytes) -> list[str]:
    return re.findall(r"<tr data-f.*?(?=<tr|</tbody>)", data.decode(), re.S)


def test_a_board_shows_rows_with_references_among_them(harmless: Site, runs: Runs) -> None:
    text = harmless["boards/toy-v1.html"].decode()
    for track, found in runs.scores.items():
        part = text[text.index(f'<h2 id="{track}">') :].partition("</table>")[0]
        by = found.metrics["ndcg@10"]
        shown = f"<td>{by.value:.4f}<small>{by.low:.4f}–{by.high:.4f}</small>"
        assert part.count(shown) == len(TEXTS)
        assert part.count('<tr class="ref">') == len(found.references("ndcg@10"))
        for name, value in found.references("ndcg@10").items():
            assert f'<th scope="row">{name.replace("_", " ")}<td><td>{value:.4f}' in part
    assert "A sampled metric" in text
    assert "same-rankings" in text


def test_runs_made_again_are_marked(runs: Runs, tmp_path) -> None:
    runs.enter(tmp_path, "mine")
    runs.enter(tmp_path, "other")
    again = {
        "run_digest": runs.scores["ranking"].run_digest, "how": "run", "same": 1.0,
        "difference": 0.0, "low": 0.0, "high": 0.0, "date": "2026-11-23",
        "card": read_card(tmp_path / "mine").fingerprint("toy-v1", "ranking"),
    }  # fmt: skip
    text = json.dumps({"format": "llm4rec-bench/1", "runs": {"mine/toy-v1.ranking": again}})
    replace_text(tmp_path / "reproduced.json", text)
    made = pages(board(tmp_path), tmp_path, None)
    assert made["boards/toy-v1.html"].decode().count("✓ verified") == 1
    assert "2026-11-23: no difference" in made["boards/toy-v1.html"].decode()
    assert "made again" in made["entries/mine.html"].decode()
    assert "made again" not in made["entries/other.html"].decode()


def test_columns_that_nobody_fills_are_left_out_and_named(
    runs: Runs, tmp_path, harmless: Site
) -> None:
    runs.enter(tmp_path, "mine")
    text = pages(board(tmp_path), tmp_path, None)["boards/toy-v1.html"].decode()
    assert "No entry here states p50 ms, p95 ms, tokens, cost, exposure." in text
    assert '<svg class="plot"' not in text
    full = harmless["boards/toy-v1.html"].decode()
    assert "No entry here states p95 ms." in full
    assert full.count('<svg class="plot"') == 4


def test_the_comparison_says_what_the_board_says(runs: Runs, toy: Task, tmp_path) -> None:
    from llm4rec_bench import read_run, score
    from tests.scoring.test_score import random_rows, write_run

    submissions = tmp_path / "submissions"
    for seed in range(4):
        one = Runs.__new__(Runs)
        found = random_rows(toy, "ranking", seed=seed)
        if seed == 3:
            found = [row | {"items": []} for row in found]
        one.paths = {"ranking": write_run(tmp_path / f"{seed}.jsonl", toy, "ranking", found)}
        one.scores = {"ranking": score(read_run(one.paths["ranking"], toy))}
        one.enter(submissions, f"seed-{seed}")
    (table,) = board(submissions)
    made = pages([table], submissions, None)
    data = next(
        json.loads(text) for text in Page(made["compare.html"]).scripts if '"pairs"' in text
    )
    (packed,) = data["tables"]
    worse = [0] * len(packed["rows"])
    pair = iter(packed["pairs"])
    for first in range(len(worse)):
        for second in range(first + 1, len(worse)):
            value, low, high, p, wins, losses = next(pair)
            assert low <= value <= high and wins + losses <= packed["requests"]
            if p < SIGNIFICANT * 10_000:
                worse[first if value < 0 else second] += 1
    assert [row[1] for row in packed["rows"]] == [1 + number for number in worse]
    assert max(worse) == 3


def test_examples_show_titles_and_histories_and_never_targets(
    harmless: Site, toy: Task, runs: Runs
) -> None:
    text = harmless["entries/entry-00.html"].decode()  # made with a task whose targets are closed
    assert text.count("<h4>Request") == 3
    asked = re.findall(r"<h4>Request <code>(.*?)</code>", text)
    lines = [json.loads(line) for line in runs.paths["ranking"].read_text().splitlines()[1:]]
    answers = {line["request_id"]: line["items"] for line in lines}
    titles = with_titles(toy, [f"text {number:02}" for number in range(len(TEXTS))]).items
    shown = dict(zip(titles.ids, titles.texts, strict=True))
    for request_id in asked:
        part = text[text.index(f"Request <code>{request_id}<") :]
        ranking = part[part.index("<h5>ranking</h5>") :].partition("</div>")[0]
        expected = [shown[item] for item in answers[request_id][:5]]
        assert re.findall(r"<li>([^<]*)", ranking) == expected


def test_there_are_no_examples_where_the_terms_forbid_titles(runs: Runs, toy: Task) -> None:
    from llm4rec_bench.site.examples import Library

    licence = msgspec.structs.replace(toy.recipe.licence, redistribute=False, name="Closed terms")
    recipe = msgspec.structs.replace(toy.recipe, licence=licence)

    def load(task: str) -> Task:
        raise AssertionError("the task is not even opened")

    closed = Library(load).examples(recipe, [("ranking", runs.paths["ranking"])])
    assert closed.found == [] and "Closed terms" in closed.absent
    away = Library(lambda _: None).examples(toy.recipe, [("ranking", runs.paths["ranking"])])
    assert away.found == [] and "llm4rec-bench download toy-v1" in away.absent
    elsewhere = Library(lambda _: toy).examples(toy.recipe, [])
    assert elsewhere.found == [] and "lie elsewhere" in elsewhere.absent


def test_an_entry_shows_its_card_tuning_and_digests(runs: Runs, tmp_path) -> None:
    tuning = {"metric": "ndcg@10", "sampler": "random", "trials": 3, "notes": "By hand first.",
              "space": {"depth": [1, 2]}}  # fmt: skip
    card = hostile_card("plain") | {"tuning": tuning, "concurrency": 4, "test_looks": 2}
    runs.enter(tmp_path, "login--mine", **card)
    page = Page(pages(board(tmp_path), tmp_path, None)["entries/login--mine.html"])
    text = " ".join(page.texts)
    score = runs.scores["ranking"]
    for expected in (
        score.run_digest, score.track_digest, "login", "4 requests at once", "By hand first.",
        "3 trials for each track", "depth", "1, 2", "drawn by chance", "looks at test 2",
        "text = plain", "inner = { text = plain }", "https://example.org/",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_task_page_says_what_its_dataset_card_says(harmless: Site, toy: Task) -> None:
    text = " ".join(Page(harmless["tasks/toy-v1.html"]).texts)
    for track, digest in toy.manifest.tracks.items():
        assert track in text and digest in text
    assert f"{toy.manifest.counts['interactions']:,}" in text
    assert toy.recipe.licence.name in text
    closed = " ".join(Page(harmless["tasks/ml-100k-v1.html"]).texts)
    assert "may not be published again" in closed and "no entry yet" in closed


def test_a_superseded_task_is_marked(runs: Runs, tmp_path, monkeypatch) -> None:
    from llm4rec_bench.leaderboard import board as made
    from llm4rec_bench.site import tasks

    runs.enter(tmp_path, "mine")
    read = tasks.read_recipe
    monkeypatch.setattr(
        tasks,
        "read_recipe",
        lambda folder: msgspec.structs.replace(read(folder), lifecycle="superseded"),
    )
    tables = [table._replace(superseded=True) for table in made(tmp_path)]
    site = pages(tables, tmp_path, None)
    for name in ("index.html", "boards/toy-v1.html", "tasks/toy-v1.html"):
        assert ">superseded<" in site[name].decode(), name
    assert "newer version" in site["boards/toy-v1.html"].decode()


def test_a_site_without_entries_is_one(tmp_path) -> None:
    site = pages([], tmp_path, None)
    assert Page(site["index.html"]).of("h1") and Page(site["compare.html"]).of("h1")


NAMED = re.compile(r"--([\w-]+):\s*(#[0-9a-f]{6})")


def test_text_stands_out_from_its_ground_in_both_themes(harmless: Site) -> None:
    css = harmless["assets/site.css"].decode()
    light, dark, again = (
        dict(NAMED.findall(block)) for block in re.findall(r"\{([^{}]*--ground:[^{}]*)\}", css)
    )
    assert dark == again
    for theme in (light, dark):
        for ground in ("ground", "raised"):
            for text in ("text", "quiet", "accent"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        assert contrast(theme["warn"], theme["warn-ground"]) >= 4.5
        assert contrast(theme["text"], theme["warn-ground"]) >= 4.5
        assert contrast(theme["accent"], theme["warn-ground"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2, 1.4.3)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [by / 12.92 if by <= 0.03928 else ((by + 0.055) / 1.055) ** 2.4 for by in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
