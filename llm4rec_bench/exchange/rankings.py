"""Whole rankings as arrays: read from a run file that was found sound, written as a new one.

`read_run` keeps what scores are made of. Here every item is kept, of one run of a file at a
time and in as few bytes as the catalogue needs, so that memory is bounded by the task.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import BenchError, UsageError
from llm4rec_bench.files import replacing
from llm4rec_bench.run import Dropped, Header, Run
from llm4rec_bench.run.format import MOST_ITEMS, STATUSES, Row
from llm4rec_bench.run.lines import Block, blocks, opened
from llm4rec_bench.run.plain import EMPTY
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.run.rows import REASONS, TOKENS, Reader
from llm4rec_bench.task import FORMAT, Task

Codes = npt.NDArray[np.signedinteger]

LONGEST_NAME = 200
"""Characters of a run's name."""

_TOGETHER = 1 << 12
"""Rows that are written in one go."""


@dataclass(frozen=True, slots=True)
class Rankings:
    """A ranking for every request of a split, in the task's order: one run of a run file."""

    items: Codes
    """Item rows best first, shape (requests, MOST_ITEMS), EMPTY behind the end of a ranking."""
    status: npt.NDArray[np.int8]
    """Index into `format.STATUSES`."""
    latency_ms: npt.NDArray[np.float64]
    """NaN where it is not known."""
    tokens: npt.NDArray[np.float64]
    """Shape (requests, len(TOKENS)); NaN where not known."""
    dropped: npt.NDArray[np.int64]
    """Shape (requests, len(REASONS))."""

    def __len__(self) -> int:
        return len(self.status)


def empty_rankings(task: Task, split: str) -> Rankings:
    """Rankings of nothing, to be filled."""
    requests = len(task.request_ids(split))
    return Rankings(
        items=np.full((requests, MOST_ITEMS), EMPTY, np.min_scalar_type(-len(task.items) - 1)),
        status=np.full(requests, STATUSES.index("ok"), np.int8),
        latency_ms=np.full(requests, np.nan),
        tokens=np.full((requests, len(TOKENS)), np.nan),
        dropped=np.zeros((requests, len(REASONS)), np.int64),
    )


def read_rankings(path: Path, run: Run, number: int = 0) -> Rankings:
    """Run `number` of the file at `path`, whole; `run` is what `read_run` made of that file.

    Raises UsageError where the file has no such run, and BenchError where it has changed.
    """
    if number >= (runs := len(run.ranks)):
        held = "only run 0" if runs == 1 else f"runs 0 to {runs - 1}"
        raise UsageError(f"{run.name}: holds {held}, but no run {number}")
    task, split = run.task, run.header.split
    reader = Reader(task.items, task.request_ids(split))
    found = empty_rankings(task, split)
    problems = Problems(path.name)
    for block in _blocks_behind_header(path, run, problems):
        rows = reader.rows(block, problems)
        if problems.total:
            break
        mine = rows.number == number
        request = rows.request[mine]
        found.items[request, : rows.items.shape[1]] = rows.items[mine]
        found.status[request] = rows.status[mine]
        found.latency_ms[request] = rows.latency_ms[mine]
        found.tokens[request] = rows.tokens[mine]
        found.dropped[request] = rows.dropped[mine]
    if problems.total:
        raise _changed(run)
    return found


def _blocks_behind_header(path: Path, run: Run, problems: Problems) -> Iterator[Block]:
    """The blocks of a sound file without its first line that is not blank."""
    hashed, begun = sha256(), False
    with opened(path) as file:
        for block in blocks(file, problems):
            hashed.update(block.read())
            if begun:
                yield block
                continue
            for place in range(len(block.start)):
                if block.line(place).strip():
                    begun = True
                    yield block.part(place + 1)
                    break
    if f"sha256:{hashed.hexdigest()}" != run.digest:
        raise _changed(run)


def _changed(run: Run) -> BenchError:
    return BenchError(f"{run.name}: changed while it was read; run the same command again")


def new_header(task: Task, track: str, split: str, name: str) -> Header:
    """The header of a run file that no card made; raises UsageError for a name it cannot hold."""
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a run's name is one line of 1 to {LONGEST_NAME} characters")
    return Header(FORMAT, task.id, track, task.digest(track), name, split)


def write_rankings(path: Path, header: Header, task: Task, runs: Iterable[Rankings]) -> None:
    """Write runs 0, 1, 2 … as a run file (``.gz`` is compressed), whole or not at all.

    Equal rankings give equal bytes.
    """
    with packed(path) as file:
        file.write(msgspec.json.encode(header) + b"\n")
        for number, rankings in enumerate(runs):
            for start in range(0, len(rankings), _TOGETHER):
                rows = _rows(rankings, slice(start, start + _TOGETHER), number, task, header.split)
                file.write(_encoder.encode_lines(rows))


_encoder = msgspec.json.Encoder()


def _rows(rankings: Rankings, some: slice, number: int, task: Task, split: str) -> list[Row]:
    ids = task.items.ids
    columns = zip(
        task.request_ids(split)[some].to_pylist(),
        rankings.items[some].tolist(),
        (rankings.items[some] != EMPTY).sum(axis=1).tolist(),
        rankings.status[some].tolist(),
        rankings.latency_ms[some].tolist(),
        _counts(rankings.tokens[some]),
        rankings.dropped[some].tolist(),
        strict=True,
    )
    return [
        Row(
            request,
            [ids[code] for code in items[:length]],
            number,
            None if latency != latency else latency,
            status=STATUSES[status],
            **dict(zip((f"{kind}_tokens" for kind in TOKENS), tokens, strict=True)),
            dropped=Dropped(*dropped) if any(dropped) else None,
        )
        for request, items, length, status, latency, tokens, dropped in columns
    ]


def _counts(values: npt.NDArray[np.float64]) -> list[list[int | None]]:
    """Whole numbers, None for NaN."""
    known = ~np.isnan(values)
    whole = np.where(known, values, 0).astype(np.int64).astype(object)
    whole[~known] = None
    return whole.tolist()


@contextmanager
def packed(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once the block ends; gzip if its name says so."""
    with replacing(path) as partial, partial.open("wb") as raw:
        if path.suffix != ".gz":
            yield raw
            return
        # Neither name nor time goes into the archive: equal content gives equal files.
        with gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as file:
            yield cast(BinaryIO, file)
