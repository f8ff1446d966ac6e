"""From raw data and a recipe to a frozen task."""

from llm4rec_bench.freeze.card import dataset_card
from llm4rec_bench.freeze.tables import differing_tables, freeze, manifest_of
from llm4rec_bench.freeze.write import write_manifest, write_tables

__all__ = [
    "dataset_card",
    "differing_tables",
    "freeze",
    "manifest_of",
    "write_manifest",
    "write_tables",
]
