"""Making an entry's runs again, and how near they come to those on the board."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llm4rec_bench.compare import compare_runs
from llm4rec_bench.entry.replay import OURS, replay_of
from llm4rec_bench.errors import CardRefused, printable
from llm4rec_bench.leaderboard import Repetition
from llm4rec_bench.run import Run, read_run
from llm4rec_bench.run.execute import Watcher, execute, refuse_foreign
from llm4rec_bench.submission import Card
from llm4rec_bench.task import Task


def reproduce(
    card: Card,
    path: Path,
    recorded: Path,
    out: Path,
    load: Callable[[str], Task],
    *,
    today: datetime.date,
    overwrite: bool = False,
    workspace: Path | None = None,
    watcher: Watcher = Watcher(),  # noqa: B008 - it holds nothing
) -> Repetition:
    """Make the run of a run file again into `out`, and compare the two.

    From the answers `recorded`, if they are there, which is done anew each time; otherwise by
    running the method. What was begun in `out` then is gone on with, unless `overwrite` says not.
    Raises CardRefused where the card names no system, or none of this repository, and what
    `execute` and `read_run` raise.
    """
    if card.system is None:
        raise CardRefused(
            f"{card.name}: names no system of this repository; its command is for a person to run: "
            f"{printable(card.command, 200)}"
        )
    refuse_foreign(card, OURS)
    before = read_run(path, load=load)
    replay = recorded.exists()
    recording = replay_of(card, recorded) if replay else None
    execute(
        card, before.task, before.header.track, out,
        overwrite=replay or overwrite, workspace=workspace, recording=recording, watcher=watcher,
    )  # fmt: skip
    after = read_run(out, load=load)
    (pair,) = compare_runs([after, before], ["again", "before"]).pairs
    by = next(iter(pair.metrics.values())).difference
    return Repetition(
        run_digest=before.digest,
        how="replay" if replay else "run",
        same=_same(after, before),
        difference=by.value,
        low=by.low,
        high=by.high,
        date=today,
        card=card.fingerprint(before.header.task, before.header.track),
    )


def _same(one: Run, other: Run) -> float:
    """Share of rankings with the same first ten items."""
    pairs = zip(one.top, other.top, strict=True)
    return float(np.mean([(mine == theirs).all(axis=1) for mine, theirs in pairs]))
