"""From raw data and a recipe to a frozen task."""

from llm4rec_bench.freeze.card import dataset_card, draft_card
from llm4rec_bench.freeze.leaks import check_leaks
from llm4rec_bench.freeze.tables import differing_tables, digests_of, freeze, manifest_of, sizes_of
from llm4rec_bench.freeze.write import write_manifest, write_recipe, write_tables

__all__ = [
    "check_leaks",
    "dataset_card",
    "differing_tables",
    "digests_of",
    "draft_card",
    "freeze",
    "manifest_of",
    "sizes_of",
    "write_manifest",
    "write_recipe",
    "write_tables",
]
