"""Whether an entry passes for another one: by its title, or by its rankings."""

from __future__ import annotations

import unicodedata

import numpy as np

from llm4rec_bench.scoring import Score, unpacked_ranks

NEAR = 0.95
"""Share of equal ranks from which two runs call for a look; unrelated methods stay below."""

_LOOK_ALIKE = str.maketrans(
    "АВЕКМНОРСТХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",
    "ABEKMHOPCTXaeopcyxijsABEZHIKMNOPTYXo",
)


def as_read(title: str) -> str:
    """What is left of a title for the eye: letters and digits, whatever their alphabet or case."""
    text = unicodedata.normalize("NFKC", title.translate(_LOOK_ALIKE)).casefold()
    return "".join(sign for sign in text if sign.isalnum())


def ticked(text: str) -> bool:
    """Whether a text bears what may be taken for the board's own mark."""
    return any("CHECK" in unicodedata.name(sign, "") or sign == "√" for sign in text)


def nearness(one: Score, other: Score) -> float:
    """The share of equal ranks among the targets that a first run of one or the other ranks."""
    first, second = (unpacked_ranks(by.ranks, by.runs, by.requests)[0] for by in (one, other))
    if first.shape != second.shape:
        return 0.0
    ranked = (first > 0) | (second > 0)
    return float((first == second)[ranked].mean()) if np.any(ranked) else 0.0
