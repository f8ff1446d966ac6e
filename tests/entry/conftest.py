"""A repository with a small board, and pull requests made against it."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llm4rec_bench.leaderboard import save_scores
from llm4rec_bench.run import read_run
from llm4rec_bench.scoring import score
from llm4rec_bench.submission import run_files
from tests.conftest import ROOT
from tests.test_publish import asked_hub

CARD = """\
name = "{name}"
title = {title}
authors = ["Ada Lovelace"]
licence = "MIT"
description = "What it does."
hardware = "a machine"
command = "make run"
tasks = ["toy-v1"]
tracks = ["ranking"]
"""
RUN = "toy-v1.ranking.jsonl.gz"


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@example.org",
         "-c", "commit.gpgsign=false", *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def rows(order: Callable[[list[str]], list[str]], toy) -> bytes:
    """A run file that orders each request's candidates in some way."""
    header = {
        "format": "llm4rec-bench/1", "task": "toy-v1", "track": "ranking",
        "digest": toy.digest("ranking"), "name": "mine",
    }  # fmt: skip
    lines = [
        {"request_id": request.request_id, "items": order(list(request.candidates))}
        for request in toy.requests("test", "ranking")
    ]
    return "".join(json.dumps(line) + "\n" for line in [header, *lines]).encode()


def write_entry(folder: Path, run: bytes, title: str = "Mine", card: str = CARD) -> Path:
    """An entry as its author would commit it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = card.format(name=folder.name, title=json.dumps(title, ensure_ascii=False))
    (folder / "submission.toml").write_text(text, "utf-8")
    (folder / RUN).write_bytes(gzip.compress(run, mtime=0))
    save_scores(folder, [score(read_run(path)) for path in run_files(folder)])
    return folder


@pytest.fixture
def repository(tmp_path: Path, toy) -> Path:
    """A repository whose board has one entry of the project and one of somebody else."""
    place = tmp_path / "repository"
    (place / "submissions").mkdir(parents=True)
    (place / "leaderboard.md").write_text("# Leaderboard\n")
    write_entry(place / "submissions" / "ours", rows(lambda items: items[::-1], toy), "Ours")
    write_entry(place / "submissions" / "bob--his", rows(sorted, toy), "His")
    git(place.parent, "init", "-q", "-b", "main", str(place))
    git(place, "add", "-A")
    git(place, "commit", "-qm", "The board")
    return place


@pytest.fixture
def judged(repository: Path, bench, monkeypatch):
    """What the command says of a pull request: (code, output, summary)."""

    def judge(
        change: Callable[[Path], object], author: str = "Ada", association: str = "NONE"
    ) -> tuple[int, str, str]:
        base = git(repository, "rev-parse", "HEAD")
        checkout = repository.parent / "fork"
        shutil.rmtree(checkout, ignore_errors=True)
        git(repository.parent, "clone", "-q", str(repository), str(checkout))
        git(checkout, "switch", "-qc", "entry")
        change(checkout)
        git(checkout, "add", "-A")
        git(checkout, "commit", "-qm", "An entry", "--allow-empty")
        head = git(checkout, "rev-parse", "HEAD")
        told = repository.parent / "summary.md"
        told.unlink(missing_ok=True)
        monkeypatch.chdir(ROOT)
        code, out, err = bench(
            "pull-request", checkout, "--base", base, "--head", head, "--author", author,
            "--association", association, "--summary", told,
            "--submissions", repository / "submissions",
        )  # fmt: skip
        return code, out + err, told.read_text("utf-8") if told.exists() else ""

    return judge


@pytest.fixture
def hub(monkeypatch):
    """An empty Hub that the clients of this process ask."""
    with asked_hub() as server:
        monkeypatch.setenv("HF_TOKEN", "hf_any")
        yield server
