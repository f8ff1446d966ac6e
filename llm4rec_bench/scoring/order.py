"""What the order of the candidates did, and whether repeated runs agree.

Language models read a list from its top. The candidates of a request are frozen in three
orders, run r sees order r mod 3, and the target's place in each is uniformly random: a
ranker that minds places scores differently by the target's place, and ranks differently
when nothing but the order changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import msgspec
import numpy as np
import numpy.typing as npt

from llm4rec_bench.metrics import Metric, Ranks, per_request
from llm4rec_bench.pools import PERMUTATIONS
from llm4rec_bench.run import Run
from llm4rec_bench.statistics import bootstrap_ratios, chi_square_tail, distinct_rows, rounded

_GROUPS = 4
"""Groups of places by which a pool is parted, equally large but for the last."""

_ALL_PAIRS = 10
"""Runs up to which every pair of them is compared; of more, each with the next one."""

_TOGETHER = 100_000
"""Requests that are compared in one go, so that memory stays bounded."""

Top = npt.NDArray[np.unsignedinteger]


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How alike two runs rank a request, on average over pairs of runs and requests.

    Requests for which neither run ranks anything are left out.
    """

    pairs: int
    """Pairs of runs."""
    first: float
    """Share with the same item in the first place."""
    top10: float
    """Items that both have among their first ten, over ten or the length of the longer
    ranking, where that is less."""


class ByPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The score of the rows whose target stood in some places of the pool."""

    rows: int
    value: float
    low: float
    high: float
    """95 % bootstrap interval over requests, whose runs are drawn together."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the order in which candidates are given does to a run."""

    metric: str
    by_place: dict[str, ByPlace]
    """By the place at which the target was given."""
    p: float | None
    """How likely so different values by place are where places do not matter; None where all
    requests have the same value. See `_p_of_places`."""
    same_order: Agreement | None
    """Between runs that saw the same order; None where there are no two."""
    other_order: Agreement | None
    """Between runs that saw different orders. What it lacks of `same_order` is what order does."""


def agreement(run: Run) -> Agreement | None:
    """How alike the repeated runs of a run file rank; None for a single one."""
    return _agreement(run.top, _pairs(len(run.top)))


def order(run: Run, metric: Metric) -> Order | None:
    """What the order of the candidates did to a run; None without pools, or where these
    have one order only."""
    task, header = run.task, run.header
    if task.track(header.track).negatives is None:
        return None
    pools = task.pools(header.split, header.track)
    targets = task.targets(header.split).items[:, 0]
    group = np.stack(
        [_group_of(pools[:, number % PERMUTATIONS], targets) for number in range(len(run.ranks))]
    )
    runs = range(len(run.top))
    same = [(one, one + PERMUTATIONS) for one in runs[:-PERMUTATIONS]]
    other = [pair for pair in _pairs(len(runs)) if (pair[1] - pair[0]) % PERMUTATIONS]
    return Order(
        str(metric),
        _by_place(run.ranks, group, metric, pools.shape[2]),
        _p_of_places(per_request(metric, run.ranks), group),
        _agreement(run.top, same),
        _agreement(run.top, other),
    )


def _group_of(pools: npt.NDArray[np.int32], targets: npt.NDArray[np.int32]) -> Ranks:
    """The group of places in which each target is given; -1 where it is not in the pool."""
    here = pools == targets[:, None]
    size = -(-pools.shape[1] // _GROUPS)
    return np.where(here.any(axis=1), here.argmax(axis=1) // size, -1)


def _by_place(ranks: Ranks, group: Ranks, metric: Metric, pool: int) -> dict[str, ByPlace]:
    """`ranks` has shape (runs, requests, targets), `group` (runs, requests)."""
    runs, requests, targets = ranks.shape
    columns = ranks.transpose(1, 0, 2).reshape(requests, runs * targets)
    alike, of_request = distinct_rows(np.concatenate([columns, group.T], axis=1))
    counts = np.bincount(of_request)
    of_alike = alike[:, : runs * targets].reshape(-1, runs, targets).transpose(1, 0, 2)
    values, groups = per_request(metric, of_alike).T, alike[:, runs * targets :]
    found = {}
    size = -(-pool // _GROUPS)
    for number in range(-(-pool // size)):
        inside = groups == number
        rows = inside.sum(axis=1)
        sums = np.where(inside, values, 0.0).sum(axis=1)
        total = int((rows * counts).sum())
        if total:
            (low, high) = bootstrap_ratios(sums, rows, counts)
            name = f"places {number * size + 1}–{min((number + 1) * size, pool)}"
            value = rounded((sums * counts).sum() / total)
            found[name] = ByPlace(total, value, rounded(low), rounded(high))
    return found


def _p_of_places(values: npt.NDArray[np.float64], group: Ranks) -> float | None:
    """Whether values of shape (runs, requests) depend on the group of places.

    A permutation test by its chi-square limit: were places of no matter, the groups, which
    chance gave to requests, could be given anew, and the means of groups differ by no more
    than that. Runs that saw the same order are averaged; with several orders each request is
    compared with itself, so that hard and easy ones do not blur the picture.
    """
    orders = min(len(values), PERMUTATIONS)
    by_order = np.stack([values[number::PERMUTATIONS].mean(axis=0) for number in range(orders)])
    if orders > 1:
        by_order = by_order - by_order.mean(axis=0)
    given = group[:orders] >= 0
    cells, places = by_order[given], group[:orders][given]
    if not len(cells):
        return None
    cells = cells - cells.mean()
    sizes = np.bincount(places)
    sums = np.bincount(places, weights=cells)
    variance = float((cells**2).mean())
    some = sizes > 0
    if variance < 1e-18 or some.sum() < 2:
        return None
    statistic = float((sums[some] ** 2 / sizes[some]).sum()) / variance
    return rounded(chi_square_tail(statistic, int(some.sum()) - 1))


def _pairs(runs: int) -> list[tuple[int, int]]:
    if runs <= _ALL_PAIRS:
        return list(combinations(range(runs), 2))
    return [(number, number + 1) for number in range(runs - 1)]


def _agreement(tops: Sequence[Top], pairs: Sequence[tuple[int, int]]) -> Agreement | None:
    requests = alike = 0
    overlap = 0.0
    for one, other in pairs:
        for start in range(0, len(tops[one]), _TOGETHER):
            mine, theirs = (tops[number][start : start + _TOGETHER] for number in (one, other))
            longer = np.maximum((mine > 0).sum(axis=1), (theirs > 0).sum(axis=1))
            both = np.zeros(len(mine), np.int64)
            for place in mine.T:
                both += ((theirs == place[:, None]) & (place[:, None] > 0)).any(axis=1)
            ranked = longer > 0
            requests += int(ranked.sum())
            alike += int((ranked & (mine[:, 0] == theirs[:, 0])).sum())
            overlap += float((both[ranked] / longer[ranked]).sum())
    if not requests:
        return None
    return Agreement(len(pairs), rounded(alike / requests), rounded(overlap / requests))
