"""Item-based nearest neighbours: what was consumed by the same people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from baselines.catalogue import Scores, consumed, histories, ranked
from llm4rec_bench import Ranking, Request, TaskView


class ItemKNN:
    """Scores an item by its similarity to the items of the history, summed.

    Similarity is the cosine between the sets of users of two items, damped by `shrink`
    (Sarwar et al., 2001; Deshpande and Karypis, 2004); an item keeps its `neighbours` most
    similar ones.
    """

    def __init__(self, neighbours: int, shrink: float) -> None:
        self.neighbours = neighbours
        self.shrink = shrink

    def fit(self, task: TaskView) -> None:
        """Compute the neighbours of every item."""
        self.task = task
        events, items = consumed(task), len(task.items)
        together = (events.T @ events).tocoo()
        users = np.asarray(events.sum(axis=0)).ravel()
        apart = together.row != together.col
        row, column, both = together.row[apart], together.col[apart], together.data[apart]
        similarity = both / (np.sqrt(users[row] * users[column]) + self.shrink)
        keep = self._nearest(row, similarity)
        self.similar = sparse.csr_matrix(
            (similarity[keep], (row[keep], column[keep])), shape=(items, items)
        )

    def _nearest(
        self, row: np.ndarray[tuple[int], np.dtype[np.int32]],
        similarity: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:  # fmt: skip
        order = np.lexsort((-similarity, row))
        starts = np.searchsorted(row[order], row[order])
        return order[np.arange(len(order)) - starts < self.neighbours]

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items most similar to what the user has seen."""
        return ranked(requests, self.task, self._scores)

    def _scores(self, requests: Sequence[Request]) -> Scores:
        scores: Scores = (histories(requests, self.task) @ self.similar).toarray()
        return scores
