"""Readers of raw data, in the layouts their publishers use.

A raw copy is a folder or a zip file (a wheel is one). Only files that a layout names are
read, each up to a stated size; nothing is ever unpacked to disk, so an archive can
neither write outside a folder nor fill one.
"""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from llm4rec_bench.errors import TaskDataError, printable, shown
from llm4rec_bench.interactions import LOG_SCHEMA
from llm4rec_bench.task import tables

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

LARGEST_FILE = 2 << 30
"""Bytes of one raw file, unpacked, beyond which it is not read."""


@dataclass(frozen=True, slots=True)
class RawData:
    """What a reader makes of a raw copy: the log, the catalogue and texts about items."""

    log: pa.Table
    """Columns of `interactions.LOG_SCHEMA`, in any row order."""
    items: pa.Table
    """Columns of the items table, in any row order; may hold items the log does not."""
    descriptions: pa.Table | None = None


class RawCopy:
    """A folder or zip file with raw data; files are found by name at any depth."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            self._names = [str(found.relative_to(path)) for found in path.rglob("*")]
        elif path.is_file():
            try:
                self._archive = zipfile.ZipFile(path)
            except _UNREADABLE as error:
                raise TaskDataError(
                    f"{path}: not a zip file ({printable(str(error), 200)}); "
                    "expected the publisher's zip or a folder with its files"
                ) from None
            self._names = self._archive.namelist()
        else:
            raise TaskDataError(f"{path}: no such folder or zip file")

    def find(self, name: str) -> str | None:
        """The path inside the copy of the file called `name`, the shallowest if several."""
        found = [path for path in self._names if PurePosixPath(path).name == name]
        return min(found, key=lambda path: (path.count("/"), path), default=None)

    def read(self, name: str) -> bytes:
        """The bytes of the file called `name`; TaskDataError where it cannot be read."""
        path = self.find(name)
        if path is None:
            raise TaskDataError(f"{self.path}: holds no file called {name}")
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


def read_raw(reader: str, path: Path) -> RawData:
    """Raw data from a folder or zip in any of the layouts that `reader` knows.

    Raises TaskDataError saying which files were looked for, or which line is wrong.
    """
    copy = RawCopy(path)
    layouts = _LAYOUTS[reader]
    for names, read in layouts.items():
        if all(copy.find(name) for name in names):
            return _checked(read(copy), copy)
    wanted = " or ".join(" and ".join(names) for names in layouts)
    raise TaskDataError(f"{path}: holds no data this task can be made of; expected {wanted}")


def _checked(data: RawData, copy: RawCopy) -> RawData:
    """Refuse ids that no later stage could tell apart or write down."""
    for name, table, keys in (
        ("log", data.log, ["user_id", "item_id"]),
        ("catalogue", data.items, ["item_id"]),
    ):
        for key in keys:
            column = table[key]
            bad = pc.or_(pc.equal(pc.binary_length(column), 0), pc.match_substring(column, "\0"))
            if column.null_count or pc.any(bad).as_py():
                raise TaskDataError(f"{copy.path}: the {name} holds an empty or broken {key}")
    if data.log["timestamp"].null_count:
        raise TaskDataError(f"{copy.path}: the log holds an event without a time")
    catalogue = data.items["item_id"]
    if len(pc.unique(catalogue)) != len(catalogue):
        raise TaskDataError(f"{copy.path}: the catalogue names an item twice")
    unknown = pc.invert(pc.is_in(data.log["item_id"], value_set=pc.unique(catalogue)))
    if pc.any(unknown).as_py():
        first = data.log["item_id"].filter(unknown)[0].as_py()
        raise TaskDataError(
            f"{copy.path}: the log names item {shown(first)}, which the catalogue does not hold"
        )
    return data


def _csv(
    copy: RawCopy, name: str, delimiter: str, columns: dict[str, pa.DataType], **reading: object
) -> pa.Table:
    """A delimited file without quoting; the columns named, with these types, nothing guessed."""
    data = copy.read(name)

    def read(use_threads: bool) -> pa.Table:
        options = {"column_names": list(columns), "encoding": "utf8", **reading}
        return pacsv.read_csv(
            io.BytesIO(data),
            pacsv.ReadOptions(use_threads=use_threads, **options),
            pacsv.ParseOptions(delimiter=delimiter, quote_char=False),
            pacsv.ConvertOptions(column_types=columns, strings_can_be_null=False, null_values=[]),
        )

    try:
        return read(use_threads=True)
    except (pa.ArrowException, UnicodeDecodeError):
        pass
    try:
        read(use_threads=False)  # slower, but it says in which row the fault is
    except (pa.ArrowException, UnicodeDecodeError) as error:
        said = printable(str(error).splitlines()[0], 200)
        raise TaskDataError(f"{copy.path}: {name}: {said}") from None
    raise AssertionError(f"{name} was read with one thread but not with several")


def _log(copy: RawCopy, name: str, delimiter: str, time: pa.DataType, skip_rows: int) -> pa.Table:
    """A log kept as user, item, rating and time; nothing in it is rounded."""
    text = pa.string()
    columns = {"user_id": text, "item_id": text, "rating": pa.float32(), "timestamp": time}
    events = _csv(copy, name, delimiter, columns, skip_rows=skip_rows)
    try:
        return events.select(LOG_SCHEMA.names).cast(LOG_SCHEMA)
    except pa.ArrowException as error:
        said = printable(str(error).splitlines()[0], 200)
        raise TaskDataError(f"{copy.path}: {name}: {said}") from None


# MovieLens 100K.

_GENRES = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
]  # fmt: skip

_TITLE_AND_YEAR = re.compile(r"(?P<title>.*?)\s*\((?P<year>[0-9]{4})\)(?:\s*\(V\))?\s*")
"""A MovieLens title: the year in brackets, and "(V)" after it for a film not shown in cinemas."""


def _movie_items(ids: list[str], titles: list[str], genres: list[list[str]]) -> pa.Table:
    matches = [_TITLE_AND_YEAR.fullmatch(title) for title in titles]
    columns = {
        "item_id": ids,
        "title": [m["title"] if m else t for m, t in zip(matches, titles, strict=True)],
        "year": [int(m["year"]) if m else None for m in matches],
        "categories": genres,
        "creators": [[] for _ in ids],
    }
    return pa.table(columns, schema=tables.SCHEMAS[tables.ITEMS])


def _grouplens_100k(copy: RawCopy) -> RawData:
    """GroupLens's own layout: tab-separated `u.data`, and `u.item` in Latin-1 split by bars."""
    columns = ["id", "title", "released", "video", "imdb", *_GENRES]
    text = dict.fromkeys(columns, pa.string())
    films = _csv(copy, "u.item", "|", text, encoding="latin-1")
    flags = [films[genre].to_pylist() for genre in _GENRES]
    genres = [
        [genre for genre, flag in zip(_GENRES, row, strict=True) if flag == "1"]
        for row in zip(*flags, strict=True)
    ]
    return RawData(
        _log(copy, "u.data", "\t", pa.int64(), skip_rows=0),
        _movie_items(films["id"].to_pylist(), films["title"].to_pylist(), genres),
    )


def _recbole_100k(copy: RawCopy) -> RawData:
    """RecBole's atomic files, which split GroupLens's titles at their last bracket.

    Joining the two parts again gives GroupLens's title, and one parser serves both. The
    one film without a title is misspelt there, in both parts.
    """
    text = dict.fromkeys(["id", "title", "year", "genres"], pa.string())
    films = _csv(copy, "ml-100k.item", "\t", text, skip_rows=1)
    titles = [
        "unknown" if title == year == "unkonwn" else f"{title} ({year})"
        for title, year in zip(films["title"].to_pylist(), films["year"].to_pylist(), strict=True)
    ]
    genres = [names.split() for names in films["genres"].to_pylist()]
    return RawData(
        _log(copy, "ml-100k.inter", "\t", pa.float64(), skip_rows=1),
        _movie_items(films["id"].to_pylist(), titles, genres),
    )


_LAYOUTS: dict[str, dict[tuple[str, ...], Callable[[RawCopy], RawData]]] = {
    "movielens-100k": {
        ("u.data", "u.item"): _grouplens_100k,
        ("ml-100k.inter", "ml-100k.item"): _recbole_100k,
    },
}
