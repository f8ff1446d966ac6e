"""Blocks of lines turned into columns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.ids import LONGEST_ID, Ids
from llm4rec_bench.run.format import FAILED, STATUSES, Dropped, Row, unsound
from llm4rec_bench.run.judge import judged_row
from llm4rec_bench.run.lines import Block
from llm4rec_bench.run.plain import EMPTY, Lists, in_rows, no_lists, plain_lists
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.task import Items

TOKENS = ("prompt", "completion", "cached")
REASONS = Dropped.__struct_fields__
_STATUS = {name: number for number, name in enumerate(STATUSES)}

Codes = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """The sound lines of a block as columns, in the file's order."""

    line: Places
    request: Codes
    """Places among the task's requests, UNKNOWN where it has none of that id."""
    number: Places
    """Which of the repeated runs a row belongs to."""
    items: Codes
    """Item rows, shape (rows, longest): UNKNOWN where the catalogue has none of that id, EMPTY
    behind the end of a ranking."""
    lengths: Places
    status: npt.NDArray[np.int8]
    """Index into `format.STATUSES`."""
    latency_ms: npt.NDArray[np.float64]
    """NaN where not given."""
    tokens: npt.NDArray[np.float64]
    """Shape (rows, len(TOKENS)); NaN where not given."""
    dropped: Places
    """Shape (rows, len(REASONS))."""
    written: Sequence[Row]
    """The lines themselves; those with nothing unknown may lack their items."""

    def __len__(self) -> int:
        return len(self.line)


class Reader:
    """Turns blocks of lines into rows; several threads may use one at once."""

    def __init__(self, items: Items, requests: pa.StringArray) -> None:
        self._items = items.known
        self._requests = Ids(requests)
        # An id with a control character is never written without an escape, and an empty or
        # over-long one never at all.
        odd = pc.match_substring_regex(items.id_array, "[\\x00-\\x1f]")
        length = pc.utf8_length(items.id_array)
        odd = pc.or_(odd, pc.or_(pc.equal(length, 0), pc.greater(length, LONGEST_ID)))
        self._plainly = not pc.any(odd).as_py()

    def rows(self, block: Block, problems: Problems) -> Rows:
        """The sound lines of a block; what is wrong with the others goes to `problems`."""
        plain = plain_lists(block, self._items) if self._plainly else no_lists()
        plain, written = _decoded(block, plain)
        other = np.ones(len(block.start), bool)
        other[plain.line] = False
        if not other.any():
            return self._columns(block.first + plain.line, written, plain.items, plain.lengths)
        place, judged = _judged(block, np.flatnonzero(other), problems)
        items, lengths = self._encoded(judged)
        place = np.concatenate([plain.line, place])
        order = np.argsort(place)
        rows = [*written, *judged]
        return self._columns(
            block.first + place[order],
            [rows[index] for index in order.tolist()],
            _stacked(plain.items, items)[order],
            np.concatenate([plain.lengths, lengths])[order],
        )

    def _encoded(self, rows: Sequence[Row]) -> tuple[Codes, Places]:
        """The rankings of some rows as codes, and how long they are."""
        lengths = np.array([len(row.items) for row in rows], np.int64)
        ids = pa.array([item for row in rows for item in row.items], pa.string())
        return in_rows(self._items.find(ids), lengths), lengths

    def _columns(self, line: Places, rows: Sequence[Row], items: Codes, lengths: Places) -> Rows:
        names = pa.array([row.request_id for row in rows], pa.string())
        tokens = (
            [row.prompt_tokens for row in rows],
            [row.completion_tokens for row in rows],
            [row.cached_tokens for row in rows],
        )
        dropped = [row.dropped for row in rows]
        return Rows(
            line=line,
            request=self._requests.find(names),
            number=np.array([row.run for row in rows], np.int64),
            items=items,
            lengths=lengths,
            status=np.array([_STATUS[row.status] for row in rows], np.int8),
            latency_ms=_numbers([row.latency_ms for row in rows]),
            tokens=np.column_stack([_numbers(column) for column in tokens]),
            dropped=_counted(dropped),
            written=rows,
        )


def _numbers(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    """As an array with NaN for None."""
    if values.count(None) == len(values):
        return np.full(len(values), np.nan)
    return np.array(values, np.float64)


def _counted(values: Sequence[Dropped | None]) -> Places:
    """A row of counts for each."""
    counts = np.zeros((len(values), len(REASONS)), np.int64)
    if values.count(None) < len(values):
        for place, value in enumerate(values):
            if value is not None:
                counts[place] = msgspec.structs.astuple(value)
    return counts


_decoder = msgspec.json.Decoder(Row)


def _decoded(block: Block, plain: Lists) -> tuple[Lists, list[Row]]:
    """The rows of plain lines, decoded without their lists; those that are sound."""
    data = block.data
    start, end = block.start[plain.line].tolist(), block.end[plain.line].tolist()
    bounds = zip(start, (plain.opened + 1).tolist(), plain.closed.tolist(), end, strict=True)
    lines = [data[first:before] + data[after:last] for first, before, after, last in bounds]
    try:
        rows = _decoder.decode_lines(b"\n".join(lines))
        kept = list(range(len(lines)))
    except ValueError:  # one is not JSON, not a row, or not UTF-8: to be judged as a whole
        kept, rows = [], []
        for place, line in enumerate(lines):
            with suppress(ValueError):
                rows.append(_decoder.decode(line))
                kept.append(place)
    sound = [row.status not in FAILED and row.cached_tokens is None for row in rows]
    if not all(sound):  # these have rules of their own, one of which is about the list
        lengths = plain.lengths[kept].tolist()
        sound = [
            plainly or (unsound(row) is None and (row.status not in FAILED or not length))
            for plainly, row, length in zip(sound, rows, lengths, strict=True)
        ]
        kept, rows = list(compress(kept, sound)), list(compress(rows, sound))
    return (plain if len(kept) == len(lines) else plain.of(np.array(kept, np.int64))), rows


def _judged(block: Block, places: Places, problems: Problems) -> tuple[Places, list[Row]]:
    """The sound ones of some lines of a block, and their places."""
    rows = [
        judged_row(block.line(place), block.first + place, problems) for place in places.tolist()
    ]
    kept = np.array([row is not None for row in rows], bool)
    return places[kept], [row for row in rows if row is not None]


def _stacked(one: Codes, other: Codes) -> Codes:
    """The rows of both, the narrower filled up."""
    width = max(one.shape[1], other.shape[1])
    wide = [
        np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=EMPTY)
        for part in (one, other)
    ]
    return np.concatenate(wide)
