"""Ranking metrics over the ranks of the targets: recall@k, ndcg@k and mrr@k.

All metrics here see one thing: an integer array `ranks` of shape (requests, targets)
that holds, for every request, the 1-based rank at which each of its targets stands in
the ranking, 0 where it was not ranked, and -1 in the unused cells of requests with
fewer targets than the widest. Rankings are lists, so there are no ties.

Definitions: binary relevance; recall divides by the number of targets (never by
min(k, targets)); ndcg follows Järvelin and Kekäläinen (2002) with log2(rank + 1) and an
ideal over min(k, targets) hits, whatever the length of the list handed in; mrr is the
reciprocal rank of the first target within the cut-off.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import UsageError

Ranks = npt.NDArray[np.integer[Any]]
Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

Kind = Literal["recall", "ndcg", "mrr"]

_NAME = re.compile(r"(recall|ndcg|mrr)@([1-9][0-9]{0,3})")


class Metric(msgspec.Struct, frozen=True):
    """One metric at one cut-off; written ``ndcg@10`` wherever it is named."""

    kind: Kind
    k: int

    def __str__(self) -> str:
        return f"{self.kind}@{self.k}"

    def __call__(self, ranks: Ranks) -> Values:
        """The metric of each request: float64 of shape (requests,)."""
        return _OF_KIND[self.kind](ranks, self.k)


def parse_metric(name: str) -> Metric:
    """``"ndcg@10"`` as a Metric; raises UsageError for any other spelling."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(f'no metric is called "{name}"; expected recall@K, ndcg@K or mrr@K')
    kind: Kind = match[1]  # type: ignore[assignment]
    return Metric(kind, int(match[2]))


def _hits(ranks: Ranks, k: int) -> npt.NDArray[np.bool_]:
    return (ranks > 0) & (ranks <= k)


def _targets(ranks: Ranks) -> Counts:
    return (ranks >= 0).sum(axis=1)


def discounts(k: int) -> Values:
    """Gain of a hit at rank 0 (none) and at ranks 1 to `k`: float64 of shape (k + 1,)."""
    gains = np.zeros(k + 1)
    gains[1:] = 1.0 / np.log2(np.arange(1, k + 1) + 1.0)
    return gains


def ideal_dcg(targets: Counts, k: int) -> Values:
    """DCG of the best ranking for each number of targets."""
    return np.cumsum(discounts(k))[np.minimum(targets, k)]


def _recall(ranks: Ranks, k: int) -> Values:
    return _hits(ranks, k).sum(axis=1) / _targets(ranks)


def _ndcg(ranks: Ranks, k: int) -> Values:
    gained = discounts(k)[np.where(_hits(ranks, k), ranks, 0)].sum(axis=1)
    return gained / ideal_dcg(_targets(ranks), k)


def _mrr(ranks: Ranks, k: int) -> Values:
    first = np.where(_hits(ranks, k), ranks, k + 1).min(axis=1)
    return np.where(first <= k, 1.0 / first, 0.0)


_OF_KIND = {"recall": _recall, "ndcg": _ndcg, "mrr": _mrr}


def per_request(metric: Metric, ranks: Ranks) -> Values:
    """A metric of each run and request, of ranks of shape (runs, requests, targets)."""
    runs, requests, targets = ranks.shape
    flat = ranks.reshape(runs * requests, targets).astype(np.int64)  # 1 / int8 is a float16
    return metric(flat).reshape(runs, requests)


def expected_at_random(
    metric: Metric, candidates: Counts, present: Counts, targets: Counts
) -> Values:
    """Expected value of a uniformly random full ranking, request by request.

    `candidates` is how many items each request ranks, `present` how many of its `targets`
    are among them. All arrays have shape (requests,).
    """
    k = metric.k
    inside = np.minimum(k, candidates)
    if metric.kind == "recall":
        return present * inside / candidates / targets
    if metric.kind == "ndcg":
        gain = np.cumsum(discounts(k))[inside]
        return present / candidates * gain / ideal_dcg(targets, k)
    return _expected_mrr(k, candidates, present)


def _expected_mrr(k: int, candidates: Counts, present: Counts) -> Values:
    # P(first hit at r) = P(no hit before r) * present / (candidates - r + 1)
    expected = np.zeros(len(candidates))
    none_yet = np.ones(len(candidates))
    for rank in range(1, k + 1):
        left = candidates - rank + 1
        hit = np.where(left > 0, np.minimum(present / np.maximum(left, 1), 1.0), 0.0)
        expected += none_yet * hit / rank
        none_yet *= 1.0 - hit
    return expected


def best_ranks(present: npt.NDArray[np.bool_], ranks: Ranks) -> Ranks:
    """The ranks of a ranking that puts every target it can on top: the ceiling.

    `present` marks, in the shape of `ranks`, the targets that may be ranked at all.
    """
    top = np.cumsum(present, axis=1)
    return np.where(ranks < 0, -1, np.where(present, top, 0))
