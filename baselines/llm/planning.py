"""What calls would take, told before any is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from baselines.llm.model import Answer, Call, Chat, LanguageModel, Likelihoods
from llm4rec_bench import Plan

FRAME = 64
"""Tokens that a chat template puts around a message, and for all messages before them, at most."""


def expected(model: LanguageModel, call: Call) -> tuple[int, int]:
    """Tokens of a call's prompts by the model's own measure, and those of its longest answer."""
    prompt = sum(model.tokens(message.content) for message in call.messages)
    if isinstance(call, Chat):
        return prompt, call.sampling.max_tokens
    return model.prompts(call) * prompt, model.prompts(call)


def at_most(model: LanguageModel, call: Call) -> tuple[int, int]:
    """The same where a limit depends on it: no tokeniser makes more tokens than there are bytes."""
    times, completion = model.longest(call)
    prompt = times * sum(FRAME + _bytes(message.content) for message in call.messages)
    if isinstance(call, Chat):
        schema = call.sampling.schema
        return prompt + (0 if schema is None else len(msgspec.json.encode(schema))), completion
    return prompt + sum(map(_bytes, call.continuations)), completion


def _written(call: Call) -> str:
    """A call in words, for whoever wants to read what is asked."""
    turns = [f"--- {message.role}\n{message.content}" for message in call.messages]
    if isinstance(call, Likelihoods):
        options = " ".join(f"[{one}]" for one in call.continuations)
        return "\n".join([*turns, f"--- how likely each is to follow\n{options}"])
    return "\n".join([*turns, f"--- answered in {call.sampling.max_tokens} tokens at most"])


def _bytes(text: str) -> int:
    return len(text.encode())


class Rehearsal:
    """Stands in for a model, to count what would be asked of it; its answers say nothing."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.identity = model.identity
        self.concurrency = model.concurrency
        self.plan = Plan()

    def answers(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        """Count the calls."""
        for index, call in enumerate(calls):
            prompt, completion = expected(self.model, call)
            self.plan = Plan(
                self.plan.calls + 1,
                self.plan.prompt_tokens + prompt,
                self.plan.completion_tokens + completion,
                self.plan.first or _written(call),
            )
            told = None if isinstance(call, Chat) else [0.0] * len(call.continuations)
            yield index, Answer(logprobs=told)

    def tokens(self, text: str) -> int:
        """As the model counts."""
        return self.model.tokens(text)

    def prompts(self, call: Likelihoods) -> int:
        """As the model asks."""
        return self.model.prompts(call)

    def longest(self, call: Call) -> tuple[int, int]:
        """As the model answers."""
        return self.model.longest(call)
