"""Small sites of the embedded task: one of plain names, and one of names that mean harm."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from llm4rec_bench import Score, Task, read_run, score
from llm4rec_bench.leaderboard import board, save_scores
from llm4rec_bench.scoring import Latency, Tokens
from llm4rec_bench.site.build import pages
from llm4rec_bench.statistics import Percentile
from tests.scoring.test_score import random_rows, write_run
from tests.test_leaderboard import HOSTILE

MORE_HOSTILE = [
    "</script><script>alert(1)</script>",
    "</title></style></textarea><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' onfocus=alert(1) autofocus='",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<svg><a xlink:href=javascript:alert(1)>",
    "&amp;lt;img src=x onerror=alert(1)&amp;gt;",
]
TEXTS = [*HOSTILE, *MORE_HOSTILE]


class Runs:
    """A scored run file for some tracks of the embedded task, by track."""

    def __init__(self, folder: Path, toy: Task) -> None:
        self.paths = {
            track: write_run(folder / f"{track}.jsonl", toy, track, random_rows(toy, track))
            for track in ("retrieval", "ranking")
        }
        self.scores = {track: score(read_run(path, toy)) for track, path in self.paths.items()}

    def enter(
        self, submissions: Path, name: str, tracks: Mapping[str, Score] | None = None, **card: Any
    ) -> Path:
        """A folder with a card, its run files and their saved scores."""
        folder = submissions / name
        folder.mkdir(parents=True)
        fields = {
            "name": name, "title": name, "authors": ["Somebody"], "licence": "MIT",
            "description": "What it does.", "tasks": ["toy-v1"], "hardware": "a machine",
            "command": "make run",
        } | card  # fmt: skip
        lines = [f"{key} = {toml(value)}" for key, value in fields.items()]
        (folder / "submission.toml").write_text("\n".join(lines), "utf-8")
        tracks = self.scores if tracks is None else tracks
        for track in tracks:
            shutil.copy(self.paths[track], folder / f"toy-v1.{track}.jsonl")
        save_scores(folder, tracks.values())
        return folder


def toml(value: Any) -> str:
    """A value as TOML has it; strings as JSON's, which TOML reads too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    text = str(value)
    return text if text.startswith("2026-") else msgspec.json.encode(text).decode()


@pytest.fixture(scope="session")
def runs(toy: Task, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"), toy)


def with_titles(toy: Task, titles: list[str]) -> Task:
    """The embedded task with other titles, one after the other; its targets are out of reach."""
    items = toy.items.table
    place = items.schema.get_field_index("title")
    column = pa.array([titles[row % len(titles)] for row in range(items.num_rows)])
    items = items.set_column(place, "title", column)
    task = Task(toy.recipe, toy.manifest, toy.folder, {"items": items})

    def closed(split: str) -> None:
        raise AssertionError("nobody but the scorer opens targets")

    task.targets = closed
    return task


def hostile_card(text: str) -> dict[str, Any]:
    """Every field of a card in which strangers write freely."""
    return {
        "title": text, "authors": [text, text], "licence": text, "hardware": text,
        "command": text, "description": f"{text}\n\n{text}", "exposure": "possible",
        "link": "https://example.org/\"onclick='alert(1)'<b>", "prompts": [text],
        "models": [{"name": text, "revision": text, "training_data": text}],
        "params": {"text": text, "inner": {"text": text}},
        "prices": {"prompt": 1.0, "completion": 2.0, "date": "2026-11-01", "currency": "USD",
                   "source": "javascript:alert(1)"},
    }  # fmt: skip


def submissions_of(runs: Runs, place: Path, texts: list[str]) -> Path:
    """An entry for each text, all with tokens, so that there are both plots."""
    place.mkdir()
    for number, text in enumerate(texts):
        tokens = {"prompt": Tokens(300, 100.0 + number), "completion": Tokens(300, 10.0)}
        p50 = Percentile(1.0 + number, 0.9 + number, 1.2 + number)
        latency = Latency(300, 5.0, {"p50": p50}, 200.0)
        tracks = {
            track: msgspec.structs.replace(found, tokens=tokens, latency=latency)
            for track, found in runs.scores.items()
        }
        runs.enter(place, f"entry-{number:02}", tracks, **hostile_card(text))
    return place


Site = dict[str, bytes]


@pytest.fixture(scope="session")
def hostile(runs: Runs, toy: Task, tmp_path_factory: pytest.TempPathFactory) -> Site:
    place = submissions_of(runs, tmp_path_factory.mktemp("hostile") / "submissions", TEXTS)
    return pages(board(place), place, lambda _: with_titles(toy, TEXTS))


@pytest.fixture(scope="session")
def harmless(runs: Runs, toy: Task, tmp_path_factory: pytest.TempPathFactory) -> Site:
    plain = [f"text {number:02}" for number in range(len(TEXTS))]
    place = submissions_of(runs, tmp_path_factory.mktemp("harmless") / "submissions", plain)
    return pages(board(place), place, lambda _: with_titles(toy, plain))
