"""The board as data: one document of JSON, and a table of CSV with a row for each entry."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterable, Sequence

import msgspec

from llm4rec_bench.leaderboard.board import Row, Table
from llm4rec_bench.leaderboard.changes import Changes
from llm4rec_bench.leaderboard.reproduced import Repetition
from llm4rec_bench.scoring import SCORER, Alarm, Cost, Latency, Order, Score, Tokens, Validity
from llm4rec_bench.statistics import Interval
from llm4rec_bench.submission.card import Model
from llm4rec_bench.task import FORMAT
from llm4rec_bench.texts import CONDITIONS


class EntryRecord(msgspec.Struct, frozen=True):
    """An entry in its place."""

    rank: int
    """One more than the number of entries that are better beyond chance; shared where no
    difference is shown."""
    name: str
    """The folder below `submissions/`."""
    title: str
    """The system, in its authors' words, as are authors and description."""
    authors: list[str]
    """Who entered it."""
    description: str
    """What it is."""
    licence: str
    """Of the run file."""
    link: str | None
    """Of the paper, or of a page on the system."""
    code: str | None
    """Of the code."""
    system: str | None
    """`module:Class` of a method of this project."""
    reads: list[str]
    """What it reads of items beside their ids."""
    models: list[Model]
    """The pre-trained models it stands on: name, revision, parameters, active_parameters,
    training_data."""
    exposure: str | None
    """Whether these may have seen the data set: no, possible or yes."""
    hardware: str
    """What the latencies were measured on."""
    requests: int
    """Those of the test split."""
    runs: int
    """How often each request was ranked."""
    metrics: dict[str, Interval]
    """By metric: value, the ends of its 95 % interval (low, high), and its deviation between runs
    (std_between_runs), null for a single run."""
    rescaled: dict[str, float | None]
    """By metric: 0 is chance and 1 the ceiling."""
    validity: Validity
    """valid_share and items_per_row; rows by status (statuses), items left out by reason
    (dropped)."""
    order: Order | None
    """What the order of the candidates did: the first metric by the place of the target
    (by_place), and how likely so much is by chance (p); null where candidates have no order."""
    latency: Latency | None
    """In milliseconds: mean, percentiles with intervals, requests_per_second, and the rows that
    state it; null where none does."""
    tokens: dict[str, Tokens]
    """Means a request, by kind: prompt, completion, cached."""
    cost: Cost | None
    """Of 1,000 requests (per_1000_requests, currency) by the prices of a day (date) on the card;
    null without prices or without tokens."""
    alarms: list[Alarm]
    """What calls for a look: code and message."""
    run_digest: str
    """SHA-256 of the run file, unpacked."""
    track_digest: str
    """Of the tables that decide the score."""
    repetition: Repetition | None
    """How the maintainers made the run again, if they did."""
    confirmed: bool | None
    """Whether that showed no difference in quality; null if it was not made again. The board's ✓
    is for what was run, and not replayed."""


class TableRecord(msgspec.Struct, frozen=True):
    """The entries on one track of one task."""

    task: str
    """Its id."""
    track: str
    """What is ranked."""
    superseded: bool
    """Whether a newer version of the task has taken its place."""
    metrics: list[str]
    """The first one is what entries are sorted by."""
    references: dict[str, dict[str, float]]
    """What is reached without a method (random, popularity, as_given) and at best (ceiling): by
    name, then by metric."""
    entries: list[EntryRecord]
    """Best first."""


class BoardRecord(msgspec.Struct, frozen=True):
    """The whole board, or the tables that were asked for."""

    format: str
    """`llm4rec-bench/1`. Within it fields may be added; none is taken away or changes its
    meaning."""
    version: int
    """Of the board: it changes when a number of an entry on it could."""
    date: datetime.date
    """When that version was made."""
    scorer: str
    """Version of the scorer."""
    tables: list[TableRecord]
    """Tasks by id, superseded ones and the toy after the others."""


def record(tables: Iterable[Table], changes: Changes) -> BoardRecord:
    """Tables of the board as typed records."""
    return BoardRecord(
        FORMAT, changes.version, changes.date, SCORER, [_table(table) for table in tables]
    )


def board_json(tables: Iterable[Table], changes: Changes) -> str:
    """Tables of the board as one document of JSON, of a `BoardRecord`."""
    encoded = msgspec.json.encode(record(tables, changes))
    return msgspec.json.format(encoded, indent=1).decode() + "\n"


def _table(table: Table) -> TableRecord:
    return TableRecord(
        task=table.task,
        track=table.track,
        superseded=table.superseded,
        metrics=table.metrics,
        references={name: dict(values) for name, values in table.references.items()},
        entries=[_entry(row) for row in table.rows],
    )


def _entry(row: Row) -> EntryRecord:
    card, score = row.entry
    return EntryRecord(
        rank=row.rank,
        name=card.name,
        title=card.title,
        authors=card.authors,
        description=card.description,
        licence=card.licence,
        link=card.link,
        code=card.code,
        system=card.system,
        reads=[name for name in CONDITIONS if name in card.reads],
        models=card.models,
        exposure=card.exposure,
        hardware=card.hardware,
        requests=score.requests,
        runs=score.runs,
        metrics=score.metrics,
        rescaled=score.rescaled,
        validity=score.validity,
        order=score.order,
        latency=score.latency,
        tokens=score.tokens,
        cost=row.cost,
        alarms=row.alarms,
        run_digest=score.run_digest,
        track_digest=score.track_digest,
        repetition=row.repetition,
        confirmed=None if row.repetition is None else row.repetition.confirmed,
    )


Cell = str | float | int | None

_PARTS = ("value", "low", "high", "std_between_runs")


def board_csv(tables: Sequence[Table]) -> str:
    """The board as CSV (RFC 4180): a head, then a row for each entry.

    A metric that a track does not have is an empty cell, as is all that is not stated. What
    spreadsheets would take for a formula is made text by an apostrophe before it.
    """
    metrics = list(dict.fromkeys(metric for table in tables for metric in table.metrics))
    rows = [_cells(table, row, metrics) for table in tables for row in table.rows]
    head = rows[0] if rows else {"task": None, "track": None, "rank": None}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([_inert(cell) for cell in row.values()] for row in rows)
    return text.getvalue()


def _cells(table: Table, row: Row, metrics: Sequence[str]) -> dict[str, Cell]:
    card, score = row.entry
    found = row.repetition
    return {
        "task": table.task,
        "track": table.track,
        "rank": row.rank,
        "name": card.name,
        "title": card.title,
        "authors": "; ".join(card.authors),
        **_metric_cells(score, metrics),
        "requests": score.requests,
        "runs": score.runs,
        "valid share": score.validity.valid_share,
        **_order_cells(score),
        **_latency_cells(score),
        **{f"{kind} tokens": _mean(score, kind) for kind in ("prompt", "completion", "cached")},
        "cost of 1000 requests": None if row.cost is None else row.cost.per_1000_requests,
        "currency": None if row.cost is None else row.cost.currency,
        "prices of": None if row.cost is None else row.cost.date.isoformat(),
        "exposure": card.exposure,
        "reads": " ".join(name for name in CONDITIONS if name in card.reads),
        "models": "; ".join(f"{model.name} {model.revision}" for model in card.models),
        "hardware": card.hardware,
        "licence": card.licence,
        "link": card.link,
        "code": card.code,
        "confirmed": None if found is None else ("yes" if found.confirmed else "no"),
        "alarms": " ".join(sorted(alarm.code for alarm in row.alarms)),
        "run digest": score.run_digest,
        "track digest": score.track_digest,
    }


def _metric_cells(score: Score, metrics: Sequence[str]) -> dict[str, Cell]:
    return {
        name if part == "value" else f"{name} {part.replace('_', ' ')}": (
            getattr(score.metrics[name], part) if name in score.metrics else None
        )
        for name in metrics
        for part in _PARTS
    }


def _order_cells(score: Score) -> dict[str, Cell]:
    places = {} if score.order is None else score.order.by_place
    values = [place.value for place in places.values()]
    return {
        "order least": min(values, default=None),
        "order most": max(values, default=None),
        "order p": None if score.order is None else score.order.p,
    }


def _latency_cells(score: Score) -> dict[str, Cell]:
    known = {} if score.latency is None else score.latency.percentiles
    return {
        f"{name} ms": known[name].value if name in known else None
        for name in ("p50", "p90", "p95", "p99")
    }


def _mean(score: Score, kind: str) -> float | None:
    return score.tokens[kind].mean if kind in score.tokens else None


_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""How a cell begins that a spreadsheet may take for a formula."""


def _inert(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
