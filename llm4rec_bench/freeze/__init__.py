"""From raw data and a recipe to a frozen task."""

from llm4rec_bench.freeze.benchmark import BENCHMARK, benchmark
from llm4rec_bench.freeze.card import (
    counted_while_freezing,
    dataset_card,
    draft_card,
    in_numbers,
    pitfalls,
    pool_of,
    protocol,
)
from llm4rec_bench.freeze.leaks import check_leaks
from llm4rec_bench.freeze.tables import differing_tables, digests_of, freeze, manifest_of, sizes_of
from llm4rec_bench.freeze.write import (
    check_cards_replaceable,
    check_tables_replaceable,
    finish_task,
    move_task,
    write_manifest,
    write_recipe,
    write_tables,
    write_task,
)

__all__ = [
    "BENCHMARK",
    "benchmark",
    "check_cards_replaceable",
    "check_leaks",
    "check_tables_replaceable",
    "counted_while_freezing",
    "dataset_card",
    "differing_tables",
    "digests_of",
    "draft_card",
    "finish_task",
    "freeze",
    "in_numbers",
    "manifest_of",
    "move_task",
    "pitfalls",
    "pool_of",
    "protocol",
    "sizes_of",
    "write_manifest",
    "write_recipe",
    "write_tables",
    "write_task",
]
