"""Scores become rankings: the same as a full stable sort, however many requests at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from baselines import catalogue
from baselines.catalogue import best_rows, histories, ranked
from llm4rec_bench.task import Task


def sorted_whole(scores: np.ndarray, depth: int) -> list[list[int]]:
    order = np.argsort(-scores, axis=1, kind="stable")
    kept = [[column for column in row if scores[line, column] > -np.inf]
            for line, row in enumerate(order.tolist())]  # fmt: skip
    return [row[:depth] for row in kept]


few_values = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 0.5000001, 3.0])
shapes = st.tuples(st.integers(1, 4), st.integers(1, 90))


@given(arrays(np.float32, shapes, elements=few_values), st.integers(1, 5))
def test_the_best_rows_are_those_of_a_stable_sort(scores, depth: int) -> None:
    found = [rows.tolist() for rows in best_rows(scores, depth)]
    assert found == sorted_whole(scores, depth)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 2000))
def test_the_best_of_many_different_scores(seed: int, depth: int, width: int) -> None:
    scores = np.random.default_rng(seed).standard_normal((3, width)).astype(np.float32)
    assert [rows.tolist() for rows in best_rows(scores, depth)] == sorted_whole(scores, depth)


def test_rankings_are_the_same_in_blocks_of_any_size(toy: Task, monkeypatch) -> None:
    view = toy.view("retrieval")
    requests = list(toy.requests("test"))

    def score(block):
        seeds = [int.from_bytes(request.request_id.encode()) % 2**32 for request in block]
        draws = [np.random.default_rng(seed).integers(0, 9, len(view.items)) for seed in seeds]
        return np.array(draws, np.float32)

    together = ranked(requests, view, score)
    monkeypatch.setattr(catalogue, "_CELLS", 7 * len(view.items))
    assert ranked(requests, view, score) == together
    one_by_one = [ranking for request in requests for ranking in ranked([request], view, score)]
    assert one_by_one == together
    for request, ranking in zip(requests, together, strict=True):
        assert not set(ranking.items) & set(request.history)
        assert len(ranking.items) == len(view.items) - len(set(request.history))


def test_candidates_are_ordered_by_score_then_row(toy: Task) -> None:
    view = toy.view("ranking")
    scores = np.repeat(np.arange(len(view.items) // 4)[::-1], 4).astype(np.float32)
    for request in toy.requests("test", track="ranking")[:20]:
        (ranking,) = ranked([request], view, lambda block: scores[None].copy())
        rows = view.items.rows(ranking.items).tolist()
        assert rows == sorted(view.items.rows(request.candidates).tolist())


def test_histories_are_rows_of_the_catalogue_with_weights_by_age(toy: Task) -> None:
    view = toy.view("retrieval")
    requests = toy.requests("test")[:3]
    plain = histories(requests, view)
    assert plain.shape == (3, len(view.items))
    weighted = histories(requests, view, lambda length: np.arange(1, length + 1))
    for line, request in enumerate(requests):
        rows = view.items.rows(request.history)
        assert plain[line, rows].toarray().ravel().tolist() == [1.0] * len(rows)
        ages = weighted[line, rows].toarray().ravel().tolist()
        assert ages == list(range(1, len(rows) + 1))
