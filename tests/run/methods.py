"""Methods that behave, and methods that do not, for test_execute."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llm4rec_bench import Ranking, Request, TaskView

FAILS_AT: set[str] = set()
"""Requests on which `Fallible` breaks off; a test sets and clears it."""


class AsGiven:
    """The candidates as they come, or the catalogue less the history; tells what it is."""

    made = 0

    def __init__(self, depth: int = 100, pause: float = 0.0) -> None:
        AsGiven.made += 1
        self.depth, self.pause, self.fitted = depth, pause, 0

    def fit(self, task: TaskView) -> None:
        self.task = task
        self.fitted += 1

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        time.sleep(self.pause)
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Ranking:
        seen = set(request.history)
        allowed = request.candidates or [item for item in self.task.items.ids if item not in seen]
        said = f"seed {self.task.seed}, fitted {self.fitted}, {self.task.split}"
        return Ranking(allowed[: self.depth], prompt_tokens=7, explanation=said)


class Fallible(AsGiven):
    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        if requests[0].request_id in FAILS_AT:
            raise RuntimeError("the model went away")
        return super().rank(requests)


class NeverFitted(AsGiven):
    def fit(self, task: TaskView) -> None:
        raise MemoryError("too large")


class NeverMade:
    def __init__(self) -> None:
        raise ValueError("depth must be positive")


class NoMethod:
    pass


class WrongCount(AsGiven):
    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        return super().rank(requests) * 2


Answer = Callable[[Request, TaskView], Any]


def _first(request: Request) -> list[str]:
    return (request.candidates or [])[:1]


ANSWERS: dict[str, Answer] = {
    # What no ranking may hold
    "unknown": lambda request, task: Ranking(["nothing"]),
    "twice": lambda request, task: Ranking(_first(request) * 2),
    "seen": lambda request, task: Ranking(request.history[:1]),
    "outside": lambda request, task: Ranking(
        [next(item for item in task.items.ids if item not in (request.candidates or []))]
    ),
    "title": lambda request, task: Ranking([task.items.texts[0]]),
    "number": lambda request, task: Ranking([1]),
    "too many": lambda request, task: Ranking([f"w{number}" for number in range(101)]),
    # What is no ranking
    "nothing": lambda request, task: None,
    "list": lambda request, task: _first(request),
    "lists": lambda request, task: Ranking([_first(request)]),
    "mixed": lambda request, task: Ranking([None, "x"]),
    # What no run file can hold, or no scorer accepts
    "status": lambda request, task: Ranking([], status="tired"),
    "nan score": lambda request, task: Ranking(_first(request), scores=[float("nan")]),
    "score short": lambda request, task: Ranking(_first(request), scores=[]),
    "score up": lambda request, task: Ranking((request.candidates or [])[:2], scores=[1.0, 2.0]),
    "tokens": lambda request, task: Ranking([], prompt_tokens=-1),
    "numpy": lambda request, task: Ranking([], prompt_tokens=np.int64(3)),
    "surrogate": lambda request, task: Ranking([], explanation="\ud800"),
    "long": lambda request, task: Ranking([], explanation="x" * (1 << 20)),
}
"""Wrong answers by name."""


class Wrong(AsGiven):
    """Gives the wrong answer `what` to request `at`."""

    def __init__(self, what: str, at: str = "u003") -> None:
        super().__init__()
        self.what, self.at = what, at

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        if requests[0].request_id != self.at:
            return super().rank(requests)
        return [ANSWERS[self.what](request, self.task) for request in requests]


class Consuming(AsGiven):
    """Takes its candidates apart while ranking them."""

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        pool = requests[0].candidates or []
        return [Ranking([pool.pop() for _ in range(len(pool))])]


class Smuggling(AsGiven):
    """Adds to the candidates what it wants to rank."""

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        (requests[0].candidates or []).append("nothing")
        return [Ranking(["nothing"])]
