"""Scores become rankings: the same as a full stable sort, however many requests at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from baselines import catalogue
from baselines.catalogue import best_rows, fading, heaviest, histories, ranked
from llm4rec_bench import CardRefused
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


@pytest.mark.parametrize("track", ["retrieval", "ranking"])
def test_scores_that_are_no_numbers_are_refused(track: str, toy: Task) -> None:
    view, requests = toy.view(track), toy.requests("test", track)[:3]
    scores = np.zeros((3, len(view.items)), np.float32)
    scores[:, 7] = -np.inf
    scores[2, 9] = np.inf
    assert len(ranked(requests, view, lambda block: scores.copy())) == 3
    scores[1, [2, 5]] = np.nan
    named = f"request {requests[1].request_id}: .* found NaN for 2 of {len(view.items)} items"
    with pytest.raises(CardRefused, match=named):
        ranked(requests, view, lambda block: scores.copy())


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


def test_a_history_may_be_cut_to_its_last_items(toy: Task) -> None:
    view = toy.view("retrieval")
    (request,) = toy.requests("test")[:1]
    latest = histories([request], view, fading(2), last=3)
    rows = view.items.rows(request.history[-3:])
    assert latest.nnz == 3
    assert latest[0, rows].toarray().ravel().tolist() == [0.5, np.float32(0.5**0.5), 1.0]


def test_weights_that_fade_end_in_zeros_and_not_in_the_slowest_of_numbers() -> None:
    weights = fading(0.5)(2000)
    assert weights[-1] == 1
    assert not ((weights > 0) & (weights < np.finfo(np.float32).tiny)).any()


@given(
    arrays(np.float32, shapes, elements=st.sampled_from([0.0, 0.25, 1.0, 1.0000001, 7.0])),
    st.integers(1, 6),
)
def test_the_heaviest_cells_are_those_of_a_stable_sort(cells, most: int) -> None:
    kept = heaviest(sparse.csr_matrix(cells), most).toarray()
    for row, found in zip(cells, kept, strict=True):
        columns = [column for column in np.argsort(-row, kind="stable") if row[column] > 0][:most]
        expected = np.zeros_like(row)
        expected[columns] = row[columns]
        assert found.tolist() == expected.tolist()
