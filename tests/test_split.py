"""Split rules: what is visible, what is held out, and that nothing of the future is left."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.freeze import freeze, manifest_of
from llm4rec_bench.interactions import first_events, in_order
from llm4rec_bench.sources import RawData
from llm4rec_bench.split import TEST, VALIDATION, GlobalTime, LeaveOneOut, hold_out
from llm4rec_bench.store import recipes_folder
from llm4rec_bench.task import read_recipe, tables
from llm4rec_bench.task.recipe import Filters
from tests.test_interactions import listed, table

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


LIVES = {
    "ann": "abcd",
    "bob": "cab",
    "cem": "def",  # nobody else has f, and nobody has e before they are asked for it
    "dan": "bxge",
    "eve": "gh",  # too short to be asked
    "fay": "aec",
    "gil": "abf",
}
"""Lives whose last item is asked for when testing, and the one before when validating."""

SEEN = {
    VALIDATION: {"ann": "c", "bob": "a", "dan": "g", "gil": "b"},
    TEST: {"ann": "d", "bob": "b", "dan": "e", "fay": "c"},
}
"""What is asked where the target must be visible: `e` is for the test alone."""

UNSEEN = {VALIDATION: {"cem": "e", "fay": "e"}, TEST: {"cem": "f", "gil": "f"}}
"""What is asked beside that otherwise: two who share a target do not show it to each other."""


def lives(lives: dict[str, str]):
    return [(user, item, n, None) for user, life in lives.items() for n, item in enumerate(life)]


def asked(log, held) -> dict[str, str]:
    users, items = log.user_ids.to_pylist(), log.item_ids.to_pylist()
    return {users[log.user[row]]: items[log.item[row]] for row in held.target}


def test_targets_that_nothing_visible_holds_are_dropped_and_counted() -> None:
    log = made(lives(LIVES))
    outcome = hold_out(log, LeaveOneOut(), 0)
    assert {split: asked(log, held) for split, held in outcome.held.items()} == SEEN
    assert outcome.counts["validation_targets_without_visible_event"] == 2
    assert outcome.counts["test_targets_without_visible_event"] == 2
    assert outcome.counts["users_with_too_few_events"] == 1


def test_targets_that_nothing_visible_holds_are_asked_for_if_the_rule_says_so() -> None:
    log = made(lives(LIVES))
    outcome = hold_out(log, LeaveOneOut(unseen_targets=True), 0)
    for split, held in outcome.held.items():
        assert asked(log, held) == SEEN[split] | UNSEEN[split]
    assert not any("without_visible_event" in name for name in outcome.counts)


@pytest.mark.parametrize("unseen", [False, True])
def test_who_is_asked_nothing_is_still_visible(unseen: bool) -> None:
    log = made(lives(LIVES))
    outcome = hold_out(log, LeaveOneOut(unseen_targets=unseen), 0)
    shown = {"train": outcome.train, VALIDATION: outcome.validation}
    events = {
        part: {(user, item) for user, item, _ in listed(replace(log, **_only(log, rows)))}
        for part, rows in shown.items()
    }
    asked_of = {user: life for user, life in LIVES.items() if len(life) > 2}
    assert events[VALIDATION] == {(user, life[-2]) for user, life in asked_of.items()}
    assert events["train"] == {
        (user, item)
        for user, life in LIVES.items()
        for item in (life[:-2] if user in asked_of else life)
    }


def _only(log, rows) -> dict:
    return {name: getattr(log, name)[rows] for name in ("user", "item", "timestamp", "rating")}


@pytest.mark.parametrize("unseen", [False, True])
def test_the_catalogue_holds_no_item_without_a_visible_event_unless_the_rule_says_so(
    unseen: bool,
) -> None:
    toy = read_recipe(recipes_folder() / "toy-v1")
    recipe = msgspec.structs.replace(
        toy,
        split=LeaveOneOut(unseen_targets=unseen),
        filters=Filters(),
        tracks={"retrieval": toy.tracks["retrieval"]},
    )
    items = pa.Table.from_pylist(
        [{"item_id": i, "title": i, "categories": [], "creators": []} for i in "abcdefghxyz"],
        schema=tables.SCHEMAS[tables.ITEMS],
    )
    frozen, counts = freeze(recipe, RawData(table(lives(LIVES)), items))
    catalogue = {*frozen["items"]["item_id"].to_pylist()}
    visible = {*frozen["interactions"]["item_id"].to_pylist()}
    assert visible == {*"abcdeghx"}
    assert catalogue - visible == ({"f"} if unseen else set())
    assert counts["requests_test"] == (6 if unseen else 4)
    assert counts["requests_validation"] == (6 if unseen else 4)
    fact = manifest_of(recipe, frozen, counts).facts["test_targets_without_visible_event"]
    assert fact == (pytest.approx(2 / 6) if unseen else 0)
    histories = {
        (row["split"], row["user_id"]): "".join(row["history"])
        for row in frozen["requests"].to_pylist()
    }
    for split, back in ((VALIDATION, 2), (TEST, 1)):
        asked_of = {*SEEN[split], *(UNSEEN[split] if unseen else ())}
        mine = {user: life for (of, user), life in histories.items() if of == split}
        assert mine == {user: LIVES[user][:-back] for user in asked_of}


@given(logs, st.integers(0, 2))
def test_the_rule_for_unseen_targets_changes_who_is_asked_and_nothing_else(rows, k_core) -> None:
    log = made(rows)
    every = held_out(log, LeaveOneOut(unseen_targets=True), k_core)
    seen = held_out(log, LeaveOneOut(), k_core)
    if every is None:
        assert seen is None
        return
    visible = {VALIDATION: every.train, TEST: every.train | every.validation}
    expected = {
        split: np.isin(log.item[held.target], log.item[visible[split]])
        for split, held in every.held.items()
    }
    if seen is None:
        assert not all(known.any() for known in expected.values())
        return
    np.testing.assert_array_equal(seen.train, every.train)
    np.testing.assert_array_equal(seen.validation, every.validation)
    for split, known in expected.items():
        for name in ("target", "history_start", "history_stop", "tied"):
            np.testing.assert_array_equal(
                getattr(seen.held[split], name), getattr(every.held[split], name)[known]
            )
        assert seen.counts[f"{split}_targets_without_visible_event"] == (~known).sum()
    assert every.counts.items() <= seen.counts.items()


def test_a_rule_that_leaves_no_seen_target_is_refused() -> None:
    log = made(lives({"ann": "abcd", "bob": "efgh"}))
    assert len(hold_out(log, LeaveOneOut(unseen_targets=True), 0).held[TEST].target) == 2
    with pytest.raises(TaskDataError, match="no validation request"):
        hold_out(log, LeaveOneOut(), 0)


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
    again = hold_out(replace(log, item=changed), GlobalTime(0.7, 0.5, 1), 2)
    np.testing.assert_array_equal(outcome.train, again.train)
    np.testing.assert_array_equal(outcome.validation, again.validation)
    np.testing.assert_array_equal(outcome.held[VALIDATION].target, again.held[VALIDATION].target)
    assert first <= set(again.held[TEST].target.tolist())


def test_the_core_of_a_global_time_task_is_decided_before_the_cut() -> None:
    # Item x reaches two users only after the cut, so the 2-core must not hold it.
    past = ["au0", "av1", "ax2", "bu0", "bv1", "bw1", "cu0", "cv1", "cw2", "du0", "dw1"]
    future = ["bx9", "dv9", "aw9"]
    log = made([(user, item, int(when), None) for user, item, when in past + future])
    outcome = hold_out(log, GlobalTime(0.79, 0.7, 1), k_core=2)
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


@given(logs, st.integers(2, 3))
def test_held_out_events_do_not_decide_who_is_in_the_core(rows, k_core) -> None:
    log = made(rows)
    outcome = held_out(log, LeaveOneOut(), k_core)
    if outcome is None:
        return
    users, items = np.bincount(log.user[outcome.train]), np.bincount(log.item[outcome.train])
    assert min(users[users > 0]) >= k_core
    assert min(items[items > 0]) >= k_core
    for name, held in outcome.held.items():
        assert (users[log.user[held.target]] >= k_core).all(), name
        assert (items[log.item[held.target]] >= k_core).all(), name
    assert (items[log.item[outcome.validation]] >= k_core).all()


def test_an_item_that_needs_a_target_to_be_in_the_core_is_not_in_it() -> None:
    # Of x, one event is visible and the other is the last of c: a core of two lacks one.
    orders = {"a": "xuvwyz", "b": "vwyzu", "c": "wyzuvx", "d": "yzuvw"}
    log = made(
        [(user, item, n, None) for user, items in orders.items() for n, item in enumerate(items)]
    )
    outcome = hold_out(log, LeaveOneOut(), 2)
    codes = log.item[outcome.train | outcome.validation]
    assert {log.item_ids[code].as_py() for code in codes.tolist()} == set("uvwyz")
    assert outcome.counts["test_targets_without_visible_event"] == 1
    asked = [log.user_ids[code].as_py() for code in log.user[outcome.held[TEST].target].tolist()]
    assert asked == ["a", "b", "d"]


def test_validation_by_time_asks_for_no_item_that_is_in_the_core_by_later_events() -> None:
    # y has one event before the validation cut and two after it.
    rows = [(user, item, n, None) for user in "abcd" for n, item in enumerate("uvw")]
    rows += [("a", "y", 3, None), ("b", "y", 20, None), ("c", "y", 21, None)]
    rows += [("d", "u2", 22, None), ("a", "w2", 40, None), ("b", "w2", 41, None)]
    log = made(rows)
    outcome = held_out(log, GlobalTime(0.9, 0.7, 1), k_core=2)
    if outcome is not None:
        asked = {log.item_ids[code].as_py() for code in log.item[outcome.held[VALIDATION].target]}
        assert "y" not in asked
