"""The pools of a track, from nothing but what is visible, the requests and their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from llm4rec_bench.interactions import Codes, Rows
from llm4rec_bench.pools import Negatives, hash_keys, negatives, retrieved, shuffled
from llm4rec_bench.task import Recipe


@dataclass(frozen=True, slots=True)
class Asked:
    """The requests of one split with their histories, as rows of the catalogue."""

    split: str
    request_ids: list[str]
    target: Codes
    history: Codes
    """The items of all histories end to end."""
    lengths: Rows
    events: tuple[Codes, Codes]
    """User and item of the events visible to the split, by user and time."""
    visible_events: npt.NDArray[np.int64]
    """How often each item occurs among them."""


def pools_of(recipe: Recipe, name: str, asked: Asked, text: Codes) -> Codes:
    """The pools of a track: item rows of shape (requests, orders, size).

    `text` is a number for each item's displayed text, equal where the texts are.
    """
    track = recipe.tracks[name]  # type: ignore[index]
    if track.first_stage is not None:
        found = retrieved(
            track.first_stage,
            asked.events,
            (asked.history, asked.lengths),
            asked.visible_events,
            text,
        )
        return found[:, None]
    rule = cast(Negatives, track.negatives)  # a track with pools has one or the other
    purpose = f"{name} {asked.split}"
    owners = np.repeat(np.arange(len(asked.lengths)), asked.lengths)
    drawn = negatives(
        rule,
        hash_keys(recipe.salt, f"{purpose} negatives", asked.request_ids),
        asked.target,
        (owners, asked.history),
        asked.visible_events,
        text,
    )
    pool = np.concatenate([asked.target[:, None], drawn], axis=1)
    return shuffled(pool, recipe.salt, purpose, asked.request_ids)
