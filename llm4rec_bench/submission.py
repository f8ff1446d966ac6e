"""A submission's card: who made it, what it is, and how to run it again."""

from __future__ import annotations

import math
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from llm4rec_bench.errors import CardRefused, UsageError, nearest_hint, printable, shown
from llm4rec_bench.metrics import parse_metric
from llm4rec_bench.recording import MARK
from llm4rec_bench.task.recipe import RETRIEVAL, TASK_ID, TRACKS, TaskId
from llm4rec_bench.texts import CONDITIONS, Condition

CARD = "submission.toml"
LARGEST_CARD = 1 << 18
"""Bytes of a card beyond which it is not read."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\Z", max_length=64)]
Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]
Place = Annotated[str, msgspec.Meta(pattern=rf"^{TASK_ID}(/({'|'.join(TRACKS)}))?\Z")]
System = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z", max_length=200)]


Choice = bool | int | float | str
"""A value that a parameter may be tried with."""

_FARTHEST = 10**15
"""Numbers of a space lie between this and its negative, so that arithmetic is exact enough."""

_NEAREST = 1e-15
"""Least width of a range that is not of whole numbers, and least number of a logarithmic one."""

_LARGEST_GRID = 10_000
"""Combinations of a grid."""


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The numbers from `low` to `high`, both included: whole ones, if all that is given is."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether ratios count and not differences, so that 1 to 10 is as wide as 10 to 100."""
    step: int | float | None = None
    """Between neighbouring numbers; they start at `low`."""

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return all(isinstance(given, int) for given in (self.low, self.high, self.step or 0))

    @property
    def size(self) -> int | None:
        """How many numbers it holds; None where there is no end of them."""
        step = 1 if self.whole and self.step is None else self.step
        return None if step is None else round((self.high - self.low) / step) + 1

    def fault(self) -> str | None:
        """Why it is no range, if it is none."""
        given = (self.low, self.high, self.step or 0)
        if not all(math.isfinite(number) and abs(number) <= _FARTHEST for number in given):
            return "its numbers must lie between -1e15 and 1e15"
        if self.low >= self.high:
            return f"low is {self.low} and high {self.high}; low must be the smaller one"
        if not self.whole and self.high - self.low < max(_NEAREST, abs(self.high) / 1e9):
            return f"low is {self.low} and high {self.high}, with next to nothing between them"
        if self.log and self.low < _NEAREST:
            return f"log needs a low above 0, found {self.low}"
        if self.step is None:
            return None
        if self.log:
            return "log and step do not go together; give one of them"
        if not 0 < self.step <= self.high - self.low:
            return f"step is {self.step}; expected more than 0 and at most high - low"
        # In decimals, as people wrote them: .1 + .1 + .1 is not .3 in binary.
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        if over := (high - low) % step:
            return (
                f"high must be low plus whole steps, such as {high - over} or {high - over + step}"
            )
        return None


Choices = Annotated[list[Choice], msgspec.Meta(min_length=1, max_length=1000)]
Dimension = Range | Choices
Parameter = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_]\w*\Z", max_length=64)]


def size_of(space: Mapping[str, Dimension]) -> int | None:
    """How many combinations a space holds; None where there is no end of them."""
    sizes = [by.size if isinstance(by, Range) else len(by) for by in space.values()]
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the parameters are chosen, on the validation split and never on test."""

    metric: str
    space: dict[Parameter, Dimension]
    """What is tried, by parameter."""
    sampler: Literal["grid", "random", "tpe"] = "grid"
    """How: every combination of choices; by chance; where good values lay so far (the
    tree-structured Parzen estimator of Bergstra et al., 2011)."""
    trials: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    """For each place; None for the whole grid."""
    seed: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0
    """Of the sampler."""
    per: Literal["track", "task"] = "track"
    """Whether each track has parameters of its own, or those chosen on `retrieval` serve all
    tracks of a task."""
    notes: str = ""

    @property
    def size(self) -> int | None:
        """How many different trials there can be; None where there is no end of them."""
        return size_of(self.space)

    def __post_init__(self) -> None:
        """Refuse a space in which nothing can be tried, or not so."""
        try:
            parse_metric(self.metric)
        except UsageError as error:
            raise ValueError(f"tuning.metric: {error}") from None
        if not self.space:
            raise ValueError("tuning.space: names no parameter")
        for name, dimension in self.space.items():
            fault = dimension.fault() if isinstance(dimension, Range) else _repeated(dimension)
            if fault is not None:
                raise ValueError(f"tuning.space.{name}: {fault}")
        if self.sampler == "grid":
            self._refuse_large_grid()
        elif self.trials is None:
            raise ValueError("tuning.trials: is missing; only a grid is tried whole without it")

    def _refuse_large_grid(self) -> None:
        other = 'sampler = "random" or "tpe"'
        for name, dimension in self.space.items():
            if isinstance(dimension, Range):
                raise ValueError(
                    f"tuning.space.{name}: a grid takes lists only; give one, or {other}"
                )
        if self.size is not None and self.size > _LARGEST_GRID:
            raise ValueError(
                f"tuning.space: has {self.size:,} combinations, of which a grid may have "
                f"{_LARGEST_GRID:,}; {other} tries some of them"
            )


def _repeated(choices: list[Choice]) -> str | None:
    """Why some choices are none, if so."""
    for place, choice in enumerate(choices):
        if isinstance(choice, float) and not math.isfinite(choice):
            return f"{choice} is not a finite number"
        if choice in choices[:place]:
            return f"names {shown(choice)} twice"
    return None


class Adjusted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a card changes on one task, or on one track of it."""

    params: dict[str, Any]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`submission.toml`."""

    name: Name
    title: Line
    authors: Annotated[list[Line], msgspec.Meta(min_length=1)]
    licence: Line
    description: str
    hardware: Line
    command: Line
    """How to run it again from a checkout."""
    system: System | None = None
    """``module:Class`` of the method; None for runs made outside this project."""
    params: dict[str, Any] = {}
    reads: list[Condition] = []
    """What it reads of items beside their ids; a method run here is shown nothing else."""
    seed: int = 0
    """Run number r is given seed + r."""
    runs: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    tasks: list[TaskId] = []
    """Tasks it is entered on."""
    tracks: list[Annotated[str, msgspec.Meta(pattern=rf"^({'|'.join(TRACKS)})\Z")]] = []
    """Tracks it is entered on; all, if none is named."""
    tuning: Tuning | None = None
    on: dict[Place, Adjusted] = {}
    """Parameters that differ on ``<task>`` or ``<task>/<track>``, merged over `params`."""

    def tracks_of(self, there: Iterable[str]) -> list[str]:
        """Those of a task's tracks that it is entered on."""
        return [track for track in there if track in self.tracks or not self.tracks]

    def params_on(self, task_id: str, track: str) -> dict[str, Any]:
        """The method's parameters on a track of a task."""
        params = dict(self.params)
        for place in (task_id, f"{task_id}/{track}"):
            if place in self.on:
                params |= self.on[place].params
        return params

    def fingerprint(self, task_id: str, track: str) -> str:
        """Digest of all that decides a run on a track: system, parameters, seed, repeats, reads."""
        decides: list[Any] = [self.system, self.params_on(task_id, track), self.seed, self.runs]
        if self.reads:
            decides.append(sorted(set(self.reads)))
        return "sha256:" + sha256(msgspec.json.encode(decides, order="sorted")).hexdigest()


def read_card(folder: Path) -> Card:
    """The card in a submission's folder, or a card file itself.

    Raises CardRefused naming the file and the field.
    """
    path = folder / CARD if folder.is_dir() else folder
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise CardRefused(f"{path}: is not a regular file")
        if state.st_size > LARGEST_CARD:
            raise CardRefused(f"{path}: larger than {LARGEST_CARD >> 10} KiB")
        data = tomllib.loads(path.read_text("utf-8"))
        return msgspec.convert(data, Card)
    except OSError as error:
        raise CardRefused(
            f"{path}: {error.strerror}; a submission is a folder with a {CARD}"
        ) from None
    except msgspec.ValidationError as error:
        raise CardRefused(f"{path}: {_explained(str(error), data)}") from None
    except RecursionError:
        raise CardRefused(f"{path}: is nested too deeply") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardRefused(f"{path}: {printable(str(error), 300)}") from None


_SPELLINGS = {
    "name": "lower-case words joined by hyphens, at most 64 characters",
    "tasks": "a task id, such as ml-100k-v1",
    "tracks": ", ".join(TRACKS),
    "system": "module:Class",
    "on": "a task id, or <task>/<track>",
    "tuning.space": "a parameter's name with 1 to 1,000 choices, or { low = …, high = … }",
}

_EXPECTED = {
    "reads": ", ".join(CONDITIONS),
    "tuning.sampler": "grid, random or tpe",
    "tuning.per": "track or task",
}
"""Fields that hold one of a few words."""

_PARTS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "tuning": (Tuning, "[tuning]"),
    "tuning.space": (Range, "a range"),
    "on": (Adjusted, "[on]"),
}
"""What may hold unknown fields beside the card itself, by place."""


_PLACE = re.compile(r" - at (?:`key` in )?`\$\.([^`]*)`\Z")


def _explained(said: str, data: dict[str, Any]) -> str:
    """What is wrong with a card, in its own terms: the field, and what belongs there."""
    found = _PLACE.search(said)
    message, field = (said, "") if found is None else (said[: found.start()], found[1])
    if message.startswith("tuning."):  # our own words, which name the field
        return printable(message, 400)
    part = field.partition("[")[0]
    if field.startswith("tuning.space["):
        field = f"tuning.space.{_culprit(data['tuning']['space'])}"
    return f"{printable(field)}: {_mend(message, part)}".removeprefix(": ")


def _mend(message: str, part: str) -> str:
    """What the library says of a part of a card, and what belongs there."""
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        kind, called = _PARTS.get(part, (Card, "a card"))
        hint = nearest_hint(unknown[1], kind.__struct_fields__)
        return f"{shown(unknown[1])} is not a field of {called}{hint}"
    if message.startswith("Invalid enum value"):
        return f"{printable(message)}; expected {_EXPECTED.get(part, 'another one')}"
    if " matching regex " in message or " of length " in message or "object | array" in message:
        return f"expected {_SPELLINGS.get(part, 'one line of 1 to 200 characters')}"
    return printable(message, 200)


def _culprit(space: dict[str, Any]) -> str:
    """The first parameter whose space is none; the library tells of the kind of place only."""
    for name, dimension in space.items():
        try:
            msgspec.convert({name: dimension}, dict[Parameter, Dimension])
        except msgspec.ValidationError:
            return name
    return "?"


def run_files(folder: Path) -> list[Path]:
    """The run files in a folder, by task and track."""
    endings = (".jsonl", ".jsonl.gz", ".jsonl.zst")
    found = [
        path for path in folder.iterdir() if path.name.endswith(endings) and MARK not in path.name
    ]
    return sorted(found, key=_by_task_and_track)


def _by_task_and_track(path: Path) -> tuple[str, bool, str]:
    """Sorts retrieval before the pool tracks of the same task, as everywhere."""
    task, _, rest = path.name.partition(".")
    track = rest.partition(".")[0]
    return task, track != RETRIEVAL, track
