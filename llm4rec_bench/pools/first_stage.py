"""Candidate pools that a first stage retrieves, which do not know the target.

The first stage counts which items stand near each other in the histories of users, and
adds up the neighbours of a request's last items. All of it is done in whole numbers, so
that a pool is the same on every machine and for ever.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.interactions import Codes, Rows, ranges
from llm4rec_bench.pools.drawn import contains

WINDOW = 10
"""Events of a user that stand at most so far apart are neighbours; the nearer the heavier."""

LAST = 10
"""Items at the end of a history whose neighbours are looked at; the later the heavier."""

NEIGHBOURS = 200
"""Heaviest neighbours of an item that are kept, so that the work is linear in the log."""

_WEIGHT_BITS = 6
_WEIGHTS = 60 // np.arange(1, max(WINDOW, LAST) + 1)
"""By distance: sixty, and what is left of it when divided by two, three and so on."""

_TOGETHER = 1 << 24
"""Pairs that are sorted in one go, so that memory stays bounded."""


class FirstStage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The track's pools are the best items of the first stage."""

    size: Annotated[int, msgspec.Meta(ge=2, le=100)] = 100
    """Items in a pool."""


class _Cells(NamedTuple):
    """The cells of a matrix of which most is zero, by row."""

    row: Rows
    column: Rows
    weight: Rows

    def take(self, cells: npt.NDArray[np.integer | np.bool_]) -> _Cells:
        return _Cells(self.row[cells], self.column[cells], self.weight[cells])


class _Fitted(NamedTuple):
    """What all requests share: worked out once, for they come in many parts."""

    near: _Cells
    starts: Rows
    """Where the neighbours of each item begin."""
    weight_bits: int
    """Bits of the heaviest weight that a neighbour can bring to a request."""
    text: Codes
    distinct: Rows
    """Items of which none is shown like one before it."""


def _fitted(near: _Cells, text: Codes) -> _Fitted:
    return _Fitted(
        near,
        np.searchsorted(near.row, np.arange(len(text) + 1)),
        int(near.weight.max(initial=1) * _WEIGHTS[0]).bit_length(),
        text,
        np.sort(np.unique(text, return_index=True)[1]),
    )


def retrieved(
    rule: FirstStage,
    log: tuple[Codes, Codes],
    histories: tuple[Codes, Rows],
    visible_events: npt.NDArray[np.int64],
    text: Codes,
) -> Codes:
    """The pool of each request, best first: item codes of shape (requests, size).

    `log` holds user and item of the visible events by user and time; `histories` the items
    of all requests end to end and their lengths; `text` a code for each item's displayed
    text, which no two candidates of a request share, nor one and an item seen. Where scores
    are equal, the item with more visible events comes first, then the one that the catalogue
    names first.
    Raises TaskDataError where a request has too few unseen items.
    """
    # Items go by their place in popularity from here on, which then settles every tie.
    popular = np.argsort(-visible_events, kind="stable")
    place = np.empty(len(popular), np.int64)
    place[popular] = np.arange(len(popular))
    history, offsets = place[histories[0]], np.r_[0, np.cumsum(histories[1])]
    near = _neighbours(log[0], place[log[1]], _last_items(history, offsets), len(place))
    fitted = _fitted(near, text[popular])
    together = max(1, _TOGETHER // max(len(place), LAST * NEIGHBOURS))
    pools = []
    for first in range(0, len(offsets) - 1, together):
        part = offsets[first : first + together + 1]
        inside, part = history[part[0] : part[-1]], part - part[0]
        pools.append(_best(inside, part, fitted, rule.size))
    if not pools:
        return np.zeros((0, rule.size), np.int32)
    return popular[np.concatenate(pools)].astype(np.int32)


def _last_items(history: Rows, offsets: Rows) -> Rows:
    """The items whose neighbours matter, each once."""
    back = offsets[1:, None] - 1 - np.arange(LAST)
    return np.unique(history[back[back >= offsets[:-1, None]]])


def _neighbours(user: Codes, item: Rows, wanted: Rows, items: int) -> _Cells:
    """Which items stand near each one wanted, how heavily, the heaviest `NEIGHBOURS` of each."""
    asked = np.zeros(items, bool)
    asked[wanted] = True
    rows = np.flatnonzero(asked[item])
    rows = rows[np.argsort(item[rows], kind="stable")]
    # Parts end where an item does: the events of one are never divided.
    ends = np.r_[_starts(item[rows])[1:], len(rows)]
    part = ends // max(_TOGETHER // (2 * WINDOW), 1)
    cuts = ends[:-1][part[1:] != part[:-1]]
    # One number an event, so that each is fetched at once; others stand beyond both ends.
    bits = items.bit_length()
    events = np.full(len(item) + 2 * WINDOW, -1)
    np.bitwise_or(user.astype(np.int64) << bits, item, out=events[WINDOW:-WINDOW])
    parts = [_heaviest(_pairs(events, part + WINDOW, bits)) for part in np.split(rows, cuts)]
    return _Cells(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _starts(values: Rows) -> Rows:
    """Where runs of equal values begin."""
    new = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return np.flatnonzero(new)


def _pairs(events: Rows, rows: Rows, bits: int) -> _Cells:
    """The items near those of some events, weights added up.

    An event is its user, and in its last `bits` its item.
    """
    items = (1 << bits) - 1
    own = events[rows]
    parts = []
    for distance in range(1, WINDOW + 1):
        for step in (-distance, distance):
            other = events[rows + step]
            apart = own ^ other
            pair = (apart <= items) & (apart > 0)  # the same user, and another item
            keys = (own[pair] & items) << bits | (other[pair] & items)
            parts.append(keys << _WEIGHT_BITS | _WEIGHTS[distance - 1])
    return _summed(np.concatenate(parts), bits, _WEIGHT_BITS)


def _summed(cells: Rows, bits: int, weight_bits: int) -> _Cells:
    """Equal cells made one, their weights added up; sorts `cells` in place.

    A cell is its row, and below it in so many bits its column and its weight: sorting
    numbers is several times cheaper than sorting places of numbers.
    """
    cells.sort()
    keys = cells >> weight_bits
    first = _starts(keys)
    cells &= (1 << weight_bits) - 1
    sums = np.add.reduceat(cells, first) if len(first) else cells
    keys = keys[first]
    return _Cells(keys >> bits, keys & ((1 << bits) - 1), sums)


def _heaviest(pairs: _Cells) -> _Cells:
    """The heaviest cells of each row."""
    ranked = _ranked(pairs.take(_not_too_light(pairs, NEIGHBOURS)))
    return ranked.take(_rank_in_row(ranked.row) < NEIGHBOURS)


def _not_too_light(cells: _Cells, most: int) -> npt.NDArray[np.bool_]:
    """Which cells may be among the `most` heaviest of their row; sorting the others is in vain.

    Weights are told apart by their number of bits: of a row, those with fewer bits than
    `most` others have are too light.
    """
    if not len(cells.row):
        return cells.row > 0
    row = cells.row - cells.row[0]
    bits = np.frexp(cells.weight.astype(np.float64))[1].astype(np.int64)
    levels = int(bits.max()) + 1
    counts = np.bincount(row * levels + bits, minlength=(int(row[-1]) + 1) * levels)
    at_least = counts.reshape(-1, levels)[:, ::-1].cumsum(axis=1)[:, ::-1]
    least = np.maximum((at_least >= most).sum(axis=1) - 1, 0)
    return bits >= least[row]


def _ranked(cells: _Cells) -> _Cells:
    """Cells by row, then weight, the heaviest first, then column."""
    if not len(cells.row):
        return cells
    least, most = cells.row.min(), cells.weight.max()
    low = int(cells.column.max()).bit_length()
    middle = int(most - cells.weight.min()).bit_length()
    if low + middle + int(cells.row.max() - least).bit_length() > 63:
        return cells.take(np.lexsort((cells.column, -cells.weight, cells.row)))
    keys = ((cells.row - least) << middle | (most - cells.weight)) << low | cells.column
    keys.sort()
    column, rest = keys & ((1 << low) - 1), keys >> low
    return _Cells((rest >> middle) + least, column, most - (rest & ((1 << middle) - 1)))


def _rank_in_row(row: Rows) -> Rows:
    """How many cells of the same row stand before each, rows being in order."""
    first = _starts(row)
    return np.arange(len(row)) - np.repeat(first, np.diff(np.r_[first, len(row)]))


def _best(history: Rows, offsets: Rows, fitted: _Fitted, size: int) -> Rows:
    """The best unseen items of each request, no two with the same text."""
    text = fitted.text
    items, requests = len(text), len(offsets) - 1
    scored = _scored(history, offsets, fitted, size)
    owner = np.repeat(np.arange(requests), np.diff(offsets))
    seen = np.sort(owner * items + text[history])
    unseen = ~contains(seen, scored.row * items + text[scored.column])
    left = scored.take(unseen)
    # Of items shown alike only one is kept, so as many more may be needed.
    ranked = _ranked(left.take(_not_too_light(left, size + items - len(fitted.distinct))))
    texts = ranked.row * items + text[ranked.column]
    row, column, _ = ranked.take(np.sort(np.unique(texts, return_index=True)[1]))
    if (np.bincount(row, minlength=requests) < size).any():
        raise TaskDataError(
            f"a first stage of {size} cannot be filled: some requests have fewer items left that "
            "are neither seen nor shown like another; set a smaller size in "
            "tracks.reranking.first_stage of the recipe"
        )
    return column[_rank_in_row(row) < size].reshape(requests, size)


def _scored(history: Rows, offsets: Rows, fitted: _Fitted, size: int) -> _Cells:
    """The neighbours of each request's last items, and as many popular ones as fill its pool."""
    near, starts, weight_bits, text, distinct = fitted
    lengths = np.diff(offsets)
    requests = np.arange(len(lengths))
    bits = len(text).bit_length()
    popular = np.minimum(size + lengths, len(distinct))
    filling = distinct[ranges(0 * popular, popular)]
    cells = [(np.repeat(requests, popular) << bits | filling) << weight_bits]
    for back in range(LAST):
        some = requests[lengths > back]
        item = history[offsets[some + 1] - 1 - back]
        counts = starts[item + 1] - starts[item]
        found = ranges(starts[item], counts)
        keys = np.repeat(some, counts) << bits | near.column[found]
        cells.append(keys << weight_bits | near.weight[found] * _WEIGHTS[back])
    return _summed(np.concatenate(cells), bits, weight_bits)
