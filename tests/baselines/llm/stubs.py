"""Models whose tastes are known, which read prompts as a model does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence

from baselines.llm.model import Answer, Call, Chat, Likelihoods, Message, Usage
from baselines.llm.prompts import FOLDER, Template

Taste = Callable[[str, int], float]
"""How much a title is liked that stands at some place of the list shown."""


def prompt(name: str) -> str:
    """How a card names one of our prompts."""
    return f"{name}@{Template(FOLDER / name).digest}"


class Stub:
    """Answers every question of our prompts by its taste."""

    concurrency = 4

    def __init__(self, taste: Taste, name: str = "stub") -> None:
        self.taste = taste
        self.identity: list[object] = ["stub", name]
        self.calls: list[Call] = []

    def answers(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        for index, call in reversed(list(enumerate(calls))):  # in any order
            self.calls.append(call)
            yield index, self.answer(call)

    def answer(self, call: Call) -> Answer:
        user = next(said.content for said in reversed(call.messages) if said.role == "user")
        usage = Usage(prompt=self.tokens(user), completion=1, cached=0)
        if isinstance(call, Likelihoods):
            return Answer(logprobs=self.logprobs(user, call), usage=usage, latency_ms=2.0)
        return Answer(self.ranking(user, call), usage=usage, latency_ms=2.0)

    def logprobs(self, user: str, call: Likelihoods) -> list[float]:
        lettered = dict(re.findall(r"^([A-Z])\. (.*)$", user, re.MULTILINE))
        answers = [one.strip() for one in call.continuations]
        if answers[0] == "Yes":
            liked = self.taste(user.splitlines()[-1], 0)
            return [liked, 0.0]
        if answers[0] == "1":
            liked = self.taste(user.splitlines()[-1], 0)
            return [number * liked for number in range(5)]
        if lettered:
            places = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
            return [self.taste(lettered[one], places.index(one)) for one in answers]
        return [self.taste(title, place) for place, title in enumerate(answers)]

    def ranking(self, user: str, call: Chat) -> str:
        numbered = re.findall(r"^\[([0-9]+)\] (.*)$", user, re.MULTILINE)
        if numbered:
            liked = [-self.taste(title, place) for place, (_, title) in enumerate(numbered)]
            order = sorted(range(len(liked)), key=lambda place: liked[place])
            return json.dumps({"ranking": [int(numbered[place][0]) for place in order]})
        titles = re.findall(r"^- (.*)$", user.split("From the")[1], re.MULTILINE)
        count = int(re.search(r"choose the ([0-9]+)", user)[1])
        liked = {title: -self.taste(title, place) for place, title in enumerate(titles)}
        return "\n".join(sorted(titles, key=lambda title: liked[title])[:count])

    def tokens(self, text: str) -> int:
        return len(text.split())

    def prompts(self, call: Likelihoods) -> int:
        return 1

    def longest(self, call: Call) -> tuple[int, int]:
        return 1, call.sampling.max_tokens if isinstance(call, Chat) else 1


def said(*turns: str) -> tuple[Message, ...]:
    """A conversation that the user begins."""
    roles = ("user", "assistant")
    return tuple(Message(roles[place % 2], text) for place, text in enumerate(turns))
