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

from llm4rec_bench.ids import Ids, Words, Written, words_in
from llm4rec_bench.interactions import ranges
from llm4rec_bench.run.format import LONGEST_LINE, MOST_ITEMS
from llm4rec_bench.run.lines import Block

EMPTY = -1
"""What fills a row of items behind its end."""

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_QUOTE, _OPEN, _CLOSE, _COMMA, _SPACE, _COLON, _BACKSLASH = b'"[], :\\'
_BRACE, _BRACE_CLOSED, _RETURN = b"{}\r"


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


def plain_lists(block: Block, catalogue: Ids) -> Lists:
    """The lists of those lines of a block that are written plainly and name known items only.

    A list is left out where it is too long, but may name an item twice.
    """
    text, words = np.frombuffer(block.data, np.uint8), words_in(block.data)
    line, opened, closed = _lines_of_one_list(block, text)
    if not len(line):
        return no_lists()
    quotes = np.flatnonzero(text == _QUOTE)
    at = block.start[line], opened, closed, block.end[line]
    around = [np.searchsorted(quotes, places) for places in at]
    _, first, last, _ = around
    sound = (last - first) % 2 == 0
    sound &= (last - first <= 2 * MOST_ITEMS) & ((last > first) | (closed == opened + 1))
    sound &= _keys_differ(text, words, quotes, around, at)
    line, opened, closed = line[sound], opened[sound], closed[sound]
    first, last = first[sound], last[sound]
    if not len(line):
        return no_lists()
    lengths = (last - first) // 2
    marks = _between(quotes, first, last)
    begin, end = marks[0::2] + 1, marks[1::2]
    codes = catalogue.find_in(Written(words, begin, end - begin))
    sound = (codes >= 0) & _well_parted(text, begin, end, opened, closed, lengths)
    found = Lists(line, opened, closed, lengths, in_rows(codes, lengths))
    if sound.all():
        return found
    owner = np.repeat(np.arange(len(line)), lengths)
    return found.of(np.bincount(owner[~sound], minlength=len(line)) == 0)


def in_rows(codes: npt.NDArray[np.int32], lengths: Places) -> npt.NDArray[np.int32]:
    """Codes of all lists, end to end, as a row for each list."""
    longest = int(lengths.max(initial=0))
    if (lengths == longest).all():
        return codes.reshape(len(lengths), longest)
    rows = np.full((len(lengths), longest), EMPTY, np.int32)
    rows[np.arange(longest) < lengths[:, None]] = codes
    return rows


def _lines_of_one_list(block: Block, text: npt.NDArray[np.uint8]) -> tuple[Places, Places, Places]:
    """Lines with exactly one pair of brackets and no backslash, and where the brackets are."""
    opened, closed = np.flatnonzero(text == _OPEN), np.flatnonzero(text == _CLOSE)
    first = np.searchsorted(opened, block.start)
    first_close = np.searchsorted(closed, block.start)
    one = np.searchsorted(opened, block.end) - first == 1
    one &= np.searchsorted(closed, block.end) - first_close == 1
    one &= block.end - block.start < LONGEST_LINE
    one &= _braced(text, block.start, block.end)
    if b"\\" in block.data:
        escapes = np.flatnonzero(text == _BACKSLASH)
        one &= np.searchsorted(escapes, block.start) == np.searchsorted(escapes, block.end)
    line = np.flatnonzero(one)
    open_at, close_at = opened[first[line]], closed[first_close[line]]
    ordered = open_at < close_at
    return line[ordered], open_at[ordered], close_at[ordered]


def _braced(text: npt.NDArray[np.uint8], start: Places, end: Places) -> Mask:
    """Which lines begin and end with a brace, so that none can complete its neighbour."""
    last = end - 1
    last -= text.take(last, mode="clip") == _RETURN
    begins: Mask = text.take(start, mode="clip") == _BRACE
    return begins & (text.take(last, mode="clip") == _BRACE_CLOSED) & (last > start)


def _between(quotes: Places, first: Places, last: Places) -> Places:
    """The quotes from `first` up to `last` of each line, end to end."""
    # Those outside are few. Behind the last line is one more stretch of them.
    begin, end = np.append(0, last), np.append(first, len(quotes))
    inside = np.ones(len(quotes), bool)
    inside[ranges(begin, end - begin)] = False
    return quotes[inside]


def _well_parted(
    text: npt.NDArray[np.uint8],
    begin: Places,
    end: Places,
    opened: Places,
    closed: Places,
    lengths: Places,
) -> Mask:
    """Which ids are set off by nothing but quotes, commas, brackets and a space after a comma."""
    gap = begin[1:] - end[:-1]
    sound = np.empty(len(begin), bool)
    sound[1:] = text.take(end[:-1] + 1) == _COMMA
    sound[1:] &= (gap == 3) | ((gap == 4) & (text.take(begin[1:] - 2) == _SPACE))
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
    around: list[Places],
    at: tuple[Places, Places, Places, Places],
) -> Mask:
    """Which lines are sure to name no key twice, which the decoder would not say.

    They are where the quotes outside the list come in pairs, every colon there follows one,
    and so a key, and no two keys begin alike: those of the format differ in their first eight
    bytes. `at` says where each line and its list begin and end, `around` how many quotes
    there are before each of these places.
    """
    start, first, last, end = around
    sound = ((first - start) % 2 == 0) & ((end - last) % 2 == 0)
    before, behind = np.where(sound, first - start, 0), np.where(sound, end - last, 0)
    outside = ranges(np.stack([start, last], 1).ravel(), np.stack([before, behind], 1).ravel())
    opening, closing = quotes[outside[0::2]], quotes[outside[1::2]]
    owner = np.repeat(np.arange(len(start)), (before + behind) // 2)
    is_key = text.take(closing + 1, mode="clip") == _COLON
    opening, closing, owner = opening[is_key], closing[is_key], owner[is_key]
    colons = np.flatnonzero(text == _COLON)
    so_far = [np.searchsorted(colons, places) for places in at]
    outside_lists = so_far[1] - so_far[0] + so_far[3] - so_far[2]
    sound &= np.bincount(owner, minlength=len(start)) == outside_lists
    keys = Written(words, opening + 1, closing - opening - 1).word(0)
    if _all_alike(keys, owner, len(start)):  # as nearly always: one line speaks for all
        keys = keys[: len(keys) // len(start)]
        return sound & (len(np.unique(keys)) == len(keys))
    order = np.lexsort((keys, owner))
    keys, owner = keys[order], owner[order]
    again = (keys[1:] == keys[:-1]) & (owner[1:] == owner[:-1])
    sound[owner[1:][again]] = False
    return sound


def _all_alike(keys: Words, owner: Places, lines: int) -> bool:
    """Whether all lines have the same keys in the same order."""
    each, left = divmod(len(keys), lines)
    if left or not each or not (owner == np.repeat(np.arange(lines), each)).all():
        return False
    table = keys.reshape(lines, each)
    return bool((table == table[0]).all())
