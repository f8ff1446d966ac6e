"""Candidate pools: fair, frozen, and silent about the future."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.pools import PERMUTATIONS, Negatives, draws, hash_keys, negatives, shuffled

NO_HISTORY = (np.array([], np.int64), np.array([], np.int32))


def _splitmix(state: int) -> int:
    """SplitMix64 on Python integers, as its authors give it."""
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


@given(st.integers(0, 2**64 - 1))
def test_draws_are_splitmix64(key: int) -> None:
    expected = [_splitmix((key + (n + 1) * 0x9E3779B97F4A7C15) % 2**64) for n in range(5)]
    assert draws(np.array([key], np.uint64), 5)[0].tolist() == expected


def test_splitmix64_gives_the_published_first_outputs() -> None:
    # Reference values for seed 1234567, from the generator's public test vectors.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert draws(np.array([1234567], np.uint64), 3)[0].tolist() == expected


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["uniform", "popularity"]))
def test_negatives_are_unseen_distinct_and_have_texts_of_their_own(seed: int, draw) -> None:
    random = np.random.default_rng(seed)
    items, requests = 60, 7
    target = random.integers(0, items, requests).astype(np.int32)
    owners = np.repeat(np.arange(requests), 12)
    history = random.integers(0, items, len(owners)).astype(np.int32)
    text = random.integers(0, 45, items).astype(np.int32)  # some items share a text
    found = negatives(
        Negatives(draw, 10), hash_keys("s", "p", [str(n) for n in range(requests)]), target,
        (owners, history), random.integers(0, 50, items), text,
    )  # fmt: skip
    assert found.shape == (requests, 9)
    for request in range(requests):
        pool = [target[request], *found[request]]
        assert len(set(text[pool].tolist())) == 10
        assert not set(found[request].tolist()) & set(history[owners == request].tolist())


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_a_pool_takes_in_what_is_left_and_no_more_is_asked_of_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    items, requests = 40, 5
    target = random.integers(0, items, requests).astype(np.int32)
    owners = random.integers(0, requests, 50)
    history = random.integers(0, items, len(owners)).astype(np.int32)
    text = random.integers(0, 30, items).astype(np.int32)
    left = [
        len({*text.tolist()} - {*text[history[owners == one]].tolist()} - {int(text[target[one]])})
        for one in range(requests)
    ]
    keys = hash_keys("s", "p", [str(number) for number in range(requests)])

    def pools(size: int) -> np.ndarray:
        rule = Negatives("uniform", size)
        return negatives(rule, keys, target, (owners, history), np.zeros(items, np.int64), text)

    assert pools(min(left) + 1).shape == (requests, min(left))
    short = left.count(min(left))
    with pytest.raises(TaskDataError, match=f": {short} requests have fewer than"):
        pools(min(left) + 2)


def test_a_pool_depends_on_its_own_request_alone() -> None:
    text, events = np.arange(500, dtype=np.int32), np.arange(500)
    ids = [str(n) for n in range(20)]
    target = np.arange(20, dtype=np.int32)
    rule = Negatives("uniform", 20)
    together = negatives(rule, hash_keys("s", "p", ids), target, NO_HISTORY, events, text)
    alone = negatives(rule, hash_keys("s", "p", ids[7:8]), target[7:8], NO_HISTORY, events, text)
    np.testing.assert_array_equal(together[7], alone[0])


def test_uniform_negatives_are_uniform() -> None:
    items, ids = 50, [str(n) for n in range(4000)]
    target = np.zeros(len(ids), np.int32)
    found = negatives(
        Negatives("uniform", 6), hash_keys("s", "p", ids), target, NO_HISTORY,
        np.arange(items), np.arange(items, dtype=np.int32),
    )  # fmt: skip
    counts = np.bincount(found.ravel(), minlength=items)[1:]
    assert stats.chisquare(counts).pvalue > 1e-4


def test_popular_negatives_follow_the_visible_events() -> None:
    events, ids = np.array([0, 9, 99, 999, 1999]), [str(n) for n in range(20_000)]
    target = np.zeros(len(ids), np.int32)
    found = negatives(
        Negatives("popularity", 2), hash_keys("s", "p", ids), target, NO_HISTORY,
        events, np.arange(5, dtype=np.int32),
    )  # fmt: skip
    weights = (events + 1)[1:]
    counts = np.bincount(found.ravel(), minlength=5)[1:]
    assert stats.chisquare(counts, weights / weights.sum() * counts.sum()).pvalue > 1e-4


def test_a_pool_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(TaskDataError, match="cannot be filled"):
        negatives(
            Negatives("uniform", 6), hash_keys("s", "p", ["a"]), np.array([0], np.int32),
            NO_HISTORY, np.ones(5, np.int64), np.arange(5, dtype=np.int32),
        )  # fmt: skip


def test_the_last_free_item_is_found() -> None:
    items = 400
    history = np.arange(2, items, dtype=np.int32)  # only item 1 is unseen beside the target
    found = negatives(
        Negatives("uniform", 2), hash_keys("s", "p", ["a"]), np.array([0], np.int32),
        (np.zeros(len(history), np.int64), history), np.ones(items, np.int64),
        np.arange(items, dtype=np.int32),
    )  # fmt: skip
    assert found.tolist() == [[1]]


def test_the_target_stands_anywhere_with_equal_chance() -> None:
    ids = [str(n) for n in range(6000)]
    pool = np.tile(np.arange(20, dtype=np.int32), (len(ids), 1))
    orders = shuffled(pool, "s", "ranking test", ids)
    assert orders.shape == (len(ids), PERMUTATIONS, 20)
    for number in range(PERMUTATIONS):
        place = np.argmin(orders[:, number], axis=1)  # the target is item 0
        assert stats.chisquare(np.bincount(place, minlength=20)).pvalue > 1e-4
    np.testing.assert_array_equal(np.sort(orders, axis=2), np.tile(pool[:, None], (1, 3, 1)))


def test_the_permutations_of_a_pool_are_independent() -> None:
    ids = [str(n) for n in range(6000)]
    pool = np.tile(np.arange(20, dtype=np.int32), (len(ids), 1))
    orders = shuffled(pool, "s", "ranking test", ids)
    first, second = np.argmin(orders[:, 0], axis=1), np.argmin(orders[:, 1], axis=1)
    pairs = np.bincount(first * 20 + second, minlength=400)
    assert stats.chisquare(pairs).pvalue > 1e-4
