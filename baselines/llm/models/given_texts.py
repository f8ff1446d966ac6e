"""Log-probabilities of given texts, from a server whose completions repeat their prompts.

vLLM's does: its completions take tokens, tell with `echo` how likely each was after those before
it, and its /tokenize turns a chat into the tokens that its template makes. A continuation is
tokenised by itself. Here are the questions, each a path and a body, and how answers are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from baselines.llm.models.chat_format import Completion

TOKENIZE = "/tokenize"
"""Stands beside /v1, not under it."""

Question = tuple[str, dict[str, Any]]


class _Tokens(msgspec.Struct):
    tokens: list[int]


def text_tokens(text: str) -> Question:
    """The tokens of a text: `content` for llama.cpp's server, `prompt` for vLLM's."""
    return TOKENIZE, {"content": text, "prompt": text, "add_special_tokens": False}


def chat_tokens(
    messages: Sequence[Mapping[str, str]], turn: Mapping[str, bool] | None = None
) -> Question:
    """The tokens of a chat up to where the assistant says something, or goes on."""
    return TOKENIZE, {"messages": messages, **(turn or {"add_generation_prompt": True})}


def prompts(tokens: list[list[int]]) -> Question:
    """How likely each token of some prompts is. One token more is drawn: 0 is not taken by all."""
    drawn = {"max_tokens": 1, "temperature": 1.0}
    return "/completions", {"prompt": tokens, "echo": True, "logprobs": 1, **drawn}


def tokenised(found: object) -> list[int] | None:
    """The tokens that a server answers; None where they are none."""
    try:
        return msgspec.convert(found, _Tokens).tokens
    except msgspec.ValidationError:
        return None


def logprobs(found: object, asked: list[list[int]], begins: int) -> list[float] | None:
    """How likely each prompt is from its token `begins` on; None where that is not told of all."""
    try:
        choices = {one.index: one.logprobs for one in msgspec.convert(found, Completion).choices}
    except msgspec.ValidationError:
        return None
    sums = []
    for index, prompt in enumerate(asked):
        told = choices.get(index)
        values = told.token_logprobs[begins : len(prompt)] if told else []
        known = [value for value in values if value is not None]
        # A server that repeats nothing tells of the one token that it draws.
        if told is None or len(told.token_logprobs) <= len(prompt):
            return None
        if len(known) < len(prompt) - begins:
            return None
        sums.append(sum(known))
    return sums
