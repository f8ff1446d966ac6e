"""What a card says that its method reads of items: it sees no more, and everybody is told."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec_bench import (
    CardRefused,
    Ranking,
    Request,
    Task,
    TaskDataError,
    TaskView,
    read_run,
    score,
)
from llm4rec_bench.freeze import freeze, manifest_of, write_tables
from llm4rec_bench.run.execute import execute
from llm4rec_bench.sources import RawData, generate_toy
from llm4rec_bench.store import default_home, recipes_folder
from llm4rec_bench.submission import Card, read_card
from llm4rec_bench.task import read_recipe, tables
from llm4rec_bench.texts import CONDITIONS
from tests.conftest import ROOT

TOY = read_recipe(recipes_folder() / "toy-v1")
RAW = generate_toy(TOY.source.seed)

ALL_READS = [list(some) for n in range(4) for some in combinations(CONDITIONS, n)]
READS = pytest.mark.parametrize("reads", ALL_READS, ids=lambda reads: " ".join(reads) or "ids")

COLUMNS = {"title": ["title", "year"], "metadata": ["categories", "creators"], "wikipedia": []}


class Spy:
    """Keeps what it was handed, and ranks the candidates as they come."""

    seen: ClassVar[list[TaskView]] = []

    def fit(self, task: TaskView) -> None:
        self.task = task
        Spy.seen.append(task)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        return [Ranking(self.ranked(request)) for request in requests]

    def ranked(self, request: Request) -> list[str]:
        seen = {*request.history}
        return request.candidates or [item for item in self.task.items.ids if item not in seen][:10]


class Longest(Spy):
    """The candidates with the longest texts first; those without one come last."""

    def ranked(self, request: Request) -> list[str]:
        texts = dict(zip(self.task.items.ids, self.task.texts(), strict=True))
        return sorted(super().ranked(request), key=lambda item: -len(texts[item]))


@pytest.fixture(autouse=True)
def seen() -> Iterator[list[TaskView]]:
    Spy.seen.clear()
    yield Spy.seen
    Spy.seen.clear()


def card(method: str = "Spy", **changed: Any) -> Card:
    made = {
        "name": "spy", "title": "Spy", "authors": ["nobody"], "licence": "MIT",
        "description": "", "hardware": "none", "command": "none",
        "system": f"{__name__}:{method}",
    }  # fmt: skip
    return Card(**(made | changed))


@pytest.fixture(scope="module")
def items(toy: Task) -> list[dict]:
    return pq.read_table(toy.folder / "data" / "items.parquet").to_pylist()


@pytest.fixture(scope="module")
def described(toy: Task) -> dict[str, str]:
    rows = pq.read_table(toy.folder / "data" / "descriptions.parquet").to_pylist()
    return {row["item_id"]: row["text"] for row in rows}


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The toy with descriptions of a third of its items."""
    folder = tmp_path_factory.mktemp("half")
    raw = RawData(RAW.log, RAW.items, RAW.descriptions.take(pa.array(range(0, 48, 3))))
    frozen, counts = freeze(TOY, raw)
    write_tables(folder, frozen)
    return Task(TOY, manifest_of(TOY, frozen, counts), folder)


# What a method sees


@READS
@pytest.mark.parametrize("track", ["retrieval", "ranking"])
def test_a_method_sees_what_its_card_reads(
    toy: Task, items, described, tmp_path: Path, seen, reads: list[str], track: str
) -> None:
    execute(card(reads=reads), toy, track, tmp_path / "run.jsonl")
    (view,) = seen
    assert view.reads == tuple(name for name in CONDITIONS if name in reads)
    assert view.items.ids == [row["item_id"] for row in items]
    table = view.items.table.to_pylist()
    assert view.items.table.schema.equals(tables.schema("items"))
    for condition, names in COLUMNS.items():
        for name in names:
            column = [row[name] for row in table]
            if condition in reads:
                assert column == [row[name] for row in items]
            else:
                assert all(not cell for cell in column)
    assert view.descriptions == (described if "wikipedia" in reads else {})


@READS
@pytest.mark.parametrize("shown", ALL_READS, ids=lambda shown: " ".join(shown) or "ids")
def test_a_view_can_be_narrowed_and_never_widened(toy: Task, shown, reads: list[str]) -> None:
    whole = toy.view("ranking", "validation", 7, shown)
    less = whole.only(reads)
    plain = toy.view("ranking", "validation", 7, [name for name in shown if name in reads])
    assert less.reads == plain.reads
    assert less.items.table.equals(plain.items.table)
    assert less.descriptions == plain.descriptions
    assert less.texts() == plain.texts()
    assert (less.task, less.track, less.split, less.seed) == (toy.id, "ranking", "validation", 7)
    assert less.log is whole.log


@READS
def test_nothing_that_a_view_holds_holds_a_text_that_is_not_read(
    toy: Task, items, described, tmp_path: Path, seen, reads: list[str]
) -> None:
    # Whatever other methods have been shown of the same task before.
    assert toy.view("ranking").items.texts
    execute(card(reads=reads), toy, "ranking", tmp_path / "run.jsonl")
    (view,) = seen
    kept = pickle.dumps((view, view.log, view.items, view.items.row_of, view.items.texts))
    for row in items:
        secrets = {
            "title": [row["title"]],
            "metadata": row["creators"],
            "wikipedia": [described[row["item_id"]]],
        }
        for condition, texts in secrets.items():
            for text in filter(None, texts):
                if condition in reads:
                    assert text.encode() in kept
                elif not {"title", "wikipedia"} & {*reads} or condition == "wikipedia":
                    assert text.encode() not in kept  # else one may stand in the other


@READS
def test_texts_hold_what_is_read_and_nothing_else(
    half: Task, items, tmp_path: Path, seen, reads: list[str]
) -> None:
    execute(card(reads=reads), half, "ranking", tmp_path / "run.jsonl")
    told = {row["item_id"]: row["text"] for row in half.descriptions.to_pylist()}
    assert 0 < len(told) < len(items)
    expected = []
    for row in half.items.table.to_pylist():
        lines = []
        if "title" in reads:
            year = "" if row["year"] is None else f" ({row['year']})"
            lines.append(f"{row['title']}{year}")
        if "metadata" in reads:
            lines += [", ".join(row["categories"]), ", ".join(row["creators"])]
        if "wikipedia" in reads:
            lines.append(told.get(row["item_id"], ""))
        expected.append("\n".join(line for line in lines if line))
    assert seen[0].texts() == expected
    assert len(seen[0].texts()) == len(half.items)


def test_a_card_that_says_nothing_reads_ids_only(toy: Task, tmp_path: Path, seen) -> None:
    execute(card(), toy, "ranking", tmp_path / "run.jsonl")
    assert seen[0].reads == ()
    assert set(seen[0].texts()) == set(seen[0].items.texts) == {""}


def test_every_repeat_sees_the_same(toy: Task, tmp_path: Path, seen) -> None:
    execute(card(reads=["title"], runs=3), toy, "ranking", tmp_path / "run.jsonl")
    assert [view.reads for view in seen] == [("title",)] * 3
    assert [view.descriptions for view in seen] == [{}] * 3


def test_what_one_method_does_to_its_view_no_other_sees(toy: Task, tmp_path: Path, seen) -> None:
    execute(card(reads=["wikipedia"]), toy, "ranking", tmp_path / "one.jsonl")
    before = dict(seen[0].descriptions)
    seen[0].descriptions.clear()
    execute(card(reads=["wikipedia"]), toy, "ranking", tmp_path / "two.jsonl")
    assert seen[1].descriptions == before


def test_requests_hold_no_text_whatever_is_read(toy: Task, items) -> None:
    titles = {row["title"] for row in items}
    for request in toy.requests("test", "ranking")[:20]:
        words = {request.request_id, request.user_id, *request.history, *request.candidates}
        assert not words & titles


# Items without a description


def test_an_item_without_a_description_is_ranked_and_scored_like_any_other(
    half: Task, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    execute(card("Longest", reads=["wikipedia"]), half, "ranking", path)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()[1:]]
    assert {len(line["items"]) for line in lines} == {20}
    told = set(half.descriptions["item_id"].to_pylist())
    for line in lines:
        has = [item in told for item in line["items"]]
        assert has == sorted(has, reverse=True)
    found = score(read_run(path, half))
    parts = found.slices["described"].requests, found.slices["not described"].requests
    assert sum(parts) == 300
    assert min(parts) > 0
    assert found.slices["described"].metrics["ndcg@10"].value > (
        found.slices["not described"].metrics["ndcg@10"].value
    )


def test_a_task_that_never_had_descriptions_is_read_as_one_without_any(
    tmp_path: Path, seen
) -> None:
    frozen, counts = freeze(TOY, RawData(RAW.log, RAW.items))
    plain = Task(TOY, manifest_of(TOY, frozen, counts), tmp_path, frozen)
    execute(card(reads=["wikipedia", "title"]), plain, "ranking", tmp_path / "run.jsonl")
    assert seen[0].descriptions == {}
    assert seen[0].texts() == plain.items.texts


# Descriptions that are not on this machine


@pytest.fixture
def missing(tmp_path: Path) -> Task:
    frozen, counts = freeze(TOY, RAW)
    write_tables(tmp_path / "task", frozen)
    tables.parquet_path(tmp_path / "task", tables.DESCRIPTIONS).unlink()
    return Task(TOY, manifest_of(TOY, frozen, counts), tmp_path / "task")


@READS
def test_only_who_reads_missing_descriptions_is_stopped(
    missing: Task, tmp_path: Path, seen, reads: list[str]
) -> None:
    path = tmp_path / "run.jsonl"
    if "wikipedia" not in reads:
        execute(card(reads=reads), missing, "ranking", path)
        assert score(read_run(path, missing)).requests == 300
        return
    with pytest.raises(TaskDataError, match=r"download toy-v1$"):
        execute(card(reads=reads), missing, "ranking", path)
    assert not path.exists()
    assert seen == []


def test_a_run_that_was_stopped_for_them_is_made_once_they_are_there(
    missing: Task, toy: Task, tmp_path: Path, seen
) -> None:
    path = tmp_path / "run.jsonl"
    with pytest.raises(TaskDataError):
        execute(card(reads=["wikipedia"]), missing, "ranking", path)
    assert execute(card(reads=["wikipedia"]), toy, "ranking", path)
    assert len(path.read_text("utf-8").splitlines()) == 301
    # Nor is another card kept from the place.
    other = tmp_path / "other.jsonl"
    with pytest.raises(TaskDataError):
        execute(card(reads=["wikipedia"]), missing, "ranking", other)
    assert execute(card(reads=["title"]), missing, "ranking", other)


def submission(folder: Path, reads: list[str] | None, **more: Any) -> Path:
    folder.mkdir(parents=True)
    module = folder.parent / "spying.py"
    module.write_text(
        "from llm4rec_bench import Ranking\n"
        "class AsGiven:\n"
        "    def fit(self, task):\n"
        "        self.known = sum(map(len, task.texts()))\n"
        "    def rank(self, requests):\n"
        "        return [Ranking(r.candidates, explanation=str(self.known)) for r in requests]\n",
        "utf-8",
    )
    fields = {
        "name": folder.name, "title": folder.name, "authors": ["me"], "licence": "MIT",
        "description": "", "hardware": "none", "command": "none",
        "system": "spying:AsGiven", "tasks": ["toy-v1"],
    } | ({} if reads is None else {"reads": reads}) | more  # fmt: skip
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in fields.items()]
    (folder / "submission.toml").write_text("".join(lines), "utf-8")
    return folder


OWN = (ROOT / "tasks" / "toy-v1" / "task.toml").read_text("utf-8").replace("toy-v1", "mine-v1")


def test_the_command_line_says_plainly_that_descriptions_are_missing(bench) -> None:
    Path("task.toml").write_text(OWN, "utf-8")
    assert bench("freeze", "task.toml")[0] == 0
    (default_home() / "tasks" / "mine-v1" / "data" / "descriptions.parquet").unlink()
    reading = submission(Path("reading"), ["title", "wikipedia"])
    blind = submission(Path("blind"), ["title"])
    code, _, err = bench("run", reading, "--task", "mine-v1", "--track", "ranking")
    assert code == 3
    assert err.splitlines()[-1] == (
        "error: the descriptions of mine-v1 are not on this machine; run: "
        "llm4rec-bench download mine-v1"
    )
    code, out, err = bench("run", blind, "--task", "mine-v1", "--track", "ranking")
    assert code == 0, err
    assert bench("score", out.strip())[0] == 0


# What a run and the board say of it


def test_fingerprints_of_cards_that_read_nothing_are_what_they_always_were() -> None:
    bare = card(system="baselines.classical.popularity:Popularity")
    decides = b'["baselines.classical.popularity:Popularity",{},0,1]'
    expected = "sha256:" + sha256(decides).hexdigest()
    assert bare.fingerprint("toy-v1", "ranking") == expected
    # As the runs say that were committed before cards could read.
    assert expected == "sha256:b080e5af357a9f2635c28d9a165f0263f6fa897bf78442d84545c6bcfce21a2d"
    assert card(reads=[]).fingerprint("toy-v1", "ranking") == card().fingerprint(
        "toy-v1", "ranking"
    )


def test_fingerprints_tell_what_is_read_and_not_how_it_is_written() -> None:
    prints = {}
    for reads in ALL_READS:
        ways = [*permutations(reads), (*reads, *reads)]
        (prints[tuple(reads)],) = {
            card(reads=list(way)).fingerprint("toy-v1", "ranking") for way in ways
        }
    assert len(set(prints.values())) == 8


def test_a_finished_run_of_a_card_that_read_less_is_not_taken_for_one_of_this(
    toy: Task, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    assert execute(card(reads=["title"]), toy, "ranking", path)
    assert not execute(card(reads=["title", "title"]), toy, "ranking", path)
    for reads in ([], ["wikipedia"], ["title", "wikipedia"]):
        with pytest.raises(CardRefused, match="of another card"):
            execute(card(reads=reads), toy, "ranking", path)


@pytest.mark.parametrize(
    ("reads", "told"),
    [
        ('["titles"]', "titles"),
        ('["Title"]', "Title"),
        ('["ids"]', "ids"),
        ('"title"', "Expected `array`"),
        ("[1]", "reads"),
        ("true", "reads"),
    ],
)
def test_what_nobody_can_read_is_refused(tmp_path: Path, reads: str, told: str) -> None:
    folder = submission(tmp_path / "mine", None)
    with (folder / "submission.toml").open("a") as file:
        file.write(f"reads = {reads}\n")
    with pytest.raises(CardRefused) as error:
        read_card(folder)
    said = str(error.value)
    assert told in said
    assert "reads" in said


def test_who_misspells_what_is_read_is_told_what_can_be_read(tmp_path: Path) -> None:
    folder = submission(tmp_path / "mine", ["titles"])
    with pytest.raises(CardRefused, match=r"title.*metadata.*wikipedia"):
        read_card(folder)


def test_the_board_shows_what_each_entry_reads(bench) -> None:
    shown = {
        "blind": (None, "ids"),
        "titles": (["title"], "title"),
        "all": (["wikipedia", "metadata", "title", "title"], "title + metadata + wikipedia"),
        "told": (["wikipedia"], "wikipedia"),
    }
    for name, (reads, _) in shown.items():
        folder = submission(Path("submissions") / name, reads)
        Path("spying.py").write_text((folder.parent / "spying.py").read_text("utf-8"), "utf-8")
        code, _, err = bench("run", folder, "--track", "ranking", "--out", folder)
        assert code == 0, err
        assert bench("score", folder, "--save")[0] == 0
    Path("submissions/spying.py").unlink()
    assert bench("leaderboard")[0] == 0
    lines = Path("leaderboard.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    (head,) = [row for row in rows if "system" in row]
    assert head[2] == "reads"
    found = {row[1]: row[2] for row in rows if row[1].startswith("[")}
    assert found == {
        f"[{name}](submissions/{name})": what for name, (_, what) in shown.items()
    }  # fmt: skip
    # Floors and ceiling read nothing and are no methods.
    assert all(len(row) == len(head) for row in rows)


def test_the_texts_that_a_method_gets_grow_with_what_it_reads(bench) -> None:
    known = []
    for number, reads in enumerate(([], ["title"], ["title", "metadata"], [*CONDITIONS])):
        folder = submission(Path(f"m{number}"), reads)
        assert bench("run", folder, "--track", "ranking", "--out", folder)[0] == 0
        _, first, *_ = (folder / "toy-v1.ranking.jsonl").read_text("utf-8").splitlines()
        known.append(int(json.loads(first)["explanation"]))
    assert known[0] == 0
    assert known == sorted(set(known))


def test_committed_cards_read_what_their_committed_runs_were_made_with() -> None:
    import gzip

    for folder in sorted((ROOT / "submissions").glob("*/")):
        made = read_card(folder)
        for path in folder.glob("toy-v1.*.jsonl.gz"):
            with gzip.open(path, "rb") as file:
                header = msgspec.json.decode(file.readline())
            assert header["card"] == made.fingerprint("toy-v1", header["track"]), path
