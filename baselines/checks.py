"""Parameters of a card, refused in plain words before any work is done with them.

Each check takes parameters by name: `whole(factors=factors, iterations=iterations)`. The
comparisons are written so that nan, with which every one is false, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from llm4rec_bench import CardRefused


def whole(**given: float) -> None:
    """Raise CardRefused where a parameter is no whole number of 1 or more."""
    _expect(
        given, "a whole number of 1 or more", lambda value: isinstance(value, int) and value >= 1
    )


def two_or_more(**given: float) -> None:
    """Raise CardRefused where a parameter is no whole number of 2 or more."""
    _expect(
        given, "a whole number of 2 or more", lambda value: isinstance(value, int) and value >= 2
    )


def positive(**given: float) -> None:
    """Raise CardRefused where a parameter is no finite number above 0."""
    _expect(given, "a number above 0", lambda value: 0 < value < inf)


def not_negative(**given: float) -> None:
    """Raise CardRefused where a parameter is no finite number of 0 or more."""
    _expect(given, "a number of 0 or more", lambda value: 0 <= value < inf)


def share(**given: float) -> None:
    """Raise CardRefused where a parameter is no number from 0 to 1."""
    _expect(given, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def below_one(**given: float) -> None:
    """Raise CardRefused where a parameter is no number of 0 or more and below 1."""
    _expect(given, "a number of 0 or more and below 1", lambda value: 0 <= value < 1)


def between(**given: float) -> None:
    """Raise CardRefused where a parameter is no number above 0 and below 1."""
    _expect(given, "a number above 0 and below 1", lambda value: 0 < value < 1)


def truth(**given: object) -> None:
    """Raise CardRefused where a parameter is neither true nor false.

    Any other word would count as true, `False` with a capital among them.
    """
    for name, value in given.items():
        if not isinstance(value, bool):
            raise CardRefused(f"{name}: expected true or false, found {value!r}")


def _expect(given: dict[str, float], words: str, holds: Callable[[float], bool]) -> None:
    for name, value in given.items():
        # True and false, which Python takes for 1 and 0, are no numbers.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and holds(value)):
            raise CardRefused(f"{name}: expected {words}, found {value!r}")
