"""A submission's card: who made it, what it is, and how to run it again."""

from __future__ import annotations

import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import msgspec

from llm4rec_bench.errors import CardRefused
from llm4rec_bench.task.recipe import TaskId

CARD = "submission.toml"
LARGEST_CARD = 1 << 18
"""Bytes of a card beyond which it is not read."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\Z", max_length=64)]
Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]
System = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z", max_length=200)]


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the parameters were chosen; never on test."""

    metric: str
    trials: Annotated[int, msgspec.Meta(ge=1)]
    grid: dict[str, list[Any]]
    """What was tried, by parameter."""
    task: TaskId
    track: str = "retrieval"
    notes: str = ""


class Adjusted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a card changes on one task."""

    params: dict[str, Any]
    tuning: Tuning | None = None


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
    seed: int = 0
    """Run number r is given seed + r."""
    runs: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    tasks: list[TaskId] = []
    """Tasks it is entered on."""
    tuning: Tuning | None = None
    on: dict[TaskId, Adjusted] = {}
    """Parameters that differ on a task, merged over `params`."""

    def params_on(self, task_id: str) -> dict[str, Any]:
        """The method's parameters on a task."""
        adjusted = self.on.get(task_id)
        return self.params | adjusted.params if adjusted else dict(self.params)

    def fingerprint(self, task_id: str) -> str:
        """Digest of all that decides a run on a task: system, parameters, seed, repeats."""
        decides = [self.system, self.params_on(task_id), self.seed, self.runs]
        return "sha256:" + sha256(msgspec.json.encode(decides, order="sorted")).hexdigest()


def read_card(folder: Path) -> Card:
    """The card in a submission's folder, or a card file itself.

    Raises CardRefused naming the file and the field.
    """
    path = folder / CARD if folder.is_dir() else folder
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise CardRefused(f"{path}: larger than {LARGEST_CARD >> 10} KiB")
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Card)
    except OSError as error:
        raise CardRefused(
            f"{path}: {error.strerror}; a submission is a folder with a {CARD}"
        ) from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise CardRefused(f"{path}: {error}") from None


def run_files(folder: Path) -> list[Path]:
    """The run files in a folder, by name."""
    endings = (".jsonl", ".jsonl.gz", ".jsonl.zst")
    return sorted(path for path in folder.iterdir() if path.name.endswith(endings))
