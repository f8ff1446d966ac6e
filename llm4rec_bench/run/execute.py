"""Making a run file: a card's method over a task and track, row by row.

Rows are appended to ``<run>.partial`` as they come and the file gets its name only when
it is whole, so a run survives ``kill -9``: the same command continues after the last
whole row. What a method may see is decided by `Task.view`; targets are never opened here.
"""

from __future__ import annotations

import gzip
import importlib
import inspect
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from llm4rec_bench.errors import BenchError, CardRefused, nearest_hint, shown
from llm4rec_bench.files import only_one
from llm4rec_bench.recording import Recording
from llm4rec_bench.run.format import LONGEST_LINE, Header, Ranking, Row, unsound
from llm4rec_bench.run.lines import BROKEN, Unreadable, opened
from llm4rec_bench.submission import Card
from llm4rec_bench.task import FORMAT, Request, Task, TaskView


class Method(Protocol):
    """What a card's `system` names: a class made with the card's params as keywords."""

    def fit(self, task: TaskView) -> None:
        """Learn from what is visible. Called once, before any ranking."""

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """One ranking a request, in the same order."""


class Plan(msgspec.Struct, frozen=True):
    """What a method would ask of a model: of methods that do, `plan(requests)` tells it."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """At most."""
    first: str = ""
    """The first call in words."""


class MethodFailed(BenchError):
    """A method broke off or returned what no run file may hold."""


class Watcher:
    """Told how a run comes along; this one says nothing."""

    def progress(self, done: int, total: int) -> None:
        """So many rows are written of how many there will be."""

    def report(self, line: str) -> None:
        """What a method says of itself while it is fitted."""


def load_method(card: Card, task_id: str, track: str) -> Method:
    """A new, unfitted method as the card describes it.

    Raises CardRefused where the card names none that can be made, and MethodFailed where
    its own code fails.
    """
    if card.system is None:
        raise CardRefused(f"{card.name}: the card names no system, so there is nothing to run")
    module, _, name = card.system.partition(":")
    params = card.params_on(task_id, track)
    try:
        with _blamed(card, "while it was imported"):
            method = getattr(importlib.import_module(module), name)
    except MethodFailed as failed:
        if plain := _not_there(card, module, name, failed.__cause__):
            raise CardRefused(plain) from None
        raise
    try:
        _bind(inspect.signature(method), params)
    except (TypeError, ValueError) as error:
        raise CardRefused(f"{card.name}: params do not fit {card.system}: {error}") from None
    try:
        with _blamed(card, "while it was made"):
            made: Method = method(**params)
    except CardRefused as refused:  # a method knows its parameters, not whose card they are of
        raise CardRefused(f"{card.name}: {refused}") from None
    if not (callable(getattr(made, "fit", None)) and callable(getattr(made, "rank", None))):
        raise CardRefused(f"{card.name}: {card.system} has no methods fit and rank")
    return made


def refuse_foreign(card: Card, within: str) -> None:
    """Raise CardRefused where a card's system is no method that is defined below a package.

    What a module merely imports is none, nor is a function: a card of a stranger would have it
    called with whatever arguments.
    """
    module, _, name = (card.system or "").partition(":")
    method = None
    if module.startswith(within):
        try:
            with _blamed(card, "while it was imported"):
                method = vars(importlib.import_module(module)).get(name)
        except MethodFailed as failed:
            if not isinstance(failed.__cause__, ModuleNotFoundError):
                raise
    defined = isinstance(method, type) and method.__module__ == module
    if not (defined and hasattr(method, "fit") and hasattr(method, "rank")):
        raise CardRefused(
            f"{card.name}: system {card.system} is no method of {within[:-1]}; expected a class "
            "that is defined there, with fit and rank"
        )


def _bind(signature: inspect.Signature, params: dict[str, Any]) -> None:
    """Raise TypeError where something cannot be called with these params, and say which."""
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    unknown = [name for name in params if name not in signature.parameters]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise TypeError(
            f"{shown(unknown[0])} is none of its parameters"
            f"{nearest_hint(unknown[0], signature.parameters)}"
        )
    signature.bind(**params)


def _not_there(card: Card, module: str, name: str, error: BaseException | None) -> str | None:
    """Plain words for a system that is not there; None where its own code failed."""
    if isinstance(error, ModuleNotFoundError):
        missing = error.name or module
        mend = "pip install 'llm4rec-bench[baselines]' installs what the baselines need"
        if module == missing or module.startswith(f"{missing}."):
            mend = "run from the folder that holds it"
        return f"{card.name}: system {card.system}: {error}; {mend}"
    if isinstance(error, AttributeError) and error.name == name:
        return f"{card.name}: {module} has no {name}"
    return None


def execute(
    card: Card,
    task: Task,
    track: str,
    path: Path,
    *,
    split: str = "test",
    overwrite: bool = False,
    batch: int = 1,
    workspace: Path | None = None,
    recording: Recording | None = None,
    watcher: Watcher = Watcher(),  # noqa: B008 - it holds nothing
) -> bool:
    """Run a card's method and write its run file to `path` (``.gz`` is compressed).

    The method is handed `batch` requests at a time; with more than one there is no latency of
    a request to write but what the method states itself. `workspace` is the folder in which it
    may keep what is dear to compute again, `recording` what a model answers it.

    Returns False where `path` already holds a finished run of the same card; `overwrite` starts
    anew whatever there is. Raises CardRefused where it holds another's, and MethodFailed where
    the method breaks off; rows written until then are kept and continued from.
    """
    header = Header(
        FORMAT,
        task.id,
        track,
        task.digest(track),
        card.title,
        split,
        card.fingerprint(task.id, track),
    )
    task.requests(split, track)  # refuses a split or track there is not before a file is made
    path.parent.mkdir(parents=True, exist_ok=True)
    # A replay costs nothing, so it begins anew, and touches no rows of a run that was broken off.
    replay = recording is not None and recording.replay
    partial = path.with_name(f"{path.name}{'.replay' * replay}.partial")
    with only_one(partial, f"{partial}: another process is writing this run"):
        if path.exists() and not overwrite:
            if _header_of(path) == header:
                return False
            raise CardRefused(
                f"{path}: holds a run of another card or task version; "
                "--overwrite replaces it, --out DIR writes elsewhere"
            )
        with partial.open("a+b") as file:
            if overwrite or replay:
                file.truncate(0)
            try:
                done = _continue(file, header, recording)
            except CardRefused:
                load_method(card, task.id, track)  # a misspelt parameter makes it another card
                raise
            show = lambda seed: task.view(  # noqa: E731 - a def would say no more
                track, split, seed, card.reads, workspace, watcher.report, recording
            )
            _write_rows(file, done, card, task, track, split, batch, show, watcher)
            file.flush()
            os.fsync(file.fileno())
        if recording is not None:
            recording.finish()
        _finish(partial, path)
    return True


def planned(
    card: Card, task: Task, track: str, show: Callable[[int], TaskView], split: str
) -> Plan:
    """What all runs of a card would ask of a model on a track; nothing is asked.

    Raises CardRefused where the method cannot tell.
    """
    calls = prompt = completion = 0
    first = ""
    for number in range(card.runs_on(task.id, track)):
        method = load_method(card, task.id, track)
        if not callable(tell := getattr(method, "plan", None)):
            raise CardRefused(
                f"{card.name}: {card.system} cannot tell what it would ask of a model"
            )
        with _blamed(card, "while planning"):
            method.fit(show(card.seed + number))
            plan = tell(list(task.requests(split, track, number)))
        calls += plan.calls
        prompt += plan.prompt_tokens
        completion += plan.completion_tokens
        first = first or plan.first
    return Plan(calls, prompt, completion, first)


def _header_of(path: Path) -> Header | None:
    """The header of a run file this module wrote; None where it has no such header."""
    try:
        with opened(path) as file:
            return msgspec.json.decode(file.readline(1 << 16), type=Header)
    except (msgspec.DecodeError, Unreadable, *BROKEN):
        return None


class _Ended(msgspec.Struct):
    status: str = "ok"


def statuses(path: Path) -> Counter[str]:
    """How many rows of a run file that was made here ended with each status."""
    with opened(path) as file:
        file.readline()
        return Counter(msgspec.json.decode(line, type=_Ended).status for line in file)


_IN_PASSING = frozenset({"timeout", "api_error"})
"""Statuses of requests that may well be answered when they are asked again."""

_IN_PART = _IN_PASSING | {"fallback"}


def _continue(file: BinaryIO, header: Header, recording: Recording | None) -> set[tuple[int, str]]:
    """Cut a partial file after its last whole row; what it has answered already.

    Only a row without its end is cut off, and rows at the end whose requests failed in passing:
    those are what a run stopped for, and are asked for again. Where answers are recorded, all
    from the first on that some failed answer may have a part in are made anew from what is: an
    answer that came late belongs to every row that asks for it. A row that is whole and cannot be
    read is refused, so that what follows it is not lost.
    """
    recorded = recording is not None and len(recording) > 0
    file.seek(0)
    first = msgspec.json.encode(header) + b"\n"
    begun = file.readline()
    if begun.endswith(b"\n") and begun != first and file.readline():
        raise CardRefused(
            f"{file.name}: was begun by another card or task version; --overwrite starts anew, "
            "but for answers of a model that are recorded; --out DIR writes elsewhere"
        )
    done: set[tuple[int, str]] = set()
    if begun != first:
        file.truncate(0)
        file.write(first)
        return done
    whole = read = len(first)
    failed: list[tuple[int, str]] = []
    for number, line in enumerate(file, 2):
        if not line.endswith(b"\n"):
            break
        try:
            row = msgspec.json.decode(line, type=Row)
        except msgspec.DecodeError as error:
            raise CardRefused(
                f"{file.name}: line {number} is damaged ({error}); mend it, "
                "or start anew with --overwrite"
            ) from None
        if recorded and row.status in _IN_PART:
            break
        read += len(line)
        failed.append((row.run, row.request_id))
        if row.status not in _IN_PASSING:
            whole = read
            done.update(failed)
            failed.clear()
    file.truncate(whole)
    file.seek(whole)
    return done


def _write_rows(
    file: BinaryIO,
    done: set[tuple[int, str]],
    card: Card,
    task: Task,
    track: str,
    split: str,
    batch: int,
    show: Callable[[int], TaskView],
    watcher: Watcher,
) -> None:
    written, total = len(done), card.runs_on(task.id, track) * len(task.requests(split, track))
    watcher.progress(written, total)
    for number in range(card.runs_on(task.id, track)):
        requests = task.requests(split, track, number)
        left = [row for row, name in enumerate(requests.ids) if (number, name) not in done]
        if not left:
            continue
        seed = card.seed + number
        view = show(seed)
        method = load_method(card, task.id, track)
        with _blamed(card, "while fitting"):
            method.fit(view)
        for start in range(0, len(left), batch):
            asked = [requests[index] for index in left[start : start + batch]]
            for row in _answers(method, card, asked, number, view):
                file.write(msgspec.json.encode(row) + b"\n")
                written += 1
            file.flush()
            watcher.progress(written, total)


@contextmanager
def _blamed(card: Card, when: str) -> Iterator[None]:
    """Turn whatever a method raises into MethodFailed, its own trace kept as the cause."""
    try:
        yield
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        raise MethodFailed(
            f"{card.name}: {card.system} failed {when}: {type(error).__name__}: {error}"
        ) from error


def _answers(
    method: Method, card: Card, requests: list[Request], number: int, view: TaskView
) -> Iterator[Row]:
    """The rows of some requests that are handed over together."""
    which = shown(requests[0].request_id) + (f" and {len(requests) - 1} more" * (len(requests) > 1))
    who = f"{card.name}: {card.system} on request {which} of run {number}"
    # The method gets copies: what it does to a request must not change what is allowed.
    handed = [
        msgspec.structs.replace(
            request,
            history=list(request.history),
            candidates=None if request.candidates is None else list(request.candidates),
        )
        for request in requests
    ]
    with _blamed(card, f"on request {which} of run {number}"):
        start = time.perf_counter()
        answers = method.rank(handed)
        latency = round((time.perf_counter() - start) * 1000.0, 3)
    if not isinstance(answers, list) or len(answers) != len(requests):
        what = len(answers) if isinstance(answers, list) else type(answers).__name__
        one = "one Ranking" if len(requests) == 1 else f"{len(requests)} Rankings"
        raise MethodFailed(f"{who}: rank returned {what}, expected a list of {one}")
    for request, answer in zip(requests, answers, strict=True):
        who = f"{card.name}: {card.system} on request {shown(request.request_id)} of run {number}"
        row = _row(answer, request, number, latency if len(requests) == 1 else None, who)
        _refuse_unsound(row, request, view, who)
        yield row


def _row(answer: Ranking, request: Request, number: int, latency: float | None, who: str) -> Row:
    """The row of an answer, held to the rules by which run files are read.

    `latency` was measured; what the method states itself goes before it.
    """
    if not isinstance(answer, Ranking):
        raise MethodFailed(f"{who}: returned {type(answer).__name__}, expected a Ranking")
    fields = msgspec.structs.asdict(answer)
    if answer.latency_ms is None:
        fields["latency_ms"] = latency
    row = Row(request.request_id, run=number, **fields)
    try:
        line = msgspec.json.encode(row)
        msgspec.json.decode(line, type=Row)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise MethodFailed(f"{who}: returned what no run file may hold: {error}") from None
    if len(line) >= LONGEST_LINE:
        raise MethodFailed(f"{who}: a row of {len(line):,} bytes; {LONGEST_LINE:,} are allowed")
    if fault := unsound(row):
        raise MethodFailed(f"{who}: {fault.field}: {fault.message}")
    return row


def _refuse_unsound(row: Row, request: Request, view: TaskView, who: str) -> None:
    """Say so at once when a method returns what the scorer would refuse at the end."""
    items = set(row.items)
    if len(items) != len(row.items):
        raise MethodFailed(f"{who}: ranked an item twice")
    if request.candidates is not None:
        wrong, what = items - set(request.candidates), "is not a candidate"
    else:
        outside = items - view.items.row_of.keys()
        wrong, what = outside or items & set(request.history), "is unknown or already seen"
    if wrong:
        raise MethodFailed(f"{who}: ranked {shown(min(wrong))}, which {what}")


def _finish(partial: Path, path: Path) -> None:
    """Give a whole run its name, compressing it if the name says so."""
    if path.suffix != ".gz":
        partial.replace(path)
        return
    packed = path.with_name(f"{path.name}.tmp")
    # Neither name nor time goes into the archive: equal runs give equal files.
    with (
        partial.open("rb") as rows,
        packed.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as file,
    ):
        shutil.copyfileobj(rows, file)
    packed.replace(path)
    partial.unlink()
