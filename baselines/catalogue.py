"""From scores over the catalogue to rankings, the same way for every method that has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from llm4rec_bench import CardRefused, Items, Ranking, Request, TaskView

Scores = npt.NDArray[np.floating[Any]]
"""A score for every item of the catalogue, by row: shape (requests, items)."""

_CELLS = 1 << 23
"""Scores that are worked on at once: so few that they do not crowd memory, and so many that
BLAS is not held up by laying out the items' factors anew for each handful of requests."""

_GROUPS_PER_PLACE = 8
"""Groups of columns by which the best scores of a row are bounded, for each of its places."""

_FADED = 100
"""Half-lives after which an item counts for nothing."""


def ranked(
    requests: Sequence[Request], task: TaskView, score: Callable[[Sequence[Request]], Scores]
) -> list[Ranking]:
    """The rankings that the scores of the catalogue give.

    `score` is asked for as many requests at once as fit in memory, and its answer may be
    overwritten. On `retrieval` items of the history are left out and the best `task.depth`
    kept. Ties go by the row of the item, which is hash order, so neither an id nor the order
    of the candidates decides one. What is minus infinity on `retrieval` is left out. Raises
    CardRefused where a score is NaN, which has no place in an order.
    """
    ids = _ids(task.items)
    return [
        Ranking(ids[rows].tolist())
        for block in _blocks(requests, len(task.items))
        for rows in _best(_numbers(score(block), block), block, task)
    ]


def _numbers(scores: Scores, requests: Sequence[Request]) -> Scores:
    """The same scores; raises CardRefused where one is NaN."""
    if np.isnan(scores.max(initial=-np.inf)):  # the maximum is NaN where any score is
        row = int(np.isnan(scores).any(axis=1).argmax())
        raise CardRefused(
            f"request {requests[row].request_id}: expected scores that are numbers, found NaN for "
            f"{np.isnan(scores[row]).sum()} of {scores.shape[1]} items; the fit has most likely "
            "broken down, so try less extreme params"
        )
    return scores


@lru_cache(maxsize=4)
def _ids(items: Items) -> npt.NDArray[np.object_]:
    return np.array(items.ids, object)  # which hands out many at once


def consumed(task: TaskView) -> sparse.csr_matrix:
    """The visible events as a matrix of ones: shape (users of the log, items)."""
    log = task.log
    shape = (len(log.user_ids), len(task.items))
    return sparse.csr_matrix((np.ones(len(log), np.float32), (log.user, log.item)), shape=shape)


def histories(
    requests: Sequence[Request],
    task: TaskView,
    weight: Callable[[int], Scores] = np.ones,
    last: int | None = None,
) -> sparse.csr_matrix:
    """What the user of each of some requests has consumed: shape (requests, items), ones.

    `weight` gives the cells of a history of some length, oldest first, other values. With
    `last`, a history ends with so many items and has no others.
    """
    seen = [request.history[-last:] if last else request.history for request in requests]
    items, lengths = _rows(seen, task)
    cells = np.concatenate([weight(length) for length in lengths.tolist()])
    shape = (len(requests), len(task.items))
    ends = np.r_[0, np.cumsum(lengths)]
    return sparse.csr_matrix((cells.astype(np.float32), items, ends), shape=shape)


def fading(half_life: float) -> Callable[[int], Scores]:
    """Weights of a history by age: the newest item's is 1, and halves every `half_life` items.

    Raises CardRefused where that is not positive.
    """
    if not half_life > 0:
        raise CardRefused(f"half_life: expected a positive number of items, found {half_life}")

    def weights(length: int) -> Scores:
        lives = np.arange(length, dtype=np.float32)[::-1] / np.float32(half_life)
        # What has all but faded is zero: with smaller numbers processors are slow.
        return np.where(lives < _FADED, 0.5**lives, 0)

    return weights


def heaviest(cells: sparse.csr_matrix, most: int) -> sparse.csr_matrix:
    """A matrix with only the `most` largest of its stored cells in each row, ties by column."""
    cells.sort_indices()
    keep = np.ones(cells.nnz, bool)
    for start, stop in pairwise(cells.indptr.tolist()):
        if stop - start > most:
            keep[start:stop] = _largest(cells.data[start:stop], most)
    ends = np.r_[0, np.cumsum(keep)][cells.indptr]
    parts = (cells.data[keep], cells.indices[keep], ends)
    return sparse.csr_matrix(parts, shape=cells.shape)


def _largest(values: Scores, most: int) -> npt.NDArray[np.bool_]:
    """Which values are the `most` largest, of equal ones the first."""
    bound = -np.partition(-values, most - 1)[most - 1]
    found = values > bound
    found[np.flatnonzero(values == bound)[: most - found.sum()]] = True
    return found


def _rows(
    lists: Sequence[Sequence[str]], task: TaskView
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Item rows of some lists of ids, end to end, and how long the lists are."""
    lengths = np.array([len(ids) for ids in lists], np.int64)
    return task.items.rows(list(chain.from_iterable(lists))), lengths


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
    seen, lengths = _rows([request.history for request in requests], task)
    scores[np.repeat(np.arange(len(requests)), lengths), seen] = -np.inf
    yield from best_rows(scores, task.depth)


def best_rows(scores: Scores, depth: int) -> list[npt.NDArray[np.int64]]:
    """Columns of the largest `depth` scores of each row, best first, ties by column.

    What is minus infinity is left out. Most cells are ruled out by a bound instead of being
    sorted: of the maxima of groups of columns, the one at place `depth` is no larger than the
    score at that place.
    """
    bound = _bound(scores, depth)[:, None]
    owner, column = _above(scores, bound, depth)
    negative = -scores[owner, column]
    starts = np.searchsorted(owner, np.arange(len(scores) + 1)).tolist()
    return [
        column[start:stop][np.argsort(negative[start:stop], kind="stable")[:depth]]
        for start, stop in pairwise(starts)
    ]


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
