"""Answers of chat models as they come: OpenAI's format, and the words for how an answer ended.

Of an answer more fields than these are let be.
"""

from __future__ import annotations

from typing import Any

import msgspec

from baselines.llm.model import Answer, Usage, counted
from baselines.openai_client import cut

_CUT = {"length", "max_tokens", "model_length"}
_REFUSED = {"content_filter", "content_filtered", "refusal", "safety"}


class Token(msgspec.Struct):
    """A token that could have come."""

    token: str
    logprob: float


class _Place(msgspec.Struct):
    """A token of an answer, and what else could have stood in its place."""

    top_logprobs: list[Token] = []


class Logprobs(msgspec.Struct):
    """Of an answer's tokens, or with `token_logprobs` of a completion's and its prompt's."""

    content: list[_Place] | None = None
    token_logprobs: list[float | None] = []

    @property
    def first(self) -> list[Token]:
        """What could have come first; empty where nothing is told of it."""
        return self.content[0].top_logprobs if self.content else []


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct):
    """One answer; ours are asked for one at a time, but for completions of several prompts."""

    index: int = 0
    message: _Said = msgspec.field(default_factory=_Said)
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class Completion(msgspec.Struct):
    """What a server answers to a chat or to prompts."""

    choices: list[Choice] = []
    usage: _Counts | None = None
    model: str | None = None
    """By the server's own name."""
    error: Any = None
    """What some servers say instead, although they say that all is well."""

    @property
    def first(self) -> Choice:
        """The only answer; raises ValueError where there is none."""
        if self.error is not None:
            raise ValueError(f"answered with an error: {cut(self.error)}")
        if not self.choices:
            raise ValueError("answered with no choices")
        return self.choices[0]

    @property
    def took(self) -> Usage:
        """Tokens, as the server counts them."""
        counts = self.usage or _Counts()
        details = counts.prompt_tokens_details or _Details()
        return counted(counts.prompt_tokens, counts.completion_tokens, details.cached_tokens)


def ended(text: str | None, finish: str | None, refusal: str | None, usage: Usage) -> Answer:
    """An answer in words, by what the server says of how it ended."""
    how = (finish or "").lower()
    if refusal or how in _REFUSED:
        reason = cut(refusal) if refusal else f"stopped by the server: {how}"
        return Answer(status="refusal", reason=reason, usage=usage)
    if how in _CUT:
        return Answer(text or "", status="truncated", usage=usage)
    if text is None:
        reason = f"answered without a text; finish_reason is {how or 'missing'}"
        return Answer(status="api_error", reason=reason, usage=usage)
    return Answer(text, usage=usage)


def held_to(schema: dict[str, Any]) -> dict[str, Any]:
    """The field that asks for an answer of a JSON Schema."""
    named = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
