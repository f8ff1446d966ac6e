"""What the page that compares two systems is given: every pair of every table, packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm4rec_bench.compare import MetricComparison, compare_scores
from llm4rec_bench.leaderboard import Row, Table, cells
from llm4rec_bench.site import boards
from llm4rec_bench.site.text import plain, units


def packed(tables: Sequence[Table]) -> dict[str, Any]:
    """Systems by name, then for each table its rows and, for each pair of them, six numbers.

    Pairs stand in the order of `itertools.combinations`: difference, low, high, adjusted p,
    requests won and lost by the first. They are of the first metric, in ten-thousandths; p is cut
    and not rounded, so that what lies below a level still does.
    """
    cards = {row.entry.card.name: row.entry.card for table in tables for row in table.rows}
    return {
        "systems": {
            name: [plain(cards[name].title), boards.KINDS[boards.kind_of(cards[name])]]
            for name in sorted(cards)
        },
        "tables": [_table(table) for table in tables],
    }


def _table(table: Table) -> dict[str, Any]:
    pairs = compare_scores([row.entry.score for row in table.rows]) if len(table.rows) > 1 else []
    return {
        "task": table.task,
        "track": table.track,
        "requests": table.rows[0].entry.score.requests,
        "metrics": table.metrics,
        "rows": [
            [
                row.entry.card.name,
                row.rank,
                [
                    [units(by.value), units(by.low), units(by.high)]
                    for by in row.entry.score.metrics.values()
                ],
                [plain(text) for text in _others(row)],
            ]
            for row in table.rows
        ],
        "pairs": [_pair(pair) for pair in pairs],
    }


OTHERS = ["reads", "order", "valid", "p50 ms", "p95 ms", "tokens", "cost", "exposure", "hardware"]
"""What is shown beside the metrics, in order."""


def _others(row: Row) -> list[str]:
    score, card = row.entry.score, row.entry.card
    order = boards.order_cell(score)
    return [
        cells.reads(card),
        f"{order.text} ({order.small})" if order.small else order.text,
        cells.valid(score),
        cells.latency(score, "p50"),
        cells.latency(score, "p95"),
        cells.tokens(score),
        cells.cost(row.cost),
        cells.exposure(card),
        card.hardware,
    ]


def _pair(pair: MetricComparison) -> list[int]:
    by = pair.difference
    p = int(pair.p_holm * 10_000)
    return [units(by.value), units(by.low), units(by.high), p, pair.wins, pair.losses]
