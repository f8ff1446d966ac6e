"""Putting files on disk whole or not at all."""

from __future__ import annotations

import errno
import getpass
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from llm4rec_bench.errors import CardRefused


def swap_folder(new: Path, place: Path) -> None:
    """Move the folder `new` to `place`.

    What was there waits beside it meanwhile; `recover_folder` puts it back where a process
    was killed between the two moves.
    """
    recover_folder(place)
    waiting = _waiting(place)
    if place.exists():
        place.replace(waiting)
    new.replace(place)
    shutil.rmtree(waiting, ignore_errors=True)


def recover_folder(place: Path) -> bool:
    """Undo a swap that was broken off, and remove what one left; returns whether it was undone."""
    waiting = _waiting(place)
    broken_off = waiting.exists() and not place.exists()
    if broken_off:
        waiting.replace(place)
    shutil.rmtree(waiting, ignore_errors=True)
    return broken_off


def _waiting(place: Path) -> Path:
    return place.with_name(f".{place.name}-replaced")


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a regular file; raises OSError for another one or one with more bytes."""
    with path.open("rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"is larger than {most >> 10:,} KiB", str(path))
    return data


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path` that takes its place once the block ends, and is gone if it fails.

    Raises OSError where `path` is there and is no regular file: a device or a pipe is not to
    be replaced.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, "utf-8", newline="\n")


@contextmanager
def only_one(place: Path, refused: str) -> Iterator[None]:
    """Be the only process that works on a place; raises CardRefused(`refused`) if it is not.

    The lock lies elsewhere and stays: removing a lock file lets two processes hold it.
    """
    name = sha256(str(place.resolve()).encode()).hexdigest()[:32]
    lock = FileLock(Path(tempfile.gettempdir()) / f"llm4rec-bench-{getpass.getuser()}-{name}.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise CardRefused(refused) from None
