"""Checks that a frozen task gives away nothing that it hides.

They look at the frozen tables alone, as anybody can who has downloaded the task, and not
at how these were made. Each says in a sentence what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.freeze.pools import Asked, pools_of
from llm4rec_bench.interactions import Codes, ranges
from llm4rec_bench.pools import contains
from llm4rec_bench.split import SPLITS, TEST, GlobalTime, LeaveOneOut
from llm4rec_bench.statistics import chi_square_tail
from llm4rec_bench.task import Task
from llm4rec_bench.texts import last_year, until

UNLIKELY = 1e-6
"""p-value below which what should be chance is not."""

_Z = 5.0
"""The same as a standard deviate, two-sided."""

SAMPLE = 10
"""Requests of a split whose pools are made again."""

NEXT_IDS = 0.2
"""Share of targets whose id follows that of the last item, beyond which ids tell the order of
events."""


def check_leaks(task: Task) -> None:
    """Raise TaskDataError naming everything that a task gives away."""
    found = [
        fault
        for check in CHECKS
        if check is not _consecutive or "consecutive-ids" not in task.recipe.known_leaks
        for fault in check(task)
    ]
    if found:
        raise TaskDataError(f"{task.id} gives away what it hides: {'; '.join(found)}")


def _future(task: Task) -> Iterator[str]:
    """Nothing visible happens after what is asked for."""
    for split in SPLITS:
        log, asked = task.log(split), task.requests(split)
        if not log.timed:
            continue
        moment = asked.to_arrow(["timestamp"])["timestamp"].to_numpy()
        last = np.full(len(log.user_ids), np.iinfo(np.int64).min)
        np.maximum.at(last, log.user, log.timestamp)
        late = int((last[_users(task, split)] > moment).sum())
        if late:
            yield f"{late} {split} requests come before an event of their user that is visible"
        cut = task.manifest.counts.get(f"cut_{split}", moment.min())
        if isinstance(task.recipe.split, GlobalTime) and (log.timestamp >= cut).any():
            yield f"events after the {split} cut are visible"


def _histories(task: Task) -> Iterator[str]:
    """A history is all that is visible of its user, in its order, and nothing else."""
    for split in SPLITS:
        log, history = task.log(split), task.histories(split)
        user = _users(task, split)
        start = np.searchsorted(log.user, user, side="left")
        lengths = np.searchsorted(log.user, user, side="right") - start
        if not np.array_equal(lengths, history.lengths) or not np.array_equal(
            log.item[ranges(start, lengths)], history.items
        ):
            yield f"{split} histories are not the visible events of their users"


def _unseen(task: Task) -> Iterator[str]:
    """No item is in the catalogue without an event, for it would be known to be a target."""
    split = task.recipe.split
    unseen = int((task.visible(TEST).events == 0).sum())
    if unseen and not (isinstance(split, LeaveOneOut) and split.unseen_targets):
        yield f"{unseen} items are in the catalogue and in no visible event"


def _users(task: Task, split: str) -> npt.NDArray[np.int64]:
    """The user of each request, as the log of its split numbers them."""
    users = task.requests(split).to_arrow(["user_id"])["user_id"]
    known = pc.index_in(users, value_set=task.log(split).user_ids)
    return pc.fill_null(known, -1).to_numpy().astype(np.int64)


def _targets(task: Task) -> Iterator[str]:
    """No target stands among what its user is known to have consumed."""
    for split in SPLITS:
        log, items = task.log(split), len(task.items)
        seen = np.sort(log.user.astype(np.int64) * items + log.item)
        asked = _users(task, split) * items + task.targets(split).items[:, 0]
        shown = int(contains(seen, asked).sum())
        if shown:
            yield f"{shown} {split} targets stand among the visible events of their users"


def _places(task: Task) -> Iterator[str]:
    """The target's place in a drawn pool is uniformly random, in each of the orders."""
    for split, name, pools in _drawn(task):
        targets = task.targets(split).items[:, :1]
        for order in range(pools.shape[1]):
            place = (pools[:, order] == targets).argmax(axis=1)
            found = np.bincount(place, minlength=pools.shape[2])
            expected = len(place) / len(found)
            statistic = float(((found - expected) ** 2 / expected).sum())
            if chi_square_tail(statistic, len(found) - 1) < UNLIKELY:
                yield f"{name} {split}: the target's place in order {order} is not uniform"


def _orders(task: Task) -> Iterator[str]:
    """Neither catalogue nor pools are in the order of ids, nor pools in that of the catalogue."""
    by_id = np.empty(len(task.items), np.int64)
    by_id[pc.sort_indices(task.items.id_array).to_numpy()] = np.arange(len(task.items))
    if abs(_deviate(by_id[None])) > _Z:
        yield "items stand in the order of their ids"
    for split, name, pools in _drawn(task):
        for what, rank in (("ids", by_id), ("the catalogue", np.arange(len(by_id)))):
            if abs(_deviate(rank[pools.reshape(-1, pools.shape[2])])) > _Z:
                yield f"{name} {split}: candidates tend to stand in the order of {what}"


def _deviate(rows: npt.NDArray[np.int64]) -> float:
    """How far places and values of rows go together on average, as a standard deviate."""
    ranks = rows.argsort(axis=1).argsort(axis=1)
    size = rows.shape[1]
    if size < 3:
        return 0.0
    centred = np.arange(size) - (size - 1) / 2
    correlation = (ranks - (size - 1) / 2) @ centred / (centred @ centred)
    return float(correlation.mean() * np.sqrt(len(rows) * (size - 1)))


def _made_again(task: Task) -> Iterator[str]:
    """Pools follow from what is visible, their request and its target alone; some of them do."""
    text = task.items.text_codes
    for split in SPLITS:
        asked, rows = _some_asked(task, split)
        for name, track in task.recipe.tracks.items():
            if track.has_pools and not np.array_equal(
                pools_of(task.recipe, name, asked, text), task.pools(split, name)[rows]
            ):
                yield f"{name} {split}: pools are not those that the visible events give"


def _some_asked(task: Task, split: str) -> tuple[Asked, npt.NDArray[np.int64]]:
    """Requests all over a split, as pools are made for them, and their numbers."""
    log, history = task.log(split), task.histories(split)
    rows = np.unique(np.linspace(0, len(history.lengths) - 1, SAMPLE).astype(np.int64))
    parts = [history.items[history.offsets[row] : history.offsets[row + 1]] for row in rows]
    asked = Asked(
        split,
        task.request_ids(split).take(pa.array(rows)).to_pylist(),
        task.targets(split).items[rows, 0],
        np.concatenate(parts),
        history.lengths[rows],
        (log.user, log.item),
        task.visible(split).events,
    )
    return asked, rows


def _same_texts(task: Task) -> Iterator[str]:
    """No candidate is shown like another, or like an item seen, so that no answer is ambiguous."""
    texts = task.items.text_codes
    for split in SPLITS:
        history, targets = task.histories(split), task.targets(split).items[:, :1]
        seen = np.sort(history.owners * len(texts) + texts[history.items])
        rows = np.arange(len(targets))[:, None]
        for name, track in task.recipe.tracks.items():
            if track.has_pools:
                pool = task.pools(split, name)[:, 0]
                shown = np.sort(texts[pool], axis=1)
                twice = int((shown[:, 1:] == shown[:, :-1]).any(axis=1).sum())
                if twice:
                    yield f"{name} {split}: {twice} pools show two candidates alike"
                again = contains(seen, rows * len(texts) + texts[pool]) & (pool != targets)
                if again.any():
                    yield f"{name} {split}: {int(again.sum())} candidates look like an item seen"


def next_ids(task: Task) -> int:
    """How many test targets bear the id that follows the one of their history's last item."""
    by_id = np.empty(len(task.items), np.int64)
    by_id[_in_natural_order(task.items.ids)] = np.arange(len(task.items))
    history = task.histories(TEST)
    asked = history.lengths > 0
    last = history.items[history.offsets[1:][asked] - 1]
    return int((by_id[task.targets(TEST).items[asked, 0]] - by_id[last] == 1).sum())


def _in_natural_order(ids: list[str]) -> list[int]:
    """Rows by id, numbers by their value."""
    return sorted(
        range(len(ids)),
        key=lambda row: (0, int(ids[row]), "") if _is_number(ids[row]) else (1, 0, ids[row]),
    )


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 19


def _consecutive(task: Task) -> Iterator[str]:
    """Ids were not given in the order of the events."""
    following, asked = next_ids(task), len(task.requests(TEST))
    if following > NEXT_IDS * asked:
        yield (
            f"{following} of {asked} test targets bear the id after that of the last item in "
            "their history, so ids follow the order of events: give items other ids, or "
            'say known_leaks = ["consecutive-ids"] in the recipe'
        )


def _core(task: Task) -> Iterator[str]:
    """Every item has the events of the core, so that a lack of them tells nothing."""
    k_core, events = task.recipe.filters.k_core, task.visible(TEST).events
    few = int((events < k_core).sum())
    if few:
        yield f"{few} items have fewer than the {k_core} visible events of the core"


def _later_years(task: Task) -> Iterator[str]:
    """No description of ours names a year after the last request."""
    moments = task.requests(TEST).to_arrow(["timestamp"])["timestamp"]
    if task.recipe.descriptions is None or task.lacks_descriptions or moments.null_count:
        return
    year = last_year(moments.to_numpy())
    texts = task.descriptions["text"].to_pylist()
    late = sum(until(text, year) != text for text in texts)
    if late:
        yield f"{late} descriptions name a year after {year}, the last that is asked about"


def _drawn(task: Task) -> Iterator[tuple[str, str, Codes]]:
    """The pools that are drawn beside their targets."""
    for split in SPLITS:
        for name, track in task.recipe.tracks.items():
            if track.negatives is not None:
                yield split, name, task.pools(split, name)


CHECKS: tuple[Callable[[Task], Iterator[Any]], ...] = (
    _future,
    _targets,
    _histories,
    _unseen,
    _core,
    _places,
    _orders,
    _made_again,
    _same_texts,
    _consecutive,
    _later_years,
)
