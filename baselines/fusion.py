"""Two methods at once, by the places that they give the items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from baselines.catalogue import Scores, ranked
from baselines.checks import not_negative, positive
from baselines.entries import fitted_entry
from llm4rec_bench import CardRefused, Ranking, Request, TaskView

_DECIMALS = 12
"""Of a score: equal sums are equal whichever part came first, and no others become so."""


class Fusion:
    """Reciprocal-rank fusion (Cormack, Clarke and Büttcher, 2009) of two entries of this board.

    `first` and `second` are the names of their cards, whose parameters are taken as they stand
    on the task and track. An item scores 1 / (k + rank) in the first ranking and `weight` times
    as much in the second, nothing where a ranking does not hold it. The paper has no weights.
    """

    def __init__(self, first: str, second: str, weight: float = 1.0, k: float = 60.0) -> None:
        positive(weight=weight)
        not_negative(k=k)
        self.parts = {first: 1.0, second: weight}
        if len(self.parts) < 2:
            raise CardRefused(f"first and second are both {first!r}; name two entries")
        self.k = k

    def fit(self, task: TaskView) -> None:
        """Fit both methods. Raises CardRefused where one reads what this card does not."""
        self.task = task
        self.methods = [(fitted_entry(name, task), weight) for name, weight in self.parts.items()]

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items by the sum of what their places in both rankings are worth."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue, least where no ranking holds it."""
        scores = np.zeros((len(requests), len(self.task.items)), np.float64)
        for method, weight in self.methods:
            for row, ranking in zip(scores, method.rank(requests), strict=True):
                ranks = np.arange(1, len(ranking.items) + 1)
                row[self.task.items.rows(ranking.items)] += weight / (self.k + ranks)
        scores[scores == 0] = -np.inf
        return scores.round(_DECIMALS)
