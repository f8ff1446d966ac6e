"""Popularity, of all time and of late: what everybody consumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from baselines.catalogue import Scores, ranked
from llm4rec_bench import Ranking, Request, TaskView


class Popularity:
    """Ranks items by how many visible events they have."""

    def fit(self, task: TaskView) -> None:
        """Count events."""
        self.task = task
        self.events = task.log.events_per_item().astype(np.float32)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The same order for everybody, less what each has seen."""
        return ranked(requests, self.task, self._scores)

    def _scores(self, requests: Sequence[Request]) -> Scores:
        return np.tile(self.events, (len(requests), 1))


class RecentPopularity:
    """Ranks items by their events in the days before the request, then by all events.

    Only what happened before the request's time counts, so nothing of the future is used
    even where a split rule lets methods see it.
    """

    def __init__(self, days: float) -> None:
        self.seconds = days * 86_400

    def fit(self, task: TaskView) -> None:
        """Put the events in time order."""
        self.task = task
        order = np.argsort(task.log.timestamp, kind="stable")
        self.time, self.item = task.log.timestamp[order], task.log.item[order]

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The order of the request's moment."""
        return ranked(requests, self.task, self._scores)

    def _scores(self, requests: Sequence[Request]) -> Scores:
        return np.stack([self._events_until(request.timestamp) for request in requests])

    def _events_until(self, moment: int | None) -> Scores:
        now = self.time[-1] + 1 if moment is None else moment
        start, stop = np.searchsorted(self.time, [now - self.seconds, now])
        items = len(self.task.items)
        recent = np.bincount(self.item[start:stop], minlength=items)
        before = np.bincount(self.item[:stop], minlength=items)
        return (recent + before / (stop + 1.0)).astype(np.float32)
