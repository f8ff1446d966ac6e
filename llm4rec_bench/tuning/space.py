"""What a parameter may be tried with: choices, or the numbers of a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal

from llm4rec_bench.submission import Choice, Dimension, Range

_CELLS = 10_000
"""Different numbers, at least, that a range without steps gives once they are rounded."""

_NEAR = 0.05
"""Share of a range's width within which a number lies at its edge."""

_FEW = 3
"""Choices below which every one of them lies at an edge."""


def inside(value: object, dimension: Dimension) -> bool:
    """Whether a parameter may take a value."""
    if not isinstance(dimension, Range):
        return any(_same(value, choice) for choice in dimension)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if not dimension.low <= value <= dimension.high:
        return False
    if dimension.whole and not isinstance(value, int):
        return False
    return dimension.step is None or on_step(value, dimension) == value


def _same(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def tidy(value: Choice, dimension: Dimension) -> Choice:
    """A drawn value as people would write it: on its step, or with the digits that matter."""
    if not isinstance(dimension, Range) or isinstance(value, str | bool) or dimension.whole:
        return value
    if dimension.step is not None:
        return on_step(value, dimension)
    low, high = float(dimension.low), float(dimension.high)
    width = value * math.log(high / low) if dimension.log else high - low
    digits = math.ceil(math.log10(_CELLS / width))
    return min(max(round(float(value), digits), low), high)


def on_step(value: float, dimension: Range) -> int | float:
    """The number of a stepped range next to a value.

    Reckoned in decimals, as people write them: in binary, three steps of .1 are not .3.
    """
    low, step = Decimal(str(dimension.low)), Decimal(str(dimension.step or 1))
    made = low + step * round((Decimal(str(value)) - low) / step)
    return int(made) if dimension.whole else float(made)


def values(dimension: Dimension) -> list[Choice]:
    """All that a parameter may be tried with, where there is an end of it."""
    if not isinstance(dimension, Range):
        return list(dimension)
    step = dimension.step or 1
    return [
        on_step(dimension.low + step * number, dimension) for number in range(dimension.size or 0)
    ]


def at_edge(params: Mapping[str, Choice], space: Mapping[str, Dimension]) -> list[str]:
    """The parameters at the smallest or largest number that may be tried, or next to it."""
    return [name for name, dimension in space.items() if _is_at_edge(params[name], dimension)]


def _is_at_edge(value: Choice, dimension: Dimension) -> bool:
    if isinstance(dimension, Range):
        low, high = dimension.low, dimension.high
    else:
        numbers = [c for c in dimension if isinstance(c, int | float) and not isinstance(c, bool)]
        if len(numbers) != len(dimension) or len(numbers) < _FEW:
            return False
        low, high = min(numbers), max(numbers)
    if value in (low, high):
        return True
    if not isinstance(dimension, Range) or isinstance(value, str):
        return False
    scale = math.log if dimension.log else float
    place = (scale(value) - scale(low)) / (scale(high) - scale(low))
    return not _NEAR <= place <= 1 - _NEAR
