"""Whether a card uses what its trials chose: what makes them binding."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from llm4rec_bench.errors import CardRefused, printable
from llm4rec_bench.store import recipe_folder
from llm4rec_bench.submission import CARD, Card, Tuning
from llm4rec_bench.task import read_manifest, read_recipe
from llm4rec_bench.task.recipe import RETRIEVAL
from llm4rec_bench.tuning.record import TUNING, Study, Tried, differing, new_study, read_tried

_TOLD = 3
"""Places of which it is said what is wrong; more are counted."""


def check_followed(card: Card, folder: Path, entered: Iterable[tuple[str, str]]) -> None:
    """Raise CardRefused where a card's parameters are not those that its trials chose.

    `entered` are the tasks and tracks with a run file. Each must be served by a study of the
    task as it is now, made by the rules that the card states and with as many trials, and the
    card's parameters there must be those of its best trial. Cards of methods made elsewhere,
    which name no `system`, only state how they were tuned.
    """
    if card.tuning is None or card.system is None:
        if (folder / TUNING).exists():
            raise CardRefused(
                f"{folder / TUNING}: holds trials, but the card has no "
                f"{'system' if card.tuning else '[tuning]'} that they could be of; remove the file"
            )
        return
    tried = read_tried(folder)
    told = [(place, _fault(card, card.tuning, tried, *place)) for place in entered]
    wrong = [f"{task}/{track}: {fault}" for (task, track), fault in told if fault is not None]
    if wrong:
        more = f"; … and {len(wrong) - _TOLD} more places" if len(wrong) > _TOLD else ""
        raise CardRefused(
            f"{folder / CARD}: does not follow its trials: {'; '.join(wrong[:_TOLD])}{more}; "
            f"run: llm4rec-bench tune {folder}"
        )


def _fault(card: Card, tuning: Tuning, tried: Tried, task: str, track: str) -> str | None:
    """Why the parameters on a track are not those that trials chose, if so."""
    folder = recipe_folder(task)
    tracks = card.tracks_of(read_recipe(folder).tracks)
    tuned = tuned_track(tuning, track, tracks)
    study = tried.study(task, tuned)
    if study is None or track not in study.serves:
        return f"{TUNING} holds no trials of it"
    digest = read_manifest(folder).tracks[study.track]
    expected = new_study(card, tuning, task, tuned, study.serves, digest)
    if differs := differing(study, expected):
        return f"its trials were made with another {', another '.join(differs)}"
    wanted = trials_wanted(tuning)
    if len(study.trials) < wanted:
        return f"{len(study.trials)} of {wanted} trials"
    return _unlike(card, study, task, track)


def _unlike(card: Card, study: Study, task: str, track: str) -> str | None:
    best = study.best_trial
    if best is None:
        return "no trial succeeded"
    params = msgspec.json.decode(msgspec.json.encode(card.params_on(task, track)))
    for name, value in best.params.items():
        if name not in params or params[name] != value:
            found = printable(repr(params[name])) if name in params else "not given"
            return (
                f"{name} is {found}, and {printable(repr(value))} in trial {best.number}, the best"
            )
    return None


def tuned_track(tuning: Tuning, track: str, tracks: list[str]) -> str:
    """The track on which the parameters of `track` are chosen, among those of its task."""
    if tuning.per == "track":
        return track
    return RETRIEVAL if RETRIEVAL in tracks else tracks[0]


def trials_wanted(tuning: Tuning, trials: int | None = None) -> int:
    """How many trials a study is to have: as asked for or stated, and no more than there are."""
    most = [n for n in (trials or tuning.trials, tuning.size) if n is not None]
    return min(most)
