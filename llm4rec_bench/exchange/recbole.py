"""Tasks as RecBole's atomic files, with configurations that keep our split, mask and ranking.

RecBole (Zhao et al., CIKM 2021; read here: 1.2.1) would otherwise filter, order and split the
data itself. With `benchmark_filename` it takes files as they are, and wants those of sequential
models with the history of each event in it. That is done here, in the task's own order:
RecBole keeps times as 32-bit floats, in which events minutes apart are simultaneous.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.exchange.lines import TOGETHER, not_a_word, text_of, words_only
from llm4rec_bench.exchange.rankings import packed
from llm4rec_bench.exchange.recbole_config import general, readme, sequential
from llm4rec_bench.files import replace_text
from llm4rec_bench.interactions import Codes, Rows, ranges
from llm4rec_bench.split import TEST, VALIDATION
from llm4rec_bench.task import Task
from llm4rec_bench.task.tables import INTERACTIONS, REQUESTS

LONGEST_HISTORY = 50
"""Items of a history that a sequential model is given, unless it is said otherwise."""

_FORM = "RecBole files"
_MISSING = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""What pandas, by which RecBole reads, takes for a value that is missing."""

_ODD = not_a_word('"', r"^\[PAD\]$", *(f"^{word.replace('.', '[.]')}$" for word in _MISSING))
_NOR = ', nor one with a " or that RecBole reads as none: [PAD], NA, nan, null and their like'

_PAIR = "user_id:token\titem_id:token\ttimestamp:float"
_LIST = "\titem_id_list:token_seq"


@dataclass(frozen=True, slots=True)
class _Events:
    """Some events, each with what its user had before it."""

    users: pa.StringArray
    items: Codes
    """Rows of the catalogue."""
    times: pa.StringArray
    past: Codes
    """Histories end to end; that of an event is `past[start:stop]`, oldest first."""
    start: Rows
    stop: Rows

    def rows(self, kept: Rows) -> _Events:
        """Some of the events."""
        users, times = (column.take(pa.array(kept)) for column in (self.users, self.times))
        return _Events(users, self.items[kept], times, self.past, self.start[kept], self.stop[kept])


def export_recbole(
    task: Task, out: Path, *, split: str = TEST, max_length: int = LONGEST_HISTORY
) -> Path:
    """Write a task as RecBole's atomic files into a folder of `out`, which is returned.

    The folder is named for the task, with ``-validation`` for that split. Its ``train`` holds
    all that the split may see, in time order, ``valid`` the validation targets, and, for the
    test split alone, ``test`` those of test. A sequential model is given the last `max_length`
    items of a history; events and requests without any are left out for it. Raises UsageError
    where RecBole cannot hold an id.
    """
    _refuse_ids(task)
    name = task.id if split == TEST else f"{task.id}-{split}"
    folder = out / name
    train = _visible(task, split)
    asked = {"valid": VALIDATION} | ({"test": TEST} if split == TEST else {})
    sequences = {"train-sequences": train} | {part: _asked(task, of) for part, of in asked.items()}
    _write_events(folder / f"{name}.train.inter", train, task)
    longest = [
        _write_sequences(folder / f"{name}.{part}.inter", events, task, max_length)
        for part, events in sequences.items()
    ]
    _write_items(folder / f"{name}.item", task)
    replace_text(folder / f"{name}.general.yaml", general(task, split, name, out))
    config = sequential(task, split, name, out, max(longest))
    replace_text(folder / f"{name}.sequential.yaml", config)
    replace_text(folder / "README.md", readme(task, split, name))
    return folder


def _refuse_ids(task: Task) -> None:
    users = task.table(INTERACTIONS)["user_id"].unique()
    for ids, what in ((users, "user"), (task.items.id_array, "item")):
        words_only(ids, what, _FORM, _ODD, _NOR)


def _visible(task: Task, split: str) -> _Events:
    """What a split may see, in time order."""
    table = task.table(INTERACTIONS)
    if split != TEST:
        table = table.filter(pc.equal(table["part"], "train"))
    users = table["user_id"].combine_chunks()
    items = task.items.encode(table["item_id"])
    user = users.dictionary_encode().indices.to_numpy()
    by_user = np.argsort(user, kind="stable")
    place = np.empty(len(user), np.int64)
    place[by_user] = np.arange(len(user))
    first = np.searchsorted(user[by_user], user)
    return _Events(users, items, _times(table["timestamp"], 0), items[by_user], first, place)


def _asked(task: Task, split: str) -> _Events:
    """The targets of a split, each with the history of its request."""
    table = task.table(REQUESTS)
    table = table.filter(pc.equal(table["split"], split))
    histories, targets = task.histories(split), task.targets(split).items
    row, column = np.nonzero(targets >= 0)
    users = table["user_id"].combine_chunks().take(pa.array(row))
    times = _times(table["timestamp"].take(pa.array(row)), task.table(INTERACTIONS).num_rows)
    start, stop = histories.offsets[row], histories.offsets[row + 1]
    return _Events(users, targets[row, column], times, histories.items, start, stop)


def _times(moments: pa.ChunkedArray, first: int) -> pa.StringArray:
    """Times as text; where there are none, numbers that count up from `first`."""
    if moments.null_count:
        moments = pa.chunked_array([pa.array(np.arange(first, first + len(moments)))])
    return moments.cast(pa.string()).combine_chunks()


def _write_events(path: Path, events: _Events, task: Task) -> None:
    """Events without what came before."""
    with packed(path) as file:
        file.write(f"{_PAIR}\n".encode())
        for some in _in_parts(events):
            file.write(text_of(_pairs(some, task), "\t"))


def _write_sequences(path: Path, events: _Events, task: Task, longest: int) -> int:
    """Events with what came before; returns the longest history written."""
    events = events.rows(np.flatnonzero(events.stop > events.start))
    start = np.maximum(events.start, events.stop - longest)
    events = replace(events, start=start)
    with packed(path) as file:
        file.write(f"{_PAIR}{_LIST}\n".encode())
        for some in _in_parts(events):
            file.write(text_of([*_pairs(some, task), _lists(some, task)], "\t"))
    return int((events.stop - events.start).max(initial=0))


def _in_parts(events: _Events) -> Iterator[_Events]:
    for first in range(0, len(events.items), TOGETHER):
        yield events.rows(np.arange(first, min(first + TOGETHER, len(events.items))))


def _pairs(events: _Events, task: Task) -> list[pa.Array]:
    return [events.users, task.items.id_array.take(pa.array(events.items)), events.times]


def _lists(events: _Events, task: Task) -> pa.Array:
    lengths = events.stop - events.start
    items = task.items.id_array.take(pa.array(events.past[ranges(events.start, lengths)]))
    offsets = pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(offsets, items), " ")


def _write_items(path: Path, task: Task) -> None:
    """The catalogue. A name of several words is one token; a column that is empty is left out."""
    table = task.items.table
    columns = {
        "item_id:token": table["item_id"].to_pylist(),
        "title:token_seq": [_words(title, " ") for title in table["title"].to_pylist()],
        "year:token": ["" if year is None else str(year) for year in table["year"].to_pylist()],
        "categories:token_seq": _names(table["categories"]),
        "creators:token_seq": _names(table["creators"]),
    }
    columns = {head: cells for head, cells in columns.items() if any(cells)}
    lines = ["\t".join(columns), *map("\t".join, zip(*columns.values(), strict=True))]
    replace_text(path, "".join(f"{line}\n" for line in lines))


def _names(lists: pa.ChunkedArray) -> list[str]:
    return [" ".join(_words(name, "_") for name in names) for names in lists.to_pylist()]


def _words(text: str, joined: str) -> str:
    """A text without what would break its line or its quotes, its words joined anew."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return joined.join(plain.replace('"', "'").split())
