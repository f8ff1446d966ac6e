"""Asking a model on behalf of many requests: recorded, within a budget, counted and timed."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from baselines.llm.model import Answer, Call, LanguageModel, Usage
from baselines.llm.parsing import LONGEST_ANSWER
from baselines.llm.planning import at_most
from llm4rec_bench import Dropped, Ranking, Recording

LASTING = frozenset({"ok", "truncated", "refusal"})
"""How a call ends that would end so again; others are tried anew by the next run."""

_LONGEST = 2 * LONGEST_ANSWER


class Told(NamedTuple):
    """What a ranker made of the answers about one request."""

    items: list[str]
    status: str = "ok"
    dropped: Dropped | None = None


Conversation = Generator[list[Call], list[Answer], Told]
"""How a ranker asks about one request: it yields calls of which none waits for another, is sent
their answers, and so on, until it returns what it was told."""


class Asking:
    """A model that is asked for each answer at most once, as rankers use it.

    Where it is `rehearsing`, nothing is recorded and nothing spent.
    """

    def __init__(
        self, model: LanguageModel, recording: Recording | None, rehearsing: bool = False
    ) -> None:
        self.model = model
        self.recording = recording
        self.rehearsing = rehearsing
        self._identity = msgspec.json.encode(model.identity, order="sorted")

    def rankings(self, conversations: Sequence[Conversation]) -> list[Ranking]:
        """What comes of some conversations, led side by side.

        The calls of all that are under way go to the model together, so that it can take up
        several at once.
        """
        talks = [_Talk(conversation) for conversation in conversations]
        while under_way := [talk for talk in talks if talk.told is None]:
            ends = list(accumulate((len(talk.calls) for talk in under_way), initial=0))
            answers = self.answers([call for talk in under_way for call in talk.calls])
            for talk, (start, end) in zip(under_way, pairwise(ends), strict=True):
                talk.hear(answers[start:end], self.model.concurrency)
        return [talk.ranking() for talk in talks]

    def answers(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers to some calls, in their order; equal calls are one."""
        keys = [self._key(call) for call in calls]
        found = {key: answer for key in dict.fromkeys(keys) if (answer := self._kept(key))}
        asked = {key: call for key, call in zip(keys, calls, strict=True) if key not in found}
        left = list(asked.items())
        while left:
            some = left[: self._affordable([call for _, call in left])]
            for index, answer in self.model.answers([call for _, call in some]):
                key, call = some[index]
                found[key] = answer = _kept_as(answer)
                self._keep(key, call, answer)
            left = left[len(some) :]
        return [found[key] for key in keys]

    def _key(self, call: Call) -> str:
        return sha256(self._identity + msgspec.json.encode(call, order="sorted")).hexdigest()

    def _kept(self, key: str) -> Answer | None:
        if self.recording is None or (raw := self.recording.get(key)) is None:
            return None
        answer = msgspec.json.decode(raw, type=Answer)
        # What failed is tried anew by another command, not by this one, whose rows have it.
        stays = self.recording.replay or self.recording.is_new(key)
        return answer if stays or answer.status in LASTING else None

    def _keep(self, key: str, call: Call, answer: Answer) -> None:
        if self.recording is None:
            return
        if self.rehearsing:
            self.recording.rehearse(key, msgspec.json.encode(answer))
            return
        self.recording.put(key, msgspec.json.encode(answer))
        if self.recording.budget is not None:
            self.recording.budget.spend(*self._took(call, answer))

    def _took(self, call: Call, answer: Answer) -> tuple[int, int, int]:
        """Tokens of the prompt, of the completion, and those cached.

        An answer whose tokens nobody counts has taken what it may have at most: were it free, no
        limit would ever be reached.
        """
        use = answer.usage
        prompt, completion = use.prompt, use.completion
        if answer.status in LASTING and (prompt is None or completion is None):
            longest = at_most(self.model, call)
            prompt = longest[0] if prompt is None else prompt
            completion = longest[1] if completion is None else completion
        return prompt or 0, completion or 0, use.cached or 0

    def _affordable(self, calls: Sequence[Call]) -> int:
        """How many of some calls can be made, the first ones, whatever they cost.

        Raises BenchError where there is not enough left for one.
        """
        recording = self.recording
        if recording is None or (budget := recording.budget) is None or self.rehearsing:
            return len(calls)
        worst = accumulate(budget.price(*at_most(self.model, call), 0) for call in calls)
        count = sum(1 for cost in worst if budget.allows(cost))
        if count == 0:
            raise budget.exhausted()
        return count


def _kept_as(answer: Answer) -> Answer:
    """An answer as it can be recorded: no reader looks further than so far, no line holds all, and
    half a sign, where a library cut between two, is none."""
    text, reason = (
        said.encode("utf-8", "replace").decode() for said in (answer.text[:_LONGEST], answer.reason)
    )
    same = text == answer.text and reason == answer.reason
    return answer if same else replace(answer, text=text, reason=reason)


class _Talk:
    """One conversation on its way."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.told: Told | None = None
        self.latency = 0.0
        self.usages: list[Usage] = []
        self.calls: list[Call] = []
        self._go_on(None)

    def hear(self, answers: list[Answer], lanes: int) -> None:
        """Take a round's answers; it lasts as long as its calls do on so many lanes."""
        times = [answer.latency_ms for answer in answers]
        self.latency += max(max(times, default=0.0), sum(times) / lanes)
        self.usages += [answer.usage for answer in answers]
        self._go_on(answers)

    def _go_on(self, answers: list[Answer] | None) -> None:
        try:
            self.calls = self.conversation.send(answers)  # type: ignore[arg-type]
        except StopIteration as stop:
            self.told = stop.value

    def ranking(self) -> Ranking:
        """What it came to, and what it took."""
        told = self.told or Told([])
        return Ranking(
            told.items,
            status=told.status,  # type: ignore[arg-type]
            latency_ms=round(self.latency, 3),
            prompt_tokens=_sum(use.prompt for use in self.usages),
            completion_tokens=_sum(use.completion for use in self.usages),
            cached_tokens=_sum(use.cached for use in self.usages),
            dropped=told.dropped,
        )


def _sum(counts: Iterator[int | None]) -> int | None:
    """Of all, if any is known."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
