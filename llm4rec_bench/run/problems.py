"""What is wrong with one run file, gathered over reading and checking."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from llm4rec_bench.errors import REPORTED, Problem, RunRefused, nearest_hint, printable, shown


class Problems:
    """What is wrong with one run file: the first few in full, all of them counted."""

    def __init__(self, name: str) -> None:
        self.name = printable(name, 200)
        self.found: list[Problem] = []
        self.by_code: Counter[str] = Counter()
        self.refused = 0
        """Bytes of the lines that do not decode, for it takes time to say why."""
        self.read_to: int | None = None
        """The line after which the file was read no further, there being enough to mend."""

    @property
    def total(self) -> int:
        """How many were noted, told in full or not."""
        return self.by_code.total()

    def add(self, code: str, message: str, line: int | None = None, field: str = "") -> None:
        """Note one problem."""
        self.by_code[code] += 1
        self.found.append(Problem(code, message, line, field))
        if len(self.found) > 20 * REPORTED:
            self.found = self._first()

    def count(self, code: str, more: int) -> None:
        """Count problems that are not told one by one."""
        if more:
            self.by_code[code] += more

    def absorb(self, later: Problems) -> None:
        """Take over what was found in later lines."""
        self.by_code.update(later.by_code)
        self.found += later.found
        self.refused += later.refused
        if len(self.found) > 20 * REPORTED:
            self.found = self._first()

    def _first(self) -> list[Problem]:
        """The first problems of the file; those of no line come last."""
        return sorted(self.found, key=lambda problem: problem.line or sys.maxsize)[:REPORTED]

    def knows_task(self, task_id: str, known: Sequence[str]) -> bool:
        """Note a task id that is none of the known ones."""
        if task_id in known:
            return True
        hint = nearest_hint(task_id, known)
        expected = ", ".join(known)
        message = f"{shown(task_id)} is not a task; expected {expected}{hint}"
        self.add("wrong-task", message, 1, "task")
        return False

    def refusal(self) -> RunRefused:
        """What was noted, in the order of lines."""
        return RunRefused(self.name, self._first(), dict(self.by_code), self.read_to)

    def raise_if_any(self) -> None:
        """Raise RunRefused where anything was noted."""
        if self.total:
            raise self.refusal()
