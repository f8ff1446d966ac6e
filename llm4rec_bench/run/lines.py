"""The lines of a file from a stranger: unpacked, numbered, and never more than the limits."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm4rec_bench.errors import CardRefused, printable, shown
from llm4rec_bench.run.format import LARGEST_RUN, LONGEST_LINE, MOST_ROWS
from llm4rec_bench.run.problems import Problems

_OTHER_KINDS = {b"PAR1": "Parquet", b"PK": "a zip file", b"BZh": "bzip2", b"\xfd7zX": "xz"}

Places = npt.NDArray[np.int64]

_NEWLINE = ord("\n")

PAD = bytes(8)
"""What follows the lines of a block, so that a word of eight bytes begins at each of theirs."""

_MOST_LINES = 1 << 17
"""Lines of a block; a row has thirty bytes or more, so that only blank lines are as many."""

_AT_ONCE = 1 << 16
"""Bytes of one read, so many of which are lost where an archive breaks off."""

BLOCK = 1 << 21
"""Bytes that are looked at in one go: few enough for the processor's cache, many enough that
a call for each costs nothing."""

BROKEN = (OSError, EOFError, zlib.error, pa.ArrowException)
"""What a damaged or cut-off archive raises."""


class Unreadable(Exception):
    """A file of which no more can be read; `code` is one of `format.CODES`."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked by what they are and not by what the name claims."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Unreadable("not-a-file", f"{shown(str(path))} is not a regular file")
        raw = path.open("rb")
        head = raw.peek(4)[:4]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise Unreadable(
            "not-a-file", f"{shown(str(path))} cannot be opened ({reason}); check the path"
        ) from None
    with raw:
        for magic, kind in _OTHER_KINDS.items():
            if head.startswith(magic):
                raise Unreadable(
                    "not-json-lines", f"looks like {kind}; expected JSON Lines, plain, gzip or zstd"
                )
        if head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield cast(BinaryIO, unpacked)
        elif head == b"\x28\xb5\x2f\xfd":
            with io.BufferedReader(pa.CompressedInputStream(raw, "zstd")) as unpacked_zstd:
                yield unpacked_zstd
        else:
            yield raw


def run_digest(path: Path) -> str:
    """``sha256:…`` of a run file's bytes, unpacked, as its score carries it.

    Raises CardRefused where they cannot be read.
    """
    hashed = sha256()
    try:
        with opened(path) as file:
            while chunk := file.read(1 << 20):
                hashed.update(chunk)
    except (Unreadable, *BROKEN) as error:
        raise CardRefused(f"{path}: cannot be read ({printable(str(error), 200)})") from None
    return f"sha256:{hashed.hexdigest()}"


class Block(NamedTuple):
    """Some lines of a file, in one piece."""

    first: int
    """Number of the first of them."""
    data: bytes
    """Whole lines, each with its end, which only the last of a file may lack; then PAD."""
    start: Places
    """Where each line begins."""
    end: Places
    """Where it ends, without the newline."""

    def line(self, place: int) -> bytes:
        """One line, by its place in the block."""
        return self.data[self.start[place] : self.end[place]]

    def read(self) -> memoryview:
        """The bytes as they were read."""
        return memoryview(self.data)[: -len(PAD)]

    def part(self, first: int, last: int | None = None) -> Block:
        """The lines from `first` up to `last`, by their places, or to the end."""
        begin = self.start[first] if first < len(self.start) else len(self.read())
        end = None if last is None else self.start[last]
        return block_of(self.first + first, [self.read()[begin:end]])


def block_of(first: int, parts: Sequence[bytes | memoryview]) -> Block:
    """Some bytes, in parts, that begin with line number `first` as a block."""
    data = b"".join([*parts, PAD])
    length = len(data) - len(PAD)
    ends = np.flatnonzero(np.frombuffer(data, np.uint8, length) == _NEWLINE)
    if length and data[length - 1] != _NEWLINE:
        ends = np.append(ends, length)
    return Block(first, data, np.append(0, ends[:-1] + 1) if len(ends) else ends, ends)


def blocks(file: BinaryIO, problems: Problems) -> Iterator[Block]:
    """All lines of a file in blocks of about BLOCK bytes.

    Of a line that is too long only as much is handed on as shows that it is. Where the
    file can be read no further, what came before is handed on and the reason noted; that
    is known while earlier blocks may still be at work, so `problems` are those of the end.
    """
    number, size, begun = 1, 0, b""
    try:
        for parts in _pieces(file):
            size += sum(map(len, parts))
            behind: list[bytes] = []  # parts behind the last newline
            while parts and not (cut := parts[-1].rfind(b"\n") + 1):
                behind.insert(0, parts.pop())
            if parts:
                last = parts.pop()
                whole = block_of(number, [begun, *parts, memoryview(last)[:cut]])
                number += len(whole.end)
                yield from _of_bounded_length(whole)
                begun = b"".join([last[cut:], *behind])
            elif len(begun) <= LONGEST_LINE:
                begun = b"".join([begun, *behind])
            if size > LARGEST_RUN or number - 1 > MOST_ROWS + 1:
                said = (
                    f"holds more than {LARGEST_RUN >> 30} GiB or {MOST_ROWS:,} rows, unpacked; "
                    "write explanations elsewhere, or fewer runs"
                )
                problems.add("too-large", said)
                if len(begun) > LONGEST_LINE:
                    yield block_of(number, [begun])
                return
    except BROKEN as error:
        reason = printable(str(error), 120)
        said = f"cannot be unpacked after line {number - 1} ({reason}); pack it anew"
        problems.add("bad-compression", said)
        return
    if begun:
        yield block_of(number, [begun])


def _of_bounded_length(block: Block) -> Iterator[Block]:
    """A block in parts of at most _MOST_LINES, which matters where lines are blank."""
    for first in range(0, len(block.end), _MOST_LINES):
        last = first + _MOST_LINES
        if first == 0 and last >= len(block.end):
            yield block
        else:
            yield block.part(first, last if last < len(block.end) else None)


def _pieces(file: BinaryIO) -> Iterator[list[bytes]]:
    """The bytes of a file in pieces, each in parts.

    Of a damaged archive, first comes all that can be unpacked.
    """
    broken = None
    while broken is None:
        parts: list[bytes] = []
        wanted = BLOCK
        try:
            while wanted > 0 and (part := file.read1(min(wanted, _AT_ONCE))):  # type: ignore[attr-defined]
                parts.append(part)
                wanted -= len(part)
        except BROKEN as error:
            broken = error
        if not parts:
            break
        yield parts
    if broken is not None:
        raise broken
