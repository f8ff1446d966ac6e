"""Freezing: one task whatever the order of the rows, and no trace of what is hidden."""

from __future__ import annotations

import json
import struct
from hashlib import sha256

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy import stats

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.freeze import differing_tables, digests_of, freeze, manifest_of, write_tables
from llm4rec_bench.pools import PERMUTATIONS
from llm4rec_bench.sources import RawData, generate_toy
from llm4rec_bench.split import GlobalTime
from llm4rec_bench.store import recipes_folder
from llm4rec_bench.task import Task, read_recipe, tables

RECIPE = read_recipe(recipes_folder() / "toy-v1")
RAW = generate_toy(RECIPE.source.seed)
BY_TIME = msgspec.structs.replace(RECIPE, split=GlobalTime(0.8, 0.65, 3))
RECIPES = [RECIPE, BY_TIME]


def digests(recipe, raw) -> dict[str, str]:
    frozen, counts = freeze(recipe, raw)
    return {
        name: entry.digest for name, entry in manifest_of(recipe, frozen, counts).tables.items()
    }


def shuffled(table: pa.Table, seed: int) -> pa.Table:
    return table.take(pa.array(np.random.default_rng(seed).permutation(table.num_rows)))


def rows(table: pa.Table, split: str) -> list[dict]:
    return table.filter(pc.equal(table["split"], split)).to_pylist()


@pytest.fixture(scope="module", params=RECIPES, ids=["leave-one-out", "global-time"])
def frozen(request) -> dict[str, pa.Table]:
    return freeze(request.param, RAW)[0]


@pytest.mark.parametrize("recipe", RECIPES, ids=["leave-one-out", "global-time"])
@pytest.mark.parametrize("seed", [1, 2])
def test_shuffled_input_rows_freeze_to_the_same_digests(recipe, seed: int) -> None:
    raw = RawData(
        shuffled(RAW.log, seed), shuffled(RAW.items, seed), shuffled(RAW.descriptions, seed)
    )
    assert digests(recipe, raw) == digests(recipe, RAW)


def test_digests_are_those_of_the_rows_not_of_the_file(tmp_path) -> None:
    table = freeze(RECIPE, RAW)[0][tables.REQUESTS]
    expected = tables.content_digest(table)
    (tmp_path / "data").mkdir()
    for options in (
        {"compression": "snappy"},
        {"compression": "gzip", "row_group_size": 7, "use_dictionary": False},
        {"version": "1.0", "use_compliant_nested_type": False, "store_schema": False},
    ):
        pq.write_table(table, tmp_path / "data" / "requests.parquet", **options)
        tables.read_table(tmp_path, "requests", expected)  # raises where it differs
    chunked = pa.concat_tables([table.slice(0, 5), table.slice(5)])
    assert tables.content_digest(chunked) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["", None], [None, ""]),
        (["a"], ["a", ""]),
        (["é"], ["e\u0301"]),
    ],
)
def test_different_strings_have_different_digests(one, other) -> None:
    assert tables.content_digest(pa.table({"x": pa.array(one, pa.string())})) != (
        tables.content_digest(pa.table({"x": pa.array(other, pa.string())}))
    )


def test_lists_nulls_and_names_count_in_a_digest() -> None:
    kinds = pa.list_(pa.string())
    variants = [
        pa.table({"x": pa.array([["a"], ["b"]], kinds)}),
        pa.table({"x": pa.array([["a", "b"], []], kinds)}),
        pa.table({"x": pa.array([["a", "b"], None], kinds)}),
        pa.table({"y": pa.array([["a"], ["b"]], kinds)}),
        pa.table({"x": pa.array([1, 0])}),
        pa.table({"x": pa.array([1, None])}),
        pa.table({"x": pa.array([1, None], pa.int32())}),
        pa.table({"x": pa.array([True, None])}),
    ]
    assert len({tables.content_digest(table) for table in variants}) == len(variants)


def test_the_encoding_is_the_documented_one() -> None:
    table = pa.table(
        {
            "id": pa.array(["a", None, "ü"]),
            "n": pa.array([1, None, -3], pa.int64()),
            "x": pa.array([0.5, None, 2.0], pa.float32()),
            "l": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
            "b": pa.array([True, None, False]),
        }
    )
    by_hand = b"".join(
        [
            b"llm4rec-bench table 3\n",
            *(b"id string\n", b"\1\0\1", struct.pack("<3q", 1, 0, 2), "aü".encode()),
            *(b"n int64\n", b"\1\0\1", struct.pack("<3q", 1, 0, -3)),
            *(b"x float\n", b"\1\0\1", struct.pack("<3f", 0.5, 0, 2.0)),
            *(b"l list<string>\n", b"\1\1\0", struct.pack("<3q", 2, 0, 0)),
            *(b"\1\1", struct.pack("<2q", 1, 1), b"ab"),
            *(b"b bool\n", b"\1\0\1", b"\1\0\0"),
        ]
    )
    assert tables.content_digest(table) == f"sha256:{sha256(by_hand).hexdigest()}"


def test_seen_items_are_never_candidates_and_the_target_always_is(frozen) -> None:
    for split in ("validation", "test"):
        requests = {row["request_id"]: row for row in rows(frozen[tables.REQUESTS], split)}
        targets = {row["request_id"]: row["items"] for row in rows(frozen[tables.TARGETS], split)}
        for track in ("ranking", "ranking-popular"):
            pools = rows(frozen[tables.candidates(track)], split)
            assert len(pools) == PERMUTATIONS * len(requests)
            for pool in pools:
                request = requests[pool["request_id"]]
                assert not set(pool["items"]) & set(request["history"])
                assert set(targets[pool["request_id"]]) < set(pool["items"])
                assert len(set(pool["items"])) == 20


def test_permutations_hold_the_same_items_in_other_orders(frozen) -> None:
    pools = frozen[tables.candidates("ranking")].to_pylist()
    for first in range(0, len(pools), PERMUTATIONS):
        three = pools[first : first + PERMUTATIONS]
        assert [pool["permutation"] for pool in three] == [0, 1, 2]
        assert len({tuple(pool["items"]) for pool in three}) == PERMUTATIONS
        assert len({frozenset(pool["items"]) for pool in three}) == 1


def test_no_two_candidates_show_the_same_text() -> None:
    # Every second film gets the title and year of its neighbour.
    titles, years = RAW.items["title"].to_pylist(), RAW.items["year"].to_pylist()
    twins = [titles[n - n % 2] for n in range(len(titles))]
    same = [years[n - n % 2] for n in range(len(years))]
    items = RAW.items.set_column(1, "title", pa.array(twins))
    items = items.set_column(2, "year", pa.array(same, pa.int32()))
    negatives = msgspec.structs.replace(RECIPE.tracks["ranking"].negatives, size=8)
    track = msgspec.structs.replace(RECIPE.tracks["ranking"], negatives=negatives)
    recipe = msgspec.structs.replace(RECIPE, tracks={"ranking": track})
    frozen, _ = freeze(recipe, RawData(RAW.log, items))
    text = dict(zip(RAW.items["item_id"].to_pylist(), zip(twins, same, strict=True), strict=True))
    for pool in frozen[tables.candidates("ranking")].to_pylist():
        assert len({text[item] for item in pool["items"]}) == len(pool["items"])


def test_test_events_stand_in_no_table_but_targets(frozen) -> None:
    events = {(row["user_id"], row["item_id"]) for row in frozen["interactions"].to_pylist()}
    users = {row["request_id"]: row["user_id"] for row in rows(frozen["requests"], "test")}
    for row in rows(frozen["targets"], "test"):
        for item in row["items"]:
            assert (users[row["request_id"]], item) not in events
    assert set(frozen["interactions"]["part"].to_pylist()) == {"train", "validation"}


def test_histories_are_what_the_split_may_see_oldest_first(frozen) -> None:
    events = frozen["interactions"].to_pylist()
    for split, parts in (("validation", {"train"}), ("test", {"train", "validation"})):
        expected: dict[str, list[str]] = {}
        for event in events:  # in time order
            if event["part"] in parts:
                expected.setdefault(event["user_id"], []).append(event["item_id"])
        for row in rows(frozen["requests"], split):
            assert row["history"] == expected[row["user_id"]]


def test_interactions_are_in_time_order(frozen) -> None:
    times = frozen["interactions"]["timestamp"].to_pylist()
    assert times == sorted(times)


def test_global_time_publishes_nothing_of_the_future() -> None:
    frozen, counts = freeze(BY_TIME, RAW)
    cut = counts["cut_test"]
    assert max(frozen["interactions"]["timestamp"].to_pylist()) < cut
    seen = set(frozen["interactions"]["item_id"].to_pylist())
    assert set(frozen["items"]["item_id"].to_pylist()) == seen
    # Events after each user's first one past the cut may be anything: nothing changes.
    log = RAW.log.to_pylist()
    first: dict[str, int] = {}
    kept = []
    for event in sorted(log, key=lambda event: event["timestamp"]):
        when = event["timestamp"]
        if when < cut or when <= first.setdefault(event["user_id"], when):
            kept.append(event)
    later = len(log) - len(kept)
    assert later > 50
    filler = [{**kept[-1], "user_id": f"new{n}", "timestamp": cut + n} for n in range(later)]
    changed = pa.Table.from_pylist(kept + filler, schema=RAW.log.schema)
    again, _ = freeze(BY_TIME, RawData(changed, RAW.items))
    for name in ("interactions", "items"):
        assert again[name].equals(frozen[name])
    users = {row["user_id"] for row in rows(frozen["requests"], "test")}
    for name in ("requests", "targets", tables.candidates("ranking")):
        mine = [row for row in rows(again[name], "test") if row["request_id"] in users]
        assert mine == rows(frozen[name], "test")


def test_targets_stand_anywhere_in_the_frozen_pools() -> None:
    frozen, _ = freeze(RECIPE, RAW)
    for track in ("ranking", "ranking-popular"):
        for permutation in range(PERMUTATIONS):
            pools = frozen[tables.candidates(track)]
            pools = pools.filter(pc.equal(pools["permutation"], permutation)).to_pylist()
            targets = frozen["targets"].to_pylist()
            places = [
                pool["items"].index(target["items"][0])
                for pool, target in zip(pools, targets, strict=True)
            ]
            assert stats.chisquare(np.bincount(places, minlength=20)).pvalue > 1e-3


def test_item_order_tells_nothing_of_popularity() -> None:
    frozen, _ = freeze(RECIPE, RAW)
    counts = frozen["interactions"]["item_id"].value_counts().to_pylist()
    events = {row["values"]: row["counts"] for row in counts}
    popularity = [events[item] for item in frozen["items"]["item_id"].to_pylist()]
    assert stats.kendalltau(range(len(popularity)), popularity).pvalue > 0.01


def test_ids_are_kept_to_the_letter() -> None:
    renamed = pc.binary_join_element_wise("00", RAW.log["item_id"], "")
    log = RAW.log.set_column(1, "item_id", renamed)
    ids = pc.binary_join_element_wise("00", RAW.items["item_id"], "")
    frozen, _ = freeze(RECIPE, RawData(log, RAW.items.set_column(0, "item_id", ids)))
    assert all(item.startswith("00w") for item in frozen["items"]["item_id"].to_pylist())


def test_adding_a_track_or_texts_leaves_other_tracks_digests_alone() -> None:
    frozen, counts = freeze(RECIPE, RAW)
    full = manifest_of(RECIPE, frozen, counts)
    fewer = {name: track for name, track in RECIPE.tracks.items() if name != "ranking-popular"}
    recipe = msgspec.structs.replace(RECIPE, tracks=fewer)
    frozen, counts = freeze(recipe, RawData(RAW.log, RAW.items))
    small = manifest_of(recipe, frozen, counts)
    assert small.tracks == {name: full.tracks[name] for name in fewer}
    assert differing_tables(small, full) == ["candidates-ranking-popular", "descriptions"]


def test_a_track_digest_covers_what_decides_its_score() -> None:
    frozen, counts = freeze(RECIPE, RAW)
    before = manifest_of(RECIPE, frozen, counts)
    assert digests_of(RECIPE, frozen, counts).tracks == before.tracks
    for name in ("interactions", "items", "requests", "targets", "candidates-ranking"):
        changed = frozen | {name: frozen[name].slice(1)}
        assert digests_of(RECIPE, changed, counts).tracks["ranking"] != before.tracks["ranking"]


def test_pools_larger_than_the_catalogue_are_refused() -> None:
    negatives = msgspec.structs.replace(RECIPE.tracks["ranking"].negatives, size=48)
    track = msgspec.structs.replace(RECIPE.tracks["ranking"], negatives=negatives)
    recipe = msgspec.structs.replace(RECIPE, tracks={"ranking": track})
    with pytest.raises(TaskDataError, match="make the pools smaller"):
        freeze(recipe, RAW)


@pytest.mark.parametrize("name", ["retrieval", "ranking"])
def test_a_task_of_one_track_is_whole(name: str, tmp_path) -> None:
    recipe = msgspec.structs.replace(RECIPE, tracks={name: RECIPE.tracks[name]})
    frozen, counts = freeze(recipe, RAW)
    manifest = manifest_of(recipe, frozen, counts)
    write_tables(tmp_path, frozen)
    task = Task(recipe, manifest, tmp_path)
    task.verify()
    assert [*manifest.tracks] == [name]
    assert (task.requests("test")[0].candidates, len(task.requests("test"))) == (None, 300)


def test_filters_that_leave_nothing_are_refused() -> None:
    filters = msgspec.structs.replace(RECIPE.filters, min_rating=9.0)
    with pytest.raises(TaskDataError, match="leave no interaction"):
        freeze(msgspec.structs.replace(RECIPE, filters=filters), RAW)


def test_every_load_notices_a_changed_cell(tmp_path) -> None:
    frozen, counts = freeze(RECIPE, RAW)
    manifest = manifest_of(RECIPE, frozen, counts)
    write_tables(tmp_path, frozen)
    Task(RECIPE, manifest, tmp_path).verify()
    for name, table in frozen.items():
        path = tables.parquet_path(tmp_path, name)
        whole = path.read_bytes()
        swapped = pa.concat_tables([table.slice(1), table.slice(0, 1)])
        tables.write_table(path, swapped)
        with pytest.raises(TaskDataError, match=f"table {name} differs"):
            Task(RECIPE, manifest, tmp_path).verify()
        path.write_bytes(whole[:-100])
        with pytest.raises(TaskDataError, match="cannot be read as Parquet"):
            Task(RECIPE, manifest, tmp_path).verify()
        path.unlink()
        task = Task(RECIPE, manifest, tmp_path)
        if name == "descriptions":
            task.verify()  # only what reads them needs them
            assert task.lacks_descriptions
        else:
            with pytest.raises(TaskDataError, match="no such file"):
                task.verify()
        path.write_bytes(whole)


def test_writing_replaces_the_whole_folder_or_nothing(tmp_path, monkeypatch) -> None:
    frozen, _ = freeze(RECIPE, RAW)
    write_tables(tmp_path, frozen)
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    real, written = tables.write_table, []

    def fails_at_the_third(path, table) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError("disk full")
        real(path, table)

    monkeypatch.setattr(tables, "write_table", fails_at_the_third)
    with pytest.raises(OSError, match="disk full"):
        write_tables(tmp_path, frozen)
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_manifest_is_plain_json() -> None:
    frozen, counts = freeze(RECIPE, RAW)
    manifest = json.loads(msgspec.json.encode(manifest_of(RECIPE, frozen, counts)))
    assert manifest["format"] == "llm4rec-bench/1"
    assert set(manifest["tables"]) == set(frozen)
