"""Order sensitivity and agreement: stubs with a known bias show exactly what is expected."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from llm4rec_bench import Request, Score, Task, read_run, score
from llm4rec_bench.scoring.order import _p_of_places
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
    across = found.order.other_order
    assert across is not None
    assert across.pairs == 3
    assert across.first < 0.15  # one in twenty by chance
    assert 0.45 < across.top10 < 0.55


def test_one_who_minds_no_order_ranks_alike_in_all(toy: Task, tmp_path: Path) -> None:
    found = scored(toy, tmp_path, by_id)
    assert found.order is not None
    assert found.order.other_order == found.agreement
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
    assert found.order.other_order is not None
    assert found.order.same_order is not None
    assert (found.order.other_order.pairs, found.order.same_order.pairs) == (8, 2)


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
    assert (single.order.same_order, single.order.other_order) == (None, None)

    def unseen(request: Request, run: int) -> list[str]:
        return [item for item in toy.items.ids if item not in request.history][:5]

    whole = scored(toy, tmp_path, unseen, runs=2, track="retrieval")
    assert whole.order is None
    assert whole.agreement is not None


def test_a_place_that_matters_has_a_small_p_and_one_that_does_not_any(
    toy: Task, tmp_path: Path
) -> None:
    biased = scored(toy, tmp_path, given, runs=1).order
    assert biased is not None
    assert biased.p is not None
    assert biased.p < 1e-6
    blind = scored(toy, tmp_path, by_id).order  # the same in every order, request by request
    assert blind is not None
    assert blind.p is None


def test_p_is_uniform_where_places_do_not_matter(toy: Task) -> None:
    draw = np.random.default_rng(5)
    for orders in (1, 3):
        found = [
            _p_of_places(draw.exponential(size=(orders, 300)), draw.integers(0, 4, (orders, 300)))
            for _ in range(2000)
        ]
        assert stats.kstest(found, "uniform").statistic < 0.05


def test_p_of_one_order_is_that_of_a_permutation_test() -> None:
    draw = np.random.default_rng(6)
    group = draw.integers(0, 4, 400)
    values = draw.random(400) + 0.06 * group

    def spread(labels: Any) -> float:
        parts = [values[labels == number] for number in range(4)]
        return sum(len(part) * (part.mean() - values.mean()) ** 2 for part in parts)

    as_far = [spread(draw.permutation(group)) >= spread(group) for _ in range(4000)]
    assert _p_of_places(values[None], group[None]) == pytest.approx(np.mean(as_far), abs=0.02)


def test_repeats_in_one_order_count_once(toy: Task) -> None:
    draw = np.random.default_rng(7)
    values, group = draw.random((3, 200)), draw.integers(0, 4, (3, 200))
    once = _p_of_places(values, group)
    twice = _p_of_places(np.concatenate([values, values]), np.concatenate([group, group]))
    assert once == twice


def told(found: Score) -> list[str]:
    return [alarm.code for alarm in found.alarms]


def test_an_order_that_is_kept_is_told(toy: Task, tmp_path: Path) -> None:
    kept = ["order-as-given"]
    assert told(scored(toy, tmp_path, given)) == kept
    assert told(scored(toy, tmp_path, lambda request, run: given(request, run)[:3])) == kept
    assert told(scored(toy, tmp_path, lambda request, run: given(request, run)[:1])) == []
    assert told(scored(toy, tmp_path, by_id)) == []
    orders = [
        {request.request_id: request.candidates for request in toy.requests("test", "ranking", run)}
        for run in range(3)
    ]
    # The order of another run, its end another, or most requests without an answer.
    assert told(scored(toy, tmp_path, lambda r, run: orders[0][r.request_id])) == kept
    turned = scored(toy, tmp_path, lambda r, run: [*given(r, run)[:18], *given(r, run)[:17:-1]])
    assert told(turned) == kept
    some = scored(toy, tmp_path, lambda r, run: given(r, run) if r.request_id < "u050" else [])
    assert told(some) == kept


def knowing(toy: Task, share: float, place: int = 0) -> Rank:
    """Puts the target at a place in so many requests, and last in the others."""
    names = toy.requests("test").ids
    ids, rows = toy.items.ids, toy.targets("test").items[:, 0].tolist()
    targets = {name: ids[row] for name, row in zip(names, rows, strict=True)}

    def rank(request: Request, run: int) -> list[str]:
        target = targets[request.request_id]
        seen = set(request.history)
        allowed = request.candidates or [item for item in ids if item not in seen]
        others = [item for item in sorted(allowed) if item != target]
        if random.Random(request.request_id).random() < share:
            return [*others[:place], target, *others[place:]]
        return [*others, target]

    return rank


@pytest.mark.parametrize(
    ("track", "share", "place", "expected"),
    [
        ("retrieval", 1.0, 0, ["too-good"]),
        ("retrieval", 0.6, 0, []),  # of fewer than fifty items
        ("ranking", 1.0, 0, ["too-good"]),
        ("ranking", 0.9, 0, ["too-good"]),
        ("ranking", 0.6, 0, []),
    ],
)
def test_one_that_knows_the_targets_trips_the_wire(
    toy: Task, tmp_path: Path, track: str, share: float, place: int, expected: list[str]
) -> None:
    assert told(scored(toy, tmp_path, knowing(toy, share, place), track=track)) == expected
