"""What is counted over the rows of a run file, whatever is relevant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llm4rec_bench.run.format import STATUSES
from llm4rec_bench.run.rows import REASONS, TOKENS, Rows


@dataclass(slots=True)
class Tally:
    """What is counted over all rows of a run file."""

    rows: int = 0
    valid: int = 0
    """Rows whose status is ok and that rank something."""
    items: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    of_candidates: int = 0
    """Rankings of two or more candidates of a fixed pool."""
    as_given: int = 0
    """Those of them whose first items stand as in one of the orders of the pool."""
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By kind: their sum, and how many rows state them."""
    latency_ms: list[npt.NDArray[np.float64]] = field(default_factory=list)
    """Of the rows that state it, in parts."""

    def add(self, rows: Rows) -> None:
        """Count some rows."""
        self.rows += len(rows)
        self.valid += int(((rows.status == STATUSES.index("ok")) & (rows.lengths > 0)).sum())
        self.items += int(rows.lengths.sum())
        counts = np.bincount(rows.status, minlength=len(STATUSES)).tolist()
        self.statuses.update(dict(zip(STATUSES, counts, strict=True)))
        self.dropped.update(dict(zip(REASONS, rows.dropped.sum(axis=0).tolist(), strict=True)))
        for kind, values in zip(TOKENS, rows.tokens.T, strict=True):
            known = values[~np.isnan(values)]
            total, number = self.tokens.get(kind, (0, 0))
            self.tokens[kind] = total + int(known.sum()), number + len(known)
        self.latency_ms.append(rows.latency_ms[~np.isnan(rows.latency_ms)])
