"""Candidate pools: the target among negatives, drawn and shuffled by hash.

No library's random generator is used, so a pool is the same on every machine and for
ever: each request has a 64-bit key, the first eight bytes of a SHA-256, from which
SplitMix64 (Steele, Lea and Flood, 2014) makes as many draws as are needed.

A pool depends on nothing but the request's own history and target and on the log that
the split may see. In particular what a user consumed later may stand in a pool: leaving
it out would tell the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.interactions import Codes, Rows

PERMUTATIONS = 3
"""Frozen orders of each pool; run r of a method sees order r mod 3."""

Keys = npt.NDArray[np.uint64]

_WIDEST = 1 << 17


class Negatives(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a track fills its pools beside the target."""

    draw: Literal["uniform", "popularity"]
    """`popularity` draws an item in proportion to one plus its visible events, as targets are
    drawn: on average over requests popularity then tells little. It is matched in the
    mean only; users differ in their taste for the popular, and tastes change with time.
    Drawing neighbours of the target in popularity would betray it as the middle of its
    pool."""
    size: Annotated[int, msgspec.Meta(ge=2, le=100)] = 20
    """Items in a pool, the target included."""


def hash_keys(salt: str, purpose: str, names: Sequence[str]) -> Keys:
    """One 64-bit key a name: the head of SHA-256 over ``salt NUL purpose NUL name``."""
    prefix = f"{salt}\0{purpose}\0"
    heads = b"".join(sha256(f"{prefix}{name}".encode()).digest()[:8] for name in names)
    return np.frombuffer(heads, dtype=">u8").astype(np.uint64)


def draws(keys: Keys, width: int) -> Keys:
    """The first `width` outputs of SplitMix64 from each key: shape (keys, width)."""
    steps = np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = keys[:, None] + steps[None, :]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def negatives(
    rule: Negatives,
    keys: Keys,
    target: Codes,
    seen: tuple[Rows, Codes],
    visible_events: npt.NDArray[np.int64],
    text: Codes,
) -> Codes:
    """Unseen items to rank the target among: item codes of shape (requests, size - 1).

    `seen` holds pairs (request number, item) of all histories; `visible_events` how often
    the split's visible log holds each item; `text` a code for each item's displayed text,
    which no two candidates of a request share, nor a negative and an item seen. Raises
    TaskDataError where a request has too few items left.
    """
    items = len(visible_events)
    weights = visible_events + 1 if rule.draw == "popularity" else np.ones(items, np.int64)
    bounds = np.cumsum(weights).astype(np.uint64)
    taken = np.sort(seen[0] * items + text[seen[1]])  # shown alike is seen, too
    wanted = rule.size - 1
    if short := np.count_nonzero(_unseen(taken, target, text) < wanted):
        raise TaskDataError(
            f"a pool of {rule.size} cannot be filled: {short} requests have fewer than {wanted} "
            "unseen items with texts of their own; make the pools smaller"
        )
    chosen = np.zeros((len(keys), wanted), np.int32)
    open_rows = np.arange(len(keys))
    width = 2 * rule.size
    while len(open_rows):
        if width > _WIDEST:
            raise TaskDataError(
                f"a pool of {rule.size} cannot be filled: {_WIDEST} draws are too few for "
                f"{len(open_rows)} requests, which have seen what is popular; make the pools "
                "smaller"
            )
        step = max(1, (1 << 22) // width)
        unfilled = [
            _fill(chosen, rows, keys, target, taken, bounds, text, width)
            for rows in np.split(open_rows, range(step, len(open_rows), step))
        ]
        open_rows = np.concatenate(unfilled)
        width *= 4
    return chosen


def _unseen(taken: Rows, target: Codes, text: Codes) -> npt.NDArray[np.int64]:
    """How many texts of items are left for negatives of each request."""
    items, requests = len(text), np.arange(len(target))
    seen = np.bincount(np.unique(taken) // items, minlength=len(target))
    return len(np.unique(text)) - seen - ~contains(taken, requests * items + text[target])


def _fill(
    chosen: Codes,
    rows: Rows,
    keys: Keys,
    target: Codes,
    taken: Rows,
    bounds: Keys,
    text: Codes,
    width: int,
) -> Rows:
    """Fill the pools of `rows` from their first `width` draws; return the rows that stay open."""
    drawn = np.searchsorted(bounds, draws(keys[rows], width) % bounds[-1], side="right")
    usable = ~contains(taken, rows[:, None] * len(text) + text[drawn])
    # The target's text stands first, so that it wins over any negative with the same one.
    texts = np.concatenate([text[target[rows]][:, None], text[drawn]], axis=1)
    valid = np.concatenate([np.ones((len(rows), 1), bool), usable], axis=1)
    fresh = _first_of_its_kind(texts, valid)[:, 1:]
    place = np.cumsum(fresh, axis=1) - 1
    wanted = chosen.shape[1]
    full = place[:, -1] + 1 >= wanted
    keep = fresh & (place < wanted) & full[:, None]
    row, column = np.nonzero(keep)
    chosen[rows[row], place[row, column]] = drawn[row, column]
    return rows[~full]


def contains(sorted_values: Rows, wanted: Rows) -> npt.NDArray[np.bool_]:
    """Which of `wanted`, in its shape, are among `sorted_values`."""
    if not len(sorted_values):
        return np.zeros(wanted.shape, bool)
    place = np.searchsorted(sorted_values, wanted)
    return sorted_values[np.minimum(place, len(sorted_values) - 1)] == wanted


def _first_of_its_kind(values: Codes, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which valid cells of each row hold a value that no valid cell before them holds."""
    keyed = np.where(valid, values.astype(np.int64), -1)
    order = np.argsort(keyed, axis=1, kind="stable")
    ordered = np.take_along_axis(keyed, order, axis=1)
    new = np.ones_like(valid)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(valid)
    np.put_along_axis(first, order, new, axis=1)
    return first & valid


def shuffled(pool: Codes, salt: str, purpose: str, request_ids: Sequence[str]) -> Codes:
    """The frozen orders of pools whose first column is the target.

    Returns shape (requests, PERMUTATIONS, size); each order is uniformly random.
    """
    orders = []
    for number in range(PERMUTATIONS):
        keys = hash_keys(salt, f"{purpose} order {number}", request_ids)
        order = np.argsort(draws(keys, pool.shape[1]), axis=1, kind="stable")
        orders.append(np.take_along_axis(pool, order, axis=1))
    return np.stack(orders, axis=1)
