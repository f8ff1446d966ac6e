"""Metrics against an independent implementation, by hand, and by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG

from llm4rec_bench.errors import UsageError
from llm4rec_bench.metrics import (
    Metric,
    best_ranks,
    discounts,
    expected_at_random,
    parse_metric,
    per_request,
)

ITEMS = "abcdefghij"
THEIRS = {"recall": R, "ndcg": nDCG, "mrr": RR}
KINDS = sorted(THEIRS)

Case = tuple[str, str]
"""A ranking and the targets of one request, one letter an item."""


def ranks_of(cases: Sequence[Case], widest: int = 0) -> np.ndarray:
    """Ranks as the package wants them, found the slow way."""
    width = max([widest, *(len(targets) for _, targets in cases)])
    rows = [[ranking.find(target) + 1 for target in targets] for ranking, targets in cases]
    return np.array([row + [-1] * (width - len(row)) for row in rows], np.int64)


def value(kind: str, k: int, case: Case) -> float:
    return float(Metric(kind, k)(ranks_of([case]))[0])


@st.composite
def _cases(draw: st.DrawFn) -> list[Case]:
    """Requests with one to four targets; lists may be short, empty, or miss targets."""
    some = st.lists(st.sampled_from(ITEMS), unique=True).map("".join)
    targets = st.lists(st.sampled_from(ITEMS), unique=True, min_size=1, max_size=4).map("".join)
    return draw(st.lists(st.tuples(some, targets), min_size=1, max_size=6))


@settings(deadline=None)
@given(_cases(), st.sampled_from(KINDS), st.integers(1, 12))
def test_every_metric_equals_ir_measures(cases: list[Case], kind: str, k: int) -> None:
    judged = [
        ir_measures.Qrel(str(number), target, 1)
        for number, (_, targets) in enumerate(cases)
        for target in targets
    ]
    ranked = [
        ir_measures.ScoredDoc(str(number), item, float(-place))
        for number, (ranking, _) in enumerate(cases)
        for place, item in enumerate(ranking)
    ]
    theirs = {
        found.query_id: found.value
        for found in ir_measures.iter_calc([THEIRS[kind] @ k], judged, ranked)
    }
    ours = Metric(kind, k)(ranks_of(cases))
    # A request without a ranking is not always told; it counts 0 there too.
    expected = [theirs.get(str(number), 0.0) for number in range(len(cases))]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


LOG3, LOG4 = math.log2(3), math.log2(4)

BY_HAND: list[tuple[str, int, Case, float]] = [
    ("recall", 1, ("ab", "a"), 1.0),
    ("recall", 1, ("ab", "b"), 0.0),
    ("recall", 2, ("ab", "b"), 1.0),
    ("recall", 2, ("abc", "abc"), 2 / 3),
    ("recall", 1, ("a", "ab"), 1 / 2),
    ("recall", 5, ("", "a"), 0.0),
    ("recall", 5, ("bc", "a"), 0.0),
    ("ndcg", 1, ("ab", "a"), 1.0),
    ("ndcg", 10, ("ba", "a"), 1 / LOG3),
    ("ndcg", 10, ("bca", "a"), 1 / LOG4),
    ("ndcg", 2, ("bca", "a"), 0.0),
    ("ndcg", 3, ("bca", "a"), 1 / LOG4),
    ("ndcg", 10, ("a", "ab"), 1 / (1 + 1 / LOG3)),
    ("ndcg", 10, ("cab", "ab"), (1 / LOG3 + 1 / LOG4) / (1 + 1 / LOG3)),
    ("ndcg", 1, ("ab", "ab"), 1.0),
    ("ndcg", 10, ("", "ab"), 0.0),
    ("mrr", 10, ("abc", "c"), 1 / 3),
    ("mrr", 2, ("abc", "c"), 0.0),
    ("mrr", 3, ("abc", "c"), 1 / 3),
    ("mrr", 10, ("abc", "cb"), 1 / 2),
    ("mrr", 10, ("", "c"), 0.0),
]


@pytest.mark.parametrize(("kind", "k", "case", "expected"), BY_HAND)
def test_hand_worked_examples(kind: str, k: int, case: Case, expected: float) -> None:
    assert value(kind, k, case) == pytest.approx(expected, abs=1e-15)


def _dcg(hits: Sequence[int], discount: Callable[[int], float]) -> float:
    return sum(discount(rank) for rank in hits)


def _log2_next(rank: int) -> float:
    return 1.0 / math.log2(rank + 1)


def _ndcg_with(
    case: Case,
    k: int,
    discount: Callable[[int], float] = _log2_next,
    ideal: Callable[[int, int, int], int] = lambda targets, k, listed: min(targets, k),
) -> float:
    ranking, targets = case
    hits = [rank for rank, item in enumerate(ranking[:k], 1) if item in targets]
    best = range(1, ideal(len(targets), k, len(ranking)) + 1)
    return _dcg(hits, discount) / (_dcg(best, discount) or 1.0)


WRONG: dict[str, tuple[str, Callable[[Case, int], float]]] = {
    "recall divides by min(k, targets)": (
        "recall",
        lambda case, k: len(set(case[0][:k]) & set(case[1])) / min(k, len(case[1])),
    ),
    "recall divides by k": ("recall", lambda case, k: len(set(case[0][:k]) & set(case[1])) / k),
    "recall asks for any hit": ("recall", lambda case, k: float(bool({*case[0][:k]} & {*case[1]}))),
    "recall cuts one early": ("recall", lambda case, k: value("recall", k - 1, case)),
    "recall cuts one late": ("recall", lambda case, k: value("recall", k + 1, case)),
    "ndcg's ideal is over the list": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k, ideal=lambda targets, k, listed: min(targets, listed)),
    ),
    "ndcg's ideal is over all targets": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k, ideal=lambda targets, k, listed: targets),
    ),
    "ndcg's ideal is over k": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k, ideal=lambda targets, k, listed: k),
    ),
    "ndcg is not normalised": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k, ideal=lambda targets, k, listed: 1),
    ),
    "ndcg discounts by log2(rank)": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k, lambda rank: 1 / max(1.0, math.log2(rank))),
    ),
    "ndcg discounts by log2(rank + 2)": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k, lambda rank: 1 / math.log2(rank + 2)),
    ),
    "ndcg discounts by 1 + ln(rank)": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k, lambda rank: 1 / (1 + math.log(rank))),
    ),
    "ndcg takes a natural logarithm, its ideal another": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k) / math.log(2),
    ),
    "ndcg cuts one early": ("ndcg", lambda case, k: _ndcg_with((case[0][: k - 1], case[1]), k)),
    "ndcg cuts one late": (
        "ndcg",
        lambda case, k: _ndcg_with(case, k + 1, ideal=lambda targets, _, listed: min(targets, k)),
    ),
    "mrr counts from 0": (
        "mrr",
        lambda case, k: value("mrr", k, (case[0][1:] + case[0][:1], case[1])),
    ),
    "mrr takes the last target": (
        "mrr",
        lambda case, k: min((value("mrr", k, (case[0], t)) for t in case[1]), default=0),
    ),
    "mrr averages the targets": (
        "mrr",
        lambda case, k: sum(value("mrr", k, (case[0], t)) for t in case[1]) / len(case[1]),
    ),
    "mrr has no cut": ("mrr", lambda case, k: value("mrr", 1000, case)),
    "mrr cuts one early": ("mrr", lambda case, k: value("mrr", max(1, k - 1), case)),
}


@pytest.mark.parametrize("name", WRONG)
def test_no_plausible_wrong_definition_passes_the_hand_worked_examples(name: str) -> None:
    kind, wrong = WRONG[name]
    expected = [(wrong(case, k), right) for ours, k, case, right in BY_HAND if ours == kind and k]
    assert any(abs(found - right) > 1e-6 for found, right in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_request_is_0_and_keeps_its_place(kind: str) -> None:
    found = Metric(kind, 10)(ranks_of([("a", "a"), ("", "a"), ("a", "a"), ("", "abc")]))
    assert found.tolist() == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_to_the_widest_request_changes_nothing(kind: str) -> None:
    cases = [("bac", "a"), ("cab", "ab"), ("", "c")]
    metric = Metric(kind, 2)
    assert metric(ranks_of(cases, widest=9)).tolist() == metric(ranks_of(cases)).tolist()


def test_each_run_and_request_has_its_own_value() -> None:
    ranks = np.stack([ranks_of([("ab", "a"), ("ab", "b")]), ranks_of([("ba", "a"), ("", "b")])])
    assert per_request(Metric("mrr", 10), ranks).tolist() == [[1.0, 0.5], [0.5, 0.0]]


def test_a_rank_beyond_the_cut_gains_nothing() -> None:
    assert discounts(3).tolist() == [0.0, 1.0, 1 / LOG3, 1 / LOG4]


def _every_ranking(candidates: str) -> list[str]:
    return ["".join(order) for order in permutations(candidates)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "case", [("a", "a"), ("abcde", "a"), ("abcde", "abc"), ("abcde", "axy"), ("abcd", "xy")]
)
@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_the_expected_value_is_the_average_over_all_rankings(
    kind: str, case: tuple[str, str], k: int
) -> None:
    (candidates, targets), metric = case, Metric(kind, k)
    everything = ranks_of([(ranking, targets) for ranking in _every_ranking(candidates)])
    present = len({*candidates} & {*targets})
    found = expected_at_random(
        metric, np.array([len(candidates)]), np.array([present]), np.array([len(targets)])
    )
    assert found.tolist() == pytest.approx([metric(everything).mean()], abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_expected_values_are_found_request_by_request(kind: str) -> None:
    metric = Metric(kind, 2)
    sizes, present, targets = np.array([5, 1, 4]), np.array([3, 1, 0]), np.array([3, 1, 2])
    together = expected_at_random(metric, sizes, present, targets)
    alone = [
        expected_at_random(metric, sizes[[n]], present[[n]], targets[[n]])[0] for n in range(3)
    ]
    assert together.tolist() == alone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", ["a", "abc", "ax", "xy", "abcde"])
@pytest.mark.parametrize("k", [1, 2, 4, 10])
def test_the_ceiling_is_reached_by_a_ranking_and_passed_by_none(
    kind: str, targets: str, k: int
) -> None:
    candidates, metric = "abcde", Metric(kind, k)
    shorter = ["".join(part) for size in range(5) for part in combinations(candidates, size)]
    rankings = _every_ranking(candidates) + shorter
    ranks = ranks_of([(candidates, targets)])
    ceiling = metric(best_ranks(ranks > 0, ranks))[0]
    assert metric(ranks_of([(ranking, targets) for ranking in rankings])).max() == ceiling


def test_the_ceiling_leaves_unused_cells_alone() -> None:
    ranks = np.array([[4, 2, -1], [0, 7, 1]])
    assert best_ranks(ranks > 0, ranks).tolist() == [[1, 2, -1], [0, 1, 2]]


@pytest.mark.parametrize("name", ["ndcg@10", "recall@50", "mrr@1", "recall@9999"])
def test_a_metric_is_written_as_it_is_read(name: str) -> None:
    assert str(parse_metric(name)) == name


@pytest.mark.parametrize(
    "name", ["", "ndcg", "ndcg@", "ndcg@0", "ndcg@010", "nDCG@10", "map@10", "ndcg@10 ", "ndcg@٣"]
)
def test_other_spellings_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected recall@K, ndcg@K or mrr@K"):
        parse_metric(name)
