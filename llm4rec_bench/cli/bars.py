"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from llm4rec_bench.errors import printable

_LONGEST = 10_000
"""Characters of a line that are printed."""


class _Bar:
    """A progress bar on standard error, gone when it is done; none where that is no terminal."""

    def __init__(self, *columns: ProgressColumn) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._progress.stop()

    def _update(self, label: str, done: int, total: int) -> None:
        if self._task is None:
            self._task = self._progress.add_task(escape(printable(label)), total=total or None)
        self._progress.update(self._task, completed=done, total=total or None)


class DownloadBar(_Bar):
    """Shows what a download says and how far its bytes are."""

    def __init__(self) -> None:
        super().__init__(DownloadColumn(), TransferSpeedColumn())

    def say(self, text: str) -> None:
        """Print some lines; what strangers wrote in them is escaped where it does not print."""
        for line in text.split("\n"):
            self._console.print(printable(line, _LONGEST), markup=False)

    def progress(self, label: str, done: int, total: int) -> None:
        """Move the bar."""
        self._update(label, done, total)


class _RowsPerSecond(ProgressColumn):
    """The rate, once there is one."""

    def render(self, task: Task) -> Text:
        """The column's text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s")


class RunBar(_Bar):
    """Shows how many rows of a run are written, how fast, and how long the rest takes."""

    def __init__(self, label: str) -> None:
        self.label = label
        super().__init__(MofNCompleteColumn(), _RowsPerSecond())

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is None and 0 < done < total:
            self._console.print(f"{self.label}: continues after {done:,} of {total:,} rows")
        self._update(self.label, done, total)
