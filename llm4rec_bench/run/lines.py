"""The lines of a file from a stranger: unpacked, numbered, and never more than the limits."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
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
    """Whole lines, each with its end; only the last of a file may lack it."""
    start: Places
    """Where each line begins."""
    end: Places
    """Where it ends, without the newline."""

    def line(self, place: int) -> bytes:
        """One line, by its place in the block."""
        return self.data[self.start[place] : self.end[place]]


def block_of(first: int, data: bytes) -> Block:
    """Some bytes that begin with line number `first` as a block."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
    if data and not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    return Block(first, data, np.append(0, ends[:-1] + 1) if len(ends) else ends, ends)


def blocks(file: BinaryIO, problems: Problems) -> Iterator[Block]:
    """All lines of a file in blocks of about BLOCK bytes.

    Of a line that is too long only as much is handed on as shows that it is. Where the
    file can be read no further, what came before is handed on and the reason noted; that
    is known while earlier blocks may still be at work, so `problems` are those of the end.
    """
    number, size, begun = 1, 0, b""
    try:
        for piece in _pieces(file):
            size += len(piece)
            cut = piece.rfind(b"\n") + 1
            if cut:
                for block in _of_bounded_length(
                    block_of(number, b"".join([begun, memoryview(piece)[:cut]]))
                ):
                    yield block
                    number += len(block.end)
                begun = piece[cut:]
            elif len(begun) <= LONGEST_LINE:
                begun += piece
            if size > LARGEST_RUN or number - 1 > MOST_ROWS + 1:
                said = (
                    f"holds more than {LARGEST_RUN >> 30} GiB or {MOST_ROWS:,} rows, unpacked; "
                    "write explanations elsewhere, or fewer runs"
                )
                problems.add("too-large", said)
                if len(begun) > LONGEST_LINE:
                    yield block_of(number, begun)
                return
    except BROKEN as error:
        reason = printable(str(error), 120)
        said = f"cannot be unpacked after line {number - 1} ({reason}); pack it anew"
        problems.add("bad-compression", said)
        return
    if begun:
        yield block_of(number, begun)


def _of_bounded_length(block: Block) -> Iterator[Block]:
    """A block in parts of at most _MOST_LINES, which matters where lines are blank."""
    while len(block.end) > _MOST_LINES:
        cut = int(block.end[_MOST_LINES - 1]) + 1
        yield block_of(block.first, block.data[:cut])
        block = block_of(block.first + _MOST_LINES, block.data[cut:])
    yield block


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file in pieces; of a damaged archive, first all that can be unpacked."""
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
        yield b"".join(parts)
    if broken is not None:
        raise broken
