"""Matrix factorisation for implicit feedback by alternating least squares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from threadpoolctl import threadpool_limits

from baselines.catalogue import Scores, consumed, histories, ranked
from baselines.checks import positive, whole
from llm4rec_bench import CardRefused, Ranking, Request, TaskView

Factors = npt.NDArray[np.float32]


class ALS:
    """Scores an item by the inner product of its factors with the user's.

    Hu, Koren and Volinsky (2008), as the implicit package has it. The user's factors are
    solved for from the history of the request, so a user the log does not know, or knows
    with fewer events, is served like any other.

    An observed event has the confidence `alpha`, where the paper has 1 + alpha, and what was not
    observed has 1 as there: an `alpha` below 1 trusts an event less than the lack of one.

    Raises CardRefused where `alpha` or `regularization` are so large that factors are no numbers,
    and where `regularization` is too small for a user's equations to be solved.
    """

    def __init__(self, factors: int, regularization: float, alpha: float, iterations: int) -> None:
        whole(factors=factors, iterations=iterations)
        positive(regularization=regularization, alpha=alpha)
        self.params = {
            "factors": factors,
            "regularization": regularization,
            "alpha": alpha,
            "iterations": iterations,
        }

    def fit(self, task: TaskView) -> None:
        """Factorise the matrix of visible events."""
        self.task = task
        # One thread: with more, equal seeds do not give equal factors.
        with threadpool_limits(1, "blas"):
            self.model = AlternatingLeastSquares(
                **self.params, random_state=task.seed, num_threads=1
            )
            try:
                self.model.fit(consumed(task), show_progress=False)
            except ModelFitError:
                raise CardRefused(
                    "alpha and regularization: expected smaller numbers, found "
                    f"{self.params['alpha']} and {self.params['regularization']}"
                ) from None

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items with the largest inner products."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        scores: Scores = self.users(requests) @ self.model.item_factors.T
        return scores

    def users(self, requests: Sequence[Request]) -> Factors:
        """Factors of each request's user, solved for from the history."""
        events = histories(requests, self.task)
        try:
            factors: Factors = self.model.recalculate_user(np.arange(len(requests)), events)
        except ValueError:  # of the solver: a user's equations have more than one solution
            raise CardRefused(
                f"regularization: expected a larger number, found {self.params['regularization']}"
            ) from None
        return factors
