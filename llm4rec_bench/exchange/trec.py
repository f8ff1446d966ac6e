"""Judgements and runs as trec_eval and its kin read them.

A line of judgements is ``qid 0 docid 1``, one of a run ``qid Q0 docid rank score tag``, parted
by spaces. Tools order a run by its scores, and ties by whatever they like: the scores written
here fall strictly.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from llm4rec_bench.exchange.lines import TOGETHER, text_of, words_only
from llm4rec_bench.exchange.rankings import packed, read_rankings
from llm4rec_bench.run import Run
from llm4rec_bench.run.format import MOST_ITEMS
from llm4rec_bench.run.plain import EMPTY
from llm4rec_bench.task import Task

FORM = "TREC"


def export_qrels(task: Task, split: str, out: Path) -> None:
    """Write the targets of a split as judgements. They are what is hidden from methods.

    Raises UsageError where an id has white space, which no TREC file can hold.
    """
    requests, items = task.request_ids(split), task.items.id_array
    _words_only(requests, items)
    targets = task.targets(split).items
    with packed(out) as file:
        for start in range(0, len(targets), TOGETHER):
            row, column = np.nonzero(targets[start : start + TOGETHER] >= 0)
            row += start
            lines = [
                requests.take(pa.array(row)),
                pa.scalar("0"),
                items.take(pa.array(targets[row, column])),
                pa.scalar("1"),
            ]
            file.write(text_of(lines, " "))


def export_run(path: Path, run: Run, out: Path, number: int = 0) -> None:
    """Write run `number` of a run file, which `run` was read from, as a TREC run.

    Scores count down from 100 at rank 1. A request without items has no line, so its status is
    lost. Raises UsageError where an id has white space or there is no such run.
    """
    task, split = run.task, run.header.split
    requests, items = task.request_ids(split), task.items.id_array
    _words_only(requests, items)
    rankings = read_rankings(path, run, number).items
    tag = pa.scalar(_tag(run.header.name))
    ranks = pa.array([str(rank) for rank in range(1, MOST_ITEMS + 1)])
    scores = pa.array([str(score) for score in range(MOST_ITEMS, 0, -1)])
    with packed(out) as file:
        for start in range(0, len(rankings), TOGETHER):
            row, column = np.nonzero(rankings[start : start + TOGETHER] != EMPTY)
            place = pa.array(column)
            lines = [
                requests.take(pa.array(row + start)),
                pa.scalar("Q0"),
                items.take(pa.array(rankings[row + start, column].astype(np.int64))),
                ranks.take(place),
                scores.take(place),
                tag,
            ]
            file.write(text_of(lines, " "))


def _words_only(requests: pa.StringArray, items: pa.StringArray) -> None:
    words_only(requests, "request", FORM)
    words_only(items, "item", FORM)


def _tag(name: str) -> str:
    """A run's name as one word."""
    return re.sub(r"[^\w.()+-]+", "-", name).strip("-") or "run"
