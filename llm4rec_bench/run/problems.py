"""What is wrong with one run file, gathered over reading and checking."""

from __future__ import annotations

from collections.abc import Sequence

from llm4rec_bench.errors import REPORTED, Problem, RunRefused, nearest_hint, shown


class Problems:
    """What is wrong with one run file: the first few in full, all of them counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[Problem] = []
        self.total = 0

    def add(self, code: str, message: str, line: int | None = None, field: str = "") -> None:
        """Note one problem."""
        self.count(1)
        if self.total <= REPORTED:
            self.found.append(Problem(code, message, line, field))

    def count(self, more: int) -> None:
        """Count problems that are not told one by one."""
        self.total += more

    @property
    def room(self) -> int:
        """How many more problems will be told in full."""
        return max(0, REPORTED - self.total)

    def knows_task(self, task_id: str, known: Sequence[str]) -> bool:
        """Note a task id that is none of the known ones."""
        if task_id in known:
            return True
        hint = nearest_hint(task_id, known)
        expected = ", ".join(known)
        self.add(
            "wrong-task", f"{shown(task_id)} is not a task; expected {expected}{hint}", 1, "task"
        )
        return False

    def refusal(self) -> RunRefused:
        """What was noted, in the order of lines."""
        told = sorted(self.found, key=lambda problem: problem.line or 0)
        return RunRefused(self.name, told, self.total)

    def raise_if_any(self) -> None:
        """Raise RunRefused where anything was noted."""
        if self.total:
            raise self.refusal()
