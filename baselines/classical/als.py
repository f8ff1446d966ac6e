"""Matrix factorisation for implicit feedback by alternating least squares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from baselines.catalogue import best_items
from llm4rec_bench import Ranking, Request, TaskView


class ALS:
    """Scores an item by the inner product of its factors with the user's.

    Hu, Koren and Volinsky (2008), as the implicit package has it. The user's factors are
    solved for from the history of the request, so a user the log does not know, or knows
    with fewer events, is served like any other.
    """

    def __init__(self, factors: int, regularization: float, alpha: float, iterations: int) -> None:
        self.params = {
            "factors": factors,
            "regularization": regularization,
            "alpha": alpha,
            "iterations": iterations,
        }

    def fit(self, task: TaskView) -> None:
        """Factorise the matrix of visible events."""
        self.task = task
        log = task.log
        shape = (len(log.user_ids), len(task.items))
        events = np.ones(len(log), np.float32)
        consumed = sparse.csr_matrix((events, (log.user, log.item)), shape=shape)
        # One thread: with more, equal seeds do not give equal factors.
        with threadpool_limits(1, "blas"):
            self.model = AlternatingLeastSquares(
                **self.params, random_state=task.seed, num_threads=1
            )
            self.model.fit(consumed, show_progress=False)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items with the largest inner products."""
        return [best_items(self._scores(request), request, self.task) for request in requests]

    def _scores(self, request: Request) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        history = self.task.items.rows(request.history)
        events = np.ones(len(history), np.float32)
        row = sparse.csr_matrix(
            (events, (np.zeros(len(history), np.int32), history)),
            shape=(1, len(self.task.items)),
        )
        user = self.model.recalculate_user(0, row).ravel()
        scores: np.ndarray[tuple[int], np.dtype[np.float32]] = self.model.item_factors @ user
        return scores
