"""Checking a run against its task: does it answer every request, with items it may name?

Rows are taken a block at a time. What is kept of them is what scores are made of: the ranks
of the targets, the first ten items, and counts. Memory is therefore bounded by the task and
the number of repeated runs, whatever the file holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import REPORTED, nearest_hint, shown
from llm4rec_bench.ids import UNKNOWN
from llm4rec_bench.run.allowed import Allowed, Histories, Pools
from llm4rec_bench.run.format import Header
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.run.rows import Rows
from llm4rec_bench.run.tally import Tally
from llm4rec_bench.split import SPLITS
from llm4rec_bench.task import Requests, Task

TOP = 10
"""Places of each ranking that are kept item by item."""

_TOLD_ONE_BY_ONE = 5
"""Missing requests of a run that are named; more are summed up."""

_TOGETHER = 512
"""Rows that are checked in one go, sorted by the length of what they are checked against."""

_FILLER = -2
"""Fills rows that are sorted: even, and before every mark and item."""

Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


def header_fits(header: Header, task: Task, problems: Problems) -> bool:
    """Whether a header is of this task, one of its tracks and its digest; else note why not."""
    tracks = list(task.recipe.tracks)
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


def _repeats(codes: Codes) -> Mask:
    """Which of some codes have occurred before; those of nothing known have not."""
    again = np.ones(len(codes), bool)
    again[np.unique(codes, return_index=True)[1]] = False
    return again & (codes >= 0)


def _of_like_size(sizes: Integers) -> list[Integers]:
    """Places of `sizes` in parts of at most _TOGETHER, the small ones first."""
    order = np.argsort(sizes, kind="stable")
    return np.split(order, range(_TOGETHER, len(order), _TOGETHER))


class _Answers:
    """What one of the repeated runs answers.

    The arrays are made of zeros, which take no memory until something is written to them.
    """

    def __init__(self, requests: int, targets: int, items: int) -> None:
        self.answered = np.zeros(requests, bool)
        self.ranks = np.zeros((requests, targets), np.int8)
        self.top = np.zeros((requests, TOP), np.min_scalar_type(items))


class Checker:
    """Takes the rows of one run file, block by block; problems go to `problems`."""

    def __init__(self, header: Header, task: Task, problems: Problems) -> None:
        self.task, self.problems = task, problems
        self.split, self._track = header.split, header.track
        self.request_ids = task.request_ids(header.split)
        self.tally = Tally()
        self._targets = task.targets(header.split).items
        self._answers: dict[int, _Answers] = {}
        whole_catalogue = not task.track(header.track).has_pools
        self._allowed: Allowed = (
            Histories(task, header.split)
            if whole_catalogue
            else Pools(task, header.split, header.track)
        )

    @cached_property
    def requests(self) -> Requests:
        """The requests, for what is to be said of one."""
        return self.task.requests(self.split, self._track)

    def take(self, rows: Rows) -> None:
        """Check some rows and keep what scores are made of."""
        if not len(rows):
            return
        kept = self._requests_answered(rows)
        self._items_allowed(rows)
        self.tally.add(rows)
        for number in np.unique(rows.number).tolist():
            self._keep(rows, kept & (rows.number == number), number)

    def _answers_of(self, number: int) -> _Answers:
        if number not in self._answers:
            requests, targets = self._targets.shape
            self._answers[number] = _Answers(requests, targets, len(self.task.items))
        return self._answers[number]

    def _keep(self, rows: Rows, those: Mask, number: int) -> None:
        answers = self._answers_of(number)
        whole = those.all()
        items, request = (each if whole else each[those] for each in (rows.items, rows.request))
        as_given, of_candidates = self._allowed.as_given(items, request)
        self.tally.as_given += as_given
        self.tally.of_candidates += of_candidates
        top = items[:, :TOP]
        answers.top[request, : top.shape[1]] = np.where(top >= 0, top + 1, 0)
        if not items.shape[1]:
            return
        for column, target in enumerate(self._targets[request].T):
            hit = items == np.where(target < 0, UNKNOWN - 1, target)[:, None]
            answers.ranks[request, column] = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 0)

    def _tell(
        self, code: str, rows: Rows, wrong: Mask, message: Callable[[int, int], tuple[str, str]]
    ) -> None:
        """Tell the first cells (row, column) marked `wrong`, count the rest.

        `message` gives the text and the field of a cell.
        """
        row, column = np.nonzero(wrong)
        # Blocks come in order: once enough is told, nothing later is among the first.
        told = max(0, REPORTED - self.problems.by_code[code])
        for cell in zip(row[:told].tolist(), column[:told].tolist(), strict=True):
            text, field = message(*cell)
            self.problems.add(code, text, int(rows.line[cell[0]]), field)
        self.problems.count(code, len(row[told:]))

    def _requests_answered(self, rows: Rows) -> Mask:
        """Which rows answer a request of the task that their run has not answered before."""

        def unknown(row: int, _: int) -> tuple[str, str]:
            found = rows.written[row].request_id
            hint = nearest_hint(found, self.requests.ids)
            return (
                f"{shown(found)} is not a request of {self.task.id} {self.split}{hint}",
                "request_id",
            )

        known = rows.request >= 0
        if not known.all():
            self._tell("unknown-request", rows, ~known[:, None], unknown)
        again = np.zeros(len(rows), bool)
        for number in np.unique(rows.number[known]).tolist():
            asked = np.flatnonzero(known & (rows.number == number))
            answered = self._answers_of(number).answered
            again[asked] = answered[rows.request[asked]] | _repeats(rows.request[asked])
            answered[rows.request[asked]] = True

        def repeated(row: int, _: int) -> tuple[str, str]:
            found = shown(rows.written[row].request_id)
            said = f"run {rows.number[row]} has answered request {found} already; keep one line"
            return said, "request_id"

        if again.any():
            self._tell("repeated-request", rows, again[:, None], repeated)
        return known & ~again

    def _items_allowed(self, rows: Rows) -> None:
        """Every item known, named once, and one that the request's ranking may hold."""

        def text_of(row: int, column: int) -> str:
            code = rows.items[row, column]
            return rows.written[row].items[column] if code < 0 else self.task.items.ids[code]

        def unknown(row: int, column: int) -> tuple[str, str]:
            found = text_of(row, column)
            request = rows.request[row]
            pool = self.requests[int(request)].candidates if request >= 0 else None
            hint = nearest_hint(found, [*(pool or ()), *self.task.items.ids])
            return (
                f"{shown(found)} is not an item of {self.task.id}{hint}; "
                "map titles to ids before writing",
                f"items[{column}]",
            )

        def repeated(row: int, column: int) -> tuple[str, str]:
            found = shown(text_of(row, column))
            return f"{found} is ranked already; keep the first", f"items[{column}]"

        def not_allowed(row: int, column: int) -> tuple[str, str]:
            request = int(rows.request[row])
            said = self._allowed.describe(text_of(row, column), self.requests, request)
            return said, f"items[{column}]"

        if (rows.items == UNKNOWN).any():
            self._tell("unknown-item", rows, rows.items == UNKNOWN, unknown)
        suspect = self._suspect(rows)
        if len(suspect):
            again, refused = (np.zeros(rows.items.shape, bool) for _ in range(2))
            for row in suspect.tolist():
                again[row] = _repeats(rows.items[row])
                refused[row] = self._refused(rows.items[row], rows.request[row : row + 1])
            self._tell("repeated-item", rows, again, repeated)
            self._tell(self._allowed.code, rows, refused, not_allowed)

    def _refused(self, items: Codes, request: Codes) -> Mask:
        """Which items of one ranking its request refuses; none where it is unknown."""
        (size,) = self._allowed.sizes(request).tolist()
        listed = np.isin(items, self._allowed.lists(request, size))
        return self._allowed.refuses(listed) & (items >= 0) & (request >= 0)

    def _suspect(self, rows: Rows) -> Integers:
        """Rows that name an item twice or one that is refused, and perhaps some others.

        Rankings are sorted together with the lists they are checked against, those marked by
        an even number and the ranked ones by the odd number that follows it: what is wrong
        is then seen in neighbours.
        """
        ranked = np.where(rows.items < 0, _FILLER, 2 * rows.items + 1)
        sizes = self._allowed.sizes(rows.request)
        found = []
        for part in _of_like_size(sizes):
            widest = int(sizes[part].max())
            together = np.empty((len(part), 1 + widest + ranked.shape[1]), np.int32)
            together[:, 0] = _FILLER
            lists = self._allowed.lists(rows.request[part], widest)
            together[:, 1 : widest + 1] = np.where(lists < 0, _FILLER, 2 * lists)
            together[:, widest + 1 :] = ranked[part]
            together.sort(axis=1)
            after = together[:, 1:]
            wrong = self._allowed.refuses_after(after - together[:, :-1]) & (after & 1 > 0)
            found.append(part[wrong.any(axis=1)])
        return np.sort(np.concatenate(found))

    def finish(self) -> None:
        """Note which requests and runs are missing, now that all rows are taken."""
        runs = max(self._answers, default=0) + 1
        for number in range(runs):
            if number in self._answers:
                self._missing_of(number, np.flatnonzero(~self._answers[number].answered))
            elif runs > 1:
                said = f"holds run {runs - 1} but no run {number}; number them from 0"
                self.problems.add("missing-run", said)
            else:
                self._missing_of(number, np.arange(len(self.request_ids)))

    def _missing_of(self, number: int, requests: Integers) -> None:
        mend = "write a line for every request, one that failed with its status and no items"
        if len(requests) > _TOLD_ONE_BY_ONE:
            first = shown(self.requests.ids[requests[0]])
            self.problems.add(
                "missing-request",
                f"run {number} does not answer {len(requests):,} of {len(self.request_ids):,} "
                f"requests, {first} the first of them; {mend}",
            )
            self.problems.count("missing-request", len(requests) - 1)
            return
        for request in requests.tolist():
            name = shown(self.requests.ids[request])
            self.problems.add(
                "missing-request", f"run {number} does not answer request {name}; {mend}"
            )

    def ranks(self) -> npt.NDArray[np.int8]:
        """Ranks of the targets of a sound run file: shape (runs, requests, targets)."""
        ranks = np.stack([self._answers[number].ranks for number in range(len(self._answers))])
        ranks[:, self._targets < 0] = -1
        return ranks

    def top(self) -> list[npt.NDArray[np.unsignedinteger]]:
        """The first items of each run of a sound file: see `Run.top`."""
        return [self._answers[number].top for number in range(len(self._answers))]
