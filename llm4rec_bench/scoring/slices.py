"""The parts of a split that are scored by themselves, so that an average hides nothing.

Slices are made of what is known of a request before anybody answers it. Edges are fixed,
or shares of the visible events, so that they mean the same on every task.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llm4rec_bench.scoring.floors import popularity_order
from llm4rec_bench.task import Task

Mask = npt.NDArray[np.bool_]

HISTORY = {"history 1–10": 10, "history 11–50": 50, "history 51–200": 200, "history 201+": None}
"""Slices by items in the history, and the most that each holds."""

PAUSE = {"within a minute": 60, "within a day": 86_400, "after more than a day": None}
"""Slices by time since the last event of the history, and the most seconds of each."""

POPULARITY = {"head target": 1 / 3, "middle target": 2 / 3, "tail target": None}
"""Slices by the target's popularity: items in order of visible events, cut where the items
so far hold this share of all events."""

DESCRIBED = ("described", "not described")
"""Slices that there are only where the descriptions of items are on this machine."""


def slices_of(task: Task, split: str) -> dict[str, Mask]:
    """Which requests of a split lie in each slice.

    Each kind of slice parts the requests: every request lies in exactly one of a kind.
    Slices that hold none or all of the requests are left out, and so are those by time or by
    description where the task has no times, or its descriptions are not on this machine. Where
    a request has several targets, its first one decides.
    """
    targets = task.targets(split)
    first = targets.items[:, 0]
    found = {"tied": targets.tied, "not tied": ~targets.tied}
    found |= _parted(task.histories(split).lengths, HISTORY)
    pause = task.visible(split).pause
    if pause is not None:
        found |= _parted(pause, PAUSE)
    found |= _parted(_share_of_more_popular(task, split)[first], POPULARITY, strictly=True)
    if not task.lacks_descriptions:
        described = np.isin(first, task.items.encode(task.descriptions["item_id"]))
        found |= dict(zip(DESCRIBED, (described, ~described), strict=True))
    return {name: inside for name, inside in found.items() if inside.any() and not inside.all()}


def _parted(
    values: npt.NDArray[np.float64] | npt.NDArray[np.int64],
    most: dict[str, int | None] | dict[str, float | None],
    strictly: bool = False,
) -> dict[str, Mask]:
    """Masks of values up to each bound (below it, if `strictly`) and above the one before."""
    bounds = [np.inf if bound is None else bound for bound in most.values()]
    place = np.searchsorted(bounds[:-1], values, side="right" if strictly else "left")
    return {name: place == number for number, name in enumerate(most)}


def _share_of_more_popular(task: Task, split: str) -> npt.NDArray[np.float64]:
    """For each item, the share of visible events that more popular items hold."""
    events = task.visible(split).events
    order = np.argsort(popularity_order(task, split))
    before = np.empty(len(events))
    before[order] = np.cumsum(events[order]) - events[order]
    return before / max(int(events.sum()), 1)
