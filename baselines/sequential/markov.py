"""What followed the last item most often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from baselines.catalogue import Scores, histories, ranked
from llm4rec_bench import Log, Ranking, Request, TaskView


class Markov:
    """Scores an item by how often it came next after the last item of the history.

    A first-order Markov chain over the visible sequences of all users, counted and not
    factorised (MC in Ludewig and Jannach, 2018; the chain of Rendle et al., 2010, with one
    item a basket). Items that followed equally often go by all their visible events.
    """

    def fit(self, task: TaskView) -> None:
        """Count transitions."""
        self.task = task
        self.transitions = pairs_apart(task.log, 1)
        events = task.log.events_per_item()
        self.popularity = (events / (events.max(initial=0) + 1.0)).astype(np.float32)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The most frequent successors, then the most popular of the others."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        counts = histories(requests, self.task, last=1) @ self.transitions
        scores: Scores = counts.toarray() + self.popularity  # less than one transition
        return scores


def pairs_apart(log: Log, distance: int) -> sparse.csr_matrix:
    """How often an item stands `distance` places before another in a user's sequence."""
    same: npt.NDArray[np.bool_] = log.user[distance:] == log.user[:-distance]
    before, after = log.item[:-distance][same], log.item[distance:][same]
    items = len(log.item_ids)
    ones = np.ones(len(before), np.float32)
    return sparse.csr_matrix((ones, (before, after)), shape=(items, items))
