"""From a checked run to a score."""

from llm4rec_bench.scoring.breadth import Breadth
from llm4rec_bench.scoring.floors import Floors
from llm4rec_bench.scoring.scorer import (
    SCORER,
    Score,
    Slice,
    Validity,
    packed_ranks,
    score,
    unpacked_ranks,
)
from llm4rec_bench.scoring.slices import slices_of

__all__ = [
    "SCORER",
    "Breadth",
    "Floors",
    "Score",
    "Slice",
    "Validity",
    "packed_ranks",
    "score",
    "slices_of",
    "unpacked_ranks",
]
