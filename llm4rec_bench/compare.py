"""Comparing runs on the same requests: is one better, by how much, and how sure is that?

Two values with overlapping intervals may well differ: both were measured on the same
requests, and what makes a request hard makes it hard for both. So differences are taken
request by request, and intervals and tests are made of those.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import combinations

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm4rec_bench.errors import BenchError
from llm4rec_bench.metrics import Metric, Ranks, parse_metric, per_request
from llm4rec_bench.run import Run
from llm4rec_bench.scoring import Score, slices_of, unpacked_ranks
from llm4rec_bench.statistics import bootstrap, holm, mean, randomisation_test, rounded

SIGNIFICANT = 0.05
"""p-value below which a difference is taken for shown."""

Values = npt.NDArray[np.float64]


class Difference(msgspec.Struct, frozen=True):
    """By how much `first` exceeds `second` on some requests, by one metric."""

    value: float
    low: float
    high: float
    """95 % paired bootstrap interval."""


class MetricComparison(msgspec.Struct, frozen=True):
    """Two runs by one metric."""

    first: float
    second: float
    difference: Difference
    p: float
    """Two-sided paired randomisation test."""
    p_holm: float
    """Adjusted for all pairs compared by this metric (Holm, 1979)."""
    wins: int
    ties: int
    losses: int
    """Requests on which `first` is better, equal, worse."""


class Pair(msgspec.Struct, frozen=True):
    """Two runs on the same requests."""

    first: str
    second: str
    metrics: dict[str, MetricComparison]
    slices: dict[str, dict[str, Difference]]
    """Where they differ: by slice and metric."""


class Comparison(msgspec.Struct, frozen=True):
    """Every pair of several runs."""

    task: str
    track: str
    split: str
    requests: int
    pairs: list[Pair]


def values_by_request(run: Run) -> Values:
    """Each metric of the track for each request, the mean over runs: (requests, metrics)."""
    metrics = run.task.track(run.header.track).parsed_metrics()
    return np.stack([_over_runs(metric, run.ranks) for metric in metrics], axis=1)


def _over_runs(metric: Metric, ranks: Ranks) -> Values:
    return per_request(metric, ranks).mean(axis=0)


def shared_ranks(scores: Sequence[Score]) -> list[int]:
    """The place of each score of one track by its first metric, shared where it must be.

    A place is one more than the number of scores that are better by a paired randomisation
    test over the same requests, at SIGNIFICANT after Holm's adjustment for all pairs. Scores
    between which no difference is shown may still have different places, where only one of
    them is shown to be worse than a third.
    """
    values = _first_by_request(scores)
    pairs = list(combinations(range(len(scores)), 2))
    adjusted = holm([randomisation_test(values[a] - values[b]) for a, b in pairs])
    places = [1] * len(scores)
    for (a, b), p in zip(pairs, adjusted, strict=True):
        if p < SIGNIFICANT:
            places[a if values[a].sum() < values[b].sum() else b] += 1
    return places


def compare_scores(scores: Sequence[Score]) -> list[MetricComparison]:
    """Every pair of saved scores of one track by its first metric, in `combinations` order.

    It tells what `shared_ranks` tells: they differ by the same tests, adjusted for the same pairs.
    """
    values = _first_by_request(scores)
    pairs = list(combinations(values, 2))
    p_values = [randomisation_test(first - second) for first, second in pairs]
    return [
        _by_metric(first, second, p, p_holm)
        for (first, second), p, p_holm in zip(pairs, p_values, holm(p_values), strict=True)
    ]


def _first_by_request(scores: Sequence[Score]) -> list[Values]:
    """The first metric of each score for each request, the mean over runs, from saved ranks."""
    metric = parse_metric(next(iter(scores[0].metrics)))
    return [
        _over_runs(metric, unpacked_ranks(score.ranks, score.runs, score.requests))
        for score in scores
    ]


def has_its_ranks(score: Score) -> bool:
    """Whether a saved score holds ranks of its own runs and requests."""
    try:
        unpacked_ranks(score.ranks, score.runs, score.requests)
    except (ValueError, zlib.error):
        return False
    return True


def compare_runs(runs: Sequence[Run], names: Sequence[str] | None = None) -> Comparison:
    """Compare every pair of two or more runs of one track.

    `names` tells the runs apart; their headers' names are used where it is not given.
    Raises BenchError where the runs are not of the same task, track, digest and split.
    """
    header, task = runs[0].header, runs[0].task
    for run in runs[1:]:
        _refuse_other(runs[0], run)
    metrics = task.track(header.track).parsed_metrics()
    values = [values_by_request(run) for run in runs]
    slices = slices_of(task, header.split)
    names = names or [run.header.name for run in runs]
    pairs = list(combinations(range(len(runs)), 2))
    p_values = [
        [randomisation_test(values[a][:, m] - values[b][:, m]) for a, b in pairs]
        for m in range(len(metrics))
    ]
    adjusted = [holm(row) for row in p_values]
    return Comparison(
        task.id,
        header.track,
        header.split,
        len(values[0]),
        [
            Pair(
                names[a],
                names[b],
                {
                    str(metric): _by_metric(
                        values[a][:, m], values[b][:, m], p_values[m][n], adjusted[m][n]
                    )
                    for m, metric in enumerate(metrics)
                },
                {
                    name: _differences(metrics, (values[a] - values[b])[inside])
                    for name, inside in slices.items()
                },
            )
            for n, (a, b) in enumerate(pairs)
        ],
    )


def _refuse_other(one: Run, other: Run) -> None:
    for what in ("task", "track", "digest", "split"):
        mine, theirs = getattr(one.header, what), getattr(other.header, what)
        if mine != theirs:
            raise BenchError(
                f"{other.name}: is of {what} {theirs!r}, but {one.name} is of {mine!r}; only runs "
                "on the same requests can be compared"
            )


def _by_metric(first: Values, second: Values, p: float, p_holm: float) -> MetricComparison:
    better, worse = first > second + 1e-12, second > first + 1e-12
    return MetricComparison(
        first=rounded(mean(first)),
        second=rounded(mean(second)),
        difference=_difference(first - second),
        p=rounded(p),
        p_holm=rounded(p_holm),
        wins=int(better.sum()),
        ties=int((~better & ~worse).sum()),
        losses=int(worse.sum()),
    )


def _difference(differences: Values) -> Difference:
    # A bootstrap over requests is one over the distinct differences.
    distinct, counts = np.unique(np.round(differences, 12), return_counts=True)
    ((low, high),) = bootstrap(distinct[:, None], counts)
    return Difference(rounded(mean(distinct, counts)), rounded(low), rounded(high))


def _differences(metrics: Sequence[Metric], by_request: Values) -> dict[str, Difference]:
    return {str(metric): _difference(by_request[:, m]) for m, metric in enumerate(metrics)}


def table_by_request(runs: Sequence[Run], names: Sequence[str]) -> pa.Table:
    """A row for each run and request: run, request_id, and a column for each metric."""
    header, task = runs[0].header, runs[0].task
    metrics = task.track(header.track).metrics
    ids = task.requests(header.split, header.track).id_array
    parts = []
    for name, run in zip(names, runs, strict=True):
        values = values_by_request(run)
        columns = [pa.array([name] * len(ids)), ids, *map(pa.array, values.T)]
        parts.append(pa.table(columns, names=["run", "request_id", *metrics]))
    return pa.concat_tables(parts)
