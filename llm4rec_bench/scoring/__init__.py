"""From a checked run to a score."""

from llm4rec_bench.scoring.alarms import Alarm
from llm4rec_bench.scoring.breadth import Breadth
from llm4rec_bench.scoring.cost import Cost, cost, cost_stated, shown_amount
from llm4rec_bench.scoring.floors import Floors
from llm4rec_bench.scoring.order import Agreement, Order
from llm4rec_bench.scoring.scorer import (
    SCORER,
    Latency,
    Score,
    Slice,
    Tokens,
    Validity,
    packed_ranks,
    score,
    unpacked_ranks,
)
from llm4rec_bench.scoring.slices import DESCRIBED, slices_of

__all__ = [
    "DESCRIBED",
    "SCORER",
    "Agreement",
    "Alarm",
    "Breadth",
    "Cost",
    "Floors",
    "Latency",
    "Order",
    "Score",
    "Slice",
    "Tokens",
    "Validity",
    "cost",
    "cost_stated",
    "packed_ranks",
    "score",
    "shown_amount",
    "slices_of",
    "unpacked_ranks",
]
