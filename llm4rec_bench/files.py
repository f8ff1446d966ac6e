"""Putting files on disk whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def swap_folder(new: Path, place: Path) -> None:
    """Move the folder `new` to `place`; what was there goes only once it is out of the way."""
    old = new.with_name("replaced")
    shutil.rmtree(old, ignore_errors=True)  # a killed process may have left one
    if place.exists():
        place.replace(old)
    new.replace(place)
    shutil.rmtree(old, ignore_errors=True)


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
