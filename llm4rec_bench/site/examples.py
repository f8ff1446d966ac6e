"""Rankings to look at: what an entry answers to a few fixed requests of each task.

The requests are those whose ids hash lowest, so that nobody chooses them. Which item is the target
is not said, and is not looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
    """The examples of one task."""

    found: list[Example]
    """None where titles cannot be shown: ids alone tell a reader nothing."""
    absent: str
    """Why there are none, if so."""


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
        self._shelves: dict[str, _Shelf | str] = {}

    def examples(self, recipe: Recipe, runs: Sequence[tuple[str, Path]]) -> Examples:
        """The examples of an entry on a task, from its run file of each track."""
        if not runs:
            return Examples([], "Its run files lie elsewhere.")
        if recipe.id not in self._shelves:
            self._shelves[recipe.id] = self._shelf(recipe)
        shelf = self._shelves[recipe.id]
        if isinstance(shelf, str):
            return Examples([], shelf)
        rankings = {track: dict(_rankings(path, shelf.histories)) for track, path in runs}
        return Examples([shelf.example(request, rankings) for request in shelf.histories], "")

    def _shelf(self, recipe: Recipe) -> _Shelf | str:
        """What is known of a task, or why nothing is shown of it."""
        if not recipe.licence.redistribute:
            return (
                f"No examples: the terms of the data ({recipe.licence.name}) do not allow titles "
                "and histories to be published again."
            )
        task = self._load(recipe.id)
        if task is None:
            return (
                "No examples: the task was not on the machine that made this page (llm4rec-bench "
                f"download {recipe.id})."
            )
        requests = task.requests(TEST, next(iter(recipe.tracks)))
        place = {request_id: row for row, request_id in enumerate(requests.ids)}
        asked = nsmallest(
            REQUESTS, place, key=lambda name: sha256(f"{recipe.id}/{name}".encode()).digest()
        )
        titles = dict(zip(task.items.ids, task.items.texts, strict=True))
        return _Shelf(titles, {name: requests[place[name]].history for name in asked})


class _Shelf(NamedTuple):
    """What is shown of one task."""

    titles: dict[str, str]
    histories: dict[str, list[str]]
    """Of the requests that are shown."""

    def example(self, request: str, rankings: Mapping[str, Mapping[str, list[str]]]) -> Example:
        """A request with its rankings by track."""
        history = self.histories[request]
        answers = [
            Answer(track, self._items(by[request][:ITEMS])) for track, by in rankings.items()
        ]
        earlier = max(len(history) - ITEMS, 0)
        return Example(request, earlier, self._items(history[-ITEMS:]), answers)

    def _items(self, ids: Sequence[str]) -> list[Item]:
        return [Item(item, self.titles[item]) for item in ids]


def _lines(path: Path) -> Iterator[bytes]:
    """The rows of a run file that was scored, and so is sound."""
    with opened(path) as file:
        next(file)
        yield from (line for line in file if not line.isspace())


def _rankings(path: Path, asked: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """The rankings of some requests by run 0 of a run file."""
    wanted = set(asked)
    for line in _lines(path):
        key = msgspec.json.decode(line, type=_Key)
        if key.run == 0 and key.request_id in wanted:
            wanted.remove(key.request_id)
            yield key.request_id, msgspec.json.decode(line, type=_Row).items
            if not wanted:
                return
