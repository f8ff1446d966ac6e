"""Dense retrieval does what sorting all scores of the definition would."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.text import dense
from baselines.text.dense import DenseRetriever
from baselines.text.encoders import MINILM
from baselines.text.kept import Embeddings
from llm4rec_bench import CardRefused, Request, Task
from tests.baselines.text.fakes import Words, told

USERS = {"mean": None, "decayed": 1.5, "max": None, "text": None}

TEXTS = ["sea storm", "glass", "storm glass sea", "", "a quiet storm", "glass", "salt", " \n",
         "quiet sea", "salt and glass", "old salt", "the quiet old sea"]  # fmt: skip

ALL_DIFFERENT = [f"sea {'storm ' * (row % 3)}{'salt ' * (row % 5)}{row % 7} {row % 11}"
                 for row in range(48)]  # fmt: skip


def made(user: str, view, last: int = 3, **more) -> DenseRetriever:
    method = DenseRetriever(user, last, USERS[user], **more)
    method.encoder = Words()
    method.fit(view)
    return method


def of(history: list[str], candidates: list[str] | None = None) -> Request:
    return Request("r", "u", None, history, candidates)


def defined(user: str, texts: list[str], history: list[int], last: int) -> np.ndarray:
    """Scores of all items, from the definition, in double precision; nan without a text."""
    words = Words()

    def vector(text: str) -> np.ndarray:
        return words._sum(text) / np.linalg.norm(words._sum(text))

    kept = [row for row in history[-last:] if texts[row].strip()]
    ages = [age for age, row in enumerate(history[-last:][::-1]) if texts[row].strip()][::-1]
    if user == "text":
        users = [vector(" ".join(texts[row] for row in kept[::-1]))] if kept else []
    elif user == "max":
        users = [vector(texts[row]) for row in kept]
    else:
        weights = [0.5 ** (age / 1.5) if user == "decayed" else 1.0 for age in ages]
        users = [sum(w * vector(texts[row]) for w, row in zip(weights, kept, strict=True))]
        users = [user / np.linalg.norm(user) for user in users if kept]
    items = [vector(text) if text.strip() else np.full(16, np.nan) for text in texts]
    return np.max([np.zeros(len(texts))] if not users else [np.array(items) @ u for u in users], 0)


@pytest.mark.parametrize("user", USERS)
@given(data=st.data())
@settings(max_examples=15)
def test_rankings_are_those_of_the_definition(user: str, data, toy: Task) -> None:
    """Also where many texts are equal or empty, and the index is asked for very few."""
    texts = data.draw(st.sampled_from([TEXTS, ALL_DIFFERENT]))
    view = told(toy.view("retrieval"), texts, depth=data.draw(st.integers(1, 20)))
    method = made(user, view)
    rows = st.lists(st.integers(0, len(view.items) - 1), max_size=30, unique=True)
    ids, texts = view.items.ids, view.texts()
    histories = data.draw(st.lists(rows, min_size=1, max_size=4))
    answers = method.rank([of([ids[row] for row in history]) for history in histories])
    for history, answer in zip(histories, answers, strict=True):
        free = np.setdiff1d(np.arange(len(ids)), history)
        found = view.items.rows(answer.items)
        assert len(found) == min(view.depth, len(free))
        assert_best_first(found, free, defined(user, texts, history, 3), texts)


def assert_best_first(found, allowed, scores: np.ndarray, texts: list[str]) -> None:
    """Those found are the best of those allowed; where texts are equal, the first of them."""
    scores = np.nan_to_num(scores, nan=-2)
    assert {*found.tolist()} <= {*allowed.tolist()}
    best = -np.sort(-scores[allowed])[: len(found)]
    np.testing.assert_allclose(scores[found], best, atol=1e-6)
    for text in {text.strip() for text in texts}:
        alike = [row for row in found.tolist() if texts[row].strip() == text]
        every = [row for row in sorted(allowed.tolist()) if texts[row].strip() == text]
        assert alike == every[: len(alike)]


@pytest.mark.parametrize("user", USERS)
def test_candidates_are_ranked_by_the_same_scores(user: str, toy: Task) -> None:
    view = told(toy.view("ranking"), TEXTS)
    method = made(user, view)
    for request in toy.requests("test", "ranking")[:20]:
        (ranking,) = method.rank([request])
        history = view.items.rows(request.history).tolist()
        found, pool = view.items.rows(ranking.items), view.items.rows(request.candidates)
        assert len(found) == len(pool)
        scores = defined(user, view.texts(), history, 3)
        assert_best_first(found, pool, scores, view.texts())


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("track", ["retrieval", "ranking"])
def test_one_by_one_gives_the_rankings_of_a_batch(user, track, toy: Task, monkeypatch) -> None:
    view = toy.view(track, reads=["title", "metadata"])
    requests = toy.requests("test", track)[:60]
    method = made(user, view)
    together = method.rank(requests)
    assert together == [method.rank([request])[0] for request in requests]
    monkeypatch.setattr(dense, "_CELLS", 300)
    assert together == method.rank(requests)


def test_items_without_a_text_come_last(toy: Task) -> None:
    view = told(toy.view("retrieval"), ["sea", "", "", "salt"])
    request = toy.requests("test")[0]
    (ranking,) = made("mean", view).rank([request])
    without = [not view.texts()[row] for row in view.items.rows(ranking.items)]
    assert any(without)
    assert without == sorted(without)


@pytest.mark.parametrize("user", USERS)
def test_of_a_history_that_tells_nothing_all_items_are_alike(user: str, toy: Task) -> None:
    view = told(toy.view("retrieval"), ["", "sea", "salt"], depth=7)
    ids = view.items.ids
    told_of = [item for row, item in enumerate(ids) if row % 3]
    (nobody, told_nothing) = made(user, view).rank([of([]), of([ids[0], ids[3]])])
    assert nobody.items == told_nothing.items == told_of[:7]


@pytest.mark.parametrize("user", USERS)
def test_scores_are_those_of_the_whole_catalogue(user: str, toy: Task) -> None:
    view = told(toy.view("retrieval"), TEXTS, depth=2)
    histories = [[0, 4, 9], [3], []]
    found = made(user, view).scores([of([view.items.ids[i] for i in rows]) for rows in histories])
    for scores, history in zip(found, histories, strict=True):
        expected = defined(user, view.texts(), history, 3)
        there = np.array([bool(text.strip()) for text in view.texts()])
        np.testing.assert_allclose(scores[there], expected[there], atol=1e-6)
        assert (scores[~there] < -2).all()


@pytest.mark.parametrize("user", USERS)
def test_a_vector_of_zeros_tells_nothing_either(user: str, toy: Task, monkeypatch) -> None:
    """Such as the text of an item whose words a model does not know."""
    whole = Words._sum
    monkeypatch.setattr(Words, "_sum", lambda self, text: 0 * whole(self, text)
                        if text.strip() == "unknown" else whole(self, text))  # fmt: skip
    view = told(toy.view("retrieval"), ["unknown", "sea storm", "old sea salt"], depth=7)
    ids = view.items.ids
    nothing, something = made(user, view, last=1).rank([of([ids[0]]), of([ids[1]])])
    assert nothing.items == ids[1:8]
    assert [view.texts()[row] for row in view.items.rows(something.items)] == ["sea storm"] * 7


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_an_index_that_misses_some_still_gives_unseen_items(index: str, toy: Task) -> None:
    view = replace(toy.view("retrieval", reads=["title"]), depth=10)
    exact, close = made("max", view), made("max", view, index=index)
    requests = toy.requests("test")[:30]
    for request, one, other in zip(
        requests, exact.rank(requests), close.rank(requests), strict=True
    ):
        assert len({*other.items}) == len(other.items) <= 10
        assert not {*other.items} & {*request.history}
        assert len({*one.items} & {*other.items}) >= 2


def test_the_texts_of_a_history_are_one_query_newest_first(toy: Task) -> None:
    view = told(toy.view("retrieval"), TEXTS)
    method = made("text", view, last=3)
    ids = view.items.ids
    method.encoder.asked.clear()
    method.rank([of([ids[row] for row in (0, 4, 3, 9)]), of([ids[3]]), of([])])
    assert method.encoder.asked == [["salt and glass\na quiet storm"]]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"user": "median"}, '"mean", "decayed", "max" or "text", found \'median\''),
        ({"user": "decayed"}, "needs a half_life"),
        ({"last": 0}, "last: expected 1 or more"),
        ({"encoder": {"kind": "sentence-transformers"}}, "encoder: .*model"),
    ],
)
def test_params_that_make_no_sense_are_refused(params: dict, message: str) -> None:
    with pytest.raises(CardRefused, match=message):
        DenseRetriever(**{"user": "mean", "last": 1} | params)


def test_a_task_without_any_such_text_is_refused(toy: Task) -> None:
    with pytest.raises(CardRefused, match=r"has a text of what the card reads \(nothing\)"):
        made("mean", replace(toy.view("retrieval"), reads=()))


CARD = """
name = "dense"
title = "Dense"
authors = ["Me"]
licence = "MIT"
description = "Nearest texts."
hardware = "this"
command = "run it"
system = "baselines.text.dense:DenseRetriever"
params = { user = "mean", last = 3 }
reads = ["title"]
tasks = ["toy-v1"]
"""


def test_where_all_vectors_are_kept_no_model_is_loaded(bench, toy, tmp_path, monkeypatch) -> None:
    """Seven seconds of imports: a second run does without."""
    workspace = tmp_path / "store" / "methods"
    minilm = Words(identity=[*MINILM.values(), "float32"])
    minilm.model = MINILM["model"]
    Embeddings(minilm, workspace).passages(toy.view("retrieval", reads=["title"]).texts())
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # importing it fails
    (tmp_path / "here" / "card.toml").write_text(CARD)
    code, out, err = bench("run", "card.toml", "--track", "retrieval")
    assert (code, out.strip()) == (0, "runs/dense/toy-v1.retrieval.jsonl"), err
    assert bench("check", out.strip())[0] == 0
    code, _, err = bench("run", "card.toml", "--track", "retrieval", "--param", "user=text",
                         "--overwrite")  # fmt: skip
    assert code == 2
    assert "sentence_transformers is not installed; pip install 'llm4rec-bench[text]'" in err
