"""The recipe of a task, `task.toml`: written by people, and all that decides what it holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from llm4rec_bench.errors import TaskDataError, UsageError
from llm4rec_bench.files import read_bounded
from llm4rec_bench.metrics import Metric, parse_metric
from llm4rec_bench.pools import PERMUTATIONS, FirstStage, Negatives
from llm4rec_bench.split import SplitRule
from llm4rec_bench.task.source import Descriptions, Source, Url

RECIPE = "task.toml"
LARGEST_RECIPE = 1 << 18
"""Bytes of a recipe beyond which it is not read."""

RETRIEVAL, RERANKING = "retrieval", "reranking"
TASK_ID = r"[a-z0-9]+(-[a-z0-9]+)*-v[1-9][0-9]*"

TaskId = Annotated[str, msgspec.Meta(pattern=rf"^{TASK_ID}\Z", max_length=64)]


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is removed from the log before it is split."""

    min_rating: float | None = None
    k_core: int = 0


class Licence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under which terms the data may be used, and whether they may be published again."""

    name: str
    url: Url
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


BibTeX = Annotated[
    str, msgspec.Meta(pattern=r"\A\s*@[A-Za-z]+\{[^\s,{}]+,[^\x00-\x09\x0b-\x1f\x7f]*\}\s*\Z")
]


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
    citation: list[BibTeX] = []
    """The papers on the data, an entry of BibTeX each; go on the dataset card, and `cite` prints
    them."""

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


def is_task_id(text: str) -> bool:
    """Whether `text` is spelled like a task id; anything else is taken for a path."""
    return re.fullmatch(TASK_ID, text) is not None and len(text) <= 64
