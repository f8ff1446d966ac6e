"""Results that cannot be, or that are hardly ever honest: what a reader should be told.

An alarm is not a verdict. It is recorded with the score and shown wherever the score is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from llm4rec_bench.run import Tally

_AS_GIVEN = 0.5
"""Share of rows in the order given, beyond which it is said."""

_TOO_GOOD = {True: 0.8, False: 0.3}
"""Share of the way from the best reference to the ceiling, beyond which it is said: where there
are few candidates, so that good methods come far, and where there are many."""

_WATCHED = ("recall@1", "ndcg@10")

CODES = {
    "above-ceiling": "a value is above what the pool allows",
    "recall-not-mrr": "recall@1 and mrr@1 differ although every request has one target",
    "order-as-given": "most rankings begin like one of the orders in which candidates are given",
    "too-good": "much nearer to the ceiling than any known method comes",
    "same-rankings": "another entry has the same first ten items for every request",
}
"""Every alarm, and what it stands for."""


class Alarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something about a score that calls for a look; `code` is one of `CODES`."""

    code: str
    message: str


class Compared(NamedTuple):
    """A value beside what is reached without a method, and what can be reached at all."""

    metric: str
    value: float
    reference: float
    """The highest of chance, popularity and the order given."""
    ceiling: float


def alarms(
    compared: Sequence[Compared],
    mrr_at_one: float | None,
    tally: Tally,
    few_candidates: bool,
) -> list[Alarm]:
    """What is suspicious about the values of a score.

    `mrr_at_one` is None where requests have several targets: recall@1 is another thing then.
    """
    found = [
        Alarm(
            "above-ceiling",
            f"{by.metric} is {by.value:.4f}, but {by.ceiling:.4f} is the most there can be: "
            "the scorer or the task is at fault, please report it",
        )
        for by in compared
        if by.value > by.ceiling + 1e-9
    ]
    at_one = next(by for by in compared if by.metric == "recall@1")
    if mrr_at_one is not None and abs(at_one.value - mrr_at_one) > 1e-9:
        said = f"recall@1 is {at_one.value:.4f} and mrr@1 {mrr_at_one:.4f}"
        found.append(Alarm("recall-not-mrr", f"{said}: the scorer is at fault, please report it"))
    if tally.as_given > _AS_GIVEN * tally.of_candidates:
        share = tally.as_given / tally.of_candidates
        said = f"{share:.0%} of the rankings begin like an order in which candidates are given"
        found.append(Alarm("order-as-given", f"{said}: are answers parsed?"))
    share = _TOO_GOOD[few_candidates]
    for by in compared:
        if by.metric in _WATCHED and by.value > by.reference + share * (by.ceiling - by.reference):
            said = f"{by.metric} is {by.value:.3f}, where the best reference has {by.reference:.3f}"
            found.append(Alarm("too-good", f"{said}: has the method seen the targets?"))
            break
    return found
