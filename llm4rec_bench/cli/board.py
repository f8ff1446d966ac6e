"""A table of the board on a terminal: as many of its columns as there is room for."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from llm4rec_bench.errors import UsageError, nearest_hint, printable, shown
from llm4rec_bench.leaderboard import REFERENCES, Entry, Row, Table, cells
from llm4rec_bench.split import TEST
from llm4rec_bench.task.recipe import RERANKING, RETRIEVAL

_UNBOUNDED = 100_000
"""Columns of what is no terminal and has no width."""

_LONGEST_TITLE = 40
_SHORTEST_TITLE = 16
"""Characters of a system's title that are shown however narrow the terminal, if it has as many."""


_MARK = " ✓"
"""After the title of a run that was made again."""

_GAP = 2
"""Spaces between two columns."""


class _Column(NamedTuple):
    cells: list[Text]
    left: bool = False
    """Whether its cells begin at the left."""


def chosen(entries: Sequence[Entry], task: str, track: str | None) -> list[Entry]:
    """The entries on a task, or on a track of it.

    Raises UsageError where the board has none, naming what it has.
    """
    on_board = [entry for entry in entries if entry.score.split == TEST]
    tasks = sorted({entry.score.task for entry in on_board})
    of_task = [entry for entry in on_board if entry.score.task == task]
    if not of_task:
        raise UsageError(_nothing_on("--task", task, tasks))
    tracks = sorted({str(entry.score.track) for entry in of_task})
    if track is not None and track not in tracks:
        raise UsageError(_nothing_on("--track", track, tracks))
    return [entry for entry in of_task if track in (None, entry.score.track)]


def _nothing_on(option: str, found: str, there: Sequence[str]) -> str:
    known = f"expected one of {', '.join(there)}" if there else "there is no entry at all"
    return f"{option}: {shown(found)} is not on the board; {known}{nearest_hint(found, there)}"


def print_tables(found: Sequence[Table]) -> None:
    """Print tables of the board, each with what there is to say below it."""
    console = _console()
    for table in found:
        _print(table, console)


def _console() -> Console:
    """As wide as the terminal; what goes into a file or a pipe is not cut for one."""
    console = Console(highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        return Console(highlight=False, width=_UNBOUNDED)
    return console


def _print(table: Table, console: Console) -> None:
    entries = "1 entry" if len(table.rows) == 1 else f"{len(table.rows):,} entries"
    requests = table.rows[0].entry.score.requests
    version = ", superseded" if table.superseded else ""
    title = f"{table.task} {table.track}{version} ({entries}, {requests:,} requests)"
    console.print(Text(title, style="bold"), soft_wrap=True)
    columns = _columns(table)
    kept = _fitting(columns, _importance(table.metrics), console)
    console.print(_drawn(kept, _room(kept, console)), soft_wrap=True)
    left_out = [name for name in columns if name not in kept]
    width = max(min(console.width, 100), 20)
    for remark in [*_remarks(table, left_out), *_alarms(table)]:
        click.echo(textwrap.fill(remark, width, subsequent_indent="  "))
    click.echo()


_INTERVAL = "95 % interval"


def _importance(metrics: Sequence[str]) -> list[str]:
    """The columns from the one that is left out last to the one that is left out first."""
    first, *others = metrics
    head = ["rank", "system", first, _INTERVAL, "valid", *others]
    return [*head, "order", "cost", "tokens", "p95 ms", "p50 ms", "exposure", "reads"]


_ALWAYS = 3
"""Columns that stay however narrow the terminal."""


def _fitting(
    columns: Mapping[str, _Column], importance: Sequence[str], console: Console
) -> dict[str, _Column]:
    """As many of the most important columns as fit beside each other."""
    there = [name for name in importance if name in columns]
    for count in range(len(there), _ALWAYS, -1):
        kept = {name: column for name, column in columns.items() if name in there[:count]}
        if _room(kept, console) >= min(_SHORTEST_TITLE, _widest(columns["system"])):
            return kept
    return {name: column for name, column in columns.items() if name in there[:_ALWAYS]}


def _widest(column: _Column) -> int:
    return max(cell.cell_len for cell in column.cells)


def _room(columns: Mapping[str, _Column], console: Console) -> int:
    """What the other columns leave for titles; below 1 where they do not fit themselves."""
    others = {name: column for name, column in columns.items() if name != "system"}
    taken = sum(max(cell_len(name), _widest(by)) + _GAP for name, by in others.items())
    return min(console.width - taken, _LONGEST_TITLE)


def _drawn(columns: Mapping[str, _Column], room: int) -> Drawn:
    drawn = Drawn(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    widths = {name: max(cell_len(name), _widest(column)) for name, column in columns.items()}
    widths["system"] = max(min(room, widths["system"]), 1)
    for name, column in columns.items():
        drawn.add_column(
            name,
            justify="left" if column.left else "right",
            no_wrap=True,
            overflow="ellipsis",
            width=widths[name],
        )
    shown_cells = {name: column.cells for name, column in columns.items()}
    shown_cells["system"] = [_cut(cell, widths["system"]) for cell in columns["system"].cells]
    for row in zip(*shown_cells.values(), strict=True):
        drawn.add_row(*row)
    drawn.width = sum(widths.values()) + _GAP * (len(widths) - 1)
    return drawn


def _cut(title: Text, width: int) -> Text:
    """A title in so many cells; the mark at its end stays."""
    mark = _MARK if title.plain.endswith(_MARK) and title.cell_len > width else ""
    cut = title[: len(title) - len(mark)]
    cut.truncate(max(width - len(mark), 1), overflow="ellipsis")
    return cut.append(mark)


def _columns(table: Table) -> dict[str, _Column]:
    """All columns by their heads, in the order in which they stand; references among the rows."""
    first, *others = table.metrics
    rows = [
        (row.entry.score.metrics[first].value, _cells(row, table.metrics)) for row in table.rows
    ]
    rows += [
        (values[first], _reference(REFERENCES[name], values))
        for name, values in table.references.items()
    ]
    rows.sort(key=lambda row: -row[0])
    heads = ["rank", "system", first, _INTERVAL, *others, "valid"]
    if any(row.entry.score.order is not None for row in table.rows):
        heads.append("order")
    heads += ["p50 ms", "p95 ms", "tokens", "cost", "exposure", "reads"]
    return {
        name: _Column([found.get(name, Text()) for _, found in rows], name in {*_LEFT, first})
        for name in heads
    }


_LEFT = {"system", "exposure", "reads"}
"""Columns that begin at the left, as the first metric does, for the sake of its decimal points."""


def _cells(row: Row, metrics: Sequence[str]) -> dict[str, Text]:
    """The cells of an entry; no title can bear the maintainers' mark by itself."""
    card, score = row.entry
    mark = _MARK if row.verified else ""
    plain = {
        "rank": str(row.rank),
        _INTERVAL: cells.interval(score, metrics[0]),
        **{metric: f"{score.metrics[metric].value:.4f}" for metric in metrics},
        metrics[0]: cells.value(score, metrics[0]),
        "valid": cells.valid(score),
        "order": cells.by_place(score) + ("*" if cells.place_matters(score) else ""),
        "p50 ms": cells.latency(score, "p50"),
        "p95 ms": cells.latency(score, "p95"),
        "tokens": cells.tokens(score),
        "cost": printable(cells.cost(row.cost), 300),
        "exposure": cells.exposure(card),
        "reads": cells.reads(card),
    }
    plain["system"] = printable(card.title, 200).replace("✓", r"\u2713") + mark
    return {name: Text(cell) for name, cell in plain.items()}


def _reference(name: str, values: Mapping[str, float]) -> dict[str, Text]:
    """A row that is no method, told apart by having no rank, and in dim italics."""
    plain = {"system": name} | {metric: f"{value:.4f}" for metric, value in values.items()}
    return {head: Text(cell, style="dim italic") for head, cell in plain.items()}


def _remarks(table: Table, left_out: Sequence[str]) -> list[str]:
    remarks = []
    if left_out:
        remarks.append(
            f"left out for want of room: {', '.join(left_out)}; a wider terminal shows more, "
            "--json all"
        )
    remarks.append(
        "rank: one more than the entries that are better beyond chance, by paired tests; it is "
        "shared where no difference is shown, and need not rise down the table"
    )
    if table.references:
        remarks.append("without a rank: what is reached without a method, and at best (ceiling)")
    if any(row.verified for row in table.rows):
        remarks.append("✓: made again by the maintainers, and no difference in quality is shown")
    if "order" not in left_out and any(cells.place_matters(row.entry.score) for row in table.rows):
        remarks.append("*: the place at which the target is given makes a difference (p < .001)")
    if table.track == RERANKING:
        remarks.append("pools of a first stage: comparable only inside this task version")
    elif table.track != RETRIEVAL:
        remarks.append("sampled metric: comparable only inside this task version")
    return remarks


def _alarms(table: Table) -> list[str]:
    """What calls for a look; a line each."""
    return sorted(
        f"warning[{cells.code(alarm)}]: "
        f"{printable(row.entry.card.title)}: {printable(alarm.message, 400)}"
        for row in table.rows
        for alarm in row.alarms
    )
