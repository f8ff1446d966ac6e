"""Distinct rows, against NumPy's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm4rec_bench import statistics
from llm4rec_bench.statistics import distinct_rows

INTEGERS = [np.int8, np.uint8, np.int16, np.int32, np.int64]

shapes = st.tuples(st.integers(0, 40), st.integers(1, 6))


def agree(rows: npt.NDArray[np.integer]) -> None:
    distinct, of_row = distinct_rows(rows)
    expected, expected_of_row = np.unique(rows, axis=0, return_inverse=True)
    assert distinct.dtype == of_row.dtype == np.int64
    assert distinct.shape == expected.shape
    assert np.array_equal(distinct, expected)
    assert np.array_equal(of_row, expected_of_row.reshape(-1))


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "sorted"])
@given(st.sampled_from(INTEGERS), shapes, st.integers(1, 100), st.integers(0, 2**32))
@example(np.int8, (0, 3), 5, 0)
@example(np.int8, (1, 1), 1, 0)
def test_they_are_those_of_numpy(
    counted: bool, kind: type[np.integer], shape: tuple[int, int], values: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    low = 0 if kind is np.uint8 else -random.integers(0, values)
    rows = random.integers(low, low + values, shape).astype(kind)
    rows = rows[random.integers(0, len(rows), len(rows))] if len(rows) else rows
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(statistics, "_CELLS", 4_000_000 if counted else 0)
        agree(rows)


@pytest.mark.parametrize(("cells", "way"), [(0, "unique"), (4_000_000, "bincount")])
def test_both_ways_are_taken(cells: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(np, name)

        def call(*given: Any, **more: Any) -> Any:
            calls.append(name)
            return real(*given, **more)

        return call

    monkeypatch.setattr(statistics, "_CELLS", cells)
    for name in ("bincount", "unique"):
        monkeypatch.setattr(np, name, noted(name))
    distinct_rows(np.array([[1, 90], [0, 5], [1, 90], [1, 5]], np.int8))
    assert calls == [way, way]


@pytest.mark.parametrize("cells", [0, 4_000_000], ids=["sorted", "counted"])
def test_ranks_at_the_ends_of_their_type_are_told_apart(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_CELLS", cells)
    agree(np.array([[-128, 127], [127, -128], [-128, -128], [127, 127], [-128, 127]], np.int8))
    agree(np.array([[7, 7, 7]] * 5, np.int8))
    agree(np.arange(2000).reshape(100, 20) % 7)


def test_rows_are_left_as_they_were() -> None:
    rows = np.array([[3, 1], [2, 1]], np.int8)
    distinct_rows(rows)
    assert rows.tolist() == [[3, 1], [2, 1]]


def test_rows_without_a_column_are_all_alike() -> None:
    distinct, of_row = distinct_rows(np.zeros((3, 0), np.int8))
    assert (distinct.shape, of_row.tolist()) == ((1, 0), [0, 0, 0])
