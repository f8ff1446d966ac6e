"""Split rules: what is visible, what is held out, and that nothing of the future is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.interactions import first_events, in_order
from llm4rec_bench.split import TEST, VALIDATION, GlobalTime, LeaveOneOut, hold_out
from tests.test_interactions import table

logs = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz"), st.integers(0, 30), st.none()),
    min_size=8,
    max_size=60,
)


def made(rows):
    return first_events(in_order(table(rows), "s"))


def held_out(log, rule, k_core=0):
    try:
        return hold_out(log, rule, k_core)
    except TaskDataError:
        return None


def by_user(log):
    for user in range(len(log.user_ids)):
        rows = np.flatnonzero(log.user == user)
        if len(rows):
            yield user, rows


@given(logs)
def test_leave_one_out_asks_for_the_last_two_events(rows) -> None:
    log = made(rows)
    outcome = held_out(log, LeaveOneOut(unseen_targets=True))
    long_enough = {user: rows for user, rows in by_user(log) if len(rows) >= 3}
    if outcome is None:
        assert not long_enough
        return
    test, validation = outcome.held[TEST], outcome.held[VALIDATION]
    assert test.target.tolist() == [rows[-1] for rows in long_enough.values()]
    assert validation.target.tolist() == [rows[-2] for rows in long_enough.values()]
    assert outcome.validation.nonzero()[0].tolist() == validation.target.tolist()
    assert not (outcome.train | outcome.validation)[test.target].any()
    for number, rows in enumerate(long_enough.values()):
        visible = np.flatnonzero(outcome.train | outcome.validation)
        history = visible[
            (visible >= test.history_start[number]) & (visible < test.history_stop[number])
        ]
        assert history.tolist() == rows[:-1].tolist()  # the validation event is in it


@given(logs)
def test_short_histories_are_trained_on_and_asked_nothing(rows) -> None:
    log = made(rows)
    outcome = held_out(log, LeaveOneOut(min_events=5))
    if outcome is None:
        return
    short = [rows for _, rows in by_user(log) if len(rows) < 5]
    assert all(outcome.train[rows].all() for rows in short)
    assert outcome.counts["users_with_too_few_events"] == len(short)


@given(logs)
def test_targets_that_share_their_second_are_marked(rows) -> None:
    log = made(rows)
    outcome = held_out(log, LeaveOneOut())
    if outcome is None:
        return
    for held in outcome.held.values():
        for target, tied in zip(held.target, held.tied, strict=True):
            others = np.flatnonzero(log.user == log.user[target])
            same = (log.timestamp[others] == log.timestamp[target]).sum()
            assert tied == (same > 1)


@given(logs, st.integers(1, 4))
def test_global_time_shows_nothing_after_the_cut(rows, history) -> None:
    log = made(rows)
    outcome = held_out(log, GlobalTime(0.7, 0.5, history))
    if outcome is None:
        return
    cuts = {split: outcome.counts[f"cut_{split}"] for split in (VALIDATION, TEST)}
    assert log.timestamp[outcome.train].max() < cuts[VALIDATION]
    assert log.timestamp[outcome.train | outcome.validation].max() < cuts[TEST]
    for split, held in outcome.held.items():
        visible = outcome.train if split == VALIDATION else outcome.train | outcome.validation
        known = set(log.item[visible].tolist())
        for target, start, stop in zip(
            held.target, held.history_start, held.history_stop, strict=True
        ):
            own = np.flatnonzero((log.user == log.user[target]) & visible)
            assert log.timestamp[target] >= cuts[split]
            assert log.item[target] in known
            assert len(own) >= history
            assert own.tolist() == [r for r in range(start, stop) if visible[r]]
            later = np.flatnonzero(
                (log.user == log.user[target]) & (log.timestamp >= cuts[split])
                & (outcome.validation | (split == TEST))
            )  # fmt: skip
            assert target == later.min()


@given(logs, st.integers(0, 1000))
def test_what_follows_a_request_leaves_no_trace(rows, seed) -> None:
    """Replacing everything after the first event past the cut changes nothing but targets."""
    log = made(rows)
    outcome = held_out(log, GlobalTime(0.7, 0.5, 1), k_core=2)
    if outcome is None:
        return
    first = set(outcome.held[TEST].target.tolist())
    future = (log.timestamp >= outcome.counts["cut_test"]) & ~np.isin(
        np.arange(len(log)), list(first)
    )
    random = np.random.default_rng(seed)
    changed = log.item.copy()
    changed[future] = random.integers(0, len(log.item_ids), future.sum())
    from dataclasses import replace

    again = hold_out(replace(log, item=changed), GlobalTime(0.7, 0.5, 1), 2)
    np.testing.assert_array_equal(outcome.train, again.train)
    np.testing.assert_array_equal(outcome.validation, again.validation)
    np.testing.assert_array_equal(outcome.held[VALIDATION].target, again.held[VALIDATION].target)
    assert first <= set(again.held[TEST].target.tolist())


def test_the_core_of_a_global_time_task_is_decided_before_the_cut() -> None:
    # Item x reaches two users only after the cut, so the 2-core must not hold it.
    past = ["au0", "av1", "ax2", "bu0", "bv1", "cu0", "cv1", "cw2", "du0", "dw1"]
    future = ["bx9", "dv9", "aw9"]
    log = made([(user, item, int(when), None) for user, item, when in past + future])
    outcome = hold_out(log, GlobalTime(0.77, 0.7, 1), k_core=2)
    assert outcome.counts["cut_test"] == 9
    x = log.item_ids.to_pylist().index("x")
    assert x not in log.item[outcome.train | outcome.validation]


def test_cuts_in_the_wrong_order_are_refused() -> None:
    log = made([("a", str(i), i, None) for i in range(10)])
    with pytest.raises(TaskDataError, match="validation_from < test_from"):
        hold_out(log, GlobalTime(0.5, 0.6), 0)


def test_a_rule_that_leaves_nothing_says_what_to_loosen() -> None:
    log = made([("a", "u", 0, None), ("b", "u", 1, None)])
    with pytest.raises(TaskDataError, match="loosen k_core"):
        hold_out(log, LeaveOneOut(), 0)
