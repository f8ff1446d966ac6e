"""Tasks of a few items, made of sequences of their rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from llm4rec_bench import Items, Log, Request, TaskView
from llm4rec_bench.task import tables

ITEMS = 7


def catalogue(items: int = ITEMS) -> Items:
    """Items "i0", "i1" and so on, in rows 0, 1 and so on."""
    ids = [f"i{row}" for row in range(items)]
    nothing: list[list[str]] = [[]] * items
    columns = [ids, ids, [2000] * items, nothing, nothing]
    return Items(pa.table(columns, schema=tables.SCHEMAS[tables.ITEMS]))


def view(
    sequences: Sequence[Sequence[int]],
    times: Sequence[int] | None = None,
    timed: bool = True,
    seed: int = 0,
) -> TaskView:
    """A task in which user "u0" consumed the rows of the first sequence, and so on.

    `times` are those of all events, user by user; without them one event follows another.
    """
    items = catalogue()
    lengths = [len(sequence) for sequence in sequences]
    item = np.array([row for sequence in sequences for row in sequence], np.int32)
    log = Log(
        pa.array([f"u{number}" for number in range(len(sequences))], pa.string()),
        items.id_array,
        np.repeat(np.arange(len(sequences)), lengths).astype(np.int32),
        item,
        np.arange(len(item)) if times is None else np.array(times),
        np.full(len(item), np.nan, np.float32),
        timed,
    )
    return TaskView("small-v1", "retrieval", "test", seed, 100, (), items, log, {})


def asked(
    history: Sequence[int],
    user: str = "u0",
    time: int | None = None,
    candidates: Sequence[int] | None = None,
) -> Request:
    """A request after a history of rows."""
    pool = None if candidates is None else [f"i{row}" for row in candidates]
    return Request("r", user, time, [f"i{row}" for row in history], pool)


rows = st.integers(0, ITEMS - 2)  # nobody has consumed the last item
sequences = st.lists(
    st.lists(rows, min_size=1, max_size=6, unique=True), min_size=1, max_size=9
)  # so that there are more users than items, and fewer
histories = st.lists(rows, max_size=5, unique=True)
