"""Choosing a card's parameters: trial after trial on the validation split, then the card.

A trial goes the way of every run: the method is made with its parameters, fitted on what the
validation split may see, ranks every validation request, and its run file is read and scored
as any other. Nothing here names the test split, and no trial reads its targets.
"""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from llm4rec_bench.errors import BenchError, CardRefused, UsageError, printable
from llm4rec_bench.files import only_one, replace_text
from llm4rec_bench.metrics import parse_metric, per_request
from llm4rec_bench.run import execute as running
from llm4rec_bench.run import read_run
from llm4rec_bench.run.execute import MethodFailed, execute, load_method
from llm4rec_bench.split import VALIDATION
from llm4rec_bench.statistics import mean, rounded
from llm4rec_bench.submission import CARD, Card, Range, Tuning, read_card
from llm4rec_bench.task import Task
from llm4rec_bench.tuning.edit import check_editable, with_params
from llm4rec_bench.tuning.follow import trials_wanted, tuned_track
from llm4rec_bench.tuning.record import (
    TUNING,
    Params,
    Study,
    Trial,
    differing,
    new_study,
    read_tried,
    save_study,
)
from llm4rec_bench.tuning.search import next_params, optuna_version, own_params

_TOGETHER = 4096
"""Requests that a method is handed at once."""

_GIVES_UP = 3
"""Trials at the start of a study that may fail before it is given up."""

_SCRATCH = ".trial"
"""Name of a trial's run file, beside the card; it is gone when the trial is."""

_LONGEST_ERROR = 300
"""Characters of a failed trial's error that are kept."""


class Watcher(running.Watcher):
    """Told how a tuning comes along; this one says nothing."""

    def tried(self, study: Study, wanted: int) -> None:
        """A study has so many trials of those wanted; called once before the first, too."""

    def say(self, line: str) -> None:
        """Something worth knowing."""


class Place(NamedTuple):
    """Where parameters are chosen, and what they serve."""

    task: Task
    track: str
    serves: Sequence[str]
    name: str
    """Key of the card's table for them: ``<task>/<track>`` or ``<task>``."""
    defaults: Mapping[str, Any] = {}
    """What the method takes for parameters that the card does not name."""


def places(card: Card, task: Task, tracks: Sequence[str] = ()) -> list[Place]:
    """Where a card's parameters are chosen on a task: on all tracks, or on those named.

    Raises CardRefused where the card states no tuning, or one that the task does not go with.
    """
    tuning = _tuning(card)
    every = card.tracks_of(task.recipe.tracks)
    for track in tracks:
        task.track(track)
    if tuning.per == "task" and tracks:
        raise UsageError(f'{card.name}: tuning.per is "task", so all tracks share one search')
    if tuning.per == "task":
        found = [Place(task, tuned_track(tuning, every[0], every), every, task.id)]
    else:
        found = [Place(task, track, [track], f"{task.id}/{track}") for track in tracks or every]
    return [_checked(card, tuning, place) for place in found]


def _tuning(card: Card) -> Tuning:
    if card.tuning is None:
        raise CardRefused(f"{card.name}: the card has no [tuning] table, so nothing is to choose")
    return card.tuning


def _checked(card: Card, tuning: Tuning, place: Place) -> Place:
    """Refuse a metric that is not computed, and params that the method does not take."""
    known = place.task.track(place.track).metrics
    if tuning.metric not in known:
        raise CardRefused(
            f"{card.name}: tuning.metric: {tuning.metric} is not computed on {place.track} of "
            f"{place.task.id}; expected {', '.join(known)}"
        )
    space = tuning.space.items()
    some = {name: by.low if isinstance(by, Range) else by[0] for name, by in space}
    some |= card.params_on(place.task.id, place.track)
    with suppress(MethodFailed):  # perhaps with these values only: the trials will tell
        load_method(_card_with(card, some), place.task.id, place.track)
        return place._replace(defaults=_defaults(card.system or ""))
    return place


def _defaults(system: str) -> dict[str, Any]:
    """The values that the parameters of a method have of their own."""
    module, _, name = system.partition(":")
    takes = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    return {by.name: by.default for by in takes.values() if by.default is not by.empty}


def _card_with(card: Card, params: dict[str, Any]) -> Card:
    return msgspec.structs.replace(card, params=params, on={}, runs=1)


def tune(
    path: Path,
    place: Place,
    *,
    trials: int | None = None,
    overwrite: bool = False,
    workspace: Path | None = None,
    watcher: Watcher = Watcher(),  # noqa: B008 - it holds nothing
) -> Study:
    """Choose the parameters of the card at `path` on a place, and write them into it.

    Trials are written to `tuning.json` beside the card one by one, so that whatever ends this,
    the next call goes on after the last of them. There are `trials` of them, or as many as the
    card says; a study of other rules, of another version of the task, or without a success is
    made anew, and any with `overwrite`. The card is changed once all are there.

    Raises CardRefused where the card cannot be tuned or another process is at it, MethodFailed
    where all of the first trials fail, and UsageError where a library is missing.
    """
    check_editable()
    folder = path if path.is_dir() else path.parent
    with only_one(folder / TUNING, f"{folder}: another process is tuning this card"):
        card = read_card(path)
        tuner = _Tuner(folder, card, place, workspace, watcher)
        study = tuner.search(_begun(folder, card, place, overwrite), trials)
        if study not in read_tried(folder).studies:  # no trial was missing, but it serves others
            save_study(folder, study)
        _follow(path, place, study)
    return study


def _begun(folder: Path, card: Card, place: Place, overwrite: bool) -> Study:
    """The study to go on with: the one that is there, if its trials count, or a new one."""
    empty = _empty(card, place)
    there = None if overwrite else read_tried(folder).study(place.task.id, place.track)
    if there is None or there.best is None or differing(there, empty):
        return empty
    return msgspec.structs.replace(there, serves=empty.serves)


def _empty(card: Card, place: Place) -> Study:
    digest = place.task.digest(place.track)
    return new_study(card, _tuning(card), place.task.id, place.track, place.serves, digest)


@dataclass(frozen=True, slots=True)
class _Tuner:
    """One card on one place."""

    folder: Path
    card: Card
    place: Place
    workspace: Path | None
    watcher: Watcher

    def search(self, study: Study, trials: int | None) -> Study:
        """The study once it has all its trials."""
        version = optuna_version(study)
        wanted = trials_wanted(_tuning(self.card), trials)
        first = {**self.place.defaults, **self.card.params_on(study.task, study.track)}
        if not study.trials and own_params(study, first) is None:
            self.watcher.say(
                f"{self.place.name}: the card's own params are outside the space, so not tried"
            )
        self.watcher.tried(study, wanted)
        while len(study.trials) < wanted and (params := next_params(study, first)) is not None:
            trial, failed = self.trial(study, params)
            study = study.with_trial(trial, version)
            save_study(self.folder, study)
            self.watcher.tried(study, wanted)
            if failed and study.best is None and len(study.trials) >= min(_GIVES_UP, wanted):
                raise MethodFailed(
                    f"{self.place.name}: all trials failed ({len(study.trials)}), the last one so: "
                    f"{failed}"
                ) from failed.__cause__
        return study

    def trial(self, study: Study, params: Params) -> tuple[Trial, BenchError | None]:
        """Try some parameters; the error where the method does not stand them."""
        number, start = len(study.trials), time.perf_counter()
        value, failed = None, None
        try:
            value = self.value(study, params)
        except (MethodFailed, CardRefused) as error:
            failed = error
        seconds = round(time.perf_counter() - start, 3)
        said = "" if failed is None else printable(" ".join(str(failed).split()), _LONGEST_ERROR)
        state: Literal["ok", "failed"] = "ok" if failed is None else "failed"
        return Trial(number, params, state, seconds, value, said), failed

    def value(self, study: Study, params: Params) -> float:
        """The metric over all validation requests, as the scorer reckons it."""
        card = _card_with(self.card, self.card.params_on(study.task, study.track) | params)
        path = self.folder / _SCRATCH
        try:
            execute(
                card, self.place.task, study.track, path, split=VALIDATION, overwrite=True,
                batch=_TOGETHER, workspace=self.workspace, watcher=self.watcher,
            )  # fmt: skip
            ranks = read_run(path, self.place.task).ranks
        finally:
            for left in (path, path.with_name(f"{_SCRATCH}.partial")):
                left.unlink(missing_ok=True)
        return rounded(mean(per_request(parse_metric(study.metric), ranks)[0]))


def _follow(path: Path, place: Place, study: Study) -> None:
    """Give the card the best trial's parameters."""
    best, card = study.best_trial, read_card(path)
    if differs := differing(study, _empty(card, place)):
        raise CardRefused(
            f"{path}: was changed meanwhile, to another {', another '.join(differs)}; "
            "run the same command again"
        )
    if best is not None:
        file = path / CARD if path.is_dir() else path
        cleared = [f"{study.task}/{track}" for track in study.serves if place.name == study.task]
        text = file.read_bytes().decode("utf-8")
        changed = with_params(text, place.name, best.params, cleared)
        if changed != text:
            replace_text(file, changed)
