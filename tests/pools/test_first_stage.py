"""Retrieved pools, made a second time one item at a time, and what they must not depend on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.freeze import differing_tables, freeze, manifest_of
from llm4rec_bench.pools import FirstStage, first_stage, retrieved
from llm4rec_bench.sources import RawData, generate_toy
from llm4rec_bench.split import GlobalTime
from llm4rec_bench.store import recipes_folder
from llm4rec_bench.task import read_recipe, tables

RECIPE = read_recipe(recipes_folder() / "toy-v1")
RAW = generate_toy(RECIPE.source.seed)
BY_TIME = msgspec.structs.replace(RECIPE, split=GlobalTime(0.8, 0.65, 3))
PARTS = {"validation": {"train"}, "test": {"train", "validation"}}

Lists = Sequence[Sequence[int]]


class TooFew(Exception):
    """So many requests have too few items left."""


def plain(
    size: int, lives: Lists, histories: Lists, text: Sequence[int], kept: int = 200
) -> list[list[int]]:
    """The pools, from the events of each user in their order, by the letter of the definition."""
    events = Counter(item for life in lives for item in life)
    place = {
        item: n
        for n, item in enumerate(sorted(range(len(text)), key=lambda item: (-events[item], item)))
    }
    near: dict[int, Counter[int]] = defaultdict(Counter)
    for life in lives:
        for here, item in enumerate(life):
            for there, other in enumerate(life):
                if other != item and abs(here - there) <= 10:
                    near[item][other] += 60 // abs(here - there)
    pools = []
    for history in histories:
        score: Counter[int] = Counter()
        for recency, item in enumerate(reversed(history[-10:]), 1):
            heaviest = sorted(near[item], key=lambda one, of=near[item]: (-of[one], place[one]))
            for other in heaviest[:kept]:
                score[other] += near[item][other] * (60 // recency)
        shown = {text[item] for item in history}
        pool: dict[int, int] = {}
        for item in sorted(place, key=lambda item, of=score: (-of[item], place[item])):
            if text[item] not in shown:
                pool.setdefault(text[item], item)
        pools.append(list(pool.values())[:size])
    if short := sum(len(pool) < size for pool in pools):
        raise TooFew(short)
    return pools


def ends(lists: Lists) -> tuple[np.ndarray, np.ndarray]:
    """Lists end to end, and their lengths."""
    lengths = np.array([len(one) for one in lists], np.int64)
    return np.array([item for one in lists for item in one], np.int32), lengths


def ours(size: int, lives: Lists, histories: Lists, text: Sequence[int]) -> np.ndarray:
    item, lengths = ends(lives)
    user = np.repeat(np.arange(len(lives), dtype=np.int32), lengths)
    events = np.bincount(item, minlength=len(text)).astype(np.int64)
    return retrieved(
        FirstStage(size), (user, item), ends(histories), events, np.array(text, np.int32)
    )


def agree(size: int, lives: Lists, histories: Lists, text: Sequence[int], kept: int = 200) -> None:
    try:
        expected = plain(size, lives, histories, text, kept)
    except TooFew:
        with pytest.raises(TaskDataError, match=f"first stage of {size} cannot be filled"):
            ours(size, lives, histories, text)
    else:
        found = ours(size, lives, histories, text)
        assert found.dtype == np.int32
        assert found.shape == (len(histories), size)
        assert found.tolist() == expected


@st.composite
def worlds(draw: st.DrawFn) -> tuple[int, Lists, Lists, list[int]]:
    """A size, lives of users, histories of requests, and a text for each item."""
    items = draw(st.integers(2, 14))
    item = st.integers(0, items - 1)
    # Half of the worlds have items that nobody has ever touched.
    touched = st.integers(0, draw(st.sampled_from([items, max(1, items // 2)])) - 1)
    lives = draw(st.lists(st.lists(touched, max_size=25), max_size=6))
    histories = draw(st.lists(st.lists(item, max_size=14), max_size=6))
    own = st.just(list(range(items)))
    text = draw(own | st.lists(item, min_size=items, max_size=items))
    return draw(st.integers(2, 5)), lives, histories, text


# The definition.


@given(worlds())
def test_pools_are_those_of_the_definition(world: tuple[int, Lists, Lists, list[int]]) -> None:
    agree(*world)


@pytest.mark.parametrize("together", [1, 60, 5000])
@given(worlds())
def test_how_much_is_done_in_one_go_changes_nothing(
    together: int, world: tuple[int, Lists, Lists, list[int]]
) -> None:
    with patch.object(first_stage, "_TOGETHER", together):
        agree(*world)


@pytest.mark.parametrize("kept", [1, 2, 4])
@given(worlds())
def test_the_heaviest_neighbours_are_kept_by_weight_then_popularity(
    kept: int, world: tuple[int, Lists, Lists, list[int]]
) -> None:
    with patch.object(first_stage, "NEIGHBOURS", kept):
        agree(*world, kept)


def crowd(seed: int) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Lives in which some items have far more than 200 neighbours."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 401)
    lives = [
        random.choice(400, int(random.integers(1, 90)), False, weights / weights.sum()).tolist()
        for _ in range(120)
    ]
    histories = [life[: int(random.integers(0, len(life)))] for life in lives[:40]]
    return lives, histories, random.integers(0, 380, 400).tolist()


@pytest.mark.parametrize("together", [1, 1 << 12, 1 << 24])
def test_no_more_than_two_hundred_neighbours_count(together: int) -> None:
    lives, histories, text = crowd(3)
    assert plain(100, lives, histories, text) != plain(100, lives, histories, text, kept=400)
    with patch.object(first_stage, "_TOGETHER", together):
        agree(100, lives, histories, text)


# Single promises, by hand.


def test_events_stand_near_each_other_up_to_ten_apart() -> None:
    life = list(range(13))  # item 0 has neighbours 1 to 10; 11 and 12 stand too far away
    lives = [life, [12], [12], [11]]
    assert ours(12, lives, [[0]], life).tolist() == [[*range(1, 11), 12, 11]]


def test_users_are_nobodys_neighbours() -> None:
    # Item 0 ends one life and item 1 begins the next; 2 is more popular than 1.
    assert ours(2, [[3, 0], [1, 2], [2]], [[0]], range(4)).tolist() == [[3, 2]]


def test_the_last_ten_items_of_a_history_count_and_no_other() -> None:
    lives = [[0, 11], [1, 12], [13, 13, 13]]  # 13 stands beside nothing but is popular
    after = list(range(2, 11))  # items that have no neighbours
    assert ours(2, lives, [[1, *after]], range(14)).tolist() == [[12, 13]]
    assert ours(2, lives, [[0, 1, *after]], range(14)).tolist() == [[12, 13]]
    assert ours(2, lives, [[1, 0, *after]], range(14)).tolist() == [[11, 13]]


def test_an_item_that_ends_a_history_twice_counts_twice() -> None:
    # 60 * 60 for the neighbour of 1, and 60 * (30 + 20 + 15) for that of 0.
    assert ours(2, [[0, 2], [1, 3]], [[0, 1], [0, 0, 0, 1]], range(4)).tolist() == [[3, 2], [2, 3]]


def test_a_request_without_a_history_is_given_what_is_popular() -> None:
    lives = [[4, 1], [4, 1], [4], [2, 3]]
    assert ours(5, lives, [[]], range(6)).tolist() == [[4, 1, 2, 3, 0]]


def test_equal_scores_go_by_events_then_by_the_catalogue() -> None:
    lives = [[0, 3], [0, 2], [0, 1], [3], [5]]  # 1, 2 and 3 weigh the same beside 0
    assert ours(5, lives, [[0]], range(6)).tolist() == [[3, 1, 2, 5, 4]]


def test_of_items_that_show_the_same_text_the_best_stays() -> None:
    lives = [[0, 3], [1, 1, 1], [2]]
    assert ours(2, lives, [[0]], [0, 1, 2, 1]).tolist() == [[3, 2]]


def test_the_last_free_item_is_found() -> None:
    assert ours(2, [[0, 1, 2, 3]], [[0, 1], [3, 2, 3]], range(4)).tolist() == [[2, 3], [1, 0]]


def test_a_catalogue_that_is_too_small_is_refused() -> None:
    for text, history in ((range(4), [0, 1, 2]), ([0, 0, 1, 1], [2, 3])):
        with pytest.raises(TaskDataError, match=r"stage of 2 cannot be filled: .* smaller"):
            ours(2, [[0, 1, 2, 3]], [history, []], text)


def test_what_is_shown_like_an_item_seen_is_no_candidate() -> None:
    assert ours(2, [[0, 1, 2, 3]], [[0]], [7, 8, 7, 9]).tolist() == [[1, 3]]


@pytest.mark.parametrize("together", [1, 1 << 24])
@pytest.mark.parametrize("short", [[0, 1], [2, 0, 1]])
def test_one_request_that_cannot_be_filled_is_enough_wherever_it_stands(
    together: int, short: list[int]
) -> None:
    with patch.object(first_stage, "_TOGETHER", together):
        for place in range(3):
            histories = [[0], [], [3]]
            ours(3, [[0, 1, 2, 3]], histories, range(4))
            histories.insert(place, short)
            with pytest.raises(TaskDataError, match="stage of 3 cannot be filled"):
                ours(3, [[0, 1, 2, 3]], histories, range(4))


def test_nothing_seen_by_anybody_leaves_the_order_of_the_catalogue() -> None:
    assert ours(3, [], [[], [0], [2, 1]], range(5)).tolist() == [[0, 1, 2], [1, 2, 3], [0, 3, 4]]


@pytest.mark.parametrize("lives", [[], [[0, 1, 2]]])
def test_no_requests_have_no_pools(lives: Lists) -> None:
    found = ours(3, lives, [], range(5))
    assert (found.shape, found.dtype) == ((0, 3), np.int32)


def test_a_pool_depends_on_its_own_history_alone() -> None:
    lives, histories, text = crowd(4)
    together = ours(50, lives, histories, text)
    alone = [ours(50, lives, [history], text)[0] for history in histories]
    np.testing.assert_array_equal(together, np.stack(alone))
    np.testing.assert_array_equal(together[::-1], ours(50, lives, histories[::-1], text))


def test_users_may_stand_in_any_order_in_the_log() -> None:
    lives, histories, text = crowd(5)
    expected = ours(50, lives, histories, text)
    np.testing.assert_array_equal(expected, ours(50, lives[::-1], histories, text))


def test_weights_beyond_31_bits_do_not_overflow() -> None:
    # A user has 1, 0, 2; so do 620,000 others, and one more has only 0, 2. The scores of 1 and
    # 2 are beyond what 32 bits and single precision hold, and differ in the last place.
    users = 620_000
    item = np.r_[np.tile(np.array([1, 0, 2], np.int32), users), 0, 2, 1, 1, 1].astype(np.int32)
    user = np.r_[np.repeat(np.arange(users), 3), users, users, users + 1, users + 2, users + 3]
    events = np.bincount(item, minlength=5).astype(np.int64)
    assert events[1] > events[2]
    found = retrieved(
        FirstStage(4), (user.astype(np.int32), item), ends([[0]]), events,
        np.arange(5, dtype=np.int32),
    )  # fmt: skip
    assert found.tolist() == [[2, 1, 3, 4]]


def test_a_large_catalogue_does_not_overflow() -> None:
    items = 200_000  # pairs of items are more than 32 bits count
    last = items - 1
    lives = [[last, last - 1, last - 2], [last - 2, 7], [5, 5, 5]]
    found = ours(4, lives, [[last], [last - 2], [last, 5]], range(items))
    assert found.tolist() == [
        [last - 1, last - 2, 5, 7],
        [7, last - 1, last, 5],
        [last - 1, last - 2, 7, 0],
    ]


@pytest.mark.parametrize("size", [1, 101, -3])
def test_sizes_that_are_no_pool_or_longer_than_a_ranking_are_refused(size: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"size": size}, FirstStage)


# In frozen tasks.


def rows(table: pa.Table, split: str) -> list[dict[str, Any]]:
    return table.filter(pc.equal(table["split"], split)).to_pylist()


def with_log(events: list[dict[str, Any]]) -> RawData:
    log = pa.Table.from_pylist(events, schema=RAW.log.schema)
    return RawData(log, RAW.items, RAW.descriptions)


def published(frozen: Mapping[str, pa.Table], split: str) -> tuple[Lists, Lists, list[str]]:
    """Lives and histories as rows of the catalogue, and its ids, from the published tables."""
    ids = frozen["items"]["item_id"].to_pylist()
    row_of = {item: row for row, item in enumerate(ids)}
    lives: dict[str, list[int]] = defaultdict(list)
    for event in frozen["interactions"].to_pylist():
        if event["part"] in PARTS[split]:
            lives[event["user_id"]].append(row_of[event["item_id"]])
    histories = [
        [row_of[item] for item in row["history"]] for row in rows(frozen["requests"], split)
    ]
    return list(lives.values()), histories, ids


@pytest.mark.parametrize("recipe", [RECIPE, BY_TIME], ids=["leave-one-out", "global-time"])
@pytest.mark.parametrize("split", PARTS)
def test_frozen_pools_follow_from_what_the_split_may_see(recipe, split: str) -> None:
    frozen, _ = freeze(recipe, RAW)
    lives, histories, ids = published(frozen, split)
    expected = [[ids[row] for row in pool] for pool in plain(12, lives, histories, range(len(ids)))]
    pools = rows(frozen["candidates-reranking"], split)
    assert [pool["request_id"] for pool in pools] == [
        row["request_id"] for row in rows(frozen["requests"], split)
    ]
    assert [pool["items"] for pool in pools] == expected


def test_another_target_changes_no_pool_that_was_retrieved() -> None:
    """One user's last event becomes another item: nothing that a ranker sees tells it."""
    before, counts = freeze(RECIPE, RAW)
    untied = [row for row in rows(before["targets"], "test") if not row["tied"]]
    ids = before["items"]["item_id"].to_pylist()
    events = RAW.log.to_pylist()
    common = Counter(before["interactions"]["item_id"].to_pylist())
    for chosen in untied[::60]:
        user, (target,) = chosen["request_id"], chosen["items"]
        mine = {event["item_id"] for event in events if event["user_id"] == user}
        other = next(item for item in ids if item not in mine and common[item])
        assert common[target]  # it stays in the catalogue
        changed = [
            {**event, "item_id": other}
            if (event["user_id"], event["item_id"]) == (user, target)
            else event
            for event in events
        ]
        after, again = freeze(RECIPE, with_log(changed))
        assert differing_tables(
            manifest_of(RECIPE, after, again), manifest_of(RECIPE, before, counts)
        ) == ["candidates-ranking", "candidates-ranking-popular", "targets"]
        for name in ("candidates-ranking", "candidates-ranking-popular", "targets"):
            differ = [
                (one["split"], one["request_id"])
                for one, same in zip(before[name].to_pylist(), after[name].to_pylist(), strict=True)
                if one != same
            ]
            assert set(differ) == {("test", user)}, name


def test_what_comes_after_the_cut_changes_no_pool_that_was_retrieved() -> None:
    before, counts = freeze(BY_TIME, RAW)
    events = RAW.log.to_pylist()
    later: dict[str, list[int]] = defaultdict(list)
    for n, event in enumerate(events):
        if event["timestamp"] >= counts["cut_test"]:
            later[event["user_id"]].append(n)
    for places in later.values():  # everybody's future the other way about
        items = [events[n]["item_id"] for n in reversed(places)]
        for n, item in zip(places, items, strict=True):
            events[n] = {**events[n], "item_id": item}
    after, again = freeze(BY_TIME, with_log(events))
    assert again["cut_test"] == counts["cut_test"]
    assert after["targets"] != before["targets"]
    name = tables.candidates("reranking")
    assert rows(after[name], "validation") == rows(before[name], "validation")
    old, new = (
        {row["request_id"]: row["items"] for row in rows(table[name], "test")}
        for table in (before, after)
    )
    shared = old.keys() & new.keys()
    assert len(shared) > 50
    assert all(old[request] == new[request] for request in shared)


def test_twins_in_the_catalogue_are_never_candidates_together() -> None:
    titles, years = RAW.items["title"].to_pylist(), RAW.items["year"].to_pylist()
    twins = pa.array([titles[n - n % 2] for n in range(len(titles))])
    same = pa.array([years[n - n % 2] for n in range(len(years))], pa.int32())
    items = RAW.items.set_column(1, "title", twins).set_column(2, "year", same)
    recipe = msgspec.structs.replace(RECIPE, tracks={"reranking": RECIPE.tracks["reranking"]})
    frozen, _ = freeze(recipe, RawData(RAW.log, items))
    text = dict(zip(RAW.items["item_id"].to_pylist(), twins.to_pylist(), strict=True))
    for split in PARTS:
        lives, histories, ids = published(frozen, split)
        code = {title: number for number, title in enumerate(sorted({*text.values()}))}
        expected = plain(12, lives, histories, [code[text[item]] for item in ids])
        found = [pool["items"] for pool in rows(frozen["candidates-reranking"], split)]
        assert found == [[ids[row] for row in pool] for pool in expected]
        assert all(len({text[item] for item in pool}) == 12 for pool in found)


def test_a_first_stage_larger_than_the_catalogue_is_refused() -> None:
    track = msgspec.structs.replace(RECIPE.tracks["reranking"], first_stage=FirstStage(48))
    recipe = msgspec.structs.replace(RECIPE, tracks={"reranking": track})
    with pytest.raises(TaskDataError, match="first stage of 48 cannot be filled"):
        freeze(recipe, RAW)


def test_the_track_leaves_the_digests_of_the_others_alone() -> None:
    fewer = {name: track for name, track in RECIPE.tracks.items() if name != "reranking"}
    recipe = msgspec.structs.replace(RECIPE, tracks=fewer)
    small, full = (manifest_of(one, *freeze(one, RAW)) for one in (recipe, RECIPE))
    assert small.tracks == {name: full.tracks[name] for name in fewer}
    assert differing_tables(small, full) == ["candidates-reranking"]
