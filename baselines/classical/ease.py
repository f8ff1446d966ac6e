"""A linear autoencoder over items, solved for in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits

from baselines.catalogue import Scores, consumed, fading, histories, ranked
from baselines.checks import positive
from llm4rec_bench import CardRefused, Ranking, Request, TaskView

Square = npt.NDArray[np.float64]
"""A matrix with as many rows as columns."""


class EASE:
    """Scores an item by the weights that the items of the history have in predicting it, summed.

    Steck (2019): the weights are those of a ridge regression of every item on all others, with
    penalty `l2`. With a `half_life` the items of a history count by age, half as much every so
    many items before the last one; the paper has them count alike. Weights are worked out in
    double and kept in single precision, items² of them. Raises CardRefused where `l2` is too
    small for the equations to be solved.
    """

    def __init__(self, l2: float, half_life: float | None = None) -> None:
        positive(l2=l2)
        self.l2 = l2
        self.weight = np.ones if half_life is None else fading(half_life)

    def fit(self, task: TaskView) -> None:
        """Solve for the weights of all pairs of items."""
        self.task = task
        events = consumed(task).astype(np.float64)
        users, items = events.shape
        solve = _by_users if users < items else _by_items
        try:
            # One thread: with more, sums are not always added up in the same order.
            with threadpool_limits(1, "blas"):
                weights = solve(events, self.l2)
        except linalg.LinAlgError:
            raise CardRefused(f"l2: expected a larger number, found {self.l2}") from None
        np.fill_diagonal(weights, 0.0)
        self.weights = weights.astype(np.float32, order="C")

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items that the history predicts most strongly."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        scores: Scores = histories(requests, self.task, self.weight) @ self.weights
        return scores


def _by_items(events: sparse.csr_matrix, l2: float) -> Square:
    """The weights, up to their diagonal: I − P / diag(P) for P the inverse of XᵀX + l2 I."""
    inverse, failed = linalg.lapack.dpotri(_root(events.T @ events, l2), lower=1, overwrite_c=1)
    if failed:
        raise linalg.LinAlgError
    for place in range(len(inverse)):  # only the half below the diagonal is worked out
        inverse[place, place + 1 :] = inverse[place + 1 :, place]
    inverse /= -inverse.diagonal()
    return inverse


def _by_users(events: sparse.csr_matrix, l2: float) -> Square:
    """The same from an inverse of the size of the users, which are fewer.

    By Woodbury's identity l2 P = I − H, where H = Xᵀ (XXᵀ + l2 I)⁻¹ X.
    """
    root = _root(events @ events.T, l2)
    half = linalg.solve_triangular(root, events.toarray(), lower=True, check_finite=False)
    hat: Square = half.T @ half
    left = 1.0 - hat.diagonal()
    if not (left > 0).all():
        raise linalg.LinAlgError
    hat /= left
    return hat


def _root(products: sparse.csr_matrix, l2: float) -> Square:
    """The lower Cholesky factor of a sparse matrix of inner products with `l2` on its diagonal."""
    dense = products.toarray(order="F")
    dense[np.diag_indices_from(dense)] += l2
    root: Square = linalg.cholesky(dense, lower=True, overwrite_a=True, check_finite=False)
    return root
