"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
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
from llm4rec_bench.run.execute import Watcher
from llm4rec_bench.tuning import Study, Trial
from llm4rec_bench.tuning import Watcher as TuningWatcher

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
        label = escape(printable(label))
        if self._task is None:
            self._task = self._progress.add_task(label, total=total or None)
        self._progress.update(self._task, description=label, completed=done, total=total or None)


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


_SECONDS_BETWEEN = 30.0
"""Between two lines of a method's reports where there is no terminal."""


class RunBar(_Bar, Watcher):
    """Shows how many rows of a run are written, how fast, and how long the rest takes."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._said = time.monotonic()
        super().__init__(MofNCompleteColumn(), _RowsPerSecond())

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is None and 0 < done < total:
            self._console.print(f"{self.label}: continues after {done:,} of {total:,} rows")
        self._update(self.label, done, total)

    def report(self, line: str) -> None:
        """Show how far a fit is: beside the bar, or now and then in a line of its own."""
        line = printable(line, _LONGEST)
        if self._task is not None:
            self._progress.update(self._task, description=escape(f"{self.label}: {line}"))
        if not self._console.is_terminal and time.monotonic() - self._said > _SECONDS_BETWEEN:
            self._console.print(f"{self.label}: {line}", markup=False)
            self._said = time.monotonic()


class TuneBar(_Bar, TuningWatcher):
    """Shows how many trials are done, the best value so far, and how long the rest takes."""

    def __init__(self, label: str) -> None:
        self.label = label
        super().__init__(MofNCompleteColumn())

    def tried(self, study: Study, wanted: int) -> None:
        """Move the bar, or print the trial where there is none."""
        best = study.best_trial
        so_far = "" if best is None or best.value is None else f", best {best.value:.4f}"
        done = len(study.trials)
        if self._task is None and 0 < done < wanted:
            self.say(f"{self.label}: continues after {done:,} of {wanted:,} trials{so_far}")
        elif self._task is not None:
            self._told(study.trials[-1], f"{done}/{wanted}", so_far)
        self._update(f"{self.label} {study.metric}{so_far}", done, wanted)

    def _told(self, trial: Trial, place: str, so_far: str) -> None:
        if trial.value is None:
            self.say(f"{self.label} {place}: failed with {spelled(trial.params)}: {trial.error}")
        elif not self._console.is_terminal:
            self.say(
                f"{self.label} {place}: {trial.value:.4f} with {spelled(trial.params)}{so_far}"
            )

    def report(self, line: str) -> None:
        """Show how far a fit is beside the bar."""
        if self._task is not None:
            told = escape(f"{self.label}: {printable(line)}")
            self._progress.update(self._task, description=told)

    def say(self, line: str) -> None:
        """Print a line; what strangers wrote in it is escaped where it does not print."""
        self._console.print(printable(line, _LONGEST), markup=False)


def spelled(params: Mapping[str, bool | int | float | str]) -> str:
    """Parameters as a card spells them."""
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in params.items())
