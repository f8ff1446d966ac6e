"""Answers of one letter, word or number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from baselines.llm.parsing.answer import EMPHASIS, said_in, unified
from baselines.llm.parsing.names import Names


def letter(text: str, options: Sequence[str]) -> int | None:
    """The row of the one option that an answer names, by its letter, A first, or its title.

    None where it names none or several. A letter counts as the whole answer, at its head before
    punctuation, or behind a word such as `answer`; a small one only as the whole.
    """
    said = said_in(text, False)[0].strip()
    named = Names(options, (), (), by_number=False).named(said)
    if isinstance(named, int):
        return named
    bare = EMPHASIS.sub("", unified(said)).strip()
    whole = _WHOLE_LETTER.fullmatch(bare)
    marks = [whole] if whole else [*_LEADING_LETTER.finditer(bare), *_SAID_LETTER.finditer(bare)]
    rows = {ord(mark[1].upper()) - ord("A") for mark in marks}
    row = rows.pop() if len(rows) == 1 else len(options)
    return row if row < len(options) else None


def yes_no(text: str) -> bool | None:
    """Whether an answer is yes or no; None where it is neither, or both as in `yes or no`.

    The first word decides, be it behind a label; else a word that ends a part of a sentence, as
    in `I would say yes.`
    """
    said = EMPHASIS.sub("", unified(said_in(text, False)[0])).strip()
    if _BOTH.search(said):
        return None
    lead = _FIRST_YES_NO.match(said)
    words = {word.casefold() for word in ([lead[1]] if lead else _YES_NO.findall(said))}
    return words == {"yes"} if len(words) == 1 else None


def rating(text: str, low: float, high: float) -> float | None:
    """The rating from `low` to `high` that an answer gives; None where it gives none or several.

    `4/5` and `4 out of 5` count where 5 is `high`; else a number behind `rating`, `score` or
    `rate`; else the only number there is.
    """
    said = EMPHASIS.sub("", unified(said_in(text, False)[0]))
    of = {(mark[1], mark[2]) for mark in _OUT_OF.finditer(said)}
    if of:
        if any(_decimal(most) != high for _, most in of):
            return None
        found = {_decimal(part) for part, _ in of}
    else:
        found = {_decimal(mark[1]) for mark in _RATED.finditer(said)}
        found = found or {_decimal(number) for number in _DECIMAL.findall(said)}
    value = found.pop() if len(found) == 1 else None
    return value if value is not None and low <= value <= high else None


_WHOLE_LETTER = re.compile(r"\W{0,3}([A-Za-z])\W{0,3}")
_LEADING_LETTER = re.compile(r"\A[(\[]?([A-Z])(?=[.):,\]])")
_SAID_LETTER = re.compile(
    r"\b(?i:answer|option|choice|choose|pick|select|prefer|recommend)(?i: is)?[:\s]{1,3}"
    r"(?i:option )?[(\[]?([A-Z])\b(?![ '][a-z])"
)
_FIRST_YES_NO = re.compile(
    r"(?:[a-z ]{0,30}:)?\W{0,5}(yes|no)\b"
    r"(?! (?:clear|doubt|idea|matter|one|problem|question|reason|way|wonder)\b)",
    re.IGNORECASE,
)
_BOTH = re.compile(
    r"\b(?:yes\W{1,3}(?:(?:and|or) )?no|no\W{1,3}(?:(?:and|or) )?yes)\b", re.IGNORECASE
)
_YES_NO = re.compile(r"\b(yes|no)\b(?=[\"')\]]{0,3}\s*(?:[.!?,;:\n]|\Z))", re.IGNORECASE)
_NUMBER = r"(-?[0-9]{1,6}(?:[.,][0-9]{1,6})?)"
_DECIMAL = re.compile(rf"(?<![\w.,/-]){_NUMBER}(?![\w/-]|[.,][0-9])")
_OUT_OF = re.compile(
    rf"(?<![\w.,/-]){_NUMBER}\s?(?:stars?\s)?(?:/|out of|of)\s?([0-9]{{1,6}})(?![0-9/])"
)
_RATED = re.compile(
    rf"\b(?:rating|score|rate)\b[^0-9\n-]{{0,20}}?{_NUMBER}(?![\w/-]|[.,][0-9])", re.I
)


def _decimal(number: str) -> float:
    return float(number.replace(",", "."))
