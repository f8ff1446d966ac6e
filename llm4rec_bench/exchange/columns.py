"""The lines of a file of predictions as columns: which request, which item, what score.

Two forms are told apart by the first line: a TREC run, six words a line, of which the first,
the third and the fifth count; and what one writes from RecBole, a table parted by tabs with
the header ``user_id:token``, ``item_id:token``, ``score:float``. Ids are looked up where they
lie in the bytes, and are never anything but strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import REPORTED, UsageError, nearest_hint, printable, shown
from llm4rec_bench.ids import Ids, Written, words_in
from llm4rec_bench.interactions import ranges
from llm4rec_bench.run.lines import BLOCK, BROKEN, PAD, Block, Unreadable, block_of, opened
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.task import Task
from llm4rec_bench.task.tables import REQUESTS

HEADER = b"user_id:token\titem_id:token\tscore:float"
"""The first line of a table of predictions."""

LONGEST_LINE = 1 << 14
"""Bytes of one line."""

MOST_LINES = 1 << 20
"""Lines of one request."""

LARGEST = 1 << 35
"""Bytes of a file of predictions, unpacked."""

_ENOUGH = 10_000
"""Problems after which a file is read no further."""

_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"

_TAB, _NEWLINE, _RETURN = b"\t\n\r"
_IS_SPACE = np.isin(np.arange(256), list(b" \t\r\n"))

CODES: dict[str, str] = {
    "not-a-file": "predictions are a regular file",
    "not-text": "predictions are lines of text, plain, gzip or zstd",
    "bad-compression": "the gzip or zstd data are damaged or cut off",
    "not-utf8": "the file is UTF-8 without a byte order mark",
    "too-large": f"the file has at most {LARGEST >> 30} GiB, unpacked",
    "line-too-long": f"a line has at most {LONGEST_LINE:,} bytes",
    "unknown-format": "the first line is the header of a table, or of a TREC run",
    "wrong-columns": "a table has three fields parted by tabs, a TREC run six words a line",
    "bad-number": "scores are finite numbers",
    "unknown-request": "the first column names a request, in a table the user of one",
    "unknown-item": "every item is in the catalogue",
    "scattered-request": "the lines of a request stand together",
    "too-many-lines": f"a request has at most {MOST_LINES:,} lines",
    "missing-request": "every request has a line, unless `--allow-missing` is given",
}
"""Every reason for which predictions are refused: a stable code, and the rule it stands for."""

Places = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Text = npt.NDArray[np.uint8]


class Columns(NamedTuple):
    """Some lines of predictions, all of them sound."""

    line: Places
    request: Codes
    """Places among the task's requests."""
    item: Codes
    """Rows of the catalogue."""
    score: npt.NDArray[np.float64]

    def before(self, later: Columns) -> Columns:
        """These lines and then others."""
        return Columns(
            np.append(self.line, later.line),
            np.append(self.request, later.request),
            np.append(self.item, later.item),
            np.append(self.score, later.score),
        )

    def of(self, some: Mask | Places | slice) -> Columns:
        """Some of the lines."""
        line, request, item, score = self
        return Columns(line[some], request[some], item[some], score[some])


class _Fields(NamedTuple):
    """Where the three columns of some lines lie in their block: shape (lines, 3)."""

    place: Places
    """Which lines these are, by their place in the block."""
    start: Places
    end: Places


def columns_of(path: Path, task: Task, split: str, problems: Problems) -> Iterator[Columns]:
    """The sound lines of a file of predictions, block by block; what is wrong goes to `problems`.

    Reading ends where there are more problems than anybody wants to be told. Raises UsageError
    where the file names users and one of them has several requests.
    """
    try:
        with opened(path) as file:
            blocks = _blocks(file, problems)
            for block in blocks:
                reader, rest = _begun(block, task, split, problems)
                if reader is not None:
                    yield from _read(reader, chain([rest], blocks), problems)
                if problems.total:
                    return
    except Unreadable as error:
        problems.add(*_unreadable(error))


def _read(reader: _Reader, blocks: Iterator[Block], problems: Problems) -> Iterator[Columns]:
    for block in blocks:
        yield reader.columns(block)
        if problems.total > _ENOUGH:
            problems.read_to = block.first + len(block.start) - 1
            return


def _unreadable(error: Unreadable) -> tuple[str, str]:
    if error.code != "not-json-lines":
        return error.code, str(error)
    kind = str(error).partition(";")[0]
    return "not-text", f"{kind}; expected lines of text, plain, gzip or zstd"


def _blocks(file: BinaryIO, problems: Problems) -> Iterator[Block]:
    """All lines of a file, in blocks; a line that is too long is told and ends the reading."""
    number, size, begun = 1, 0, b""
    try:
        while chunk := file.read(BLOCK):
            size += len(chunk)
            cut = chunk.rfind(b"\n") + 1
            if cut:
                block = block_of(number, [begun, memoryview(chunk)[:cut]])
                begun = b""
                if (block.end - block.start).max() > LONGEST_LINE:
                    long = int(np.flatnonzero(block.end - block.start > LONGEST_LINE)[0])
                    yield block.part(0, long)
                    problems.add(*_too_long(), block.first + long)
                    return
                number += len(block.end)
                yield block
            begun += chunk[cut:]
            if len(begun) > LONGEST_LINE:
                problems.add(*_too_long(), number)
                return
            if size > LARGEST:
                problems.add("too-large", f"holds more than {LARGEST >> 30} GiB, unpacked", number)
                return
    except BROKEN as error:
        reason = printable(str(error), 120)
        said = f"cannot be unpacked after line {number - 1} ({reason}); pack it anew"
        problems.add("bad-compression", said)
        return
    if begun:
        yield block_of(number, [begun])


def _too_long() -> tuple[str, str]:
    said = f"longer than {LONGEST_LINE:,} bytes; write a line for each item of each request"
    return "line-too-long", said


def _begun(
    block: Block, task: Task, split: str, problems: Problems
) -> tuple[_Reader | None, Block]:
    """What reads a file that begins so, and what it is to read of this block.

    None where the block is blank, or the file is none that can be read, which is told.
    """
    for place in range(len(block.start)):
        line = block.line(place)
        if not line.strip():
            continue
        if line.rstrip(b"\r") == HEADER:
            return _Reader(_TABLE, task, split, problems), block.part(place + 1)
        if line.startswith(b"\xef\xbb\xbf"):
            said = "starts with a byte order mark; save the file as UTF-8 without it"
            problems.add("not-utf8", said, block.first + place)
        elif len(line.split()) == _TREC.width:
            return _Reader(_TREC, task, split, problems), block.part(place)
        else:
            found, header = _quoted(line), shown(HEADER.decode())
            said = f"begins with {found}; expected {_TREC.told}, or the header {header}"
            problems.add("unknown-format", said, block.first + place)
        break
    return None, block


def _quoted(raw: bytes) -> str:
    return shown(raw[:200].decode("utf-8", "backslashreplace"))


class _Form(NamedTuple):
    """What a file of predictions is."""

    width: int
    columns: tuple[int, int, int]
    """Request or user, item, score."""
    fields: Callable[[Block, Text, _Form], _Fields]
    asked: Callable[[Task, str], pa.StringArray]
    """What its first column names, in the order of the requests."""
    who: str
    told: str


class _Reader:
    """Turns blocks of one form into columns."""

    def __init__(self, form: _Form, task: Task, split: str, problems: Problems) -> None:
        self._form, self._task, self._problems = form, task, problems
        self._names = form.asked(task, split)
        self._who = f"{form.who} of {task.id} {split}"
        self._asked, self._items = Ids(self._names), task.items.known

    @cached_property
    def _known(self) -> list[str]:
        return list(self._names.to_pylist())

    def columns(self, block: Block) -> Columns:
        """The sound lines of a block; what is wrong with the others is noted."""
        text = np.frombuffer(block.data, np.uint8)
        fields = self._form.fields(block, text, self._form)
        if len(fields.place) < len(block.start):
            self._tell_others(block, text, fields.place)
        words, length = words_in(block.data), fields.end - fields.start
        written = [Written(words, fields.start[:, n], length[:, n]) for n in range(3)]
        request, item = self._asked.find_in(written[0]), self._items.find_in(written[1])
        score = _numbers(text, written[2])
        finite = np.isfinite(score)
        self._tell("unknown-request", block, fields, 0, request < 0, self._unknown_request)
        self._tell("unknown-item", block, fields, 1, item < 0, self._unknown_item)
        self._tell("bad-number", block, fields, 2, ~finite, _no_number)
        sound = (request >= 0) & (item >= 0) & finite
        return Columns(block.first + fields.place, request, item, score).of(sound)

    def _tell_others(self, block: Block, text: Text, sound: Places) -> None:
        """Tell the lines that are neither blank nor of the right number of columns."""
        start, _ = _words(text)
        other = np.searchsorted(start, block.end) > np.searchsorted(start, block.start)
        other[sound] = False
        for place in self._told("wrong-columns", other):
            said = f"{_quoted(block.line(place))}; expected {self._form.told}"
            self._problems.add("wrong-columns", said, block.first + place)

    def _tell(
        self,
        code: str,
        block: Block,
        fields: _Fields,
        column: int,
        wrong: Mask,
        message: Callable[[bytes], str],
    ) -> None:
        """Tell the cells of a column that are wrong."""
        for row in self._told(code, wrong):
            found = block.data[fields.start[row, column] : fields.end[row, column]]
            self._problems.add(code, message(found), block.first + int(fields.place[row]))

    def _told(self, code: str, wrong: Mask) -> list[int]:
        """The first of some rows, which are told; the rest is counted."""
        rows = np.flatnonzero(wrong)
        told = max(0, REPORTED - self._problems.by_code[code])
        self._problems.count(code, len(rows[told:]))
        return rows[:told].tolist()

    def _unknown_request(self, found: bytes) -> str:
        hint = nearest_hint(found.decode("utf-8", "replace"), self._known)
        return f"{_quoted(found)} is not {self._who}{hint}"

    def _unknown_item(self, found: bytes) -> str:
        hint = nearest_hint(found.decode("utf-8", "replace"), self._task.items.ids)
        return f"{_quoted(found)} is not an item of {self._task.id}{hint}; map titles to ids"


def _no_number(found: bytes) -> str:
    return f"{_quoted(found)} is not a finite number; leave out what has no score"


def _users(task: Task, split: str) -> pa.StringArray:
    table = task.table(REQUESTS)
    users = table["user_id"].filter(pc.equal(table["split"], split)).combine_chunks()
    if pc.count_distinct(users).as_py() < len(users):
        raise UsageError(
            f"a user of {task.id} has several {split} requests, so users do not tell them apart; "
            "write a TREC run with request ids"
        )
    return users


def _words(text: Text) -> tuple[Places, Places]:
    """Where each word of a block begins and ends."""
    space = _IS_SPACE[text]
    space[-len(PAD) :] = True
    before = np.append(True, space[:-1])
    return np.flatnonzero(~space & before), np.flatnonzero(space & ~before)


def _by_spaces(block: Block, text: Text, form: _Form) -> _Fields:
    """The words of all lines that have as many as the form."""
    start, end = _words(text)
    first = np.searchsorted(start, block.start)
    number = np.searchsorted(start, block.end) - first
    place = np.flatnonzero(number == form.width)
    cells = first[place][:, None] + np.array(form.columns)
    return _Fields(place, start[cells], end[cells])


def _by_tabs(block: Block, text: Text, form: _Form) -> _Fields:
    """The fields of all lines that have as many as the form."""
    tabs = np.flatnonzero(text == _TAB)
    first = np.searchsorted(tabs, block.start)
    number = np.searchsorted(tabs, block.end) - first + 1
    place = np.flatnonzero(number == form.width)
    inner = tabs[first[place][:, None] + np.arange(form.width - 1)]
    stop = block.end[place]
    stop = stop - (text[stop - 1] == _RETURN)
    start = np.column_stack([block.start[place], inner + 1])
    end = np.column_stack([inner, stop])
    columns = np.array(form.columns)
    return _Fields(place, start[:, columns], end[:, columns])


def _numbers(text: Text, written: Written) -> npt.NDArray[np.float64]:
    """Numbers as they are written; NaN for what is none."""
    cells = text[ranges(written.start, written.length)]
    bounds = np.append(0, np.cumsum(written.length)).astype(np.int32)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(cells)]
    # Bytes rather than strings: they need not be UTF-8, and what is no number is none.
    found = pa.Array.from_buffers(pa.binary(), len(written.start), buffers)
    ascii_only = cells.max(initial=0) < 128
    if ascii_only:
        try:
            return found.cast(pa.string()).cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid:
            pass
    sound = pc.match_substring_regex(found, _NUMBER)
    kept = pc.if_else(sound, found, pa.scalar(b"nan"))
    return kept.cast(pa.string()).cast(pa.float64()).to_numpy()


_TREC = _Form(
    6, (0, 2, 4), _by_spaces, Task.request_ids, "a request",
    "6 words: qid Q0 docid rank score tag",
)  # fmt: skip
_TABLE = _Form(
    3, (0, 1, 2), _by_tabs, _users, "the user of a request",
    "3 fields parted by tabs: user, item, score",
)  # fmt: skip
