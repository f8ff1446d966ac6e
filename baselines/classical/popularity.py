"""Popularity, of all time and of late: what everybody consumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from baselines.catalogue import Scores, ranked
from llm4rec_bench import CardRefused, Ranking, Request, TaskView

_FADED = 30
"""Half-lives after which an event counts for nothing."""


class Popularity:
    """Ranks items by how many visible events they have."""

    def fit(self, task: TaskView) -> None:
        """Count events."""
        self.task = task
        self.events = task.log.events_per_item().astype(np.float32)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The same order for everybody, less what each has seen."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        return np.tile(self.events, (len(requests), 1))


class RecentPopularity:
    """Ranks items by their events of late, then by all events.

    An event counts one within `days` and nothing before; with `fading` it counts half as much
    every so many days. Only what happened before the request's time counts, so nothing of the
    future is used even where a split rule lets methods see it; with `at` set to `end` the end
    of the log takes the place of that time, and the list is the same for everybody.

    Raises CardRefused where a param is none of these, and on a task without times.
    """

    def __init__(
        self, days: float, fading: bool = False, at: Literal["request", "end"] = "request"
    ) -> None:
        if not days > 0:
            raise CardRefused(f"days: expected a positive number, found {days}")
        if at not in ("request", "end"):
            raise CardRefused(f"at: expected request or end, found {at}")
        self.seconds = days * 86_400
        self.fading = fading
        self.at = at

    def fit(self, task: TaskView) -> None:
        """Put the events in time order."""
        if not task.log.timed:
            raise CardRefused(
                f"{task.task} has no times, so no event is recent; leave it out of the card's tasks"
            )
        self.task = task
        order = np.argsort(task.log.timestamp, kind="stable")
        self.time, self.item = task.log.timestamp[order], task.log.item[order]
        self.latest = self._events_until(int(self.time[-1]) + 1)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The order of the request's moment, or of the end of the log."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        if self.at == "end":
            return np.tile(self.latest, (len(requests), 1))
        return np.stack([self._events_until(request.timestamp or 0) for request in requests])

    def _events_until(self, now: int) -> Scores:
        reach = self.seconds * (_FADED if self.fading else 1)
        start, stop = np.searchsorted(self.time, [now - reach, now])
        lives = (now - self.time[start:stop]) / self.seconds
        items, least = len(self.task.items), 0.5**_FADED if self.fading else 1.0
        weights = 0.5**lives if self.fading else None
        recent = np.bincount(self.item[start:stop], weights, minlength=items)
        before = np.bincount(self.item[:stop], minlength=items)
        return (recent + least * (before / (stop + 1.0))).astype(np.float32)
