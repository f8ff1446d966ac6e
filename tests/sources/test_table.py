"""Anybody's own files: what the reader `table` takes, keeps as it is, and refuses."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec_bench import TaskDataError
from llm4rec_bench.freeze import freeze
from llm4rec_bench.sources import RawData, raw_data
from llm4rec_bench.task import Recipe, read_recipe

Content = str | bytes | pa.Table


def recipe(log: dict[str, Any], items: dict[str, Any] | None = None, **more: Any) -> Recipe:
    """A recipe of one's own data; `more` replaces whole fields."""
    source = {"reader": "table", "log": log} | ({} if items is None else {"items": items})
    fields = {
        "id": "own-v1", "title": "My films", "description": "", "domain": "films", "salt": "own",
        "lifecycle": "draft", "source": source, "split": {"rule": "leave-one-out"},
        "licence": {"name": "mine", "url": "https://example.org/terms", "redistribute": False},
        "tracks": {"retrieval": {"metrics": ["ndcg@10"]}},
    }  # fmt: skip
    return msgspec.convert(fields | more, Recipe)


def write(folder: Path, stem: str, content: Content) -> str:
    """Put a file into a folder; its name."""
    name = f"{stem}.parquet" if isinstance(content, pa.Table) else f"{stem}.csv"
    if isinstance(content, pa.Table):
        pq.write_table(content, folder / name)
    else:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def rules(
    folder: Path,
    log: Content,
    items: Content | None = None,
    has: Sequence[str] = (),
    of_items: dict[str, Any] | None = None,
    **of_log: Any,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Writes both files and says how to read them: `user`, `item` and `time` are the columns.

    `has` names what else the files hold, under our names.
    """
    columns = {"user_id": "user", "item_id": "item", "timestamp": "time"}
    columns |= {name: name for name in has if name == "rating"}
    about = {name: name for name in has if name != "rating"}
    first = {"file": write(folder, "events", log), "columns": columns} | of_log
    if items is None:
        return first, None
    second = {"file": write(folder, "items", items), "columns": {"item_id": "item"} | about}
    return first, second | (of_items or {})


def read(folder: Path, log: Content, items: Content | None = None, **how: Any) -> RawData:
    return raw_data(recipe(*rules(folder, log, items, **how)), folder)


def refused(folder: Path, log: Content, items: Content | None = None, **how: Any) -> str:
    """What is said about files that cannot be read."""
    with pytest.raises(TaskDataError) as error:
        read(folder, log, items, **how)
    said = str(error.value)
    assert said.startswith(f"{folder}: ")
    assert "\n" not in said
    return said.removeprefix(f"{folder}: ")


def as_csv(*rows: Sequence[object], **how: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **how).writerows(rows)
    return text.getvalue()


def events(*rows: Sequence[object]) -> str:
    return as_csv(("user", "item", "time"), *rows)


def pairs(data: RawData) -> list[tuple[str, str]]:
    return list(zip(data.log["user_id"].to_pylist(), data.log["item_id"].to_pylist(), strict=True))


def times(data: RawData) -> list[int]:
    return data.log["timestamp"].to_pylist()


ONE = events(("ann", "1", 5))
TWO = events(("ann", "1", 5), ("bob", "2", 6))
"""Logs of items 1, and of 1 and 2."""

FOUR = events(
    *[("ann", n, 1_500_000_000 + n) for n in range(4)],
    *[("bob", n, 1_500_000_000 - n) for n in range(4)],
)
"""A log of items 0 to 3, in this order and the other way about: nobody's targets are unseen."""


# Ids.

IDS = [
    "007", "7", "7.0", "1e3", "0x1F", "NA", "N/A", "nan", "NULL", "null", "None", "", "true", "inf",
    "2020-01-01", " 7", "7 ", "a,b", 'say "hi"', "'", "#", "two\nlines", "Ünïcødé ☃ 😀",
    "\u00e9", "e\u0301", "-", "+1", "9223372036854775808", "=1+1", "a|b", "a::b", "\\N", "x" * 500,
]  # fmt: skip
"""What data-frame readers change, and what they take for nothing; the empty one is no id."""


def test_ids_are_kept_character_for_character(tmp_path: Path) -> None:
    """Spaces as well: whether they mean anything is not for a reader to say."""
    written = [(name, name, 5) for name in IDS if name]
    found = read(tmp_path, events(*written))
    assert pairs(found) == [(name, name) for name in IDS if name]


def test_ids_of_items_are_kept_character_for_character(tmp_path: Path) -> None:
    names = [name for name in IDS if name]
    log = events(*[("ann", name, 5) for name in names])
    found = read(tmp_path, log, as_csv(["item", "title"], *[(n, "t") for n in names]))
    assert found.items["item_id"].to_pylist() == names


def test_ids_that_differ_in_a_space_are_two(tmp_path: Path) -> None:
    said = refused(tmp_path, events(("ann", " 7", 5)), "item\n7\n")
    assert '" 7"' in said


def test_whole_numbers_of_parquet_become_their_digits(tmp_path: Path) -> None:
    log = pa.table(
        {
            "user": pa.array([7, -1], pa.int32()),
            "item": pa.array([0, 2**64 - 1], pa.uint64()),
            "time": [1, 2],
        }
    )
    assert pairs(read(tmp_path, log)) == [("7", "0"), ("-1", "18446744073709551615")]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_text_of_parquet_is_kept_however_it_is_stored(tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array(["007", "1e3"]).cast(kind)
    log = pa.table({"user": ids, "item": ids, "time": [1, 2]})
    found = read(tmp_path, log, pa.table({"item": ids}))
    assert pairs(found) == [("007", "007"), ("1e3", "1e3")]
    assert found.items["item_id"].to_pylist() == ["007", "1e3"]


@pytest.mark.parametrize(
    "ids", [pa.array([7.0]), pa.array([True]), pa.array([b"x"]), pa.array([date(2020, 1, 1)])]
)
@pytest.mark.parametrize("column", ["user", "item"])
def test_parquet_ids_that_are_neither_text_nor_whole_are_refused(
    tmp_path: Path, ids: pa.Array, column: str
) -> None:
    log = pa.table({"user": ["a"], "item": ["b"], "time": [1]} | {column: ids})
    said = refused(tmp_path, log)
    assert said.startswith("events.parquet: ")
    assert f"{column}_id" in said
    assert "text or whole numbers" in said


def test_float_ids_of_items_are_refused(tmp_path: Path) -> None:
    assert "items.parquet" in refused(tmp_path, ONE, pa.table({"item": [1.0]}))


# Layouts of text.


@pytest.mark.parametrize(
    "delimiter",
    [
        "\t",
        ";",
        "|",
        ":",
        " ",
        pytest.param("\x01"),
    ],
)
def test_any_delimiter_will_do(tmp_path: Path, delimiter: str) -> None:
    log = as_csv(("user", "item", "time"), ("a,b", "c", 5), delimiter=delimiter)
    found = read(tmp_path, log, delimiter=delimiter)
    assert (pairs(found), times(found)) == ([("a,b", "c")], [5])


def test_both_files_have_layouts_of_their_own(tmp_path: Path) -> None:
    items = "item;title\n1;Été à Québec\n".encode("latin-1")
    how = {"delimiter": ";", "encoding": "latin-1"}
    found = read(tmp_path, ONE, items, has=["title"], of_items=how)
    assert found.items["title"].to_pylist() == ["Été à Québec"]


@pytest.mark.parametrize(
    "ends",
    [
        "\n",
        "\r\n",
        "\r",
    ],
)
def test_line_ends_do_not_matter(tmp_path: Path, ends: str) -> None:
    assert pairs(read(tmp_path, TWO.replace("\n", ends))) == [("ann", "1"), ("bob", "2")]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_last_line_needs_no_end(tmp_path: Path, ends: str) -> None:
    assert len(read(tmp_path, TWO.strip().replace("\n", ends)).log) == 2


@pytest.mark.parametrize(
    "head",
    [
        "user,item,time",
        pytest.param('"user","item","time"'),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, head: str) -> None:
    assert pairs(read(tmp_path, f"\ufeff{head}\nann,1,5\n")) == [("ann", "1")]


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path: Path) -> None:
    found = read(tmp_path, "\ufeffann,1,5\n", header=["user", "item", "time"])
    assert pairs(found) == [("ann", "1")]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("latin-1", "Zoë"),
        ("cp1252", "€"),
        ("UTF-8", "☃"),
        ("utf-8-sig", "☃"),
        ("shift_jis", "日本"),
    ],
)
def test_encodings_are_those_of_python(tmp_path: Path, encoding: str, name: str) -> None:
    data = events((name, name, 5)).encode(encoding)
    assert pairs(read(tmp_path, data, encoding=encoding)) == [(name, name)]


@pytest.mark.parametrize("name", ["Benützer", "user id", "user.id", "user,id", 'the "user"'])
def test_columns_may_have_any_name(tmp_path: Path, name: str) -> None:
    columns = {"user_id": name, "item_id": "item", "timestamp": "time"}
    log = as_csv((name, "item", "time"), ("ann", "1", 5))
    assert pairs(read(tmp_path, log, columns=columns)) == [("ann", "1")]
    table = pa.table({name: ["ann"], "item": ["1"], "time": [5]})
    assert pairs(read(tmp_path, table, columns=columns)) == [("ann", "1")]


def test_names_of_columns_are_in_the_encoding_of_the_file(tmp_path: Path) -> None:
    columns = {"user_id": "Benützer", "item_id": "item", "timestamp": "time"}
    log = "Benützer,item,time\nann,1,5\n".encode("latin-1")
    found = read(tmp_path, log, columns=columns, encoding="latin-1")
    assert pairs(found) == [("ann", "1")]


def test_names_of_columns_may_hold_line_breaks(tmp_path: Path) -> None:
    log = '"note\nof mine",user,item,time\nx,ann,1,5\n'
    assert pairs(read(tmp_path, log)) == [("ann", "1")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_two_bytes_a_character_are_an_encoding_too(tmp_path: Path, encoding: str) -> None:
    assert pairs(read(tmp_path, ONE.encode(encoding), encoding=encoding)) == [("ann", "1")]


def test_columns_that_are_not_named_are_not_read(tmp_path: Path) -> None:
    log = as_csv(("junk", "time", "user", "x", "item"), ('"\n,', 5, "ann", "nan", "1"))
    assert pairs(read(tmp_path, log)) == [("ann", "1")]


def test_files_without_a_head_are_read_by_place(tmp_path: Path) -> None:
    found = read(tmp_path, "5,1,x,ann\n6,2,y,bob\n", header=["time", "item", "junk", "user"])
    assert pairs(found) == [("ann", "1"), ("bob", "2")]


def test_quotes_can_be_plain_characters(tmp_path: Path) -> None:
    log = 'user\titem\ttime\n"ann\tit"em\t5\nbob"\t""\t6\n'
    found = read(tmp_path, log, delimiter="\t", quoted=False)
    assert pairs(found) == [('"ann', 'it"em'), ('bob"', '""')]


def test_cells_with_line_breaks_stay_whole_in_long_files(tmp_path: Path) -> None:
    rows = [(f"u{n}", f"i\n{n}", n) for n in range(20_000)]
    log = as_csv(("user", "item", "time", "junk"), *[(*row, 'a\n"b",\r\n' * 16) for row in rows])
    assert len(log) > 3 << 20
    found = read(tmp_path, log)
    assert pairs(found) == [(user, item) for user, item, _ in rows]
    assert times(found) == list(range(20_000))


@pytest.mark.parametrize(
    "size",
    [
        10_000,
        pytest.param(3 << 20, id="long"),
    ],
)
def test_a_text_may_be_as_long_as_a_book(tmp_path: Path, size: int) -> None:
    items = as_csv(("item", "text"), ("1", "b" * size))
    found = read(tmp_path, ONE, items, has=["text"])
    assert found.descriptions["text"].to_pylist() == ["b" * size]


# Times.

NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)
SECONDS = 1_577_836_800

WRITTEN = {
    "seconds": {"1577836800": SECONDS, "-1": -1, "1577836800.0": SECONDS, " 7 ": 7, "1e9": 10**9},
    "milliseconds": {"1577836800999": SECONDS, "-1": -1, "1577836800000.5": SECONDS, "999": 0},
    "microseconds": {"1577836800999999": SECONDS, "-1": -1, "1999999": 1},
    "iso": {
        "2020-01-01": SECONDS,
        "2020-01-01T00:00": SECONDS,
        "2020-01-01T00:00:00": SECONDS,
        "2020-01-01 00:00:00": SECONDS,
        "2020-01-01 00:00:00.999": SECONDS,
        "2020-01-01T00:00:00.999999": SECONDS,
        "2020-01-01T00:00:00Z": SECONDS,
        "2020-01-01T00:00:00.5Z": SECONDS,
        "2020-01-01T02:00:00+02:00": SECONDS,
        "2019-12-31T19:00:00-0500": SECONDS,
        "1969-12-31T23:59:59.5Z": -1,
        "1920-01-01": -1_577_923_200,
    },
}


@pytest.mark.parametrize(
    ("unit", "text"), [(unit, text) for unit, by in WRITTEN.items() for text in by]
)
def test_times_become_whole_seconds(tmp_path: Path, unit: str, text: str) -> None:
    assert times(read(tmp_path, events(("ann", "1", text)), time=unit)) == [WRITTEN[unit][text]]


def test_parts_of_a_second_are_cut_off_seconds_too(tmp_path: Path) -> None:
    log = events(("ann", "1", "1577836800.75"), ("ann", "2", "-0.5"))
    assert times(read(tmp_path, log)) == [SECONDS, -1]


@pytest.mark.parametrize("zone", ["", "Z"])
def test_iso_times_may_be_as_fine_as_nanoseconds(tmp_path: Path, zone: str) -> None:
    log = events(("ann", "1", f"2020-01-01T00:00:00.123456789{zone}"))
    assert times(read(tmp_path, log, time="iso")) == [SECONDS]


def test_zones_may_differ_from_row_to_row(tmp_path: Path) -> None:
    written = ["2020-01-01T00:00:00Z", "2020-01-01T02:00:00+02:00", "2019-12-31T19:00:00-05:00"]
    log = events(*[("ann", n, text) for n, text in enumerate(written)])
    assert times(read(tmp_path, log, time="iso")) == [SECONDS] * 3


def test_dates_and_times_may_stand_in_one_column(tmp_path: Path) -> None:
    log = events(("ann", 1, "2020-01-01"), ("ann", 2, "2020-01-01 00:00:07"))
    assert times(read(tmp_path, log, time="iso")) == [SECONDS, SECONDS + 7]


def _typed(time: pa.Array) -> pa.Table:
    return pa.table({"user": ["ann"] * len(time), "item": ["1"] * len(time), "time": time})


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris", "-05:00"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("time", ["seconds", "milliseconds", "iso"])
def test_times_of_parquet_say_their_unit_themselves(
    tmp_path: Path, unit: str, zone: str | None, time: str
) -> None:
    log = _typed(pa.array([NEW_YEAR], pa.timestamp(unit, zone)))
    assert times(read(tmp_path, log, time=time)) == [SECONDS]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_parts_of_a_microsecond_of_parquet_are_cut_off(tmp_path: Path, zone: str | None) -> None:
    moments = pa.array([SECONDS * 10**9 + 123_456_789, -1], pa.timestamp("ns", zone))
    assert times(read(tmp_path, _typed(moments))) == [SECONDS, -1]


def test_parts_of_a_second_of_parquet_are_cut_off(tmp_path: Path) -> None:
    log = _typed(pa.array([SECONDS * 1000 + 999, -1], pa.timestamp("ms")))
    assert times(read(tmp_path, log)) == [SECONDS, -1]


def test_dates_of_parquet_are_midnights(tmp_path: Path) -> None:
    assert times(read(tmp_path, _typed(pa.array([date(2020, 1, 1)])))) == [SECONDS]


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.uint32(), pa.float64()], ids=str)
def test_numbers_of_parquet_are_times_in_the_unit_of_the_recipe(
    tmp_path: Path, kind: pa.DataType
) -> None:
    log = _typed(pa.array([5000]).cast(kind))
    assert times(read(tmp_path, log)) == [5000]
    assert times(read(tmp_path, log, time="milliseconds")) == [5]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_iso_times_of_parquet_are_read_as_text(tmp_path: Path, kind: pa.DataType) -> None:
    log = _typed(pa.array(["2020-01-01T00:00:00Z"]).cast(kind))
    assert times(read(tmp_path, log, time="iso")) == [SECONDS]


@pytest.mark.parametrize("kind", [pa.time32("s"), pa.duration("s")], ids=str)
def test_what_is_no_moment_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    assert "events.parquet" in refused(tmp_path, _typed(pa.array([5], kind)))


BAD_TIMES = [
    ("seconds", "noon"),
    ("seconds", "2020-01-01"),
    ("seconds", "inf"),
    ("milliseconds", "1e300"),
    ("milliseconds", "soon"),
    ("iso", "noon"),
    ("iso", "2020-13-01"),
    ("iso", "1577836800"),
    ("iso", "01/02/2020"),
]


@pytest.mark.parametrize(("unit", "text"), BAD_TIMES)
def test_what_is_no_time_is_refused(tmp_path: Path, unit: str, text: str) -> None:
    said = refused(tmp_path, events(("ann", "1", 5), ("ann", "2", text)), time=unit)
    assert said.startswith("events.csv: ")
    assert "timestamp" in said


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        *[(unit, text) for unit in ("seconds", "milliseconds", "iso") for text in ("", "  ")],
        ("seconds", "nan"),
    ],
)
def test_an_event_without_a_time_is_refused(tmp_path: Path, unit: str, text: str) -> None:
    good = "2020-01-01" if unit == "iso" else 5
    said = refused(tmp_path, events(("ann", "1", good), ("ann", "2", text)), time=unit)
    assert said.startswith("events.csv")
    assert "event" in said
    assert "time" in said


def test_a_wrong_iso_time_is_not_blamed_on_its_zone(tmp_path: Path) -> None:
    said = refused(tmp_path, events(("ann", "1", "2020-01-01"), ("ann", "2", "noon")), time="iso")
    assert "noon" in said
    assert "zone offset" not in said


def test_zones_in_some_rows_only_are_refused_and_said_to_be_the_fault(tmp_path: Path) -> None:
    log = events(("ann", "1", "2020-01-01T00:00:00Z"), ("ann", "2", "2020-01-01T00:00:00"))
    assert "zone" in refused(tmp_path, log, time="iso")


def test_a_unit_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    """Nobody's log lies in the year 51970."""
    assert "time" in refused(tmp_path, events(("ann", "1", SECONDS * 1000)))


# Ratings.


def test_ratings_may_be_missing_blank_or_numbers(tmp_path: Path) -> None:
    log = as_csv(
        ("user", "item", "time", "rating"),
        *[("a", n, n, rating) for n, rating in enumerate(["4", "4.5", "", "  ", " -1 ", "1e1"])],
    )
    assert read(tmp_path, ONE).log["rating"].to_pylist() == [None]
    found = read(tmp_path, log, has=["rating"]).log["rating"].to_pylist()
    assert found == [4.0, 4.5, None, None, -1.0, 10.0]


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.large_string(),
        pytest.param(
            pa.decimal128(25, 2)),
    ],
    ids=str,
)  # fmt: skip
def test_ratings_of_parquet_may_have_any_type_of_number(tmp_path: Path, kind: pa.DataType) -> None:
    log = _typed(pa.array([1, 2])).append_column("rating", pa.array([4, None]).cast(kind))
    assert read(tmp_path, log, has=["rating"]).log["rating"].to_pylist() == [4.0, None]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_blank_ratings_of_parquet_are_missing_too(tmp_path: Path, kind: pa.DataType) -> None:
    log = _typed(pa.array([1, 2])).append_column("rating", pa.array(["4", ""]).cast(kind))
    assert read(tmp_path, log, has=["rating"]).log["rating"].to_pylist() == [4.0, None]


def test_a_word_for_a_rating_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, "user,item,time,rating\na,1,5,good\n", has=["rating"])
    assert said.startswith("events.csv: ")
    assert "rating" in said
    assert "good" in said


# Items.


def test_without_a_file_of_items_the_catalogue_is_what_the_log_names(tmp_path: Path) -> None:
    log = events(("a", "x", 1), ("b", "é", 2), ("b", "x", 3))
    assert read(tmp_path, log).items.to_pylist() == [
        {"item_id": name, "title": name, "year": None, "categories": [], "creators": []}
        for name in ("x", "é")
    ]


def test_everything_known_about_an_item_is_read(tmp_path: Path) -> None:
    items = as_csv(
        ("creators", "item", "year", "title", "categories", "text", "junk"),
        ("Ann Ash|Bo Birch", "1", "1999", "The, Otter", "Comedy|Film-Noir", 'He said "no".', "x"),
    )
    has = ["title", "year", "categories", "creators", "text"]
    found = read(tmp_path, ONE, items, has=has)
    assert found.items.to_pylist() == [
        {
            "item_id": "1", "title": "The, Otter", "year": 1999,
            "categories": ["Comedy", "Film-Noir"], "creators": ["Ann Ash", "Bo Birch"],
        }
    ]  # fmt: skip
    (text,) = found.descriptions.to_pylist()
    assert (text["item_id"], text["text"]) == ("1", 'He said "no".')
    assert (text["source"], text["licence"]) == ("My films", "mine")
    assert text["url"] == "https://example.org/terms"


def test_items_nobody_consumed_are_read_and_not_frozen(tmp_path: Path) -> None:
    rule = recipe(*rules(tmp_path, FOUR, as_csv(["item"], *[[n] for n in range(9)])))
    raw = raw_data(rule, tmp_path)
    assert len(raw.items) == 9
    assert sorted(freeze(rule, raw)[0]["items"]["item_id"].to_pylist()) == list("0123")


@pytest.mark.parametrize("title", ["", "  "])
def test_an_item_without_a_title_is_called_by_its_id(tmp_path: Path, title: str) -> None:
    found = read(tmp_path, TWO, as_csv(("item", "title"), (1, title), (2, " B ")), has=["title"])
    assert found.items["title"].to_pylist() == ["1", "B"]


def test_an_item_without_a_title_in_parquet_is_called_by_its_id(tmp_path: Path) -> None:
    items = pa.table({"item": [1, 2], "title": [None, "B"]})
    assert read(tmp_path, TWO, items, has=["title"]).items["title"].to_pylist() == ["1", "B"]


def test_one_column_may_be_both_the_id_and_the_title(tmp_path: Path) -> None:
    columns = {"item_id": "name", "title": "name"}
    found = read(
        tmp_path, events(("a", "Otter", 1)), "name\nOtter\n", of_items={"columns": columns}
    )
    assert found.items["title"].to_pylist() == ["Otter"]


def test_one_column_may_be_both_the_title_and_the_text(tmp_path: Path) -> None:
    columns = {"item_id": "item", "title": "name", "text": "name"}
    found = read(tmp_path, ONE, "item,name\n1,Otter\n", of_items={"columns": columns})
    assert found.items["title"].to_pylist() == ["Otter"]
    assert found.descriptions["text"].to_pylist() == ["Otter"]


YEARS = {
    "2008": 2008, "2008.0": 2008, " 2008 ": 2008, "-720": -720, "0": 0, "": None, "  ": None,
}  # fmt: skip


@pytest.mark.parametrize("text", YEARS)
def test_years_are_whole_numbers_or_unknown(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, ONE, as_csv(("item", "year"), (1, text)), has=["year"])
    assert found.items["year"].to_pylist() == [YEARS[text]]


@pytest.mark.parametrize("text", ["c. 1900", "2008.5", "MCMXC", "99999999999", "1999-2000", "inf"])
def test_what_is_no_year_is_refused(tmp_path: Path, text: str) -> None:
    said = refused(tmp_path, ONE, as_csv(("item", "year"), (1, text)), has=["year"])
    assert said.startswith("items.csv: ")
    assert "year" in said


CATEGORICAL = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    "years",
    [
        pa.array([2008, None], pa.int16()), pa.array([2008, None], pa.int64()),
        pa.array([2008.0, None]), pa.array(["2008", ""]), pa.array(["2008", None]).cast("string"),
        pa.array(["2008.0", ""], pa.large_string()),
        pa.array(["2008", ""]).cast(CATEGORICAL),
        pa.array([2008.0, float("nan")]),
    ],
    ids=str,
)  # fmt: skip
def test_years_of_parquet_are_numbers_or_text(tmp_path: Path, years: pa.Array) -> None:
    found = read(tmp_path, TWO, pa.table({"item": ["1", "2"], "year": years}), has=["year"])
    assert found.items["year"].to_pylist() == [2008, None]


def test_dates_are_never_taken_for_years(tmp_path: Path) -> None:
    items = pa.table({"item": ["1"], "year": [date(2008, 5, 1)]})
    try:
        assert read(tmp_path, ONE, items, has=["year"]).items["year"].to_pylist() == [2008]
    except TaskDataError as error:
        assert "items.parquet" in str(error)  # to refuse them is as good


@pytest.mark.parametrize("column", ["categories", "creators"])
@pytest.mark.parametrize(
    ("cell", "separator", "parts"),
    [
        ("", "|", []), (" | ||", "|", []), ("a| b b |", "|", ["a", "b b"]), ("a,b", "|", ["a,b"]),
        ("a; b", ";", ["a", "b"]), ("x and y", " and ", ["x", "y"]), ("b|a", "|", ["b", "a"]),
    ],
)  # fmt: skip
def test_names_in_a_cell_are_split_and_trimmed(
    tmp_path: Path, column: str, cell: str, separator: str, parts: list[str]
) -> None:
    items = as_csv(("item", column), (1, cell))
    found = read(tmp_path, ONE, items, has=[column], of_items={"separator": separator})
    assert found.items[column].to_pylist() == [parts]


_LISTS = [["a", "b b"], None]


@pytest.mark.parametrize(
    "cells",
    [
        pa.array(_LISTS),
        pa.array(_LISTS, pa.list_(pa.large_string())),
        pa.array(["a| b b", None]),
        pa.array(["a| b b", None], pa.large_string()),
        pa.array(["a| b b", None]).cast(CATEGORICAL),
        pa.array(_LISTS, pa.large_list(pa.large_string())),
        pa.array([["a", "b b"], None], pa.list_(pa.string(), 2)),
        pa.array([["a", None, " b b ", ""], []]),
    ],
    ids=lambda cells: f"{cells.type} of {len(cells.to_pylist()[0])}",
)
def test_names_of_parquet_are_lists_or_text(tmp_path: Path, cells: pa.Array) -> None:
    items = pa.table({"item": ["1", "2"], "categories": cells})
    found = read(tmp_path, TWO, items, has=["categories"])
    assert found.items["categories"].to_pylist() == [["a", "b b"], []]


def test_lists_of_what_is_no_text_are_read_or_refused(tmp_path: Path) -> None:
    items = pa.table({"item": ["1"], "categories": [[7]]})
    try:
        found = read(tmp_path, ONE, items, has=["categories"])
        assert found.items["categories"].to_pylist() == [["7"]]
    except TaskDataError as error:
        assert "items.parquet" in str(error)


def test_a_title_of_a_type_without_text_is_refused(tmp_path: Path) -> None:
    items = pa.table({"item": ["1"], "title": [["a"]]})
    assert "items.parquet" in refused(tmp_path, ONE, items, has=["title"])


def test_items_without_a_text_have_no_description(tmp_path: Path) -> None:
    log = events(*[("ann", n, n) for n in range(4)])
    items = as_csv(("item", "text"), (0, "An otter.\nIt swims."), (1, ""), (2, "  "), (3, "x"))
    found = read(tmp_path, log, items, has=["text"]).descriptions
    assert found.select(["item_id", "text"]).to_pylist() == [
        {"item_id": "0", "text": "An otter.\nIt swims."}, {"item_id": "3", "text": "x"},
    ]  # fmt: skip
    assert read(tmp_path, log, items).descriptions is None


@pytest.mark.parametrize(
    "texts",
    [
        pa.array(["x", None]),
        pa.array(["x", ""], pa.large_string()),
        pa.array(["x", None]).cast(CATEGORICAL),
    ],
    ids=str,
)
def test_texts_of_parquet_become_descriptions(tmp_path: Path, texts: pa.Array) -> None:
    found = read(tmp_path, TWO, pa.table({"item": [1, 2], "text": texts}), has=["text"])
    assert found.descriptions["text"].to_pylist() == ["x"]


@pytest.mark.parametrize("texts", [pa.nulls(2), pa.array([1984, None])], ids=["none", "numbers"])
def test_texts_of_another_type_are_read_or_refused(tmp_path: Path, texts: pa.Array) -> None:
    try:
        read(tmp_path, TWO, pa.table({"item": [1, 2], "text": texts}), has=["text"])
    except TaskDataError as error:
        assert "items.parquet" in str(error)


def test_text_and_parquet_read_alike(tmp_path: Path) -> None:
    rows = [(f"u{n % 7}", f"{n % 5:03}", n * 60, n % 4 + 0.5) for n in range(40)]
    films = [(f"{n:03}", f"Film {n}", 1990 + n, "A|B", f"It is {n}.") for n in range(5)]
    log = (("user", "item", "time", "rating"), *rows)
    items = (("item", "title", "year", "categories", "text"), *films)
    has = ["rating", *items[0][1:]]

    def typed(table: Sequence[Sequence[object]]) -> pa.Table:
        columns = list(zip(*table[1:], strict=True))
        return pa.table([list(column) for column in columns], names=list(table[0]))

    (tmp_path / "text").mkdir()
    (tmp_path / "typed").mkdir()
    plain = read(tmp_path / "text", as_csv(*log), as_csv(*items), has=has)
    parquet = read(tmp_path / "typed", typed(log), typed(items), has=has)
    assert plain.log.equals(parquet.log)
    assert plain.items.equals(parquet.items)
    assert plain.descriptions.equals(parquet.descriptions)


# What is frozen of it.


def _random_log(users: int = 12, items: int = 15, seed: int = 1) -> list[tuple[str, str, int]]:
    """User, item, time; a few events of a user at the same time."""
    draw = random.Random(seed)
    return [
        (f"u{user:02}", f"i{item:02}", 1_500_000_000 + draw.randrange(40))
        for user in range(users)
        for item in draw.sample(range(items), 9)
    ]


def _frozen(folder: Path, log: Content, **more: Any) -> tuple[dict[str, pa.Table], dict[str, int]]:
    how = {name: more.pop(name) for name in ("has", "order", "columns") if name in more}
    rule = recipe(*rules(folder, log, **how), **more)
    return freeze(rule, raw_data(rule, folder))


BY_ROW = {"order": "row", "columns": {"user_id": "user", "item_id": "item"}}

POOLS = {
    "retrieval": {"metrics": ["ndcg@10"]},
    "ranking": {"metrics": ["ndcg@10"], "negatives": {"draw": "uniform", "size": 4}},
    "reranking": {"metrics": ["ndcg@10"], "first_stage": {"size": 4}},
}

SPLITS: list[dict[str, Any]] = [
    {"rule": "leave-one-out"},
    {"rule": "global-time", "test_from": 0.7, "validation_from": 0.5, "min_history": 1},
]


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split["rule"])
def test_the_order_of_rows_does_not_matter_where_there_are_times(
    tmp_path: Path, split: dict[str, Any]
) -> None:
    rows = _random_log()
    assert len({(user, time) for user, _, time in rows}) < len(rows)  # some are simultaneous
    first = _frozen(tmp_path, events(*rows), tracks=POOLS, split=split)
    random.Random(2).shuffle(rows)
    second = _frozen(tmp_path, events(*rows), tracks=POOLS, split=split)
    assert first[1] == second[1]
    assert first[0].keys() == second[0].keys()
    assert all(first[0][name].equals(second[0][name]) for name in first[0])


def test_where_rows_are_the_order_events_stay_in_it(tmp_path: Path) -> None:
    rows = _random_log()
    random.Random(3).shuffle(rows)
    frozen, _ = _frozen(tmp_path, events(*rows), **BY_ROW)
    by_user: dict[str, list[str]] = {}
    for user, item, _ in rows:
        by_user.setdefault(user, []).append(item)
    for target, request in zip(
        frozen["targets"].to_pylist(), frozen["requests"].to_pylist(), strict=True
    ):
        back = {"validation": 2, "test": 1}[request["split"]]
        expected = by_user[request["user_id"]]
        assert request["history"] == expected[:-back]
        assert target["items"] == [expected[-back]]
    kept = frozen["interactions"]
    held = {(user, items[-1]) for user, items in by_user.items()}
    assert list(zip(kept["user_id"].to_pylist(), kept["item_id"].to_pylist(), strict=True)) == [
        (user, item) for user, item, _ in rows if (user, item) not in held
    ]


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split["rule"])
def test_where_rows_are_the_order_there_are_no_times_and_no_ties(
    tmp_path: Path, split: dict[str, Any]
) -> None:
    rows = _random_log()
    random.Random(4).shuffle(rows)
    frozen, counts = _frozen(tmp_path, events(*rows), **BY_ROW, tracks=POOLS, split=split)
    for name in ("interactions", "requests"):
        times = frozen[name]["timestamp"]
        assert times.type == pa.int64()
        assert len(times) == times.null_count > 0
    assert not any(frozen["targets"]["tied"].to_pylist())
    assert counts["tied_test_targets"] == 0


def test_where_rows_are_the_order_shuffling_them_matters(tmp_path: Path) -> None:
    rows = _random_log()
    first, _ = _frozen(tmp_path, events(*rows), **BY_ROW)
    second, _ = _frozen(tmp_path, events(*rows[::-1]), **BY_ROW)
    assert not first["targets"].equals(second["targets"])


@pytest.mark.parametrize("how", [{}, BY_ROW], ids=["timestamp", "row"])
def test_only_the_first_event_of_a_user_with_an_item_counts(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    rows = [("ann", item, n) for n, item in enumerate("abacbd")]
    rows += [("bob", item, n) for n, item in enumerate("dcab")]
    frozen, counts = _frozen(tmp_path, events(*rows), **how)
    histories = {
        row["user_id"]: row["history"]
        for row in frozen["requests"].to_pylist()
        if row["split"] == "test"
    }
    assert histories == {"ann": ["a", "b", "c"], "bob": ["d", "c", "a"]}
    assert (counts["raw_interactions"], counts["repeated_interactions"]) == (10, 2)


def test_events_below_the_least_rating_are_dropped_and_so_are_unrated_ones(tmp_path: Path) -> None:
    ratings = ["5", "3.5", "", "4", "4", "5", "1"]
    rows = [("ann", n, n, rating) for n, rating in enumerate(ratings)]
    rows += [("bob", n, 20 - n, 4.5) for n in (5, 4, 3, 0)]
    log = as_csv(("user", "item", "time", "rating"), *rows)
    frozen, counts = _frozen(tmp_path, log, has=["rating"], filters={"min_rating": 4.0})
    assert sorted(frozen["items"]["item_id"].to_pylist()) == ["0", "3", "4", "5"]
    assert counts["below_min_rating"] == 3
    assert frozen["interactions"]["rating"].to_pylist() == [5.0, 4.0, 4.0, 4.5, 4.5, 4.5]


def test_a_core_is_made_of_users_and_items_with_enough_visible_events(tmp_path: Path) -> None:
    orders = {"ann": "abcda", "bob": "bcdab", "cem": "cdabc", "dan": "dabcd"}
    rows = [(user, item, n) for user, items in orders.items() for n, item in enumerate(items[:4])]
    rows += [("eve", item, n) for n, item in enumerate("abcdx")]
    rows += [("ann", "x", -9), ("fay", "x", -8)]
    frozen, counts = _frozen(tmp_path, events(*rows), filters={"k_core": 2})
    assert sorted(frozen["items"]["item_id"].to_pylist()) == list("abcd")
    assert counts["interactions_outside_core"] == 2  # those of x that are visible
    assert counts["test_targets_without_visible_event"] == 1  # eve's


def test_strange_ids_survive_freezing(tmp_path: Path) -> None:
    names = [name for name in IDS if name]
    draw = random.Random(5)
    rows = [(user, item, draw.randrange(99)) for user in names for item in names]
    rows = [row for row in rows if draw.random() < 0.6]
    frozen, _ = _frozen(tmp_path, events(*rows), tracks=POOLS, filters={"k_core": 3})
    assert set(frozen["items"]["item_id"].to_pylist()) == set(names)
    assert set(frozen["requests"]["user_id"].to_pylist()) == set(names)


def test_descriptions_come_with_the_items_that_are_frozen(tmp_path: Path) -> None:
    items = as_csv(("item", "text"), *[(n, f"Otter {n} swims in 1999.") for n in range(6)])
    rule = recipe(*rules(tmp_path, FOUR, items, has=["text"]))
    frozen, counts = freeze(rule, raw_data(rule, tmp_path))
    assert sorted(frozen["descriptions"]["item_id"].to_pylist()) == list("0123")
    assert counts["described_items"] == 4
    assert frozen["descriptions"]["match"].to_pylist() == ["given with the item"] * 4


# What is refused.


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    columns = {"user_id": "user", "item_id": "item", "timestamp": "Time"}
    for log in (ONE, pa.table({"user": ["a"], "item": ["1"], "time": [5]})):
        said = refused(tmp_path, log, columns=columns)
        assert said.startswith("events.")
        assert 'no column "Time"' in said
        assert 'nearest: "time"' in said


@pytest.mark.parametrize("of_items", [False, True])
def test_the_mend_for_a_column_names_the_field_of_the_recipe(
    tmp_path: Path, of_items: bool
) -> None:
    said = refused(tmp_path, ONE if of_items else "a,b\n1,2\n", "a,b\n1,2\n")
    assert f"source.{'items' if of_items else 'log'}.columns" in said


@pytest.mark.parametrize("lost", ["events.csv", "items.csv"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, lost: str) -> None:
    log, items = rules(tmp_path, ONE, "item\n1\n")
    (tmp_path / lost).unlink()
    with pytest.raises(TaskDataError, match=f"no file called {lost}"):
        raw_data(recipe(log, items), tmp_path)


@pytest.mark.parametrize("row", ["ann,1", "ann,1,5,6", "ann"])
def test_a_ragged_row_is_refused_and_numbered(tmp_path: Path, row: str) -> None:
    said = refused(tmp_path, f"{TWO}{row}\n{ONE}")
    assert said.startswith("events.csv: ")
    assert "#4" in said


def test_a_ragged_row_of_the_items_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, ONE, "item,title\n1,The Otter, Again\n", has=["title"])
    assert said.startswith("items.csv: ")
    assert "#2" in said


def test_a_wrong_delimiter_is_refused_and_the_head_shown(tmp_path: Path) -> None:
    said = refused(tmp_path, ONE.replace(",", ";"))
    assert said.startswith("events.csv: ")
    assert '"user;item;time"' in said


def test_a_wrong_delimiter_is_said_to_be_the_fault(tmp_path: Path) -> None:
    assert "delimiter" in refused(tmp_path, ONE.replace(",", ";"))


@pytest.mark.parametrize("encoding", ["utf8", "utf-8-sig", "ascii"])
def test_bytes_of_another_encoding_are_refused(tmp_path: Path, encoding: str) -> None:
    said = refused(tmp_path, "user,item,time\nZoë,1,5\n".encode("latin-1"), encoding=encoding)
    assert said.startswith("events.csv: ")


def test_a_wrong_encoding_is_said_to_be_the_fault(tmp_path: Path) -> None:
    assert "encoding" in refused(tmp_path, "user,item,time\nZoë,1,5\n".encode("latin-1"))


NOTHING: dict[str, Content] = {
    "no byte": "",
    "line ends": "\n\n",
    "byte order mark": "\ufeff",
}


@pytest.mark.parametrize("what", NOTHING)
def test_an_empty_file_is_refused(tmp_path: Path, what: str) -> None:
    assert refused(tmp_path, NOTHING[what]).startswith("events.csv: ")
    assert refused(tmp_path, ONE, NOTHING[what]).startswith("items.csv: ")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    assert "empty" in refused(tmp_path, "")


NO_EVENT = [
    "user,item,time\n",
    pa.table({"user": [""], "item": [""], "time": [1]}).slice(1),
]


@pytest.mark.parametrize("log", NO_EVENT, ids=["text", "Parquet"])
def test_a_log_without_events_is_refused(tmp_path: Path, log: Content) -> None:
    with pytest.raises(TaskDataError, match=r"events\.(csv|parquet)"):
        _frozen(tmp_path, log)


@pytest.mark.parametrize("log", NO_EVENT, ids=["text", "Parquet"])
def test_a_log_without_events_is_refused_with_a_catalogue_too(tmp_path: Path, log: Content) -> None:
    rule = recipe(*rules(tmp_path, log, "item,title\n1,A\n", has=["title"]))
    with pytest.raises(TaskDataError, match=r"events\.(csv|parquet)"):
        freeze(rule, raw_data(rule, tmp_path))


@pytest.mark.parametrize(
    "items", ["item\n", pa.table({"item": [""]}).slice(1)], ids=["text", "Parquet"]
)
def test_a_catalogue_without_items_is_refused(tmp_path: Path, items: Content) -> None:
    assert "items." in refused(tmp_path, ONE, items)


@pytest.mark.parametrize(
    ("log", "items", "said"),
    [
        (events(("", "1", 5)), None, "user_id"),
        (events(("ann", "", 5)), None, "item_id"),
        (events(("a\0b", "1", 5)), None, "user_id"),
        (events(("ann", "1", "")), None, "time"),
        (ONE, "item,title\n1,A\n,B\n", "item_id"),
        (ONE, "item\n1\n2\n1\n", "twice"),
        (TWO, "item\n1\n", '"2"'),
        (pa.table({"user": [None, "a"], "item": ["1", "1"], "time": [1, 2]}), None, "user_id"),
        (_typed(pa.array([5, None])), None, "time"),
    ],
)
def test_logs_and_catalogues_that_contradict_themselves_are_refused(
    tmp_path: Path, log: Content, items: Content | None, said: str
) -> None:
    assert said in refused(tmp_path, log, items, has=["title"] if "title" in str(items) else [])


@pytest.mark.parametrize(
    ("log", "items", "file"),
    [
        (events(("", "1", 5)), None, "events.csv"),
        (events(("ann", "1", "")), None, "events.csv"),
        (ONE, "item,x\n1,A\n,B\n", "items.csv"),
        (ONE, "item\n1\n2\n1\n", "items.csv"),
        (TWO, "item\n1\n", "items.csv"),
    ],
    ids=["empty user", "no time", "empty item", "repeated item", "unknown item"],
)
def test_faults_of_the_content_name_the_file(
    tmp_path: Path, log: Content, items: Content | None, file: str
) -> None:
    assert file in refused(tmp_path, log, items)


def test_a_repeated_item_is_named(tmp_path: Path) -> None:
    assert '"tt7"' in refused(tmp_path, events(("ann", "tt7", 1)), "item\ntt7\ntt8\ntt7\n")


GARBAGE: dict[str, bytes] = {
    "gzip": gzip.compress(ONE.encode() * 50, mtime=0),
    "every byte": bytes(range(256)) * 20,
    "Parquet": b"PAR1\x15\x04\x15\x10" + bytes(range(256)) + b"PAR1",
    "zeros": bytes(5000),
    "open quote": b'"user,item,time\nann,1,5\n',
    "HTML": b"<!DOCTYPE html>\r\n<html><body>sign in</body></html>\r\n",
}


@pytest.mark.parametrize("what", GARBAGE)
def test_what_is_no_table_is_refused(tmp_path: Path, what: str) -> None:
    said = refused(tmp_path, GARBAGE[what])
    assert said.startswith("events.csv: ")
    assert said.isprintable()


def test_a_file_of_one_endless_line_is_refused(tmp_path: Path) -> None:
    assert "events.csv" in refused(tmp_path, b"x" * 200_000)


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: ONE.encode(), bytes])
def test_what_is_no_parquet_is_refused(tmp_path: Path, spoil: Any) -> None:
    log, _ = rules(tmp_path, _typed(pa.array([5])))
    path = tmp_path / "events.parquet"
    path.write_bytes(b"" if spoil is bytes else spoil(path.read_bytes()))
    with pytest.raises(TaskDataError, match=r"events\.parquet: .*Parquet"):
        raw_data(recipe(log), tmp_path)


def test_no_flipped_byte_of_a_parquet_file_crashes(tmp_path: Path) -> None:
    log, items = rules(tmp_path, _typed(pa.array([5, 6])), pa.table({"item": ["1"]}))
    whole = (tmp_path / "events.parquet").read_bytes()
    for place in range(4, len(whole), 11):
        changed = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        (tmp_path / "events.parquet").write_bytes(changed)
        try:
            raw_data(recipe(log, items), tmp_path)
        except TaskDataError as error:
            assert str(tmp_path) in str(error)


def test_a_name_that_two_columns_have_is_refused(tmp_path: Path) -> None:
    assert "user" in refused(tmp_path, "user,item,time,user\nann,1,5,bob\n")


def test_a_head_of_the_recipe_that_is_too_short_is_refused(tmp_path: Path) -> None:
    assert "events.csv" in refused(tmp_path, "ann,1,5,6\n", header=["user", "item", "time"])
    assert "events.csv" in refused(tmp_path, "ann,1\n", header=["user", "item", "time"])


def test_what_strangers_wrote_does_not_reach_the_terminal(tmp_path: Path) -> None:
    escape = "\x1b[2J"
    for log, has in (
        (events(("ann", "1", escape)), []),
        (f"{escape}a,b\n1,2\n", []),
        (f"user,item,time,rating\na,1,1,{escape}\n", ["rating"]),
        (f"{ONE}{escape}\n", []),
    ):
        assert escape not in refused(tmp_path, log, has=has)
    assert escape not in refused(tmp_path, events(("a", escape, 1)), "item\n1\n")


# Recipes.

LOG = {"file": "events.csv", "columns": {"user_id": "u", "item_id": "i", "timestamp": "t"}}

WRONG_RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "unknown field": ({"separator": ";"}, None, "separator"),
    "unknown column": ({"columns": LOG["columns"] | {"price": "p"}}, None, "price"),
    "no time": ({"columns": {"user_id": "u", "item_id": "i"}}, None, "timestamp"),
    "no user": ({"columns": {"item_id": "i", "timestamp": "t"}}, None, "user_id"),
    "path": ({"file": "data/events.csv"}, None, "file"),
    "path upwards": ({"file": "../events.csv"}, None, "file"),
    "unknown encoding": ({"encoding": "latin-99"}, None, "encoding"),
    "long delimiter": ({"delimiter": "::"}, None, "delimiter"),
    "no delimiter": ({"delimiter": ""}, None, "delimiter"),
    "unknown order": ({"order": "hash"}, None, "order"),
    "unknown unit": ({"time": "days"}, None, "time"),
    "items without id": ({}, {"file": "i.csv", "columns": {"title": "t"}}, "item_id"),
    "items with a user": (
        {}, {"file": "i.csv", "columns": {"item_id": "i", "user_id": "u"}}, "user_id",
    ),
    "no separator": (
        {}, {"file": "i.csv", "columns": {"item_id": "i"}, "separator": ""}, "separator",
    ),
    "encoding of items": (
        {}, {"file": "i.csv", "columns": {"item_id": "i"}, "encoding": "x"}, "encoding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", WRONG_RECIPES)
def test_a_wrong_recipe_is_refused_and_the_field_named(why: str) -> None:
    log, items, field = WRONG_RECIPES[why]
    with pytest.raises(msgspec.ValidationError) as error:
        recipe(LOG | log, items)
    assert field in str(error.value)
    assert f"$.source.{'log' if items is None else 'items'}" in str(error.value)


def test_rows_and_times_cannot_both_be_the_order() -> None:
    with pytest.raises(msgspec.ValidationError, match="timestamp"):
        recipe(LOG | {"order": "row"})


def test_a_time_too_many_is_said_to_be_too_many() -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        recipe(LOG | {"order": "row"})
    assert "needed" not in str(error.value)


@pytest.mark.parametrize("encoding", ["hex", "rot13", "base64"])
def test_codecs_that_are_not_for_text_are_no_encodings(encoding: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="encoding"):
        recipe(LOG | {"encoding": encoding})


@pytest.mark.parametrize("delimiter", ["§", "\n", '"', "\0"])
def test_delimiters_that_no_reader_takes_are_refused(delimiter: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="delimiter"):
        recipe(LOG | {"delimiter": delimiter})


@pytest.mark.parametrize("name", ["", ".."])
def test_what_cannot_be_a_file_is_no_name(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="file"):
        recipe(LOG | {"file": name})


def test_a_head_that_gives_a_name_twice_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="header"):
        recipe(LOG | {"header": ["u", "i", "t", "u"]})


@pytest.mark.parametrize(
    "source",
    [
        {"reader": "table"},
        {"reader": "toy", "log": LOG},
        {"reader": "movietweetings", "items": {"file": "i", "columns": {"item_id": "i"}}},
    ],
)
def test_tables_go_with_the_reader_of_tables(source: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"source\.log"):
        recipe(LOG, source=source)


def test_a_wrong_recipe_on_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('id = "x-v1"\n[source]\nreader = "table"\nlogs = 1\n')
    with pytest.raises(TaskDataError) as error:
        read_recipe(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_least_rating_needs_ratings(tmp_path: Path) -> None:
    with pytest.raises((TaskDataError, msgspec.ValidationError)) as error:
        _frozen(tmp_path, events(*_random_log()), filters={"min_rating": 4.0})
    assert "rating" in str(error.value)


def test_ratings_are_kept_as_exactly_as_they_can_be(tmp_path: Path) -> None:
    log = "user,item,time,rating\n" + "".join(f"a,{n},{n},{n / 10}\n" for n in range(1, 50))
    found = read(tmp_path, log, has=["rating"]).log["rating"].to_numpy()
    assert (found == (np.arange(1, 50) / 10).astype(np.float32)).all()
