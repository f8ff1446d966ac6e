"""What the ranking of a request may hold: nothing seen before, or nothing but its candidates."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import nearest_hint, shown
from llm4rec_bench.task import Requests, Task

Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

_HEAD = 5
"""First items by which an order is recognised."""

NOTHING = -1
"""What fills lists behind their end. It stands for no item."""


class Allowed(Protocol):
    """A list of items for each request, in or out of which its ranking has to stay."""

    code: str
    """The rule, as `format.CODES` names it."""

    def sizes(self, requests: Codes) -> Integers:
        """How many items the list of each request holds; 0 for an unknown request."""

    def lists(self, requests: Codes, widest: int) -> Codes:
        """The lists, shape (requests, widest), NOTHING behind the end."""

    def refuses(self, listed: Mask) -> Mask:
        """Which items may not be ranked, by whether they are listed."""

    def refuses_after(self, step: Codes) -> Mask:
        """The same where lists and rankings are sorted together, see `Checker._suspect`.

        A ranked item is `step` more than what stands before it: 1 where it is listed, 0 where
        it has been ranked already, which is refused as well.
        """

    def as_given(self, items: Codes, requests: Codes) -> tuple[int, int]:
        """How many rankings of two candidates or more keep an order of the pool, and of how many.

        The first few items decide: as many by chance is one in a hundred thousand.
        """

    def describe(self, found: str, requests: Requests, request: int) -> str:
        """What is wrong with an item that is refused."""


class Histories:
    """On the whole catalogue: nothing that the user has seen."""

    code = "item-already-seen"

    def __init__(self, task: Task, split: str) -> None:
        self._histories = task.histories(split)

    def sizes(self, requests: Codes) -> Integers:  # noqa: D102
        offsets = self._histories.offsets
        return np.where(requests < 0, 0, offsets[requests + 1] - offsets[requests])

    def lists(self, requests: Codes, widest: int) -> Codes:  # noqa: D102
        column = np.arange(widest)
        inside = column < self.sizes(requests)[:, None]
        place = np.where(inside, self._histories.offsets[requests][:, None] + column, 0)
        return np.where(inside, self._histories.items[place], NOTHING)

    def refuses(self, listed: Mask) -> Mask:  # noqa: D102
        return listed

    def refuses_after(self, step: Codes) -> Mask:  # noqa: D102
        return step <= 1

    def as_given(self, items: Codes, requests: Codes) -> tuple[int, int]:  # noqa: D102
        return 0, 0  # the catalogue has no order that a method is given

    def describe(self, found: str, requests: Requests, request: int) -> str:  # noqa: D102
        return (
            f"{shown(found)} is in the history of request {shown(requests.ids[request])}; "
            "leave out what the user has seen"
        )


class Pools:
    """On a fixed pool: nothing but its candidates."""

    code = "item-not-in-pool"

    def __init__(self, task: Task, split: str, track: str) -> None:
        self._pools = task.pools(split, track)

    def sizes(self, requests: Codes) -> Integers:  # noqa: D102
        return np.where(requests < 0, 0, self._pools.shape[2])

    def lists(self, requests: Codes, widest: int) -> Codes:  # noqa: D102
        return np.where(
            requests[:, None] < 0, NOTHING, self._pools[np.maximum(requests, 0), 0, :widest]
        )

    def refuses(self, listed: Mask) -> Mask:  # noqa: D102
        return ~listed

    def refuses_after(self, step: Codes) -> Mask:  # noqa: D102
        return step != 1

    def as_given(self, items: Codes, requests: Codes) -> tuple[int, int]:  # noqa: D102
        if self._pools.shape[1] == 1:
            return 0, 0  # the order of a first stage is one to keep
        head = items[:, :_HEAD]
        given = self._pools[requests, :, : head.shape[1]]
        several = (head >= 0).sum(axis=1) > 1
        alike = ((head[:, None] == given) | (head[:, None] < 0)).all(axis=2).any(axis=1)
        return int((several & alike).sum()), int(several.sum())

    def describe(self, found: str, requests: Requests, request: int) -> str:  # noqa: D102
        pool = requests[request].candidates or []
        return (
            f"{shown(found)} is not a candidate of request {shown(requests.ids[request])}; "
            f"expected one of its {len(pool)} ids{nearest_hint(found, pool)}; "
            "rank what it offers on this track and split"
        )
