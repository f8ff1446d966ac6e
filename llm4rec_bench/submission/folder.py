"""The run files of a submission's folder."""

from __future__ import annotations

from pathlib import Path

from llm4rec_bench.recording import MARK
from llm4rec_bench.task.recipe import RETRIEVAL


def run_files(folder: Path) -> list[Path]:
    """The run files in a folder, by task and track."""
    endings = (".jsonl", ".jsonl.gz", ".jsonl.zst")
    found = [
        path for path in folder.iterdir() if path.name.endswith(endings) and MARK not in path.name
    ]
    return sorted(found, key=_by_task_and_track)


def _by_task_and_track(path: Path) -> tuple[str, bool, str]:
    """Sorts retrieval before the pool tracks of the same task, as everywhere."""
    task, _, rest = path.name.partition(".")
    track = rest.partition(".")[0]
    return task, track != RETRIEVAL, track
