"""What a person or a language model is shown of an item."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Condition = Literal["title", "metadata", "wikipedia"]
"""What a method reads of an item beside its id: ``Title (Year)``, its categories and creators,
and its description."""

CONDITIONS: tuple[Condition, ...] = get_args(Condition)


def displayed(title: pa.Array, year: pa.Array) -> pa.Array:
    """``Title (1995)``, or the bare title where the year is unknown; strings, item by item."""
    with_year = pc.binary_join_element_wise(
        title, " (", pc.cast(year, pa.string()), ")", "", null_handling="emit_null"
    )
    return pc.coalesce(with_year, title)


def item_texts(
    items: pa.Table, descriptions: Mapping[str, str], reads: Collection[Condition]
) -> list[str]:
    """One text for each row of the items table, of no more than what is read.

    What an item lacks is left out: where only descriptions are read, an item without one has
    an empty text.
    """
    columns: list[list[str | None]] = []
    if "title" in reads:
        columns.append(displayed(items["title"], items["year"]).to_pylist())
    if "metadata" in reads:
        columns += [
            [", ".join(names) for names in items[name].to_pylist()]
            for name in ("categories", "creators")
        ]
    if "wikipedia" in reads:
        columns.append([descriptions.get(item) for item in items["item_id"].to_pylist()])
    rows = zip(*columns, strict=True) if columns else [()] * items.num_rows
    return ["\n".join(filter(None, row)) for row in rows]


_END = re.compile(r"[.!?][\"”’»)\]]*(?:\[[0-9]+\])*\s+")
_ABBREVIATED = re.compile(
    r"(?:\b[A-Z]|\b(?:Capt|Col|Dr|Gen|Jr|Lt|Mr|Mrs|Ms|No|Prof|Rev|Sgt|Sr|St|vol|vs))\."
)
_YEAR = re.compile(r"(?<![0-9])(?:1[89]|20)[0-9]{2}(?![0-9])")


def until(text: str, year: int) -> str:
    """A text without the sentences that name a later year: they tell the future."""
    kept = [
        sentence
        for sentence in _sentences(text)
        if all(int(named) <= year for named in _YEAR.findall(sentence))
    ]
    return "".join(kept).strip() if len("".join(kept)) < len(text) else text


def _sentences(text: str) -> Iterator[str]:
    """The sentences of a text, each with the blanks behind it."""
    start = 0
    for end in _END.finditer(text):
        before = text[max(0, end.start() - 5) : end.start() + 1]
        abbreviated = any(end_of.end() == len(before) for end_of in _ABBREVIATED.finditer(before))
        if not abbreviated and not text[end.end() :][:1].islower():
            yield text[start : end.end()]
            start = end.end()
    yield text[start:]


def last_year(seconds: npt.NDArray[np.int64]) -> int:
    """The year of the latest of some moments."""
    return int(np.datetime64(int(seconds.max()), "s").astype("datetime64[Y]").astype(int)) + 1970
