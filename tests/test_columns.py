"""Tables read by columns: their digests however they are kept, and what is made of them."""

from __future__ import annotations

import struct
from collections import Counter
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm4rec_bench import Task, TaskDataError
from llm4rec_bench.task import frozen, tables
from llm4rec_bench.task.tables import content_digest, read_columns, read_table

# Digests


NUMBERS = {
    pa.int8(): "b", pa.int32(): "i", pa.int64(): "q", pa.float32(): "f", pa.float64(): "d",
    pa.bool_(): "?",
}  # fmt: skip


def encoded(values: list[Any], kind: pa.DataType) -> bytes:
    """A column in the canonical encoding, value by value."""
    valid = bytes(value is not None for value in values)
    if pa.types.is_list(kind):
        lists = [value or [] for value in values]
        lengths = b"".join(struct.pack("<q", len(cells)) for cells in lists)
        return (
            valid + lengths + encoded([cell for cells in lists for cell in cells], kind.value_type)
        )
    if pa.types.is_string(kind):
        texts = [(value or "").encode() for value in values]
        return valid + b"".join(struct.pack("<q", len(text)) for text in texts) + b"".join(texts)
    known = [0 if value is None else value for value in values]
    return valid + struct.pack(f"<{len(known)}{NUMBERS[kind]}", *known)


def named(kind: pa.DataType) -> str:
    return f"list<{named(kind.value_type)}>" if pa.types.is_list(kind) else str(kind)


def digest_by_hand(rows: int, columns: dict[str, list[Any]], kinds: dict[str, pa.DataType]) -> str:
    hashed = sha256(f"llm4rec-bench table {rows}\n".encode())
    for name, values in columns.items():
        hashed.update(f"{name} {named(kinds[name])}\n".encode() + encoded(values, kinds[name]))
    return f"sha256:{hashed.hexdigest()}"


texts = st.text(st.sampled_from("aé東🙂\0\n"), max_size=4)
CELLS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), texts),
    "small": (pa.int8(), st.integers(-128, 127)),
    "year": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "time": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "rating": (pa.float32(), st.floats(width=32)),
    "wide": (pa.float64(), st.floats()),
    "tied": (pa.bool_(), st.booleans()),
    "ids": (pa.list_(pa.string()), st.lists(st.none() | texts, max_size=3)),
    "flags": (pa.list_(pa.bool_()), st.lists(st.none() | st.booleans(), max_size=3)),
    "pairs": (
        pa.list_(pa.list_(pa.int8())),
        st.lists(st.lists(st.just(5), max_size=2) | st.none()),
    ),
}
KINDS = {name: kind for name, (kind, _) in CELLS.items()}


@st.composite
def columns(draw: st.DrawFn) -> tuple[int, dict[str, list[Any]]]:
    rows = draw(st.integers(0, 9))
    names = draw(st.lists(st.sampled_from(list(CELLS)), unique=True, min_size=1, max_size=4))
    with_nulls = draw(st.booleans())
    made = {}
    for name in names:
        cell = CELLS[name][1]
        cells = cell | st.none() if with_nulls else cell
        made[name] = draw(st.lists(cells, min_size=rows, max_size=rows))
    return rows, made


def chunked(values: list[Any], kind: pa.DataType, cuts: list[int]) -> pa.ChunkedArray:
    """A column in chunks; some begin inside their memory, none is longer than its values."""
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    whole = pa.array(values + values, kind)
    chunks = [
        whole.slice(first + len(values) * (number % 2), last - first)
        for number, (first, last) in enumerate(pairwise(bounds))
    ]
    return pa.chunked_array(chunks, kind)


@settings(max_examples=200)
@given(columns(), st.lists(st.integers(0, 9), max_size=4), st.integers(1, 4))
@example((0, {"ids": [], "text": [], "tied": []}), [], 1)
@example((2, {"ids": [None, []], "text": [None, ""], "flags": [[], [None]]}), [1], 1)
@example((3, {"tied": [None, True, False], "ids": [["", None], None, ["a"]]}), [1, 2], 2)
def test_a_digest_is_that_of_the_values_however_they_are_kept(
    made: tuple[int, dict[str, list[Any]]], cuts: list[int], together: int
) -> None:
    rows, values = made
    expected = digest_by_hand(rows, values, KINDS)
    schema = pa.schema([(name, KINDS[name]) for name in values])
    whole = pa.table(values, schema=schema)
    in_chunks = pa.table(
        [chunked(values[name], KINDS[name], cuts) for name in values], schema=schema
    )
    around = pa.concat_tables([whole, whole, whole]).combine_chunks().slice(rows, rows)
    variants = [whole, in_chunks, in_chunks.combine_chunks(), around, pa.concat_tables([whole])]
    assert [content_digest(table) for table in variants] == [expected] * len(variants)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "_TOGETHER", together)
        assert [content_digest(table) for table in variants] == [expected] * len(variants)


def test_columns_without_a_chunk_are_those_of_an_empty_table() -> None:
    for name, schema in tables.SCHEMAS.items():
        kinds = dict(zip(schema.names, schema.types, strict=True))
        expected = digest_by_hand(0, {column: [] for column in kinds}, kinds)
        none = pa.table([pa.chunked_array([], kind) for kind in schema.types], schema=schema)
        assert content_digest(schema.empty_table()) == expected, name
        assert content_digest(none) == expected, name


def test_what_a_null_hides_does_not_reach_the_digest() -> None:
    def hiding(values: pa.Array) -> pa.Array:
        buffers = values.buffers()
        return pa.Array.from_buffers(values.type, 2, [pa.py_buffer(b"\1"), *buffers[1:]])

    for seen, hidden, kind in [
        ("a", "b", pa.string()),
        (1, 2, pa.int64()),
        (1.0, 2.0, pa.float32()),
    ]:
        table = pa.table({"x": hiding(pa.array([seen, hidden], kind))})
        assert table["x"].to_pylist() == [seen, None]
        assert content_digest(table) == digest_by_hand(2, {"x": [seen, None]}, {"x": kind})
    cells = pa.array(["a", "b", "c"])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3]), cells, mask=pa.array([False, True]))
    assert content_digest(pa.table({"x": lists})) == digest_by_hand(
        2, {"x": [["a"], None]}, {"x": pa.list_(pa.string())}
    )


def test_the_digests_of_the_toy_task_are_those_made_by_hand(toy: Task) -> None:
    for name, entry in toy.manifest.tables.items():
        schema = tables.schema(name)
        values = pq.read_table(tables.parquet_path(toy.folder, name)).to_pydict()
        kinds = dict(zip(schema.names, schema.types, strict=True))
        rows = len(values[schema.names[0]])
        assert digest_by_hand(rows, values, kinds) == entry.digest, name


# Columns


ITEMS = pa.table(
    {
        "item_id": ["b", "a", "é"],
        "title": ["B", None, "É"],
        "year": [1999, None, 2001],
        "categories": [["x", "y"], [], None],
        "creators": [None, ["z"], []],
    },
    schema=tables.SCHEMAS[tables.ITEMS],
)
DIGEST = content_digest(ITEMS)


def as_it_is(column: pa.ChunkedArray) -> list[Any]:
    return list(column.to_pylist())


def kept(folder: Path, table: pa.Table, **options: Any) -> Path:
    """A folder that holds these items."""
    path = tables.parquet_path(folder, tables.ITEMS)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return folder


@pytest.mark.parametrize("digest", [DIGEST, None], ids=["checked", "unchecked"])
def test_columns_are_given_in_the_order_of_the_table(tmp_path: Path, digest: str | None) -> None:
    asked = dict.fromkeys(["creators", "item_id", "year"], as_it_is)
    found = read_columns(kept(tmp_path, ITEMS), tables.ITEMS, digest, asked)
    assert list(found.items()) == [
        (name, ITEMS[name].to_pylist()) for name in sorted(asked, key=ITEMS.column_names.index)
    ]


def test_of_no_column_nothing_is_made_but_all_are_checked(tmp_path: Path) -> None:
    assert read_columns(kept(tmp_path, ITEMS), tables.ITEMS, DIGEST, {}) == {}
    with pytest.raises(TaskDataError, match="differs from the frozen one"):
        read_columns(tmp_path, tables.ITEMS, DIGEST.replace("a", "b"), {})


@pytest.mark.parametrize(
    "options",
    [{"row_group_size": 1}, {"use_dictionary": False}, {"compression": "gzip"}, {"version": "1.0"}],
    ids=str,
)
def test_how_parquet_keeps_a_table_makes_no_difference(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    assert read_table(kept(tmp_path, ITEMS, **options), tables.ITEMS, DIGEST).equals(ITEMS)


@pytest.mark.parametrize("name", ITEMS.column_names)
def test_a_changed_value_is_refused_whatever_column_is_asked_for(tmp_path: Path, name: str) -> None:
    place = ITEMS.column_names.index(name)
    moved = ITEMS[name].take([1, 0, 2])
    kept(tmp_path, ITEMS.set_column(place, ITEMS.schema.field(name), moved))
    for asked in ITEMS.column_names:
        with pytest.raises(
            TaskDataError, match=r"items\.parquet: table items differs from"
        ) as caught:
            read_columns(tmp_path, tables.ITEMS, DIGEST, {asked: as_it_is})
        assert DIGEST in str(caught.value)


CHANGED = {
    "a name": ITEMS.rename_columns(["item_id", "title", "Year", "categories", "creators"]),
    "a column less": ITEMS.drop_columns(["year"]),
    "a column more": ITEMS.append_column("more", ITEMS["year"]),
    "the order": ITEMS.select(["title", "item_id", "year", "categories", "creators"]),
    "a name twice": ITEMS.rename_columns(["item_id", "item_id", "year", "categories", "creators"]),
    "no column": ITEMS.select([]),
}


@pytest.mark.parametrize("digest", [DIGEST, None], ids=["checked", "unchecked"])
@pytest.mark.parametrize("table", CHANGED.values(), ids=CHANGED)
def test_changed_columns_are_refused(tmp_path: Path, table: pa.Table, digest: str | None) -> None:
    kept(tmp_path, table)
    with pytest.raises(TaskDataError, match=r"its columns are.*download the task again") as caught:
        read_columns(tmp_path, tables.ITEMS, digest, {"item_id": as_it_is})
    assert str(tables.parquet_path(tmp_path, tables.ITEMS)) in str(caught.value)


@pytest.mark.parametrize(
    "table", [ITEMS.slice(1), pa.concat_tables([ITEMS, ITEMS]), ITEMS.slice(0, 0)]
)
def test_other_rows_are_refused(tmp_path: Path, table: pa.Table) -> None:
    kept(tmp_path, table)
    with pytest.raises(TaskDataError, match="differs from the frozen one"):
        read_columns(tmp_path, tables.ITEMS, DIGEST, {})


def test_values_that_are_not_of_their_columns_type_are_refused(tmp_path: Path) -> None:
    years = pa.array(["1999", "soon", None])
    kept(tmp_path, ITEMS.set_column(2, "year", years))
    with pytest.raises(TaskDataError, match="cannot be read as Parquet"):
        read_columns(tmp_path, tables.ITEMS, DIGEST, {})


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(99) + b"PAR1", b"text\n" * 40])
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tables.parquet_path(kept(tmp_path, ITEMS), tables.ITEMS)
    path.write_bytes(data)
    with pytest.raises(TaskDataError, match="cannot be read as Parquet"):
        read_columns(tmp_path, tables.ITEMS, DIGEST, {})


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(TaskDataError, match="no such file; download the task again"):
        read_columns(tmp_path, tables.ITEMS, DIGEST, {})


# What a split may see


def rows_of(toy: Task, table: str) -> list[dict[str, Any]]:
    return list(pq.read_table(tables.parquet_path(toy.folder, table)).to_pylist())


@pytest.mark.parametrize("together", [1 << 18, 1, 977])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_what_a_split_may_see_is_that_of_a_plain_computation(
    toy: Task, split: str, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "_TOGETHER", together)
    visible = Task(toy.recipe, toy.manifest, toy.folder).visible(split)
    seen = [
        event
        for event in rows_of(toy, tables.INTERACTIONS)
        if split == "test" or event["part"] == "train"
    ]
    times = Counter(event["item_id"] for event in seen)
    items = [row["item_id"] for row in rows_of(toy, tables.ITEMS)]
    assert visible.events.tolist() == [times[item] for item in items]
    last: dict[str, int] = {}
    for event in seen:
        last[event["user_id"]] = max(event["timestamp"], last.get(event["user_id"], 0))
    pauses = [
        row["timestamp"] - last[row["user_id"]]
        for row in rows_of(toy, tables.REQUESTS)
        if row["split"] == split
    ]
    assert visible.pause.tolist() == pauses
    assert 0 < sum(times.values()) <= len(rows_of(toy, tables.INTERACTIONS))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_columns_of_a_split_are_those_of_its_rows(toy: Task, split: str) -> None:
    fresh = Task(toy.recipe, toy.manifest, toy.folder)
    asked = [row for row in rows_of(toy, tables.REQUESTS) if row["split"] == split]
    wanted = [row for row in rows_of(toy, tables.TARGETS) if row["split"] == split]
    row_of = {row["item_id"]: place for place, row in enumerate(rows_of(toy, tables.ITEMS))}
    assert fresh.request_ids(split).to_pylist() == [row["request_id"] for row in asked]
    histories = fresh.histories(split)
    assert histories.lengths.tolist() == [len(row["history"]) for row in asked]
    assert histories.items.tolist() == [row_of[item] for row in asked for item in row["history"]]
    targets = fresh.targets(split)
    assert [[row for row in cells if row >= 0] for cells in targets.items.tolist()] == [
        [row_of[item] for item in row["items"]] for row in wanted
    ]
    assert targets.tied.tolist() == [row["tied"] for row in wanted]
