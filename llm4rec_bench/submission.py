"""A submission's card: who made it, what it is, and how to run it again."""

from __future__ import annotations

import re
import stat
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import msgspec

from llm4rec_bench.errors import CardRefused, nearest_hint, printable, shown
from llm4rec_bench.task.recipe import RETRIEVAL, TASK_ID, TRACKS, TaskId
from llm4rec_bench.texts import CONDITIONS, Condition

CARD = "submission.toml"
LARGEST_CARD = 1 << 18
"""Bytes of a card beyond which it is not read."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\Z", max_length=64)]
Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]
Place = Annotated[str, msgspec.Meta(pattern=rf"^{TASK_ID}(/({'|'.join(TRACKS)}))?\Z")]
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
    """What a card changes on one task, or on one track of it."""

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
    reads: list[Condition] = []
    """What it reads of items beside their ids; a method run here is shown nothing else."""
    seed: int = 0
    """Run number r is given seed + r."""
    runs: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    tasks: list[TaskId] = []
    """Tasks it is entered on."""
    tuning: Tuning | None = None
    on: dict[Place, Adjusted] = {}
    """Parameters that differ on ``<task>`` or ``<task>/<track>``, merged over `params`."""

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
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Card)
    except OSError as error:
        raise CardRefused(
            f"{path}: {error.strerror}; a submission is a folder with a {CARD}"
        ) from None
    except msgspec.ValidationError as error:
        raise CardRefused(f"{path}: {_explained(str(error))}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardRefused(f"{path}: {printable(str(error), 300)}") from None


_SPELLINGS = {
    "name": "lower-case words joined by hyphens, at most 64 characters",
    "tasks": "a task id, such as ml-100k-v1",
    "system": "module:Class",
    "on": "a task id, or <task>/<track>",
    "tuning.task": "a task id, such as ml-100k-v1",
}


def _explained(said: str) -> str:
    """What is wrong with a card, in its own terms: the field, and what belongs there."""
    message, _, place = said.partition(" - at `$.")
    field = place.rstrip("`")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        hint = nearest_hint(unknown[1], Card.__struct_fields__)
        return f"{shown(unknown[1])} is not a field of a card{hint}"
    if message.startswith("Invalid enum value") and field.startswith("reads"):
        return f"{printable(field)}: {printable(message)}; expected {', '.join(CONDITIONS)}"
    if " matching regex " in message or " of length " in message:
        known = _SPELLINGS.get(re.sub(r"\[.*", "", field), "one line of 1 to 200 characters")
        return f"{printable(field)}: expected {known}"
    return f"{printable(field)}: {printable(message, 200)}".removeprefix(": ")


def run_files(folder: Path) -> list[Path]:
    """The run files in a folder, by task and track."""
    endings = (".jsonl", ".jsonl.gz", ".jsonl.zst")
    found = [path for path in folder.iterdir() if path.name.endswith(endings)]
    return sorted(found, key=_by_task_and_track)


def _by_task_and_track(path: Path) -> tuple[str, bool, str]:
    """Sorts retrieval before the pool tracks of the same task, as everywhere."""
    task, _, rest = path.name.partition(".")
    track = rest.partition(".")[0]
    return task, track != RETRIEVAL, track
