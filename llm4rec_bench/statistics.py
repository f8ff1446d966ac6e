"""Means, bootstrap intervals and percentiles, the same on every machine.

The metrics of a request depend only on the ranks of its targets, so requests with equal
ranks are interchangeable: resampling requests with replacement is one multinomial draw
over the distinct patterns of ranks. With one run and one target a request there are at
most 101 patterns, however many requests; with repeated runs there may be as many as
requests: the draws are made in blocks so that memory stays bounded, and beyond _MANY
distinct values of a metric the normal limit of the bootstrap is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import msgspec
import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
SEED = 20260101
LEVEL = 0.95
_TAILS = ((1.0 - LEVEL) / 2.0, 1.0 - (1.0 - LEVEL) / 2.0)
_CELLS = 4_000_000
_MANY = 10_000
"""Patterns beyond which each metric is resampled by its own distinct values, and where these are
as many, the bootstrap's normal limit is taken: drawing would cost minutes."""

PERCENTILES: dict[str, tuple[float, int]] = {
    "p50": (0.50, 11),
    "p90": (0.90, 64),
    "p95": (0.95, 130),
    "p99": (0.99, 662),
}
"""Quantile, and how many observations it takes before it is reported."""


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mean with its 95 % bootstrap interval, and its deviation between repeated runs."""

    value: float
    low: float
    high: float
    std_between_runs: float | None = None


def rounded(value: float) -> float:
    """`value` to 10 decimals: what differs between processors lies beyond them."""
    return round(float(value), 10)


def mean(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64] | None = None) -> float:
    """Mean, weighted by `counts` where given, correctly rounded whatever the order."""
    if counts is None:
        return math.fsum(values.tolist()) / len(values)
    return math.fsum((values * counts).tolist()) / int(counts.sum())


def gini(counts: npt.NDArray[np.int64]) -> float:
    """Gini coefficient of counts that are not all zero: 0 where equal, near 1 where one has all."""
    ordered = np.sort(counts).astype(np.float64)
    place = np.arange(1, len(ordered) + 1)
    return float(((2 * place - len(ordered) - 1) * ordered).sum() / (len(ordered) * ordered.sum()))


def distinct_rows(
    rows: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The distinct rows of small integers in lexical order, and which of them each row is.

    `rows` has shape (number, columns). Column by column the rows so far alike are told apart
    by counting, which is linear; sorting rows as a whole is not.
    """
    low, high = int(rows.min(initial=0)), int(rows.max(initial=0))
    width = high - low + 1
    of_row = np.zeros(len(rows), np.int64)
    distinct = np.zeros((1, 0), np.int64)
    for column in rows.T:
        key = of_row * width + column - low
        if len(distinct) * width <= max(_CELLS, 4 * len(rows)):
            found = np.flatnonzero(np.bincount(key))
            place = np.zeros(len(distinct) * width, np.int64)
            place[found] = np.arange(len(found))
            of_row = place[key]
        else:
            found, of_row = np.unique(key, return_inverse=True)
        distinct = np.column_stack([distinct[found // width], found % width + low])
    return distinct, of_row


def bootstrap(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals of several means at once (Efron, 1979).

    `values` has shape (patterns, metrics): what each metric gives a request with that
    pattern; `counts` (patterns,) says how many requests have it. All metrics share the
    resamples. RandomState is used because NumPy promises never to change its stream.
    """
    if len(counts) > _MANY:
        return [_bootstrap_alone(column, counts) for column in values.T]
    low, high = np.quantile(_resampled(values, counts), _TAILS, axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _bootstrap_alone(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """The same for one metric with many patterns, by its distinct values or else their limit."""
    distinct, which = np.unique(np.round(values, 12), return_inverse=True)
    counts = np.bincount(which.reshape(-1), weights=counts).astype(np.int64)
    if len(distinct) > _MANY:
        low, high = _normal(distinct, counts)
    else:
        low, high = np.quantile(_resampled(distinct[:, None], counts), _TAILS)
    return float(low), float(high)


def _normal(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """What the bootstrap tends to: the mean, plus and minus a multiple of its standard error."""
    weights = counts / counts.sum()
    centre = float(weights @ values)
    error = math.sqrt(float(weights @ (values - centre) ** 2) / int(counts.sum()))
    reach = NormalDist().inv_cdf(_TAILS[1]) * error
    return max(centre - reach, float(values.min())), min(centre + reach, float(values.max()))


def bootstrap_ratios(
    sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """The same for a mean over what requests hold, of which they hold different numbers.

    A request with pattern p holds `sizes[p]` values whose sum is `sums[p]`; whole requests
    are resampled. Resamples that hold none are left out.
    With many patterns the ratio is linearised (Cochran, 1977, 2.11) and its limit taken.
    """
    pairs = np.column_stack([np.round(sums, 12), sizes])
    pairs, which = np.unique(pairs, axis=0, return_inverse=True)
    # NumPy 2.0.0 gives the inverse two dimensions.
    counts = np.bincount(which.reshape(-1), weights=counts).astype(np.int64)
    if len(counts) > _MANY:
        ratio = (counts @ pairs[:, 0]) / (counts @ pairs[:, 1])
        shares = (pairs[:, 0] - ratio * pairs[:, 1]) * counts.sum() / (counts @ pairs[:, 1])
        return _normal(ratio + shares, counts)
    means = _resampled(pairs, counts)
    some = means[means[:, 1] > 0]
    low, high = np.quantile(some[:, 0] / some[:, 1], _TAILS)
    return float(low), float(high)


def _resampled(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Means of each resample: shape (RESAMPLES, metrics)."""
    requests = int(counts.sum())
    random = np.random.RandomState(SEED)
    together = max(1, _CELLS // len(counts))  # blocks draw from one stream: equal to one call
    return np.concatenate(
        [
            random.multinomial(requests, counts / requests, size=min(together, RESAMPLES - done))
            @ values
            / requests
            for done in range(0, RESAMPLES, together)
        ]
    )


def deviation_between(means: Sequence[float]) -> float | None:
    """Sample standard deviation of the means of repeated runs; None for a single run."""
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


class Percentile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A percentile with its interval."""

    value: float
    low: float
    high: float
    """Observations between which it lies with at least 95 % confidence, whatever the
    distribution (David and Nagaraja, Order Statistics, 7.1)."""


def percentiles(values: npt.NDArray[np.float64], runs: int = 1) -> dict[str, Percentile]:
    """The percentiles of `values` that so many requests support, by name.

    Repeated `runs` over the same requests do not add to their number.
    """
    ordered = np.sort(values)
    requests = len(ordered) // runs
    found = {}
    for name, (q, enough) in PERCENTILES.items():
        if requests >= enough:
            low, high = order_statistics(requests, q)
            bounds = ordered[(low - 1) * runs], ordered[high * runs - 1]
            found[name] = Percentile(*map(rounded, (np.quantile(ordered, q), *bounds)))
    return found


def order_statistics(number: int, q: float) -> tuple[int, int]:
    """The 1-based places of two among `number` ordered observations that enclose quantile q.

    They are the closest with at most 2.5 % beyond each; how many observations lie below the
    quantile is binomial. Where even the first or the last is too close, that one is given.
    """
    # Beyond twelve standard deviations from its mean there is nothing that could matter.
    centre, reach = number * q, 12.0 * math.sqrt(number * q * (1.0 - q)) + 1.0
    first, last = max(0, int(centre - reach)), min(number, int(centre + reach) + 1)
    below = np.arange(first, last + 1)
    steps = np.log((number - below[:-1]) / (below[:-1] + 1.0)) + math.log(q / (1.0 - q))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    shares = np.exp(logs - logs.max())
    at_most = np.cumsum(shares) / shares.sum()
    low = first + int(np.searchsorted(at_most, _TAILS[0], side="right"))
    high = first + int(np.searchsorted(at_most, _TAILS[1])) + 1
    return max(low, 1), min(high, number)


def chi_square_tail(value: float, freedom: int) -> float:
    """Probability that a chi-square variable with `freedom` degrees exceeds `value`.

    By the recurrence over degrees of freedom (Abramowitz and Stegun, 26.4.8).
    """
    half = value / 2.0
    tail, term_at = (math.erfc(math.sqrt(half)), 1) if freedom % 2 else (math.exp(-half), 2)
    while term_at < freedom:
        tail += half ** (term_at / 2.0) * math.exp(-half) / math.gamma(term_at / 2.0 + 1.0)
        term_at += 2
    return min(tail, 1.0)


FLIPS = 10_000
"""Random sign flips of a randomisation test; they cannot tell p-values below their inverse."""


def randomisation_test(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of the paired randomisation test (Fisher, 1935; Smucker et al., 2007).

    `differences` holds one number a request. If the two systems were exchangeable, each
    difference could as well have had the other sign; the p-value is the share of random
    sign flips whose mean is at least as far from 0, the observed one counted among them.
    Requests with equal absolute differences are interchangeable, so that a flip of all of
    them is one binomial draw, whatever their number. Where the bound that the share of
    all flips cannot exceed (Hoeffding, 1963) is below what random ones can tell, it is taken:
    else an adjustment for very many pairs would find no difference, however large.
    """
    sizes, counts = np.unique(np.abs(np.round(differences, 12)), return_counts=True)
    if sizes[-1] == 0.0:
        return 1.0
    observed = abs(math.fsum(differences.tolist()))
    bound = 2.0 * math.exp(-(observed**2) / (2.0 * float(sizes**2 @ counts)))
    if bound * (FLIPS + 1) < 1.0:
        return max(bound, float(np.finfo(float).tiny))
    sums = np.zeros(FLIPS)
    bit = 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        if size:
            heads, bit = _heads(count, bit)
            sums += 2.0 * size * heads
            sums -= size * count
    # Sums equal in theory differ in their last digits.
    as_far = int((np.abs(sums) >= observed - 1e-9 * max(observed, 1.0)).sum())
    return (as_far + 1) / (FLIPS + 1)


_BITS = 512
"""Coins of one draw up to which counting random bits is quicker than numpy's binomial."""


def _heads(coins: int, first: int) -> tuple[npt.NDArray[np.int64], int]:
    """How many of some fair coins show heads, FLIPS times, and the bit to go on from.

    That is a binomial draw: the bits that are set, from the `first` of the random ones, or where
    many are wanted, numpy's.
    """
    if coins > _BITS:
        return np.random.RandomState([SEED, first, coins]).binomial(coins, 0.5, FLIPS), first + 1
    heads = np.zeros(FLIPS, np.int64)
    end = first + coins
    while first < end:
        word, used = divmod(first, 64)
        taken = min(end - first, 64 - used)
        mask = np.uint64((1 << taken) - 1)
        heads += np.bitwise_count((_word(word) >> np.uint64(used)) & mask)
        first += taken
    return heads, end


@lru_cache(maxsize=256)
def _word(number: int) -> npt.NDArray[np.uint64]:
    """64 random bits a flip, the same for every test."""
    return np.frombuffer(np.random.RandomState([SEED, number]).bytes(8 * FLIPS), "<u8")


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm, 1979), in the order given."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = highest
    return adjusted
