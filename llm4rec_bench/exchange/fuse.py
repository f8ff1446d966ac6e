"""Fusing runs: one ranking of the places that several give an item.

Reciprocal-rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009) gives an item the sum of
1 / (k + rank) over the rankings that hold it. It needs no scores, so that anything can be
fused with anything: a language model with item-kNN, say. Departing from the paper, rankings
may have weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import BenchError, UsageError
from llm4rec_bench.exchange.rankings import (
    Codes,
    Rankings,
    empty_rankings,
    new_header,
    read_rankings,
    write_rankings,
)
from llm4rec_bench.run import Run, read_run
from llm4rec_bench.run.format import FAILED, MOST_ITEMS, STATUSES, Count, Milliseconds
from llm4rec_bench.run.plain import EMPTY
from llm4rec_bench.run.rows import TOKENS
from llm4rec_bench.store import load_task
from llm4rec_bench.task import Task

K = 60
"""The paper's k: how much less the first places count than they would by themselves."""

_CELLS = 1 << 16
"""Items of rankings that are fused in one go, so that memory stays bounded."""

_BITS = 50
"""Sums of shares are whole numbers of so many bits, so that no order of adding decides."""

_MOST_COUNT = get_args(Count)[1].le
_MOST_MILLISECONDS = get_args(Milliseconds)[1].le

Integers = npt.NDArray[np.int64]


def fuse(
    paths: Sequence[Path],
    out: Path,
    name: str,
    *,
    k: float = K,
    weights: Sequence[float] | None = None,
    load: Callable[[str], Task] = load_task,
) -> None:
    """Write the reciprocal-rank fusion of two or more run files to `out`.

    Run r is made of the runs r of all files; a file with a single run stands in for all of
    its. An item's score is the sum of weight / (k + rank); equal ones go by the row of the
    catalogue, which is hash order, and the best 100 are kept. Latencies, tokens and counts of
    what was dropped are summed, where all files state them.

    A request that failed in one file takes part with the others, and its status is
    ``fallback``; one that failed in all has the status of the first. Raises RunRefused for a
    file that is not sound, BenchError where they are not of the same requests, and UsageError
    where numbers do not fit.
    """
    shares = shares_of(k, _weights(weights, len(paths)))
    _refuse_own_input(out, paths)
    load = lru_cache(maxsize=1)(load)
    runs = [read_run(path, load=load) for path in paths]
    for run in runs[1:]:
        _refuse_other(runs[0], run)
    numbers = _numbers(runs)
    header, task = runs[0].header, runs[0].task
    made = new_header(task, header.track, header.split, name)
    write_rankings(out, made, task, _fused_runs(paths, runs, numbers, shares))


def _weights(weights: Sequence[float] | None, runs: int) -> list[float]:
    if runs < 2:
        raise UsageError("fuse takes two run files or more")
    weights = [1.0] * runs if weights is None else list(weights)
    if len(weights) != runs:
        raise UsageError(f"{len(weights)} weights for {runs} run files; give one for each")
    if not all(0.0 < weight < math.inf for weight in weights):
        raise UsageError("weights are finite and above 0; leave a run out that is not to count")
    return weights


def _refuse_own_input(out: Path, paths: Sequence[Path]) -> None:
    if out.exists() and any(path.exists() and path.samefile(out) for path in paths):
        raise UsageError(f"{out}: is one of the runs to fuse; write elsewhere")


def _refuse_other(one: Run, other: Run) -> None:
    for what in ("task", "track", "digest", "split"):
        mine, theirs = getattr(one.header, what), getattr(other.header, what)
        if mine != theirs:
            raise BenchError(
                f"{other.name}: is of {what} {theirs!r}, but {one.name} is of {mine!r}; only runs "
                "on the same requests can be fused"
            )


def _numbers(runs: Sequence[Run]) -> int:
    """How many runs the fused file has."""
    most = max(runs, key=lambda run: len(run.ranks))
    for run in runs:
        if len(run.ranks) not in (1, len(most.ranks)):
            raise UsageError(
                f"{run.name} holds {len(run.ranks)} runs, but {most.name} {len(most.ranks)}; "
                "only a file with a single run can be fused with one of several"
            )
    return len(most.ranks)


def _fused_runs(
    paths: Sequence[Path], runs: Sequence[Run], numbers: int, shares: Sequence[Integers]
) -> Iterator[Rankings]:
    task, split = runs[0].task, runs[0].header.split
    for number in range(numbers):
        parts = [
            read_rankings(path, run, number if len(run.ranks) > 1 else 0)
            for path, run in zip(paths, runs, strict=True)
        ]
        yield _fused(parts, shares, empty_rankings(task, split))


def _fused(parts: Sequence[Rankings], shares: Sequence[Integers], made: Rankings) -> Rankings:
    """Fill `made` with the fusion of some rankings."""
    together = max(1, _CELLS // (MOST_ITEMS * len(parts)))
    for start in range(0, len(made), together):
        some = slice(start, start + together)
        made.items[some] = fused_items([part.items[some] for part in parts], shares)
    made.status[:] = _status([part.status for part in parts])
    made.latency_ms[:] = _known([part.latency_ms for part in parts], _MOST_MILLISECONDS).round(3)
    made.tokens[:] = _known([part.tokens for part in parts], _MOST_COUNT)
    prompt, cached = TOKENS.index("prompt"), TOKENS.index("cached")
    made.tokens[np.isnan(made.tokens[:, prompt]), cached] = np.nan  # it is a part of nothing known
    made.dropped[:] = np.minimum(sum(part.dropped for part in parts), _MOST_COUNT)
    return made


def _known(parts: Sequence[npt.NDArray[np.float64]], most: float) -> npt.NDArray[np.float64]:
    """Sums, unknown where a part is or a run file could not hold them."""
    total = np.sum(parts, axis=0)
    return np.where(total > most, np.nan, total)


def _status(parts: Sequence[npt.NDArray[np.int8]]) -> npt.NDArray[np.int8]:
    """The status of each fused row."""
    found = np.stack(parts)
    code = {name: STATUSES.index(name) for name in STATUSES}
    failed = np.isin(found, [code[name] for name in sorted(FAILED)])
    fallback = (failed | (found == code["fallback"])).any(axis=0)
    truncated = (found == code["truncated"]).any(axis=0)
    whole = np.where(truncated, code["truncated"], code["ok"])
    return np.where(
        failed.all(axis=0), found[0], np.where(fallback, code["fallback"], whole)
    ).astype(np.int8)


def shares_of(k: float, weights: Sequence[float]) -> list[Integers]:
    """What each place is worth, for each of the runs: shape (MOST_ITEMS,).

    The shares are weight / (k + rank), by a common power of two, as whole numbers: sums of
    those are exact, and the order of the runs decides nothing.
    """
    if not 0.0 <= k < math.inf:
        raise UsageError("k is a finite number, 0 or more")
    ranks = np.arange(1, MOST_ITEMS + 1)
    largest = max(weights)
    shares = [weight / largest / (k + ranks) for weight in weights]
    _, exponent = math.frexp(sum(float(share[0]) for share in shares))
    return [np.rint(np.ldexp(share, _BITS - exponent)).astype(np.int64) for share in shares]


def fused_items(rankings: Sequence[Codes], shares: Sequence[Integers]) -> npt.NDArray[np.int64]:
    """The fusion of the same requests' rankings, each of shape (requests, MOST_ITEMS)."""
    requests = len(rankings[0])
    codes = np.concatenate(rankings, axis=1).astype(np.int64)
    share = np.broadcast_to(np.concatenate(shares), codes.shape)
    request, column = np.nonzero(codes != EMPTY)
    item = codes[request, column]
    request, item, total = _summed(request, item, share[request, column])
    place, order = _placed(request, item, total, slack=2 * len(rankings))
    made = np.full((requests, MOST_ITEMS), EMPTY, np.int64)
    kept = place < MOST_ITEMS
    made[request[order][kept], place[kept]] = item[order][kept]
    return made


def _summed(
    request: Integers, item: Integers, share: Integers
) -> tuple[Integers, Integers, Integers]:
    """One line for each item of a request, with the sum of its shares."""
    order = np.lexsort((item, request))
    request, item, share = request[order], item[order], share[order]
    first = np.ones(len(order), bool)
    first[1:] = (request[1:] != request[:-1]) | (item[1:] != item[:-1])
    start = np.flatnonzero(first)
    total = np.add.reduceat(share, start) if len(start) else share
    return request[start], item[start], total


def _placed(
    request: Integers, item: Integers, total: Integers, slack: int
) -> tuple[Integers, Integers]:
    """The places within requests, from 0, and the order of lines that has them.

    Each share is rounded by half a unit, so that sums which are equal differ by no more than
    `slack`; those of two or three runs that are not differ by far more.
    """
    order = np.lexsort((-total, request))
    apart = np.ones(len(order), bool)
    apart[1:] = request[order][1:] != request[order][:-1]
    start = np.flatnonzero(apart)
    apart[1:] |= total[order][:-1] - total[order][1:] > slack
    worth = np.cumsum(apart)
    order = order[np.lexsort((item[order], worth))]
    place = np.arange(len(order)) - np.repeat(start, np.diff(start, append=len(order)))
    return place, order
