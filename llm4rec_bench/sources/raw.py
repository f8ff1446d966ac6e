"""Raw data as it lies on disk, and what every reader makes of it.

A raw copy is one or more folders, zip files (a wheel is one) and plain files. Only files
that a layout names are read, each up to a stated size; nothing is ever unpacked to disk,
so an archive can neither write outside a folder nor fill one.
"""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from llm4rec_bench.errors import TaskDataError, nearest_hint, printable, shown
from llm4rec_bench.ids import LONGEST_ID
from llm4rec_bench.interactions import LOG_SCHEMA

_UNREADABLE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    EOFError,
    ValueError,
)
"""What damaged, locked or unknown archives raise."""

_ARCHIVES = {".zip", ".whl"}

LARGEST_FILE = 2 << 30
"""Bytes of one raw file, unpacked, beyond which it is not read."""


@dataclass(frozen=True, slots=True)
class RawData:
    """What a reader makes of a raw copy: the log, the catalogue and texts about items."""

    log: pa.Table
    """Columns of `interactions.LOG_SCHEMA`, in any row order unless `in_row_order`."""
    items: pa.Table
    """Columns of the items table, in any row order; may hold items the log does not."""
    descriptions: pa.Table | None = None
    imdb: Mapping[str, str] | None = None
    """IMDb number of each item that has one, without leading zeros."""
    log_name: str = "the log"
    items_name: str = "the catalogue"
    """What messages call the two."""
    in_row_order: bool = False
    """Whether the rows of the log are in the order of the events, which have no times."""


class RawCopy:
    """Folders, zip files and plain files with raw data; files are found by name at any depth."""

    def __init__(self, *paths: Path) -> None:
        self.path = ", ".join(map(str, paths))
        self._places = [_Place(path) for path in paths]

    def find(self, name: str) -> str | None:
        """The path inside the copy of the file called `name`, the shallowest if several."""
        return next(filter(None, (place.find(name) for place in self._places)), None)

    def read(self, name: str) -> bytes:
        """The bytes of the file called `name`; TaskDataError where it cannot be read."""
        for place in self._places:
            if (path := place.find(name)) is not None:
                return place.read(path)
        raise TaskDataError(f"{self.path}: holds no file called {name}")


class _Place:
    """One folder, zip file or plain file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            self._names = [str(found.relative_to(path)) for found in path.rglob("*")]
        elif not path.is_file():
            raise TaskDataError(f"{path}: no such file or folder")
        elif path.suffix in _ARCHIVES or zipfile.is_zipfile(path):
            try:
                self._archive = zipfile.ZipFile(path)
            except _UNREADABLE as error:
                raise TaskDataError(
                    f"{path}: not a zip file ({printable(str(error), 200)}); "
                    "expected the publisher's zip or a folder with its files"
                ) from None
            self._names = self._archive.namelist()
        else:
            self.path, self._names = path.parent, [path.name]

    def find(self, name: str) -> str | None:
        found = [path for path in self._names if PurePosixPath(path).name == name]
        return min(found, key=lambda path: (path.count("/"), path), default=None)

    def read(self, path: str) -> bytes:
        try:
            data = self._bytes(path)
        except _UNREADABLE as error:
            raise TaskDataError(
                f"{self.path}: {printable(path)} cannot be read ({printable(str(error), 200)})"
            ) from None
        if len(data) > LARGEST_FILE:
            raise TaskDataError(
                f"{self.path}: {printable(path)} is larger than {LARGEST_FILE >> 30} GiB unpacked"
            )
        return data

    def _bytes(self, path: str) -> bytes:
        if self._archive is None:
            with (self.path / path).open("rb") as file:
                return file.read(LARGEST_FILE + 1)
        with self._archive.open(path) as member:
            return member.read(LARGEST_FILE + 1)


def checked(data: RawData, copy: RawCopy) -> RawData:
    """Refuse ids that no later stage could tell apart or write down, and events without a time."""
    for name, table, keys in (
        (data.log_name, data.log, ["user_id", "item_id"]),
        (data.items_name, data.items, ["item_id"]),
    ):
        for key in keys:
            column = table[key]
            length = pc.binary_length(column)
            bad = pc.or_(pc.equal(length, 0), pc.match_substring(column, "\0"))
            if column.null_count or pc.any(bad).as_py():
                raise TaskDataError(f"{copy.path}: {name} holds an empty or broken {key}")
            if (pc.max(length).as_py() or 0) > LONGEST_ID:
                raise TaskDataError(
                    f"{copy.path}: {name} holds a {key} of more than {LONGEST_ID} bytes"
                )
    if data.log["timestamp"].null_count and not data.in_row_order:
        raise TaskDataError(f"{copy.path}: {data.log_name} holds an event without a time")
    catalogue = data.items["item_id"]
    if len(pc.unique(catalogue)) != len(catalogue):
        counts = pc.value_counts(catalogue.combine_chunks())
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
        raise TaskDataError(f"{copy.path}: {data.items_name} names item {shown(twice)} twice")
    unknown = pc.invert(pc.is_in(data.log["item_id"], value_set=pc.unique(catalogue)))
    if pc.any(unknown).as_py():
        first = data.log["item_id"].filter(unknown)[0].as_py()
        raise TaskDataError(
            f"{copy.path}: {data.log_name} names item {shown(first)}, which {data.items_name} does "
            f"not hold{nearest_hint(first, catalogue.to_pylist())}"
        )
    return data


def delimited(
    copy: RawCopy,
    name: str,
    delimiter: str,
    columns: Mapping[str, pa.DataType],
    *,
    quoted: bool = False,
    encoding: str = "utf8",
    skip_rows: int = 0,
    header: bool = False,
    data: bytes | None = None,
) -> pa.Table:
    """The columns named, with these types and nothing guessed, of a delimited file.

    Without `header`, `columns` are all there are, after `skip_rows` lines. `data` stands for
    the bytes of the file where they had to be changed first. An empty cell is an empty
    string; nothing else is taken for a missing value.
    """
    found = copy.read(name) if data is None else data
    names = {} if header else {"column_names": list(columns)}

    def read(use_threads: bool, block_size: int = 1 << 23) -> pa.Table:
        return pacsv.read_csv(
            io.BytesIO(found),
            pacsv.ReadOptions(
                use_threads=use_threads,
                block_size=block_size,
                encoding=encoding,
                skip_rows=skip_rows,
                **names,
            ),
            pacsv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
            ),
            pacsv.ConvertOptions(
                column_types=columns,
                include_columns=list(columns),
                strings_can_be_null=False,
                null_values=[],
            ),
        )

    try:
        return read(use_threads=True)
    except (pa.ArrowException, UnicodeDecodeError):
        pass
    try:
        # Slower, but it says in which row the fault is, and a cell may be of any length.
        return read(use_threads=False, block_size=max(len(found), 1) + 1)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        said = printable(str(error).splitlines()[0], 200)
        hint = "; is its encoding another?" if "UTF" in said or "codec" in said else ""
        raise TaskDataError(f"{copy.path}: {name}: {said}{hint}") from None


def as_log(copy: RawCopy, name: str, events: pa.Table) -> pa.Table:
    """A table in the columns and types of a log; nothing in it is rounded."""
    try:
        return events.select(LOG_SCHEMA.names).cast(LOG_SCHEMA)
    except pa.ArrowException as error:
        said = printable(str(error).splitlines()[0], 200)
        raise TaskDataError(f"{copy.path}: {name}: {said}") from None


Layouts = Mapping[tuple[str, ...], Callable[[RawCopy], RawData]]
"""Readers of a data set by the files that they need."""
