"""Order sensitivity and agreement: stubs with a known bias show exactly what is expected."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from llm4rec_bench import Request, Score, Task, read_run, score
from tests.scoring.test_score import write_run

Rank = Callable[[Request, int], list[str]]
"""From a request and the number of a run to a ranking."""


def scored(task: Task, folder: Path, rank: Rank, runs: int = 3, track: str = "ranking") -> Score:
    rows = [
        {"request_id": request.request_id, "run": run, "items": rank(request, run)}
        for run in range(runs)
        for request in task.requests("test", track, run)
    ]
    return score(read_run(write_run(folder / "run.jsonl", task, track, rows), task))


def given(request: Request, run: int) -> list[str]:
    return list(request.candidates or ())


def by_id(request: Request, run: int) -> list[str]:
    return sorted(request.candidates or ())


def shuffled(request: Request, run: int) -> list[str]:
    return random.Random(f"{request.request_id} {run}").sample(sorted(request.candidates or ()), 20)


def test_one_who_keeps_the_order_has_all_from_the_first_places(toy: Task, tmp_path: Path) -> None:
    found = scored(toy, tmp_path, given)
    assert found.order is not None
    # A target at place p of the list stands at rank p, so nothing beyond the tenth counts.
    assert list(found.order.by_place) == [
        "places 1–5", "places 6–10", "places 11–15", "places 16–20",
    ]  # fmt: skip
    values = [part.value for part in found.order.by_place.values()]
    assert values[0] > 0.5 > values[1] > 0.28
    assert values[2:] == [0.0, 0.0]
    assert sum(part.rows for part in found.order.by_place.values()) == 900
    across = found.order.across_orders
    assert across is not None
    assert across.pairs == 3
    assert across.first < 0.15  # one in twenty by chance
    assert 0.45 < across.top10 < 0.55


def test_one_who_minds_no_order_ranks_alike_in_all(toy: Task, tmp_path: Path) -> None:
    found = scored(toy, tmp_path, by_id)
    assert found.order is not None
    assert found.order.across_orders == found.agreement
    assert found.agreement is not None
    assert (found.agreement.pairs, found.agreement.first, found.agreement.top10) == (3, 1.0, 1.0)


def test_parts_and_agreement_are_those_of_a_plain_computation(toy: Task, tmp_path: Path) -> None:
    found = scored(toy, tmp_path, shuffled, runs=5)
    ids, targets = toy.items.ids, toy.targets("test").items[:, 0]
    sums: dict[int, list[float]] = {}
    first: list[bool] = []
    common: list[float] = []
    tops: list[list[list[str]]] = []
    for run in range(5):
        requests = list(toy.requests("test", "ranking", run))
        tops.append([shuffled(request, run)[:10] for request in requests])
        for request, target, top in zip(requests, targets, tops[-1], strict=True):
            place = (request.candidates or []).index(ids[target])
            gain = 1 / math.log2(top.index(ids[target]) + 2) if ids[target] in top else 0.0
            sums.setdefault(place // 5, []).append(gain)
    for one, other in combinations(tops, 2):
        first += [a[0] == b[0] for a, b in zip(one, other, strict=True)]
        common += [len(set(a) & set(b)) / 10 for a, b in zip(one, other, strict=True)]
    assert found.order is not None
    assert found.agreement is not None
    for number, part in enumerate(found.order.by_place.values()):
        assert part.rows == len(sums[number])
        assert part.value == pytest.approx(sum(sums[number]) / len(sums[number]), abs=1e-9)
        assert part.low < part.value < part.high
    assert found.agreement.first == pytest.approx(sum(first) / len(first))
    assert found.agreement.top10 == pytest.approx(sum(common) / len(common))
    # Runs 0 and 3, and 1 and 4, see the same order.
    assert found.order.across_orders is not None
    assert found.order.across_orders.pairs == 8


def test_short_and_empty_rankings_are_compared_by_the_longer(toy: Task, tmp_path: Path) -> None:
    def rank(request: Request, run: int) -> list[str]:
        if request.request_id == "u001":
            return []
        return by_id(request, run)[: 4 if run else 2]

    found = scored(toy, tmp_path, rank, runs=2)
    assert found.agreement is not None
    assert (found.agreement.first, found.agreement.top10) == (1.0, 0.5)


def test_nobody_agrees_where_nothing_is_ranked(toy: Task, tmp_path: Path) -> None:
    found = scored(toy, tmp_path, lambda request, run: [], runs=2)
    assert found.agreement is None


def test_of_many_runs_each_is_compared_with_the_next(toy: Task, tmp_path: Path) -> None:
    found = scored(toy, tmp_path, by_id, runs=12)
    assert found.agreement is not None
    assert found.agreement.pairs == 11


def test_a_single_run_and_the_whole_catalogue_have_no_orders(toy: Task, tmp_path: Path) -> None:
    single = scored(toy, tmp_path, by_id, runs=1)
    assert single.agreement is None
    assert single.order is not None
    assert single.order.across_orders is None

    def unseen(request: Request, run: int) -> list[str]:
        return [item for item in toy.items.ids if item not in request.history][:5]

    whole = scored(toy, tmp_path, unseen, runs=2, track="retrieval")
    assert whole.order is None
    assert whole.agreement is not None


def told(found: Score) -> list[str]:
    return [alarm.code for alarm in found.alarms]


def test_an_order_that_is_kept_is_told(toy: Task, tmp_path: Path) -> None:
    assert told(scored(toy, tmp_path, given)) == ["order-as-given"]
    assert told(scored(toy, tmp_path, lambda request, run: given(request, run)[:3])) == [
        "order-as-given"
    ]
    assert told(scored(toy, tmp_path, lambda request, run: given(request, run)[:1])) == []
    assert told(scored(toy, tmp_path, by_id)) == []


def test_one_that_knows_the_targets_trips_the_wire(toy: Task, tmp_path: Path) -> None:
    ids = toy.items.ids
    targets = dict(
        zip(toy.requests("test").ids, toy.targets("test").items[:, 0].tolist(), strict=True)
    )

    def knows(share: float) -> Any:
        def rank(request: Request, run: int) -> list[str]:
            target = ids[targets[request.request_id]]
            others = [item for item in shuffled(request, run) if item != target]
            known = random.Random(request.request_id).random() < share
            return [target, *others] if known else [*others, target]

        return rank

    assert told(scored(toy, tmp_path, knows(1.0))) == ["too-good"]
    assert told(scored(toy, tmp_path, knows(0.7))) == ["too-good"]
    assert told(scored(toy, tmp_path, knows(0.4))) == []
