"""`tuning.json`: every trial by which a submission's parameters were chosen. Generated.

It lies beside the card, a trial a line, so that a reviewer sees what was tried and a
difference shows what was added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from llm4rec_bench.errors import CardRefused, printable
from llm4rec_bench.files import read_bounded, replace_text
from llm4rec_bench.split import VALIDATION
from llm4rec_bench.submission import Card, Choice, Dimension, Parameter, Range, Tuning
from llm4rec_bench.task import FORMAT
from llm4rec_bench.task.recipe import RETRIEVAL, TaskId, TrackName
from llm4rec_bench.texts import Condition
from llm4rec_bench.tuning.space import inside

TUNING = "tuning.json"
LARGEST = 1 << 26
"""Bytes of a `tuning.json` beyond which it is not read."""

Params = dict[Parameter, Choice]


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One set of parameters, and what came of it on the validation split."""

    number: int
    params: Params
    state: Literal["ok", "failed"]
    seconds: Annotated[float, msgspec.Meta(ge=0)]
    """To fit, rank every request and score."""
    value: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """The metric; None where the method failed."""
    error: str = ""
    """Why it failed."""


class Study(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trials of one track of a task, and all that decides them."""

    task: TaskId
    track: TrackName
    serves: list[TrackName]
    """The tracks whose parameters it chooses."""
    digest: str
    """Of the track."""
    split: Literal["validation"]
    metric: str
    sampler: Literal["grid", "random", "tpe"]
    seed: int
    """Of the sampler."""
    space: dict[Parameter, Dimension]
    system: str
    held: dict[str, Any]
    """The method's other parameters."""
    reads: list[Condition]
    method_seed: int
    optuna: list[str]
    """Versions of the library that drew trials; empty for a grid, which needs none."""
    best: int | None
    """Number of the best trial, the earliest of equal ones; None where all failed."""
    trials: list[Trial]

    @property
    def best_trial(self) -> Trial | None:
        """The best trial; None where all failed."""
        return None if self.best is None else self.trials[self.best]

    def with_trial(self, trial: Trial, version: str | None) -> Study:
        """The study with one more trial, drawn by a version of optuna."""
        trials = [*self.trials, trial]
        drawn = [] if version is None or version in self.optuna else [version]
        return msgspec.structs.replace(
            self, trials=trials, best=best_of(trials), optuna=self.optuna + drawn
        )


class Tried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tuning.json`."""

    format: str
    studies: list[Study]

    def study(self, task: str, track: str) -> Study | None:
        """The study that was made on a track."""
        made = (by for by in self.studies if (by.task, by.track) == (task, track))
        return next(made, None)


_DECIDES = {
    "digest": "version of the task",
    "metric": "metric",
    "sampler": "sampler",
    "seed": "seed of the sampler",
    "space": "space",
    "system": "system",
    "held": "value of a param that is not tuned",
    "reads": "list of what the method reads",
    "method_seed": "seed",
}
"""What decides which trials a study has, and how it is called."""


def new_study(
    card: Card, tuning: Tuning, task: str, track: str, serves: Sequence[str], digest: str
) -> Study:
    """The study of a card on a track, without a trial."""
    params = card.params_on(task, track)
    made = {
        "task": task,
        "track": track,
        "serves": list(serves),
        "digest": digest,
        "split": VALIDATION,
        "metric": tuning.metric,
        "sampler": tuning.sampler,
        "seed": tuning.seed,
        "space": tuning.space,
        "system": card.system,
        "held": {name: value for name, value in params.items() if name not in tuning.space},
        "reads": sorted(set(card.reads)),
        "method_seed": card.seed,
        "optuna": [],
        "best": None,
        "trials": [],
    }
    return msgspec.json.decode(msgspec.json.encode(made), type=Study)  # as it will be read again


def differing(study: Study, expected: Study) -> list[str]:
    """In what a study is not the one expected, in words; empty where its trials count."""
    return [
        called
        for field, called in _DECIDES.items()
        if getattr(study, field) != getattr(expected, field)
    ]


def best_of(trials: Iterable[Trial]) -> int | None:
    """Number of the best trial, the earliest of equal ones."""
    ok = [trial for trial in trials if trial.value is not None]
    best = min(ok, key=lambda trial: (-(trial.value or 0.0), trial.number), default=None)
    return None if best is None else best.number


def read_tried(folder: Path) -> Tried:
    """The trials beside a card; none where there is no file.

    Raises CardRefused where the file is damaged, or says what no tuning can have written.
    """
    path = folder / TUNING
    try:
        tried = msgspec.json.decode(read_bounded(path, LARGEST), type=Tried)
    except FileNotFoundError:
        return Tried(FORMAT, [])
    except (msgspec.DecodeError, RecursionError) as error:
        raise CardRefused(f"{path}: {printable(str(error), 300)}; {_MEND}") from None
    except OSError as error:
        raise CardRefused(f"{path}: {error.strerror}; {_MEND}") from None
    if tried.format != FORMAT:
        raise CardRefused(f"{path}: is not of format {FORMAT}; {_MEND}")
    for study in tried.studies:
        if fault := _fault(study):
            raise CardRefused(
                f"{path}: {study.task} {study.track}: {printable(fault, 300)}; {_MEND}"
            )
    return tried


_MEND = "it is generated: put it back as it was, or remove it and tune again"


def _fault(study: Study) -> str | None:
    """Why a study cannot be what a tuning wrote, if so."""
    for name, dimension in study.space.items():
        if isinstance(dimension, Range) and (fault := dimension.fault()):
            return f"space.{name}: {fault}"
    seen = set()
    for number, trial in enumerate(study.trials):
        who = f"trial {number}"
        if trial.number != number:
            return f"{who} has the number {trial.number}"
        if (trial.value is None) != (trial.state == "failed"):
            return f"{who} is {trial.state} with the value {trial.value}"
        if trial.params.keys() != study.space.keys():
            return f"the params of {who} are not those of the space"
        for name, value in trial.params.items():
            if not inside(value, study.space[name]):
                return f"{who}: {name} = {value!r} is outside the space"
        seen.add(tuple(trial.params[name] for name in study.space))
        if len(seen) == number:
            return f"{who} repeats an earlier one"
    if study.best != best_of(study.trials):
        return f"best is {study.best}, but trial {best_of(study.trials)} is the best"
    return None


def save_study(folder: Path, study: Study) -> None:
    """Put a study into `tuning.json`; it serves its tracks then, and no other study does."""
    studies = [study]
    for other in read_tried(folder).studies:
        if (other.task, other.track) == (study.task, study.track):
            continue
        taken = study.serves if other.task == study.task else []
        if serves := [track for track in other.serves if track not in taken]:
            studies.append(msgspec.structs.replace(other, serves=serves))
    ordered = sorted(studies, key=_by_task_and_track)
    replace_text(folder / TUNING, as_text(Tried(FORMAT, ordered)))


def _by_task_and_track(study: Study) -> tuple[str, bool, str]:
    return study.task, study.track != RETRIEVAL, study.track


def as_text(tried: Tried) -> str:
    """The text of `tuning.json`: a line for what decides a study, and one for each trial."""
    studies = ",\n".join(_study_text(study) for study in tried.studies)
    return f'{{"format": {_json(tried.format)}, "studies": [\n{studies}\n]}}\n'


def _study_text(study: Study) -> str:
    head = _json(msgspec.structs.replace(study, trials=[])).removesuffix("[]}")
    return f"{head}[\n" + ",\n".join(map(_json, study.trials)) + "\n]}"


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
