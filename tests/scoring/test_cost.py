"""What a run costs by a table of prices, and tables that cannot be used."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from llm4rec_bench import BenchError, Task, read_run, score
from llm4rec_bench.scoring import cost
from llm4rec_bench.submission import read_prices
from tests.scoring.test_score import random_rows, write_run

TABLE = """
version = "2026-11"
date = 2026-11-22
currency = "USD"
source = "https://example.org/prices"

[models."small"]
prompt = 0.5
completion = 2.0

[models."large"]
prompt = 4.0
cached = 1.0
completion = 10.0
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(TABLE)
    return path


@pytest.fixture
def run(toy: Task, tmp_path: Path) -> Path:
    """100 prompt tokens in each of 300 rows but one, 40 of them cached in every second."""
    rows = random_rows(toy, "ranking")
    for number, row in enumerate(rows[1:]):
        row |= {"prompt_tokens": 100, "completion_tokens": 10}
        if number % 2:
            row["cached_tokens"] = 40
    return write_run(tmp_path / "run.jsonl", toy, "ranking", rows)


def test_a_cost_by_hand(table: Path, run: Path) -> None:
    found = score(read_run(run))
    prices = read_prices(table)
    small = cost(found, prices, "small")
    assert small is not None
    assert small.per_1000_requests == pytest.approx(1000 * (100 * 0.5 + 10 * 2.0) / 1e6)
    assert (small.currency, small.prices, small.date) == (
        "USD", "2026-11", datetime.date(2026, 11, 22),
    )  # fmt: skip
    assert small.stated == pytest.approx(299 / 300)
    large = cost(found, prices, "large")
    cached = 149 * 40 / 299
    expected = (100 - cached) * 4.0 + cached * 1.0 + 10 * 10.0
    assert large is not None
    assert large.per_1000_requests == pytest.approx(expected / 1000)


def test_no_tokens_no_cost(table: Path, toy: Task, tmp_path: Path) -> None:
    path = write_run(tmp_path / "none.jsonl", toy, "ranking", random_rows(toy, "ranking"))
    assert cost(score(read_run(path)), read_prices(table), "small") is None


def test_a_model_without_a_price_is_told_with_the_nearest(table: Path, run: Path) -> None:
    with pytest.raises(BenchError, match=r'"Small" has no price; expected .*; nearest: "small"'):
        cost(score(read_run(run)), read_prices(table), "Small")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("prompt = 0.5", "prompt = -0.5", "models"),
        ("prompt = 0.5", "prompt = nan", "prices.toml"),
        ("prompt = 0.5", "", "prompt"),
        ("completion = 2.0", "completion = 2.0\nfree = true", "free"),
        ("date = 2026-11-22", 'date = "soon"', "date"),
        ('currency = "USD"', 'currency = "\\u001b[31m"', "currency"),
        ("version", "= version", "prices.toml"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_its_field(
    table: Path, old: str, new: str, said: str
) -> None:
    table.write_text(TABLE.replace(old, new, 1))
    with pytest.raises(BenchError, match=said) as caught:
        read_prices(table)
    assert str(caught.value).isprintable()


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--prices takes a TOML file"):
        read_prices(tmp_path / "none.toml")


def test_the_command_line_shows_what_a_run_cost(bench: Any, table: Path, run: Path) -> None:
    code, out, _ = bench("score", run, "--prices", table, "--model", "large")
    assert code == 0
    assert "USD per 1,000 requests" in " ".join(out.split())
    code, out, _ = bench("score", run, "--prices", table, "--model", "large", "--json")
    assert json.loads(out)["cost"]["per_1000_requests"] == pytest.approx(0.44, abs=0.01)
    assert "cost" not in json.loads(bench("score", run, "--json")[1])
    assert bench("score", run, "--prices", table)[0] == 2  # which of the two?
    assert bench("score", run, "--model", "large")[0] == 2
    assert bench("score", run, "--prices", table, "--model", "huge")[0] == 2


def test_each_kind_counts_by_the_rows_that_state_it(toy: Task, tmp_path: Path, table: Path) -> None:
    rows = random_rows(toy, "ranking")
    for number, row in enumerate(rows):
        row["prompt_tokens"] = 1000
        if number < 3:
            row["completion_tokens"] = 100
    path = write_run(tmp_path / "run.jsonl", toy, "ranking", rows)
    found = cost(score(path), read_prices(table), "small")
    assert found is not None
    assert found.per_1000_requests == pytest.approx((1000 * 0.5 + 100 * 2.0) / 1000)
    assert found.stated == pytest.approx(0.01)
    assert found.unknown == []


def test_a_kind_that_no_row_states_is_told_to_be_missing(
    bench: Any, toy: Task, tmp_path: Path, table: Path
) -> None:
    rows = [row | {"completion_tokens": 100} for row in random_rows(toy, "ranking")]
    path = write_run(tmp_path / "run.jsonl", toy, "ranking", rows)
    found = cost(score(path), read_prices(table), "small")
    assert found is not None
    assert found.unknown == ["prompt"]
    out = " ".join(bench("score", path, "--prices", table, "--model", "small")[1].split())
    assert "at least 0.2 USD per 1,000 requests" in out
    assert "prompt tokens not stated" in out


def test_names_in_a_table_do_not_reach_the_terminal(bench: Any, table: Path, run: Path) -> None:
    table.write_text(TABLE.replace("small", "\\u001b[31mred"))
    code, _, err = bench("score", run, "--prices", table)
    assert code == 2
    assert "\x1b" not in err


@pytest.mark.parametrize("prompt", [{}, {"prompt_tokens": 10}])
def test_more_cached_tokens_than_prompt_tokens_are_refused(
    toy: Task, tmp_path: Path, prompt: dict[str, int]
) -> None:
    rows = random_rows(toy, "ranking")
    rows[3] |= {**prompt, "cached_tokens": 11}
    path = write_run(tmp_path / "run.jsonl", toy, "ranking", rows)
    with pytest.raises(
        BenchError,
        match=r":5: error\[bad-number\] cached_tokens: 11 of (10|an unknown number of) prompt",
    ):
        read_run(path)
