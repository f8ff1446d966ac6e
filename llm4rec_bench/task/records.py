"""What methods and readers are handed: items, requests, one record at a time or as columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import UsageError
from llm4rec_bench.ids import Ids
from llm4rec_bench.interactions import Codes
from llm4rec_bench.texts import Condition, displayed

if TYPE_CHECKING:
    import pandas


class Request(msgspec.Struct, frozen=True):
    """All that a ranker may see of one request."""

    request_id: str
    user_id: str
    timestamp: int | None
    """Seconds since 1970 at which the request is made."""
    history: list[str]
    """The user's item ids before that time, oldest first."""
    candidates: list[str] | None
    """The items to rank, in an order that means nothing, or on `reranking` in that of the first
    stage; None where it is the whole catalogue less the history."""


def to_pandas(table: pa.Table) -> pandas.DataFrame:
    """A table as a pandas DataFrame; raises UsageError where pandas is not installed."""
    try:
        return table.to_pandas()
    except ImportError:
        raise UsageError("pandas is not installed; pip install pandas") from None


_READ: dict[Condition, tuple[str, ...]] = {
    "title": ("title", "year"),
    "metadata": ("categories", "creators"),
}
"""Columns of the catalogue by what a method reads."""


class Items:
    """The catalogue. Rows are in hash order, so a stable sort breaks ties without a bias."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def id_array(self) -> pa.StringArray:
        """Item ids by row, as an Arrow array."""
        return self.table["item_id"].combine_chunks()

    @cached_property
    def ids(self) -> list[str]:
        """Item ids by row."""
        return list(self.id_array.to_pylist())

    @cached_property
    def texts(self) -> list[str]:
        """What is shown of each item, ``Title (Year)``, by row."""
        return list(displayed(self.table["title"], self.table["year"]).to_pylist())

    @cached_property
    def text_codes(self) -> Codes:
        """A number for what is shown of each item, by row; equal where items are shown alike."""
        texts = displayed(self.table["title"], self.table["year"])
        return pc.dictionary_encode(texts).combine_chunks().indices.to_numpy()

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each item id."""
        return {item: row for row, item in enumerate(self.ids)}

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Rows of item ids that are known to be in the catalogue."""
        row_of = self.row_of
        return np.fromiter((row_of[item] for item in ids), np.int64, len(ids))

    @cached_property
    def known(self) -> Ids:
        """Item ids, to find the rows of others."""
        return Ids(self.id_array)

    def encode(self, ids: pa.Array | pa.ChunkedArray) -> Codes:
        """Rows of a column of item ids; UNKNOWN for one that is not in the catalogue."""
        return self.known.find(ids)

    def only(self, reads: Collection[Condition]) -> Items:
        """The catalogue with no more than what is read of it; ids always stay."""
        hidden = [name for condition, names in _READ.items() if condition not in reads
                  for name in names]  # fmt: skip
        if not hidden:
            return self
        table, rows = self.table, len(self)
        for name in hidden:
            place = table.schema.get_field_index(name)
            field = table.schema.field(place)
            empty: Any = [] if pa.types.is_list(field.type) else None
            empty = "" if name == "title" else empty
            table = table.set_column(place, field, pa.repeat(pa.scalar(empty, field.type), rows))
        return Items(table)

    def to_pandas(self) -> pandas.DataFrame:
        """The catalogue as a DataFrame."""
        return to_pandas(self.table)


class Requests(Sequence[Request]):
    """The requests of one split on one track, in the task's order; records made on access."""

    def __init__(self, table: pa.Table, pools: pa.Table | None) -> None:
        self._table = table
        self._pools = pools
        self._columns = [table[name].combine_chunks() for name in _COLUMNS]
        self._candidates = None if pools is None else pools["items"].combine_chunks()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        columns = zip(_COLUMNS, self._columns, strict=True)
        fields: dict[str, Any] = {name: column[row].as_py() for name, column in columns}
        pool = None if self._candidates is None else self._candidates[row].as_py()
        return Request(**fields, candidates=pool)

    def __iter__(self) -> Iterator[Request]:
        return (self[row] for row in range(len(self)))

    @property
    def id_array(self) -> pa.StringArray:
        """Request ids in order, as an Arrow array."""
        return self._columns[0]

    @cached_property
    def ids(self) -> list[str]:
        """Request ids in order."""
        return list(self.id_array.to_pylist())

    def to_arrow(self, columns: list[str]) -> pa.Table:
        """Some columns of the requests."""
        return self._table.select(columns)

    def to_pandas(self) -> pandas.DataFrame:
        """The requests as a DataFrame with a column for each field of `Request`."""
        table = self._table.select(_COLUMNS)
        if self._pools is not None:
            table = table.append_column("candidates", self._pools["items"])
        return to_pandas(table)


_COLUMNS = ["request_id", "user_id", "timestamp", "history"]
