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
from typing import BinaryIO, cast

import pyarrow as pa

from llm4rec_bench.errors import CardRefused, printable, shown
from llm4rec_bench.run.format import LARGEST_RUN, LONGEST_LINE, MOST_ROWS
from llm4rec_bench.run.problems import Problems

_OTHER_KINDS = {b"PAR1": "Parquet", b"PK": "a zip file", b"BZh": "bzip2", b"\xfd7zX": "xz"}

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
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise Unreadable(
            "not-a-file", f"{shown(str(path))} cannot be opened ({reason}); check the path"
        ) from None
    with raw:
        head = raw.read(4)
        raw.seek(0)
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


def lines(file: BinaryIO, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, each within the limit; longer ones are noted and passed over."""
    size = number = 0
    while line := _piece(file, number):
        number += 1
        size += len(line)
        if len(line) > LONGEST_LINE:
            said = f"longer than {LONGEST_LINE:,} bytes; shorten the explanation"
            problems.add("line-too-long", said, number)
            while line and not line.endswith(b"\n") and size <= LARGEST_RUN:
                line = _piece(file, number)
                size += len(line)
        elif number <= MOST_ROWS:
            yield number, line
        if size > LARGEST_RUN or number > MOST_ROWS:
            raise Unreadable(
                "too-large",
                f"holds more than {LARGEST_RUN >> 30} GiB or {MOST_ROWS:,} lines, unpacked",
            )


def _piece(file: BinaryIO, number: int) -> bytes:
    """The next line, or as much of it as shows that it is too long."""
    try:
        return file.readline(LONGEST_LINE + 1)
    except BROKEN as error:
        reason = printable(str(error), 120)
        raise Unreadable(
            "bad-compression", f"cannot be unpacked after line {number} ({reason}); pack it anew"
        ) from None
