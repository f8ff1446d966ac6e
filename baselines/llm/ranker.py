"""What all rankers with a language model share: what is shown, to whom, and what comes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from baselines.checks import whole
from baselines.entries import fitted_entry
from baselines.llm.asking import Asking, Conversation, Told
from baselines.llm.model import Answer, LanguageModel, Message
from baselines.llm.models.connect import model_of
from baselines.llm.planning import Rehearsal
from baselines.llm.prompts import SLOTS, Kind, Value, fitted, shown, template_of
from llm4rec_bench import CardRefused, Dropped, Method, Plan, Ranking, Request, TaskView


@dataclass(kw_only=True, eq=False)
class Talking(ABC):
    """A method that has conversations with a model: one about each request, side by side.

    Its fields are the params of a card.
    """

    model: Mapping[str, Any]
    """Described in `models.connect.model_of`."""

    @cached_property
    def asked_model(self) -> LanguageModel:
        """The model itself, made when it is first needed."""
        return model_of(self.model)

    def share(self, other: Talking) -> None:
        """Use the model of another."""
        self.asked_model = other.asked_model

    def fit(self, task: TaskView) -> None:
        """Take what may be shown of items. Nothing is learnt."""
        if task.track == "retrieval":
            raise CardRefused(
                "a language model ranks the pools of ranking, ranking-popular and reranking, not a "
                "whole catalogue; name one of these with --track"
            )
        if "title" not in task.reads:
            raise CardRefused('a prompt needs titles: add reads = ["title"] to the card')
        if task.reads == ("title",) and task.texts() == list(task.items.ids):
            raise CardRefused(f"{task.task}: its titles are its ids, which say nothing to a model")
        self.task = task

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """Ask about all requests side by side; one that fails has its status and no items."""
        asking = Asking(self.asked_model, self.task.recording)
        return asking.rankings(self.conversations(requests))

    def plan(self, requests: Sequence[Request]) -> Plan:
        """How much would be asked that is not recorded yet; nothing is asked."""
        rehearsal = Rehearsal(self.asked_model)
        asking = Asking(rehearsal, self.task.recording, rehearsing=True)
        asking.rankings(self.conversations(requests))
        return rehearsal.plan

    @abstractmethod
    def conversations(self, requests: Sequence[Request]) -> list[Conversation]:
        """One for each request."""


@dataclass(kw_only=True, eq=False)
class Ranker(Talking):
    """Ranks the candidates of a request by what a language model says of them.

    Items are shown by what the card reads of them, each on one line. The candidates stand in the
    order of the task, or with a `hint` in that in which another entry ranks them: the model can
    follow it, so that entry itself belongs beside such a result.
    """

    slots: ClassVar[tuple[str, ...]]
    """What it can fill in a prompt."""
    marks: ClassVar[tuple[Kind, ...]] = ("lettered",)
    """How `candidates` may be marked, so that an answer can be read."""

    prompt: str
    """Described in `prompts.template_of`."""
    history: int = 20
    """The latest items of the user that are shown."""
    characters: int = 120
    """Of an item, at most."""
    context: int = 1600
    """Tokens of a prompt, at most: of the history less is shown where it would have more."""
    hint: str | None = None
    """Name of an entry."""

    def __post_init__(self) -> None:
        """Read the prompt; raises CardRefused where parameters make no sense."""
        for name, value in (("prompt", self.prompt), ("hint", self.hint)):
            if not isinstance(value, str) and not (name == "hint" and value is None):
                raise CardRefused(f"{name}: expected a name in quotation marks, found {value!r}")
        whole(history=self.history, characters=self.characters, context=self.context)
        known = {**SLOTS, "candidates": self.marks}
        self.template = template_of(self.prompt, {slot: known[slot] for slot in self.slots})

    def fit(self, task: TaskView) -> None:
        """Take the texts of items, and fit what gives a hint."""
        super().fit(task)
        self.texts = task.texts()
        self.hinting: Method | None = None if self.hint is None else fitted_entry(self.hint, task)

    @abstractmethod
    def asked(self, about: About) -> Conversation:
        """The conversation about one request."""

    def shown(self, row: int) -> str:
        """An item of the catalogue as prompts show it."""
        return shown(self.texts[row], self.characters)

    def conversations(self, requests: Sequence[Request]) -> list[Conversation]:
        """One for each request."""
        return [self.asked(about) for about in self.abouts(requests)]

    def abouts(self, requests: Sequence[Request]) -> list[About]:
        """The requests as they are shown."""
        if self.hinting is None:
            orders = [request.candidates or [] for request in requests]
        else:
            orders = [ranking.items for ranking in self.hinting.rank(requests)]
        return [
            About(self, request, order) for request, order in zip(requests, orders, strict=True)
        ]


class About:
    """One request, as it is shown."""

    def __init__(self, ranker: Ranker, request: Request, candidates: Sequence[str]) -> None:
        self.ranker = ranker
        self.request = request
        # A hint that leaves candidates out is followed by them, as they are given.
        self.ids = list(dict.fromkeys([*candidates, *(request.candidates or ())]))
        items = ranker.task.items
        self.rows = items.rows(self.ids)
        """Of the candidates in the catalogue, which is in hash order: what ties go by."""
        self.candidates = [ranker.shown(row) for row in self.rows.tolist()]
        latest = request.history[-ranker.history :]
        self.history = [ranker.shown(row) for row in items.rows(latest).tolist()]
        self.seen_titles = [items.texts[row] for row in items.rows(request.history).tolist()]
        self.titles = [shown(items.texts[row], ranker.characters) for row in self.rows.tolist()]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def random(self) -> np.random.Generator:
        """Chance of its own for each request and seed, whatever else is asked."""
        seed = sha256(f"{self.ranker.task.seed}/{self.request.request_id}".encode()).digest()
        return np.random.default_rng(list(seed))

    def messages(self, **values: Value) -> tuple[Message, ...]:
        """The prompt with its slots filled, the history cut to what has room."""
        ranker, history = self.ranker, self.history
        always: dict[str, Value] = {
            "things": ranker.task.domain or "items",
            "history": history,
            "earlier": history[:-1],
            "latest": history[-1] if history else "",
        }
        made = fitted(ranker.template, always | values, ranker.context, ranker.asked_model.tokens)
        if made is None:
            raise CardRefused(
                f"prompt: {ranker.template.name} needs more than {ranker.context} tokens for "
                f"request {self.request.request_id!r} even without a history; raise context, or "
                "lower characters"
            )
        return made

    def ranked(self, scores: npt.ArrayLike, answers: Sequence[Answer] = ()) -> Told:
        """The candidates by a score each, NaN for one that could not be asked about.

        Ties go by hash order, so that the place at which a candidate was shown decides nothing.
        Where one of the `answers` that scores come of is missing, or does not tell of all that it
        was asked about, the status says so.
        """
        given = np.asarray(scores, np.float64)
        known = np.flatnonzero(~np.isnan(given))
        order = known[np.lexsort((self.rows[known], -given[known]))]
        whole = len(known) == len(self) and not any(
            _failed(answer) or answer.untold for answer in answers
        )
        return self.told(order.tolist(), "ok" if whole else "fallback")

    def told(
        self, order: Sequence[int], status: str = "ok", dropped: Dropped | None = None
    ) -> Told:
        """A ranking by places of the list shown."""
        return Told([self.ids[place] for place in order], status, dropped)


def one_of(name: str, given: object, known: Collection[object]) -> None:
    """Raise CardRefused where a parameter is none of the values there are."""
    if given not in known:
        raise CardRefused(f"{name}: expected {' or '.join(map(str, known))}, found {given!r}")


def failure(answers: Sequence[Answer]) -> Told | None:
    """What is told where no answer came. None where some did."""
    failed = [answer.status for answer in answers if _failed(answer)]
    return Told([], ended(failed)) if failed and len(failed) == len(answers) else None


def ended(statuses: Sequence[str]) -> str:
    """The status of a request of which nothing came: one that may pass, if there is any.

    Such a request is asked again by the next run, where others would but end so once more.
    """
    return next((status for status in statuses if status in _MAY_PASS), statuses[0])


_MAY_PASS = {"timeout", "api_error"}


def _failed(answer: Answer) -> bool:
    return answer.status not in ("ok", "truncated")
