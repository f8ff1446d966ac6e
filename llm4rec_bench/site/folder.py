"""Putting a site on disk whole or not at all, and never over what is somebody else's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from llm4rec_bench.errors import UsageError, shown
from llm4rec_bench.files import recover_folder, swap_folder

MARKER = ".llm4rec-bench-site"
"""Lists every file of a site, so that a later one may take its place and nothing else goes."""


def check_replaceable(place: Path) -> None:
    """Refuse a place that holds anything but a site; raises UsageError."""
    recover_folder(place)
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise UsageError(f"{place}: is no folder; name one that is new, empty or a site")
    if not place.exists():
        return
    there = {path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir()}
    made = _listed(place)
    if foreign := sorted(there - made - {MARKER}):
        raise UsageError(
            f"{place}: holds {shown(foreign[0])}, which no site wrote; name a folder that is new, "
            "empty or a site"
        )


def _listed(place: Path) -> set[str]:
    try:
        return set((place / MARKER).read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return set()


def write_site(place: Path, files: Mapping[str, bytes]) -> None:
    """Write a site, file by relative path, in place of the one that was there, if any."""
    check_replaceable(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{place.name}-", suffix=".tmp", dir=place.parent))
    try:
        listed = "".join(f"{name}\n" for name in sorted(files))
        for name, data in {**files, MARKER: listed.encode()}.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        new.chmod(0o755)
        swap_folder(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
