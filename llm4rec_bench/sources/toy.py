"""A small synthetic world with tastes that a model can learn.

Readers have two favourite shelves, finish the trilogies they have begun more often than
not, and otherwise take what is popular on a shelf they like. So counting finds something,
co-occurrence more, order more still, and the texts tell shelves and trilogies apart.

Only `random.Random.random` is used: Python documents its sequence for a given seed as
stable between versions, which no other generator in the kit promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple

import pyarrow as pa

from llm4rec_bench.interactions import LOG_SCHEMA
from llm4rec_bench.sources.raw import RawData
from llm4rec_bench.sources.toy_catalogue import CATALOGUE
from llm4rec_bench.task import tables

USERS = 300
START = 1_700_000_000
FINISHES_A_SERIES = 0.55
FAVOURS = (0.55, 0.30)
"""Share of free choices that go to the first and the second favourite shelf."""


_STRIDE = 29
"""Has no factor in common with the number of works, so that each gets an id of its own."""


class Work(NamedTuple):
    """One item of the toy catalogue."""

    shelf: str
    before: int | None
    """The work that this one continues."""
    appeal: float


def generate_toy(seed: int) -> RawData:
    """The toy world's log, catalogue and descriptions for a seed."""
    random = Random(seed)  # noqa: S311 - a simulation, not a secret
    works = _works(random)
    # Parts of a trilogy stand together in the catalogue; their ids must not tell.
    ids = [f"w{number * _STRIDE % len(works) + 1:02}" for number in range(len(works))]
    events = [
        (f"u{reader + 1:03}", ids[work], when, stars)
        for reader in range(USERS)
        for work, when, stars in _life(works, random)
    ]
    columns = [pa.array(values, field.type) for values, field in zip(zip(*events, strict=True),
               LOG_SCHEMA, strict=True)]  # fmt: skip
    return RawData(pa.table(columns, LOG_SCHEMA), _items(ids), _descriptions(ids))


def _works(random: Random) -> list[Work]:
    works: list[Work] = []
    for series in CATALOGUE:
        appeal = 0.3 + random.random() ** 2 * 2.0
        for part in range(len(series.works)):
            before = len(works) - 1 if part else None
            works.append(Work(series.shelf, before, appeal * 0.5**part))
    return works


def _life(works: Sequence[Work], random: Random) -> list[tuple[int, int, float]]:
    """One reader's events: (work, time, stars), in order."""
    shelves = sorted({work.shelf for work in works})
    favourites = [shelves.pop(int(random.random() * len(shelves))) for _ in FAVOURS]
    liking = dict.fromkeys(shelves, (1.0 - sum(FAVOURS)) / len(shelves))
    liking.update(zip(favourites, FAVOURS, strict=True))
    when = START + int(random.random() * 200 * 86_400)
    events: list[tuple[int, int, float]] = []
    taken: list[int] = []
    for _ in range(5 + int(random.random() * 10)):
        work = _next_work(works, taken, liking, random)
        taken.append(work)
        stars = 5.0 if works[work].shelf in favourites else 3.0
        events.append((work, when, stars - int(random.random() * 2)))
        if random.random() > 0.08:  # else the next event falls in the same second
            when += 600 + int(random.random() ** 3 * 20 * 86_400)
    return events


def _next_work(
    works: Sequence[Work], taken: Sequence[int], liking: dict[str, float], random: Random
) -> int:
    sequels = [n for n, work in enumerate(works) if work.before in taken and n not in taken]
    if sequels and random.random() < FINISHES_A_SERIES:
        latest = max(sequels, key=lambda n: taken.index(works[n].before or 0))
        return latest
    shelf_appeal = dict.fromkeys(liking, 0.0)
    for work in works:
        shelf_appeal[work.shelf] += work.appeal
    weights = [
        0.0 if number in taken else liking[work.shelf] * work.appeal / shelf_appeal[work.shelf]
        for number, work in enumerate(works)
    ]
    return _drawn(weights, random)


def _drawn(weights: Sequence[float], random: Random) -> int:
    bounds = list(accumulate(weights))
    point = random.random() * bounds[-1]
    return next(number for number, bound in enumerate(bounds) if point < bound)


def _items(ids: list[str]) -> pa.Table:
    rows = [
        (title, series.year + 3 * part, [series.form, series.shelf], [series.creator])
        for series in CATALOGUE
        for part, (title, _) in enumerate(series.works)
    ]
    titles, years, categories, creators = zip(*rows, strict=True)
    return pa.table([ids, titles, years, categories, creators], schema=tables.SCHEMAS[tables.ITEMS])


def _descriptions(ids: list[str]) -> pa.Table:
    texts = [text for series in CATALOGUE for _, text in series.works]
    constant = {
        "source": "llm4rec-bench",
        "url": "https://github.com/llm4rec-bench/llm4rec-bench/tree/main/tasks/toy-v1",
        "licence": "Apache-2.0",
        "match": "written for the item",
    }
    columns = {"item_id": ids, "text": texts}
    columns |= {name: [value] * len(ids) for name, value in constant.items()}
    return pa.table(columns, schema=tables.SCHEMAS[tables.DESCRIPTIONS])
