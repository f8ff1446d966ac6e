"""Finding ids in bytes: which item of the catalogue is written at this place of a file?

A run of a million requests names a hundred million items. Making a Python string of each
to look it up costs more than all the rest of scoring, so ids are compared where they lie,
eight bytes at a time, for all cells of a block at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

LONGEST_ID = 512
"""Characters of a request or item id; longer ones no run file could name."""

UNKNOWN = -2
"""The code of an id that is not among those looked for."""

Words = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_WORD = 8
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: Fibonacci hashing (Knuth, 1973, 6.4)."""

_TOGETHER = 1 << 15
"""Ids that are looked for in one go: few enough for the processor's cache."""

_UP_TO = np.array([(1 << 8 * size) - 1 for size in range(_WORD)] + [(1 << 64) - 1], np.uint64)
"""Which bits of a word belong to its first bytes, by their number."""


def words_of(data: bytes) -> Words:
    """The little-endian word that begins at each byte of `data`; what lies behind it is 0."""
    return words_in(data + bytes(_WORD))


def words_in(padded: bytes) -> Words:
    """The same of bytes that end in eight zeros, which are not copied."""
    return np.ndarray((len(padded) - _WORD + 1,), np.dtype("<u8"), buffer=padded, strides=(1,))


class Written(NamedTuple):
    """Ids as they lie in some bytes."""

    words: Words
    """What `words_of` makes of the bytes."""
    start: Places
    """Where in them each id begins."""
    length: Places
    """How many bytes it has."""

    def of(self, first: int, last: int) -> Written:
        """Some of them."""
        return Written(self.words, self.start[first:last], self.length[first:last])

    def word(self, number: int) -> Words:
        """Word `number` of each id, zero behind its end."""
        if number:
            end = len(self.words) - 1
            here = self.words[np.minimum(self.start + number * _WORD, end)]
            return here & _UP_TO.take(self.length - number * _WORD, mode="clip")
        return self.words[self.start] & _UP_TO.take(self.length, mode="clip")


class Ids:
    """A fixed set of ids, each with a code: its place among them."""

    def __init__(self, ids: pa.StringArray) -> None:
        length = pc.binary_length(ids).to_numpy()
        # Behind the last id, at -1, stands one like no other, for the slots that are empty.
        self._length = np.append(length, np.int32(-1))
        width = -(-int(length.max(initial=0)) // _WORD)
        self._words = [np.zeros(len(ids) + 1, np.uint64) for _ in range(width)]
        for place in range(0, len(ids), _TOGETHER):
            written = _laid_out(ids.slice(place, _TOGETHER))
            for number, words in enumerate(self._words):
                words[place : place + len(written.start)] = written.word(number)
        # Slots are many while they fit the processor's cache, for then there are few collisions.
        bits = max(4, len(ids).bit_length() + (3 if len(ids) < 1 << 17 else 1))
        self._shift = np.uint64(64 - bits)
        self._slots = np.full(1 << bits, -1, np.int32)
        self._fill(_hashes(self._words, len(ids) + 1)[:-1])

    def _fill(self, hashes: Words) -> None:
        """Give every id a slot: the one its hash says, or the next that is free."""
        waiting = np.arange(len(hashes), dtype=np.int32)
        slot = (hashes >> self._shift).astype(np.int64)
        while len(waiting):
            free = self._slots[slot] < 0
            self._slots[slot[free]] = waiting[free]  # of several for one slot, the last stays
            left = self._slots[slot] != waiting
            waiting, slot = waiting[left], self._next(slot[left])

    def _next(self, slot: Places) -> Places:
        return (slot + 1) & (len(self._slots) - 1)

    def find(self, ids: pa.Array | pa.ChunkedArray) -> Codes:
        """The code of each id, UNKNOWN for one that is not among them."""
        chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
        found = [
            self._found(_laid_out(chunk.slice(place, _TOGETHER)))
            for chunk in chunks
            for place in range(0, len(chunk), _TOGETHER)
        ]
        return np.concatenate(found) if found else np.zeros(0, np.int32)

    def find_in(self, written: Written) -> Codes:
        """The code of each id that is written there, UNKNOWN for one that is not among them."""
        codes = np.empty(len(written.start), np.int32)
        for place in range(0, len(codes), _TOGETHER):
            codes[place : place + _TOGETHER] = self._found(written.of(place, place + _TOGETHER))
        return codes

    def _found(self, written: Written) -> Codes:
        words = [written.word(number) for number in range(len(self._words))]
        slot = (_hashes(words, len(written.start)) >> self._shift).view(np.int64)
        codes = self._slots.take(slot)
        wrong = np.flatnonzero(~self._equal(codes, words, written.length))
        while len(wrong):
            taken = codes[wrong] >= 0
            codes[wrong[~taken]] = UNKNOWN
            wrong = wrong[taken]
            slot[wrong] = self._next(slot[wrong])
            codes[wrong] = self._slots[slot[wrong]]
            same = self._equal(codes[wrong], [word[wrong] for word in words], written.length[wrong])
            wrong = wrong[~same]
        return codes

    def _equal(self, codes: Codes, words: list[Words], length: Places) -> Mask:
        """Which cells hold the id of their code; none where the code is that of an empty slot."""
        same: Mask = self._length.take(codes) == length
        for mine, theirs in zip(self._words, words, strict=True):
            same &= mine.take(codes) == theirs
        return same


def _laid_out(ids: pa.StringArray) -> Written:
    """The ids of an Arrow array without nulls, end to end."""
    wide = ids.cast(pa.large_string())
    _, bounds, data = wide.buffers()
    ends = np.frombuffer(bounds, np.int64)[wide.offset : wide.offset + len(wide) + 1]
    first, last = int(ends[0]), int(ends[-1])
    text = b"" if data is None else memoryview(data)[first:last].tobytes()
    return Written(words_of(text), ends[:-1] - first, np.diff(ends))


def _hashes(words: list[Words], number: int) -> Words:
    if not words:
        return np.zeros(number, np.uint64)
    hashes = words[0] * _MULTIPLIER
    for word in words[1:]:
        hashes = (hashes ^ (hashes >> np.uint64(29)) ^ word) * _MULTIPLIER
    return hashes
