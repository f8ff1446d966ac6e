"""A submission's card: who made it, what it is, and how to run it again."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from llm4rec_bench.errors import CardRefused, nearest_hint, printable, shown
from llm4rec_bench.submission.prices import Paid
from llm4rec_bench.submission.tuning import Dimension, Parameter, Range, Tuning
from llm4rec_bench.task.recipe import TASK_ID, TRACKS, TaskId
from llm4rec_bench.texts import CONDITIONS, Condition

CARD = "submission.toml"
LARGEST_CARD = 1 << 18
"""Bytes of a card beyond which it is not read."""

_MOST_DOTS = 500
"""Dots of one line of a card: reading a dotted key takes the square of its parts."""

_WORDS = r"[a-z0-9]+(-[a-z0-9]+)*"
Name = Annotated[str, msgspec.Meta(pattern=rf"^({_WORDS}--)?{_WORDS}\Z", max_length=104)]
Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]
Title = Annotated[  # which cannot bear the mark that the board gives itself
    str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f✅✓✔☑]+\Z", max_length=200)
]
Link = Annotated[str, msgspec.Meta(pattern=r"^https://[!-~]+\Z", max_length=300)]
Place = Annotated[str, msgspec.Meta(pattern=rf"^{TASK_ID}(/({'|'.join(TRACKS)}))?\Z")]
System = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z", max_length=200)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Commit = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")]
RunName = Annotated[str, msgspec.Meta(pattern=rf"^{TASK_ID}\.({'|'.join(TRACKS)})\Z")]
Repeats = Annotated[int, msgspec.Meta(ge=1, le=100)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**15)]

Exposure = Literal["no", "possible", "yes"]
"""Whether pre-trained models may have seen the data set: `no` where what they were trained on is
known and holds nothing of it, `possible` where it is not known or holds texts of the open web,
`yes` where it is known to be among it. Saying so costs no rank."""


class Adjusted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a card changes on one task, or on one track of it."""

    params: dict[str, Any] = {}
    """Merged over the card's own."""
    runs: Repeats | None = None
    """How often the method is run there."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pre-trained model that a method stands on: one `[[models]]` of a card."""

    name: Line
    """As its publisher calls it, such as Qwen/Qwen2.5-7B-Instruct."""
    revision: Line
    """Which one exactly: a commit, a digest, or the dated name of a hosted model."""
    parameters: Count | None = None
    """How many it has; None where its publisher does not tell."""
    active_parameters: Count | None = None
    """How many compute a token, where that is not all of them."""
    training_data: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    """What it was trained on, as far as it is known, and until when."""


class Elsewhere(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a run file lies that is too large for the folder: in a dataset of the Hub."""

    repository: Line
    """ORG/NAME of the dataset."""
    commit: Commit
    """Of that repository, in full."""
    file: Line
    """Its path there."""
    digest: Digest
    """SHA-256 of the run file, unpacked; `llm4rec-bench submit` writes it."""


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`submission.toml`."""

    name: Name
    """The folder's name: LOGIN--NAME, where LOGIN is who may change the entry, in lower case."""
    title: Title
    """The system, as the board shows it."""
    authors: Annotated[list[Line], msgspec.Meta(min_length=1)]
    """Who entered it, as they want to be cited."""
    licence: Line
    """Of the run files."""
    description: Annotated[str, msgspec.Meta(max_length=10_000)]
    """What it is; which papers it follows, and where it departs from them."""
    hardware: Line
    """What the latencies were measured on."""
    command: Line
    """How to run it again from a checkout."""
    link: Link | None = None
    """Of the paper, or of a page on the system."""
    code: Link | None = None
    """Of the code, at the commit that made the runs."""
    system: System | None = None
    """``module:Class`` of the method; None for runs made outside this project."""
    params: dict[str, Any] = {}
    """The method's parameters."""
    reads: list[Condition] = []
    """What it reads of items beside their ids; a method run here is shown nothing else."""
    models: list[Model] = []
    """Every pre-trained model it stands on."""
    exposure: Exposure | None = None
    """Whether the models may have seen the data set; with `models` it must be said."""
    prompts: list[Line] = []
    """Prompts as name@hash, for runs made outside this project; a method's own are in `params`."""
    prices: Paid | None = None
    """What a million tokens cost, from which the board works out the cost of the runs."""
    concurrency: Count | None = None
    """Requests under way at once while latencies were measured."""
    test_looks: Count | None = None
    """How often a version of the method was scored on test, these runs included."""
    seed: int = 0
    """Run number r is given seed + r."""
    runs: Repeats = 1
    """How often it is run, each time with the candidates of a pool in another order."""
    tasks: list[TaskId] = []
    """Tasks it is entered on."""
    tracks: list[Annotated[str, msgspec.Meta(pattern=rf"^({'|'.join(TRACKS)})\Z")]] = []
    """Tracks it is entered on; all, if none is named."""
    tuning: Tuning | None = None
    """How the parameters were chosen, on validation."""
    on: dict[Place, Adjusted] = {}
    """What differs on ``<task>`` or ``<task>/<track>``: parameters, merged over `params`, and
    the number of runs."""
    elsewhere: dict[RunName, Elsewhere] = {}
    """Run files that lie in a dataset of the Hub, by ``<task>.<track>``."""

    def __post_init__(self) -> None:
        """Refuse models of which it is not said whether they have seen the data."""
        if self.models and self.exposure is None:
            raise ValueError(
                'exposure: is missing; a card with [[models]] says "no", "possible" or "yes"'
            )

    @property
    def owner(self) -> str | None:
        """Who may change the entry, as GitHub knows them; None for the project's own."""
        owner, marked, _ = self.name.rpartition("--")
        return owner if marked else None

    def tracks_of(self, there: Iterable[str]) -> list[str]:
        """Those of a task's tracks that it is entered on."""
        return [track for track in there if track in self.tracks or not self.tracks]

    def params_on(self, task_id: str, track: str) -> dict[str, Any]:
        """The method's parameters on a track of a task."""
        params = dict(self.params)
        for adjusted in self._on(task_id, track):
            params |= adjusted.params
        return params

    def runs_on(self, task_id: str, track: str) -> int:
        """How often it is run on a track of a task."""
        told = [by.runs for by in self._on(task_id, track) if by.runs is not None]
        return told[-1] if told else self.runs

    def _on(self, task_id: str, track: str) -> list[Adjusted]:
        return [self.on[place] for place in (task_id, f"{task_id}/{track}") if place in self.on]

    def fingerprint(self, task_id: str, track: str) -> str:
        """Digest of all that decides a run on a track: system, parameters, seed, repeats, reads."""
        runs = self.runs_on(task_id, track)
        decides: list[Any] = [self.system, self.params_on(task_id, track), self.seed, runs]
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
        text = path.read_text("utf-8")
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise CardRefused(f"{path}: a line holds more than {_MOST_DOTS} dots; break it")
        data = tomllib.loads(text)
        _refuse_secrets(path, data)
        return msgspec.convert(data, Card)
    except OSError as error:
        raise CardRefused(
            f"{path}: {error.strerror}; a submission is a folder with a {CARD}"
        ) from None
    except msgspec.ValidationError as error:
        raise CardRefused(f"{path}: {_explained(str(error), data)}") from None
    except RecursionError:
        raise CardRefused(f"{path}: is nested too deeply") from None
    except ValueError as error:  # of TOML, of UTF-8, and of a number with too many digits
        raise CardRefused(f"{path}: {printable(str(error), 300)}") from None


_SECRET = re.compile(
    r"(?:^|[_-])(?:api[_-]?(?:key|token)|access[_-]?key|auth[_-]?token|secret|password)\Z", re.I
)
"""Names of what opens an account; of other keys and tokens a method may have its own."""


def _refuse_secrets(path: Path, data: Mapping[str, Any], place: str = "") -> None:
    """Raise CardRefused where a table holds a key, without saying it: cards are published."""
    for name, value in data.items():
        where = f"{place}{printable(name)}"
        if isinstance(value, str) and _SECRET.search(name):
            raise CardRefused(
                f"{path}: {where}: a key never belongs on a card, which everybody reads; leave it "
                "out: it is read from an environment variable, which a model of kind openai calls "
                "api_key_env"
            )
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                _refuse_secrets(path, part, f"{where}.")


_SPELLINGS = {
    "name": "lower-case words joined by hyphens, after the owner's login and -- if it has one",
    "description": "at most 10,000 characters",
    "title": "one line of 1 to 200 characters, without the check mark that the board uses",
    "link": "an address that begins with https://, of ASCII characters",
    "code": "an address that begins with https://, of ASCII characters",
    "tasks": "a task id, such as ml-100k-v1",
    "tracks": ", ".join(TRACKS),
    "system": "module:Class",
    "on": "a task id, or <task>/<track>",
    "elsewhere": "<task>.<track> with a repository, commit (40 digits), file and digest",
    "tuning.space": "a parameter's name with 1 to 1,000 choices, or { low = …, high = … }",
}

_EXPECTED = {
    "reads": ", ".join(CONDITIONS),
    "exposure": "no, possible or yes",
    "tuning.sampler": "grid, random or tpe",
    "tuning.per": "track or task",
}
"""Fields that hold one of a few words."""

_PARTS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "tuning": (Tuning, "[tuning]"),
    "tuning.space": (Range, "a range"),
    "on": (Adjusted, "[on]"),
    "models": (Model, "[[models]]"),
    "prices": (Paid, "[prices]"),
    "elsewhere": (Elsewhere, "[elsewhere]"),
}
"""What may hold unknown fields beside the card itself, by place."""


_PLACE = re.compile(r" - at (?:`key` in )?`\$\.([^`]*)`\Z")


def _explained(said: str, data: dict[str, Any]) -> str:
    """What is wrong with a card, in its own terms: the field, and what belongs there."""
    found = _PLACE.search(said)
    message, field = (said, "") if found is None else (said[: found.start()], found[1])
    if message.startswith(("tuning.", "exposure: ")):  # our own words, which name the field
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
