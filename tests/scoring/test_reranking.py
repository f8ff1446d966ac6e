"""Reranking what a first stage retrieved, and scoring tasks that know no times."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from llm4rec_bench import Request, RunRefused, Score, Task, read_run, score
from llm4rec_bench.freeze import freeze, manifest_of, write_tables
from llm4rec_bench.run.execute import execute
from llm4rec_bench.scoring import slices_of
from llm4rec_bench.scoring.slices import PAUSE
from llm4rec_bench.sources import RawData, generate_toy
from llm4rec_bench.store import recipes_folder
from llm4rec_bench.submission import Card
from llm4rec_bench.task import read_recipe
from tests.scoring.test_score import relevant, write_run

SPLITS = ("test", "validation")
PARTS = {"test": {"train", "validation"}, "validation": {"train"}}
SIZE = 12
METRICS = ["ndcg@10", "recall@1", "recall@5", "recall@10", "mrr@10"]

Rank = Callable[[Request, int], list[str]]
"""From a request and the number of a run to a ranking."""


def given(request: Request, run: int) -> list[str]:
    return list(request.candidates or ())


def run_of(task: Task, folder: Path, rank: Rank, split: str, runs: int = 1) -> Path:
    rows = [
        {"request_id": request.request_id, "run": run, "items": rank(request, run)}
        for run in range(runs)
        for request in task.requests(split, "reranking", run)
    ]
    return write_run(folder / "run.jsonl", task, "reranking", rows, split)


def scored(task: Task, folder: Path, rank: Rank, split: str = "test", runs: int = 1) -> Score:
    return score(read_run(run_of(task, folder, rank, split, runs), task))


def values(found: Score) -> dict[str, float]:
    return {metric: interval.value for metric, interval in found.metrics.items()}


def gain(metric: str, rank: int | None) -> float:
    """The metric of a request with one target at this rank."""
    kind, k = metric.split("@")
    if rank is None or rank > int(k):
        return 0.0
    return {"recall": 1.0, "mrr": 1 / rank, "ndcg": 1 / math.log2(rank + 1)}[kind]


def pools_of(task: Task, split: str) -> list[list[str]]:
    """The pools, read from the table's file."""
    table = pq.read_table(task.folder / "data" / "candidates-reranking.parquet").to_pylist()
    return [row["items"] for row in table if row["split"] == split]


def mean_gain(metric: str, orders: list[list[str]], targets: list[str]) -> float:
    ranks = [
        order.index(target) + 1 if target in order else None
        for order, target in zip(orders, targets, strict=True)
    ]
    return sum(gain(metric, rank) for rank in ranks) / len(ranks)


def sole(task: Task, split: str) -> list[str]:
    """The target of each request."""
    targets = relevant(task, split)
    return [target for name in task.requests(split).ids for (target,) in [targets[name]]]


# The pools.


@pytest.mark.parametrize("split", SPLITS)
def test_each_pool_has_one_order_and_nothing_that_was_seen(toy: Task, split: str) -> None:
    table = pq.read_table(toy.folder / "data" / "candidates-reranking.parquet")
    assert set(table["permutation"].to_pylist()) == {0}
    pools, requests = pools_of(toy, split), toy.requests(split, "reranking")
    assert len(pools) == len(requests) == len(toy.request_ids(split))
    for pool, request in zip(pools, requests, strict=True):
        assert request.candidates == pool
        assert len({*pool}) == len(pool) == SIZE
        assert not {*pool} & {*request.history}
        assert {*pool} <= {*toy.items.ids}
    assert toy.pools(split, "reranking").shape == (len(pools), 1, SIZE)


@pytest.mark.parametrize("split", SPLITS)
def test_every_run_sees_the_same_order(toy: Task, split: str) -> None:
    first = [request.candidates for request in toy.requests(split, "reranking")]
    for run in (1, 2, 3, 7):
        assert [request.candidates for request in toy.requests(split, "reranking", run)] == first


@pytest.mark.parametrize("split", SPLITS)
def test_targets_are_not_put_into_pools(toy: Task, split: str) -> None:
    held = [
        target in pool for pool, target in zip(pools_of(toy, split), sole(toy, split), strict=True)
    ]
    assert 0.2 < sum(held) / len(held) < 0.9


# Floors and the ceiling.


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("runs", [1, 3])
def test_floors_and_ceiling_are_those_of_a_plain_computation(
    toy: Task, tmp_path: Path, split: str, runs: int
) -> None:
    found = scored(toy, tmp_path, lambda request, run: [], split, runs).floors
    pools, targets = pools_of(toy, split), sole(toy, split)
    events = Counter(
        event["item_id"]
        for event in pq.read_table(toy.folder / "data" / "interactions.parquet").to_pylist()
        if event["part"] in PARTS[split]
    )
    place = {item: (-events[item], row) for row, item in enumerate(toy.items.ids)}
    popular = [sorted(pool, key=place.__getitem__) for pool in pools]
    present = sum(t in pool for pool, t in zip(pools, targets, strict=True)) / len(pools)
    assert set(found.random) == set(METRICS)
    for metric in METRICS:
        anywhere = sum(gain(metric, rank) for rank in range(1, SIZE + 1)) / SIZE
        assert found.random[metric] == pytest.approx(present * anywhere, abs=1e-9)
        expected = mean_gain(metric, popular, targets)
        assert found.popularity[metric] == pytest.approx(expected, abs=1e-9)
        assert found.as_given is not None
        expected = mean_gain(metric, pools, targets)
        assert found.as_given[metric] == pytest.approx(expected, abs=1e-9)
        assert found.ceiling[metric] == pytest.approx(present, abs=1e-9)
        assert found.random[metric] < found.as_given[metric] < found.ceiling[metric]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("runs", [1, 2, 5])
def test_one_who_keeps_the_order_scores_the_floor_as_given(
    toy: Task, tmp_path: Path, split: str, runs: int
) -> None:
    found = scored(toy, tmp_path, given, split, runs)
    assert found.floors.as_given == values(found)
    assert found.runs == runs
    for interval in found.metrics.values():
        assert interval.std_between_runs == (0.0 if runs > 1 else None)


@pytest.mark.parametrize("split", SPLITS)
def test_the_popularity_baseline_scores_the_floor_of_popularity(
    toy: Task, tmp_path: Path, split: str
) -> None:
    card = Card(
        name="popularity", title="Popularity", authors=["a"], licence="b", description="c",
        hardware="d", command="e", system="baselines.classical.popularity:Popularity",
    )  # fmt: skip
    execute(card, toy, "reranking", tmp_path / "run.jsonl", split=split)
    found = score(read_run(tmp_path / "run.jsonl", toy))
    assert found.floors.popularity == values(found)


def test_the_random_floor_is_what_random_orders_score_on_average(toy: Task, tmp_path: Path) -> None:
    random, runs = np.random.default_rng(7), 40
    found = scored(
        toy, tmp_path, lambda request, run: random.permutation(given(request, run)).tolist(),
        runs=runs,
    )  # fmt: skip
    for metric, interval in found.metrics.items():
        assert interval.std_between_runs is not None
        error = interval.std_between_runs / runs**0.5
        assert abs(interval.value - found.floors.random[metric]) < 4 * error


@pytest.mark.parametrize("split", SPLITS)
def test_rescaled_is_one_at_the_ceiling_and_nought_at_chance(
    toy: Task, tmp_path: Path, split: str
) -> None:
    target = dict(zip(toy.request_ids(split).to_pylist(), sole(toy, split), strict=True))

    def oracle(request: Request, run: int) -> list[str]:
        return sorted(given(request, run), key=lambda item: item != target[request.request_id])

    best = scored(toy, tmp_path, oracle, split)
    assert values(best) == best.floors.ceiling
    assert set(best.floors.ceiling.values()) != {1.0}
    assert best.rescaled == dict.fromkeys(METRICS, 1.0)
    none = scored(toy, tmp_path, lambda request, run: [], split)
    kept = scored(toy, tmp_path, given, split)
    for metric in METRICS:
        low, high = best.floors.random[metric], best.floors.ceiling[metric]
        assert none.rescaled[metric] == pytest.approx(-low / (high - low), abs=1e-8)
        between = (kept.metrics[metric].value - low) / (high - low)
        assert kept.rescaled[metric] == pytest.approx(between, abs=1e-8)


# What else a score says.


def test_there_is_no_order_to_mind_but_runs_may_agree(toy: Task, tmp_path: Path) -> None:
    found = scored(toy, tmp_path, given, runs=4)
    assert found.order is None
    assert found.agreement is not None
    assert (found.agreement.pairs, found.agreement.first, found.agreement.top10) == (6, 1.0, 1.0)
    assert scored(toy, tmp_path, given).agreement is None
    assert len({*found.top_digests}) == 1


def test_to_keep_the_order_of_a_first_stage_raises_no_alarm(toy: Task, tmp_path: Path) -> None:
    assert scored(toy, tmp_path, given).alarms == []
    assert scored(toy, tmp_path, given, runs=3).alarms == []


def test_no_score_is_above_the_ceiling_in_any_alarm(toy: Task, tmp_path: Path) -> None:
    for rank in (given, lambda request, run: given(request, run)[::-1]):
        codes = {alarm.code for alarm in scored(toy, tmp_path, rank).alarms}
        assert not codes & {"above-ceiling", "recall-not-mrr", "too-good"}


def test_slices_average_to_the_whole(toy: Task, tmp_path: Path) -> None:
    found = scored(toy, tmp_path, given)
    parts = [found.slices[name] for name in ("tied", "not tied")]
    assert sum(part.requests for part in parts) == found.requests
    for metric, interval in found.metrics.items():
        total = sum(part.metrics[metric].value * part.requests for part in parts)
        assert total / found.requests == pytest.approx(interval.value, abs=1e-9)


# Checking run files.


def refused(task: Task, folder: Path, rank: Rank, **more: Any) -> RunRefused:
    with pytest.raises(RunRefused) as caught:
        scored(task, folder, rank, **more)
    return caught.value


@pytest.mark.parametrize("split", SPLITS)
def test_items_outside_the_pool_are_refused_the_target_above_all(
    toy: Task, tmp_path: Path, split: str
) -> None:
    target = dict(zip(toy.request_ids(split).to_pylist(), sole(toy, split), strict=True))
    missing = [
        request.request_id
        for request in toy.requests(split, "reranking")
        if target[request.request_id] not in (request.candidates or ())
    ]

    def tempted(request: Request, run: int) -> list[str]:
        return [*given(request, run)[:3], target[request.request_id]]

    def sneaks(request: Request, run: int) -> list[str]:
        held = target[request.request_id] in given(request, run)
        return given(request, run) if held else tempted(request, run)

    found = refused(toy, tmp_path, sneaks, split=split)
    assert found.by_code == {"item-not-in-pool": len(missing)}
    first = found.problems[0]
    line = toy.requests(split).ids.index(missing[0]) + 2
    assert (first.line, first.field) == (line, "items[3]")
    assert f"expected one of its {SIZE} ids" in first.message


def test_what_was_seen_is_refused(toy: Task, tmp_path: Path) -> None:
    found = refused(toy, tmp_path, lambda request, run: request.history[-1:], runs=2)
    assert found.by_code == {"item-not-in-pool": 2 * len(toy.requests("test"))}


def test_a_candidate_may_be_named_once(toy: Task, tmp_path: Path) -> None:
    found = refused(toy, tmp_path, lambda request, run: given(request, run)[:1] * 2)
    assert set(found.by_code) == {"repeated-item"}


def test_the_pools_of_the_other_split_are_refused(toy: Task, tmp_path: Path) -> None:
    validation = {
        request.request_id: request.candidates
        for request in toy.requests("validation", "reranking")
    }
    found = refused(toy, tmp_path, lambda request, run: validation[request.request_id] or [])
    assert set(found.by_code) == {"item-not-in-pool"}


def test_a_run_of_another_track_is_refused(toy: Task, tmp_path: Path) -> None:
    path = run_of(toy, tmp_path, given, "test")
    path.write_bytes(
        path.read_bytes().replace(
            toy.digest("reranking").encode(), toy.digest("ranking").encode(), 1
        )
    )
    with pytest.raises(RunRefused, match="it is that of ranking"):
        read_run(path, toy)


def test_short_rankings_and_repeated_runs_are_taken_as_they_are(toy: Task, tmp_path: Path) -> None:
    def fewer(request: Request, run: int) -> list[str]:
        return given(request, run)[:: run + 1][: 3 * run]

    found = scored(toy, tmp_path, fewer, runs=4)
    pools, targets = pools_of(toy, "test"), sole(toy, "test")
    for metric in METRICS:
        by_run = [
            mean_gain(metric, [pool[:: run + 1][: 3 * run] for pool in pools], targets)
            for run in range(4)
        ]
        assert found.metrics[metric].value == pytest.approx(sum(by_run) / 4, abs=1e-9)
    assert found.validity.valid_share == 0.75


# A task without times: the rows' own order is all that is known.

RECIPE = read_recipe(recipes_folder() / "toy-v1")
RAW = generate_toy(RECIPE.source.seed)


def mixed(seed: int = 9) -> list[dict[str, Any]]:
    """The toy's events in an order that has nothing to do with time or users."""
    order = np.random.default_rng(seed).permutation(RAW.log.num_rows)
    return RAW.log.take(pa.array(order)).to_pylist()


def without_times(events: list[dict[str, Any]]) -> RawData:
    log = pa.Table.from_pylist(
        [{**event, "timestamp": None} for event in events], schema=RAW.log.schema
    )
    return RawData(log, RAW.items, RAW.descriptions, in_row_order=True)


def in_folder(raw: RawData, folder: Path) -> Task:
    frozen, counts = freeze(RECIPE, raw)
    write_tables(folder, frozen)
    return Task(RECIPE, manifest_of(RECIPE, frozen, counts), folder)


@pytest.fixture(scope="module")
def untimed(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return in_folder(without_times(mixed()), tmp_path_factory.mktemp("untimed"))


def lives(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for event in events:
        found[event["user_id"]].append(event["item_id"])
    return found


def test_no_table_of_an_untimed_task_holds_a_time(untimed: Task) -> None:
    untimed.verify()
    for name in ("interactions", "requests"):
        table = pq.read_table(untimed.folder / "data" / f"{name}.parquet")
        assert table["timestamp"].null_count == table.num_rows > 0
        assert table.schema.field("timestamp").type == pa.int64()
    assert {request.timestamp for request in untimed.requests("test")} == {None}


@pytest.mark.parametrize("split", SPLITS)
def test_the_order_of_rows_says_what_is_asked(untimed: Task, split: str) -> None:
    expected = lives(mixed())
    back = {"test": 1, "validation": 2}[split]
    targets = relevant(untimed, split)
    requests = list(untimed.requests(split, "reranking"))
    assert {request.user_id for request in requests} == expected.keys()
    for request in requests:
        life = expected[request.user_id]
        assert request.history == life[:-back]
        assert targets[request.request_id] == [life[-back]]
        assert not {*(request.candidates or ())} & {*request.history}


def test_interactions_stand_in_the_order_of_rows(untimed: Task) -> None:
    ended = {user: {life[-1]} for user, life in lives(mixed()).items()}
    expected = [
        (event["user_id"], event["item_id"])
        for event in mixed()
        if event["item_id"] not in ended[event["user_id"]]
    ]
    table = pq.read_table(untimed.folder / "data" / "interactions.parquet").to_pylist()
    assert [(row["user_id"], row["item_id"]) for row in table] == expected


@pytest.mark.parametrize("split", SPLITS)
def test_the_log_of_an_untimed_task_keeps_the_order_of_rows(untimed: Task, split: str) -> None:
    log, back = untimed.log(split), {"test": 1, "validation": 2}[split]
    assert not log.timed
    found: dict[str, list[str]] = defaultdict(list)
    for user, item in zip(log.user.tolist(), log.item.tolist(), strict=True):
        found[log.user_ids[user].as_py()].append(log.item_ids[item].as_py())
    assert found == {user: life[:-back] for user, life in lives(mixed()).items()}
    assert list(found) == sorted(found)
    same = log.user[1:] == log.user[:-1]
    assert (np.diff(log.timestamp)[same] > 0).all()


def test_nobody_is_tied_where_there_are_no_times(untimed: Task) -> None:
    for split in SPLITS:
        assert not untimed.targets(split).tied.any()
    assert untimed.manifest.counts["tied_test_targets"] == 0


@pytest.mark.parametrize("split", SPLITS)
def test_no_slice_is_by_time_where_there_are_no_times(untimed: Task, toy: Task, split: str) -> None:
    assert untimed.visible(split).pause is None
    assert toy.visible(split).pause is not None
    found = set(slices_of(untimed, split))
    assert not found & {*PAUSE, "tied", "not tied"}
    assert found == set(slices_of(toy, split)) - {*PAUSE, "tied", "not tied"}
    counts = Counter(
        event["item_id"]
        for event in untimed.table("interactions").to_pylist()
        if event["part"] in PARTS[split]
    )
    assert untimed.visible(split).events.tolist() == [counts[item] for item in untimed.items.ids]


def test_times_beside_a_stated_order_of_rows_count_for_nothing(untimed: Task) -> None:
    for events in (mixed(), [{**event, "timestamp": 5} for event in mixed()]):
        log = pa.Table.from_pylist(events, schema=RAW.log.schema)
        raw = RawData(log, RAW.items, RAW.descriptions, in_row_order=True)
        assert manifest_of(RECIPE, *freeze(RECIPE, raw)) == untimed.manifest


def test_rows_in_the_order_of_time_ask_what_times_ask(untimed: Task) -> None:
    timed, _ = freeze(RECIPE, RAW)
    tied = {row["request_id"] for row in timed["targets"].to_pylist() if row["tied"]}
    ordered = RAW.log.take(pc.sort_indices(RAW.log, [("timestamp", "ascending")])).to_pylist()
    rows, _ = freeze(RECIPE, without_times(ordered))
    assert rows["items"].equals(timed["items"])
    pairs = zip(timed["targets"].to_pylist(), rows["targets"].to_pylist(), strict=True)
    asked = [(one, other) for one, other in pairs if one["request_id"] not in tied]
    assert len(asked) > 200
    assert all(one == other for one, other in asked)


def test_another_order_of_rows_is_another_task(untimed: Task) -> None:
    again = manifest_of(RECIPE, *freeze(RECIPE, without_times(mixed())))
    assert again == untimed.manifest
    backwards = manifest_of(RECIPE, *freeze(RECIPE, without_times(mixed()[::-1])))
    assert backwards.tables["targets"] != untimed.manifest.tables["targets"]


@pytest.mark.parametrize("track", ["retrieval", "reranking"])
def test_methods_work_and_are_scored_without_times(
    untimed: Task, tmp_path: Path, track: str
) -> None:
    card = Card(
        name="popularity", title="Popularity", authors=["a"], licence="b", description="c",
        hardware="d", command="e", system="baselines.classical.popularity:Popularity",
    )  # fmt: skip
    execute(card, untimed, track, tmp_path / "run.jsonl")
    found = score(read_run(tmp_path / "run.jsonl", untimed))
    assert 0 < found.metrics["ndcg@10"].value < found.floors.ceiling["ndcg@10"]
    assert found.floors.popularity == values(found)
