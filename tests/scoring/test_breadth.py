"""Beyond accuracy: by hand, and against plain Python on random runs."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from llm4rec_bench import Task, read_run, score
from llm4rec_bench.scoring.breadth import _mean_distance
from llm4rec_bench.statistics import gini
from tests.scoring.test_score import random_rows, write_run


def plainly(task: Task, rows: list[dict], split: str = "test") -> dict[str, float]:
    """Every measure by its definition, from the published tables."""
    events = Counter(
        event["item_id"]
        for event in task.table("interactions").to_pylist()
        if split == "test" or event["part"] == "train"
    )
    ids = task.items.ids
    total = sum(events.values()) + len(ids)
    categories = dict(zip(ids, task.items.table["categories"].to_pylist(), strict=True))
    tops = [row["items"][:10] for row in rows]
    shown = Counter(item for top in tops for item in top)
    history = [events[item] for request in task.requests(split) for item in request.history]
    counts = [shown[item] for item in ids]
    pairs = sum(abs(a - b) for a in counts for b in counts)

    def distance(a: str, b: str) -> float:
        one, other = set(categories[a]), set(categories[b])
        return 1 - len(one & other) / len(one | other)

    varied = [
        np.mean([distance(a, b) for a, b in combinations(top, 2)]) for top in tops if len(top) > 1
    ]
    items = [item for top in tops for item in top]
    return {
        "coverage": len(shown) / len(ids),
        "gini": pairs / (2 * len(ids) * sum(counts)),
        "novelty": np.mean([-math.log2((events[item] + 1) / total) for item in items]),
        "popularity_lift": np.mean([events[item] for item in items]) / np.mean(history) - 1,
        "diversity": np.mean(varied),
    }


@pytest.mark.parametrize("track", ["retrieval", "ranking"])
@pytest.mark.parametrize("runs", [1, 2])
def test_measures_are_what_they_are_defined_as(
    toy: Task, tmp_path: Path, track: str, runs: int
) -> None:
    rows = random_rows(toy, track, runs=runs)
    found = score(read_run(write_run(tmp_path / "run.jsonl", toy, track, rows), toy)).breadth
    expected = plainly(toy, rows)
    each = [plainly(toy, [row for row in rows if row["run"] == run]) for run in range(runs)]
    for name in ("coverage", "gini"):  # which grow with the number of rankings
        expected[name] = np.mean([of_run[name] for of_run in each])
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, abs=1e-7)


def test_validation_runs_are_measured_by_what_validation_sees(toy: Task, tmp_path: Path) -> None:
    rows = random_rows(toy, "ranking", split="validation")
    path = write_run(tmp_path / "run.jsonl", toy, "ranking", rows, "validation")
    found = score(read_run(path, toy)).breadth
    expected = plainly(toy, rows, "validation")
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, abs=1e-7)


def test_a_run_without_items_has_no_breadth(toy: Task, tmp_path: Path) -> None:
    rows = [{"request_id": name, "items": []} for name in toy.requests("test").ids]
    path = write_run(tmp_path / "run.jsonl", toy, "ranking", rows)
    assert score(read_run(path, toy)).breadth is None


def test_single_items_have_no_diversity(toy: Task, tmp_path: Path) -> None:
    requests = toy.requests("test", "ranking")
    rows = [{"request_id": r.request_id, "items": r.candidates[:1]} for r in requests]
    found = score(read_run(write_run(tmp_path / "run.jsonl", toy, "ranking", rows), toy)).breadth
    assert found.diversity is None
    assert found.coverage > 0


@pytest.mark.parametrize(
    ("counts", "expected"), [([5, 5, 5, 5], 0.0), ([0, 0, 0, 8], 0.75), ([1, 3], 0.25)]
)
def test_gini_by_hand(counts: list[int], expected: float) -> None:
    assert gini(np.array(counts)) == pytest.approx(expected)


def test_distances_by_hand() -> None:
    # {a, b} and {b, c} share one of three; an item without categories is unlike both.
    one, other, none = [1, 1, 0], [0, 1, 1], [0, 0, 0]
    has = np.array([[one, other, none], [one, one, one], [none, none, none]], np.float32)
    assert _mean_distance(has).tolist() == pytest.approx([(2 / 3 + 1 + 1) / 3, 0, 0])
