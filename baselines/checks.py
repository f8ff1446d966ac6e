"""Parameters of a card, refused in plain words before any work is done with them.

The comparisons are written so that nan, with which every one is false, is refused.
"""

from __future__ import annotations

from math import inf

from llm4rec_bench import CardRefused


def whole(name: str, given: float) -> None:
    """Raise CardRefused where a parameter is no whole number of 1 or more."""
    if not (isinstance(given, int) and _number(given) and given >= 1):
        raise CardRefused(f"{name}: expected a whole number of 1 or more, found {given!r}")


def positive(name: str, given: float) -> None:
    """Raise CardRefused where a parameter is no finite number above 0."""
    if not (_number(given) and 0 < given < inf):
        raise CardRefused(f"{name}: expected a number above 0, found {given!r}")


def not_negative(name: str, given: float) -> None:
    """Raise CardRefused where a parameter is no finite number of 0 or more."""
    if not (_number(given) and 0 <= given < inf):
        raise CardRefused(f"{name}: expected a number of 0 or more, found {given!r}")


def share(name: str, given: float) -> None:
    """Raise CardRefused where a parameter is no number from 0 to 1."""
    if not (_number(given) and 0 <= given <= 1):
        raise CardRefused(f"{name}: expected a number from 0 to 1, found {given!r}")


def _number(given: object) -> bool:
    """Whether a value is a number; true and false, which Python takes for 1 and 0, are none."""
    return isinstance(given, int | float) and not isinstance(given, bool)
