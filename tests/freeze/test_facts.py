"""The numbers on a dataset card, worked out a second time in plain Python from the tables."""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec_bench import Task, read_run, score
from llm4rec_bench.freeze import dataset_card, draft_card, freeze, manifest_of
from llm4rec_bench.sources import RawData, generate_toy
from llm4rec_bench.store import HOME, recipes_folder
from llm4rec_bench.task import read_recipe
from tests.conftest import ROOT
from tests.scoring.test_score import write_run

DRAFT = "goodbooks-v1"

Rows = list[dict]


@pytest.fixture(scope="module")
def rows(toy: Task) -> dict[str, Rows]:
    """Every table of the toy as its file holds it."""
    return {
        path.stem: pq.read_table(path).to_pylist() for path in (toy.folder / "data").iterdir()
    }  # fmt: skip


@pytest.fixture(scope="module")
def facts() -> dict[str, float]:
    return json.loads((ROOT / "tasks" / "toy-v1" / "manifest.json").read_text("utf-8"))["facts"]


def of(rows: Rows, split: str) -> Rows:
    return [row for row in rows if row["split"] == split]


def counted(interactions: Rows, parts: tuple[str, ...] = ("train", "validation")) -> Counter:
    return Counter(row["item_id"] for row in interactions if row["part"] in parts)


def spread(values: list[int]) -> dict[str, float]:
    return {
        "least": min(values),
        "median": statistics.median(values),
        "most": max(values),
        "mean": statistics.fmean(values),
    }


NINETY = "_90_percent_at_most"
"""A fact that has a test of its own."""


def without_ninety(facts: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in facts.items() if not name.endswith(NINETY)}


def by_hand(rows: dict[str, Rows]) -> dict[str, float]:
    """All other facts of a task with descriptions and a first stage."""
    interactions, items = rows["interactions"], [row["item_id"] for row in rows["items"]]
    events = counted(interactions)
    users = {row["user_id"] for row in interactions}
    targets = of(rows["targets"], "test")
    asked = of(rows["requests"], "test")
    found = {"density": len(interactions) / (len(users) * len(items))}
    for name, values in (
        ("history_length", [len(row["history"]) for row in asked]),
        ("events_per_item", list(events.values())),
    ):
        found |= {f"{name}_{what}": value for what, value in spread(values).items()}
    by_events = sorted((events[item] for item in items), reverse=True)
    for name, share in (("percent", 0.01), ("tenth", 0.1)):
        head = by_events[: max(1, round(share * len(items)))]
        found[f"events_on_most_popular_{name}_of_items"] = sum(head) / len(interactions)
    apart = sum(abs(one - other) for one in by_events for other in by_events)
    found["gini_of_events_per_item"] = apart / (2 * len(items) * sum(by_events))
    found["test_targets_tied"] = sum(row["tied"] for row in targets) / len(targets)
    target = {row["request_id"]: row["items"][0] for row in targets}
    unseen = [item for item in target.values() if not events[item]]
    found["test_targets_without_visible_event"] = len(unseen) / len(targets)
    next_one = dict(itertools.pairwise(sorted(items)))  # w01 to w48
    follows = [next_one.get(row["history"][-1]) == target[row["request_id"]] for row in asked]
    found["test_targets_with_id_after_that_of_the_last_item"] = sum(follows) / len(asked)
    described = {row["item_id"] for row in rows["descriptions"]}
    found["items_described"] = len(described) / len(items)
    of_described = sum(events[item] for item in described)
    found["events_on_described_items"] = of_described / len(interactions)
    hits = [item in described for item in target.values()]
    found["test_targets_described"] = sum(hits) / len(hits)
    words = [len(row["text"].split()) for row in rows["descriptions"]]
    found["words_in_a_description_mean"] = sum(words) / len(words)
    pools = {row["request_id"]: row["items"] for row in of(rows["candidates-reranking"], "test")}
    inside = [target[request] in pool for request, pool in pools.items()]
    found["test_targets_in_reranking_pool"] = sum(inside) / len(inside)
    return found


def test_every_fact_of_the_toy_is_what_its_tables_say(rows, facts) -> None:
    expected = by_hand(rows)
    assert without_ninety(facts).keys() == expected.keys()
    for name, value in expected.items():
        assert facts[name] == pytest.approx(value, abs=1e-9), name


def test_tied_is_what_the_times_say(rows, toy: Task) -> None:
    """Test events are in no table, but their times are those of the requests."""
    last = {}
    for row in rows["interactions"]:
        last[row["user_id"]] = row["timestamp"]  # in time order
    tied = {row["request_id"]: row["tied"] for row in of(rows["targets"], "test")}
    for row in of(rows["requests"], "test"):
        assert tied[row["request_id"]] == (row["timestamp"] == last[row["user_id"]])
    assert sum(tied.values()) == toy.manifest.counts["tied_test_targets"]


@pytest.fixture(scope="module")
def half_described(rows) -> tuple[dict[str, Rows], Task]:
    """A task with descriptions for some, unseen targets and items of very unlike popularity."""
    recipe = read_recipe(recipes_folder() / "toy-v1")
    raw = generate_toy(recipe.source.seed)
    log = raw.log.to_pylist()
    # A new last event for twelve readers: what nobody else has had.
    last = {row["user_id"]: row["timestamp"] for row in log}
    for number, user in enumerate(sorted(last)[:12]):
        late = max(row["timestamp"] for row in log if row["user_id"] == user) + 60
        log.append({"user_id": user, "item_id": f"x{number}", "timestamp": late, "rating": None})
    new = {"title": "New", "year": None, "categories": [], "creators": []}
    items = raw.items.to_pylist() + [
        new | {"item_id": f"x{n}", "title": f"New {n}"} for n in range(12)
    ]
    raw = RawData(
        pa.Table.from_pylist(log, schema=raw.log.schema),
        pa.Table.from_pylist(items, schema=raw.items.schema),
        raw.descriptions.take(pa.array(range(0, 48, 3))),
    )
    recipe = msgspec.structs.replace(
        recipe, split=msgspec.structs.replace(recipe.split, unseen_targets=True)
    )
    frozen, counts = freeze(recipe, raw)
    manifest = manifest_of(recipe, frozen, counts)
    return {name: table.to_pylist() for name, table in frozen.items()}, Task(
        recipe, manifest, Path(), frozen
    )


def test_facts_of_a_task_with_gaps_are_what_its_tables_say(half_described) -> None:
    rows, task = half_described
    expected = by_hand(rows)
    # By the order of ids as text; x0 follows w48, x10 follows x1, which no reader went through.
    name = "test_targets_with_id_after_that_of_the_last_item"
    found = task.manifest.facts
    assert without_ninety(found).keys() == expected.keys()
    assert expected["test_targets_without_visible_event"] == pytest.approx(12 / 300)
    assert expected["events_per_item_least"] > 0
    assert 0.2 < expected["items_described"] < 0.5
    for fact in expected.keys() - {name}:
        assert found[fact] == pytest.approx(expected[fact], abs=1e-9), fact


def test_facts_that_a_task_cannot_have_are_left_out() -> None:
    recipe = read_recipe(recipes_folder() / "toy-v1")
    raw = generate_toy(recipe.source.seed)
    recipe = msgspec.structs.replace(recipe, tracks={"retrieval": recipe.tracks["retrieval"]})
    frozen, counts = freeze(recipe, RawData(raw.log, raw.items))
    manifest = manifest_of(recipe, frozen, counts)
    assert not {name for name in manifest.facts if "descri" in name or "reranking" in name}
    card = dataset_card(recipe, manifest)
    assert "with a description" not in card.partition("## Requests to look at")[0]
    assert "first stage" not in card


def test_of_90_percent_at_most_so_many_is_true_and_of_the_value_before_is_not(rows, facts) -> None:
    for name, values in (
        ("history_length", [len(row["history"]) for row in of(rows["requests"], "test")]),
        ("events_per_item", list(counted(rows["interactions"]).values())),
    ):
        most = facts[f"{name}{NINETY}"]
        assert 10 * sum(value <= most for value in values) >= 9 * len(values)
        assert 10 * sum(value < most for value in values) < 9 * len(values)


def test_the_ceiling_of_reranking_is_the_score_s(toy: Task, facts, tmp_path: Path) -> None:
    whole = {
        request.request_id: request.candidates for request in toy.requests("test", "reranking")
    }
    lines = [{"request_id": request, "items": items} for request, items in whole.items()]
    found = score(read_run(write_run(tmp_path / "run.jsonl", toy, "reranking", lines), toy))
    for metric in found.metrics:
        if metric.startswith("recall@"):
            ceiling = found.references(metric)["ceiling"]
            assert ceiling == pytest.approx(facts["test_targets_in_reranking_pool"], abs=1e-9)
    # Who ranks the whole pool, targets first, reaches it.
    target = {row["request_id"]: row["items"][0] for row in toy.table("targets").to_pylist()
              if row["split"] == "test"}  # fmt: skip
    best = [
        line | {"items": sorted(line["items"], key=lambda item: item != target[line["request_id"]])}
        for line in lines
    ]
    found = score(read_run(write_run(tmp_path / "best.jsonl", toy, "reranking", best), toy))
    assert found.metrics["recall@1"].value == pytest.approx(
        facts["test_targets_in_reranking_pool"], abs=1e-9
    )


# Examples


def test_the_examples_are_requests_of_the_tables(rows, toy: Task) -> None:
    asked = of(rows["requests"], "validation")
    targets = {row["request_id"]: row for row in of(rows["targets"], "validation")}
    events = counted(rows["interactions"], ("train",))
    before = {
        row["user_id"]: row["timestamp"] for row in rows["interactions"] if row["part"] == "train"
    }
    places = [len(asked) // 6, len(asked) // 2, 5 * len(asked) // 6]
    expected = [
        {
            "request_id": row["request_id"],
            "history_length": len(row["history"]),
            "last": row["history"][-5:],
            "seconds_since_last": row["timestamp"] - before[row["user_id"]],
            "target": targets[row["request_id"]]["items"][0],
            "target_events": events[targets[row["request_id"]]["items"][0]],
            "tied": targets[row["request_id"]]["tied"],
        }
        for row in (asked[place] for place in places)
    ]
    assert msgspec.to_builtins(toy.manifest.examples) == expected


def test_no_example_names_a_test_target_or_test_request(rows, toy: Task) -> None:
    """What an example gives away is visible when testing, and its pools hold it anyway."""
    visible = {(row["user_id"], row["item_id"]) for row in rows["interactions"]}
    test = {row["request_id"]: row["items"][0] for row in of(rows["targets"], "test")}
    for example in toy.manifest.examples:
        assert (example.request_id, example.target) in visible
        assert test[example.request_id] not in [*example.last, example.target]


def test_examples_of_few_requests_are_named_once_each() -> None:
    recipe = read_recipe(recipes_folder() / "toy-v1")
    raw = generate_toy(recipe.source.seed)
    recipe = msgspec.structs.replace(recipe, tracks={"retrieval": recipe.tracks["retrieval"]})
    users = sorted({row["user_id"] for row in raw.log.to_pylist()})
    for number in (1, 2, 3, 4):
        few = [row for row in raw.log.to_pylist() if row["user_id"] in users[:number]]
        # They all had the same books, so that none is dropped for its target.
        few = [
            {**row, "user_id": user} for user in users[:number]
            for row in few if row["user_id"] == users[0]
        ]  # fmt: skip
        split = msgspec.structs.replace(recipe.split, unseen_targets=True)
        own = msgspec.structs.replace(recipe, split=split)
        log = pa.Table.from_pylist(few, schema=raw.log.schema)
        frozen, counts = freeze(own, RawData(log, raw.items))
        manifest = manifest_of(own, frozen, counts)
        shown = [example.request_id for example in manifest.examples]
        assert len(shown) == len(set(shown)) == min(number, 3)
        for example in shown:
            assert f"* `{example}`: " in dataset_card(own, manifest)


# The card


@pytest.fixture(scope="module")
def card() -> str:
    return (ROOT / "tasks" / "toy-v1" / "README.md").read_text("utf-8")


def percent(share: float) -> str:
    return f"{100 * share:.2f}%" if 0 < share < 0.01 else f"{100 * share:.1f}%"


def test_the_card_shows_every_fact(card: str, rows, facts) -> None:
    expected = by_hand(rows)
    part = card.partition("## In numbers")[2].partition("\n## ")[0]
    table = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", part, re.MULTILINE))
    interactions, items = rows["interactions"], rows["items"]
    wanted = {
        "users": str(len({row["user_id"] for row in interactions})),
        "items": str(len(items)),
        "interactions": f"{len(interactions):,}",
        "validation requests": str(len(of(rows["requests"], "validation"))),
        "test requests": str(len(of(rows["requests"], "test"))),
        "Gini coefficient of events per item": f"{expected['gini_of_events_per_item']:.3f}",
        "words in a description, mean": f"{expected['words_in_a_description_mean']:.0f}",
    }
    for name, label in (
        ("history_length", "items in the history of a test request"),
        ("events_per_item", "visible events of an item that has any"),
    ):
        (least, median, most, mean) = (
            expected[f"{name}_{what}"] for what in ("least", "median", "most", "mean")
        )
        at_most = f"{facts[name + NINETY]:.0f}"
        wanted[label] = (
            f"{least} to {most}, median {median:.1f}, mean {mean:.1f}, 90 % at most {at_most}"
        )
    shares = {
        "density": "cells of users × items that hold an event",
        "events_on_most_popular_percent_of_items": "events on the most popular 1 % of the items",
        "events_on_most_popular_tenth_of_items": "events on the most popular 10 % of the items",
        "items_described": "items with a description",
        "events_on_described_items": "events on items with a description",
        "test_targets_described": "test targets with a description",
        "test_targets_tied": "test targets that share their second with another event of the user",
        "test_targets_without_visible_event": "test targets that no visible event holds",
        "test_targets_with_id_after_that_of_the_last_item": "test targets whose id is the next one "
        "after that of the last item in the history",
        "test_targets_in_reranking_pool": "test targets in their pool for `reranking`, its ceiling",
    }
    wanted |= {label: percent(expected[name]) for name, label in shares.items()}
    assert table == wanted


def test_the_card_shows_the_examples(card: str, toy: Task) -> None:
    part = card.partition("## Requests to look at")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("* ")]
    assert len(lines) == len(toy.manifest.examples) == 3
    for line, example in zip(lines, toy.manifest.examples, strict=True):
        named = re.findall(r"`([^`]+)`", line)
        assert named == [example.request_id, *example.last, example.target]
        assert f": {example.history_length} items, " in line
        assert ("…" in line) == (example.history_length > 5)
        assert ("in the same second as another event" in line) == example.tied
        assert f"visible {example.target_events} times" in line


def test_the_card_shows_shares_that_are_tiny_or_whole_as_they_are(toy: Task) -> None:
    facts = toy.manifest.facts | {
        "density": 0.00004, "test_targets_tied": 0.0004, "test_targets_without_visible_event": 0.0,
        "items_described": 1.0,
    }  # fmt: skip
    card = dataset_card(toy.recipe, msgspec.structs.replace(toy.manifest, facts=facts))
    assert "| test targets that no visible event holds | 0.0% |" in card
    assert "| test targets that share their second with another event of the user | 0.04% |" in card
    assert "| items with a description | 100.0% |" in card


@pytest.mark.parametrize(
    ("name", "share", "never"),
    [("density", 0.00004, "| 0.00% |"), ("items_described", 0.9996, "| 100.0% |")],
)
def test_the_card_says_neither_none_nor_all_where_it_is_not_so(
    toy: Task, name: str, share: float, never: str
) -> None:
    facts = toy.manifest.facts | {"events_on_described_items": 0.5, "items_described": 0.5}
    facts |= {"test_targets_described": 0.5, name: share}
    assert never not in dataset_card(toy.recipe, msgspec.structs.replace(toy.manifest, facts=facts))


@pytest.mark.parametrize("task", ["ml-100k-v1", "ml-latest-small-v1", "movietweetings-v1",
                                  "shakespeare-v1", "toy-v1"])  # fmt: skip
def test_facts_and_counts_of_every_committed_manifest_agree(task: str) -> None:
    """What can be checked without the data: nothing was edited by hand."""
    manifest = json.loads((ROOT / "tasks" / task / "manifest.json").read_text("utf-8"))
    counts, facts, tables = manifest["counts"], manifest["facts"], manifest["tables"]
    cells = counts["users"] * counts["items"]
    assert facts["density"] == pytest.approx(counts["interactions"] / cells, abs=1e-9)
    requests = counts["requests_validation"] + counts["requests_test"]
    assert counts["items"] == tables["items"]["rows"]
    assert counts["interactions"] == tables["interactions"]["rows"]
    assert requests == tables["requests"]["rows"] == tables["targets"]["rows"]
    for track, rows in (("ranking", 3), ("ranking-popular", 3), ("reranking", 1)):
        assert tables[f"candidates-{track}"]["rows"] == rows * requests
    test = counts["requests_test"]
    assert facts["test_targets_tied"] == pytest.approx(counts["tied_test_targets"] / test, abs=1e-9)
    described = tables.get("descriptions", {"rows": 0})["rows"]
    assert counts["described_items"] == described
    if described:
        assert facts["items_described"] == pytest.approx(described / counts["items"], abs=1e-9)
    for name in ("test_targets_in_reranking_pool", "test_targets_without_visible_event"):
        assert math.isclose(facts[name] * test, round(facts[name] * test), abs_tol=1e-6)


# A task that nobody has frozen


def test_the_draft_of_a_card_says_that_it_is_not_frozen() -> None:
    recipe = read_recipe(recipes_folder() / DRAFT)
    card = draft_card(recipe)
    assert card.startswith(f"# {recipe.title}\n\n**Not frozen yet.** ")
    assert "no digests, so no run can be scored on it" in card
    assert f"llm4rec-bench freeze tasks/{DRAFT} --raw FOLDER" in card
    assert recipe.description.strip() in card
    assert recipe.licence.url in card
    for origin in recipe.source.origin:
        assert origin.url in card
    for absent in ("configs:", "llm4rec-bench download", "sha256:", "## In numbers", "pip install"):
        assert absent not in card


@pytest.mark.parametrize(("task", "frozen"), [(DRAFT, False), ("toy-v1", True)])
def test_tasks_says_what_is_not_frozen(bench, monkeypatch, task: str, frozen: bool) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = bench("tasks")
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith(task)]
    assert ("not frozen yet" in line) != frozen
    code, out, _ = bench("tasks", task)
    assert code == 0
    assert (f"{task} is not frozen yet: it has a recipe but no manifest." in out) != frozen
    assert ("The first line of a run file" in out) == frozen


def header(task: str) -> str:
    return json.dumps(
        {"format": "llm4rec-bench/1", "task": task, "track": "ranking",
         "digest": f"sha256:{'0' * 64}", "name": "mine"}
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["download", DRAFT],
        ["download", DRAFT, "--offline"],
        ["download", DRAFT, "--raw", "."],
        ["run", str(ROOT / "submissions" / "random"), "--task", DRAFT],
        ["run", str(ROOT / "submissions" / "random"), "--task", DRAFT, "--track", "ranking"],
        ["score", "run.jsonl"],
        ["score", "run.jsonl", "--json"],
        ["check", "run.jsonl"],
        ["compare", "run.jsonl", "run.jsonl"],
        ["publish", DRAFT, "--repo", "tester/books"],
        ["publish", DRAFT, "--repo", "tester/books", "--dry-run"],
        ["pages", DRAFT, "--out", "pages.jsonl", "--contact", "nobody@example.org"],
    ],
    ids=" ".join,
)
def test_whatever_is_asked_of_it_the_answer_is_plain(bench, words: list[str]) -> None:
    Path("run.jsonl").write_text(header(DRAFT) + '\n{"request_id": "1", "items": ["2"]}\n', "utf-8")
    code, out, err = bench(*words)  # which refuses a traceback
    assert (code, out) == (3, "")
    said = err.splitlines()[-1]
    assert said.startswith("error: ")
    assert re.search("has not been frozen yet|is not frozen yet", said)
    assert [path.name for path in Path().rglob("*")] == ["run.jsonl"]


def test_it_is_still_known_as_a_draft_afterwards(bench, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    before = bench("tasks")
    assert bench("download", DRAFT)[0] == 3
    assert bench("tasks") == before
    monkeypatch.setenv(HOME, str(tmp_path / "another"))
    assert bench("tasks", DRAFT)[0] == 0
