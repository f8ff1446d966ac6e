"""The log of interactions as columns: who consumed what, when, in a fixed order.

A `Log` is what split rules and pools work on. Its rows are sorted by user, then time,
then a hash, so that neither the order of the raw file nor an item's id can decide which
of two simultaneous events counts as the later one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]

LOG_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.int64()),
        ("rating", pa.float32()),
    ]
)
"""What a source hands over: seconds since 1970 in UTC, or null where the order of the rows is all
that is known; rating null where there is none."""


@dataclass(frozen=True, slots=True)
class Log:
    """Interactions sorted by (user, time, hash); users and items are codes into their ids."""

    user_ids: pa.StringArray
    """Distinct user ids in code-point order; `user` indexes them."""
    item_ids: pa.StringArray
    """Distinct item ids in code-point order; `item` indexes them."""
    user: Codes
    item: Codes
    timestamp: Rows
    rating: npt.NDArray[np.float32]
    """NaN where the source gives none."""
    timed: bool = True
    """Whether `timestamp` is in seconds; else it only counts the events in their order."""

    def __len__(self) -> int:
        return len(self.user)

    def events_per_item(self) -> npt.NDArray[np.int64]:
        """How often each item occurs, in the order of `item_ids`."""
        return np.bincount(self.item, minlength=len(self.item_ids))

    def rows(self, keep: npt.NDArray[np.bool_]) -> Log:
        """The log of the rows marked True; ids that no longer occur are dropped."""
        users, user = np.unique(self.user[keep], return_inverse=True)
        items, item = np.unique(self.item[keep], return_inverse=True)
        return replace(
            self,
            user_ids=self.user_ids.take(pa.array(users)),
            item_ids=self.item_ids.take(pa.array(items)),
            user=user.astype(np.int32),
            item=item.astype(np.int32),
            timestamp=self.timestamp[keep],
            rating=self.rating[keep],
        )


def in_order(table: pa.Table, salt: str, in_row_order: bool = False) -> Log:
    """The log of a table with the columns of `LOG_SCHEMA`, in any row order.

    Events of one user with equal timestamps are ordered by SHA-256(salt, user, item). With
    `in_row_order` the rows' own order counts instead, and there are no times.
    """
    user_ids, user = _encoded(table["user_id"])
    item_ids, item = _encoded(table["item_id"])
    if in_row_order:
        timestamp = np.arange(len(user), dtype=np.int64)
    else:
        timestamp = table["timestamp"].to_numpy().astype(np.int64)
    rating = table["rating"].to_numpy().astype(np.float32)
    by_time = np.lexsort((timestamp, user))
    tied = _tied(user[by_time], timestamp[by_time])
    rows = by_time[tied]
    hashed = np.zeros(len(user), np.uint64)
    hashed[rows] = _tie_breakers(table.select(["user_id", "item_id"]).take(pa.array(rows)), salt)
    # A repeated (user, item, time) is settled by its rating; what is left is identical.
    order = np.lexsort((rating, hashed, timestamp, user))
    columns = (user[order], item[order], timestamp[order], rating[order])
    return Log(user_ids, item_ids, *columns, timed=not in_row_order)


def _encoded(column: pa.ChunkedArray) -> tuple[pa.StringArray, Codes]:
    distinct = pc.unique(column)
    ids = distinct.take(pc.sort_indices(distinct))
    return ids, pc.index_in(column, value_set=ids).to_numpy().astype(np.int32)


def _tied(user: Codes, timestamp: Rows) -> npt.NDArray[np.bool_]:
    """Which rows of a sorted log share user and timestamp with a neighbour."""
    same = (user[1:] == user[:-1]) & (timestamp[1:] == timestamp[:-1])
    tied = np.zeros(len(user), bool)
    tied[1:] |= same
    tied[:-1] |= same
    return tied


def tied_within_user(log: Log) -> npt.NDArray[np.bool_]:
    """Which events share their timestamp with another event of the same user."""
    return _tied(log.user, log.timestamp)


def _tie_breakers(pairs: pa.Table, salt: str) -> npt.NDArray[np.uint64]:
    """First eight bytes, big-endian, of SHA-256 over ``salt NUL user NUL item``.

    No array library here has SHA-256, so this maps over the tied rows one by one, at
    about a microsecond each; everything else about the log is columnar.
    """
    keys = pc.binary_join_element_wise(salt, pairs["user_id"], pairs["item_id"], "\0")
    hashes = b"".join(sha256(key.encode()).digest()[:8] for key in keys.to_pylist())
    return np.frombuffer(hashes, dtype=">u8").astype(np.uint64)


def first_events(log: Log) -> Log:
    """Only the first event of every user with every item."""
    pair = log.user.astype(np.int64) * len(log.item_ids) + log.item
    keep = np.zeros(len(log), bool)
    keep[np.unique(pair, return_index=True)[1]] = True
    return log if keep.all() else log.rows(keep)


def at_least(log: Log, rating: float) -> Log:
    """Only events with this rating or a higher one; unrated events are dropped."""
    return log.rows(log.rating >= rating)


def in_core(log: Log, k: int, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of the rows `among` lie in the k-core: every user and item in it has k events."""
    keep = among.copy()
    while True:
        users = np.bincount(log.user[keep], minlength=len(log.user_ids))
        items = np.bincount(log.item[keep], minlength=len(log.item_ids))
        smaller = keep & (users[log.user] >= k) & (items[log.item] >= k)
        if smaller.sum() == keep.sum():
            return keep
        keep = smaller


def ranges(start: Rows, lengths: Rows) -> Rows:
    """The numbers of the ranges of these lengths from each start, end to end."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(start - before, lengths)
