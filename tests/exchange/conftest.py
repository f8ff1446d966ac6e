"""Small tasks made on the spot, with whatever ids and titles a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from llm4rec_bench.freeze import freeze, manifest_of
from llm4rec_bench.interactions import LOG_SCHEMA
from llm4rec_bench.sources import RawData
from llm4rec_bench.store import recipes_folder
from llm4rec_bench.task import Task, read_recipe
from llm4rec_bench.task.tables import ITEMS, SCHEMAS

RECIPE = read_recipe(recipes_folder() / "toy-v1")
RETRIEVAL = msgspec.structs.replace(RECIPE, tracks={"retrieval": RECIPE.tracks["retrieval"]})


def small_task(
    users: Sequence[str], items: Sequence[str], titles: Sequence[str] | None = None, events: int = 4
) -> Task:
    """A task of one track, on which each user has consumed some items, one a day."""
    log = [
        (user, items[(number + step) % len(items)], 86_400 * (number + step), None)
        for number, user in enumerate(users)
        for step in range(events)
    ]
    catalogue = [
        (item, title, 1999, ["A b", "c"], [])
        for item, title in zip(items, titles or items, strict=True)
    ]
    raw = RawData(_table(log, LOG_SCHEMA), _table(catalogue, SCHEMAS[ITEMS]))
    frozen, counts = freeze(RETRIEVAL, raw)
    return Task(RETRIEVAL, manifest_of(RETRIEVAL, frozen, counts), Path("nowhere"), frozen)


def _table(rows: Sequence[tuple], schema: pa.Schema) -> pa.Table:
    return pa.table(list(map(list, zip(*rows, strict=True))), schema=schema)


@pytest.fixture
def blind(toy: Task, monkeypatch: pytest.MonkeyPatch) -> Task:
    """toy-v1, whose targets must not be opened."""

    def opened(*_: object) -> None:
        raise AssertionError("targets were opened")

    monkeypatch.setattr(Task, "targets", opened)
    return toy


@pytest.fixture
def lines_of() -> Callable[[Path], list[list[str]]]:
    """The fields of each line of a file parted by tabs."""
    return lambda path: [line.split("\t") for line in path.read_text("utf-8").splitlines()]
