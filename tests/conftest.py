"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from llm4rec_bench import Task, TaskDataError, load_task
from llm4rec_bench import cli as command_line
from llm4rec_bench.download import download
from llm4rec_bench.store import HOME, default_home

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
