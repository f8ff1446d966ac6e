"""Scoring entries again, as a new version of the scorer asks for, and what that does to ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from llm4rec_bench.entry.elsewhere import entered_runs
from llm4rec_bench.files import read_bounded
from llm4rec_bench.leaderboard import SCORES, Entry, SavedScores, card_of, save_scores, tables
from llm4rec_bench.run import read_run
from llm4rec_bench.scoring import Score, score
from llm4rec_bench.task import Task

LARGEST = 1 << 26
"""Bytes of a `scores.json` beyond which it is not read."""


class Place(NamedTuple):
    """Where an entry stands, by the first metric of its track."""

    metric: str
    value: float
    rank: int


class Moved(NamedTuple):
    """What scoring again did to an entry; None where there was, or is, none."""

    name: str
    task: str
    track: str
    before: Place | None
    after: Place | None


def rescore(
    folders: Sequence[Path], load: Callable[[str], Task], home: Path, save: bool = True
) -> list[Moved]:
    """Score all run files of some submissions again, and tell what moved.

    Scores are written once all are made, so that a board is of one version or the other.
    Raises RunRefused or CardRefused where a submission is unsound.
    """
    cards = {folder: card_of(folder) for folder in folders}
    old = [Entry(card, made) for folder, card in cards.items() for made in _as_saved(folder)]
    made: dict[Path, list[Score]] = {}
    for folder, card in cards.items():
        paths = entered_runs(folder, card, home)
        made[folder] = [score(read_run(path, load=load)) for path in paths]
    if save:
        for folder, scores in made.items():
            save_scores(folder, scores)
    new = [Entry(cards[folder], one) for folder, scores in made.items() for one in scores]
    return _moved(old, new)


def _as_saved(folder: Path) -> list[Score]:
    """The scores that lie there, of whatever version of the scorer; none that cannot be read."""
    try:
        data = read_bounded(folder / SCORES, LARGEST)
        return msgspec.json.decode(data, type=SavedScores).scores
    except (OSError, msgspec.DecodeError):
        return []


def _moved(old: Sequence[Entry], new: Sequence[Entry]) -> list[Moved]:
    """Entries whose first metric or rank is another one, by task, track and name."""
    before, after = _places(old), _places(new)
    return [
        Moved(name, task, track, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        for task, track, name in [key]
        if before.get(key) != after.get(key)
    ]


def _places(entries: Sequence[Entry]) -> dict[tuple[str, str, str], Place]:
    return {
        (table.task, table.track, row.entry.card.name): Place(
            table.metrics[0], row.entry.score.metrics[table.metrics[0]].value, row.rank
        )
        for table in tables(entries)
        for row in table.rows
    }
