"""Candidate pools: drawn beside the target, or retrieved without it."""

from llm4rec_bench.pools.drawn import (
    PERMUTATIONS,
    Negatives,
    contains,
    draws,
    hash_keys,
    negatives,
    shuffled,
)
from llm4rec_bench.pools.first_stage import LAST, WINDOW, FirstStage, retrieved

__all__ = [
    "LAST",
    "PERMUTATIONS",
    "WINDOW",
    "FirstStage",
    "Negatives",
    "contains",
    "draws",
    "hash_keys",
    "negatives",
    "retrieved",
    "shuffled",
]
