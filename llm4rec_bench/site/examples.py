"""Rankings to look at: what an entry answers to a few fixed requests of each task.

The requests are those whose ids hash lowest, so that nobody chooses them. Which item is the target
is not said, and is not looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from heapq import nsmallest
from pathlib import Path
from typing import NamedTuple

import msgspec

from llm4rec_bench.run.lines import opened
from llm4rec_bench.split import TEST
from llm4rec_bench.task import Recipe, Task

REQUESTS = 3
"""Of each task."""
ITEMS = 5
"""Of a ranking, and of a history."""

Load = Callable[[str], Task | None]
"""A task by id; None where it is not on this machine."""


class Item(NamedTuple):
    """An item of a ranking or a history."""

    item_id: str
    title: str
    """Empty where it is not shown."""


class Answer(NamedTuple):
    """What an entry answers to a request on one track."""

    track: str
    items: list[Item]


class Example(NamedTuple):
    """A request with the rankings of an entry."""

    request_id: str
    earlier: int
    """Items of the history before those shown."""
    history: list[Item]
    answers: list[Answer]


class Examples(NamedTuple):
    """The examples of one task, and why they show no titles, if so."""

    found: list[Example]
    untitled: str


class _Key(msgspec.Struct):
    request_id: str
    run: int = 0


class _Row(msgspec.Struct):
    request_id: str
    items: list[str]
    run: int = 0


class Library:
    """Titles and histories, for tasks that may be shown and are on this machine."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._asked: dict[str, list[str]] = {}
        self._titles: dict[str, dict[str, str]] = {}
        self._histories: dict[str, dict[str, list[str]]] = {}
        self._untitled: dict[str, str] = {}

    def examples(self, recipe: Recipe, runs: Sequence[tuple[str, Path]]) -> Examples:
        """The examples of an entry on a task, from its run file of each track."""
        if not runs:
            return Examples([], "")
        asked = self._asked_of(recipe.id, runs[0][1])
        self._know(recipe)
        found = {track: dict(_rankings(path, asked)) for track, path in runs}
        titles, histories = self._titles[recipe.id], self._histories[recipe.id]

        def items(ids: Iterable[str]) -> list[Item]:
            return [Item(item, titles.get(item, "")) for item in ids]

        examples = []
        for request_id in asked:
            history = histories.get(request_id, [])
            answers = [
                Answer(track, items(rankings[request_id][:ITEMS]))
                for track, rankings in found.items()
                if request_id in rankings
            ]
            earlier = max(len(history) - ITEMS, 0)
            examples.append(Example(request_id, earlier, items(history[-ITEMS:]), answers))
        return Examples(examples, self._untitled[recipe.id])

    def _asked_of(self, task: str, path: Path) -> list[str]:
        """The requests of a task that are shown; every run file holds all of them."""
        if task not in self._asked:
            ids = {msgspec.json.decode(line, type=_Key).request_id for line in _lines(path)}
            self._asked[task] = nsmallest(
                REQUESTS, ids, key=lambda name: sha256(f"{task}/{name}".encode()).digest()
            )
        return self._asked[task]

    def _know(self, recipe: Recipe) -> None:
        if recipe.id in self._untitled:
            return
        titles: dict[str, str] = {}
        histories: dict[str, list[str]] = {}
        untitled = ""
        if not recipe.licence.redistribute:
            untitled = (
                f"Ids only: the terms of the data ({recipe.licence.name}) do not allow titles and "
                "histories to be published again."
            )
        elif (task := self._load(recipe.id)) is None:
            untitled = (
                "Ids only: the task was not on the machine that made this page (llm4rec-bench "
                f"download {recipe.id})."
            )
        else:
            titles = dict(zip(task.items.ids, task.items.texts, strict=True))
            requests = task.requests(TEST, next(iter(recipe.tracks)))
            place = {request_id: row for row, request_id in enumerate(requests.ids)}
            histories = {
                request_id: requests[place[request_id]].history
                for request_id in self._asked[recipe.id]
            }
        self._titles[recipe.id] = titles
        self._histories[recipe.id] = histories
        self._untitled[recipe.id] = untitled


def _lines(path: Path) -> Iterator[bytes]:
    """The rows of a run file that was scored, and so is sound."""
    with opened(path) as file:
        next(file)
        yield from (line for line in file if not line.isspace())


def _rankings(path: Path, asked: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The rankings of some requests by run 0 of a run file."""
    wanted = set(asked)
    for line in _lines(path):
        key = msgspec.json.decode(line, type=_Key)
        if key.run == 0 and key.request_id in wanted:
            wanted.remove(key.request_id)
            yield key.request_id, msgspec.json.decode(line, type=_Row).items
            if not wanted:
                return
