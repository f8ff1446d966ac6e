"""The order of events, and filters."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from llm4rec_bench.interactions import LOG_SCHEMA, at_least, first_events, in_core, in_order

events = st.lists(
    st.tuples(
        st.sampled_from(["1", "01", "ü", "2"]),
        st.sampled_from(["7", "007", "b", "c", "é"]),
        st.integers(0, 3),
        st.none() | st.sampled_from([1.0, 2.5, 5.0]),
    ),
    min_size=1,
    max_size=40,
)


def table(rows: list[tuple[str, str, int, float | None]]) -> pa.Table:
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=LOG_SCHEMA)


def listed(log) -> list[tuple[str, str, int]]:
    users, items = log.user_ids.to_pylist(), log.item_ids.to_pylist()
    return [
        (users[u], items[i], t)
        for u, i, t in zip(
            log.user.tolist(), log.item.tolist(), log.timestamp.tolist(), strict=True
        )
    ]


@given(events)
def test_events_are_ordered_by_user_time_and_hash(rows) -> None:
    def key(row) -> tuple:
        user, item, when = row
        return user.encode(), when, sha256(f"s\0{user}\0{item}".encode()).digest()

    log = in_order(table(rows), "s")
    assert listed(log) == sorted((row[:3] for row in rows), key=key)


@given(events, st.randoms())
def test_the_order_of_input_rows_changes_nothing(rows, random) -> None:
    shuffled = rows.copy()
    random.shuffle(shuffled)
    one, other = in_order(table(rows), "s"), in_order(table(shuffled), "s")
    assert listed(one) == listed(other)
    np.testing.assert_array_equal(one.rating, other.rating)


def test_another_salt_gives_simultaneous_events_another_order() -> None:
    rows = [("u", str(item), 0, None) for item in range(50)]
    assert listed(in_order(table(rows), "a")) != listed(in_order(table(rows), "b"))


@given(events)
def test_only_the_first_event_of_a_pair_is_kept(rows) -> None:
    log = in_order(table(rows), "s")
    kept = listed(first_events(log))
    assert Counter((u, i) for u, i, _ in kept) == Counter({(u, i) for u, i, _ in listed(log)})
    for user, item, when in kept:
        assert when == min(t for u, i, t, _ in rows if (u, i) == (user, item))


@given(events)
def test_low_and_missing_ratings_are_dropped(rows) -> None:
    kept = at_least(in_order(table(rows), "s"), 2.5)
    expected = [row[:3] for row in rows if row[3] is not None and row[3] >= 2.5]
    assert Counter(listed(kept)) == Counter(expected)


@given(events, st.integers(0, 4))
def test_the_core_is_the_largest_in_which_all_have_k_events(rows, k) -> None:
    log = first_events(in_order(table(rows), "s"))
    left = set(listed(log))
    while True:  # the definition: take away whoever has too few, until nobody has
        users, items = Counter(r[0] for r in left), Counter(r[1] for r in left)
        fewer = {r for r in left if users[r[0]] >= k and items[r[1]] >= k}
        if fewer == left:
            break
        left = fewer
    keep = in_core(log, k, np.ones(len(log), bool))
    assert {row for row, kept in zip(listed(log), keep, strict=True) if kept} == left
