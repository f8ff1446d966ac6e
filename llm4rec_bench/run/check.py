"""Checking a run against its task: does it answer every request, with items it may name?

All checks are over columns. What passes is handed on as ranks of the targets, which is
all that a metric needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import REPORTED, nearest_hint, shown
from llm4rec_bench.metrics import Ranks
from llm4rec_bench.pools import contains
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.run.read import Run
from llm4rec_bench.split import SPLITS
from llm4rec_bench.task import Requests, Task

_TOLD_ONE_BY_ONE = 5
"""Missing requests of a run that are named; more are summed up."""

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Checked:
    """A run that answers its task."""

    runs: int
    ranks: Ranks
    """1-based ranks of the targets, shape (runs, requests, targets); see `metrics`."""
    items: npt.NDArray[np.int32]
    """The rankings as item rows, end to end, in the order of the file."""


def check_run(run: Run, task: Task, problems: Problems | None = None) -> Checked:
    """Check a run against the task it is for.

    `problems` may hold what reading the file found; RunRefused lists it all.
    """
    problems = problems or Problems(run.name)
    if not _header_fits(run, task, problems):
        problems.raise_if_any()  # nothing else can be said of a run for another task
    check = _Check(run, task, problems)
    check.requests_answered()
    check.items_allowed()
    problems.raise_if_any()
    return check.ranked()


def _header_fits(run: Run, task: Task, problems: Problems) -> bool:
    header, tracks = run.header, list(task.recipe.tracks)
    before = problems.total
    if header.task != task.id:
        problems.add(
            "wrong-task", f'{shown(header.task)} is not the task scored, "{task.id}"', 1, "task"
        )
    elif header.track not in tracks:
        problems.add(
            "wrong-track",
            f"{shown(header.track)} is not a track of {task.id}; expected {', '.join(tracks)}"
            f"{nearest_hint(header.track, tracks)}",
            1,
            "track",
        )
    elif header.digest != (expected := task.digest(header.track)):
        problems.add(
            "wrong-digest",
            f"{shown(header.digest)} is not the digest of {task.id} {header.track}; "
            f'expected "{expected}"; {_mend_of_digest(header.digest, task)}',
            1,
            "digest",
        )
    if header.split not in SPLITS:
        problems.add(
            "wrong-split",
            f"{shown(header.split)} is not a split; expected {' or '.join(SPLITS)}",
            1,
            "split",
        )
    return problems.total == before


def _mend_of_digest(found: str, task: Task) -> str:
    for track, digest in task.manifest.tracks.items():
        if found == digest:
            return f"it is that of {track}: correct the header's track or its digest"
    if not found.startswith("sha256:") or len(found) != len("sha256:") + 64:
        return f"copy the header line that `llm4rec-bench tasks {task.id}` prints"
    return "the run was made for another version of the task, make it again"


class _Check:
    """One run against one task; problems go to `problems`, codes are kept for ranking."""

    def __init__(self, run: Run, task: Task, problems: Problems) -> None:
        self.run, self.task, self.problems = run, task, problems
        self.unread = problems.total
        self.track, self.split = run.header.track, run.header.split
        self.requests: Requests = task.requests(self.split, self.track)
        ids = pa.array(self.requests.ids, pa.string())
        self.request = _positions(run.request, ids)
        self.runs = int(run.number.max(initial=0)) + 1
        self.items = task.items.encode(run.items)
        self.owner, self.place = run.cells()

    def _report(
        self, code: str, wrong: Mask, rows: Integers, message: Callable[[int], tuple[str, str]]
    ) -> None:
        """Tell the first cells marked `wrong`, count the rest; `message` gives text and field."""
        cells = np.flatnonzero(wrong)
        told = cells[:REPORTED]
        for cell in told.tolist():
            text, field = message(cell)
            self.problems.add(code, text, int(self.run.line[rows[cell]]), field)
        self.problems.count(code, len(cells) - len(told))

    def requests_answered(self) -> None:
        """Every request once a run, and none that is not the task's."""
        rows = np.arange(len(self.run))

        def unknown(row: int) -> tuple[str, str]:
            found = self.run.request[row].as_py()
            hint = nearest_hint(found, self.requests.ids)
            return (
                f"{shown(found)} is not a request of {self.task.id} {self.split}{hint}",
                "request_id",
            )

        known = self.request >= 0
        self._report("unknown-request", ~known, rows, unknown)
        cell = self.run.number * len(self.requests) + self.request
        repeated = _repeats(np.where(known, cell, -1 - rows))

        def again(row: int) -> tuple[str, str]:
            found = shown(self.run.request[row].as_py())
            number = self.run.number[row]
            return f"run {number} has answered request {found} already; keep one line", "request_id"

        self._report("repeated-request", repeated, rows, again)
        if not self.unread:  # else what cannot be read would be told to be missing, too
            self._missing(cell[known])

    def _missing(self, answered: Integers) -> None:
        unanswered = np.ones(self.runs * len(self.requests), bool)
        unanswered[answered] = False
        by_run = unanswered.reshape(self.runs, -1)
        if self.runs > 1:
            empty: Mask = np.logical_and.reduce(by_run, axis=1)
            for number in np.flatnonzero(empty).tolist():
                said = f"holds run {self.runs - 1} but no run {number}; number them from 0"
                self.problems.add("missing-run", said)
            by_run = by_run & ~empty[:, None]
        for number in range(self.runs):
            self._missing_of(number, np.flatnonzero(by_run[number]))

    def _missing_of(self, number: int, requests: Integers) -> None:
        mend = "write a line for every request, one that failed with its status and no items"
        if len(requests) > _TOLD_ONE_BY_ONE:
            first = shown(self.requests.ids[requests[0]])
            self.problems.add(
                "missing-request",
                f"run {number} does not answer {len(requests):,} of {len(self.requests):,} "
                f"requests, {first} the first of them; {mend}",
            )
            self.problems.count("missing-request", len(requests) - 1)
            return
        for request in requests.tolist():
            name = shown(self.requests.ids[request])
            self.problems.add(
                "missing-request", f"run {number} does not answer request {name}; {mend}"
            )

    def items_allowed(self) -> None:
        """Every item known, named once, and one that the request's ranking may hold."""

        def text_of(cell: int) -> str:
            return str(self.run.items[cell].as_py())

        def field_of(cell: int) -> str:
            return f"items[{self.place[cell]}]"

        def unknown(cell: int) -> tuple[str, str]:
            found = text_of(cell)
            return (
                f"{shown(found)} is not an item of {self.task.id}"
                f"{nearest_hint(found, self._likely(cell))}; map titles to ids before writing",
                field_of(cell),
            )

        def repeated(cell: int) -> tuple[str, str]:
            return f"{shown(text_of(cell))} is ranked already; keep the first", field_of(cell)

        known = self.items >= 0
        self._report("unknown-item", ~known, self.owner, unknown)
        pair = self.owner * len(self.task.items) + self.items
        again = _repeats(np.where(known, pair, -1 - np.arange(len(pair))))
        self._report("repeated-item", again, self.owner, repeated)
        self._only_candidates(known & (self.request[self.owner] >= 0))

    def _likely(self, cell: int) -> Iterable[str]:
        """The ids that an unknown one is most likely meant to be."""
        request = self.request[self.owner[cell]]
        pool = self.requests[int(request)].candidates if request >= 0 else None
        return [*(pool or ()), *self.task.items.ids]

    def _only_candidates(self, comparable: Mask) -> None:
        pair = self.request[self.owner] * len(self.task.items) + self.items
        if self.task.track(self.track).negatives is None:
            history = self.task.histories(self.split)
            seen = history.owners * len(self.task.items) + history.items
            wrong = contains(np.sort(seen), pair)
            code, describe = "item-already-seen", self._seen
        else:
            pools = self.task.pools(self.split, self.track)[:, 0, :]
            offered = np.arange(len(pools))[:, None] * len(self.task.items) + pools
            wrong = ~contains(np.sort(offered, axis=None), pair)
            code, describe = "item-not-in-pool", self._outside
        self._report(code, wrong & comparable, self.owner, describe)

    def _seen(self, cell: int) -> tuple[str, str]:
        found, request = self._named(cell)
        return (
            f"{found} is in the history of request {request}; leave out what the user has seen",
            f"items[{self.place[cell]}]",
        )

    def _outside(self, cell: int) -> tuple[str, str]:
        found, request = self._named(cell)
        pool = self.requests[int(self.request[self.owner[cell]])].candidates or []
        hint = nearest_hint(str(self.run.items[cell].as_py()), pool)
        return (
            f"{found} is not a candidate of request {request}; "
            f"expected one of its {len(pool)} ids{hint}; "
            "rank what it offers on this track and split",
            f"items[{self.place[cell]}]",
        )

    def _named(self, cell: int) -> tuple[str, str]:
        request = self.run.request[int(self.owner[cell])].as_py()
        return shown(self.run.items[cell].as_py()), shown(request)

    def ranked(self) -> Checked:
        """The ranks of the targets, once everything is known to be sound."""
        targets = self.task.targets(self.split).items
        ranks = np.where(targets >= 0, 0, -1)[None].repeat(self.runs, axis=0).astype(np.int64)
        for column in range(targets.shape[1]):
            hit = np.flatnonzero(self.items == targets[self.request[self.owner], column])
            row = self.owner[hit]
            ranks[self.run.number[row], self.request[row], column] = self.place[hit] + 1
        return Checked(self.runs, ranks, self.items)


def _positions(values: pa.Array, among: pa.Array) -> Integers:
    """Where each value stands in `among`; -1 for one that does not."""
    found = pc.fill_null(pc.index_in(values, value_set=among), -1)
    positions: Integers = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return positions


def _repeats(values: Integers) -> Mask:
    """Which values have occurred before."""
    ordered = np.sort(values)
    repeated = np.zeros(len(values), bool)
    if not (ordered[1:] == ordered[:-1]).any():
        return repeated  # the usual case, at a tenth of the cost of finding places
    repeated[:] = True
    repeated[np.unique(values, return_index=True)[1]] = False
    return repeated
