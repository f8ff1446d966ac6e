"""TF-IDF and BM25: the formulas, the user, and texts that hold nothing."""

from __future__ import annotations

from dataclasses import replace
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from baselines.text.lexical import BM25, TfIdf, bm25
from llm4rec_bench import CardRefused, Request, Task
from tests.baselines.text.fakes import told

METHODS = [TfIdf(3), TfIdf(4, 2.0, 2, True), BM25(3), BM25(4, 2.0, 2, 0.5, 1.0)]


def of(history: list[str], candidates: list[str] | None = None) -> Request:
    return Request("r", "u", None, history, candidates)


def test_bm25_by_hand() -> None:
    """Two documents of 3 and 1 words; "cat" occurs in one, "dog" in both."""
    weights = bm25(sparse.csr_matrix([[2.0, 1.0], [0.0, 1.0]]), k1=1.2, b=0.75).toarray()
    cat, dog = log(1 + 1.5 / 1.5), log(1 + 0.5 / 2.5)
    long, short = 1.2 * (0.25 + 0.75 * 3 / 2), 1.2 * (0.25 + 0.75 * 1 / 2)
    expected = [[cat * 2 / (2 + long), dog / (1 + long)], [0, dog / (1 + short)]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), max_size=9), min_size=2, max_size=9),
    st.floats(0.1, 3),
    st.floats(0, 1),
    st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=5),
)
@settings(max_examples=20)
def test_bm25_is_that_of_an_independent_implementation(texts, k1, b, query) -> None:
    bm25s = pytest.importorskip("bm25s", reason="bm25s, the oracle, is not installed")
    if not any(texts):
        return
    vocabulary = sorted({word for text in texts for word in text})
    query = [word for word in query if word in vocabulary]
    counts = np.array([[text.count(word) for word in vocabulary] for text in texts], float)
    ours = bm25(sparse.csr_matrix(counts), k1, b) @ [query.count(word) for word in vocabulary]
    theirs = bm25s.BM25(method="lucene", k1=k1, b=b)
    theirs.index(texts, show_progress=False)
    expected = theirs.get_scores(query) if query else np.zeros(len(texts))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_tf_idf_by_hand(toy: Task) -> None:
    """Cosines of "sea storm" with the others, idf(t) = 1 + log((1 + n) / (1 + n_t))."""
    view = toy.view("retrieval")
    items = len(view.items)
    texts = ["sea storm", "storm glass", "sea", *["other"] * (items - 3)]
    method = TfIdf(last=1)
    method.fit(told(view, texts))
    first = view.items.ids[0]
    (scores,) = method.scores([of([first])])
    twice, once = 1 + log((1 + items) / 3), 1 + log((1 + items) / 2)
    assert scores[1] == pytest.approx(twice * twice / (sqrt(2) * twice * sqrt(twice**2 + once**2)))
    assert scores[2] == pytest.approx(1 / sqrt(2))
    assert not scores[3:].any()
    (ranking,) = method.rank([of([first])])
    assert ranking.items[:2] == [view.items.ids[2], view.items.ids[1]]


@pytest.mark.parametrize("method", METHODS)
def test_only_the_last_items_count_and_the_newest_most(method, toy: Task) -> None:
    view = toy.view("retrieval")
    method.fit(told(view, [f"w{row} w{row}" for row in range(len(view.items) // 2)]))
    ids, last = view.items.ids, method.last
    history = ids[:last]
    short, long = method.scores([of(history), of([*ids[10:15], *history])])
    np.testing.assert_array_equal(short, long)
    if method.weight is not np.ones:
        # Each item has one other with the same text; theirs is the order of the history.
        (ranking,) = method.rank([of(history)])
        twins = [ids[row + len(ids) // 2] for row in range(last)]
        assert ranking.items[:last] == twins[::-1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("track", ["retrieval", "ranking"])
def test_one_by_one_gives_the_rankings_of_a_batch(method, track: str, toy: Task) -> None:
    view = toy.view(track, reads=["title", "metadata"])
    requests = toy.requests("test", track)[:40]
    method.fit(view)
    assert method.rank(requests) == [method.rank([request])[0] for request in requests]


@pytest.mark.parametrize("method", METHODS)
def test_items_without_a_text_score_nothing(method, toy: Task) -> None:
    view = toy.view("retrieval")
    method.fit(told(view, ["sea", "", " \n", "?!", "sea glass", "dust"]))
    ids = view.items.ids
    scores = method.scores([of([ids[0]]), of([ids[1]]), of([ids[1], ids[2], ids[3]])])
    assert (scores[0, 4::6] > 0).all()
    assert not scores[0][[1, 2, 3, 5]].any()
    assert not scores[1:].any()
    (ranking,) = method.rank([of([ids[1]])])
    assert ranking.items == [item for item in ids if item != ids[1]][: view.depth]


@pytest.mark.parametrize("method", METHODS)
def test_a_task_without_any_such_text_is_refused(method, toy: Task) -> None:
    view = toy.view("retrieval")
    with pytest.raises(CardRefused, match=r"has a text of what the card reads \(nothing\)"):
        method.fit(replace(view, reads=()))
    with pytest.raises(CardRefused, match=r"\(wikipedia\)"):
        method.fit(told(view, ["", "?!"]))
