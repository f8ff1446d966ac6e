"""What a score is to be read against: chance, popularity, the order given, and the ceiling."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from llm4rec_bench.interactions import Codes
from llm4rec_bench.metrics import (
    Counts,
    Metric,
    Ranks,
    best_ranks,
    expected_at_random,
)
from llm4rec_bench.statistics import distinct_rows, mean, rounded
from llm4rec_bench.task import Histories, Task

_TOGETHER = 100_000
"""Requests that are looked at in one go, so that memory stays bounded."""


class Floors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What needs no method, and what no method can exceed; by metric."""

    random: dict[str, float]
    """A uniformly random ranking, in closed form."""
    popularity: dict[str, float]
    """Items by their visible events, the most frequent first."""
    ceiling: dict[str, float]
    """The best that the pool allows."""
    as_given: dict[str, float] | None = None
    """The candidates in the order in which the request held them; None without pools."""

    def of(self, named: Sequence[str]) -> Floors:
        """The same of some metrics."""
        table = msgspec.structs.asdict(self).items()
        return Floors(
            **{key: values and {name: values[name] for name in named} for key, values in table}
        )


def floors(metrics: list[Metric], task: Task, track: str, split: str, runs: int) -> Floors:
    """The floors and the ceiling of a track for so many repeated runs."""
    targets = task.targets(split).items
    popular = popularity_order(task, split)
    as_given = None
    if not task.track(track).has_pools:
        candidates = len(task.items) - task.histories(split).lengths
        ranks = _ranks_in_catalogue(task, split, targets, popular)
    else:
        pools = task.pools(split, track)
        candidates = np.full(len(pools), pools.shape[2], np.int64)
        ranks = _ranks_in_pools(pools[:, 0], targets, popular[pools[:, 0]])
        first_to_last = np.broadcast_to(np.arange(pools.shape[2]), pools[:, 0].shape)
        orders = np.bincount(np.arange(runs) % pools.shape[1])
        by_order = [
            _means(metrics, _ranks_in_pools(pools[:, order], targets, first_to_last)[None])
            for order in range(len(orders))
        ]
        as_given = {
            str(metric): rounded(
                sum(of[str(metric)] * count for of, count in zip(by_order, orders, strict=True))
                / runs
            )
            for metric in metrics
        }
    present, wanted = (ranks > 0).sum(axis=1), (targets >= 0).sum(axis=1)
    alike, of_request = distinct_rows(np.stack([candidates, present, wanted], axis=1))
    counts = np.bincount(of_request)
    return Floors(
        random={
            str(metric): rounded(mean(expected_at_random(metric, *alike.T), counts))
            for metric in metrics
        },
        popularity=_means(metrics, ranks[None]),
        ceiling=_means(metrics, best_ranks(ranks > 0, ranks)[None]),
        as_given=as_given,
    )


def popularity_order(task: Task, split: str) -> npt.NDArray[np.int64]:
    """Place of each item when all are sorted by visible events, ties in the task's order."""
    events = task.visible(split).events
    place = np.empty(len(events), np.int64)
    place[np.argsort(-events, kind="stable")] = np.arange(len(events))
    return place


def _means(metrics: list[Metric], ranks: Ranks) -> dict[str, float]:
    """Each metric of ranks of shape (runs, requests, targets)."""
    furthest = max(metric.k for metric in metrics)
    runs, requests, targets = ranks.shape
    near = np.where(ranks > furthest, 0, ranks).reshape(runs * requests, targets)
    alike, of_request = distinct_rows(near)
    counts = np.bincount(of_request)
    return {str(metric): rounded(mean(metric(alike), counts)) for metric in metrics}


def _ranks_in_catalogue(task: Task, split: str, targets: Codes, place: Counts) -> Ranks:
    """Ranks of the targets among all items less the history, in order of `place`."""
    history = task.histories(split)
    parts = [
        _ranks_beyond(
            history.of(start, start + _TOGETHER), targets[start : start + _TOGETHER], place
        )
        for start in range(0, len(targets), _TOGETHER)
    ]
    return np.concatenate(parts)


def _ranks_beyond(history: Histories, targets: Codes, place: Counts) -> Ranks:
    """The same of some requests."""
    owners = history.owners
    ranks = np.full(targets.shape, -1, np.int32)
    for column, target in enumerate(targets.T):
        own = np.where(target >= 0, place[target], -1)
        seen_before = np.bincount(owners[place[history.items] < own[owners]], minlength=len(own))
        seen = np.bincount(owners[history.items == target[owners]], minlength=len(own)) > 0
        ranks[:, column] = np.where(target < 0, -1, np.where(seen, 0, own - seen_before + 1))
    return ranks


def _ranks_in_pools(pools: Codes, targets: Codes, priority: Counts) -> Ranks:
    """Ranks of the targets among candidates of shape (requests, size), lowest priority first."""
    ranks = np.full(targets.shape, -1, np.int64)
    for column, target in enumerate(targets.T):
        here = pools == target[:, None]
        own = np.where(here, priority, -1).max(axis=1)
        rank = np.where(here.any(axis=1), (priority < own[:, None]).sum(axis=1) + 1, 0)
        ranks[:, column] = np.where(target < 0, -1, rank)
    return ranks
