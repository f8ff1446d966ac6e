"""The board: a table for each track of each task, from which every way of showing it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llm4rec_bench.compare import shared_ranks
from llm4rec_bench.leaderboard.entries import Entry, read_entries
from llm4rec_bench.leaderboard.reproduced import Repetition, Reproduced, read_reproduced
from llm4rec_bench.scoring import Alarm, Cost, Score, cost_stated
from llm4rec_bench.scoring.alarms import CODES
from llm4rec_bench.split import TEST
from llm4rec_bench.store import recipe_folder
from llm4rec_bench.task import read_recipe
from llm4rec_bench.task.recipe import RETRIEVAL

REFERENCES = {
    "random": "random",
    "popularity": "popularity",
    "as_given": "as given",
    "ceiling": "ceiling",
}
"""Floors and ceiling of a score, by field, as the board names them."""


class Row(NamedTuple):
    """An entry in its place."""

    rank: int
    """One more than the number of entries of the table that are better beyond chance."""
    entry: Entry
    cost: Cost | None
    """By the prices on the card; None without prices or without tokens."""
    repetition: Repetition | None
    """How the run was made again by the maintainers, if it was."""
    alarms: list[Alarm]

    @property
    def verified(self) -> bool:
        """Whether it bears the board's mark: its method was run again, and confirmed."""
        return self.repetition is not None and self.repetition.verified


class Table(NamedTuple):
    """The entries on one track of one task, best first by the first metric."""

    task: str
    track: str
    superseded: bool
    """Whether a newer version of the task has taken its place."""
    metrics: list[str]
    rows: list[Row]
    references: dict[str, Mapping[str, float]]
    """What is reached without a method, and at best, by a key of REFERENCES: metric to value."""


def board(submissions: Path) -> list[Table]:
    """The board of a folder of submissions; CardRefused where one is unsound."""
    return tables(read_entries(submissions), read_reproduced(submissions))


def tables(entries: Iterable[Entry], reproduced: Reproduced | None = None) -> list[Table]:
    """The board. Tasks in order of their ids, superseded ones and the toy after the others.

    Scores of validation are no entries.
    """
    placed: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.score.split == TEST:
            placed.setdefault((entry.score.task, entry.score.track), []).append(entry)
    made = [
        _table(task, track, some, reproduced or Reproduced())
        for (task, track), some in placed.items()
    ]
    return sorted(made, key=_order)


def _order(table: Table) -> tuple[bool, bool, str, bool, str]:
    toy = table.task.startswith("toy-")
    return table.superseded, toy, table.task, table.track != RETRIEVAL, table.track


def _table(task: str, track: str, entries: Sequence[Entry], reproduced: Reproduced) -> Table:
    score = entries[0].score
    metrics = list(score.metrics)
    rows = [
        Row(
            place,
            entry,
            None if entry.card.prices is None else cost_stated(entry.score, entry.card.prices),
            reproduced.of(entry.card, entry.score),
            [*entry.score.alarms, *_alike(entry, entries)],
        )
        for entry, place in zip(
            entries, shared_ranks([entry.score for entry in entries]), strict=True
        )
    ]
    rows.sort(key=lambda row: (-row.entry.score.metrics[metrics[0]].value, row.entry.card.name))
    floors = {name: getattr(score.floors, name) for name in REFERENCES}
    return Table(
        task=task,
        track=track,
        superseded=read_recipe(recipe_folder(task)).lifecycle == "superseded",
        metrics=metrics,
        rows=rows,
        references={name: values for name, values in floors.items() if values is not None},
    )


def _alike(entry: Entry, entries: Sequence[Entry]) -> list[Alarm]:
    """An alarm where other entries of a table have the rankings of this one."""
    twins = sorted(
        other.card.name
        for other in entries
        if other is not entry and rank_alike(entry.score, other.score)
    )
    if not twins:
        return []
    return [Alarm("same-rankings", f"{CODES['same-rankings']}: {', '.join(twins)}")]


def rank_alike(one: Score, other: Score) -> bool:
    """Whether a run of one has the first ten items of a run of the other, and any at all."""
    shared = set(one.top_digests) & set(other.top_digests)
    return bool(shared) and one.validity.items_per_row > 0
