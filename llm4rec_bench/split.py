"""Split rules: which events are visible, which are held out, and what each request sees.

Rules are small tagged structs; a recipe names one. `hold_out` applies it to a log and
returns row numbers only, so nothing is copied and no rule can touch an id.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.interactions import Log, Rows, in_core, tied_within_user

Mask = npt.NDArray[np.bool_]

VALIDATION, TEST = "validation", "test"
SPLITS = (VALIDATION, TEST)


class LeaveOneOut(msgspec.Struct, frozen=True, tag="leave-one-out", tag_field="rule"):
    """Each user's last event is the test target, the one before it the validation target."""

    min_events: int = 3
    """Users with fewer events are kept for training and asked nothing."""
    unseen_targets: bool = False
    """Whether targets may be asked for that no visible event holds. An item that is in the
    catalogue without an event is then known to be somebody's target."""


class GlobalTime(msgspec.Struct, frozen=True, tag="global-time", tag_field="rule"):
    """One moment for everybody: what comes before is visible, the first event after is asked.

    Cuts are given as shares of the log's rows in time order; an event at the very moment
    of a cut lies after it.
    """

    test_from: float = 0.8
    validation_from: float = 0.7
    min_history: int = 5
    """Requests of users with fewer visible events are dropped and counted."""


SplitRule = LeaveOneOut | GlobalTime


@dataclass(frozen=True, slots=True)
class Held:
    """The requests of one split, in order of user: arrays of shape (requests,)."""

    target: Rows
    """Row of the event asked for."""
    history_start: Rows
    history_stop: Rows
    """Rows [start, stop) of the log are the history, oldest first, `hidden` ones left out."""
    tied: Mask
    """Whether the target shares its timestamp with another event of the same user."""

    def only(self, kept: Mask) -> Held:
        """Some of the requests."""
        return Held(
            self.target[kept], self.history_start[kept], self.history_stop[kept], self.tied[kept]
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a split rule made of a log."""

    train: Mask
    validation: Mask
    """Rows visible always, and rows visible only when testing. All others are hidden."""
    held: dict[str, Held]
    counts: dict[str, int] = field(default_factory=dict)
    """What was left out, by reason."""


def hold_out(log: Log, rule: SplitRule, k_core: int) -> Outcome:
    """Apply `rule` and a k-core filter to a log (0 or 1: no filter).

    Raises TaskDataError when nothing is left to ask.
    """
    if isinstance(rule, LeaveOneOut):
        outcome = _leave_one_out(log, rule, k_core)
    else:
        outcome = _global_time(log, rule, k_core)
    for split, held in outcome.held.items():
        if not len(held.target):
            raise TaskDataError(
                f"the split rule leaves no {split} request out of {len(log)} interactions; "
                "loosen k_core, min_events or the cuts in task.toml"
            )
    return outcome


def _bounds(log: Log) -> tuple[Rows, Rows]:
    """First row and row past the last of every user."""
    ends = np.searchsorted(log.user, np.arange(len(log.user_ids) + 1))
    return ends[:-1], ends[1:]


def _leave_one_out(log: Log, rule: LeaveOneOut, k_core: int) -> Outcome:
    starts, stops = _bounds(log)
    asked = stops - starts >= max(rule.min_events, 3)
    start, stop = starts[asked], stops[asked]
    tied = tied_within_user(log)
    held, last = {}, {}
    for split, back in ((VALIDATION, 2), (TEST, 1)):
        target = stop - back
        held[split] = Held(target, start, target, tied[target])
        last[split] = np.zeros(len(log), bool)
        last[split][target] = True
    # Held-out events must not decide who is in the core: an item that lacks events for it
    # would be known to be somebody's target.
    train = in_core(log, k_core, ~last[VALIDATION] & ~last[TEST])
    validation = last[VALIDATION] & _inside(log, train) if k_core > 1 else last[VALIDATION]
    outside = ~train & ~validation & ~last[TEST]
    counts = {
        "interactions_outside_core": int(outside.sum()),
        "users_with_too_few_events": int((~asked).sum()),
    }
    for split in held:
        if k_core > 1:
            of_core = np.isin(log.user[held[split].target], log.user[train])
            held[split] = held[split].only(of_core)
            counts[f"{split}_requests_of_users_outside_core"] = int((~of_core).sum())
        if not rule.unseen_targets:
            before = train if split == VALIDATION else train | validation
            held[split] = _seen_before(log, before, held[split], split, counts)
    return Outcome(train, validation, held, counts)


def _inside(log: Log, core: Mask) -> Mask:
    """Which events are of a user and an item that occur among those of `core`."""
    users, items = np.zeros(len(log.user_ids), bool), np.zeros(len(log.item_ids), bool)
    users[log.user[core]] = True
    items[log.item[core]] = True
    return users[log.user] & items[log.item]


def _seen_before(log: Log, before: Mask, held: Held, split: str, counts: dict[str, int]) -> Held:
    """Only the requests whose target occurs in what is visible; the others are counted."""
    known = np.zeros(len(log.item_ids), bool)
    known[log.item[before]] = True
    seen = known[log.item[held.target]]
    counts[f"{split}_targets_without_visible_event"] = int((~seen).sum())
    return held.only(seen)


def _cut(log: Log, share: float) -> int:
    """Timestamp of the row at this share of the log in time order."""
    place = min(int(len(log) * share), len(log) - 1)
    return int(np.partition(log.timestamp, place)[place])


def _global_time(log: Log, rule: GlobalTime, k_core: int) -> Outcome:
    if not 0.0 < rule.validation_from < rule.test_from < 1.0:
        raise TaskDataError("task.toml: expected 0 < validation_from < test_from < 1")
    cuts = {VALIDATION: _cut(log, rule.validation_from), TEST: _cut(log, rule.test_from)}
    # Only what precedes the test cut decides who and what is in the task.
    visible = in_core(log, k_core, log.timestamp < cuts[TEST])
    train = visible & (log.timestamp < cuts[VALIDATION])
    counts = {
        "interactions_outside_core": int(((log.timestamp < cuts[TEST]) & ~visible).sum()),
    }
    if log.timed:
        counts |= {f"cut_{split}": cut for split, cut in cuts.items()}
    # Validation asks about events that test may see; test asks about what nobody may see.
    held = {
        VALIDATION: _first_after(log, train, visible & ~train, rule, k_core, VALIDATION, counts),
        TEST: _first_after(log, visible, log.timestamp >= cuts[TEST], rule, k_core, TEST, counts),
    }
    return Outcome(train=train, validation=visible & ~train, held=held, counts=counts)


def _first_after(
    log: Log,
    before: Mask,
    after: Mask,
    rule: GlobalTime,
    k_core: int,
    split: str,
    counts: dict[str, int],
) -> Held:
    """Each user's first event after a moment, where user and item are known well enough.

    An item counts as known that has the events of the core before that moment: else, when
    validating, items that are in the core only by what comes later would be targets, and
    a liking for rare items would seem to pay.
    """
    users = len(log.user_ids)
    past = np.bincount(log.user[before], minlength=users)
    known = np.bincount(log.item[before], minlength=len(log.item_ids)) >= max(k_core, 1)
    rows = np.flatnonzero(after)
    first = rows[np.unique(log.user[rows], return_index=True)[1]]
    long_enough = past[log.user[first]] >= rule.min_history
    inside = known[log.item[first]]
    counts[f"{split}_requests_with_short_history"] = int((~long_enough).sum())
    counts[f"{split}_targets_outside_catalogue"] = int((long_enough & ~inside).sum())
    target = first[long_enough & inside]
    # Within a user rows are in time order, so the visible past ends at the target.
    user_start = np.searchsorted(log.user, log.user[target], side="left")
    return Held(target, user_start, target, tied_within_user(log)[target])
