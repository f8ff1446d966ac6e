"""What the board's pages show of a table: rows, what they are filtered by, and the two plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llm4rec_bench.leaderboard import REFERENCES, Repetition, Row, Table, cells
from llm4rec_bench.scoring import Score, shown_amount
from llm4rec_bench.site import figures
from llm4rec_bench.site.figures import Point, Scatter
from llm4rec_bench.site.text import (
    four,
    plain,
    probability,
)
from llm4rec_bench.submission import Card
from llm4rec_bench.task.recipe import RERANKING, RETRIEVAL

KINDS = {
    "classical": "classical",
    "sequential": "sequential",
    "text": "text",
    "llm": "language model",
    "knowledge": "knowledge",
    "agent": "agent",
    "fusion": "fusion",
    "other": "other",
}
"""Kinds of systems, which are folders of the project's own methods, as the pages call them."""


def kind_of(card: Card) -> str:
    """A key of KINDS: the folder of a method of this project, or `other`."""
    parts = (card.system or "").partition(":")[0].split(".")
    return parts[1] if parts[0] == "baselines" and parts[1:] and parts[1] in KINDS else "other"


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    small: str = ""
    """What stands below, smaller: mostly an interval."""
    words: bool = False
    """Whether it holds no number."""
    strong: bool = False


class Facet(NamedTuple):
    """Something that rows are filtered by."""

    label: str
    options: list[str]


class Line(NamedTuple):
    """A row of a table."""

    rank: int | None
    """None for what is no entry."""
    name: str
    """The entry's, which its page is called for; empty for what is no entry."""
    title: str
    verified: Repetition | None
    kind: str
    cells: list[Cell]
    facets: list[int]
    """For each facet, which of its options the row has."""


class Plot(NamedTuple):
    """A plot and what is said of it."""

    scatter: Scatter
    x_label: str
    caption: str
    frontier: list[tuple[str, str]]
    """The entries on it and their titles, the cheapest first."""


class Shown(NamedTuple):
    """A table as its page shows it."""

    task: str
    track: str
    about: str
    first: str
    """The metric it is sorted by."""
    head: list[tuple[str, str]]
    """Of the columns after the system: name, and what it holds."""
    lines: list[Line]
    empty: str
    """Which columns are left out because no entry states anything there, in a sentence."""
    alarms: list[tuple[str, str, str, str]]
    """Entry, its title, code and message."""
    plots: list[Plot]
    kinds: list[str]
    """Of the entries in the plots."""
    absent: list[str]
    """What the plots do not show, in sentences."""


def facets_of(tables: Sequence[Table]) -> list[Facet]:
    """What the rows of some tables are filtered by, with every option that occurs."""
    cards = {row.entry.card.name: row.entry.card for table in tables for row in table.rows}
    found = [_facets(cards[name]) for name in sorted(cards)]
    columns: list[list[str]] = [list(dict.fromkeys(column)) for column in zip(*found, strict=True)]
    known = list(KINDS.values())
    columns[1].sort(key=known.index)
    columns[0].sort(key=lambda reads: (reads.count("+"), reads != "ids", reads))
    columns[3].sort()
    return [
        Facet(label, options)
        for label, options in zip(("reads", "kind", "exposure", "hardware"), columns, strict=True)
    ]


def _facets(card: Card) -> tuple[str, str, str, str]:
    kind = KINDS[kind_of(card)]
    return (
        cells.reads(card),
        kind,
        card.exposure or ("not said" if card.models else "no models"),
        plain(card.hardware),
    )


def shown(table: Table, facets: Sequence[Facet]) -> Shown:
    """A table as its page shows it."""
    ordered = any(row.entry.score.order is not None for row in table.rows)
    first = table.metrics[0]
    lines = [
        (row.entry.score.metrics[first].value, _line(row, table.metrics, ordered, facets))
        for row in table.rows
    ]
    lines += [
        (values[first], _reference(REFERENCES[name], values, table.metrics, ordered))
        for name, values in table.references.items()
    ]
    lines.sort(key=lambda line: (-line[0], line[1].name))
    head = _head(table.metrics, ordered)
    kept, empty = _columns(head, [line for _, line in lines])
    plots, absent = _plots(table, first)
    return Shown(
        task=table.task,
        track=table.track,
        about=_about(table.track),
        first=first,
        head=[head[place] for place in kept],
        lines=[line._replace(cells=[line.cells[place] for place in kept]) for _, line in lines],
        empty=empty,
        alarms=alarms_of(table.rows),
        plots=plots,
        kinds=sorted(
            {kind_of(row.entry.card) for row in table.rows},
            key=lambda kind: list(KINDS).index(kind),
        ),
        absent=absent,
    )


def _columns(head: Sequence[tuple[str, str]], lines: Sequence[Line]) -> tuple[list[int], str]:
    """The columns that some entry has something in, and a sentence that names the others."""
    kept = [
        place
        for place in range(len(head))
        if any(line.cells[place].text not in ("", cells.UNKNOWN) for line in lines)
    ]
    gone = [name for place, (name, _) in enumerate(head) if place not in kept]
    return kept, f"No entry here states {', '.join(gone)}." if gone else ""


def _about(track: str) -> str:
    if track == RETRIEVAL:
        return "The whole catalogue is ranked, less what is in the history."
    if track == RERANKING:
        return (
            "Each pool is what the task’s first stage retrieved, target or not, in its order: "
            "“as given” is the first stage itself, and the ceiling the share of requests whose "
            "target it found. Values are comparable only inside this task version."
        )
    drawn = "in proportion to their popularity" if track.endswith("popular") else "uniformly"
    return (
        f"A sampled metric: each pool holds the target and negatives drawn {drawn}, so values are "
        "comparable only inside this task version."
    )


def _head(metrics: Sequence[str], ordered: bool) -> list[tuple[str, str]]:
    head = [("reads", "What the system reads of items beside their ids")]
    head += [(metric, f"{metric}, with its 95 % interval below") for metric in metrics]
    if ordered:
        told = "Least and most by the quarter of the pool in which the target was given"
        head.append(("order", f"{told}; marked where that is beyond chance"))
    return [
        *head,
        ("valid", "Share of rows whose status is ok and that rank something"),
        ("p50 ms", "Median latency of a request, on the hardware named"),
        ("p95 ms", "95th percentile of the latency, on the hardware named"),
        ("tokens", "Mean prompt and completion tokens of a request"),
        ("cost", "Of 1,000 requests, by the prices on the entry’s card"),
        ("exposure", "Whether the models may have seen the data set before"),
        ("hardware", "What the latencies were measured on"),
    ]


def _line(row: Row, metrics: Sequence[str], ordered: bool, facets: Sequence[Facet]) -> Line:
    score, card = row.entry.score, row.entry.card
    options = _facets(card)
    return Line(
        rank=row.rank,
        name=card.name,
        title=card.title,
        verified=row.repetition if row.verified else None,
        kind=kind_of(card),
        cells=[
            Cell(cells.reads(card), words=True),
            *(metric_cell(score, metric) for metric in metrics),
            *([order_cell(score)] if ordered else []),
            Cell(cells.valid(score)),
            Cell(cells.latency(score, "p50")),
            Cell(cells.latency(score, "p95")),
            Cell(cells.tokens(score)),
            Cell(cells.cost(row.cost)),
            Cell(cells.exposure(card), words=True),
            Cell(card.hardware, words=True),
        ],
        facets=[facet.options.index(option) for facet, option in zip(facets, options, strict=True)],
    )


def _reference(
    name: str, values: Mapping[str, float], metrics: Sequence[str], ordered: bool
) -> Line:
    row = [Cell(""), *(Cell(four(values[metric])) for metric in metrics)]
    row += [Cell("")] * (ordered + 7)
    return Line(None, "", name, None, "", row, [])


def metric_cell(score: Score, metric: str) -> Cell:
    """A metric with its interval, and its deviation between runs."""
    return Cell(cells.value(score, metric), cells.interval(score, metric))


def order_cell(score: Score) -> Cell:
    """What a run reaches by the place of the target among the candidates, from least to most."""
    if not cells.place_matters(score):
        return Cell(cells.by_place(score))
    return Cell(cells.by_place(score), "beyond chance", strong=True)


def tokens_of(score: Score) -> float | None:
    """Mean prompt and completion tokens of a request; None where none are stated."""
    found = [score.tokens[kind].mean for kind in ("prompt", "completion") if kind in score.tokens]
    return sum(found) if found else None


def alarms_of(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """What calls for a look: entry, its title, code, message."""
    return sorted(
        (
            row.entry.card.name,
            row.entry.card.title,
            cells.code(alarm),
            alarm.message,
        )
        for row in rows
        for alarm in row.alarms
    )


def _plots(table: Table, first: str) -> tuple[list[Plot], list[str]]:
    """The plots of a table, and what they leave out."""
    levels = [
        (REFERENCES[name], values[first])
        for name, values in table.references.items()
        if name != "ceiling"
    ]
    fast = {row.entry.card.name: point for row in table.rows if (point := _by_latency(row, first))}
    cheap, unit = _by_cost(table, first)
    plots, absent = [], []
    hardware = {row.entry.card.hardware for row in table.rows}
    if len(fast) >= FEWEST:
        caption = f"{first} against the median latency of a request, with 95 % intervals."
        if len(hardware) > 1:
            caption += " Latencies compare only within one hardware; here there are several."
        plots.append(_plot(fast, levels, "median latency, ms", caption))
    if unstated := len(table.rows) - len(fast):
        absent.append(f"{_entries(unstated)} no median latency.")
    if len(cheap) >= FEWEST:
        others = [row for row in table.rows if row.entry.card.name not in cheap]
        if others:  # the rows are sorted
            card, score = others[0].entry
            best = f"best without: {plain(card.title)}"[:48]
            levels = [*levels, (best, score.metrics[first].value)]
        caption = f"{first} against {unit}, with its 95 % interval."
        plots.append(_plot(cheap, levels, unit, caption))
    if without := len(table.rows) - len(cheap) if cheap else 0:
        absent.append(f"{_entries(without)} no {unit}.")
    return plots, absent


def _entries(number: int) -> str:
    return "One entry states" if number == 1 else f"{number} entries state"


def _plot(
    points: Mapping[str, Point], levels: Sequence[tuple[str, float]], x_label: str, caption: str
) -> Plot:
    best = figures.on_frontier(list(points.values()))
    winners = [name for name, winner in zip(points, best, strict=True) if winner]
    winners.sort(key=lambda name: (points[name].x, name))
    frontier = [(name, points[name].title) for name in winners]
    return Plot(figures.scatter(list(points.values()), levels), x_label, caption, frontier)


def _point(row: Row, first: str, x: tuple[float, float, float], told: str) -> Point:
    card, found = row.entry.card, row.entry.score.metrics[first]
    title = plain(card.title)
    score = row.entry.score
    quality = f"{first} {cells.value(score, first)} ({cells.interval(score, first)})"
    return Point(
        f"../entries/{card.name}.html", title, kind_of(card), *x, found.value, found.low,
        found.high, f"{title}: {quality}; {told}",
    )  # fmt: skip


def _by_latency(row: Row, first: str) -> Point | None:
    latency = row.entry.score.latency
    if latency is None or "p50" not in latency.percentiles:
        return None
    p50 = latency.percentiles["p50"]
    told = f"p50 {cells.latency(row.entry.score, 'p50')} ms"
    return _point(row, first, (p50.value, p50.low, p50.high), told)


TOKENS = "tokens a request"

FEWEST = 2
"""Points of which a plot is made."""


def _by_cost(table: Table, first: str) -> tuple[dict[str, Point], str]:
    """The points of the second plot, and what its axis holds.

    Costs in the currency that most entries state, or where there are none, tokens.
    """
    currencies = Counter(row.cost.currency for row in table.rows if row.cost is not None)
    if currencies:
        currency = min(currencies, key=lambda name: (-currencies[name], name))
        unit = f"cost of 1,000 requests, {plain(currency)}"
        priced = {
            row.entry.card.name: row.cost.per_1000_requests
            for row in table.rows
            if row.cost is not None and row.cost.currency == currency
        }
    else:
        unit = TOKENS
        means = {row.entry.card.name: tokens_of(row.entry.score) for row in table.rows}
        priced = {name: mean for name, mean in means.items() if mean is not None}
    rows = {row.entry.card.name: row for row in table.rows}
    return {
        name: _point(rows[name], first, (amount,) * 3, f"{shown_amount(amount)} {unit}")
        for name, amount in priced.items()
    }, unit


def probability_of_order(score: Score) -> str:
    """How likely such differences by the target's place are by chance."""
    if score.order is None or score.order.p is None:
        return cells.UNKNOWN
    return probability(score.order.p)
