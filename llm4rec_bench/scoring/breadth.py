"""Beyond accuracy: what a run recommends, whatever is relevant.

All of it is about the first ten items of each ranking (or fewer, where it is shorter), over
all rows. Popularity is counted in the events that the split may see.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.run import Run
from llm4rec_bench.statistics import gini, mean, rounded
from llm4rec_bench.task import Task

_TOGETHER = 10_000
"""Rankings whose pairs are looked at in one go, so that memory stays bounded."""


class Breadth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How wide, how fresh and how varied the first ten items are."""

    coverage: float
    """Share of the catalogue that stands in the first ten of any ranking; of repeated runs, the
    mean, since it grows with the number of rankings."""
    gini: float
    """Gini coefficient of how often each item does: 0 equally often, 1 always the same."""
    novelty: float
    """Mean self-information in bits: -log2 of an item's share of visible events, each item
    counted once more than it occurs so that the unseen have one (Zhou et al., 2010)."""
    popularity_lift: float
    """Mean visible events of the items over those of the histories' items, minus 1
    (Jannach et al., 2015): above 0, more popular than what the users consumed."""
    diversity: float | None
    """Mean Jaccard distance between the categories of two items of a ranking (Ziegler et al.,
    2005); None where the catalogue has no categories."""


def breadth(run: Run) -> Breadth | None:
    """The breadth of a run; None where no ranking holds an item."""
    task, split = run.task, run.header.split
    by_run = [_times_shown(top, len(task.items)) for top in run.top]
    shown = np.sum(by_run, axis=0)
    total = int(shown.sum())
    if not total:
        return None
    events = task.visible(split).events
    consumed = events[task.histories(split).items].mean()
    smoothed = (events + 1) / (events.sum() + len(events))
    return Breadth(
        coverage=rounded(mean(np.array([(times > 0).mean() for times in by_run]))),
        gini=rounded(mean(np.array([gini(times) for times in by_run if times.any()]))),
        novelty=rounded(-(np.log2(smoothed) * shown).sum() / total),
        popularity_lift=rounded((events * shown).sum() / total / consumed - 1.0),
        diversity=_diversity(run.top, task),
    )


def _times_shown(top: npt.NDArray[np.unsignedinteger], items: int) -> npt.NDArray[np.int64]:
    """How often each item stands in the first ten of a run."""
    shown = np.zeros(items, np.int64)
    for place in top.T:
        shown += np.bincount(place, minlength=items + 1)[1:]
    return shown


def _diversity(tops: Sequence[npt.NDArray[np.unsignedinteger]], task: Task) -> float | None:
    """Mean over rankings of two items or more of the mean distance of their pairs."""
    has = _categories(task.items.table["categories"].combine_chunks())
    if not has.any():
        return None
    means = []
    for top in tops:
        for part in np.array_split(top, len(top) // _TOGETHER + 1):
            lengths = (part > 0).sum(axis=1)  # a ranking is filled from its first place on
            means += [
                _mean_distance(has[part[lengths == length, :length] - 1])
                for length in np.unique(lengths[lengths > 1]).tolist()
            ]
    return rounded(np.concatenate(means).mean()) if means else None


def _mean_distance(has: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Of lists with categories of shape (lists, items, categories): one mean a list.

    Two items without any category count as alike.
    """
    both = has @ has.transpose(0, 2, 1)
    sizes = has.sum(axis=2)
    either = sizes[:, :, None] + sizes[:, None, :] - both
    alike = np.divide(both, either, out=np.ones_like(both), where=either > 0)
    length = has.shape[1]
    # Each pair stands twice, and each item beside itself with a distance of 0.
    total: npt.NDArray[np.float64] = (1.0 - alike.astype(np.float64)).sum(axis=(1, 2))
    return total / (length * (length - 1))


def _categories(column: pa.ListArray) -> npt.NDArray[np.float32]:
    """1 where an item (row) has a category (column), else 0."""
    names = pc.dictionary_encode(column.flatten())
    has = np.zeros((len(column), max(len(names.dictionary), 1)), np.float32)
    lengths = pc.list_value_length(column).to_numpy()
    has[np.repeat(np.arange(len(column)), lengths), names.indices.to_numpy()] = 1.0
    return has
