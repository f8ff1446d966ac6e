"""How the cost of freezing grows."""

from __future__ import annotations

import json
import time

import numpy as np
import pyarrow as pa
import pytest

from llm4rec_bench.freeze import freeze, manifest_of
from llm4rec_bench.interactions import LOG_SCHEMA
from llm4rec_bench.sources import RawData
from llm4rec_bench.store import recipes_folder
from llm4rec_bench.task import read_recipe, tables
from tests.benchmarks.freezing import RESULTS

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

RECIPE = read_recipe(recipes_folder() / "ml-100k-v1")


def synthetic(rows: int) -> RawData:
    """A log with a long tail of items, 100 events a user, a tenth of them simultaneous."""
    random = np.random.default_rng(0)
    items, users = 20_000, rows // 100
    log = pa.table(
        [
            pa.array(np.char.add("u", (np.arange(rows) % users).astype(str))),
            pa.array(np.char.add("i", (items * random.power(0.3, rows)).astype(int).astype(str))),
            pa.array(random.integers(0, 10 * 86_400, rows) // 600 * 600),
            pa.array(random.integers(1, 6, rows).astype(np.float32)),
        ],
        LOG_SCHEMA,
    )
    ids = [f"i{number}" for number in range(items)]
    nothing: list[list[str]] = [[]] * items
    columns = [ids, [f"Title {name}" for name in ids], [2000] * items, nothing, nothing]
    return RawData(log, pa.table(columns, schema=tables.SCHEMAS[tables.ITEMS]))


def frozen(raw: RawData) -> None:
    tables_made, counts = freeze(RECIPE, raw)
    manifest_of(RECIPE, tables_made, counts)


def seconds(raw: RawData) -> float:
    start = time.process_time()
    frozen(raw)
    return time.process_time() - start


def test_freezing_is_linear_in_the_rows(benchmark) -> None:
    """Four times the rows take 4.7 to 5.9 times as long, as they fit a processor's cache less;
    were it the square of the rows, it would be 16 times."""
    small, large = synthetic(100_000), synthetic(400_000)
    benchmark.pedantic(frozen, args=(small,), rounds=1)
    tries = [(seconds(small), seconds(large)) for _ in range(4)]  # side by side
    of_small, of_large = (min(times) for times in zip(*tries, strict=True))
    benchmark.extra_info["times as long for 4 times the rows"] = round(of_large / of_small, 2)
    assert of_large / of_small < 4 * 2


def test_a_million_interactions_take_seconds(benchmark) -> None:
    raw = synthetic(1_000_000)
    benchmark.pedantic(frozen, args=(raw,), rounds=1)


def test_the_committed_results_hold_what_is_promised() -> None:
    sizes = json.loads(RESULTS.read_text())["sizes"]
    assert sizes["1000000"]["wall"] < 15
    assert sizes["1000000"]["without_reranking"]["wall"] < 10
    assert sizes["32000000"]["peak_mb"] < 20_000
    per_row = {int(rows): found["cpu"] / int(rows) for rows, found in sizes.items()}
    assert per_row[32_000_000] < 2 * per_row[1_000_000]
