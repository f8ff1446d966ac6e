"""Matrix factorisation for implicit feedback by ranking pairs of items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.recommender_base import ModelFitError
from threadpoolctl import threadpool_limits

from baselines.catalogue import Scores, consumed, ranked
from baselines.checks import not_negative, positive, whole
from llm4rec_bench import CardRefused, Ranking, Request, TaskView


class BPR:
    """Scores an item by its bias and the inner product of its factors with the user's.

    Rendle et al. (2009), as the implicit package has it: in each iteration as many events as
    the log holds are drawn, each against the item of another event; a pair whose second item
    the user has consumed is left out.

    So implicit draws negatives in proportion to popularity, where the paper draws all items
    alike, and that divides popularity out: scores tell how much more a user takes to an item
    than everybody does. Among candidates that are mostly unpopular, such as negatives drawn
    evenly, popularity alone may therefore rank better. Some of it comes back through the pairs
    left out, which are many in a dense log; in a sparse one biases may even fall with it.

    Factors belong to users with events in the log: anybody else gets the most popular items.
    Raises CardRefused where the steps are too long to end in numbers.
    """

    def __init__(
        self, factors: int, learning_rate: float, regularization: float, iterations: int
    ) -> None:
        whole(factors=factors, iterations=iterations)
        positive(learning_rate=learning_rate)
        not_negative(regularization=regularization)
        self.params = {
            "factors": factors,
            "learning_rate": learning_rate,
            "regularization": regularization,
            "iterations": iterations,
        }

    def fit(self, task: TaskView) -> None:
        """Learn factors and biases from the visible events."""
        self.task = task
        events = consumed(task)
        # One thread: with more, equal seeds do not give equal factors.
        model = BayesianPersonalizedRanking(**self.params, random_state=task.seed, num_threads=1)
        try:
            with threadpool_limits(1, "blas"):
                model.fit(events, show_progress=False)
        except ModelFitError:
            rate = self.params["learning_rate"]
            raise CardRefused(f"learning_rate: expected a smaller number, found {rate}") from None
        ids = task.log.user_ids.to_pylist()
        self.row_of = {ids[row]: row for row in np.flatnonzero(events.getnnz(axis=1)).tolist()}
        # The last column holds the items' biases and a one for every user. In double
        # precision, so that a score does not depend on how many are worked out at once.
        self.users = model.user_factors.astype(np.float64)
        self.items = model.item_factors.astype(np.float64)
        self.popularity = task.log.events_per_item().astype(np.float32)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items with the largest inner products, biases included, or the most events."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        rows = np.array([self.row_of.get(request.user_id, -1) for request in requests])
        scores: Scores = (self.users[rows] @ self.items.T).astype(np.float32)
        scores[rows < 0] = self.popularity
        return scores
