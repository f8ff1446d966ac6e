"""Words in common between the items of a history and the others."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import (  # type: ignore[import-untyped]
    CountVectorizer,
    TfidfVectorizer,
)

from baselines.catalogue import Scores, fading, histories, ranked
from baselines.checks import not_negative, share, whole
from baselines.text.lacking import no_text
from llm4rec_bench import Ranking, Request, TaskView

_WORDS = {
    "lowercase": True,
    "strip_accents": "unicode",
    "token_pattern": r"(?u)\b\w+\b",  # of one letter too: "M" is a title
    "dtype": np.float32,
}


class _Lexical(ABC):
    """Scores an item by the inner product of its terms with those of the history."""

    def __init__(self, ngrams: int, last: int, half_life: float | None) -> None:
        whole(ngrams=ngrams, last=last)
        self.words: dict[str, Any] = _WORDS | {"ngram_range": (1, ngrams)}
        self.last = last
        self.weight = np.ones if half_life is None else fading(half_life)

    def fit(self, task: TaskView) -> None:
        """Count the terms of every text."""
        self.task = task
        texts = task.texts()
        if not any(re.search(r"\w", text) for text in texts):
            raise no_text(task)
        self.asked, found = self._weighted(texts)
        self.postings = found.T.tocsr()

    @abstractmethod
    def _weighted(self, texts: list[str]) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Weights of the terms of each text as a query and as a document: (items, terms) both."""

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items that share the weightiest terms with the latest of the history."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """Scores of the whole catalogue: shape (requests, items)."""
        users = histories(requests, self.task, self.weight, self.last)
        found: Scores = (users @ self.asked @ self.postings).toarray()
        return found


class TfIdf(_Lexical):
    """Cosine between TF-IDF vectors, as scikit-learn weights them (Salton and Buckley, 1988).

    The user is the sum of the vectors of the `last` items of the history, weighted by age where
    there is a `half_life`, see `fading`. Terms are words and, with `ngrams`, up to so many in a
    row; `sublinear_tf` takes 1 + log(tf) for tf.
    """

    def __init__(
        self, last: int, half_life: float | None = None, ngrams: int = 1, sublinear_tf: bool = False
    ) -> None:
        super().__init__(ngrams, last, half_life)
        self.sublinear_tf = sublinear_tf

    def _weighted(self, texts: list[str]) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        vectors = TfidfVectorizer(**self.words, sublinear_tf=self.sublinear_tf).fit_transform(texts)
        return vectors, vectors


class BM25(_Lexical):
    """BM25 (Robertson and Zaragoza, 2009) with the texts of the `last` items as the query.

    In Lucene's form: idf is log(1 + (N - n + .5) / (n + .5)), which is never negative, and the
    constant factor k1 + 1 is left out; lengths of texts are exact, where Lucene rounds them.
    A term counts in the query as often as it occurs, times the weight of its item, see `TfIdf`.
    """

    def __init__(
        self,
        last: int,
        half_life: float | None = None,
        ngrams: int = 1,
        k1: float = 1.2,
        b: float = 0.75,
    ) -> None:
        super().__init__(ngrams, last, half_life)
        not_negative(k1=k1)
        share(b=b)
        self.k1 = k1
        self.b = b

    def _weighted(self, texts: list[str]) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        counts = CountVectorizer(**self.words).fit_transform(texts).tocsr()
        return counts, bm25(counts, self.k1, self.b)


def bm25(counts: sparse.csr_matrix, k1: float, b: float) -> sparse.csr_matrix:
    """The BM25 weight of every term in every document, from its counts: (documents, terms)."""
    documents, terms = counts.shape
    occurs_in = np.bincount(counts.indices, minlength=terms)
    idf = np.log1p((documents - occurs_in + 0.5) / (occurs_in + 0.5))
    length = np.asarray(counts.sum(axis=1), np.float64).ravel()
    norm = k1 * (1 - b + b * length / length.mean())
    count = counts.data.astype(np.float64)
    weights = idf[counts.indices] * count / (count + np.repeat(norm, np.diff(counts.indptr)))
    parts = (weights.astype(np.float32), counts.indices, counts.indptr)
    return sparse.csr_matrix(parts, shape=counts.shape)
