"""Methods with something to tune, for test_tuning."""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from llm4rec_bench import CardRefused, Ranking, Request, TaskView

MADE: list[dict[str, object]] = []
"""The params of every `Blend` that was fitted; a test clears it."""

STOPS_AT: list[int] = []
"""Numbers of the fits at which `Blend` is interrupted as Ctrl-C does."""


class Blend:
    """Popularity blended with chance: the more of it the better, and `kind` turns it round."""

    def __init__(self, share: float, kind: str = "up", noise: int = 0, pause: float = 0.0) -> None:
        self.params = {"share": share, "kind": kind, "noise": noise}
        self.share, self.sign = share, 1 if kind == "up" else -1
        self.noise, self.pause = noise, pause

    def fit(self, task: TaskView) -> None:
        assert task.split == "validation"
        if len(MADE) in STOPS_AT:
            STOPS_AT.clear()
            raise KeyboardInterrupt
        MADE.append(self.params)
        time.sleep(self.pause)
        events = task.log.events_per_item()
        names = (f"{task.seed} {self.noise} {item}".encode() for item in task.items.ids)
        chance = np.array([sha256(name).digest()[0] / 256 for name in names])
        known = events / events.max()
        score = self.sign * self.share * known + (1 - self.share) * chance
        self.score = dict(zip(task.items.ids, score.tolist(), strict=True))

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        return [Ranking(self._ranked(request)) for request in requests]

    def _ranked(self, request: Request) -> list[str]:
        items = self.score.keys() - set(request.history)
        return sorted(request.candidates or items, key=lambda item: (-self.score[item], item))[:100]


class Fussy(Blend):
    """Stands no `kind` but "up", and refuses a `share` above a half."""

    def __init__(self, share: float, kind: str = "up") -> None:
        if share > 0.5:
            raise CardRefused(f"share is {share}; expected at most .5")
        super().__init__(share, kind)

    def fit(self, task: TaskView) -> None:
        if self.sign < 0:
            raise RuntimeError("the model\n\x1b[31mwent away" + "y" * 1000)
        super().fit(task)
