"""Means, intervals and percentiles against SciPy, the standard library and golden values."""

from __future__ import annotations

import statistics as standard
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llm4rec_bench.statistics import (
    PERCENTILES,
    Percentile,
    bootstrap,
    bootstrap_ratios,
    chi_square_tail,
    deviation_between,
    mean,
    order_statistics,
    percentiles,
    rounded,
)

VALUES = np.array([[0.0, 0.0], [0.5, 1.0], [1.0, 1 / 3]])
COUNTS = np.array([60, 25, 15])

NEAR = 0.35
"""Monte-Carlo error of a 2.5 % quantile of 1,000 resamples, in standard errors of the mean:
four times 0.085."""


def _theirs(sample: np.ndarray) -> tuple[float, float]:
    found = stats.bootstrap(
        (sample,), np.mean, method="percentile", n_resamples=20_000, vectorized=True,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    return found.confidence_interval.low, found.confidence_interval.high


@pytest.mark.parametrize("seed", range(4))
def test_intervals_equal_scipys_percentile_bootstrap(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.random((12, 2)) * [1.0, 0.2]
    counts = random.integers(1, 40, 12)
    for column, found in zip(values.T, bootstrap(values, counts), strict=True):
        sample = np.repeat(column, counts)
        error = sample.std() / np.sqrt(len(sample))
        np.testing.assert_allclose(found, _theirs(sample), rtol=0, atol=NEAR * error)
        assert found[0] < sample.mean() - error < sample.mean() + error < found[1]


def test_intervals_are_the_same_on_every_machine_and_every_call() -> None:
    expected = [(0.205, 0.35), (0.22666666666666668, 0.38333333333333336)]
    for _ in range(3):
        np.random.seed(0)
        np.testing.assert_allclose(bootstrap(VALUES, COUNTS), expected, rtol=0, atol=1e-12)


def test_all_metrics_share_the_resamples() -> None:
    (low, high), (mirrored_low, mirrored_high) = bootstrap(
        np.c_[VALUES[:, 0], 1.0 - VALUES[:, 0]], COUNTS
    )
    assert (mirrored_low, mirrored_high) == pytest.approx((1.0 - high, 1.0 - low), abs=1e-12)


def test_a_pattern_may_be_counted_in_parts() -> None:
    in_parts = np.repeat(VALUES, [3, 1, 2], axis=0)
    shares = np.array([20, 20, 20, 25, 10, 5])
    sample = np.repeat(VALUES, COUNTS, axis=0)
    error = sample.std(axis=0) / np.sqrt(len(sample))
    for whole, part, near in zip(
        bootstrap(VALUES, COUNTS), bootstrap(in_parts, shares), error, strict=True
    ):
        np.testing.assert_allclose(part, whole, rtol=0, atol=NEAR * near)


def test_where_all_requests_agree_the_interval_is_a_point() -> None:
    assert bootstrap(np.array([[0.25]]), np.array([7])) == [(0.25, 0.25)]


def test_a_million_requests_cost_no_more_than_their_patterns() -> None:
    ((low, high),) = bootstrap(np.array([[0.0], [1.0]]), np.array([700_000, 300_000]))
    error = (0.3 * 0.7 / 1e6) ** 0.5
    assert (low, high) == pytest.approx((0.3 - 1.96 * error, 0.3 + 1.96 * error), abs=NEAR * error)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1), st.randoms())
@settings(deadline=None)
def test_the_mean_is_exact_to_the_last_bit_but_one_in_any_order(pairs, random) -> None:
    shuffled = random.sample(pairs, len(pairs))

    def of(some: list[tuple[float, int]]) -> float:
        return mean(np.array([value for value, _ in some]), np.array([n for _, n in some]))

    exact = sum((Fraction(value) * n for value, n in pairs), Fraction()) / sum(n for _, n in pairs)
    assert of(pairs) == of(shuffled) == pytest.approx(float(exact), rel=1e-15, abs=1e-300)


def test_the_mean_weighs_by_count() -> None:
    assert mean(np.array([0.0, 1.0]), np.array([3, 1])) == 0.25


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_the_deviation_between_runs_is_that_of_a_sample(means: list[float]) -> None:
    found = deviation_between(means)
    assert found == pytest.approx(standard.stdev(means), abs=1e-12)
    assert found == pytest.approx(np.std(means, ddof=1), abs=1e-12)


def test_a_single_run_has_no_deviation() -> None:
    assert deviation_between([0.4]) is None


def test_percentiles_by_hand() -> None:
    # Of 0, 1 … 1000 the quantile q is 1000 q, whatever the order.
    values = np.random.default_rng(2).permutation(1001).astype(float)
    found = {name: by.value for name, by in percentiles(values).items()}
    assert found == {"p50": 500.0, "p90": 900.0, "p95": 950.0, "p99": 990.0}


def test_percentiles_lie_between_observations() -> None:
    assert percentiles(np.array([1.0] * 6 + [2.0] * 6)) == {"p50": Percentile(1.5, 1.0, 2.0)}


@settings(max_examples=200)
@given(st.integers(11, 100_000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_order_statistics_enclose_a_quantile_as_scipy_counts(number: int, q: float) -> None:
    low, high = order_statistics(number, q)
    # Places beyond the ends would be needed for the level; then the ends are given.
    below = stats.binom(number, q)
    assert low == 1 or below.cdf(low - 1) <= 0.025 + 1e-9
    assert below.cdf(low) > 0.025 - 1e-9
    assert high == number or below.cdf(high - 1) >= 0.975 - 1e-9
    assert below.cdf(high - 2) < 0.975 + 1e-9


def test_the_interval_of_a_percentile_covers_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    draws = random.exponential(size=(2000, 200))
    covered = [by.low <= np.log(2) <= by.high for by in (percentiles(row)["p50"] for row in draws)]
    assert 0.945 <= np.mean(covered) <= 0.985


def test_of_many_patterns_the_normal_limit_is_that_of_the_bootstrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(3).exponential(size=(12_000, 2))
    counts = np.ones(12_000, np.int64)
    limits = np.array(bootstrap(values, counts))
    monkeypatch.setattr("llm4rec_bench.statistics._MANY", 10**9)
    drawn = np.array(bootstrap(values, counts))
    widths = drawn[:, 1] - drawn[:, 0]
    assert np.abs(limits - drawn).max() < 0.1 * widths.min()
    expected = stats.norm.interval(0.95, values.mean(axis=0), values.std(axis=0) / 12_000**0.5)
    assert pytest.approx(np.array(expected)) == limits.T


def test_of_many_patterns_a_metric_of_few_values_is_drawn_exactly() -> None:
    # 12,000 patterns of one metric; the other is sparse, and its bootstrap is Poisson-like.
    values = np.column_stack([np.arange(12_000) / 12_000, np.arange(12_000) < 4])
    (_, sparse) = bootstrap(values, np.ones(12_000, np.int64))
    (expected,) = bootstrap(np.array([[0.0], [1.0]]), np.array([11_996, 4]))
    assert sparse == pytest.approx(expected)
    assert sparse[0] > 0


def test_the_tail_of_chi_square_is_scipys() -> None:
    for freedom in (1, 2, 3, 4, 7):
        for value in (0.0, 0.3, 2.0, 7.8, 40.0):
            expected = stats.chi2.sf(value, freedom)
            assert chi_square_tail(value, freedom) == pytest.approx(expected, rel=1e-9)


def test_repeated_runs_do_not_support_more_percentiles() -> None:
    once = np.random.default_rng(8).exponential(size=300)
    assert percentiles(np.tile(once, 3), runs=3).keys() == percentiles(once).keys()
    for name, by in percentiles(once).items():
        again = percentiles(np.tile(once, 3), runs=3)[name]
        assert (again.low, again.high) == (by.low, by.high)


def test_of_many_pairs_the_ratio_is_linearised(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    sizes = random.integers(0, 4, 15_000)
    sums = np.array([random.random(size).sum() for size in sizes])
    counts = np.ones(15_000, np.int64)
    limits = np.array(bootstrap_ratios(sums, sizes, counts))
    monkeypatch.setattr("llm4rec_bench.statistics._MANY", 10**9)
    drawn = np.array(bootstrap_ratios(sums, sizes, counts))
    assert np.abs(limits - drawn).max() < 0.1 * (drawn[1] - drawn[0])


def test_a_ratio_is_resampled_by_whole_requests() -> None:
    # One value a request is a mean like any other; groups of equal size change nothing.
    values, counts = np.array([0.0, 0.5, 1.0]), np.array([20, 30, 50])
    (expected,) = bootstrap(values[:, None], counts)
    assert bootstrap_ratios(values, np.ones(3, np.int64), counts) == pytest.approx(expected)
    assert bootstrap_ratios(3 * values, np.full(3, 3), counts) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "enough"), [("p50", 11), ("p90", 64), ("p95", 130), ("p99", 662)])
def test_a_percentile_is_told_only_where_the_number_supports_it(name: str, enough: int) -> None:
    assert name not in percentiles(np.ones(enough - 1))
    assert name in percentiles(np.ones(enough))


def test_nothing_supports_no_percentile() -> None:
    assert percentiles(np.array([])) == {}
    assert list(PERCENTILES) == ["p50", "p90", "p95", "p99"]


def test_rounding_hides_what_differs_between_processors() -> None:
    assert rounded(0.1 + 0.2) == 0.3
    assert rounded(np.float64(1 / 3)) == 0.3333333333
