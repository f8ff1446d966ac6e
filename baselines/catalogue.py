"""From scores over the catalogue to a ranking, the same way for every method that has them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llm4rec_bench import Ranking, Request, TaskView


def best_items(scores: npt.NDArray[np.floating], request: Request, task: TaskView) -> Ranking:
    """The ranking that `scores`, one a row of the catalogue, give a request.

    On `retrieval` items of the history are left out and the best `task.depth` kept. Ties
    go by the row of the item, which is hash order, so neither an id nor the order of the
    candidates decides one.
    """
    if request.candidates is not None:
        rows = np.sort(task.items.rows(request.candidates))
        order = rows[np.argsort(-scores[rows], kind="stable")]
    else:
        allowed = np.ones(len(scores), bool)
        allowed[task.items.rows(request.history)] = False
        order = _top(scores, np.flatnonzero(allowed), task.depth)
    return Ranking([task.items.ids[row] for row in order.tolist()])


def _top(
    scores: npt.NDArray[np.floating], rows: npt.NDArray[np.int64], depth: int
) -> npt.NDArray[np.int64]:
    """The best `depth` of `rows`, without sorting the rest of the catalogue."""
    if len(rows) > depth:
        least = np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]
        rows = rows[scores[rows] >= least]  # every tie at the edge, for the sort to settle
    return rows[np.argsort(-scores[rows], kind="stable")][:depth]
