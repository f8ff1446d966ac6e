"""The tables of a frozen task: their columns, their digests, and their Parquet files.

A digest is taken of the rows, not of the file. The canonical encoding of a table is,
for each column in order, its name and type, one validity byte a row, and its values
with nulls zeroed: numbers little-endian, strings as int64 byte lengths followed by
UTF-8, lists as int64 lengths followed by the encoding of their values. Parquet,
compression, chunking and dictionary encoding leave it alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.files import replacing

_IDS = pa.list_(pa.string())

INTERACTIONS = "interactions"
ITEMS = "items"
DESCRIPTIONS = "descriptions"
REQUESTS = "requests"
TARGETS = "targets"

_CANDIDATES = pa.schema(
    [
        ("split", pa.string()),
        ("request_id", pa.string()),
        ("permutation", pa.int8()),
        ("items", _IDS),
    ]
)

SCHEMAS: dict[str, pa.Schema] = {
    INTERACTIONS: pa.schema(
        [
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("timestamp", pa.int64()),
            ("rating", pa.float32()),
            ("part", pa.string()),
        ]
    ),
    ITEMS: pa.schema(
        [
            ("item_id", pa.string()),
            ("title", pa.string()),
            ("year", pa.int32()),
            ("categories", _IDS),
            ("creators", _IDS),
        ]
    ),
    DESCRIPTIONS: pa.schema(
        [
            ("item_id", pa.string()),
            ("text", pa.string()),
            ("source", pa.string()),
            ("url", pa.string()),
            ("licence", pa.string()),
            ("match", pa.string()),
        ]
    ),
    REQUESTS: pa.schema(
        [
            ("split", pa.string()),
            ("request_id", pa.string()),
            ("user_id", pa.string()),
            ("timestamp", pa.int64()),
            ("history", _IDS),
        ]
    ),
    TARGETS: pa.schema(
        [
            ("split", pa.string()),
            ("request_id", pa.string()),
            ("items", _IDS),
            ("tied", pa.bool_()),
        ]
    ),
}


def candidates(track: str) -> str:
    """Name of the table that holds a track's pools."""
    return f"candidates-{track}"


def schema(table: str) -> pa.Schema:
    """Columns of a table by name; raises KeyError for a table no task has."""
    return _CANDIDATES if table.startswith("candidates-") else SCHEMAS[table]


def parquet_path(folder: Path, table: str) -> Path:
    """Where a frozen task's folder keeps a table."""
    return folder / "data" / f"{table}.parquet"


_TOGETHER = 1 << 17
"""Rows that are encoded in one go, so that memory stays bounded."""


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...


def content_digest(table: pa.Table) -> str:
    """``sha256:…`` over the canonical encoding of a table's rows (see the module)."""
    return _digest_of(table.num_rows, zip(table.schema, table.columns, strict=True))


def _digest_of(rows: int, columns: Iterable[tuple[pa.Field, pa.ChunkedArray]]) -> str:
    hashed = sha256(f"llm4rec-bench table {rows}\n".encode())
    for field, column in columns:
        hashed.update(f"{field.name} {_type_name(field.type)}\n".encode())
        _encode([part for chunk in column.chunks for part in _parts(chunk)], field.type, hashed)
    return f"sha256:{hashed.hexdigest()}"


def _type_name(kind: pa.DataType) -> str:
    # Arrow and Parquet name the cells of a list differently; the digest must not.
    return f"list<{_type_name(kind.value_type)}>" if pa.types.is_list(kind) else str(kind)


def _parts(column: pa.Array) -> list[pa.Array]:
    """A column in parts of bounded length, which share its memory."""
    return [column.slice(place, _TOGETHER) for place in range(0, len(column), _TOGETHER)]


def _encode(parts: Sequence[pa.Array], kind: pa.DataType, hashed: _Hash) -> None:
    """Hash a column that is given in parts; how it is parted leaves the digest alone."""
    for part in parts:
        hashed.update(part.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_list(kind):
        for part in parts:
            _numbers(pc.fill_null(pc.list_value_length(part), 0).cast(pa.int64()), hashed)
        cells = [cell for part in parts for cell in _parts(pc.list_flatten(part))]
        _encode(cells, kind.value_type, hashed)
    elif pa.types.is_string(kind):
        texts = [pc.fill_null(part, "") if part.null_count else part for part in parts]
        for text in texts:
            _numbers(pc.binary_length(text).cast(pa.int64()), hashed)
        for text in texts:
            for chunk in _utf8(text):
                hashed.update(chunk)
    else:
        boolean = pa.types.is_boolean(kind)
        for part in parts:
            known = pc.fill_null(part, pa.scalar(0, kind) if not boolean else False)
            _numbers(known.cast(pa.uint8()) if boolean else known, hashed)


def _numbers(column: pa.Array, hashed: _Hash) -> None:
    values = column.to_numpy(zero_copy_only=False)
    hashed.update(values.astype(values.dtype.newbyteorder("<")).tobytes())


def _utf8(column: pa.Array) -> list[memoryview]:
    """The bytes of a string column without nulls, end to end."""
    if not len(column):
        return []
    wide = column.cast(pa.large_string())
    _, offsets, data = wide.buffers()
    bounds = memoryview(offsets).cast("q")[wide.offset : wide.offset + len(wide) + 1]
    return [memoryview(data)[bounds[0] : bounds[-1]]] if data is not None else []


def track_digest(task: str, track: str, tables: dict[str, str]) -> str:
    """One digest over the tables that decide a track's score; `tables` maps name to digest.

    Descriptions and other tracks' pools are not among them, so that adding either leaves
    the entries of this track valid.
    """
    deciding = {INTERACTIONS, ITEMS, REQUESTS, TARGETS, candidates(track)} & tables.keys()
    lines = [f"llm4rec-bench track {task} {track}"]
    lines += [f"{name} {tables[name]}" for name in sorted(deciding)]
    return "sha256:" + sha256("\n".join(lines).encode()).hexdigest()


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all."""
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd", compression_level=9)


def read_table(folder: Path, table: str, digest: str) -> pa.Table:
    """A table of a frozen task, its rows checked against `digest`; see `read_columns`."""
    return pa.table(read_columns(folder, table, digest, dict.fromkeys(schema(table).names, _same)))


def _same(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column


def read_columns(
    folder: Path,
    table: str,
    digest: str | None,
    columns: Mapping[str, Callable[[pa.ChunkedArray], Any]],
) -> dict[str, Any]:
    """What is made of some columns of a frozen task's table, its rows checked against `digest`.

    Columns are read one at a time, in the order of the table, and given to the function that
    stands for them in `columns`, so that no more than one lies in memory. The others are read
    as well, to be checked, unless `digest` is None. Raises TaskDataError naming the file
    where it is missing, unreadable or different.
    """
    path = parquet_path(folder, table)
    made: dict[str, Any] = {}
    found = None
    try:
        # ParquetFile rather than read_table, which loads the dataset machinery first.
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.names != schema(table).names:
                raise pa.ArrowInvalid(f"its columns are {', '.join(file.schema_arrow.names)}")

            def read(names: Collection[str]) -> Iterator[tuple[pa.Field, pa.ChunkedArray]]:
                for field in schema(table):
                    if field.name in names:
                        column = file.read([field.name]).column(0).cast(field.type)
                        if field.name in columns:
                            made[field.name] = columns[field.name](column)
                        yield field, column
                        del column
                        pa.default_memory_pool().release_unused()  # what decoding it took

            if digest is None:
                deque(read(columns), maxlen=0)
            else:
                found = _digest_of(file.metadata.num_rows, read(schema(table).names))
    except FileNotFoundError:
        raise TaskDataError(f"{path}: no such file; download the task again") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TaskDataError(
            f"{path}: cannot be read as Parquet ({_first_line(error)}); download the task again"
        ) from None
    if found != digest:
        raise TaskDataError(
            f"{path}: table {table} differs from the frozen one: "
            f"found {found}, expected {digest}; download the task again"
        )
    return made


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
