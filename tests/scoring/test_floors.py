"""Floors and ceiling: each is what some run on the same requests would score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from llm4rec_bench import Score, Task, read_run, score
from llm4rec_bench.run.execute import execute
from llm4rec_bench.submission import Card
from tests.scoring.test_score import TRACKS, relevant, task_with_gaps, write_run

POOLS = TRACKS[1:]
SPLITS = ("test", "validation")


def scored(
    task: Task, track: str, split: str, rankings: Sequence[Sequence[Sequence[str]]], folder: Path
) -> Score:
    """The score of rankings by run and request."""
    ids = task.requests(split, track).ids
    rows = [
        {"request_id": name, "run": run, "items": list(items[:100])}
        for run, one in enumerate(rankings)
        for name, items in zip(ids, one, strict=True)
    ]
    return score(read_run(write_run(folder / "run.jsonl", task, track, rows, split), task))


def rankable(task: Task, track: str, split: str, run: int = 0) -> list[list[str]]:
    """What each request may be answered with, in the order it is handed over."""
    return [
        request.candidates or [item for item in task.items.ids if item not in {*request.history}]
        for request in task.requests(split, track, run)
    ]


def values(found: Score) -> dict[str, float]:
    return {metric: interval.value for metric, interval in found.metrics.items()}


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return task_with_gaps(tmp_path_factory.mktemp("gaps"))


@pytest.fixture(params=["toy", "gaps"])
def task(request: pytest.FixtureRequest) -> Task:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("split", SPLITS)
def test_the_popularity_floor_is_the_score_of_the_popularity_baseline(
    task: Task, tmp_path: Path, track: str, split: str
) -> None:
    card = Card(
        name="popularity", title="Popularity", authors=["a"], licence="b", description="c",
        hardware="d", command="e", system="baselines.classical.popularity:Popularity",
    )  # fmt: skip
    path = tmp_path / "run.jsonl"
    execute(card, task, track, path, split=split)
    found = score(read_run(path, task))
    assert found.floors.popularity == values(found)


@pytest.mark.parametrize("split", SPLITS)
def test_popularity_counts_what_the_split_may_see(toy: Task, tmp_path: Path, split: str) -> None:
    parts = {"test": {"train", "validation"}, "validation": {"train"}}[split]
    table = pq.read_table(toy.folder / "data" / "interactions.parquet").to_pylist()
    events = Counter(row["item_id"] for row in table if row["part"] in parts)
    place = {item: (-events[item], row) for row, item in enumerate(toy.items.ids)}
    rankings = [sorted(pool, key=place.__getitem__) for pool in rankable(toy, "ranking", split)]
    found = scored(toy, "ranking", split, [rankings], tmp_path)
    assert found.floors.popularity == values(found)


@pytest.mark.parametrize("track", POOLS)
@pytest.mark.parametrize("runs", [1, 2, 3, 4])
def test_as_given_is_the_score_of_the_candidates_as_they_came(
    task: Task, tmp_path: Path, track: str, runs: int
) -> None:
    given = [rankable(task, track, "test", run) for run in range(runs)]
    found = scored(task, track, "test", given, tmp_path)
    assert found.floors.as_given == pytest.approx(values(found), abs=1e-9)


def test_as_given_means_nothing_without_pools(toy: Task, tmp_path: Path) -> None:
    given = [rankable(toy, "retrieval", "test")]
    assert scored(toy, "retrieval", "test", given, tmp_path).floors.as_given is None


@pytest.mark.parametrize("track", TRACKS)
def test_the_random_floor_is_what_random_rankings_score_on_average(
    task: Task, tmp_path: Path, track: str
) -> None:
    random, runs = np.random.default_rng(5), 40
    shuffled = [
        [random.permutation(pool).tolist() for pool in rankable(task, track, "test", run)]
        for run in range(runs)
    ]
    found = scored(task, track, "test", shuffled, tmp_path)
    for metric, interval in found.metrics.items():
        assert interval.std_between_runs is not None
        error = interval.std_between_runs / runs**0.5
        assert abs(interval.value - found.floors.random[metric]) < 4 * error


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("split", SPLITS)
def test_an_oracle_attains_the_ceiling(task: Task, tmp_path: Path, track: str, split: str) -> None:
    oracle = [
        sorted(pool, key=lambda item, own=own: item not in own)
        for pool, own in zip(
            rankable(task, track, split), relevant(task, split).values(), strict=True
        )
    ]
    found = scored(task, track, split, [oracle], tmp_path)
    assert values(found) == found.floors.ceiling


def test_a_pool_without_its_target_lowers_the_ceiling(gaps: Task, tmp_path: Path) -> None:
    given = [rankable(gaps, "ranking", "test")]
    ceiling = scored(gaps, "ranking", "test", given, tmp_path).floors.ceiling
    found = [
        len({*pool} & {*own}) for pool, own in zip(given[0], relevant(gaps).values(), strict=True)
    ]
    assert 0 < found.count(0) < found.count(2) < len(found)
    assert ceiling["recall@10"] == pytest.approx(sum(found) / 2 / len(found), abs=1e-9)
    assert ceiling["mrr@10"] == pytest.approx(1 - found.count(0) / len(found), abs=1e-9)


@pytest.mark.parametrize("track", TRACKS)
def test_where_every_target_may_be_ranked_the_ceiling_is_1(
    toy: Task, tmp_path: Path, track: str
) -> None:
    given = [rankable(toy, track, "test")]
    ceiling = scored(toy, track, "test", given, tmp_path).floors.ceiling
    assert set(ceiling.values()) == {1.0}
