"""Results that cannot be, or that are hardly ever honest: what a reader should be told.

An alarm is not a verdict. It is recorded with the score and shown wherever the score is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from llm4rec_bench.run import Tally
from llm4rec_bench.statistics import Interval

_AS_GIVEN = 0.5
"""Share of rows in the order given, beyond which it is said."""

_TOO_GOOD = 0.5
"""Share of the way from the best reference to the ceiling, beyond which it is said."""

CODES = {
    "above-ceiling": "a value is above what the pool allows",
    "recall-not-mrr": "recall@1 and mrr@1 differ although every request has one target",
    "order-as-given": "most rankings keep the candidates in the order given",
    "too-good": "recall@1 is more than half-way from the best reference to the ceiling",
    "same-rankings": "another entry has the same first ten items for every request",
}
"""Every alarm, and what it stands for."""


class Alarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something about a score that calls for a look; `code` is one of `CODES`."""

    code: str
    message: str


class AtOne(NamedTuple):
    """The first places of a run, and what stands there without a method."""

    recall: float
    mrr: float | None
    """None where requests have several targets: recall@1 is another thing then."""
    reference: float
    """The highest recall@1 of chance, popularity and the order given."""
    ceiling: float


def alarms(
    metrics: Mapping[str, Interval], ceiling: Mapping[str, float], at_one: AtOne, tally: Tally
) -> list[Alarm]:
    """What is suspicious about a score, by its metrics, first places and counts."""
    found = [
        Alarm(
            "above-ceiling",
            f"{name} is {by.value:.4f}, but the pool allows {ceiling[name]:.4f} at most: "
            "the scorer or the task is at fault, please report it",
        )
        for name, by in metrics.items()
        if by.value > ceiling[name] + 1e-9
    ]
    if at_one.mrr is not None and abs(at_one.recall - at_one.mrr) > 1e-9:
        said = f"recall@1 is {at_one.recall:.4f} and mrr@1 {at_one.mrr:.4f}"
        found.append(Alarm("recall-not-mrr", f"{said}: the scorer is at fault, please report it"))
    if tally.as_given > _AS_GIVEN * tally.rows:
        share = tally.as_given / tally.rows
        said = f"{share:.0%} of the rankings keep the candidates in the order given"
        found.append(Alarm("order-as-given", f"{said}: are answers parsed?"))
    if at_one.recall > at_one.reference + _TOO_GOOD * (at_one.ceiling - at_one.reference):
        found.append(
            Alarm(
                "too-good",
                f"recall@1 is {at_one.recall:.3f}, where the best reference has "
                f"{at_one.reference:.3f}: has the method seen the targets?",
            )
        )
    return found
