"""Submissions: their cards, and the run files beside them."""

from llm4rec_bench.submission.card import (
    CARD,
    LARGEST_CARD,
    Adjusted,
    Card,
    Elsewhere,
    Exposure,
    Model,
    Name,
    read_card,
)
from llm4rec_bench.submission.folder import run_files
from llm4rec_bench.submission.prices import Paid, Price, Prices, read_prices
from llm4rec_bench.submission.tuning import (
    Choice,
    Dimension,
    Parameter,
    Range,
    Tuning,
    size_of,
)

__all__ = [
    "CARD",
    "LARGEST_CARD",
    "Adjusted",
    "Card",
    "Choice",
    "Dimension",
    "Elsewhere",
    "Exposure",
    "Model",
    "Name",
    "Paid",
    "Parameter",
    "Price",
    "Prices",
    "Range",
    "Tuning",
    "read_card",
    "read_prices",
    "run_files",
    "size_of",
]
