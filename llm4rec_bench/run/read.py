"""Reading run files that strangers wrote.

One pass, line by line, with bounded memory for whatever is not kept. What is wrong with
a line is noted and the next one is read, so that one call finds all there is to mend.
Parsing never guesses: no id becomes a number, no number an id, no repeated key is
dropped without a word.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm4rec_bench.errors import printable, shown
from llm4rec_bench.run.explain import explain
from llm4rec_bench.run.format import STATUSES, Dropped, Header, Row, unsound
from llm4rec_bench.run.lines import Unreadable, lines, opened
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.task import FORMAT

_PACKED_TOGETHER = 20_000
"""Rows that are kept as records before they are turned into columns."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a run file as columns, in the file's order; only sound lines."""

    line: npt.NDArray[np.int64]
    request: pa.StringArray
    number: npt.NDArray[np.int64]
    """Which of the repeated runs a row belongs to."""
    items: pa.LargeStringArray
    """The rankings of all rows, end to end."""
    lengths: npt.NDArray[np.int64]
    status: npt.NDArray[np.int8]
    """Index into `format.STATUSES`."""
    latency_ms: npt.NDArray[np.float64]
    """NaN where not given."""
    tokens: npt.NDArray[np.float64]
    """Shape (rows, len(TOKENS)); NaN where not given."""
    dropped: npt.NDArray[np.int64]
    """Shape (rows, len(REASONS))."""

    def __len__(self) -> int:
        return len(self.line)

    def cells(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each of `items`, the row it stands in and its 0-based place there."""
        owner = np.repeat(np.arange(len(self)), self.lengths)
        starts = np.cumsum(self.lengths) - self.lengths
        return owner, np.arange(len(owner)) - starts[owner]


@dataclass(frozen=True, slots=True)
class Run(Rows):
    """A run file: its rows, its header, and the digest of its bytes, unpacked."""

    name: str
    """The file's name, for messages."""
    header: Header
    digest: str


TOKENS = ("prompt", "completion", "cached")
REASONS = Dropped.__struct_fields__
_NONE_DROPPED = Dropped()


def _rows(numbered: list[tuple[int, Row]]) -> Rows:
    rows = [row for _, row in numbered]
    tokens = [(row.prompt_tokens, row.completion_tokens, row.cached_tokens) for row in rows]
    dropped = [msgspec.structs.astuple(row.dropped or _NONE_DROPPED) for row in rows]
    return Rows(
        line=np.array([number for number, _ in numbered], np.int64),
        request=pa.array([row.request_id for row in rows], pa.string()),
        number=np.array([row.run for row in rows], np.int64),
        items=pa.array([item for row in rows for item in row.items], pa.large_string()),
        lengths=np.array([len(row.items) for row in rows], np.int64),
        status=np.array([STATUSES.index(row.status) for row in rows], np.int8),
        latency_ms=np.array([row.latency_ms for row in rows], np.float64),
        tokens=np.array(tokens, np.float64).reshape(-1, len(TOKENS)),
        dropped=np.array(dropped, np.int64).reshape(-1, len(REASONS)),
    )


def _joined(parts: list[Rows]) -> dict[str, Any]:
    """The columns of several parts end to end, by name."""
    columns = {}
    for field in fields(Rows):
        values = [getattr(part, field.name) for part in parts]
        arrow = isinstance(values[0], pa.Array)
        columns[field.name] = pa.concat_arrays(values) if arrow else np.concatenate(values)
    return columns


def read_run(path: str | Path) -> Run:
    """A run file, plain, gzip or zstd; raises RunRefused listing what is wrong with it.

    Whether it answers its task is checked by `check_run` and `score`.
    """
    run, problems = parse_run(Path(path))
    problems.raise_if_any()
    assert run is not None  # noqa: S101 - no header is a problem
    return run


def parse_run(path: Path) -> tuple[Run | None, Problems]:
    """Like `read_run`, but hands over what could be read beside what is wrong.

    There is no run where there is no sound header.
    """
    problems = Problems(path.name)
    parser = _Parser(problems)
    try:
        with opened(path) as file:
            for number, line in lines(file, problems):
                parser.take(number, line)
    except Unreadable as error:
        problems.add(error.code, str(error))
    return parser.finish(path.name), problems


_KEYS = [
    f'"{name}":'.encode()
    for name in dict.fromkeys(
        Row.__struct_fields__ + Header.__struct_fields__ + Dropped.__struct_fields__
    )
]


def _may_repeat_a_key(line: bytes) -> bool:
    """Whether a line needs a slow look for repeated keys.

    It does not where every colon in it belongs to another key of ours, as it does in
    nearly all lines. A string cannot hold a quote before a colon without a backslash.
    """
    colons = line.count(b":")
    for key in _KEYS:
        if colons == 0:
            break
        colons -= key in line
    return colons != 0 or b"\\" in line


class _Format(msgspec.Struct):
    """What a header says of its format, whatever else it holds."""

    format: str | None = None


class _Parser:
    """Turns lines into columns; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.header: Header | None = None
        self.past_header = False
        self.hash = sha256()
        self.rows: list[tuple[int, Row]] = []
        self.packed: list[Rows] = []
        self._row = msgspec.json.Decoder(Row)
        self._header = msgspec.json.Decoder(Header)

    def take(self, number: int, line: bytes) -> None:
        self.hash.update(line)
        if not line.strip():
            return
        if not self._is_text(number, line) or self._repeats_a_key(number, line):
            self.past_header = True
            return
        if not self.past_header:
            self._take_header(number, line)
        else:
            self._take_row(number, line)

    def _is_text(self, number: int, line: bytes) -> bool:
        if line.startswith(b"\xef\xbb\xbf"):
            self.problems.add(
                "not-utf8", "starts with a byte order mark; save the file as UTF-8 without it",
                number,
            )  # fmt: skip
            return False
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            self.problems.add(
                "not-utf8", f"byte {error.start + 1} is not UTF-8; write the file as UTF-8", number
            )
            return False
        return True

    def _repeats_a_key(self, number: int, line: bytes) -> bool:
        # Both parsers keep the last of repeated keys without a word.
        if not _may_repeat_a_key(line):
            return False
        repeated: list[str] = []

        def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
            times = Counter(name for name, _ in found)
            repeated.extend(name for name, count in times.items() if count > 1)
            return dict(found)

        try:
            json.loads(line, object_pairs_hook=pairs)
        except (ValueError, RecursionError):
            return False  # the typed parser says what is wrong
        for name in repeated:
            self.problems.add("repeated-key", f"names {shown(name)} twice; keep one", number)
        return bool(repeated)

    def _take_header(self, number: int, line: bytes) -> None:
        self.past_header = True
        try:
            if self._is_of_another_format(number, line):
                return
            header = self._header.decode(line)
        except msgspec.DecodeError as error:
            if b'"request_id"' in line and b'"format"' not in line:
                self.problems.add(
                    "missing-header",
                    "the first line is a ranking; put before it "
                    f'{{"format": "{FORMAT}", "task": …, "track": …, "digest": …, "name": …}}',
                    number,
                )
                self._take_row(number, line)
            else:
                self._refuse(number, line, error, Header)
            return
        self.header = header

    def _is_of_another_format(self, number: int, line: bytes) -> bool:
        # Looked at before the rest: another format may well have other fields.
        try:
            named = msgspec.json.decode(line, type=_Format).format
        except (msgspec.DecodeError, RecursionError):
            return False  # the strict decoder says what is wrong
        if named is None or named == FORMAT:
            return False
        said = f'{shown(named)} is not a format this version reads; expected "{FORMAT}"'
        self.problems.add("wrong-format", said, number, "format")
        return True

    def _take_row(self, number: int, line: bytes) -> None:
        try:
            row = self._row.decode(line)
        except msgspec.DecodeError as error:
            if b'"format"' in line and b'"digest"' in line:
                self.problems.add(
                    "unexpected-header", "a second header; write one run a file", number
                )
            else:
                self._refuse(number, line, error, Row)
            return
        if fault := unsound(row):
            self.problems.add(fault.code, fault.message, number, fault.field)
            return
        self.rows.append((number, row))
        if len(self.rows) >= _PACKED_TOGETHER:
            self._pack()

    def _refuse(
        self, number: int, line: bytes, error: msgspec.DecodeError, struct: type[msgspec.Struct]
    ) -> None:
        fault = explain(line, error, struct)
        self.problems.add(fault.code, fault.message, number, fault.field)

    def _pack(self) -> None:
        """Turn the rows gathered so far into columns, which take a tenth of the memory."""
        self.packed.append(_rows(self.rows))
        self.rows = []

    def finish(self, name: str) -> Run | None:
        if not self.past_header and not self.problems.total:
            self.problems.add("missing-header", "the file is empty", 1)
        if self.header is None:
            return None
        self._pack()
        digest = f"sha256:{self.hash.hexdigest()}"
        columns = _joined(self.packed)
        return Run(**columns, name=printable(name, 200), header=self.header, digest=digest)
