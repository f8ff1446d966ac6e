"""Quality with intervals, floors and ceiling; validity; latency; tokens.

Every number of one score comes from the same rows of one run file.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm4rec_bench.metrics import Metric, Ranks, per_request
from llm4rec_bench.run import Run, Tally, read_run
from llm4rec_bench.run.format import MOST_ROWS, MOST_RUNS
from llm4rec_bench.scoring.alarms import Alarm, Compared, alarms
from llm4rec_bench.scoring.breadth import Breadth, breadth
from llm4rec_bench.scoring.floors import Floors, floors
from llm4rec_bench.scoring.order import Agreement, Order, agreement, order
from llm4rec_bench.scoring.slices import slices_of
from llm4rec_bench.statistics import (
    Interval,
    Percentile,
    bootstrap,
    deviation_between,
    distinct_rows,
    mean,
    percentiles,
    rounded,
)
from llm4rec_bench.task import FORMAT
from llm4rec_bench.task.recipe import TaskId, TrackName
from llm4rec_bench.task.records import to_pandas

if TYPE_CHECKING:
    import pandas

SCORER = "1"
"""Version of the scorer. It changes whenever a number could."""


_FEW = 0.005
"""Chance of a hit at the first place beyond which candidates are few: fewer than 200."""

MOST_TARGETS = 1000
"""Targets of one request beyond which packed ranks are not read."""

_MOST_RANKS = 1 << 27
"""Packed ranks that are read, whatever numbers stand beside them."""


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The score over some of the requests."""

    requests: int
    metrics: dict[str, Interval]


class Validity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a run is what was asked for."""

    valid_share: float
    """Share of rows whose status is ok and that rank something."""
    items_per_row: float
    statuses: dict[str, int]
    dropped: dict[str, int]


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds from handing over a request to having its ranking."""

    rows: int
    """Rows that state it."""
    mean: float
    percentiles: dict[str, Percentile]
    """Only those that so many rows support."""
    requests_per_second: float | None
    """One request after another; None where no time is stated to have passed."""


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of one kind."""

    rows: int
    """Rows that state them."""
    mean: float


class Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the scorer computed of one run."""

    format: str
    scorer: str
    task: TaskId
    track: TrackName
    split: str
    name: str
    track_digest: str
    run_digest: str
    requests: int
    runs: int
    metrics: dict[str, Interval]
    floors: Floors
    rescaled: dict[str, float | None]
    """Each metric on a scale from chance (0) to the ceiling (1); None where they are one."""
    slices: dict[str, Slice]
    validity: Validity
    breadth: Breadth | None
    latency: Latency | None
    """None where no row states one."""
    tokens: dict[str, Tokens]
    """By kind; those that no row states are left out."""
    agreement: Agreement | None
    """Between repeated runs."""
    order: Order | None
    """What the order of the candidates did; None on the whole catalogue."""
    alarms: list[Alarm]
    """What calls for a look."""
    top_digests: list[str]
    """``sha256:…`` of the first ten items of each run's rankings, equal for runs that rank
    alike."""
    ranks: str
    """What `packed_ranks` makes of the targets' ranks, so that saved scores can be compared
    request by request."""

    def references(self, metric: str) -> dict[str, float]:
        """The floors and the ceiling of one metric, by name."""
        table = msgspec.structs.asdict(self.floors)
        return {name: values[metric] for name, values in table.items() if values is not None}

    def to_pandas(self) -> pandas.DataFrame:
        """One row a metric: value, interval, floors and ceiling."""
        rows: list[dict[str, Any]] = [
            {"metric": name, **msgspec.structs.asdict(interval), **self.references(name)}
            for name, interval in self.metrics.items()
        ]
        return to_pandas(pa.Table.from_pylist(rows)).set_index("metric")


def score(run: Run | str | Path) -> Score:
    """The score of a run, or of a run file, on its task; see `read_run` for what it raises."""
    if not isinstance(run, Run):
        run = read_run(run)
    header, task = run.header, run.task
    metrics = task.track(header.track).parsed_metrics()
    at_one = [Metric("recall", 1), Metric("mrr", 1)]
    patterns = _Patterns([*metrics, *at_one], run.ranks)
    everything = patterns.intervals()
    named = [str(metric) for metric in metrics]
    found = {name: everything[name] for name in named}
    references = floors([*metrics, *at_one], task, header.track, header.split, len(run.ranks))
    return Score(
        format=FORMAT,
        scorer=SCORER,
        task=task.id,
        track=cast(TrackName, header.track),
        split=header.split,
        name=header.name,
        track_digest=header.digest,
        run_digest=run.digest,
        requests=run.ranks.shape[1],
        runs=len(run.ranks),
        metrics=found,
        floors=references.of(named),
        rescaled={name: _rescaled(by.value, references, name) for name, by in found.items()},
        slices={
            name: Slice(int(inside.sum()), patterns.intervals(inside, named))
            for name, inside in slices_of(task, header.split).items()
        },
        validity=_validity(run.tally),
        breadth=breadth(run),
        latency=_latency(run.tally, len(run.ranks)),
        tokens=_tokens(run.tally),
        agreement=agreement(run),
        order=order(run, metrics[0]),
        alarms=alarms(
            _compared(everything, references),
            everything["mrr@1"].value if run.ranks.shape[2] == 1 else None,
            run.tally,
            few_candidates=references.random["recall@1"] > _FEW,
        ),
        top_digests=[_digest(top) for top in run.top],
        ranks=packed_ranks(run.ranks),
    )


def _rescaled(value: float, references: Floors, metric: str) -> float | None:
    low, high = references.random[metric], references.ceiling[metric]
    return rounded((value - low) / (high - low)) if high > low else None


def _compared(found: Mapping[str, Interval], references: Floors) -> list[Compared]:
    floors_known = [references.random, references.popularity, references.as_given or {}]
    return [
        Compared(
            name,
            by.value,
            max(values.get(name, 0.0) for values in floors_known),
            references.ceiling[name],
        )
        for name, by in found.items()
    ]


def _digest(top: npt.NDArray[np.unsignedinteger]) -> str:
    return f"sha256:{sha256(top.astype('<u4').tobytes()).hexdigest()}"


def packed_ranks(ranks: Ranks) -> str:
    """Ranks of shape (runs, requests, targets) as text: bytes, deflated, in base64.

    A byte a rank, 0 where a target is not ranked and 255 in unused cells.
    """
    data = ranks.astype(np.uint8).tobytes()
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def unpacked_ranks(text: str, runs: int, requests: int) -> Ranks:
    """The ranks that `packed_ranks` packed; ValueError where they are not of that shape."""
    if not (0 < runs <= MOST_RUNS and 0 < requests <= MOST_ROWS):
        raise ValueError(f"{runs} runs of {requests} requests")
    most = min(runs * requests * MOST_TARGETS, _MOST_RANKS)
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(text, validate=True), most)
    ranks = np.frombuffer(data, np.uint8).astype(np.int64).reshape(runs, requests, -1)
    return np.where(ranks == 255, -1, ranks)


class _Patterns:
    """Metrics of the distinct patterns of ranks, of which there are few, and who has which.

    Requests with equal ranks are interchangeable, so that all about the whole and about any
    slice follows from how many of its requests have each pattern.
    """

    def __init__(self, metrics: list[Metric], ranks: Ranks) -> None:
        runs, requests, targets = ranks.shape
        by_request = ranks.transpose(1, 0, 2).reshape(requests, runs * targets)
        patterns, self._of_request = distinct_rows(by_request)
        of_pattern = patterns.reshape(-1, runs, targets).transpose(1, 0, 2)
        self._metrics = metrics
        self._values = np.stack([per_request(metric, of_pattern) for metric in metrics])
        self._over_runs = self._values.mean(axis=1).T
        self._counts = np.bincount(self._of_request)

    def intervals(
        self, inside: npt.NDArray[np.bool_] | None = None, named: Collection[str] | None = None
    ) -> dict[str, Interval]:
        """Means over runs, then over the requests `inside` (all of them, if None).

        With their bootstrap intervals and the deviation between runs; of the metrics `named`,
        or of all.
        """
        counts = self._counts
        if inside is not None:
            counts = np.bincount(self._of_request[inside], minlength=len(counts))
        some = counts > 0
        counts, over_runs = counts[some], self._over_runs[some]
        bounds = bootstrap(over_runs, counts)
        found = {}
        for metric, value, average, (low, high) in zip(
            self._metrics, self._values, over_runs.T, bounds, strict=True
        ):
            if named is not None and str(metric) not in named:
                continue
            spread = deviation_between([mean(one_run[some], counts) for one_run in value])
            found[str(metric)] = Interval(
                rounded(mean(average, counts)),
                rounded(low),
                rounded(high),
                None if spread is None else rounded(spread),
            )
        return found


def _validity(tally: Tally) -> Validity:
    return Validity(
        valid_share=rounded(tally.valid / tally.rows),
        items_per_row=rounded(tally.items / tally.rows),
        statuses={name: count for name, count in tally.statuses.items() if count},
        dropped={reason: count for reason, count in tally.dropped.items() if count},
    )


def _latency(tally: Tally, runs: int) -> Latency | None:
    known = np.concatenate(tally.latency_ms)
    if not len(known):
        return None
    average = float(known.mean())
    return Latency(
        rows=len(known),
        mean=rounded(average),
        percentiles=percentiles(known, runs),
        requests_per_second=rounded(1000.0 / average) if average > 1e-9 else None,
    )


def _tokens(tally: Tally) -> dict[str, Tokens]:
    known = tally.tokens.items()
    return {kind: Tokens(rows, rounded(total / rows)) for kind, (total, rows) in known if rows}
