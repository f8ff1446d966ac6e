"""Leak checks: silent on what freezing makes, and tripped by every way of giving a target away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.freeze import check_leaks, freeze, manifest_of
from llm4rec_bench.freeze.leaks import CHECKS, next_ids
from llm4rec_bench.freeze.pools import Asked, pools_of
from llm4rec_bench.interactions import LOG_SCHEMA
from llm4rec_bench.pools import PERMUTATIONS
from llm4rec_bench.sources import RawData, generate_toy
from llm4rec_bench.split import SPLITS, GlobalTime
from llm4rec_bench.store import default_home, recipes_folder
from llm4rec_bench.task import Recipe, Task, read_recipe, tables
from llm4rec_bench.task.source import Descriptions

# Only texts that the package itself joins are cut and checked for later years.
TOY = msgspec.structs.replace(
    read_recipe(recipes_folder() / "toy-v1"), descriptions=Descriptions("wikipedia-movie-data")
)
RAW = generate_toy(TOY.source.seed)
BY_TIME = msgspec.structs.replace(TOY, split=GlobalTime(0.8, 0.65, 3))
SIXTY_YEARS = 60 * 366 * 86_400

Tables = dict[str, pa.Table]


class Frozen:
    """A frozen task of which some tables can be exchanged."""

    def __init__(self, recipe: Recipe, raw: RawData = RAW) -> None:
        self.recipe = recipe
        self.tables, self.counts = freeze(recipe, raw)
        self.manifest = manifest_of(recipe, self.tables, self.counts)

    def task(self, changed: Mapping[str, pa.Table] = {}, recipe: Recipe | None = None) -> Task:
        return Task(recipe or self.recipe, self.manifest, Path(), self.tables | dict(changed))

    def found(self, changed: Mapping[str, pa.Table] = {}, recipe: Recipe | None = None) -> str:
        """What the checks say of it."""
        with pytest.raises(TaskDataError) as error:
            check_leaks(self.task(changed, recipe))
        said = str(error.value)
        assert said.startswith(f"{self.recipe.id} gives away what it hides: ")
        return said

    def rows(self, name: str) -> list[dict]:
        return self.tables[name].to_pylist()

    def changed(self, name: str, change: Callable[[dict], dict]) -> Tables:
        """One table with every row changed."""
        return {name: table_of(name, [change(row) for row in self.rows(name)])}

    def target_of(self, split: str) -> dict[str, str]:
        return {
            row["request_id"]: row["items"][0] for row in self.rows("targets")
            if row["split"] == split
        }  # fmt: skip

    def only(self, *tracks: str) -> Recipe:
        kept = {name: track for name, track in self.recipe.tracks.items() if name in tracks}
        return msgspec.structs.replace(self.recipe, tracks=kept)


def table_of(name: str, rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=tables.schema(name))


@pytest.fixture(scope="module")
def by_user() -> Frozen:
    return Frozen(TOY)


@pytest.fixture(scope="module")
def by_time() -> Frozen:
    return Frozen(BY_TIME)


@pytest.fixture(scope="module", params=["leave-one-out", "global-time"])
def frozen(request, by_user: Frozen, by_time: Frozen) -> Frozen:
    return by_user if request.param == "leave-one-out" else by_time


# What freezing makes


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.lstrip("_"))
def test_every_check_is_silent_on_the_toy(frozen: Frozen, check) -> None:
    assert list(check(frozen.task())) == []


def test_all_checks_together_are_silent_on_the_toy(frozen: Frozen) -> None:
    check_leaks(frozen.task())


def test_without_times_or_descriptions_or_pools_nothing_breaks() -> None:
    log = RAW.log.set_column(2, "timestamp", pa.nulls(RAW.log.num_rows, pa.int64()))
    untimed = Frozen(TOY, RawData(log, RAW.items, in_row_order=True))
    check_leaks(untimed.task())
    plain = msgspec.structs.replace(TOY, tracks={"retrieval": TOY.tracks["retrieval"]})
    check_leaks(Frozen(plain, RawData(RAW.log, RAW.items)).task())


@pytest.mark.parametrize("recipe", [TOY, BY_TIME], ids=["leave-one-out", "global-time"])
def test_times_before_1970_are_fine(recipe: Recipe) -> None:
    earlier = pc.subtract(RAW.log["timestamp"], SIXTY_YEARS)
    assert pc.max(earlier).as_py() < 0
    raw = RawData(RAW.log.set_column(2, "timestamp", earlier), RAW.items)
    then = Frozen(recipe, raw)
    check_leaks(then.task())
    # What is hidden from requests of that time is noticed as well.
    late = then.rows("interactions")[-1]
    late = late | {"timestamp": max(then.tables["requests"]["timestamp"].to_pylist()) + 1}
    assert "visible" in then.found({"interactions": added(then, late)})


def test_a_description_of_a_task_before_1970_may_name_its_own_years_only() -> None:
    earlier = pc.subtract(RAW.log["timestamp"], SIXTY_YEARS)
    raw = RawData(RAW.log.set_column(2, "timestamp", earlier), RAW.items, RAW.descriptions)
    then = Frozen(TOY, raw)
    check_leaks(then.task())
    last = year_of(then)
    assert last < 1970
    described = said_of_the_first(then, f"It was filmed in {last}. ")
    check_leaks(then.task(described))
    described = said_of_the_first(then, f"It was filmed in {last + 1}. ")
    assert f"1 descriptions name a year after {last}" in then.found(described)


# What is visible


def added(frozen: Frozen, row: dict) -> pa.Table:
    """The interactions with one more, in time order as always."""
    found = [*frozen.rows("interactions"), row]
    return table_of("interactions", sorted(found, key=lambda row: row["timestamp"]))


def an_item(frozen: Frozen, user: str) -> str:
    """Something that a user has to do with in no table."""
    known = {row["item_id"] for row in frozen.rows("interactions") if row["user_id"] == user}
    known |= {
        row["items"][0] for row in frozen.rows("targets") if row["request_id"] == user
    }  # fmt: skip
    return next(item for item in frozen.tables["items"]["item_id"].to_pylist() if item not in known)


@pytest.mark.parametrize("split", SPLITS)
def test_an_event_after_what_is_asked_for(frozen: Frozen, split: str) -> None:
    asked = next(row for row in frozen.rows("requests") if row["split"] == split)
    user = asked["user_id"]
    part = "train" if split == "validation" else "validation"
    event = {"user_id": user, "item_id": an_item(frozen, user), "rating": None, "part": part,
             "timestamp": asked["timestamp"] + 1}  # fmt: skip
    said = frozen.found({"interactions": added(frozen, event)})
    assert f"{split} requests come before an event of their user that is visible" in said
    assert f"1 {split} requests" in said


def test_an_event_of_somebody_else_after_the_cut(by_time: Frozen) -> None:
    asked = {row["user_id"] for row in by_time.rows("requests")}
    event = next(row for row in by_time.rows("interactions") if row["user_id"] not in asked)
    moment = max(by_time.tables["requests"]["timestamp"].to_pylist())
    late = event | {"item_id": an_item(by_time, event["user_id"]), "timestamp": moment}
    assert "events after the test cut are visible" in by_time.found(
        {"interactions": added(by_time, late)}
    )


def test_an_event_of_somebody_else_between_the_cut_and_the_first_request(by_time: Frozen) -> None:
    cut = by_time.counts["cut_test"]
    # Only those are asked who came a while after the cut.
    ids = {
        row["request_id"] for row in by_time.rows("requests")
        if row["split"] == "test" and row["timestamp"] > cut + 100
    }  # fmt: skip
    assert len(ids) > 50
    fewer = {
        name: table_of(name, [row for row in by_time.rows(name)
                              if row["split"] == "validation" or row["request_id"] in ids])
        for name in ("requests", "targets")
    }  # fmt: skip
    recipe = by_time.only("retrieval")
    check_leaks(by_time.task(fewer, recipe))
    event = by_time.rows("interactions")[-1] | {"user_id": "somebody", "timestamp": cut + 50}
    said = by_time.found(fewer | {"interactions": added(by_time, event)}, recipe)
    assert "events after the test cut are visible" in said


@pytest.mark.parametrize("split", SPLITS)
def test_a_target_among_the_visible_events_of_its_user(frozen: Frozen, split: str) -> None:
    request, target = next(iter(frozen.target_of(split).items()))
    first = next(row for row in frozen.rows("interactions") if row["user_id"] == request)
    # As early as their first event, so that no time tells.
    event = first | {"item_id": target, "part": "train"}
    said = frozen.found({"interactions": added(frozen, event)})
    assert f"1 {split} targets stand among the visible events of their users" in said


def test_a_validation_target_that_a_method_sees_when_validating(frozen: Frozen) -> None:
    asked = len(frozen.target_of("validation"))
    said = frozen.found(frozen.changed("interactions", lambda row: row | {"part": "train"}))
    assert f"{asked} validation targets stand among the visible events" in said


@pytest.mark.parametrize("tracks", [("retrieval",), ("retrieval", "ranking", "ranking-popular")])
def test_a_target_at_the_end_of_its_history(frozen: Frozen, tracks: tuple[str, ...]) -> None:
    target = frozen.target_of("test")

    def told(row: dict) -> dict:
        more = [target[row["request_id"]]] if row["split"] == "test" else []
        return row | {"history": row["history"] + more}

    said = frozen.found(frozen.changed("requests", told), frozen.only(*tracks))
    assert said.endswith(": test histories are not the visible events of their users")


def test_a_validation_history_that_holds_its_target(by_user: Frozen) -> None:
    history = {
        row["request_id"]: row["history"] for row in by_user.rows("requests")
        if row["split"] == "test"
    }  # fmt: skip
    as_when_testing = by_user.changed(
        "requests", lambda row: row | {"history": history[row["request_id"]]}
    )
    said = by_user.found(as_when_testing, by_user.only("retrieval", "ranking", "ranking-popular"))
    assert said.endswith(": validation histories are not the visible events of their users")


def test_an_item_in_the_catalogue_that_only_a_target_can_have_brought_there(
    by_user: Frozen,
) -> None:
    items = [*by_user.rows("items"), by_user.rows("items")[0] | {"item_id": "w99", "title": "New"}]
    who = by_user.rows("requests")[-1]["request_id"]
    ghost = by_user.changed(
        "targets", lambda row: row | ({"items": ["w99"]} if row["request_id"] == who else {})
    )
    assert not by_user.recipe.split.unseen_targets
    said = by_user.found(ghost | {"items": table_of("items", items)}, by_user.only("retrieval"))
    assert "1 items are in the catalogue and in no visible event" in said


# Places and orders


def pools_in(
    frozen: Frozen, name: str, order: Callable[[str, str, list[str]], list[str]]
) -> Tables:
    """The pools of a track, each in another order, given its split and request."""
    return frozen.changed(
        tables.candidates(name),
        lambda row: row | {"items": order(row["split"], row["request_id"], row["items"])},
    )


@pytest.mark.parametrize("name", ["ranking", "ranking-popular"])
@pytest.mark.parametrize("place", [0, 19])
def test_targets_that_all_stand_at_one_place(frozen: Frozen, name: str, place: int) -> None:
    target = {split: frozen.target_of(split) for split in SPLITS}

    def told(split: str, request: str, items: list[str]) -> list[str]:
        others = [item for item in items if item != target[split][request]]
        return [*others[:place], target[split][request], *others[place:]]

    said = frozen.found(pools_in(frozen, name, told))
    for split in SPLITS:
        for order in range(PERMUTATIONS):
            assert f"{name} {split}: the target's place in order {order} is not uniform" in said


def test_targets_that_stand_first_in_one_of_the_orders(by_user: Frozen) -> None:
    target = by_user.target_of("test")

    def told(row: dict) -> dict:
        if row["split"] != "test" or row["permutation"] != 2:
            return row
        first = target[row["request_id"]]
        return row | {"items": [first, *(item for item in row["items"] if item != first)]}

    said = by_user.found(by_user.changed("candidates-ranking", told))
    assert "ranking test: the target's place in order 2 is not uniform" in said
    assert "ranking test: the target's place in order 0" not in said
    assert "ranking-popular test: the target's place" not in said


def test_targets_that_stand_in_the_first_half_more_often_than_not(by_user: Frozen) -> None:
    """Two times in three: what tempts nobody who looks, and helps whoever keeps the order."""
    target = {split: by_user.target_of(split) for split in SPLITS}
    turn = iter(range(10**6))

    def told(split: str, request: str, items: list[str]) -> list[str]:
        late = items.index(target[split][request]) >= 10
        return items[10:] + items[:10] if late and next(turn) % 3 else items

    said = by_user.found(pools_in(by_user, "ranking", told))
    assert "ranking test: the target's place in order 0 is not uniform" in said


@pytest.mark.parametrize("name", ["ranking", "ranking-popular"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("what", ["ids", "the catalogue"])
def test_pools_in_an_order_that_says_something(
    frozen: Frozen, name: str, what: str, backwards: bool
) -> None:
    row_of = {item: row for row, item in enumerate(frozen.tables["items"]["item_id"].to_pylist())}
    key = row_of.__getitem__ if what == "the catalogue" else str
    said = frozen.found(
        pools_in(frozen, name, lambda *pool: sorted(pool[2], key=key, reverse=backwards))
    )
    for split in SPLITS:
        assert f"{name} {split}: candidates tend to stand in the order of {what}" in said


@pytest.mark.parametrize("backwards", [False, True])
def test_a_catalogue_in_the_order_of_ids(frozen: Frozen, backwards: bool) -> None:
    items = sorted(frozen.rows("items"), key=lambda row: row["item_id"], reverse=backwards)
    assert "items stand in the order of their ids" in frozen.found(
        {"items": table_of("items", items)}
    )
    # It is noticed where there are no pools to make again, too.
    said = frozen.found({"items": table_of("items", items)}, frozen.only("retrieval"))
    assert said.endswith(": items stand in the order of their ids")


# Pools that follow from something else


@pytest.mark.parametrize("name", ["ranking", "ranking-popular", "reranking"])
@pytest.mark.parametrize("split", SPLITS)
def test_one_candidate_of_one_pool_that_was_drawn_otherwise(
    frozen: Frozen, name: str, split: str
) -> None:
    target = frozen.target_of(split)
    rows = frozen.rows(tables.candidates(name))
    asked = {(row["split"], row["request_id"]): row for row in frozen.rows("requests")}
    row = [row for row in rows if row["split"] == split][-1]
    who = row["request_id"]
    known = {*row["items"], *asked[split, who]["history"], target[who]}
    ids = frozen.tables["items"]["item_id"].to_pylist()
    other = next(item for item in ids if item not in known)
    old = next(item for item in row["items"] if item != target[who])
    changed = [
        one | {"items": [other if item == old else item for item in one["items"]]}
        if (one["split"], one["request_id"]) == (split, who) else one
        for one in rows
    ]  # fmt: skip
    said = frozen.found({tables.candidates(name): table_of(tables.candidates(name), changed)})
    assert f"{name} {split}: pools are not those that the visible events give" in said


def test_orders_that_are_all_the_same(by_user: Frozen) -> None:
    first = {
        (row["split"], row["request_id"]): row["items"]
        for row in by_user.rows("candidates-ranking")
        if row["permutation"] == 0
    }
    said = by_user.found(pools_in(by_user, "ranking", lambda split, who, _: first[split, who]))
    assert "ranking test: pools are not those that the visible events give" in said


def test_pools_of_one_request_given_to_another(by_user: Frozen) -> None:
    """Right in themselves, but drawn with the key of somebody else."""
    asked = [row for row in by_user.rows("requests") if row["split"] == "test"]
    seen = {row["request_id"]: {*row["history"]} for row in asked}
    target = by_user.target_of("test")
    pools: dict[str, dict[int, list[str]]] = {}
    for row in by_user.rows("candidates-ranking"):
        if row["split"] == "test":
            pools.setdefault(row["request_id"], {})[row["permutation"]] = row["items"]
    one, other = next(
        (one, other) for one in target for other in target
        if one != other and not seen[one] & {*pools[other][0]} and target[one] in pools[other][0]
    )  # fmt: skip

    def told(row: dict) -> dict:
        if row["split"] != "test" or row["request_id"] != one:
            return row
        return row | {"items": pools[other][row["permutation"]]}

    said = by_user.found(by_user.changed("candidates-ranking", told))
    assert "ranking test: pools are not those that the visible events give" in said


@pytest.mark.parametrize("name", ["ranking-popular", "reranking"])
def test_pools_that_count_the_test_events(frozen: Frozen, name: str) -> None:
    task = frozen.task()
    log, history = task.log("test"), task.histories("test")
    target = task.targets("test").items[:, 0]
    texts = np.unique(np.array(task.items.texts, object), return_inverse=True)[1]
    users = {user: code for code, user in enumerate(log.user_ids.to_pylist())}
    who = np.array([users[row.user_id] for row in task.requests("test")], np.int32)
    items = len(task.items)

    def made(with_targets: bool) -> list[list[str]]:
        user, item = log.user, log.item
        if with_targets:
            order = np.argsort(np.r_[user, who], kind="stable")  # after all that was before
            user, item = np.r_[user, who][order], np.r_[item, target.astype(np.int32)][order]
        events = np.bincount(item, minlength=items)
        asked = Asked(
            "test", task.request_ids("test").to_pylist(), target, history.items, history.lengths,
            (user, item), events,
        )  # fmt: skip
        pools = pools_of(task.recipe, name, asked, texts)
        return [[task.items.ids[row] for row in pool] for pool in pools.reshape(-1, pools.shape[2])]

    rows = frozen.rows(tables.candidates(name))
    before = [row for row in rows if row["split"] != "test"]
    rows = [row for row in rows if row["split"] == "test"]
    assert [row["items"] for row in rows] == made(with_targets=False)
    told = [row | {"items": pool} for row, pool in zip(rows, made(with_targets=True), strict=True)]
    said = frozen.found({tables.candidates(name): table_of(tables.candidates(name), before + told)})
    assert f"{name} test: pools are not those that the visible events give" in said


# What is shown


@pytest.mark.parametrize("shown", ["all of it", "without years"])
def test_two_candidates_that_are_shown_alike(frozen: Frozen, shown: str) -> None:
    pool = frozen.rows("candidates-ranking")[0]["items"]
    items = {row["item_id"]: row for row in frozen.rows("items")}
    alike = {name: items[pool[0]][name] for name in ("title", "year")}
    if shown == "without years":  # the year stands in one title and is the year of the other
        other = {"title": f"{alike['title']} ({alike['year'] or 1990})", "year": None}
        alike |= {"year": alike["year"] or 1990}
    else:
        other = alike
    changes = {pool[0]: alike, pool[1]: other}
    told = frozen.changed("items", lambda row: row | changes.get(row["item_id"], {}))
    assert " pools show two candidates alike" in frozen.found(told)


def test_pools_of_a_first_stage_are_looked_at_for_the_same_text_too(by_user: Frozen) -> None:
    pool = next(row["items"] for row in by_user.rows("candidates-reranking"))
    twin = next(row for row in by_user.rows("items") if row["item_id"] == pool[0])
    alike = {name: twin[name] for name in ("title", "year")}
    told = by_user.changed("items", lambda row: row | (alike if row["item_id"] == pool[1] else {}))
    said = by_user.found(told, by_user.only("retrieval", "reranking"))
    assert "reranking validation: " in said
    assert " pools show two candidates alike" in said


def year_of(frozen: Frozen) -> int:
    times = [row["timestamp"] for row in frozen.rows("requests") if row["split"] == "test"]
    return int(str(np.datetime64(max(times), "s"))[:4])


def said_of_the_first(frozen: Frozen, sentence: str) -> Tables:
    first = frozen.rows("descriptions")[0]["item_id"]
    return frozen.changed(
        "descriptions",
        lambda row: row | ({"text": sentence + row["text"]} if row["item_id"] == first else {}),
    )


@pytest.mark.parametrize(
    "sentence", ["A sequel followed in {}. ", "In {}, all was told. ", "It (1999–{}) won! "]
)
def test_a_description_that_names_a_later_year(frozen: Frozen, sentence: str) -> None:
    last = year_of(frozen)
    told = said_of_the_first(frozen, sentence.format(last + 1))
    assert f"1 descriptions name a year after {last}, the last that is asked about" in frozen.found(
        told
    )
    check_leaks(frozen.task(said_of_the_first(frozen, sentence.format(last))))


def test_descriptions_are_frozen_without_the_sentences_that_the_check_finds() -> None:
    first = RAW.descriptions["text"].to_pylist()
    texts = ["It won a prize in 2090. " + first[0], "Nobody knew in 2091!", *first[2:]]
    place = RAW.descriptions.schema.get_field_index("text")
    descriptions = RAW.descriptions.set_column(place, "text", pa.array(texts))
    made = Frozen(TOY, RawData(RAW.log, RAW.items, descriptions))
    check_leaks(made.task())
    assert made.counts["descriptions_without_sentences_of_the_future"] == 2
    assert made.tables["descriptions"].num_rows == len(first) - 1
    assert first[0] in made.tables["descriptions"]["text"].to_pylist()


# Ids


def in_a_row(name: Callable[[int], str], share: float = 1.0) -> RawData:
    """Sixty users who each go through a part of a long shelf, whose ids say where they are."""
    rng = np.random.default_rng(5)
    events = []
    for user in range(60):
        start = int(rng.integers(0, 50))
        shelf = list(range(start, start + 6))
        if user >= share * 60:
            shelf = rng.choice(60, 6, replace=False).tolist()
        events += [
            (f"u{user:02}", name(int(item)), 1_000_000 + 100 * user + step, None)
            for step, item in enumerate(shelf)
        ]
    log = pa.table(dict(zip(LOG_SCHEMA.names, map(list, zip(*events, strict=True)), strict=True)))
    items = [
        {"item_id": name(item), "title": f"Book {item}", "year": None, "categories": [],
         "creators": []}
        for item in range(60)
    ]  # fmt: skip
    return RawData(log.cast(LOG_SCHEMA), table_of("items", items))


SHORT = msgspec.structs.replace(
    TOY,
    tracks={
        "retrieval": TOY.tracks["retrieval"],
        "ranking": msgspec.structs.replace(
            TOY.tracks["ranking"],
            negatives=msgspec.structs.replace(TOY.tracks["ranking"].negatives, size=5),
        ),
    },
)

NAMES: dict[str, Callable[[int], str]] = {
    "numbers": lambda item: str(item + 5),  # 9 is followed by 10
    "padded numbers": lambda item: f"{item:07}",
    "words": lambda item: f"book-{item:03}",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_ids_numbered_in_the_order_of_events(name: Callable[[int], str]) -> None:
    made = Frozen(SHORT, in_a_row(name))
    asked = len(made.target_of("test"))
    assert next_ids(made.task()) == asked
    said = made.found()
    assert f"{asked} of {asked} test targets bear the id after that of the last item" in said
    assert 'known_leaks = ["consecutive-ids"]' in said
    check_leaks(made.task(recipe=msgspec.structs.replace(SHORT, known_leaks=["consecutive-ids"])))


def test_a_known_leak_excuses_no_other() -> None:
    recipe = msgspec.structs.replace(SHORT, known_leaks=["consecutive-ids"])
    made = Frozen(recipe, in_a_row(NAMES["numbers"]))
    said = made.found(made.changed("interactions", lambda row: row | {"part": "train"}))
    assert "validation targets stand among the visible events" in said
    assert "bear the id after" not in said


def test_a_third_of_the_users_is_enough_to_give_ids_away_and_a_tenth_is_not() -> None:
    few = Frozen(SHORT, in_a_row(NAMES["numbers"], share=0.1))
    check_leaks(few.task())
    assert "bear the id after" in Frozen(SHORT, in_a_row(NAMES["numbers"], share=0.34)).found()


# Everything at once, and on the command line


def test_all_that_is_given_away_is_told_in_one_go(by_user: Frozen) -> None:
    items = sorted(by_user.rows("items"), key=lambda row: row["item_id"])
    told = by_user.changed("interactions", lambda row: row | {"part": "train"})
    told |= said_of_the_first(by_user, "So it was in 2099. ") | {"items": table_of("items", items)}
    said = by_user.found(told)
    for what in ("stand among the visible", "order of their ids", "name a year after"):
        assert what in said


RECIPE = """
id = "shelf-v1"
title = "A shelf"
description = "Readers who go along a shelf."
domain = "books"
salt = "shelf"
lifecycle = "draft"
{more}

[source]
reader = "table"

[source.log]
file = "events.csv"
columns = {{ user_id = "who", item_id = "what", timestamp = "when" }}

[split]
rule = "leave-one-out"

[licence]
name = "none"
url = "https://example.org"
redistribute = true

[tracks.retrieval]
metrics = ["ndcg@10"]
"""


def shelf(folder: Path, name: Callable[[int], str], more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "task.toml").write_text(RECIPE.format(more=more), "utf-8")
    log = in_a_row(name).log.to_pylist()
    lines = [f"{row['user_id']},{row['item_id']},{row['timestamp']}\n" for row in log]
    (folder / "events.csv").write_text("who,what,when\n" + "".join(lines), "utf-8")
    return folder


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", [None, "elsewhere"])
def test_freeze_refuses_a_leaking_task_and_writes_nothing(bench, tmp_path, out) -> None:
    folder = shelf(tmp_path / "shelf", NAMES["numbers"])
    before = files(tmp_path)
    more = ["--out", out] if out else []
    code, printed, said = bench("freeze", folder, "--raw", folder, *more)
    assert (code, printed) == (3, "")
    assert "shelf-v1 gives away what it hides: 59 of 59 test targets bear the id after" in said
    assert files(tmp_path) == before
    assert not default_home().exists()
    assert "shelf-v1" not in bench("tasks")[1]


def test_freeze_leaves_an_earlier_sound_task_alone_where_the_new_one_leaks(bench, tmp_path) -> None:
    folder = shelf(tmp_path / "shelf", lambda item: str(item * 37 % 61))
    assert bench("freeze", folder, "--raw", folder)[0] == 0
    before = files(default_home()) | files(folder)
    shelf(folder, NAMES["numbers"])
    changed = files(folder)
    code, _, said = bench("freeze", folder, "--raw", folder, "--replace")
    assert code == 3, said
    assert files(default_home()) | files(folder) == before | changed
    assert bench("tasks", "shelf-v1")[0] == 0


def test_freeze_takes_a_leak_that_the_recipe_knows_and_the_card_says_so(bench, tmp_path) -> None:
    folder = shelf(tmp_path / "shelf", NAMES["numbers"], 'known_leaks = ["consecutive-ids"]')
    code, _, said = bench("freeze", folder, "--raw", folder)
    assert code == 0, said
    card = (default_home() / "tasks" / "shelf-v1" / "README.md").read_text("utf-8")
    assert "Ids of items follow the order of events" in card
    assert "| test targets whose id is the next one after that of the last item" in card


def test_a_leak_that_nobody_knows_is_no_field_of_a_recipe(bench, tmp_path) -> None:
    folder = shelf(tmp_path / "shelf", NAMES["numbers"], 'known_leaks = ["everything"]')
    code, _, said = bench("freeze", folder, "--raw", folder)
    assert code == 3
    assert "known_leaks" in said
