"""Stand-ins that tests of the text methods share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256

import numpy as np

from llm4rec_bench import TaskView


class Words:
    """An encoder: the sum of a random direction for each word. It notes what it is asked."""

    def __init__(self, dimensions: int = 16, identity: Sequence[str] = ("words",)) -> None:
        self.model = "words"
        self.query_prompt = ""
        self.passage_prompt = ""
        self.identity = list(identity)
        self.dimensions = dimensions
        self.asked: list[list[str]] = []

    def encode(self, texts: Sequence[str], prompt: str) -> np.ndarray:
        self.asked.append(list(texts))
        return np.array([self._sum(f"{prompt}{text}") for text in texts], np.float32)

    def _sum(self, text: str) -> np.ndarray:
        drawn = [_direction(word, self.dimensions) for word in text.split()]
        return np.sum([np.zeros(self.dimensions), *drawn], axis=0)


@cache
def _direction(word: str, dimensions: int) -> np.ndarray:
    seed = int.from_bytes(sha256(word.encode()).digest()[:4])
    return np.random.default_rng(seed).standard_normal(dimensions)


def told(view: TaskView, texts: Sequence[str], depth: int | None = None) -> TaskView:
    """The same view with other texts, over and over if they are too few."""
    ids = view.items.ids
    descriptions = dict(zip(ids, itertools.cycle(texts), strict=False))
    return replace(view, reads=("wikipedia",), descriptions=descriptions, depth=depth or view.depth)
