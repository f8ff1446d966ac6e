"""Log-probabilities of short continuations, from what a server tells of an answer's first token.

A continuation of one token is as likely as that token is to come first. Tokens are told as text,
and one with a blank before it is another answer: it is not added to the one without. Where two
tokens are told that read the same, the continuation is as likely as both together. One that is not
told is as likely as the least that is; where none is told, there is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations

import numpy as np

from baselines.llm.models.chat_format import Token
from baselines.openai_client import cut

_WORD = re.compile(r"\s?(?:[A-Za-z]|[A-Z]?[a-z]{1,4})|[0-9]", re.ASCII)


def surely_one_each(continuations: Sequence[str]) -> bool:
    """Whether continuations are one token each for tokenisers at large, and no two the same.

    Those are that are one letter or digit, or a word of at most five letters such as Yes, No,
    True or False; with a blank before it all but a digit, which many tokenisers set apart. None
    may begin another: the token of the shorter one could be the longer's.
    """
    return all(_WORD.fullmatch(one) for one in continuations) and not any(
        other.startswith(one) for one, other in permutations(continuations, 2)
    )


def untold(told: Sequence[Token], continuations: Sequence[str]) -> str | None:
    """Why nothing is known of any continuation, in one line; None where something is.

    With all of them at the least that is told, a ranking would be that of ties.
    """
    if not continuations or {one.token for one in told}.intersection(continuations):
        return None
    likeliest = max(told, key=lambda one: one.logprob).token
    return (
        f"none of {cut(', '.join(continuations))[:80]!r} is among the {len(told)} likeliest "
        f"tokens told, of which the first is {cut(repr(likeliest))[:80]}; take a prompt to which "
        "they are an answer, or higher top_logprobs"
    )


def missing(told: Sequence[Token], continuations: Sequence[str]) -> int:
    """How many continuations are not told of."""
    return len(set(continuations) - {one.token for one in told})


def logprobs(told: Sequence[Token], continuations: Sequence[str]) -> list[float]:
    """Natural logarithms, one a continuation; of one that is not told, the least that is told."""
    found: dict[str, float] = {}
    for one in told:
        found[one.token] = float(np.logaddexp(found.get(one.token, -np.inf), one.logprob))
    least = min(one.logprob for one in told)
    return [found.get(text, least) for text in continuations]
