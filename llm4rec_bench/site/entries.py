"""What an entry's page shows: its card, its scores on every track, how it was tuned, examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llm4rec_bench.errors import printable
from llm4rec_bench.leaderboard import Row, Table, cells
from llm4rec_bench.site import boards
from llm4rec_bench.site.examples import Examples, Library
from llm4rec_bench.site.text import milliseconds, units
from llm4rec_bench.store import recipe_folder
from llm4rec_bench.submission import Card, Range, run_files
from llm4rec_bench.task import read_recipe
from llm4rec_bench.tuning import Study, Tried, read_tried

_LONGEST = 400
"""Characters of a value of a parameter."""


Part = tuple[int, int, int, int, int]
"""Some of the requests, or some places of the target: which by its number among the page's names,
requests, value, low, high, these three in ten-thousandths. A page draws them as a table with its
plot, since so many tables written out would be half of the site."""


class OnTrack(NamedTuple):
    """An entry on one track."""

    task: str
    track: str
    rank: int
    of: int
    """Entries of the track."""
    row: Row
    glance: list[boards.Cell]
    metrics: list[tuple[str, list[boards.Cell]]]
    """Name, and value and rescaled value."""
    parts: list[Part]
    facts: list[tuple[str, str]]
    """Validity, latency, tokens, cost and breadth, in words."""
    made: list[tuple[str, str]]
    """What it was made with: parameters, runs, scorer and digests."""


class OnTask(NamedTuple):
    """An entry on the tracks of one task."""

    task: str
    tracks: list[OnTrack]
    examples: Examples | None


class Tuned(NamedTuple):
    """How the parameters of one place were chosen."""

    place: str
    serves: str
    trials: str
    best: str
    value: str


class Shown(NamedTuple):
    """An entry as its page shows it."""

    card: Card
    kind: str
    on: list[OnTask]
    names: list[str]
    """Of all parts of the requests."""
    params: list[tuple[str, str]]
    space: list[tuple[str, str]]
    tuned: list[Tuned]
    alarms: list[tuple[str, str, str]]
    """Place, code and message."""


def shown(name: str, tables: Sequence[Table], submissions: Path, library: Library | None) -> Shown:
    """An entry as its page shows it; examples are left out where there is no library."""
    folder = submissions / name
    tried = read_tried(folder)
    on: dict[str, list[OnTrack]] = {}
    names: dict[str, int] = {}
    for table in tables:
        for row in table.rows:
            if row.entry.card.name == name:
                on.setdefault(table.task, []).append(_on_track(table, row, names))
    card = next(iter(on.values()))[0].row.entry.card
    return Shown(
        card=card,
        kind=boards.KINDS[boards.kind_of(card)],
        on=[
            OnTask(
                task,
                tracks,
                None if library is None else _examples(task, tracks, folder, library),
            )
            for task, tracks in on.items()
        ],
        names=list(names),
        params=_named(card.params),
        space=_space(card),
        tuned=_tuned(tried),
        alarms=[
            (f"{place.task} {place.track}", code, message)
            for tracks in on.values()
            for place in tracks
            for _, _, code, message in boards.alarms_of([place.row])
        ],
    )


def _examples(task: str, tracks: Sequence[OnTrack], folder: Path, library: Library) -> Examples:
    paths = {path.name.split(".jsonl")[0]: path for path in run_files(folder)}
    here = [
        (place.track, paths[f"{task}.{place.track}"])
        for place in tracks
        if f"{task}.{place.track}" in paths
    ]
    return library.examples(read_recipe(recipe_folder(task)), here)


def _on_track(table: Table, row: Row, names: dict[str, int]) -> OnTrack:
    score, card = row.entry.score, row.entry.card
    first = table.metrics[0]
    return OnTrack(
        task=table.task,
        track=table.track,
        rank=row.rank,
        of=len(table.rows),
        row=row,
        glance=[
            boards.metric_cell(score, first),
            boards.Cell(cells.valid(score)),
            boards.Cell(cells.latency(score, "p50")),
            boards.Cell(cells.tokens(score)),
            boards.Cell(cells.cost(row.cost)),
        ],
        metrics=[
            (
                metric,
                [
                    boards.metric_cell(score, metric),
                    boards.Cell(_rescaled(score.rescaled[metric])),
                ],
            )
            for metric in table.metrics
        ],
        parts=_parts(row, first, names),
        facts=_facts(row),
        made=[
            ("parameters", ", ".join(f"{key} = {value}" for key, value in
                                     _named(card.params_on(table.task, table.track))) or "none"),
            ("runs", f"{score.runs}, seed {card.seed}; scorer version {score.scorer}"),
            ("run file", score.run_digest),
            ("track", score.track_digest),
        ],
    )  # fmt: skip


def _rescaled(value: float | None) -> str:
    return cells.UNKNOWN if value is None else f"{value:.3f}"


def _parts(row: Row, first: str, names: dict[str, int]) -> list[Part]:
    """The score over parts of the requests, by the first metric; `names` grows with theirs."""
    score = row.entry.score
    found = [
        (name, part.requests, part.metrics[first].value, part.metrics[first].low,
         part.metrics[first].high)
        for name, part in score.slices.items()
    ]  # fmt: skip
    places = {} if score.order is None else score.order.by_place
    found += [
        (f"given at {name}", by.rows, by.value, by.low, by.high) for name, by in places.items()
    ]
    return [
        (names.setdefault(name, len(names)), number, units(value), units(low), units(high))
        for name, number, value, low, high in found
    ]


def _facts(row: Row) -> list[tuple[str, str]]:
    """What else the scorer found, in words."""
    score = row.entry.score
    validity = score.validity
    rows = sum(validity.statuses.values())
    states = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in
                       validity.statuses.items())  # fmt: skip
    facts = [("valid", f"{cells.valid(score)} of {rows:,} rows ({states}); "
              f"{validity.items_per_row:,.1f} items a row")]  # fmt: skip
    dropped = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in
                        validity.dropped.items())  # fmt: skip
    if dropped:
        facts.append(("dropped", dropped))
    facts.append(("latency, ms", _latency(row)))
    tokens = "; ".join(
        f"{kind} {by.mean:,.1f} (stated by {by.rows:,} rows)" for kind, by in score.tokens.items()
    )
    facts.append(("tokens a request", tokens or "not stated"))
    if row.cost is not None:
        told = f"{cells.cost(row.cost)}, by prices of {row.cost.prices}"
        facts.append(("cost of 1,000 requests", told))
    if score.order is not None:
        facts.append(
            ("order of candidates", boards.probability_of_order(score)
             + " for such differences by the target’s place by chance")
        )  # fmt: skip
        for what, by in (("same", score.order.same_order), ("another", score.order.other_order)):
            if by is not None:
                facts.append((f"runs that saw {what} order",
                              f"{by.first:.1%} with the same first item, {by.top10:.1%} of the "
                              "first ten shared"))  # fmt: skip
    elif score.agreement is not None:
        facts.append(("repeated runs", f"{score.agreement.first:.1%} with the same first item, "
                      f"{score.agreement.top10:.1%} of the first ten shared"))  # fmt: skip
    if score.breadth is not None:
        by_breadth = score.breadth
        told = (
            f"coverage {by_breadth.coverage:.1%}, Gini {by_breadth.gini:.3f}, novelty "
            f"{by_breadth.novelty:.2f} bits, popularity lift {by_breadth.popularity_lift:+.2f}"
        )
        if by_breadth.diversity is not None:
            told += f", diversity {by_breadth.diversity:.3f}"
        facts.append(("first ten items", told))
    if row.repetition is not None:
        again = row.repetition
        facts.append(("made again", f"on {again.date} by {again.how}: {again.same:.1%} of the "
                      f"rankings with the same first ten items, difference {again.difference:+.4f} "
                      f"({again.low:+.4f} to {again.high:+.4f})"))  # fmt: skip
    return facts


def _latency(row: Row) -> str:
    latency = row.entry.score.latency
    if latency is None:
        return "not stated"
    told = [f"mean {milliseconds(latency.mean)}"]
    told += [
        f"{name} {milliseconds(by.value)} ({milliseconds(by.low)}–{milliseconds(by.high)})"
        for name, by in latency.percentiles.items()
    ]
    rate = latency.requests_per_second
    told += [] if rate is None else [f"{rate:,.1f} requests a second"]
    return "; ".join(told)


def _named(params: dict[str, Any]) -> list[tuple[str, str]]:
    """Parameters by name, as text."""
    return [(printable(name), _value(value)) for name, value in params.items()]


def _value(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    return printable(str(value), _LONGEST)


def _space(card: Card) -> list[tuple[str, str]]:
    if card.tuning is None:
        return []
    return [
        (name, _range(by) if isinstance(by, Range) else ", ".join(map(_value, by)))
        for name, by in card.tuning.space.items()
    ]


def _range(by: Range) -> str:
    step = "" if by.step is None else f" in steps of {by.step}"
    return f"{by.low} to {by.high}{step}{', logarithmic' * by.log}"


def _tuned(tried: Tried) -> list[Tuned]:
    return [_study(study) for study in tried.studies]


def _study(study: Study) -> Tuned:
    failed = sum(trial.state == "failed" for trial in study.trials)
    best = study.best_trial
    return Tuned(
        f"{study.task} {study.track}",
        ", ".join(study.serves),
        f"{len(study.trials):,}" + f" ({failed:,} failed)" * (failed > 0),
        "none" if best is None else ", ".join(f"{k} = {v}" for k, v in _named(dict(best.params))),
        cells.UNKNOWN if best is None or best.value is None else f"{best.value:.4f}",
    )
