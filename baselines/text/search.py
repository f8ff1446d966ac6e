"""Nearest vectors, by FAISS (Douze et al., 2024)."""

from __future__ import annotations

import os
import sys
from typing import Literal

import numpy as np
import numpy.typing as npt

from baselines.text.encoders import Vectors
from llm4rec_bench import CardRefused

# FAISS and torch each bring an OpenMP runtime of their own. On Linux (libgomp twice) both work
# side by side, in either order. On macOS (libomp twice) the second one ends the process unless
# it is told not to, and may then crash in parallel code: FAISS is kept to one thread there.
if sys.platform == "darwin":
    os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")

import faiss

if sys.platform == "darwin":
    faiss.omp_set_num_threads(1)

# Inner products are summed pair by pair, never in blocks by BLAS: the score of an item then
# depends neither on how many requests are asked at once nor on its place in the index.
faiss.cvar.distance_compute_blas_threshold = 2**31 - 1

Kind = Literal["exact", "hnsw", "ivf"]
Metric = Literal["inner_product", "l2"]
Rows = npt.NDArray[np.int64]

_METRICS = {"inner_product": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}


def index_of(
    vectors: Vectors, kind: Kind = "exact", metric: Metric = "inner_product"
) -> faiss.Index:
    """An index of vectors, by row.

    "hnsw" (Malkov and Yashunin, 2020) and "ivf" miss neighbours, and how many depends on the
    data: they are for catalogues too large for "exact", never for numbers that are reported.
    """
    index = _empty(kind, len(vectors), vectors.shape[1], _METRICS[metric])
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several build another graph each time
    try:
        index.train(vectors)
        index.add(vectors)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def _empty(kind: Kind, rows: int, dimensions: int, metric: int) -> faiss.Index:
    flat = faiss.IndexFlat(dimensions, metric)
    if kind == "exact":
        return flat
    if kind == "hnsw":
        return faiss.IndexHNSWFlat(dimensions, 32, metric)
    if kind == "ivf":
        lists = int(np.sqrt(rows))
        index = faiss.IndexIVFFlat(flat, dimensions, lists, metric)
        index.nprobe = max(1, lists // 4)
        index.cp.min_points_per_centroid = 1  # it prints a warning otherwise
        return index
    raise CardRefused(f'index: expected "exact", "hnsw" or "ivf", found {kind!r}')


def found(index: faiss.Index, queries: Vectors, depth: int) -> tuple[Vectors, Rows]:
    """Scores and rows of the `depth` best vectors for each query, best first.

    Both have the shape (queries, depth), or as many columns as there are vectors. A score is an
    inner product, or less a squared distance. An index that is not exact may find fewer: the
    rows of the rest are -1 and their scores minus infinity. Ties at the end of a list are cut
    as FAISS likes.
    """
    depth = min(depth, index.ntotal)
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = max(64, depth)
    scores, rows = index.search(np.ascontiguousarray(queries, np.float32), depth)
    if index.metric_type == faiss.METRIC_L2:
        scores = -scores
    scores[rows < 0] = -np.inf
    return scores, rows


def nearest(
    vectors: Vectors, queries: Vectors, depth: int, metric: Metric = "inner_product"
) -> tuple[Vectors, Rows]:
    """Scores and rows of the vectors exactly nearest to each query, see `found`."""
    return found(index_of(vectors, "exact", metric), queries, depth)
