"""What a ranker asks of a language model, whichever it is and wherever it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec

from llm4rec_bench import BenchError

Role = Literal["system", "user", "assistant"]

Status = Literal["ok", "truncated", "refusal", "timeout", "api_error"]
"""How a call ended, in the words of run files."""


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the tokens of an answer are drawn. The default is the likeliest one each time."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 256
    temperature: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    seed: int | None = None
    schema: dict[str, Any] | None = None
    """JSON Schema that the answer must meet, where the model can be held to one."""


class Chat(msgspec.Struct, frozen=True, tag="chat"):
    """Ask for an answer in words."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()


class Likelihoods(msgspec.Struct, frozen=True, tag="likelihoods"):
    """Ask how likely the model finds each of some continuations of a conversation.

    A continuation is what the assistant's turn begins with, and nothing is said of how that
    turn ends: the logarithm of a probability is summed over the continuation's own tokens.
    Where the last message is the assistant's, it is what that turn has begun with already.
    """

    messages: tuple[Message, ...]
    continuations: tuple[str, ...]


Call = Chat | Likelihoods


def weighed(messages: tuple[Message, ...], answers: Sequence[str]) -> Likelihoods:
    """Ask how likely each of some answers is, written as it would be where the turn stands.

    A turn that has begun with a word, such as "Answer:", goes on with a blank: models put it into
    the token of the next word, and what follows without one is another token, which they hardly
    ever write there.
    """
    last = messages[-1]
    begun = last.role == "assistant" and last.content[-1:].strip()
    return Likelihoods(messages, tuple(f" {answer}" if begun else answer for answer in answers))


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens that a call took, as the model's own side counts them; None where it does not."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    """Those of the prompt that had been computed before."""


def counted(prompt: int | None, completion: int | None, cached: int | None) -> Usage:
    """Tokens as a server tells them: a count below zero is none."""
    told = (prompt, completion, cached)
    return Usage(*(None if count is None or count < 0 else count for count in told))


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a call."""

    text: str = ""
    """Of a `Chat`."""
    logprobs: list[float] | None = None
    """Of `Likelihoods`: natural logarithms, one a continuation, never NaN; where the model tells
    only its likeliest tokens and the continuation is not among them, the least that it tells."""
    status: Status = "ok"
    reason: str = ""
    """Why there is no answer, in one line."""
    of_itself: bool = False
    """Whether it was this call that the model would not take, so that others may be answered."""
    untold: int = 0
    """How many continuations have that least."""
    usage: Usage = Usage()
    latency_ms: float = 0.0
    """From the call to its answer, all tries and waits between them included."""


class ModelUnavailable(BenchError):
    """No call can succeed, or none has for long; answers that have come stay good."""


class LanguageModel(Protocol):
    """A model that answers calls."""

    @property
    def identity(self) -> list[object]:
        """All that decides an answer beside the call: kind, name, revision, number format."""

    @property
    def concurrency(self) -> int:
        """How many calls it works on at once."""

    def answers(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        """The answer to each call with the call's index, as they come, in any order.

        A call that fails by itself has an answer that says so. Raises ModelUnavailable where
        no call can succeed, and CardRefused where the model cannot do what is asked.
        """

    def tokens(self, text: str) -> int:
        """How many tokens a text is, or about how many where that cannot be known."""

    def prompts(self, call: Likelihoods) -> int:
        """How often the conversation is read, and counted, for the continuations of a call.

        Told without asking anybody, for a plan.
        """

    def longest(self, call: Call) -> tuple[int, int]:
        """How often the conversation is read at most, and the most tokens of all answers.

        A server may be asked for it. Raises CardRefused where there is no such bound.
        """
