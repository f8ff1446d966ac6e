"""Several ways of asking, put together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from baselines.llm.asking import Conversation, Told
from baselines.llm.letters import Letters
from baselines.llm.likelihood import TitleLikelihood
from baselines.llm.listwise import Listwise, total
from baselines.llm.pairwise import Pairwise
from baselines.llm.pointwise import Pointwise
from baselines.llm.ranker import About, Ranker, Talking, ended
from llm4rec_bench import CardRefused, Request, TaskView, nearest_hint

RANKERS: dict[str, type[Ranker]] = {
    "letters": Letters,
    "likelihood": TitleLikelihood,
    "listwise": Listwise,
    "pairwise": Pairwise,
    "pointwise": Pointwise,
}


@dataclass(kw_only=True, eq=False)
class Hybrid(Talking):
    """RecRanker's hybrid (Luo et al., 2023): pointwise, pairwise and listwise answers in one sum.

    Each of `parts` is a table with its `ranker`, a `weight` of 1 unless it says otherwise, and
    the parameters of that ranker. The paper adds ratings, pairs won and places, each with its own
    constant; here each part gives a candidate the share of the pool that it puts behind it, so
    that parts weigh the same. A part that fails has no say; what no part ranks is left out.
    """

    parts: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        """Make the parts; raises CardRefused where a table describes none."""
        if not self.parts:
            raise CardRefused("parts: expected one table or more, each with its ranker")
        self.rankers = [_part(self.model, dict(part)) for part in self.parts]

    def fit(self, task: TaskView) -> None:
        """Fit every part; they share the model."""
        super().fit(task)
        for ranker, _ in self.rankers:
            ranker.share(self)
            ranker.fit(task)

    def conversations(self, requests: Sequence[Request]) -> list[Conversation]:
        """One for each request, through all parts."""
        abouts = [ranker.abouts(requests) for ranker, _ in self.rankers]
        return [self._asked(list(about)) for about in zip(*abouts, strict=True)]

    def _asked(self, abouts: list[About]) -> Conversation:
        about = abouts[0]
        place = {item: number for number, item in enumerate(about.ids)}
        points, said = np.zeros(len(about)), np.zeros(len(about), bool)
        parts: list[Told] = []
        for (ranker, weight), view in zip(self.rankers, abouts, strict=True):
            told = yield from ranker.asked(view)
            parts.append(told)
            for rank, item in enumerate(told.items, 1):
                points[place[item]] += weight * (len(about) - rank) / len(about)
                said[place[item]] = True
        dropped = total(told.dropped for told in parts)
        if not said.any():
            return Told([], ended([told.status for told in parts]), dropped)
        made = about.ranked(np.where(said, points, np.nan))._replace(dropped=dropped)
        whole = all(told.status == "ok" for told in parts)
        return made if whole else made._replace(status="fallback")


def _part(model: Mapping[str, Any], table: dict[str, Any]) -> tuple[Ranker, float]:
    kind, weight = table.pop("ranker", None), table.pop("weight", 1.0)
    if kind not in RANKERS:
        raise CardRefused(f"parts: ranker: expected {', '.join(RANKERS)}, found {kind!r}")
    if not isinstance(weight, (int, float)) or not 0 < weight < np.inf:
        raise CardRefused(f"parts: weight: expected a number above 0, found {weight!r}")
    fields = inspect.signature(RANKERS[kind]).parameters
    if unknown := sorted(table.keys() - fields):
        hint = nearest_hint(unknown[0], fields)
        raise CardRefused(f"parts: {unknown[0]!r} is no parameter of {kind}{hint}")
    try:
        return RANKERS[kind](model=model, **table), float(weight)
    except TypeError as error:
        raise CardRefused(f"parts: {kind}: {error}") from None
