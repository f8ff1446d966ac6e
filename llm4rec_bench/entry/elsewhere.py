"""Run files too large for an entry's folder, which lie in a dataset of the Hub."""

from __future__ import annotations

from pathlib import Path

from llm4rec_bench.errors import CardRefused, UsageError, printable
from llm4rec_bench.files import replacing
from llm4rec_bench.hub import fetch_file
from llm4rec_bench.publish import put_file
from llm4rec_bench.run.lines import run_digest
from llm4rec_bench.submission import Card, Elsewhere, run_files
from llm4rec_bench.task.manifest import HubPin

LARGEST = 200_000_000
"""Bytes of such a file, as it lies there."""

_KEPT = "entered"
"""Folder of the store where they are kept."""


def fetched(name: str, there: Elsewhere, home: Path) -> Path:
    """The run file on this machine, brought here if need be and known by its digest.

    Raises CardRefused where another file lies there, and TaskDataError where none can be had.
    """
    place = home / _KEPT / there.digest.removeprefix("sha256:") / f"{name}.jsonl"
    if not place.exists():
        with replacing(place) as temporary:
            fetch_file(HubPin(there.repository, there.commit), there.file, temporary, LARGEST)
            if (found := run_digest(temporary)) != there.digest:
                raise CardRefused(
                    f"digest: {there.repository} holds {found} in {printable(there.file)}; "
                    f"expected {there.digest}"
                )
    return place


def entered_runs(folder: Path, card: Card, home: Path) -> list[Path]:
    """All run files of an entry, those that lie elsewhere brought here; raises as `fetched`."""
    return [*run_files(folder), *(fetched(*named, home) for named in card.elsewhere.items())]


def put(path: Path, repository: str, token: str | None = None) -> Elsewhere:
    """Upload a run file into a dataset repository of the Hub, and say where it lies."""
    if (size := path.stat().st_size) > LARGEST:
        raise UsageError(f"{path}: has {size:,} bytes; a run file has {LARGEST:,} at most")
    pin = put_file(path, repository, token)
    return Elsewhere(pin.repository, pin.commit, path.name, run_digest(path))
