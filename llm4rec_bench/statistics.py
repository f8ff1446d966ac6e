"""Means, bootstrap intervals and percentiles, the same on every machine.

The metrics of a request depend only on the ranks of its targets, so requests with equal
ranks are interchangeable: resampling requests with replacement is one multinomial draw
over the distinct patterns of ranks. With one run and one target a request there are at
most 101 patterns, however many requests; with repeated runs there may be as many as
requests, and the draws are made in blocks so that memory stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
SEED = 20260101
LEVEL = 0.95
_CELLS = 4_000_000

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


def mean(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> float:
    """Weighted mean, correctly rounded whatever the order of the values."""
    return math.fsum((values * counts).tolist()) / int(counts.sum())


def bootstrap(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals of several means at once (Efron, 1979).

    `values` has shape (patterns, metrics): what each metric gives a request with that
    pattern; `counts` (patterns,) says how many requests have it. All metrics share the
    resamples. RandomState is used because NumPy promises never to change its stream.
    """
    requests = int(counts.sum())
    random = np.random.RandomState(SEED)
    together = max(1, _CELLS // len(counts))  # blocks draw from one stream: equal to one call
    means = np.concatenate(
        [
            random.multinomial(requests, counts / requests, size=min(together, RESAMPLES - done))
            @ values
            / requests
            for done in range(0, RESAMPLES, together)
        ]
    )
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def deviation_between(means: Sequence[float]) -> float | None:
    """Sample standard deviation of the means of repeated runs; None for a single run."""
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def percentiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    """The percentiles of `values` that so many observations support, by name."""
    return {
        name: rounded(float(np.quantile(values, q)))
        for name, (q, enough) in PERCENTILES.items()
        if len(values) >= enough
    }
