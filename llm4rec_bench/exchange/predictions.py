"""Predictions of other tools as a run file.

What another tool ranks is held to the rules of the track: items of the history, or outside
the pool, and repeated ones are left out and counted, as a method here would do itself. An
order of equal scores means nothing, so those go by the row of the catalogue, which is hash
order; neither the order of the lines nor the column of ranks in a TREC run is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from llm4rec_bench.errors import REPORTED, shown
from llm4rec_bench.exchange.columns import MOST_LINES, Columns, columns_of
from llm4rec_bench.exchange.rankings import Rankings, empty_rankings, new_header, write_rankings
from llm4rec_bench.interactions import ranges
from llm4rec_bench.run.format import MOST_ITEMS, STATUSES
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.run.rows import REASONS
from llm4rec_bench.task import Task
from llm4rec_bench.task.tables import candidates

UNANSWERED = "api_error"
"""Status of a request that was asked and to which no answer came."""

_TOLD_ONE_BY_ONE = 5
"""Missing requests that are named; more are summed up."""

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of some predictions."""

    requests: int
    unanswered: int
    dropped: dict[str, int]
    """Items left out, by reason."""


def import_predictions(
    path: Path,
    task: Task,
    track: str,
    out: Path,
    name: str,
    *,
    split: str = "test",
    allow_missing: bool = False,
) -> Imported:
    """Write the predictions in a file, a TREC run or a table, as a run file to `out`.

    Items are ranked by score, equal ones by their row of the catalogue; the best 100 that may
    be ranked are kept. What is left out above the last of these is counted in ``dropped``:
    ``seen`` on `retrieval`, ``out_of_pool`` elsewhere, and ``duplicate``, of which the best
    counts. A request without a line is refused, or with `allow_missing` written as one that
    failed (UNANSWERED). Targets are not opened. Raises RunRefused listing what is wrong with
    the file, and UsageError for a name, track or split that cannot be.
    """
    header = new_header(task, track, split, name)
    problems = Problems(path.name)
    found = empty_rankings(task, split)
    rule = _Rule(task, track, split)
    answered = np.zeros(len(found), bool)
    for whole in _of_whole_requests(columns_of(path, task, split, problems), answered, problems):
        if not problems.total:
            _rank(whole, rule, found)
    if not problems.total and not allow_missing:
        _tell_missing(task, split, answered, problems)
    problems.raise_if_any()
    found.status[~answered] = STATUSES.index(UNANSWERED)
    write_rankings(out, header, task, [found])
    dropped = dict(zip(REASONS, found.dropped.sum(axis=0).tolist(), strict=True))
    return Imported(len(found), int((~answered).sum()), dropped)


def _of_whole_requests(
    parts: Iterator[Columns], answered: Mask, problems: Problems
) -> Iterator[Columns]:
    """The same lines, in parts that hold all of each of their requests.

    Marks the requests in `answered`. Lines of a request that do not stand together are told.
    """
    begun: Columns | None = None
    for part in parts:
        part = part if begun is None else begun.before(part)
        if not len(part.line):
            continue
        first = np.flatnonzero(np.append(True, part.request[1:] != part.request[:-1]))
        last = int(first[-1])
        begun = part.of(slice(last, None))
        if len(begun.line) > MOST_LINES:
            said = f"more than {MOST_LINES:,} lines of one request; keep the best {MOST_ITEMS}"
            problems.add("too-many-lines", said, int(begun.line[-1]))
            problems.read_to = int(begun.line[-1])
            return
        _close(part, first[:-1], answered, problems)
        yield part.of(slice(0, last))
    if begun is not None:
        _close(begun, np.zeros(1, np.int64), answered, problems)
        yield begun


def _close(part: Columns, first: Integers, answered: Mask, problems: Problems) -> None:
    """Mark the requests whose lines begin at `first`; tell those that were closed before."""
    requests = part.request[first]
    again = np.ones(len(requests), bool)
    again[np.unique(requests, return_index=True)[1]] = False
    lines = part.line[first[again | answered[requests]]].tolist()
    answered[requests] = True
    for line in lines[:REPORTED]:
        said = "the request has lines further up as well; put all its lines together"
        problems.add("scattered-request", said, line)
    problems.count("scattered-request", len(lines[REPORTED:]))


class _Rule:
    """What may be ranked."""

    def __init__(self, task: Task, track: str, split: str) -> None:
        self._items = len(task.items)
        if task.track(track).has_pools:
            self.reason = "out_of_pool"
            self._listed, self._offsets = _pools(task, track, split)
        else:
            self.reason = "seen"
            histories = task.histories(split)
            self._listed, self._offsets = histories.items, histories.offsets

    def refused(self, requests: Integers, items: Integers) -> Mask:
        """Which pairs may not be ranked."""
        asked = np.unique(requests)
        lengths = self._offsets[asked + 1] - self._offsets[asked]
        cells = ranges(self._offsets[asked], lengths)
        listed = np.repeat(asked, lengths) * self._items + self._listed[cells]
        inside = np.isin(requests * self._items + items, listed)
        return inside if self.reason == "seen" else ~inside


def _pools(task: Task, track: str, split: str) -> tuple[npt.NDArray[np.int32], Integers]:
    """The candidates of all requests end to end, and where each one's begin."""
    table = task.table(candidates(track))
    mine = pc.and_(pc.equal(table["split"], split), pc.equal(table["permutation"], 0))
    pools = table["items"].filter(mine)
    offsets = np.append(0, np.cumsum(pc.list_value_length(pools).to_numpy())).astype(np.int64)
    return task.items.encode(pc.list_flatten(pools)), offsets


def _rank(part: Columns, rule: _Rule, found: Rankings) -> None:
    """Put the rankings of some whole requests into `found`."""
    part = part.of(np.lexsort((part.item, -part.score, part.request)))
    request, item = part.request.astype(np.int64), part.item.astype(np.int64)
    again = _repeated(request, item)
    refused = rule.refused(request, item) & ~again
    kept = ~again & ~refused
    start = np.flatnonzero(np.append(True, request[1:] != request[:-1]))[: len(request)]
    place: Integers = np.cumsum(kept) - kept
    place -= np.repeat(place[start], np.diff(start, append=len(request)))
    above = place < MOST_ITEMS
    best = kept & above
    found.items[request[best], place[best]] = item[best]
    for reason, out in (("duplicate", again), (rule.reason, refused)):
        np.add.at(found.dropped[:, REASONS.index(reason)], request[out & above], 1)


def _repeated(request: Integers, item: Integers) -> Mask:
    """Which pairs have stood further up."""
    order = np.lexsort((item, request))
    same = (request[order][1:] == request[order][:-1]) & (item[order][1:] == item[order][:-1])
    again = np.zeros(len(order), bool)
    again[order[1:][same]] = True
    return again


def _tell_missing(task: Task, split: str, answered: Mask, problems: Problems) -> None:
    missing = np.flatnonzero(~answered)
    ids = task.request_ids(split)
    names = [shown(ids[row].as_py()) for row in missing[: _TOLD_ONE_BY_ONE + 1].tolist()]
    mend = "add them, or take them for failed with --allow-missing"
    if len(missing) > _TOLD_ONE_BY_ONE:
        count = f"{len(missing):,} of {len(ids):,} requests, {names[0]} the first of them"
        problems.add("missing-request", f"holds no line for {count}; {mend}")
        problems.count("missing-request", len(missing) - 1)
        return
    for name in names:
        problems.add("missing-request", f"holds no line for request {name}; {mend}")
