"""Several calls on their way at once, to a model that is somewhere else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from queue import Empty, SimpleQueue

from baselines.llm.model import Answer, Call, ModelUnavailable

PATIENCE = 10
"""Calls that may fail one after the other before a run is stopped."""

_FAILED = ("timeout", "api_error")

Ask = Callable[[Call], Awaitable[Answer]]
Connection = Callable[[], AbstractAsyncContextManager[Ask]]
"""Opens what answers one call at a time."""


class Streak:
    """How many calls have failed one after the other, in the order in which they ended."""

    def __init__(self, whose: str) -> None:
        self.whose = whose
        self.length = 0
        self.answered = False
        """Whether any call has been; known to those under way before its turn comes to count."""

    def hear(self, answer: Answer) -> None:
        """Take note of a call when it ends."""
        self.answered |= answer.status not in _FAILED

    def note(self, answer: Answer) -> bool:
        """Count a call; True where it is one failure too many."""
        failed = answer.status in _FAILED
        if failed and answer.of_itself and self.answered:
            return False
        self.length = self.length + 1 if failed else 0
        return self.length >= PATIENCE

    def end(self, answer: Answer) -> ModelUnavailable:
        """What is raised then. Whoever goes on all the same starts counting anew."""
        self.length = 0
        return ModelUnavailable(
            f"{self.whose}: {PATIENCE} calls in a row have failed, the last one with: "
            f"{answer.reason or answer.status}; finished answers are kept, and the same command "
            "continues once the model answers again"
        )


def at_once(
    connection: Connection, calls: Sequence[Call], concurrency: int, streak: Streak
) -> Iterator[tuple[int, Answer]]:
    """The answers with their calls' indices as they come, of so many calls at a time.

    Calls go on while the caller does something else. Whatever ends this, be it a caller who wants
    no more, ends them too: they run in one event loop, where what waits for a server or between
    two tries can be called off. What connecting or asking raises is raised after the answers that
    have come, and so is ModelUnavailable at the end of the patience with failures.
    """
    if not calls:
        return
    done: SimpleQueue[tuple[int, Answer] | BaseException | None] = SimpleQueue()
    loop = asyncio.new_event_loop()
    work = loop.create_task(_all(connection, calls, concurrency, streak, done))
    thread = threading.Thread(target=_run, args=(loop, work, done), daemon=True)
    thread.start()
    try:
        while (found := done.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
            if streak.note(found[1]):
                yield from _rest(done)
                raise streak.end(found[1])
    finally:
        loop.call_soon_threadsafe(work.cancel)
        thread.join()
        loop.close()


async def _all(
    connection: Connection,
    calls: Sequence[Call],
    concurrency: int,
    streak: Streak,
    done: SimpleQueue[tuple[int, Answer] | BaseException | None],
) -> None:
    left = iter(enumerate(calls))

    async def ask_on(ask: Ask) -> None:
        for index, call in left:
            answer = await ask(call)
            streak.hear(answer)
            done.put((index, answer))

    async with connection() as ask, asyncio.TaskGroup() as lanes:
        for _ in range(min(concurrency, len(calls))):
            lanes.create_task(ask_on(ask))


def _run(
    loop: asyncio.AbstractEventLoop,
    work: asyncio.Task[None],
    done: SimpleQueue[tuple[int, Answer] | BaseException | None],
) -> None:
    try:
        loop.run_until_complete(work)
    except asyncio.CancelledError:
        pass
    except BaseExceptionGroup as several:  # one lane's, which ended the others
        done.put(several.exceptions[0])
    except BaseException as error:  # raised anew in the caller's thread
        done.put(error)
    done.put(None)


def _rest(
    done: SimpleQueue[tuple[int, Answer] | BaseException | None],
) -> Iterator[tuple[int, Answer]]:
    """The answers that have come already."""
    while True:
        try:
            found = done.get_nowait()
        except Empty:
            return
        if isinstance(found, tuple):
            yield found
