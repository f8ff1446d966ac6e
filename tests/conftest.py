"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from llm4rec_bench import Task, TaskDataError, load_task
from llm4rec_bench.download import download
from llm4rec_bench.store import default_home

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
