"""The toy world: the same for ever, sound, and with something in it to learn."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from random import Random

import pyarrow.compute as pc
import pytest

from llm4rec_bench import Task
from llm4rec_bench.freeze import freeze, manifest_of
from llm4rec_bench.sources import RawData, generate_toy
from llm4rec_bench.sources.toy_catalogue import CATALOGUE
from llm4rec_bench.task.tables import content_digest


@pytest.fixture(scope="module")
def world() -> RawData:
    return generate_toy(1)


@pytest.fixture(scope="module")
def sequels(world: RawData) -> dict[str, str]:
    """Each work that continues another, and that other; titles tell them, ids do not."""
    titles = world.items["title"].to_pylist()
    ids = dict(zip(titles, world.items["item_id"].to_pylist(), strict=True))
    return {
        ids[title]: ids[first]
        for series in CATALOGUE
        for (first, _), (title, _) in pairwise(series.works)
    }


@pytest.fixture(scope="module")
def lives(world: RawData) -> dict[str, list[str]]:
    """What each reader took, in order."""
    found = defaultdict(list)
    for row in world.log.sort_by(
        [("user_id", "ascending"), ("timestamp", "ascending")]
    ).to_pylist():
        found[row["user_id"]].append(row["item_id"])
    return dict(found)


def test_seed_1_is_the_same_for_ever(world: RawData) -> None:
    found = [content_digest(table) for table in (world.log, world.items, world.descriptions)]
    assert found == [
        "sha256:7a9400d1202c0ae6446a43b6205a7c28257704fb7a69c2c1b51a792df57510d6",
        "sha256:f6e44099dc4ea833d790e072f1bd56a1bb4ce15247b4298939db6c3695400bc1",
        "sha256:0e44f02945521f9abdb5e77ca955531159e81851705e3293557a44ef3190bce6",
    ]


def test_the_embedded_task_freezes_again_to_its_manifest(toy: Task, world: RawData) -> None:
    frozen, counts = freeze(toy.recipe, world)
    assert manifest_of(toy.recipe, frozen, counts) == toy.manifest


def test_a_generator_called_twice_gives_the_same(world: RawData) -> None:
    again = generate_toy(1)
    assert again.log.equals(world.log)
    assert again.items.equals(world.items)


def test_another_seed_gives_another_log_over_the_same_works(world: RawData) -> None:
    other = generate_toy(2)
    assert not other.log.equals(world.log)
    assert other.items.equals(world.items)


@pytest.mark.parametrize("seed", range(1, 5))
def test_every_reader_has_enough_events_and_none_twice(seed: int) -> None:
    pairs = [(row["user_id"], row["item_id"]) for row in generate_toy(seed).log.to_pylist()]
    events = Counter(user for user, _ in pairs)
    assert len(events) == 300
    assert min(events.values()) >= 3
    assert len(set(pairs)) == len(pairs)


def test_titles_tell_works_apart_and_every_work_is_described(world: RawData) -> None:
    titles = world.items["title"].to_pylist()
    assert len({title.casefold() for title in titles}) == len(titles) == 48
    assert world.descriptions["item_id"].equals(world.items["item_id"])
    texts = world.descriptions["text"].to_pylist()
    assert len(set(texts)) == 48
    assert min(map(len, texts)) > 40


def test_every_work_is_taken_and_ratings_are_stars(world: RawData) -> None:
    assert set(world.log["item_id"].to_pylist()) == set(world.items["item_id"].to_pylist())
    assert set(pc.unique(world.log["rating"]).to_pylist()) == {2.0, 3.0, 4.0, 5.0}


def test_some_events_share_their_second(world: RawData) -> None:
    moments = Counter((row["user_id"], row["timestamp"]) for row in world.log.to_pylist())
    assert 0.02 < sum(count > 1 for count in moments.values()) / len(moments) < 0.2


def test_ids_tell_nobody_what_continues_what(world: RawData, sequels: dict[str, str]) -> None:
    ids = sorted(world.items["item_id"].to_pylist())
    assert ids == [f"w{number:02}" for number in range(1, 49)]
    assert len(sequels) == 24
    apart = [ids.index(sequel) - ids.index(first) for sequel, first in sequels.items()]
    assert min(map(abs, apart)) > 2
    assert world.items["item_id"].to_pylist() != ids


def _follows(lives: dict[str, list[str]], sequels: dict[str, str]) -> tuple[float, float]:
    """How often, of readers who took both, a sequel comes later than what it continues, and
    how often at once after it."""
    later = at_once = both = 0
    for taken in lives.values():
        for sequel, first in sequels.items():
            if sequel in taken and first in taken:
                distance = taken.index(sequel) - taken.index(first)
                both += 1
                later += distance > 0
                at_once += distance == 1
    return later / both, at_once / both


def test_sequels_follow_what_they_continue_more_often_than_chance(
    lives: dict[str, list[str]], sequels: dict[str, str]
) -> None:
    random = Random(7)
    shuffled = {reader: random.sample(taken, len(taken)) for reader, taken in lives.items()}
    later, at_once = _follows(lives, sequels)
    later_by_chance, at_once_by_chance = _follows(shuffled, sequels)
    assert later_by_chance == pytest.approx(0.5, abs=0.05)
    assert later > 0.8
    assert at_once > 3 * at_once_by_chance


def test_readers_keep_to_favourite_shelves(world: RawData, lives: dict[str, list[str]]) -> None:
    shelves = dict(zip(
        world.items["item_id"].to_pylist(),
        (categories[1] for categories in world.items["categories"].to_pylist()),
        strict=True,
    ))  # fmt: skip
    two_most = [
        sum(count for _, count in Counter(shelves[item] for item in taken).most_common(2))
        / len(taken)
        for taken in lives.values()
    ]
    # Six shelves: two of them would hold about half of ten works taken at random.
    assert sum(two_most) / len(two_most) > 0.75


def test_a_ranker_that_uses_co_occurrence_beats_counting(toy: Task) -> None:
    """Of the candidates, the one most often taken together with the history is the target
    more often than the most popular one."""
    log = toy.log("test")
    baskets = defaultdict(set)
    for user, item in zip(log.user.tolist(), log.item.tolist(), strict=True):
        baskets[user].add(toy.items.ids[item])
    alone = Counter(item for basket in baskets.values() for item in basket)
    together = Counter(
        (one, other) for basket in baskets.values() for one in basket for other in basket
    )
    targets = [toy.items.ids[row] for row in toy.targets("test").items[:, 0]]
    hits = Counter()
    for request, target in zip(toy.requests("test", "ranking"), targets, strict=True):
        candidates = request.candidates or []
        hits["counting"] += max(candidates, key=lambda item: alone[item]) == target
        hits["co-occurrence"] += target == max(
            candidates,
            key=lambda item: sum(
                together[item, seen] / (alone[item] * alone[seen]) ** 0.5
                for seen in request.history
            ),
        )
    assert hits["co-occurrence"] > 2 * hits["counting"] > 0
