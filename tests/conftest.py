"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
import sys
from functools import cache
from pathlib import Path

# Tests run beside one another: threads of one that wait for work would keep others from theirs.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from llm4rec_bench import Task, TaskDataError, load_task
from llm4rec_bench import cli as command_line
from llm4rec_bench.download import download
from llm4rec_bench.store import HOME, default_home

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script, where Ctrl-C is nobody's; the tests' children hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent

# Correctness, not speed; and in CI the same examples every time.
settings.register_profile("here", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("here")


@pytest.fixture(scope="session")
def toy() -> Task:
    return load_task("toy-v1")


@pytest.fixture(scope="session")
def movielens() -> Task:
    """MovieLens 100K from the store, or from wherever it can be had; skips where it cannot."""
    try:
        return download("ml-100k-v1", default_home())
    except TaskDataError as error:
        if os.environ.get("LLM4REC_BENCH_REQUIRE_DATA"):
            raise
        pytest.skip(f"MovieLens 100K cannot be had here: {error}")


SHARED = ROOT.parent / "shared" / "data"
"""Raw copies in their publishers' layouts, where somebody has put them beside the checkout."""

RAW = {
    "ml-100k-v1": ["wikipedia-movie-data"],
    "ml-latest-small-v1": ["ml-latest-small-2018-09", "links", "wikipedia-movie-data"],
    "movietweetings-v1": ["movietweetings-100k", "links", "wikipedia-movie-data"],
    "shakespeare-v1": ["shakespeare-and-company"],
}


def raw_copies(task_id: str) -> list[Path]:
    """What a task is made of, as far as it lies on this machine; empty unless all of it does."""
    paths = [SHARED / name for name in RAW[task_id]]
    if task_id == "ml-100k-v1":
        paths += kept_raw_copies()[:1] or [SHARED / "ml-100k"]
    return paths if all(path.exists() for path in paths) else []


@cache
def real_task(task_id: str) -> Task:
    """A task from the store or from raw copies; skips with a reason where it cannot be had."""
    home, raw = default_home(), raw_copies(task_id)
    try:
        task = download(task_id, home, offline=bool(raw))
    except TaskDataError as error:
        if not raw:
            pytest.skip(f"{task_id} cannot be had here: {error}")
        return download(task_id, home, raw=raw)
    return download(task_id, home, raw=raw) if raw and task.lacks_descriptions else task


@pytest.fixture
def bench(monkeypatch, tmp_path, capfd):
    """Runs a command in this process in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.setenv(HOME, str(tmp_path / "store"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["llm4rec-bench", *map(str, words)])
        code = command_line._exit_code()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call


def kept_raw_copies() -> list[Path]:
    """Raw copies of MovieLens 100K that a download has left in the store."""
    return sorted((default_home() / "raw" / "ml-100k-v1").glob("*.[zw]*"))
