"""Item-based nearest neighbours: what was consumed by the same people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
from implicit.nearest_neighbours import bm25_weight, tfidf_weight
from scipy import sparse

from baselines.catalogue import Scores, consumed, heaviest, histories, ranked
from baselines.checks import not_negative, share, whole
from llm4rec_bench import CardRefused, Ranking, Request, TaskView

Weight = Literal["cosine", "tfidf", "bm25"]
Side = Literal["history", "candidate"]

_TOGETHER = 1 << 22
"""Similarities that are worked out in one go, so that memory stays bounded."""


class ItemKNN:
    """Scores an item by its similarity to the items of the history, summed.

    Similarity is the cosine between two items' users, damped by `shrink` (Sarwar et al., 2001).
    With the weight `tfidf` users count the less the more they have consumed; with `bm25`
    similarity is the inner product of BM25 weights, in which popular items count for more the
    smaller `b`, and `shrink` does nothing. Both weights are those of the implicit package;
    `k1` and `b` belong to the latter.

    Only the `neighbours` largest similarities count: of each item of the history (Deshpande
    and Karypis, 2004), or, with `nearest_to` set to `candidate`, of each item that is scored
    (Sarwar et al., 2001; so does RecBole).
    """

    def __init__(
        self,
        neighbours: int,
        shrink: float,
        weight: Weight = "cosine",
        k1: float = 1.2,
        b: float = 0.75,
        nearest_to: Side = "history",
    ) -> None:
        for name, value, known in (("weight", weight, Weight), ("nearest_to", nearest_to, Side)):
            if value not in get_args(known):
                raise CardRefused(f"{name}: expected {' or '.join(get_args(known))}, found {value}")
        whole(neighbours=neighbours)
        not_negative(shrink=shrink, k1=k1)
        share(b=b)
        self.neighbours = neighbours
        self.shrink = shrink
        self.weight = weight
        self.k1 = k1
        self.b = b
        self.nearest_to = nearest_to

    def fit(self, task: TaskView) -> None:
        """Compute the neighbours of every item."""
        self.task = task
        by_item = self._weighted(consumed(task).T.tocsr())
        parts = [heaviest(part, self.neighbours) for part in self._similarities(by_item)]
        nearest = sparse.vstack(parts, "csr")
        self.similar = nearest if self.nearest_to == "history" else nearest.T.tocsr()

    def _weighted(self, by_item: sparse.csr_matrix) -> sparse.csr_matrix:
        """Weights of the users of each item: shape (items, users)."""
        if self.weight == "tfidf":
            by_item = tfidf_weight(by_item)
        elif self.weight == "bm25":
            by_item = bm25_weight(by_item, self.k1, self.b)
        return by_item.tocsr().astype(np.float32)

    def _similarities(self, by_item: sparse.csr_matrix) -> Iterator[sparse.csr_matrix]:
        """Similarities of some items to all others, some items at a time."""
        by_user = by_item.T.tocsr()
        squared = np.asarray(by_item.multiply(by_item).sum(axis=1)).ravel()
        step = 1 + _TOGETHER // len(squared)
        for start in range(0, len(squared), step):
            cells = (by_item[start : start + step] @ by_user).tocoo()
            row, column, both = cells.row, cells.col, cells.data
            if self.weight != "bm25":
                both = both / self._damped(squared[start + row] * squared[column])
            apart = start + row != column
            places = (row[apart], column[apart])
            yield sparse.csr_matrix((both[apart], places), shape=cells.shape)

    def _damped(self, squared: Scores) -> Scores:
        """What inner products are divided by; items of no weight have none."""
        lengths: Scores = np.sqrt(squared) + np.float32(self.shrink)
        return np.maximum(lengths, np.finfo(np.float32).tiny)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items most similar to what the user has seen."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        scores: Scores = (histories(requests, self.task) @ self.similar).toarray()
        return scores
