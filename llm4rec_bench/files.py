"""Putting files on disk whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


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


def recover_folder(place: Path) -> None:
    """Undo a swap that was broken off, and remove what one left."""
    waiting = _waiting(place)
    if waiting.exists() and not place.exists():
        waiting.replace(place)
    shutil.rmtree(waiting, ignore_errors=True)


def _waiting(place: Path) -> Path:
    return place.with_name(f".{place.name}-replaced")


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
