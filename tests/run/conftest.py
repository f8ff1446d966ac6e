"""Handing bytes to the reader and the scorer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm4rec_bench import RunRefused, Score, Task, read_run, score

Written = Callable[..., Path]
Refused = Callable[..., RunRefused]
Judged = Callable[..., Score]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A file of these bytes."""

    def write(data: bytes, name: str = "run.jsonl") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


@pytest.fixture
def refused(written: Written) -> Refused:
    """What reading these bytes is refused for; nothing is checked against the task."""

    def refuse(data: bytes, name: str = "run.jsonl") -> RunRefused:
        with pytest.raises(RunRefused) as caught:
            read_run(written(data, name))
        return caught.value

    return refuse


@pytest.fixture
def judged(written: Written, toy: Task) -> Judged:
    """The score of these bytes, or all that is wrong with them, as the command line has it."""

    def judge(data: bytes, name: str = "run.jsonl") -> Score:
        return score(read_run(written(data, name), toy))

    return judge
