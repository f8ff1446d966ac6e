"""The whole list of candidates at once, and a ranking of it as the answer."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from msgspec.structs import asdict

from baselines.checks import not_negative, whole
from baselines.llm.asking import Conversation, Told
from baselines.llm.model import Answer, Chat, Sampling
from baselines.llm.parsing import Form, completed, forms_of, parsed
from baselines.llm.prompts import ITEMS, Kind
from baselines.llm.ranker import About, Ranker, ended, failure, one_of
from llm4rec_bench import Dropped


@dataclass(kw_only=True, eq=False)
class Listwise(Ranker):
    """A ranking in words, as LLMRank asks for it (Hou et al., ECIR 2024).

    The paper's three prompts are listwise-sequential, -recency and -example. `answer` says how
    the prompt asks for the ranking: as `json` or `numbers` of the list, or as `titles`. With
    `shuffles` of more than one the list is shown in so many orders, the given one and random
    others, and each ranking gives a candidate a point for every one behind it (Borda's count).
    Candidates that an answer does not name are left out, or with `left_out = "given"` follow in
    the order in which they were shown.
    """

    slots = ("things", "history", "latest", "earlier", "candidates", "count")

    answer: Form = "json"
    shuffles: int = 1
    left_out: Literal["leave", "given"] = "leave"
    max_tokens: int = 400
    temperature: float = 0.0

    def __post_init__(self) -> None:
        """Raises CardRefused where parameters make no sense."""
        one_of("answer", self.answer, get_args(Form))
        super().__post_init__()
        one_of("left_out", self.left_out, ("leave", "given"))
        whole(shuffles=self.shuffles, max_tokens=self.max_tokens)
        not_negative(temperature=self.temperature)

    @property
    def marks(self) -> tuple[Kind, ...]:  # type: ignore[override]
        """Numbers, unless titles are asked for."""
        return ITEMS if self.answer == "titles" else ("numbered",)

    @cached_property
    def all_titles(self) -> Container[str]:
        """What tells a title of the catalogue from one that was made up."""
        return forms_of(self.task.items.texts)

    def asked(self, about: About) -> Conversation:
        """All orders at once."""
        orders = [np.arange(len(about)).tolist()]
        orders += [about.random.permutation(len(about)).tolist() for _ in range(self.shuffles - 1)]
        answers = yield [self.call(about, order) for order in orders]
        if failed := failure(answers):
            return failed
        pairs = zip(orders, answers, strict=True)
        return merged(about, [self.read(about, order, answer) for order, answer in pairs])

    def wanted(self, shown: int) -> int:
        """How many of the candidates shown an answer is to name."""
        return shown

    def call(self, about: About, order: Sequence[int]) -> Chat:
        """The question about some candidates, by their places in the request, in this order."""
        candidates = [about.candidates[place] for place in order]
        messages = about.messages(candidates=candidates, count=len(order))
        return Chat(messages, self.sampling(len(order)))

    def sampling(self, shown: int) -> Sampling:
        """How an answer about so many candidates is drawn, and what it is held to."""
        # A seed is asked for only where chance has a part, so that equal questions are one.
        seed = self.task.seed if self.temperature > 0 else None
        schema = _schema(shown, self.wanted(shown)) if self.answer == "json" else None
        return Sampling(self.max_tokens, self.temperature, seed=seed, schema=schema)

    def read(self, about: About, order: Sequence[int], answer: Answer) -> Told:
        """What an answer to `call` says."""
        if answer.status not in ("ok", "truncated"):
            return Told([], answer.status)
        options = [about.titles[place] for place in order]
        found = parsed(
            answer.text,
            options,
            self.answer,
            cut=answer.status == "truncated",
            history=about.seen_titles,
            catalogue=self.all_titles,
        )
        how = self.left_out if found.order else "leave"
        places, added = completed(found.order, options, how)
        # The order given is not the model's: a ranking that ends in it is told from one that is.
        status = "fallback" if added and found.status == "ok" else found.status
        return about.told([order[place] for place in places], status, found.dropped)


def merged(about: About, told: Sequence[Told]) -> Told:
    """One ranking of several, by Borda's count; a single one as it stands."""
    dropped = total(one.dropped for one in told)
    rankings = [one.items for one in told if one.items]
    if not rankings or len(told) == 1:
        return told[0]._replace(status=ended([one.status for one in told]), dropped=dropped)
    place = {item: number for number, item in enumerate(about.ids)}
    points = np.full(len(about), np.nan)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            row = place[item]
            points[row] = np.nan_to_num(points[row]) + len(about) - rank
    status = "ok" if all(one.status == "ok" for one in told) else "fallback"
    return about.ranked(points)._replace(status=status, dropped=dropped)


def total(counts: Iterable[Dropped | None]) -> Dropped:
    """What was dropped in all."""
    tables = [asdict(count) for count in counts if count is not None]
    return Dropped(**{name: sum(table[name] for table in tables) for name in asdict(Dropped())})


def _schema(shown: int, wanted: int) -> dict[str, Any]:
    """Of {"ranking": [3, 1, …]} with so many numbers of the candidates shown."""
    number = {"type": "integer", "minimum": 1, "maximum": shown}
    ranking = {"type": "array", "items": number, "minItems": wanted, "maxItems": wanted}
    return {
        "type": "object",
        "properties": {"ranking": ranking},
        "required": ["ranking"],
        "additionalProperties": False,
    }
