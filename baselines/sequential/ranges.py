"""Ranges of the params of a card, checked before anything is trained with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from llm4rec_bench import CardRefused


class Range(NamedTuple):
    """What values a param may have. Each comparison is false for NaN."""

    words: str
    holds: Callable[[float], bool]


COUNT = Range("a whole number of 1 or more", lambda value: isinstance(value, int) and value >= 1)
POSITIVE = Range("a number above 0", lambda value: 0 < value < math.inf)
FROM_ZERO = Range("a number of 0 or more", lambda value: 0 <= value < math.inf)
SHARE = Range("a number from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_ONE = Range("a number of 0 or more and below 1", lambda value: 0 <= value < 1)
BETWEEN = Range("a number above 0 and below 1", lambda value: 0 < value < 1)


def expect(params: object, allowed: Range, *names: str) -> None:
    """Raises CardRefused where one of the named attributes is not in a range."""
    for name in names:
        found = getattr(params, name)
        if not (isinstance(found, int | float) and allowed.holds(found)):
            raise CardRefused(f"{name}: expected {allowed.words}, found {found!r}")
