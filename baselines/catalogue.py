"""From scores over the catalogue to rankings, the same way for every method that has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse

from llm4rec_bench import Ranking, Request, TaskView

Scores = npt.NDArray[np.float32]
"""A score for every item of the catalogue, by row: shape (requests, items)."""

_CELLS = 1 << 22
"""Scores that are worked on at once: few enough for the caches, enough for BLAS."""

_GROUPS_PER_PLACE = 8
"""Groups of columns by which the best scores of a row are bounded, for each of its places."""


def ranked(
    requests: Sequence[Request], task: TaskView, score: Callable[[Sequence[Request]], Scores]
) -> list[Ranking]:
    """The rankings that the scores of the catalogue give.

    `score` is asked for as many requests at once as fit in memory, and its answer may be
    overwritten. On `retrieval` items of the history are left out and the best `task.depth`
    kept. Ties go by the row of the item, which is hash order, so neither an id nor the order
    of the candidates decides one.
    """
    ids = task.items.ids
    return [
        Ranking([ids[row] for row in rows.tolist()])
        for block in _blocks(requests, len(task.items))
        for rows in _best(score(block), block, task)
    ]


def consumed(task: TaskView) -> sparse.csr_matrix:
    """The visible events as a matrix of ones: shape (users of the log, items)."""
    log = task.log
    shape = (len(log.user_ids), len(task.items))
    return sparse.csr_matrix((np.ones(len(log), np.float32), (log.user, log.item)), shape=shape)


def histories(
    requests: Sequence[Request], task: TaskView, weight: Callable[[int], Scores] = np.ones
) -> sparse.csr_matrix:
    """What the user of each of some requests has consumed: shape (requests, items), ones.

    `weight` gives the cells of a history of some length, oldest first, other values.
    """
    rows = [task.items.rows(request.history) for request in requests]
    ends = np.cumsum([0, *map(len, rows)])
    cells = np.concatenate([weight(len(history)) for history in rows])
    items = np.concatenate(rows)
    shape = (len(requests), len(task.items))
    return sparse.csr_matrix((cells.astype(np.float32), items, ends), shape=shape)


def _blocks(requests: Sequence[Request], items: int) -> Iterator[Sequence[Request]]:
    size = max(1, _CELLS // max(1, items))
    for start in range(0, len(requests), size):
        yield requests[start : start + size]


def _best(
    scores: Scores, requests: Sequence[Request], task: TaskView
) -> Iterator[npt.NDArray[np.int64]]:
    """Item rows of each ranking, best first."""
    if requests[0].candidates is not None:
        for row, request in zip(scores, requests, strict=True):
            pool = np.sort(task.items.rows(request.candidates or ()))
            yield pool[np.argsort(-row[pool], kind="stable")]
        return
    for row, request in zip(scores, requests, strict=True):
        row[task.items.rows(request.history)] = -np.inf
    yield from best_rows(scores, task.depth)


def best_rows(scores: Scores, depth: int) -> list[npt.NDArray[np.int64]]:
    """Columns of the largest `depth` scores of each row, best first, ties by column.

    What is minus infinity is left out. Most cells are ruled out by a bound instead of being
    sorted: of the maxima of groups of columns, the one at place `depth` is no larger than the
    score at that place.
    """
    bound = _bound(scores, depth)[:, None]
    owner, column = _above(scores, bound, depth)
    value = scores[owner, column]
    order = np.lexsort((column, -value, owner))
    starts = np.searchsorted(owner, np.arange(len(scores) + 1)).tolist()
    return [column[order[start : min(start + depth, stop)]] for start, stop in pairwise(starts)]


def _bound(scores: Scores, depth: int) -> Scores:
    """For each row a number that at least `depth` of its scores reach, if there are so many."""
    groups = depth * _GROUPS_PER_PLACE
    each = scores.shape[1] // groups
    if each < 2:
        maxima = scores
    else:
        whole = scores[:, : groups * each].reshape(len(scores), each, groups)
        maxima = whole.max(axis=1)
    if maxima.shape[1] <= depth:
        return np.full(len(scores), -np.inf, scores.dtype)
    place = maxima.shape[1] - depth
    return np.partition(maxima, place, axis=1)[:, place]


def _above(
    scores: Scores, bound: Scores, depth: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row and column of every score above its row's bound, and of the first `depth` at it."""
    cells = np.flatnonzero(scores >= bound)
    owner, column = np.divmod(cells, scores.shape[1])
    at = scores[owner, column] == bound[owner, 0]
    tied = np.flatnonzero(at)
    first = np.searchsorted(owner[tied], owner[tied])
    late = tied[np.arange(len(tied)) - first >= depth]
    keep = scores[owner, column] > -np.inf
    keep[late] = False
    return owner[keep], column[keep]
