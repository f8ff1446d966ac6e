"""Exact search is exact; the others are close, and the same each time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from baselines.text.search import found, index_of, nearest
from llm4rec_bench import CardRefused


def drawn(rows: int, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dimensions)).astype(np.float32)


def whole(rows: int, seed: int = 0) -> np.ndarray:
    """Numbers so small that float32 adds up their products without an error."""
    drawn = np.random.default_rng(seed).integers(-400, 400, (rows, 24))
    return drawn.astype(np.float32)


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
@pytest.mark.parametrize("depth", [1, 7, 150, 400])
def test_exact_search_finds_what_sorting_all_scores_does(metric: str, depth: int) -> None:
    vectors, queries = whole(400), whole(30, seed=1)
    scores, rows = nearest(vectors, queries, depth, metric)
    every = queries.astype(float) @ vectors.T.astype(float)
    if metric == "l2":
        every = -((queries[:, None].astype(float) - vectors[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(scores, -np.sort(-every, axis=1)[:, :depth])
    np.testing.assert_array_equal(scores, np.take_along_axis(every, rows, 1))
    assert all(len({*row}) == depth for row in rows.tolist())


def test_by_distance_long_vectors_lose_which_by_inner_product_win() -> None:
    """What happens to factors of a matrix, whose lengths tell popularity, when searched by L2."""
    vectors = np.array([[10.0, 0.0], [1.0, 0.0]], np.float32)
    query = np.array([[1.0, 0.1]], np.float32)
    assert nearest(vectors, query, 2, "inner_product")[1].tolist() == [[0, 1]]
    assert nearest(vectors, query, 2, "l2")[1].tolist() == [[1, 0]]


def test_scores_depend_on_neither_the_batch_nor_the_place_of_a_vector() -> None:
    vectors, queries = drawn(3000, 100), drawn(300, 100, seed=1)
    vectors[[7, 1500, 2999]] = vectors[3]
    index = index_of(vectors)
    together, rows = found(index, queries, 3000)
    alone = [found(index, queries[at : at + 1], 3000) for at in range(20)]
    np.testing.assert_array_equal(together[:20], np.concatenate([scores for scores, _ in alone]))
    np.testing.assert_array_equal(rows[:20], np.concatenate([rows for _, rows in alone]))
    same = np.isin(rows, [3, 7, 1500, 2999])
    copies = together[same].reshape(len(queries), 4)
    assert (copies == copies[:, :1]).all()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_the_other_indexes_find_most_and_are_the_same_each_time(kind: str, capfd) -> None:
    vectors, queries = drawn(2000), drawn(50, seed=1)
    _, exact = nearest(vectors, queries, 20)
    scores, rows = found(index_of(vectors, kind), queries, 20)
    hits = [
        len({*mine} & {*all_}) for mine, all_ in zip(rows.tolist(), exact.tolist(), strict=True)
    ]
    assert sum(hits) > 0.7 * exact.size
    np.testing.assert_array_equal(rows, found(index_of(vectors, kind), queries, 20)[1])
    assert capfd.readouterr() == ("", "")
    scores, rows = found(index_of(vectors[:9], kind), queries, 20)
    assert rows.shape == (50, 9)
    assert (scores[rows < 0] == -np.inf).all()


def test_an_index_of_another_name_is_refused() -> None:
    with pytest.raises(CardRefused, match='"exact", "hnsw" or "ivf", found \'annoy\''):
        index_of(drawn(3), "annoy")


BOTH = """
import {first}, {second}
import numpy as np
from baselines.text.search import nearest
vectors = np.random.default_rng(0).standard_normal((4000, 64)).astype(np.float32)
for _ in range(5):
    torch.from_numpy(vectors) @ torch.from_numpy(vectors).T
    rows = nearest(vectors, vectors[:500], 10)[1]
assert rows[:, 0].tolist() == list(range(500)), rows
print(torch.get_num_threads(), faiss.omp_get_max_threads())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("faiss", "torch"), ("torch", "faiss")])
def test_faiss_and_torch_work_side_by_side(first: str, second: str, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    code = BOTH.format(first=first, second=second)
    words = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "2"
