"""The entries of the board: submissions' cards beside the scores saved with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from llm4rec_bench.compare import has_its_ranks
from llm4rec_bench.errors import CardRefused, printable
from llm4rec_bench.files import read_bounded, replace_text
from llm4rec_bench.run.lines import run_digest
from llm4rec_bench.scoring import SCORER, Score
from llm4rec_bench.store import known_tasks, recipe_folder
from llm4rec_bench.submission import CARD, Card, read_card, run_files
from llm4rec_bench.task import FORMAT, read_manifest, read_recipe
from llm4rec_bench.tuning import check_followed

SCORES = "scores.json"
LARGEST_SCORES = 1 << 26
"""Bytes of it beyond which it is not read."""


class SavedScores(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`scores.json`: the scores of one submission. Generated, never edited."""

    format: str
    scores: list[Score]


class Entry(NamedTuple):
    """One submission on one track."""

    card: Card
    score: Score


def save_scores(folder: Path, scores: Iterable[Score]) -> None:
    """Write a submission's `scores.json`."""
    replace_text(folder / SCORES, scores_text(scores))


def scores_text(scores: Iterable[Score]) -> str:
    """The text of `scores.json`."""
    ordered = sorted(scores, key=lambda score: (score.task, score.track))
    encoded = msgspec.json.encode(SavedScores(FORMAT, ordered))
    return msgspec.json.format(encoded, indent=1).decode() + "\n"


def read_entries(submissions: Path) -> list[Entry]:
    """All entries under a folder of submissions; CardRefused where one is unsound."""
    folders = [path for path in sorted(submissions.iterdir()) if path.is_dir()]
    return [entry for folder in folders for entry in read_submission(folder)]


def read_submission(folder: Path) -> list[Entry]:
    """The entries of one submission, each with a run file beside it; CardRefused if unsound."""
    card = card_of(folder)
    entries = [Entry(card, score) for score in _saved(folder, card)]
    for entry in entries:
        if entry.score.task not in card.tasks:
            raise CardRefused(
                f"{folder / CARD}: tasks does not name {entry.score.task}, which has a run file"
            )
    check_followed(card, folder, [(entry.score.task, entry.score.track) for entry in entries])
    return entries


def card_of(folder: Path) -> Card:
    """The card of a submission's folder; CardRefused where it is unsound or another folder's."""
    card = read_card(folder)
    if card.name != folder.resolve().name:
        raise CardRefused(f"{folder / CARD}: name {card.name!r} is not the folder's name")
    return card


def _saved(folder: Path, card: Card) -> list[Score]:
    """The scores in a submission's folder, each of a run file that is there or that the card names.

    Raises CardRefused where a score is not what the scorer made of one of them, or one has none.
    """
    path = folder / SCORES
    mend = f"run: llm4rec-bench score {folder} --save"
    try:
        saved = msgspec.json.decode(read_bounded(path, LARGEST_SCORES), type=SavedScores)
    except OSError as error:
        raise CardRefused(f"{path}: {error.strerror}; {mend}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CardRefused(f"{path}: {printable(str(error), 300)}; {mend}") from None
    if saved.format != FORMAT or any(score.format != FORMAT for score in saved.scores):
        raise CardRefused(f"{path}: is not of format {FORMAT}; {mend}")
    runs = {run_digest(run): run.name for run in run_files(folder)}
    runs |= {there.digest: f"{name}.jsonl" for name, there in card.elsewhere.items()}
    for score in saved.scores:
        fault = _fault(score, runs.pop(score.run_digest, None))
        if fault:
            raise CardRefused(f"{path}: {score.task} {score.track}: {fault}; {mend}")
    if runs:
        unscored = ", ".join(sorted(runs.values()))
        raise CardRefused(f"{path}: holds no score of {unscored}; {mend}")
    return saved.scores


def _fault(score: Score, run: str | None) -> str | None:
    """Why a saved score cannot be what the scorer made of a run file, `run` by name.

    Whether its values are right is for scoring again to say.
    """
    if score.task not in known_tasks():
        return "is of no known task"
    folder = recipe_folder(score.task)
    recipe, manifest = read_recipe(folder), read_manifest(folder)
    if score.track not in recipe.tracks:
        return "is of no track of the task"
    if run is None:
        return "belongs to no run file in the folder, or to one that is scored already"
    if run.split(".jsonl")[0] != f"{score.task}.{score.track}":
        return f"belongs to {run}, which is not named for its task and track"
    if score.scorer != SCORER:
        return f"is not of scorer version {SCORER}"
    if not has_its_ranks(score):
        return "its saved ranks cannot be read"
    if score.track_digest != manifest.tracks[score.track]:
        return "is of another version of the task"
    metrics = recipe.tracks[score.track].metrics
    floors = [values for values in msgspec.structs.asdict(score.floors).values() if values]
    if any(list(named) != metrics for named in (score.metrics, *floors)):
        return f"its metrics are not {', '.join(metrics)}"
    return None
