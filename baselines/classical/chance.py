"""A random ranking: the floor that any method must leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from baselines.catalogue import Scores, ranked
from llm4rec_bench import Ranking, Request, TaskView


class Chance:
    """Ranks at random, from a seed and the request's id, so that a resumed run is the same."""

    def fit(self, task: TaskView) -> None:
        """Learn nothing."""
        self.task = task

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """A shuffled pool, or shuffled unseen items, for each request."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        return np.stack([self._drawn(request) for request in requests])

    def _drawn(self, request: Request) -> Scores:
        random = Random(f"{self.task.seed} {self.task.track} {request.request_id}")  # noqa: S311 - not a secret
        return np.array([random.random() for _ in range(len(self.task.items))], np.float32)
