"""Candidates two by two, each pair in both orders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from baselines.checks import two_or_more
from baselines.llm.asking import Conversation
from baselines.llm.model import weighed
from baselines.llm.ranker import About, Ranker, failure, one_of

Wins = npt.NDArray[np.float64]
"""Cell (i, j): how far i was preferred to j, 0 to 1; NaN where they were not compared."""


@dataclass(kw_only=True, eq=False)
class Pairwise(Ranker):
    """Which of two candidates, asked with either first (Luo et al., RecRanker, 2023; Qin et al.,
    pairwise ranking prompting, 2024).

    The preference is the probability of A against that of B, averaged over both orders, so that
    a liking for the first place cancels. At most `calls` are made: where not all pairs can be
    asked about, each candidate meets as many others as the rest, chosen by chance. Preferences
    are put together by `aggregate`: `copeland` counts the pairs won, one whose two orders
    disagree as half a pair (Qin et al.), over the pairs asked; `bradley-terry` finds the
    strengths that explain the probabilities (Hunter, 2004).
    """

    slots = ("things", "history", "latest", "candidates")

    calls: int = 400
    aggregate: Literal["copeland", "bradley-terry"] = "copeland"

    def __post_init__(self) -> None:
        """Raises CardRefused where parameters make no sense."""
        super().__post_init__()
        two_or_more(calls=self.calls)  # a pair takes two
        one_of("aggregate", self.aggregate, _AGGREGATES)

    def asked(self, about: About) -> Conversation:
        """All pairs at once."""
        pairs = paired(len(about), self.calls // 2, about.random)
        both = [pair for one, other in pairs for pair in ((one, other), (other, one))]
        answers = yield [
            weighed(about.messages(candidates=[about.candidates[i] for i in pair]), ("A", "B"))
            for pair in both
        ]
        if failed := failure(answers):
            return failed
        wins = np.full((len(about), len(about), 2), np.nan)
        for (first, second), answer in zip(both, answers, strict=True):
            if answer.logprobs is not None:
                likes_first = 1.0 / (1.0 + np.exp(answer.logprobs[1] - answer.logprobs[0]))
                order = int(first > second)
                wins[first, second, order] = likes_first
                wins[second, first, order] = 1.0 - likes_first
        if self.aggregate == "copeland":
            wins = np.sign(wins - 0.5) / 2 + 0.5
        return about.ranked(_AGGREGATES[self.aggregate](wins.mean(axis=2)), answers)


def paired(count: int, most: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of `count` candidates, at most so many, every candidate in about as many.

    With the candidates on a circle, in random order, each meets its neighbours, then theirs.
    """
    if count * (count - 1) // 2 <= most:
        return list(combinations(range(count), 2))
    circle = random.permutation(count).tolist()
    pairs = (
        (circle[place], circle[(place + apart) % count])
        for apart in range(1, count // 2 + 1)
        for place in range(count if 2 * apart < count else count // 2)
    )
    return [pair for _, pair in zip(range(most), pairs, strict=False)]


def copeland(wins: Wins) -> npt.NDArray[np.float64]:
    """The share of the pairs asked about that each candidate won; NaN where there is none."""
    asked = ~np.isnan(wins)
    won = np.where(asked, np.sign(np.nan_to_num(wins, nan=0.5) - 0.5) / 2 + 0.5, 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(won.sum(axis=1) / asked.sum(axis=1))


def bradley_terry(wins: Wins, rounds: int = 20_000) -> npt.NDArray[np.float64]:
    """Logarithms of the strengths of a Bradley-Terry model, by Hunter's iteration (2004).

    Every two candidates that met have a tenth of a draw more, so that one that won always has a
    finite strength. NaN for one that met none.
    """
    asked = ~np.isnan(wins)
    won = np.where(asked, np.nan_to_num(wins) + 0.05, 0.0)
    met = won + won.T
    strength = np.ones(len(wins))
    for _ in range(rounds):
        share = (met / (strength[:, None] + strength[None, :])).sum(axis=1)
        before = strength
        strength = np.divide(won.sum(axis=1), share, out=strength.copy(), where=share > 0)
        strength /= np.exp(np.log(strength).mean())
        if np.abs(np.log(strength / before)).max() < 1e-9:
            break
    return np.where(asked.any(axis=1), np.log(strength), np.nan)


_AGGREGATES = {"copeland": copeland, "bradley-terry": bradley_terry}
