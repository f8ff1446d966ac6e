"""Item-based nearest neighbours by what stands near in the sequences of users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from baselines.catalogue import Scores, fading, heaviest, histories, ranked
from baselines.checks import not_negative, whole
from baselines.sequential.markov import pairs_apart
from llm4rec_bench import Log, Ranking, Request, TaskView


class WindowedKNN:
    """Scores an item by its nearness to the last items of the history, summed.

    Two items are near where they stand at most `window` places apart in a user's sequence,
    in either order, each time by distance ** -decay: association rules (AR) of Ludewig and
    Jannach (2018) held to a window, with the decay of their sequential rules (SR) and no
    direction. Sums are divided by the product of both items' events to the power of `damping`:
    0 favours what is popular, .5 is the cosine. An item keeps its `neighbours` nearest ones.

    The `last` items of a history count, half as much every `half_life` items, as sessions fade
    in STAN (Garg et al., 2019). Items that are near none of them go by all their events.
    """

    def __init__(
        self,
        window: int,
        decay: float,
        damping: float,
        neighbours: int,
        half_life: float,
        last: int = 50,
    ) -> None:
        whole(window=window, neighbours=neighbours, last=last)
        not_negative(decay=decay, damping=damping)
        self.window = window
        self.decay = decay
        self.damping = damping
        self.neighbours = neighbours
        self.weight = fading(half_life)
        self.last = last

    def fit(self, task: TaskView) -> None:
        """Add up how near all pairs of items are and keep each item's neighbours."""
        self.task = task
        events = task.log.events_per_item()
        self.near = heaviest(self._damped(self._nearness(task.log), events), self.neighbours)
        self.rarity = (-1.0 / (1.0 + events)).astype(np.float32)

    def _nearness(self, log: Log) -> sparse.csr_matrix:
        items = len(log.item_ids)
        forwards = sparse.csr_matrix((items, items), dtype=np.float32)
        for distance in range(1, self.window + 1):
            forwards += pairs_apart(log, distance) * np.float32(distance**-self.decay)
        return forwards + forwards.T

    def _damped(self, near: sparse.csr_matrix, events: npt.NDArray[np.int64]) -> sparse.csr_matrix:
        cells = near.tocoo()
        apart = cells.row != cells.col
        row, column = cells.row[apart], cells.col[apart]
        damped = cells.data[apart] / (events[row] * events[column]) ** self.damping
        return sparse.csr_matrix((damped.astype(np.float32), (row, column)), shape=near.shape)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items nearest to the latest ones, then the most popular of the others."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        latest = histories(requests, self.task, self.weight, self.last)
        scores: Scores = (latest @ self.near).toarray()
        return np.where(scores > 0, scores, self.rarity)
