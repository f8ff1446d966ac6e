"""Users' sequences of items as arrays, cut into windows for models that read so many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm4rec_bench import Log

Rows = npt.NDArray[np.int64]

FEWEST = 3
"""Items of a user whose last one can be held out: two are left to learn from."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Item rows of all users end to end, in the order in which they were consumed."""

    items: Rows
    offsets: Rows
    """User i's sequence is `items[offsets[i]:offsets[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, user: int) -> Rows:
        """One user's sequence."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def hold_out(self, most: int, rng: np.random.Generator) -> tuple[Sequences, HeldOut]:
        """Take away the last item of up to `most` users who have `FEWEST` items or more."""
        lengths = np.diff(self.offsets)
        users = np.flatnonzero(lengths >= FEWEST)
        users = np.sort(rng.permutation(users)[:most])
        keep = np.ones(len(self.items), bool)
        keep[self.offsets[users + 1] - 1] = False
        shorter = lengths.copy()
        shorter[users] -= 1
        rest = Sequences(self.items[keep], np.concatenate([[0], np.cumsum(shorter)]))
        return rest, HeldOut([rest.of(user) for user in users.tolist()], self.items[~keep])

    def windows(self, length: int, padding: int, rng: np.random.Generator) -> Rows:
        """Windows of `length` + 1 items, shape (windows, length + 1), filled up on the right.

        Successive windows of a user share one item, so that with inputs `[:, :-1]` and targets
        `[:, 1:]` every item but a user's first is a target once. Where the first window ends
        is drawn, so that an item is met with contexts of different lengths in every epoch.
        """
        lengths = np.diff(self.offsets) - 1  # targets
        first = rng.integers(1, length + 1, len(lengths))
        counts = np.where(lengths > 0, 1 + np.maximum(0, -(-(lengths - first) // length)), 0)
        user = np.repeat(np.arange(len(lengths)), counts)
        number = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
        end = np.minimum(first[user] + number * length, lengths[user])  # of targets, exclusive
        start = np.where(number == 0, 0, first[user] + (number - 1) * length)
        place = start[:, None] + np.arange(length + 1)
        inside = place <= end[:, None]
        found = self.items[np.where(inside, self.offsets[user][:, None] + place, 0)]
        return np.where(inside, found, padding)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Requests of one's own making, to know when to stop: histories and what came next."""

    histories: list[Rows]
    targets: Rows


def sequences(log: Log) -> Sequences:
    """The sequences of a log, which is sorted by user and time."""
    lengths = np.bincount(log.user, minlength=len(log.user_ids))
    return Sequences(log.item.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]))


def latest(histories: Sequence[Rows], length: int, padding: int) -> Rows:
    """The last `length` items of each history, oldest first, filled up on the right.

    No wider than the longest history needs.
    """
    length = max(1, min(length, max(map(len, histories), default=0)))
    filled = np.full((len(histories), length), padding, np.int64)
    for row, history in zip(filled, histories, strict=True):
        row[: min(length, len(history))] = history[-length:]
    return filled
