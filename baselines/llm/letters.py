"""One letter an option, and how likely the model finds each as its answer."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from baselines.checks import truth, whole
from baselines.llm.asking import Conversation
from baselines.llm.model import Message, weighed
from baselines.llm.ranker import About, Ranker, failure
from llm4rec_bench import CardRefused


@dataclass(kw_only=True, eq=False)
class Letters(Ranker):
    """LlamaRec's verbaliser (Yue et al., 2023): candidates by the probability of their letter.

    One forward pass ranks the whole pool. The paper tunes the model; here it is asked as it is.
    With `permutations` of more than one the candidates are shown in so many orders, the given
    one and random others, and the logarithms averaged. `calibrate` takes off how likely a letter
    is where history and candidates say nothing (Zhao et al., 2021).
    """

    slots = ("things", "history", "latest", "candidates", "count")

    permutations: int = 1
    calibrate: bool = False

    def __post_init__(self) -> None:
        """Raises CardRefused where parameters make no sense."""
        super().__post_init__()
        whole(permutations=self.permutations)
        truth(calibrate=self.calibrate)

    def asked(self, about: About) -> Conversation:
        """All orders at once, and what is taken off."""
        count = len(about)
        if count > len(ascii_uppercase):
            raise CardRefused(
                f"a pool of {count} candidates has more than there are letters; "
                "rank it with baselines.llm.sliding:SlidingWindow"
            )
        letters = tuple(ascii_uppercase[:count])
        orders = [np.arange(count)]
        orders += [about.random.permutation(count) for _ in range(self.permutations - 1)]
        calls = [weighed(self._shown(about, order), letters) for order in orders]
        if self.calibrate:
            nothing = about.messages(
                history=[_NOTHING], latest=_NOTHING, candidates=[_NOTHING] * count, count=count
            )
            calls.append(weighed(nothing, letters))
        answers = yield list(calls)
        if failed := failure(answers[: len(orders)]):
            return failed
        scores = np.full((len(orders), count), np.nan)
        for row, order, answer in zip(scores, orders, answers, strict=False):
            if answer.logprobs is not None:
                row[order] = _normalised(answer.logprobs)
        if self.calibrate and (usual := answers[-1].logprobs) is not None:
            for row, order in zip(scores, orders, strict=True):
                row[order] -= _normalised(usual)
        return about.ranked(np.nanmean(scores, axis=0), answers)

    def _shown(self, about: About, order: np.ndarray) -> tuple[Message, ...]:
        candidates = [about.candidates[place] for place in order]
        return about.messages(candidates=candidates, count=len(candidates))


_NOTHING = "N/A"
"""Zhao et al.'s input without content."""


def _normalised(logprobs: list[float]) -> np.ndarray:
    """Logarithms of the shares that the options have of their common probability."""
    values = np.asarray(logprobs)
    return np.asarray(values - np.logaddexp.reduce(values))
