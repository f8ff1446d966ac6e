"""A stranger's own data, from a CSV on their disk to a comparison of two methods."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec_bench import TaskDataError, UsageError, load_task
from llm4rec_bench.store import default_home
from llm4rec_bench.task import tables
from tests.test_download import stop_before

TASK = "my-films-v1"

RECIPE = """
id = "{id}"
title = "My films"
description = "What my friends watched."
domain = "films"
salt = "my films"
lifecycle = "draft"
pitfalls = "Invented."

[source]
reader = "table"

[source.log]
file = "events.csv"
order = "{order}"
columns = {{ user_id = "who", item_id = "what", rating = "stars"{time} }}

[source.items]
file = "items.csv"
separator = ";"
columns = {{ item_id = "code", title = "name", year = "made", categories = "kinds", text = "plot" }}

[split]
{split}

[licence]
name = "none of your business"
url = "https://example.org/terms"
redistribute = {redistribute}

[tracks.retrieval]
metrics = ["ndcg@10", "recall@10"]

[tracks.ranking]
metrics = ["ndcg@5"]
negatives = {{ draw = "uniform", size = 8 }}

[tracks.ranking-popular]
metrics = ["ndcg@5"]
negatives = {{ draw = "popularity", size = 8 }}

[tracks.reranking]
metrics = ["ndcg@5"]
first_stage = {{ size = 10 }}
"""

TRACKS = ["retrieval", "ranking", "ranking-popular", "reranking"]

SPLITS = {
    "leave-one-out": 'rule = "leave-one-out"',
    "global-time": 'rule = "global-time"\ntest_from = 0.8\nvalidation_from = 0.6\nmin_history = 2',
}

CARD = """
name = "{name}"
title = "{name}"
authors = ["A stranger"]
licence = "MIT"
description = "A method of the baselines on data of one's own."
system = "{system}"
hardware = "a laptop"
command = "llm4rec-bench run {name}"
"""

Bench = Callable[..., tuple[int, str, str]]


def events(seed: int = 1) -> list[tuple[object, ...]]:
    """Who, what, stars and when, of invented friends; ids with zeros, dots and spaces."""
    draw = random.Random(seed)
    films = [f"{number:03}" for number in range(36)] + ["1e3", " 7", "ä ö", "x,y"]
    return [
        (f"0{user}", film, draw.randrange(1, 6), 1_600_000_000 + draw.randrange(40_000_000))
        for user in range(60)
        for film in draw.sample(films, draw.randrange(6, 14))
    ]


def write_csv(path: Path, *rows: tuple[object, ...]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


class Mine:
    """A stranger's folder with a recipe, its data and two cards."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.recipe = folder / "my-task.toml"
        self.write_recipe()
        self.write_events(events())
        films = dict.fromkeys(str(row[1]) for row in events())
        self.items = write_csv(
            folder / "items.csv",
            ("code", "name", "made", "kinds", "plot"),
            *[(f, f"Film {f}", "1999.0", "Drama; Comedy", f"It is {f}.") for f in films],
        )
        self.popularity = self.write_card("popular", "baselines.classical.popularity:Popularity")
        self.chance = self.write_card("chance", "baselines.classical.chance:Chance")

    def write_recipe(
        self,
        split: str = "leave-one-out",
        order: str = "timestamp",
        task_id: str = TASK,
        redistribute: bool = False,
    ) -> None:
        time = ', timestamp = "when"' if order == "timestamp" else ""
        self.recipe.write_text(
            RECIPE.format(
                id=task_id, order=order, time=time, split=SPLITS[split],
                redistribute=str(redistribute).lower(),
            )
        )  # fmt: skip

    def write_events(self, rows: list[tuple[object, ...]]) -> None:
        self.events = write_csv(self.folder / "events.csv", ("who", "what", "stars", "when"), *rows)

    def write_card(self, name: str, system: str) -> Path:
        path = self.folder / name / "submission.toml"
        path.parent.mkdir()
        path.write_text(CARD.format(name=name, system=system))
        return path.parent

    @property
    def raw(self) -> list[object]:
        return ["--raw", self.events, "--raw", self.items]


@pytest.fixture
def mine(tmp_path: Path) -> Mine:
    return Mine(tmp_path / "mine")


def done(result: tuple[int, str, str]) -> str:
    """The output of a command that succeeded."""
    code, out, err = result
    assert code == 0, err
    return out


def refused(result: tuple[int, str, str], code: int = 3) -> str:
    """What a command that was refused said, in one line."""
    assert result[0] == code, result
    assert result[1] == ""
    return result[2]


CASES = [("leave-one-out", "timestamp"), ("leave-one-out", "row"), ("global-time", "timestamp")]


@pytest.mark.parametrize(("split", "order"), CASES)
def test_own_data_are_frozen_run_scored_and_compared(
    bench: Bench, mine: Mine, split: str, order: str
) -> None:
    mine.write_recipe(split, order)
    out = done(bench("freeze", mine.recipe, *mine.raw))
    place = default_home() / "tasks" / TASK
    assert str(place / "data") in out
    assert all(f'"track":"{track}"' in out for track in TRACKS)

    listed = done(bench("tasks"))
    (line,) = [line for line in listed.splitlines() if TASK in line]
    assert "yours" in line
    assert split in line
    page = done(bench("tasks", TASK))
    assert "My films" in page
    assert all(f'"track":"{track}"' in page for track in TRACKS)

    for card in (mine.popularity, mine.chance):
        done(bench("run", card, "--task", TASK))
    runs = [Path("runs") / name / f"{TASK}.{track}.jsonl" for name in ("popular", "chance")
            for track in TRACKS]  # fmt: skip
    assert all(path.is_file() for path in runs)
    assert done(bench("check", *runs)).count("fine") == len(runs)

    scores = [json.loads(line) for line in done(bench("score", "--json", *runs)).splitlines()]
    assert [score["track"] for score in scores] == TRACKS * 2
    for score in scores:
        assert score["requests"] == load_task(TASK).manifest.counts["requests_test"]
        assert all(0 <= metric["value"] <= 1 for metric in score["metrics"].values())
        timed = {"within a minute", "within a day", "after more than a day", "tied", "not tied"}
        if order == "row":
            assert not timed & set(score["slices"])
    assert "ndcg@10" in done(bench("score", runs[0]))
    for track in range(len(TRACKS)):
        assert "minus" in done(bench("compare", runs[track], runs[track + len(TRACKS)]))


@pytest.mark.parametrize("split", SPLITS)
def test_a_validation_run_works_too(bench: Bench, mine: Mine, split: str) -> None:
    mine.write_recipe(split)
    done(bench("freeze", mine.recipe, *mine.raw))
    done(bench("run", mine.popularity, "--task", TASK, "--split", "validation"))
    for track in TRACKS:
        path = f"runs/popular/{TASK}.{track}.validation.jsonl"
        assert "validation split" in " ".join(done(bench("score", path)).split())


def test_the_store_then_holds_everything_about_the_task(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    place = default_home() / "tasks" / TASK
    assert (place / "task.toml").read_text() == mine.recipe.read_text()
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["task"] == TASK
    assert sorted(manifest["tracks"]) == sorted(TRACKS)
    card = (place / "README.md").read_text()
    assert "# My films" in card
    assert "Invented." in card
    names = {path.stem for path in (place / "data").iterdir()}
    assert names == set(manifest["tables"])
    assert names == {
        "interactions", "items", "requests", "targets", "descriptions",
        "candidates-ranking", "candidates-ranking-popular", "candidates-reranking",
    }  # fmt: skip
    assert {path.name for path in place.iterdir()} == {
        "task.toml", "manifest.json", "README.md", "data",
    }  # fmt: skip
    assert {path.name for path in mine.folder.iterdir()} == {
        "my-task.toml", "events.csv", "items.csv", "popular", "chance",
    }  # fmt: skip


def test_the_tables_hold_the_stranger_s_words(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    task = load_task(TASK)
    task.verify()
    items = {item["item_id"]: item for item in pq.read_table(
        task.folder / "data" / "items.parquet").to_pylist()}  # fmt: skip
    assert set(items) == {str(row[1]) for row in events()}
    assert items[" 7"] == {
        "item_id": " 7", "title": "Film  7", "year": 1999, "categories": ["Drama", "Comedy"],
        "creators": [],
    }  # fmt: skip
    assert set(task.descriptions["text"].to_pylist()) == {f"It is {item}." for item in items}


def test_the_card_of_the_task_says_what_each_track_ranks(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    card = (default_home() / "tasks" / TASK / "README.md").read_text()
    lines = {track: line for line in card.splitlines() for track in TRACKS
             if line.startswith(f"* `{track}`: ")}  # fmt: skip
    assert set(lines) == set(TRACKS)
    for track, line in lines.items():
        assert ("the whole catalogue" in line) == (track == "retrieval")


def test_a_folder_or_a_zip_of_the_files_will_do(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, "--raw", mine.folder))
    first = load_task(TASK).manifest
    done(bench("freeze", mine.recipe, *mine.raw))
    assert load_task(TASK).manifest == first


def test_a_recipe_may_be_a_folder(bench: Bench, mine: Mine) -> None:
    folder = mine.folder / "recipe"
    folder.mkdir()
    (folder / "task.toml").write_text(mine.recipe.read_text())
    done(bench("freeze", folder, *mine.raw))
    assert load_task(TASK).id == TASK
    assert not (folder / "data").exists()


def test_the_same_data_may_be_frozen_again_in_any_order_of_rows(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    first = load_task(TASK).manifest
    done(bench("freeze", mine.recipe, *mine.raw))
    mine.write_events(events()[::-1])
    done(bench("freeze", mine.recipe, *mine.raw))
    assert load_task(TASK).manifest == first


def test_other_data_are_refused_until_they_are_to_replace(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    first = load_task(TASK).manifest
    mine.write_events(events(seed=2))
    said = refused(bench("freeze", mine.recipe, *mine.raw))
    assert "interactions" in said
    assert "--replace" in said
    task = load_task(TASK)
    assert task.manifest == first
    task.verify()
    done(bench("freeze", mine.recipe, *mine.raw, "--replace"))
    task = load_task(TASK)
    assert task.manifest != first
    task.verify()


def test_a_run_on_replaced_data_is_refused(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    done(bench("run", mine.popularity, "--task", TASK, "--track", "retrieval"))
    mine.write_events(events(seed=2))
    done(bench("freeze", mine.recipe, *mine.raw, "--replace"))
    said = refused(bench("score", f"runs/popular/{TASK}.retrieval.jsonl"), 1)
    assert "digest" in said


@pytest.mark.parametrize("task_id", ["toy-v1", "ml-100k-v1"])
def test_an_id_of_the_package_is_refused(bench: Bench, mine: Mine, task_id: str) -> None:
    mine.write_recipe(task_id=task_id)
    said = refused(bench("freeze", mine.recipe, *mine.raw), 2)
    assert task_id in said
    assert "another id" in said
    assert not (default_home() / "tasks" / task_id).exists()


def test_another_folder_gets_a_task_that_opens_by_its_path(bench: Bench, mine: Mine) -> None:
    out = mine.folder / "frozen"
    done(bench("freeze", mine.recipe, *mine.raw, "--out", out))
    assert {path.name for path in out.iterdir()} == {
        "task.toml", "manifest.json", "README.md", "data",
    }  # fmt: skip
    task = load_task(out)
    task.verify()
    assert task.id == TASK
    assert TASK not in done(bench("tasks"))
    moved = out.rename(mine.folder / "moved")
    mine.recipe.unlink()
    load_task(moved).verify()
    assert len(load_task(str(moved)).requests("test")) == task.manifest.counts["requests_test"]


def test_a_method_runs_on_a_task_by_its_path(bench: Bench, mine: Mine) -> None:
    out = mine.folder / "frozen"
    done(bench("freeze", mine.recipe, *mine.raw, "--out", out))
    done(bench("run", mine.popularity, "--task", out))
    assert len(list(Path("runs/popular").glob(f"{TASK}.*.jsonl"))) == len(TRACKS)


def test_both_places_get_the_same_task(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    done(bench("freeze", mine.recipe, *mine.raw, "--out", mine.folder / "frozen"))
    assert load_task(mine.folder / "frozen").manifest == load_task(TASK).manifest


def test_a_path_that_looks_like_an_id_is_still_a_path(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw, "--out", TASK))
    assert load_task(Path.cwd() / TASK).id == TASK
    assert load_task(f"./{TASK}").id == TASK
    assert load_task(Path(TASK)).id == TASK


def test_any_folder_will_do_for_what_follows(
    bench: Bench, mine: Mine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    for path in (mine.events, mine.items, mine.recipe):
        path.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    done(bench("run", mine.popularity, "--task", TASK, "--track", "ranking", "--out", "out"))
    assert "fine" in done(bench("check", "out"))
    assert "ndcg@5" in done(bench("score", "out"))


def test_a_task_of_one_s_own_needs_no_download(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    assert TASK in done(bench("download", TASK, "--offline"))


def test_a_log_alone_is_enough(bench: Bench, mine: Mine) -> None:
    text = mine.recipe.read_text()
    start, stop = text.index("[source.items]"), text.index("[split]")
    mine.recipe.write_text(text[:start] + text[stop:])
    done(bench("freeze", mine.recipe, "--raw", mine.events))
    done(bench("run", mine.popularity, "--task", TASK))
    assert "ndcg@10" in done(bench("score", f"runs/popular/{TASK}.retrieval.jsonl"))


def test_data_that_may_be_published_lie_where_one_likes(bench: Bench, mine: Mine) -> None:
    mine.write_recipe(redistribute=True)
    folder = mine.folder / "task"
    folder.mkdir()
    (folder / "task.toml").write_text(mine.recipe.read_text())
    done(bench("freeze", folder, *mine.raw, "--out", folder))
    load_task(folder).verify()


def test_data_that_may_not_be_published_do_not_lie_beside_the_recipe(
    bench: Bench, mine: Mine
) -> None:
    folder = mine.folder / "task"
    folder.mkdir()
    (folder / "task.toml").write_text(mine.recipe.read_text())
    said = refused(bench("freeze", folder, *mine.raw, "--out", folder), 2)
    assert "licence" in said
    assert not (folder / "data").exists()


def test_a_task_can_be_frozen_again_from_its_place_in_the_store(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    first = load_task(TASK).manifest
    done(bench("freeze", default_home() / "tasks" / TASK, *mine.raw))
    assert load_task(TASK).manifest == first


@pytest.mark.parametrize("split", SPLITS)
def test_events_may_lie_before_1970(bench: Bench, mine: Mine, split: str) -> None:
    mine.write_recipe(split)
    mine.write_events([(*row[:3], int(str(row[3])) - 3_000_000_000) for row in events()])
    done(bench("freeze", mine.recipe, *mine.raw))
    assert load_task(TASK).requests("test")[0].timestamp < 0


@pytest.mark.parametrize("plot", ["", "In 2049 it swam."], ids=["blank", "of the future"])
def test_texts_of_one_s_own_are_kept_unless_they_are_blank(
    bench: Bench, mine: Mine, plot: str
) -> None:
    films = dict.fromkeys(str(row[1]) for row in events())
    rows = [(film, f"Film {film}", "", "", plot) for film in films]
    write_csv(mine.items, ("code", "name", "made", "kinds", "plot"), *rows)
    done(bench("freeze", mine.recipe, *mine.raw))
    counts = load_task(TASK).manifest.counts
    assert counts["described_items"] == (counts["items"] if plot else 0)


# What goes wrong.


def _lose(mine: Mine) -> str:
    mine.items.unlink()
    return "items.csv"


def _append(line: str, name: str = "events") -> Callable[[Mine], str]:
    def spoil(mine: Mine) -> str:
        path: Path = getattr(mine, name)
        path.write_bytes(path.read_bytes() + line.encode("latin-1"))
        return path.name

    return spoil


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[Mine], str]:
    def spoil(mine: Mine) -> str:
        mine.events.write_bytes(change(mine.events.read_bytes()))
        return "events.csv"

    return spoil


FAULTS: dict[str, Callable[[Mine], str]] = {
    "missing file": _lose,
    "missing column": _rewrite(lambda data: data.replace(b"when", b"whenever", 1)),
    "ragged row": _append("01,000,5\r\n"),
    "word for a time": _append("01,000,5,noon\r\n"),
    "no time": _append("01,000,5,\r\n"),
    "word for a rating": _append("01,000,good,5\r\n"),
    "word for a year": _append("z,Z,long ago,,\r\n", "items"),
    "bad encoding": _append("Zo\xeb,000,5,5\r\n"),
    "wrong delimiter": _rewrite(lambda data: data.replace(b",", b";")),
    "empty file": _rewrite(lambda data: b""),
    "no row": _rewrite(lambda data: data[: data.index(b"\n") + 1]),
    "unknown item": _append("01,nowhere,5,5\r\n"),
    "repeated item": _append("000,Again,1999,,\r\n", "items"),
    "empty id": _append(",000,5,5\r\n"),
    "empty item": _append(",Nameless,1999,,\r\n", "items"),
    "endless line": _rewrite(lambda data: b"x" * 200_000),
    "old line ends": _rewrite(lambda data: data.replace(b"\r\n", b"\r")[:-1] + b",x\r"),
}


@pytest.mark.parametrize("why", FAULTS)
def test_a_fault_of_the_data_ends_in_one_line_and_changes_nothing(
    bench: Bench, mine: Mine, why: str
) -> None:
    name = FAULTS[why](mine)
    said = refused(bench("freeze", mine.recipe, "--raw", mine.folder))
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert name in said
    assert not (default_home() / "tasks" / TASK).exists()
    assert TASK not in done(bench("tasks"))


def test_a_file_that_is_named_but_not_there_is_refused(bench: Bench, mine: Mine) -> None:
    said = refused(bench("freeze", mine.recipe, "--raw", "nowhere.csv"))
    assert "nowhere.csv" in said


def test_a_file_by_another_name_is_refused_and_both_are_named(bench: Bench, mine: Mine) -> None:
    renamed = mine.events.rename(mine.folder / "log-2024.csv")
    said = refused(bench("freeze", mine.recipe, "--raw", renamed, "--raw", mine.items))
    assert "events.csv" in said
    assert "log-2024.csv" in said


def test_raw_data_must_be_named(bench: Bench, mine: Mine) -> None:
    assert "--raw" in refused(bench("freeze", mine.recipe), 2)


@pytest.mark.parametrize(
    ("found", "put", "field"),
    [
        ('rating = "stars"', 'price = "stars"', "price"),
        (', timestamp = "when"', "", "timestamp"),
        ('file = "events.csv"', 'file = "data/events.csv"', "file"),
        ('file = "items.csv"', 'file = "items.csv"\nencoding = "latin-99"', "encoding"),
        ('order = "timestamp"', 'order = "sideways"', "order"),
        ('id = "my-films-v1"', 'id = "My Films"', "id"),
        ('reader = "table"', 'reader = "tables"', "reader"),
        ("size = 8", "size = -8", "size"),
        ('metrics = ["ndcg@5"]', 'metrics = ["ndgc@5"]', "ndgc@5"),
    ],
)
def test_a_fault_of_the_recipe_names_the_file_and_the_field(
    bench: Bench, mine: Mine, found: str, put: str, field: str
) -> None:
    text = mine.recipe.read_text()
    assert found in text
    mine.recipe.write_text(text.replace(found, put))
    said = refused(bench("freeze", mine.recipe, *mine.raw))
    assert str(mine.recipe) in said
    assert field in said.removeprefix(f"error: {mine.recipe}")


def test_pools_larger_than_the_catalogue_are_refused(bench: Bench, mine: Mine) -> None:
    mine.recipe.write_text(mine.recipe.read_text().replace("size = 8", "size = 80"))
    said = refused(bench("freeze", mine.recipe, *mine.raw))
    assert "80" in said
    assert "smaller" in said


def _in_order_of_ids(mine: Mine) -> None:
    starts = random.Random(1).choices(range(30), k=60)
    mine.recipe.write_text(mine.recipe.read_text().replace("size = 8", "size = 3"))
    mine.write_events(
        [(u, s + n, 5, 1_600_000_000 + n) for u, s in enumerate(starts) for n in range(6)]
    )
    films = [(n, f"Film {n}", "", "", f"It is {n}.") for n in range(36)]
    write_csv(mine.items, ("code", "name", "made", "kinds", "plot"), *films)


def test_ids_that_tell_the_order_of_events_are_refused(bench: Bench, mine: Mine) -> None:
    _in_order_of_ids(mine)
    said = refused(bench("freeze", mine.recipe, *mine.raw))
    assert "other ids" in said
    assert not (default_home() / "tasks" / TASK).exists()


def test_what_leaks_is_listed_line_by_line(bench: Bench, mine: Mine) -> None:
    _in_order_of_ids(mine)
    assert "\\n" not in refused(bench("freeze", mine.recipe, *mine.raw))


def test_ids_that_tell_the_order_may_be_frozen_knowingly(bench: Bench, mine: Mine) -> None:
    _in_order_of_ids(mine)
    line = 'known_leaks = ["consecutive-ids"]\n'
    assert line.strip() in refused(bench("freeze", mine.recipe, *mine.raw))
    mine.recipe.write_text(f"{line}{mine.recipe.read_text()}")
    done(bench("freeze", mine.recipe, *mine.raw))
    task = load_task(TASK)
    assert task.manifest.facts["test_targets_with_id_after_that_of_the_last_item"] > 0.9
    card = (default_home() / "tasks" / TASK / "README.md").read_text()
    _, pitfalls = card.split("## What the numbers can and cannot show")
    assert "Ids of items follow the order of events" in pitfalls.split("\n## ")[0]


def test_what_is_not_known_to_leak_is_not_said_to(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    card = (default_home() / "tasks" / TASK / "README.md").read_text()
    assert "Ids of items follow" not in card


def test_a_leak_that_nobody_knows_of_is_a_fault_of_the_recipe(bench: Bench, mine: Mine) -> None:
    mine.recipe.write_text(f'known_leaks = ["titles"]\n{mine.recipe.read_text()}')
    assert "known_leaks" in refused(bench("freeze", mine.recipe, *mine.raw))


def test_a_task_that_is_gone_is_not_listed_and_not_opened(bench: Bench, mine: Mine) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    (default_home() / "tasks" / TASK / "data" / "targets.parquet").unlink()
    with pytest.raises(TaskDataError, match=r"targets\.parquet"):
        load_task(TASK).verify()
    (default_home() / "tasks" / TASK).rename(mine.folder / "away")
    assert TASK not in done(bench("tasks"))
    with pytest.raises(UsageError, match=TASK):
        load_task(TASK)


# What lay there before, and what else happens meanwhile.


def test_a_folder_of_other_data_is_not_replaced(bench: Bench, mine: Mine) -> None:
    out = mine.folder / "out"
    (out / "data").mkdir(parents=True)
    for name in ("notes.txt", "x.parquet"):
        path = out / "data" / name
        path.write_text("mine")
        said = refused(bench("freeze", mine.recipe, *mine.raw, "--out", out), 2)
        assert f"{out / 'data'}: " in said
        assert "move it away, or name another folder" in said
        assert path.read_text() == "mine"
        path.unlink()
    done(bench("freeze", mine.recipe, *mine.raw, "--out", out))
    (out / "data" / "notes.txt").write_text("mine")
    assert "holds notes.txt" in refused(bench("freeze", mine.recipe, *mine.raw, "--out", out), 2)


def test_a_card_of_one_s_own_is_not_overwritten(bench: Bench, mine: Mine) -> None:
    folder = mine.folder / "recipe"
    folder.mkdir()
    mine.recipe.rename(folder / "task.toml")
    (folder / "README.md").write_text("# Mine")
    for words in ([folder], [folder / "task.toml", "--out", folder]):
        said = refused(bench("freeze", *words, *mine.raw), 2)
        assert f"{folder / 'README.md'}: is not the card of a frozen task" in said
    assert (folder / "README.md").read_text() == "# Mine"
    assert {path.name for path in folder.iterdir()} == {"README.md", "task.toml"}
    assert TASK not in done(bench("tasks"))


@pytest.mark.parametrize("before", ["nothing", "another task"])
@pytest.mark.parametrize("place", ["store", "out"])
@pytest.mark.parametrize("step", range(4))
def test_freezing_broken_off_between_its_moves_is_mended_by_the_same_command(
    bench: Bench, mine: Mine, monkeypatch: pytest.MonkeyPatch, step: int, place: str, before: str
) -> None:
    out = default_home() / "tasks" / TASK if place == "store" else mine.folder / "out"
    words = ["freeze", mine.recipe, *mine.raw, "--replace"]
    words += ["--out", out] if place == "out" else []
    if before == "another task":
        done(bench(*words))
        mine.write_events(events(seed=2))
    with monkeypatch.context() as broken:
        stop_before(broken, step)
        assert bench(*words)[0] == 130
    done(bench(*words))
    load_task(out).verify()
    assert {path.name for path in out.iterdir()} == {
        "task.toml", "manifest.json", "README.md", "data",
    }  # fmt: skip


HOLDS = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(2)
"""


def test_freezing_waits_for_whoever_works_on_the_task(bench: Bench, mine: Mine) -> None:
    place = default_home() / "tasks"
    place.mkdir(parents=True)
    words = [sys.executable, "-c", HOLDS, str(place / f"{TASK}.lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        code, _, err = bench("freeze", mine.recipe, *mine.raw)
    assert code == 0
    assert "another process" in err
    load_task(TASK).verify()


def test_tables_that_vanish_while_they_are_written_are_not_swapped_in(
    bench: Bench, mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    first = load_task(TASK).manifest
    write = tables.write_table

    def swept(path: Path, table: pa.Table) -> None:
        write(path, table)
        if path.stem == "items":
            path.unlink()

    mine.write_events(events(seed=2))
    with monkeypatch.context() as broken:
        broken.setattr(tables, "write_table", swept)
        said = refused(bench("freeze", mine.recipe, *mine.raw, "--replace"))
    assert "items was removed while the task was written" in said
    assert load_task(TASK).manifest == first
    load_task(TASK).verify()


# What is told of it.


def test_a_summary_tells_what_it_froze_to_and_what_is_next(bench: Bench, mine: Mine) -> None:
    mine.write_events([*events(), *events()[:3], ("99", "000", 1, 1_600_000_000)])
    out = done(bench("freeze", mine.recipe, *mine.raw))
    summary = out.split("The first line of a run file")[0]
    counts = load_task(TASK).manifest.counts
    assert f"{counts['users']:,} users, {counts['items']:,} items" in summary
    assert f"{counts['requests_test']:,} test" in summary
    assert "3 repeated interactions" in summary
    assert "described: 100.0% of items" in summary
    assert "events from 2020-09-" in summary
    assert "warning" not in summary
    assert f"next: llm4rec-bench run CARD --task {TASK}\n" in summary


def test_the_next_command_names_a_folder_that_is_not_in_the_store(bench: Bench, mine: Mine) -> None:
    out = mine.folder / "a b"
    said = done(bench("freeze", mine.recipe, *mine.raw, "--out", out))
    assert f"next: llm4rec-bench run CARD --task '{out}'\n" in said


def test_times_in_another_unit_are_warned_of(bench: Bench, mine: Mine) -> None:
    mine.write_events([(*row[:3], int(str(row[3])) // 1000) for row in events()])
    assert "are the times in another unit?" in done(bench("freeze", mine.recipe, *mine.raw))


def test_a_log_without_times_tells_no_days(bench: Bench, mine: Mine) -> None:
    mine.write_recipe(order="row")
    assert "events from" not in done(bench("freeze", mine.recipe, *mine.raw))


@pytest.mark.parametrize("name", ["task.toml", "manifest.json"])
def test_a_damaged_task_does_not_hide_the_others(bench: Bench, mine: Mine, name: str) -> None:
    done(bench("freeze", mine.recipe, *mine.raw))
    (default_home() / "tasks" / TASK / name).write_text("{")
    lines = done(bench("tasks")).splitlines()
    assert "damaged" in next(line for line in lines if TASK in line)
    assert any("toy-v1" in line for line in lines)


def test_ids_are_listed_whole(bench: Bench, mine: Mine) -> None:
    task_id = "films-that-my-friends-and-i-have-watched-v1"
    mine.write_recipe(task_id=task_id)
    mine.recipe.write_text(
        mine.recipe.read_text().replace('domain = "films"', f'domain = "{"films " * 12}"')
    )
    done(bench("freeze", mine.recipe, *mine.raw))
    assert task_id in done(bench("tasks"))
