"""Reading run files that strangers wrote.

One pass, line by line, with bounded memory for whatever is not kept. What is wrong with
a line is noted and the next one is read, so that one call finds all there is to mend.
Parsing never guesses: no id becomes a number, no number an id, no repeated key is
dropped without a word.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm4rec_bench.errors import REPORTED, Problem, RunRefused, shown
from llm4rec_bench.run.explain import explain
from llm4rec_bench.run.format import (
    LARGEST_RUN,
    LONGEST_LINE,
    MOST_ROWS,
    STATUSES,
    Dropped,
    Header,
    Row,
)
from llm4rec_bench.task import FORMAT


class Problems:
    """What is wrong with one run file: the first few in full, all of them counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[Problem] = []
        self.total = 0

    def add(self, code: str, message: str, line: int | None = None, field: str = "") -> None:
        """Note one problem."""
        self.count(1)
        if self.total <= REPORTED:
            self.found.append(Problem(code, message, line, field))

    def count(self, more: int) -> None:
        """Count problems that are not told one by one."""
        self.total += more

    @property
    def room(self) -> int:
        """How many more problems will be told in full."""
        return max(0, REPORTED - self.total)

    def raise_if_any(self) -> None:
        """Raise RunRefused where anything was noted."""
        if self.total:
            told = sorted(self.found, key=lambda problem: problem.line or 0)
            raise RunRefused(self.name, told, self.total)


@dataclass(frozen=True, slots=True)
class Run:
    """A run file as columns; rows are in the file's order and hold only sound lines."""

    name: str
    """The file's name, for messages."""
    header: Header
    digest: str
    """SHA-256 of the file's bytes, unpacked."""
    line: npt.NDArray[np.int64]
    request: pa.StringArray
    number: npt.NDArray[np.int64]
    """Which of the repeated runs a row belongs to."""
    items: pa.StringArray
    """The rankings of all rows, end to end."""
    lengths: npt.NDArray[np.int64]
    status: npt.NDArray[np.int8]
    """Index into `format.STATUSES`."""
    latency_ms: npt.NDArray[np.float64]
    """NaN where not given."""
    tokens: dict[str, npt.NDArray[np.float64]]
    """prompt, completion and cached tokens; NaN where not given."""
    dropped: dict[str, int]
    """Totals over all rows."""

    def __len__(self) -> int:
        return len(self.line)


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
        with _opened(path) as file:
            for number, line in _lines(file, problems):
                parser.take(number, line)
    except _Unreadable as error:
        problems.add(error.code, str(error))
    return parser.finish(path.name), problems


class _Unreadable(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked by what they are and not by what the name claims."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _Unreadable("not-a-file", f"{shown(str(path))} is not a regular file")
        raw = path.open("rb")
    except OSError as error:
        raise _Unreadable(
            "not-a-file", f"{shown(str(path))} cannot be opened ({error.strerror}); check the path"
        ) from None
    with raw:
        head = raw.read(4)
        raw.seek(0)
        if head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield cast(BinaryIO, unpacked)
        elif head == b"\x28\xb5\x2f\xfd":
            with io.BufferedReader(pa.CompressedInputStream(raw, "zstd")) as unpacked_zstd:
                yield unpacked_zstd
        else:
            yield raw


def _lines(file: BinaryIO, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, each within the limit; longer ones are noted and passed over."""
    size = number = 0
    while True:
        try:
            line = file.readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            raise _Unreadable(
                "bad-compression", f"cannot be unpacked after line {number} ({error}); pack it anew"
            ) from None
        if not line:
            return
        number += 1
        size += len(line)
        if size > LARGEST_RUN or number > MOST_ROWS:
            raise _Unreadable(
                "too-large",
                f"holds more than {LARGEST_RUN >> 30} GiB or {MOST_ROWS:,} lines, unpacked",
            )
        if len(line) > LONGEST_LINE:
            problems.add(
                "line-too-long",
                f"longer than {LONGEST_LINE:,} bytes; shorten the explanation",
                number,
            )
            size += _skip_line(file, LARGEST_RUN - size)
        else:
            yield number, line


def _skip_line(file: BinaryIO, most: int) -> int:
    """Read past the end of the current line; returns the bytes passed over."""
    passed = 0
    while passed <= most and (rest := file.readline(LONGEST_LINE)):
        passed += len(rest)
        if rest.endswith(b"\n"):
            break
    return passed


_KEYS = sorted(
    {
        f'"{name}"'.encode()
        for struct in (Header, Row, Dropped)
        for name in struct.__struct_fields__
    }
)


class _Parser:
    """Turns lines into columns; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.header: Header | None = None
        self.headers_seen = 0
        self.hash = sha256()
        self.rows: list[tuple[int, Row]] = []
        self._chunks: list[dict[str, Any]] = []
        self._row = msgspec.json.Decoder(Row)
        self._header = msgspec.json.Decoder(Header)

    def take(self, number: int, line: bytes) -> None:
        self.hash.update(line)
        if not line.strip():
            return
        if not self._is_text(number, line) or self._repeats_a_key(number, line):
            self.headers_seen += self.headers_seen == 0
            return
        if self.headers_seen == 0:
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
        # Both parsers keep the last of repeated keys without a word. A key of ours that
        # occurs twice, or anything escaped, is looked at again, slowly.
        suspicious = b"\\" in line or any(line.count(key) > 1 for key in _KEYS)
        if not suspicious:
            return False
        repeated: list[str] = []

        def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
            names = [name for name, _ in found]
            repeated.extend(name for name in set(names) if names.count(name) > 1)
            return dict(found)

        try:
            json.loads(line, object_pairs_hook=pairs)
        except (ValueError, RecursionError):
            return False  # the typed parser says what is wrong
        for name in repeated:
            self.problems.add("repeated-key", f"names {shown(name)} twice; keep one", number)
        return bool(repeated)

    def _take_header(self, number: int, line: bytes) -> None:
        self.headers_seen = 1
        try:
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
        if header.format != FORMAT:
            self.problems.add(
                "wrong-format",
                f'{shown(header.format)} is not a format this version reads; expected "{FORMAT}"',
                number,
                "format",
            )
            return
        self.header = header

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
        if self._is_sound(number, row):
            self.rows.append((number, row))
            if len(self.rows) >= 20_000:
                self._pack()

    def _is_sound(self, number: int, row: Row) -> bool:
        if row.latency_ms is not None and not math.isfinite(row.latency_ms):
            self.problems.add(
                "bad-number", "is not a finite number; leave the field out", number, "latency_ms"
            )
            return False
        if row.scores is None:
            return True
        if len(row.scores) != len(row.items):
            fault = f"{len(row.scores)} scores for {len(row.items)} items; give one for each item"
        elif not all(map(math.isfinite, row.scores)):
            fault = "holds a number that is not finite; leave scores out"
        elif any(a < b for a, b in zip(row.scores, row.scores[1:], strict=False)):
            fault = "increases; sort items by score before writing, the order is the ranking"
        else:
            return True
        self.problems.add("bad-scores", fault, number, "scores")
        return False

    def _refuse(
        self, number: int, line: bytes, error: msgspec.DecodeError, struct: type[msgspec.Struct]
    ) -> None:
        code, message, field = explain(line, error, struct)
        self.problems.add(code, message, number, field)

    def _pack(self) -> None:
        """Turn the rows gathered so far into columns, which take a tenth of the memory."""
        rows = [row for _, row in self.rows]
        columns: dict[str, Any] = {
            "line": np.array([number for number, _ in self.rows], np.int64),
            "request": pa.array([row.request_id for row in rows], pa.string()),
            "number": np.array([row.run for row in rows], np.int64),
            "items": pa.array([item for row in rows for item in row.items], pa.string()),
            "lengths": np.array([len(row.items) for row in rows], np.int64),
            "status": np.array([STATUSES.index(row.status) for row in rows], np.int8),
            "latency_ms": np.array([row.latency_ms for row in rows], np.float64),
        }
        for kind in _TOKENS:
            values = [getattr(row, f"{kind}_tokens") for row in rows]
            columns[kind] = np.array(values, np.float64)
        for reason in _REASONS:
            columns[reason] = sum(getattr(row.dropped, reason) for row in rows if row.dropped)
        self._chunks.append(columns)
        self.rows = []

    def finish(self, name: str) -> Run | None:
        if self.headers_seen == 0 and not self.problems.total:
            self.problems.add("missing-header", "the file is empty", 1)
        if self.header is None:
            return None
        self._pack()

        def joined(column: str) -> Any:
            parts = [chunk[column] for chunk in self._chunks]
            if isinstance(parts[0], pa.Array):
                return pa.concat_arrays(parts)
            return sum(parts) if isinstance(parts[0], int) else np.concatenate(parts)

        return Run(
            name,
            self.header,
            f"sha256:{self.hash.hexdigest()}",
            *(joined(column) for column in _COLUMNS),
            tokens={kind: joined(kind) for kind in _TOKENS},
            dropped={reason: joined(reason) for reason in _REASONS},
        )


_COLUMNS = ("line", "request", "number", "items", "lengths", "status", "latency_ms")
_TOKENS = ("prompt", "completion", "cached")
_REASONS = Dropped.__struct_fields__
