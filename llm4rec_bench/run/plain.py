"""Rankings read off a block of lines all at once, where they are written plainly.

Nearly all lines of nearly all files have one list, of known ids without an escape, with
nothing between them but a comma and perhaps a space. Of such a line the list is read
here, for all lines of a block by a few array operations, and the little that is left of
the line goes to the JSON decoder like any other. Every line that is not so is left to
the decoder as a whole: nothing is accepted here that it would refuse.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llm4rec_bench.run.format import LONGEST_LINE, MOST_ITEMS
from llm4rec_bench.run.ids import Ids, Words, Written, words_of

EMPTY = -1
"""What fills a row of items behind its end."""

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_QUOTE, _OPEN, _CLOSE, _COMMA, _SPACE, _COLON, _BACKSLASH, _NEWLINE = b'"[], :\\\n'


class Lists(NamedTuple):
    """The lists of the plain lines of a block."""

    line: Places
    """Which lines these are, by their place in the block."""
    opened: Places
    """Where in the block each one's list begins: its opening bracket."""
    closed: Places
    """Where it ends: the closing bracket."""
    lengths: Places
    items: npt.NDArray[np.int32]
    """Codes of the items, shape (lines, longest), EMPTY behind the end of a list."""

    def of(self, rows: npt.NDArray[Any]) -> Lists:
        """Some of the lists."""
        return Lists(*(column[rows] for column in self))


def no_lists() -> Lists:
    """Of no line."""
    none = np.zeros(0, np.int64)
    return Lists(none, none, none, none, np.zeros((0, 0), np.int32))


class Lines(NamedTuple):
    """Where the lines of a block lie."""

    start: Places
    end: Places
    """Without the newline."""


def lines_of(data: bytes) -> Lines:
    """The lines of a block."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    return Lines(np.append(0, ends[:-1] + 1) if len(ends) else ends, ends)


def plain_lists(data: bytes, lines: Lines, catalogue: Ids) -> Lists:
    """The lists of those lines of a block that are written plainly and name known items only.

    A list is left out where it is too long, but may name an item twice.
    """
    text = np.frombuffer(data, np.uint8)
    line, opened, closed = _lines_of_one_list(data, text, lines)
    if not len(line):
        return no_lists()
    quotes = np.flatnonzero(text == _QUOTE)
    first, last = np.searchsorted(quotes, opened), np.searchsorted(quotes, closed)
    sound = (last - first) % 2 == 0
    sound &= (last - first <= 2 * MOST_ITEMS) & ((last > first) | (closed == opened + 1))
    line, opened, closed = line[sound], opened[sound], closed[sound]
    first, last = first[sound], last[sound]
    if not len(line):
        return no_lists()
    lengths = (last - first) // 2
    marks = quotes[_inside(first, last, len(quotes))]
    begin, end = marks[0::2] + 1, marks[1::2]
    words = words_of(data)
    codes = catalogue.find_in(Written(words, begin, end - begin))
    owner = np.repeat(np.arange(len(line)), lengths)
    wrong = (codes < 0) | ~_well_parted(text, begin, end, opened, closed, lengths)
    plain = np.bincount(owner[wrong], minlength=len(line)) == 0
    plain &= _keys_differ(text, words, quotes, lines.start[line], lines.end[line], opened, closed)
    items = np.full((len(line), int(lengths.max(initial=0))), EMPTY, np.int32)
    items[np.arange(items.shape[1]) < lengths[:, None]] = codes
    found = Lists(line, opened, closed, lengths, items)
    return found if plain.all() else found.of(plain)


def _lines_of_one_list(
    data: bytes, text: npt.NDArray[np.uint8], lines: Lines
) -> tuple[Places, Places, Places]:
    """Lines with exactly one pair of brackets and no backslash, and where the brackets are."""
    opened, closed = np.flatnonzero(text == _OPEN), np.flatnonzero(text == _CLOSE)
    first = np.searchsorted(opened, lines.start)
    first_close = np.searchsorted(closed, lines.start)
    one = np.searchsorted(opened, lines.end) - first == 1
    one &= np.searchsorted(closed, lines.end) - first_close == 1
    one &= lines.end - lines.start < LONGEST_LINE
    if b"\\" in data:
        escapes = np.flatnonzero(text == _BACKSLASH)
        one &= np.searchsorted(escapes, lines.start) == np.searchsorted(escapes, lines.end)
    line = np.flatnonzero(one)
    open_at, close_at = opened[first[line]], closed[first_close[line]]
    ordered = open_at < close_at
    return line[ordered], open_at[ordered], close_at[ordered]


def _inside(first: Places, last: Places, number: int) -> Mask:
    """Which of so many quotes stand between `first` (with it) and `last` (without) of a line."""
    change = np.zeros(number + 1, np.int8)
    np.add.at(change, first, 1)
    np.subtract.at(change, last, 1)
    return np.cumsum(change[:-1], dtype=np.int8) > 0


def _well_parted(
    text: npt.NDArray[np.uint8], begin: Places, end: Places, opened: Places, closed: Places,
    lengths: Places,
) -> Mask:  # fmt: skip
    """Which ids are set off by nothing but quotes, commas, brackets and a space after a comma."""
    before = np.zeros_like(end)
    before[1:] = end[:-1]
    gap = begin - before
    sound: Mask = (gap == 3) | ((gap == 4) & (text[before + 2] == _SPACE))
    sound &= text[before + 1] == _COMMA
    some = lengths > 0
    last = np.cumsum(lengths)[some] - 1
    first = last - lengths[some] + 1
    sound[first] = begin[first] == opened[some] + 2
    sound[last] &= end[last] + 1 == closed[some]
    return sound


def _keys_differ(
    text: npt.NDArray[np.uint8],
    words: Words,
    quotes: Places,
    start: Places,
    end: Places,
    opened: Places,
    closed: Places,
) -> Mask:
    """Which lines are sure to name no key twice, which the decoder would not say.

    They are where every colon outside the list follows a quote, and so a key, and no two
    keys begin alike: those of the format differ in their first eight bytes.
    """
    colons = np.flatnonzero(text == _COLON)
    owner = np.searchsorted(start, colons, side="right") - 1
    kept = (owner >= 0) & (colons < end[owner])
    kept &= (colons < opened[owner]) | (colons > closed[owner])
    colons, owner = colons[kept], owner[kept]
    is_key = text[colons - 1] == _QUOTE
    sound = np.bincount(owner[~is_key], minlength=len(start)) == 0
    owner, closing = owner[is_key], colons[is_key] - 1
    begin = quotes[np.searchsorted(quotes, closing) - 1] + 1
    keys = Written(words, begin, closing - begin).word(0)
    order = np.lexsort((keys, owner))
    keys, owner = keys[order], owner[order]
    again = (keys[1:] == keys[:-1]) & (owner[1:] == owner[:-1])
    sound[owner[1:][again]] = False
    return sound
