"""Anybody's own data: delimited text or Parquet, with a mapping of columns in the recipe.

Cells of text stay text until a column needs something else, so that nothing is guessed:
an id "007" keeps its zeros, and a number that cannot be read is refused with its file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm4rec_bench.errors import TaskDataError, nearest_hint, printable, shown
from llm4rec_bench.interactions import LOG_SCHEMA
from llm4rec_bench.sources.raw import RawCopy, RawData, as_log, delimited
from llm4rec_bench.task import Recipe, tables
from llm4rec_bench.task.source import ItemsTable, LogTable, TableFile

_PER_SECOND = {"seconds": 1, "milliseconds": 1000, "microseconds": 1_000_000}

_LATEST = 253_402_300_799
"""The last second of the year 9999: what comes after it is in another unit."""


def read_table(recipe: Recipe, copy: RawCopy) -> RawData:
    """The log and the catalogue that `source.log` and `source.items` of a recipe describe.

    Without `source.items` the catalogue is what the log names, and titles are ids.
    """
    rule = cast(LogTable, recipe.source.log)  # a recipe with this reader has one
    log = _log(_File(copy, rule, "source.log"), rule)
    in_row_order = rule.order == "row"
    if (of_items := recipe.source.items) is None:
        return RawData(log, _only_ids(log), log_name=rule.file, in_row_order=in_row_order)
    file = _File(copy, of_items, "source.items")
    columns = file.columns()
    return RawData(
        log,
        _catalogue(file, of_items, columns),
        _texts(recipe, columns),
        log_name=rule.file,
        items_name=of_items.file,
        in_row_order=in_row_order,
    )


class _File:
    """One file of a raw copy, and how a recipe says to read it."""

    def __init__(self, copy: RawCopy, rule: TableFile, section: str) -> None:
        self.copy = copy
        self.rule = rule
        self.section = section

    def wrong(self, said: str) -> TaskDataError:
        """What is wrong with the file."""
        return TaskDataError(f"{self.copy.path}: {self.rule.file}: {said}")

    def columns(self) -> dict[str, pa.ChunkedArray]:
        """The mapped columns by our names; text where the file has no types."""
        mapping = self.rule.mapping()
        wanted = list(dict.fromkeys(mapping.values()))
        table = self._parquet(wanted) if self.rule.file.endswith(".parquet") else self._text(wanted)
        return {ours: _plain(table[theirs]) for ours, theirs in mapping.items()}

    def _text(self, wanted: Sequence[str]) -> pa.Table:
        data = self.copy.read(self.rule.file)
        if not data.strip():
            raise self.wrong("is empty")
        names = self.rule.header or self._names(data)
        self._all_there(wanted, names)
        text = dict.fromkeys(names if self.rule.header else wanted, pa.string())
        return delimited(
            self.copy,
            self.rule.file,
            self.rule.delimiter,
            text,
            quoted=self.rule.quoted,
            encoding=self.rule.encoding,
            header=not self.rule.header,
            data=data,
        )

    def _names(self, data: bytes) -> list[str]:
        """The names in the first row."""
        # The names of columns end somewhere in the first mebibyte, or it is no table.
        head = io.TextIOWrapper(
            io.BytesIO(data[: 1 << 20]), self.rule.encoding, errors="replace", newline=""
        )
        try:
            rows = csv.reader(
                io.StringIO(head.read().removeprefix("\ufeff"), newline=""),
                delimiter=self.rule.delimiter,
                quoting=csv.QUOTE_MINIMAL if self.rule.quoted else csv.QUOTE_NONE,
            )
            return next(rows, [])
        except csv.Error as error:
            raise self.wrong(f"its first row cannot be read ({printable(str(error))})") from None

    def _parquet(self, wanted: Sequence[str]) -> pa.Table:
        try:
            with pq.ParquetFile(io.BytesIO(self.copy.read(self.rule.file))) as file:
                self._all_there(wanted, file.schema_arrow.names)
                return file.read(list(wanted))
        except (pa.ArrowException, OSError) as error:
            raise self.wrong(f"cannot be read as Parquet ({_said(error)})") from None

    def _all_there(self, wanted: Sequence[str], names: Sequence[str]) -> None:
        for name in wanted:
            if names.count(name) > 1:
                raise self.wrong(f"has several columns {shown(name)}; give them names of their own")
            if name not in names:
                known = ", ".join(map(shown, names[:20])) or "none"
                hint = nearest_hint(name, names)
                if len(names) < 2 and not self.rule.file.endswith(".parquet"):
                    hint += f"; is its delimiter {shown(self.rule.delimiter)}?"
                raise self.wrong(
                    f"has no column {shown(name)}; it has {known}{hint}; mend "
                    f"{self.section}.columns in the recipe"
                )

    def made(
        self, name: str, column: pa.ChunkedArray, make: Callable[[pa.ChunkedArray], pa.ChunkedArray]
    ) -> pa.ChunkedArray:
        """What is made of a column; TaskDataError where it cannot be."""
        try:
            return make(column)
        except pa.ArrowException as error:
            raise self.wrong(f"column {name}: {_said(error)}") from None

    def numbers(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column as numbers; blank cells and those that are not a number are missing."""
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        if not (_is_number(column.type) or pa.types.is_string(column.type)):
            raise self.wrong(f"column {name}: holds {column.type}, expected numbers")
        if pa.types.is_string(column.type):
            blank = pc.equal(pc.utf8_trim_whitespace(column), "")
            column = pc.if_else(blank, pa.scalar(None, pa.string()), column)
            column = self.made(
                name, pc.utf8_trim_whitespace(column), lambda text: text.cast(pa.float64())
            )
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        return column


def _said(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0], 200)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without the ways of writing one that other programs have."""
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks],
                                  column.type.value_type)  # fmt: skip
    if pa.types.is_large_string(column.type) or str(column.type) == "string_view":
        return column.cast(pa.string())
    if pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return column.cast(pa.list_(column.type.value_type))
    return column


def _log(file: _File, rule: LogTable) -> pa.Table:
    found = file.columns()
    rows = len(found["user_id"])
    columns = {
        "user_id": _ids(file, "user_id", found),
        "item_id": _ids(file, "item_id", found),
        "timestamp": pa.nulls(rows, pa.int64()),
        "rating": pa.nulls(rows, pa.float32()),
    }
    if rule.order == "timestamp":
        columns["timestamp"] = _seconds(file, rule, found["timestamp"])
    if "rating" in found:
        ratings = file.numbers("rating", found["rating"])
        columns["rating"] = file.made("rating", ratings, lambda stars: stars.cast(pa.float32()))
    return as_log(file.copy, rule.file, pa.table(columns).select(LOG_SCHEMA.names))


def _ids(file: _File, name: str, found: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    """Ids as text; whole numbers of a typed file become theirs, others are refused."""
    kind = found[name].type
    if pa.types.is_integer(kind) or pa.types.is_string(kind):
        return found[name].cast(pa.string())
    raise file.wrong(f"column {name}: holds {kind}; ids are text or whole numbers")


def _seconds(file: _File, rule: LogTable, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as whole seconds since 1970; parts of a second are cut off."""
    if pa.types.is_string(column.type) and rule.time == "iso":
        column = _parsed(file, column)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        seconds = _instants(file, column)
    else:
        per_second = _PER_SECOND.get(rule.time, 1)
        numbers = file.numbers("timestamp", column)
        seconds = file.made("timestamp", numbers, lambda times: _whole(times, per_second))
    latest = pc.max(seconds).as_py()
    if latest is not None and latest > _LATEST:
        raise file.wrong(
            f"column timestamp: {latest} lies after the year 9999; say with time in the recipe "
            'whether it is in "milliseconds" or "microseconds"'
        )
    return seconds


def _whole(times: pa.ChunkedArray, per_second: int) -> pa.ChunkedArray:
    if pa.types.is_floating(times.type):
        return pc.floor(pc.divide(times.cast(pa.float64()), float(per_second))).cast(pa.int64())
    whole = times.cast(pa.int64())
    below = pc.less(pc.subtract(whole, pc.multiply(pc.divide(whole, per_second), per_second)), 0)
    return pc.subtract(pc.divide(whole, per_second), below.cast(pa.int64()))


def _parsed(file: _File, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates and times as ISO 8601 writes them; those without a zone are UTC."""
    text = pc.utf8_trim_whitespace(column)
    if text.null_count or pc.any(pc.equal(text, "")).as_py():
        raise file.wrong("column timestamp: an event has no time")
    for zone in (None, "UTC"):
        for unit in ("us", "ns"):
            try:
                return text.cast(pa.timestamp(unit, zone))
            except pa.ArrowException:
                continue
    raise file.wrong(f"column timestamp: {_odd_time(text)}")


_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$"
_TIME = r"^[+-]?[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}(?::?[0-9]{2}){0,2}(?:\.[0-9]{1,9})?)?"


def _odd_time(text: pa.ChunkedArray) -> str:
    """What is wrong with times that cannot be read all in one way."""
    odd = text.filter(pc.invert(pc.match_substring_regex(text, f"{_TIME}(?:{_ZONE}|$)")))
    zoned = pc.match_substring_regex(text, f"[0-9]{_ZONE}")
    clock = pc.match_substring(text, ":")
    if not len(odd) and pc.any(pc.and_(zoned, clock)).as_py() and not pc.all(zoned).as_py():
        return "some times name a zone and some do not; name it in all of them, or in none"
    found = odd[0] if len(odd) else text[0]
    return f"{shown(found.as_py())} is no time as ISO 8601 writes it"


def _instants(file: _File, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    cut = pc.floor_temporal(column, unit="second")
    kind = pa.timestamp("s", column.type.tz)
    return file.made("timestamp", cut, lambda times: times.cast(kind).cast(pa.int64()))


def _only_ids(log: pa.Table) -> pa.Table:
    ids = pc.unique(log["item_id"])
    nothing = _no_names(len(ids))
    columns = [ids, ids, pa.nulls(len(ids)), nothing, nothing]
    schema = tables.schema(tables.ITEMS)
    return pa.table(columns, names=schema.names).cast(schema)


def _catalogue(file: _File, rule: ItemsTable, found: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    ids = _ids(file, "item_id", found)
    title = _strings(file, "title", found["title"]) if "title" in found else ids
    trimmed = pc.utf8_trim_whitespace(pc.fill_null(title, ""))
    columns = {
        "item_id": ids,
        "title": pc.if_else(pc.equal(trimmed, ""), ids, trimmed),
        "year": _years(file, found.get("year"), len(ids)),
        "categories": _lists(file, rule, "categories", found, len(ids)),
        "creators": _lists(file, rule, "creators", found, len(ids)),
    }
    return pa.table(columns).cast(tables.schema(tables.ITEMS))


def _strings(file: _File, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_null(kind) or pa.types.is_integer(kind)):
        raise file.wrong(f"column {name}: holds {kind}, expected text")
    return column.cast(pa.string())


def _years(file: _File, column: pa.ChunkedArray | None, rows: int) -> pa.ChunkedArray | pa.Array:
    if column is None:
        return pa.nulls(rows, pa.int32())
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return pc.year(column).cast(pa.int32())
    return file.made("year", file.numbers("year", column), lambda years: years.cast(pa.int32()))


def _lists(
    file: _File, rule: ItemsTable, name: str, found: Mapping[str, pa.ChunkedArray], rows: int
) -> pa.Array:
    """Names, without blanks around them and without empty ones."""
    kind = pa.list_(pa.string())
    if name not in found:
        return _no_names(rows)
    column = found[name]
    if pa.types.is_list(column.type):
        column = file.made(name, column, lambda lists: lists.cast(kind))
        cells = [cell or [] for cell in column.to_pylist()]
    else:
        texts = _strings(file, name, column).to_pylist()
        cells = [(text or "").split(rule.separator) for text in texts]
    named = [[part.strip() for part in cell if part and part.strip()] for cell in cells]
    return pa.array(named, kind)


def _no_names(rows: int) -> pa.Array:
    """So many empty lists."""
    offsets = pa.array([0] * (rows + 1), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array([], pa.string()))


def _texts(recipe: Recipe, found: Mapping[str, pa.ChunkedArray]) -> pa.Table | None:
    """Descriptions, where the file of the items has them."""
    if "text" not in found:
        return None
    text = pc.utf8_trim_whitespace(pc.fill_null(found["text"].cast(pa.string()), ""))
    given = pa.table({"item_id": found["item_id"].cast(pa.string()), "text": text})
    given = given.filter(pc.not_equal(given["text"], ""))
    constant = {
        "source": recipe.title,
        "url": recipe.licence.url,
        "licence": recipe.licence.name,
        "match": "given with the item",
    }
    for name, value in constant.items():
        given = given.append_column(name, pa.repeat(pa.scalar(value), len(given)))
    return given.cast(tables.schema(tables.DESCRIPTIONS))
