"""Retrieval by embeddings: items whose texts mean something near to what the user had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from baselines.catalogue import Scores, fading, ranked
from baselines.text.encoders import MINILM, Vectors, encoder_of, unit
from baselines.text.kept import Embeddings
from baselines.text.lacking import no_text
from baselines.text.search import Kind, Rows, found, index_of
from llm4rec_bench import CardRefused, Ranking, Request, TaskView

User = Literal["mean", "decayed", "max", "text"]

_NO_TEXT = -1
_LAST = np.finfo(np.float32).min
"""Score of an item without a text: after every other, and still ranked."""

_CELLS = 1 << 20
"""Scores that are asked of the index at once."""


class DenseRetriever:
    """Ranks items by the inner products of their texts' unit vectors with the user's.

    `encoder` says what makes the vectors, see `encoder_of`; `index` how they are searched, see
    `index_of`. The user is, by `user`:

    mean      the mean of the vectors of the `last` items of the history;
    decayed   the same with weights that halve every `half_life` items;
    max       each of the `last` items by itself: an item scores by the one most like it;
    text      the vector of the texts of the `last` items, newest first, joined into one. Where
              its model cuts long texts, it is the oldest that go.

    An item without a text comes after all others, and counts for nothing in a history.
    """

    def __init__(
        self,
        user: User,
        last: int,
        half_life: float | None = None,
        encoder: Mapping[str, Any] = MINILM,
        index: Kind = "exact",
    ) -> None:
        if user not in ("mean", "decayed", "max", "text"):
            raise CardRefused(f'user: expected "mean", "decayed", "max" or "text", found {user!r}')
        if user == "decayed" and not half_life:
            raise CardRefused('user "decayed" needs a half_life, in items')
        if last < 1:
            raise CardRefused(f"last: expected 1 or more items of the history, found {last}")
        self.user = user
        self.last = last
        self.weight = fading(half_life) if user == "decayed" and half_life else np.ones
        self.encoder = encoder_of(encoder)
        self.kind = index

    def fit(self, task: TaskView) -> None:
        """Embed and index the texts of all items."""
        self.task = task
        self.texts = [text.strip() for text in task.texts()]
        there = np.array([bool(text) for text in self.texts])
        if not there.any():
            raise no_text(task)
        self.embeddings = Embeddings(self.encoder, task.workspace, task.report)
        vectors = self.embeddings.passages([text for text in self.texts if text])
        # Equal vectors are searched as one: items alike then tie whatever the arithmetic, and
        # FAISS has none of their ties to break.
        self.vectors, rows = _distinct(vectors)
        self.row = np.full(len(self.texts), _NO_TEXT)
        self.row[there] = rows
        self.index = index_of(self.vectors, self.kind)

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items nearest to what the user had of late."""
        return ranked(requests, self.task, self._wanted)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """Scores of the whole catalogue, as far as the index finds it: shape (requests, items)."""
        return self._searched(requests, len(self.vectors))

    def _wanted(self, requests: Sequence[Request]) -> Scores:
        """Scores of all candidates, or of all items that may be among the best; else -inf.

        With an exact index the best `depth` unseen items are always among the first
        depth + h of some query's list, h being the length of the history, and have their right
        scores: were one of them missing from the list of the query that gives it its score, at
        least depth + h others would score as much by that query alone; h of them may be seen,
        and the rest would leave no place for it. What is found in other lists only, scores too
        little and so never passes one of the best.
        """
        if requests[0].candidates is not None:
            return self._compared(requests)
        longest = max(len(request.history) for request in requests)
        return self._searched(requests, self.task.depth + longest)

    def _searched(self, requests: Sequence[Request], depth: int) -> Scores:
        """Scores of the items that are among the first `depth` vectors by some query."""
        queries, owner = self._queries(requests)
        scores = self._unknown(len(requests), owner)
        cells, width = scores.reshape(-1), len(self.vectors)
        at_once = max(1, _CELLS // depth)
        distinct, which = _distinct(queries)
        order = np.argsort(which, kind="stable")  # with "max", users share most of their queries
        for start in range(0, len(order), at_once):
            some = order[start : start + at_once]
            asked, back = np.unique(which[some], return_inverse=True)
            values, rows = found(self.index, distinct[asked], depth)
            values, rows = values[back], rows[back]
            hit = rows >= 0
            np.maximum.at(cells, (owner[some, None] * width + rows)[hit], values[hit])
        return self._of_items(scores)

    def _compared(self, requests: Sequence[Request]) -> Scores:
        """Scores of the candidates of each request."""
        queries, owner = self._queries(requests)
        scores = self._unknown(len(requests), owner)
        starts = np.searchsorted(owner, np.arange(len(requests) + 1))
        for number, request in enumerate(requests):
            # Sorted, so that the order given cannot decide the last digit of a sum.
            pool = np.unique(self.row[self.task.items.rows(request.candidates or ())])
            pool = pool[pool != _NO_TEXT]
            user = queries[starts[number] : starts[number + 1]]
            if len(user):
                scores[number, pool] = (self.vectors[pool] @ user.T).max(axis=1)
        return self._of_items(scores)

    def _unknown(self, requests: int, owner: Rows) -> Scores:
        """Scores of all vectors before any is known: all alike for who has no query."""
        scores = np.zeros((requests, len(self.vectors)), np.float32)
        scores[owner] = -np.inf
        return scores

    def _of_items(self, scores: Scores) -> Scores:
        """Scores of items from those of their vectors."""
        by_item = scores[:, self.row]
        by_item[:, self.row == _NO_TEXT] = _LAST
        return by_item

    def _queries(self, requests: Sequence[Request]) -> tuple[Vectors, Rows]:
        """Vectors that stand for users, and the number of the request that each belongs to."""
        users = self._joined(requests) if self.user == "text" else map(self._user, requests)
        each = list(users)
        queries = np.concatenate(each)
        owner = np.repeat(np.arange(len(each)), [len(vectors) for vectors in each])
        says = queries.any(axis=1)  # a vector of zeros is as near to one item as to any other
        return queries[says], owner[says]

    def _joined(self, requests: Sequence[Request]) -> list[Vectors]:
        """For each request the vector of what is told of its last items, if anything is."""
        texts = [self._told(request) for request in requests]
        told = [text for text in texts if text]
        vectors = iter(self.embeddings.queries(told) if told else ())
        return [next(vectors)[None] if text else self.vectors[:0] for text in texts]

    def _told(self, request: Request) -> str:
        """The texts of the last items as one, newest first."""
        rows = self.task.items.rows(request.history[-self.last :])
        return "\n".join(filter(None, (self.texts[row] for row in rows[::-1])))

    def _user(self, request: Request) -> Vectors:
        """One vector, or with "max" one for each of the last items: shape (vectors, dimensions)."""
        history = request.history[-self.last :]
        rows = self.row[self.task.items.rows(history)]
        there = rows != _NO_TEXT
        vectors = self.vectors[rows[there]]
        if self.user == "max" or not len(vectors):
            return vectors
        return unit(self.weight(len(history))[there] @ vectors)[None]


def _distinct(vectors: Vectors) -> tuple[Vectors, Rows]:
    """The vectors that differ, and for each one its row among them."""
    whole = np.ascontiguousarray(vectors).view(f"V{vectors.shape[1] * vectors.itemsize}")
    _, first, row = np.unique(whole.ravel(), return_index=True, return_inverse=True)
    return vectors[first], row
