"""Reading run files that strangers wrote, in one pass and with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llm4rec_bench.errors import printable
from llm4rec_bench.run.check import Checker, header_fits
from llm4rec_bench.run.format import Header
from llm4rec_bench.run.judge import judged_header, judged_row
from llm4rec_bench.run.lines import Block, Unreadable, blocks, opened
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.run.rows import Reader, Rows
from llm4rec_bench.run.tally import Tally
from llm4rec_bench.store import known_tasks, load_task
from llm4rec_bench.task import Task

_ENOUGH = 10_000
"""Problems after which a file is read no further."""

_ENOUGH_BYTES = 1 << 23
"""Bytes of lines that do not decode, after which it is not either."""

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
_WORKERS = max(1, min(4, _CORES - 1))
"""Threads that read blocks, beside the one that checks and hashes: a thread more than there are
cores costs a fifth more time, on all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run file that answers its task: what scores are made of."""

    name: str
    """The file's name, for messages."""
    header: Header
    digest: str
    """``sha256:…`` of its bytes, unpacked."""
    task: Task
    ranks: npt.NDArray[np.int8]
    """1-based ranks of the targets, shape (runs, requests, targets); see `metrics`."""
    top: list[npt.NDArray[np.unsignedinteger]]
    """For each run the first items of its rankings, shape (requests, check.TOP): item rows
    plus one, 0 where a ranking is shorter."""
    tally: Tally


def read_run(
    path: str | Path, task: Task | None = None, *, load: Callable[[str], Task] = load_task
) -> Run:
    """A run file, plain, gzip or zstd, checked against its task.

    The task is the one its header names, from the store or wherever `load` gets it by its id,
    unless one is given, which the header must name then. Raises
    RunRefused listing what is wrong with the file, and TaskDataError where the task is not
    in the store.
    """
    path = Path(path)
    problems = Problems(path.name)
    reading = _Reading(task, load, problems)
    end = Problems(path.name)
    try:
        with opened(path) as file:
            reading.take(blocks(file, end))
    except Unreadable as error:
        problems.add(error.code, str(error))
    if problems.read_to is None:
        problems.absorb(end)
        reading.whole &= not end.total
    return reading.finish(printable(path.name, 200))


class _Reading:
    """One file on its way from blocks to a run."""

    def __init__(self, task: Task | None, load: Callable[[str], Task], problems: Problems) -> None:
        self.task, self.load, self.problems = task, load, problems
        self.header: Header | None = None
        self.begun = False
        self.whole = True
        """Whether every line could be read."""
        self.hash = sha256()
        self.checker: Checker | None = None

    def take(self, pieces: Iterable[Block]) -> None:
        rest = self._from_header(iter(pieces))
        reader = None
        if self.checker is not None:
            reader = Reader(self.checker.task.items, self.checker.request_ids)

        def read(block: Block) -> tuple[Rows | None, Problems]:
            problems = Problems(self.problems.name)
            if reader is None:
                _judge(block, problems)
                return None, problems
            return reader.rows(block, problems), problems

        for block, (rows, problems) in _in_order(read, rest):
            self.problems.absorb(problems)
            self.whole &= not problems.total
            if rows is not None and self.checker is not None:
                self.checker.take(rows)
            if self.problems.total > _ENOUGH or self.problems.refused > _ENOUGH_BYTES:
                self.problems.read_to = block.first + len(block.start) - 1
                break

    def _from_header(self, pieces: Iterator[Block]) -> Iterator[Block]:
        """Take the header from the first line that is not blank; the blocks behind it."""
        for block in pieces:
            self.hash.update(block.read())
            for place in range(len(block.start)):
                if line := block.line(place).strip():
                    self._take_header(line, block.first + place)
                    return self._hashed(block.part(place + 1), pieces)
        return iter(())

    def _hashed(self, first: Block, rest: Iterator[Block]) -> Iterator[Block]:
        yield first
        for block in rest:
            self.hash.update(block.read())
            yield block

    def _take_header(self, line: bytes, number: int) -> None:
        self.begun = True
        self.header = judged_header(line, number, self.problems)
        if self.header is None:
            return
        task = self.task
        if task is None:
            if not self.problems.knows_task(self.header.task, known_tasks()):
                return
            task = self.load(self.header.task)
        if header_fits(self.header, task, self.problems):
            self.checker = Checker(self.header, task, self.problems)

    def finish(self, name: str) -> Run:
        if not self.begun and not self.problems.total:
            self.problems.add("missing-header", "the file is empty", 1)
        if self.checker is None or self.header is None:
            raise self.problems.refusal()
        if self.whole and self.problems.read_to is None:
            self.checker.finish()  # else what could not be read would be told to be missing
        self.problems.raise_if_any()
        digest = f"sha256:{self.hash.hexdigest()}"
        ranks, top = self.checker.ranks(), self.checker.top()
        return Run(name, self.header, digest, self.checker.task, ranks, top, self.checker.tally)


def _judge(block: Block, problems: Problems) -> None:
    """Say what is wrong with lines that cannot be checked further, for want of a header."""
    for place in range(len(block.start)):
        judged_row(block.line(place), block.first + place, problems)


def _in_order(
    work: Callable[[Block], tuple[Rows | None, Problems]], pieces: Iterator[Block]
) -> Iterator[tuple[Block, tuple[Rows | None, Problems]]]:
    """Each block with what is made of it, in order; several are worked on at once."""
    waiting: deque[tuple[Block, Future[tuple[Rows | None, Problems]]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for block in pieces:
            waiting.append((block, pool.submit(work, block)))
            if len(waiting) > _WORKERS:
                block, result = waiting.popleft()
                yield block, result.result()
        while waiting:
            block, result = waiting.popleft()
            yield block, result.result()
