"""What the commands show: tables that fit a narrow terminal."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llm4rec_bench import store
from llm4rec_bench.compare import Comparison, Pair
from llm4rec_bench.errors import TaskDataError, printable
from llm4rec_bench.run import Header
from llm4rec_bench.scoring import Agreement, Cost, Order, Score, shown_amount
from llm4rec_bench.split import VALIDATION
from llm4rec_bench.task import FORMAT, Manifest, Recipe, Task, read_manifest, read_recipe
from llm4rec_bench.task.recipe import RERANKING, RETRIEVAL
from llm4rec_bench.task.tables import DESCRIPTIONS, INTERACTIONS, REQUESTS, parquet_path

_REFERENCES = {
    "random": "random",
    "popularity": "popular",
    "as_given": "given",
    "ceiling": "ceiling",
}
"""Floors and ceiling as column heads."""


_LEFT_OUT = re.compile(
    r"below_min_rating|repeated_interactions|_(outside_(core|catalogue)|with_short_history"
    r"|without_visible_event|with_too_few_events)$"
)
"""Names of the counts of what freezing left out."""

_EARLIEST_END = np.datetime64("1990-01-01")
"""Before this day hardly any log ends that was kept by a machine."""

_SHOWN = 0.01
"""p-value below which order is said to matter: one look among many at the same run."""


def task_list(home: Path) -> None:
    """A row for each task the package knows."""
    table = Table(box=None, pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("domain", overflow="fold")
    table.add_column("split", no_wrap=True)
    for column in ("items", "requests"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("data")
    for task_id in store.known_tasks(home):
        table.add_row(task_id, *_task_row(task_id, home))
    Console().print(table)
    click.echo(f"store: {printable(str(home), 4096)}")


def _task_row(task_id: str, home: Path) -> Sequence[str]:
    """What is listed of a task; one that is damaged must not hide the others."""
    folder = store.recipe_folder(task_id, home)
    try:
        recipe = read_recipe(folder)
        frozen = (folder / "manifest.json").exists()
        manifest = read_manifest(folder) if frozen else None
    except TaskDataError:
        return "–", "–", "–", "–", "damaged"
    items = requests = "–"
    if manifest is not None:
        counts = manifest.counts
        items, requests = (
            f"{counts[name]:,}" if name in counts else "–" for name in ("items", "requests_test")
        )
    rule = str(recipe.split.__struct_config__.tag)
    here = "not frozen yet" if manifest is None else _whereabouts(manifest, home)
    return escape(printable(recipe.domain)), rule, items, requests, here


def _whereabouts(manifest: Manifest, home: Path) -> str:
    task_id = manifest.task
    if store.is_embedded(task_id):
        return "embedded"
    if not store.is_downloaded(task_id, home):
        return "to download" if store.is_packaged(task_id) else "yours, without tables"
    texts = parquet_path(store.data_folder(task_id, home), DESCRIPTIONS)
    lacks = DESCRIPTIONS in manifest.tables and not texts.exists()
    here = "in the store" if store.is_packaged(task_id) else "yours"
    return f"{here}, without descriptions" if lacks else here


def frozen_summary(manifest: Manifest, frozen: Mapping[str, pa.Table], name: str) -> None:
    """What a task has frozen to, and what to do with it; `name` is its id or its folder."""
    counts = manifest.counts
    click.echo(
        f"{counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} events; "
        f"requests: {counts['requests_validation']:,} validation, {counts['requests_test']:,} test"
    )
    dropped = [
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in counts.items()
        if count and _LEFT_OUT.search(name)
    ]
    if dropped:
        click.echo(textwrap.fill(f"dropped: {', '.join(dropped)}", 80, subsequent_indent="  "))
    if DESCRIPTIONS in manifest.tables:
        click.echo(f"described: {_percent(counts['described_items'] / counts['items'])} of items")
    _days(frozen)
    click.echo(f"next: llm4rec-bench run CARD --task {printable(shlex.quote(name), 4096)}")


def _days(frozen: Mapping[str, pa.Table]) -> None:
    """The days of the first and the last event, and whether they can be meant."""
    columns = [frozen[name]["timestamp"] for name in (INTERACTIONS, REQUESTS)]
    moments = pa.chunked_array([chunk for column in columns for chunk in column.chunks])
    ends = pc.min_max(moments).as_py()
    if ends["min"] is None:
        return
    first, last = (np.datetime64(ends[end], "s").astype("datetime64[D]") for end in ("min", "max"))
    click.echo(f"events from {first} to {last}")
    if last < _EARLIEST_END:
        click.echo(f"warning: the last event lies on {last}: are the times in another unit?")


def task_page(task_id: str, home: Path) -> None:
    """What a task is, its licence and its details."""
    folder = store.recipe_folder(task_id, home)
    recipe = read_recipe(folder)
    again = "may" if recipe.licence.redistribute else "may not"
    for text in (
        recipe.title,
        recipe.description,
        f"Licence: {recipe.licence.name}; the data {again} be published again.",
    ):
        click.echo(textwrap.fill(printable(" ".join(text.split()), 10_000), 80))
    if (folder / "manifest.json").exists():
        task_details(recipe, read_manifest(folder))
        if store.is_downloaded(task_id, home):
            examples(store.load_task(task_id, home))
    else:
        click.echo(f"\n{task_id} is not frozen yet: it has a recipe but no manifest.")


def examples(task: Task) -> None:
    """The requests that the task's card names, with titles: histories, targets, candidates."""
    shown = dict(zip(task.items.ids, task.items.texts, strict=True))
    pooled = next((name for name, track in task.recipe.tracks.items() if track.negatives), None)
    requests = task.requests(VALIDATION, pooled)
    row_of = {request_id: row for row, request_id in enumerate(requests.ids)}
    for example in task.manifest.examples:
        who = printable(example.request_id)
        click.echo(f"\nValidation request {who}, {example.history_length} items; the last:")
        for item in example.last:
            click.echo(f"  {_line(item, shown)}")
        click.echo(f"target, visible in {example.target_events:,} events:")
        click.echo(f"  {_line(example.target, shown)}")
        pool = requests[row_of[example.request_id]].candidates
        if pool:
            click.echo(f"candidates on {pooled}:")
            for item in pool:
                click.echo(f"  {_line(item, shown)}")


def _line(item: str, shown: dict[str, str]) -> str:
    return f"{printable(item, 30)}  {printable(shown[item], 70)}"


def task_details(recipe: Recipe, manifest: Manifest) -> None:
    """For each track, the header that its run files begin with."""
    click.echo("\nThe first line of a run file, track by track:\n")
    for track, digest in manifest.tracks.items():
        header = Header(FORMAT, recipe.id, track, digest, "your method")
        click.echo(msgspec.json.encode(header).decode())


def score_table(score: Score, cost: Cost | None = None) -> None:
    """One score: each metric with its interval, floors and ceiling, then how it was made."""
    runs = "" if score.runs == 1 else f", {score.runs} runs"
    split = "" if score.split == "test" else f", {score.split} split"
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 0),  # so that all columns fit a terminal of 80
        title=f"{escape(printable(score.name))} on {score.task} {score.track}"
        f" ({score.requests:,} requests{runs}{split})",
        title_justify="left",
    )
    references = {
        name: head
        for name, head in _REFERENCES.items()
        if name in score.references(next(iter(score.metrics)))
    }
    columns = [
        "value",
        "95 % interval",
        *["± runs"] * (score.runs > 1),
        "scaled",
        *references.values(),
    ]
    table.add_column("metric", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for metric, found in score.metrics.items():
        spread = [] if found.std_between_runs is None else [f"{found.std_between_runs:.4f}"]
        floors = [f"{score.references(metric)[name]:.4f}" for name in references]
        interval = f"{found.low:.4f}–{found.high:.4f}"
        share = score.rescaled[metric]
        scaled = "–" if share is None else f"{share + 0.0:.3f}".replace("-0.000", "0.000")
        table.add_row(metric, f"[bold]{found.value:.4f}[/]", interval, *spread, scaled, *floors)
    Console().print(table)
    for remark in _remarks(score, cost):
        click.echo(textwrap.fill(remark, 80, subsequent_indent="  "))
    if score.slices or score.order is not None:
        Console().print(_slices(score))
    click.echo()


def comparison(found: Comparison) -> None:
    """A table for each pair: values, difference with interval, p-values, wins and losses."""
    split = "" if found.split == "test" else f", {found.split} split"
    for pair in found.pairs:
        first, second = escape(printable(pair.first, 40)), escape(printable(pair.second, 40))
        table = Table(
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            title=f"{first} minus {second} on {found.task} {found.track} "
            f"({found.requests:,} requests{split})",
            title_justify="left",
        )
        table.add_column("metric", no_wrap=True)
        for column in ("first", "second", "diff", "95 % interval", "p Holm"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("win/tie/loss", justify="right", no_wrap=True)
        for metric, by in pair.metrics.items():
            table.add_row(
                metric,
                f"{by.first:.4f}",
                f"{by.second:.4f}",
                f"[bold]{by.difference.value:+.4f}[/]",
                f"{by.difference.low:+.4f}–{by.difference.high:+.4f}",
                f"{by.p_holm:.4f}",
                f"{by.wins}/{by.ties}/{by.losses}",
            )
        Console().print(table)
        if pair.slices:
            Console().print(_differing_slices(pair))
        click.echo()


def _differing_slices(pair: Pair) -> Table:
    """The difference by the first metric on each part of the requests."""
    first = next(iter(pair.metrics))
    found = {name: parts[first] for name, parts in pair.slices.items()}
    rows = [
        (name, f"{part.value:+.4f}", f"{part.low:+.4f}–{part.high:+.4f}")
        for name, part in found.items()
    ]
    return _slice_table(("slice", f"{first} diff", "95 % interval"), rows)


def _slice_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Slices down the side, numbers beside them."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(head[0])
    for column in head[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _remarks(score: Score, cost: Cost | None) -> list[str]:
    """How valid, how fast and how dear it was, and what else there is to know, a line each."""
    lines = ["scaled: 0 is chance, 1 the ceiling, the best that can be reached"]
    lines.append(
        f"valid: {_percent(score.validity.valid_share)} of rows, "
        f"{score.validity.items_per_row:.1f} items a row"
    )
    for what, counts in (("status", score.validity.statuses), ("dropped", score.validity.dropped)):
        if set(counts) - {"ok"}:
            lines.append(f"{what}: " + ", ".join(f"{name} {n:,}" for name, n in counts.items()))
    lines += [_speed(score), _dearness(score, cost)]
    if score.agreement is not None:
        lines.append(f"repeated runs: {_alike(score.agreement)}")
    if score.order is not None:
        lines += _order(score.order)
    if score.breadth is not None:
        known = ", ".join(
            f"{name.replace('_', ' ')} {value:.3g}"
            for name, value in msgspec.structs.asdict(score.breadth).items()
            if value is not None
        )
        lines.append(f"first ten items: {known}")
    if score.track == RERANKING:
        lines.append("pools of a first stage: comparable only inside this task version")
    elif score.track != RETRIEVAL:
        lines.append("sampled metric: comparable only inside this task version")
    return lines + [f"warning[{alarm.code}]: {alarm.message}" for alarm in score.alarms]


def _speed(score: Score) -> str:
    if score.latency is None:
        return "latency: not stated"
    known = ", ".join(
        f"{name} {_short(by.value)} ({_short(by.low)}–{_short(by.high)})"
        for name, by in score.latency.percentiles.items()
    )
    rate = score.latency.requests_per_second
    lines = [
        f"latency: mean {_short(score.latency.mean)} ms",
        known and f"{known} with 95 % intervals",
    ]
    lines.append("" if rate is None else f"{_short(rate)} requests a second, one after another")
    return ", ".join(filter(None, lines)) + _stated(score, score.latency.rows)


def _dearness(score: Score, cost: Cost | None) -> str:
    if not score.tokens:
        return "tokens: not stated"
    kinds = (f"{_short(by.mean)} {kind}" for kind, by in score.tokens.items())
    stated = _stated(score, min(by.rows for by in score.tokens.values()))
    spent = f"tokens a request: {', '.join(kinds)}{stated}"
    if cost is None:
        return spent
    least = "at least " if cost.unknown else ""
    unknown = f", {cost.unknown[0]} tokens not stated" if cost.unknown else ""
    amount = f"{shown_amount(cost.per_1000_requests)} {printable(cost.currency)}"
    return (
        f"{spent}; {least}{amount} per 1,000 requests "
        f"({printable(cost.model)}, prices {printable(cost.prices)} of {cost.date}{unknown})"
    )


def _stated(score: Score, rows: int) -> str:
    """By how many rows a thing is stated, where it is not all of them."""
    share = rows / sum(score.validity.statuses.values())
    return "" if share == 1.0 else f" (stated by {_percent(share)} of rows)"


def _percent(share: float) -> str:
    """A share as people read it; what is not all of it is never rounded to 100 %."""
    return "99.9%" if 0.999 < share < 1.0 else f"{share:.1%}"


def _order(found: Order) -> list[str]:
    """What the order of the candidates did."""
    lines = []
    if found.p is not None:
        differs = "makes a difference" if found.p < _SHOWN else "makes no difference shown"
        lines.append(f"order: the place at which the target is given {differs} (p = {found.p:.3f})")
    if found.same_order is not None and found.other_order is not None:
        lines.append(f"runs in the same order: {_alike(found.same_order)}")
        lines.append(f"runs in different orders: {_alike(found.other_order)}")
    return lines


def _alike(found: Agreement) -> str:
    pairs = "a pair" if found.pairs == 1 else f"{found.pairs:,} pairs"
    return (
        f"the same item first in {found.first:.1%} of requests, "
        f"{found.top10:.1%} of the first ten in common ({pairs} of runs)"
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _slices(score: Score) -> Table:
    """The first metric on each part of the requests."""
    first = next(iter(score.metrics))
    found = {name: (part.requests, part.metrics[first]) for name, part in score.slices.items()}
    rows = [
        (name, f"{requests:,}", f"{by.value:.4f}", f"{by.low:.4f}–{by.high:.4f}")
        for name, (requests, by) in found.items()
    ]
    if score.order is not None:
        rows += [
            (f"given at {name}", f"{by.rows:,}", f"{by.value:.4f}", f"{by.low:.4f}–{by.high:.4f}")
            for name, by in score.order.by_place.items()
        ]
    return _slice_table(("slice", "n", first, "95 % interval"), rows)
