"""`[tuning]` of a card: what is tried, how, and how often."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from llm4rec_bench.errors import UsageError, shown
from llm4rec_bench.metrics import parse_metric

Choice = bool | int | float | str
"""A value that a parameter may be tried with."""

_FARTHEST = 10**15
"""Numbers of a space lie between this and its negative, so that arithmetic is exact enough."""

_NEAREST = 1e-15
"""Least width of a range that is not of whole numbers, and least number of a logarithmic one."""

_LARGEST_GRID = 10_000
"""Combinations of a grid."""


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The numbers from `low` to `high`, both included: whole ones, if all that is given is."""

    low: int | float
    """The least of them."""
    high: int | float
    """The greatest of them."""
    log: bool = False
    """Whether ratios count and not differences, so that 1 to 10 is as wide as 10 to 100."""
    step: int | float | None = None
    """Between neighbouring numbers; they start at `low`."""

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return all(isinstance(given, int) for given in (self.low, self.high, self.step or 0))

    @property
    def size(self) -> int | None:
        """How many numbers it holds; None where there is no end of them."""
        step = 1 if self.whole and self.step is None else self.step
        return None if step is None else round((self.high - self.low) / step) + 1

    def fault(self) -> str | None:
        """Why it is no range, if it is none."""
        given = (self.low, self.high, self.step or 0)
        if not all(math.isfinite(number) and abs(number) <= _FARTHEST for number in given):
            return "its numbers must lie between -1e15 and 1e15"
        if self.low >= self.high:
            return f"low is {self.low} and high {self.high}; low must be the smaller one"
        if not self.whole and self.high - self.low < max(_NEAREST, abs(self.high) / 1e9):
            return f"low is {self.low} and high {self.high}, with next to nothing between them"
        if self.log and self.low < _NEAREST:
            return f"log needs a low above 0, found {self.low}"
        if self.step is None:
            return None
        if self.log:
            return "log and step do not go together; give one of them"
        if not 0 < self.step <= self.high - self.low:
            return f"step is {self.step}; expected more than 0 and at most high - low"
        # In decimals, as people wrote them: .1 + .1 + .1 is not .3 in binary.
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        if over := (high - low) % step:
            return (
                f"high must be low plus whole steps, such as {high - over} or {high - over + step}"
            )
        return None


Choices = Annotated[list[Choice], msgspec.Meta(min_length=1, max_length=1000)]
Dimension = Range | Choices
Parameter = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_]\w*\Z", max_length=64)]


def size_of(space: Mapping[str, Dimension]) -> int | None:
    """How many combinations a space holds; None where there is no end of them."""
    sizes = [by.size if isinstance(by, Range) else len(by) for by in space.values()]
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the parameters are chosen, on the validation split and never on test."""

    metric: str
    """What is to be as high as can be, such as ndcg@10."""
    space: dict[Parameter, Dimension]
    """What is tried, by parameter."""
    sampler: Literal["grid", "random", "tpe"] = "grid"
    """How: every combination of choices; by chance; where good values lay so far (the
    tree-structured Parzen estimator of Bergstra et al., 2011)."""
    trials: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    """For each place; None for the whole grid."""
    seed: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0
    """Of the sampler."""
    per: Literal["track", "task"] = "track"
    """Whether each track has parameters of its own, or those chosen on `retrieval` serve all
    tracks of a task."""
    notes: str = ""
    """What else there is to know of it."""

    @property
    def size(self) -> int | None:
        """How many different trials there can be; None where there is no end of them."""
        return size_of(self.space)

    def __post_init__(self) -> None:
        """Refuse a space in which nothing can be tried, or not so."""
        try:
            parse_metric(self.metric)
        except UsageError as error:
            raise ValueError(f"tuning.metric: {error}") from None
        if not self.space:
            raise ValueError("tuning.space: names no parameter")
        for name, dimension in self.space.items():
            fault = dimension.fault() if isinstance(dimension, Range) else _repeated(dimension)
            if fault is not None:
                raise ValueError(f"tuning.space.{name}: {fault}")
        if self.sampler == "grid":
            self._refuse_large_grid()
        elif self.trials is None:
            raise ValueError("tuning.trials: is missing; only a grid is tried whole without it")

    def _refuse_large_grid(self) -> None:
        other = 'sampler = "random" or "tpe"'
        for name, dimension in self.space.items():
            if isinstance(dimension, Range):
                raise ValueError(
                    f"tuning.space.{name}: a grid takes lists only; give one, or {other}"
                )
        if self.size is not None and self.size > _LARGEST_GRID:
            raise ValueError(
                f"tuning.space: has {self.size:,} combinations, of which a grid may have "
                f"{_LARGEST_GRID:,}; {other} tries some of them"
            )


def _repeated(choices: list[Choice]) -> str | None:
    """Why some choices are none, if so."""
    for place, choice in enumerate(choices):
        if isinstance(choice, float) and not math.isfinite(choice):
            return f"{choice} is not a finite number"
        if choice in choices[:place]:
            return f"names {shown(choice)} twice"
    return None
