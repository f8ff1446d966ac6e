"""What can go wrong through no fault of ours, and how it is said.

    BenchError                 exit code 1: an input was refused
    ├── RunRefused             a run file breaks one or more rules; carries every Problem found
    ├── CardRefused            a submission's card cannot be used
    ├── UsageError             exit code 2: the command was called in a way it does not take
    └── TaskDataError          exit code 3: a frozen task is missing, corrupt or cannot be rebuilt

Only borders (readers of files, the command line, the network) raise these. Anything
else that escapes is our own bug: the command line says so and ends with exit code 70.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

import msgspec

SHOWN = 80
"""Characters of a found value that a message repeats."""

REPORTED = 20
"""Problems of one file that are listed in full; the rest are counted."""


class BenchError(Exception):
    """An input was refused; the message says what, where, and how to mend it."""

    exit_code = 1


class UsageError(BenchError):
    """A command or function was called in a way it does not take."""

    exit_code = 2


class TaskDataError(BenchError):
    """A frozen task is missing, corrupt, or could not be rebuilt."""

    exit_code = 3


class CardRefused(BenchError):
    """A submission's card cannot be used."""


class Problem(msgspec.Struct, frozen=True):
    """One rule broken at one place of a run file."""

    code: str
    message: str
    line: int | None = None
    """1-based line, or None where the problem is the whole file's."""
    field: str = ""
    """The field at fault, such as ``items[3]``."""

    def render(self, name: str) -> str:
        """The problem as one line of text, as compilers print theirs."""
        place = name if self.line is None else f"{name}:{self.line}"
        field = f" {self.field}:" if self.field else ""
        return f"{place}: error[{self.code}]{field} {self.message}"


class RunRefused(BenchError):
    """A run file breaks one or more rules.

    `problems` holds the first `REPORTED` of them in file order, `by_code` counts all up to
    line `read_to`, where it is given.
    """

    def __init__(
        self,
        name: str,
        problems: Sequence[Problem],
        by_code: dict[str, int],
        read_to: int | None = None,
    ) -> None:
        self.name = name
        self.problems = list(problems)
        self.by_code = by_code
        self.total = sum(by_code.values())
        lines = [problem.render(name) for problem in self.problems]
        if self.total > len(lines):
            kinds = ", ".join(f"{code} {count:,}" for code, count in sorted(by_code.items()))
            lines.append(f"{name}: … and {self.total - len(lines):,} more; in all: {kinds}")
        if read_to is not None:
            lines.append(f"{name}: read no further than line {read_to:,}; mend these first")
        super().__init__("\n".join(lines))


def shown(value: object, limit: int = SHOWN) -> str:
    """A found value in quotes, escaped to printable ASCII and cut to `limit` characters.

    What strangers wrote must not reach a terminal or a log as it stands.
    """
    text = value if isinstance(value, str) else repr(value)
    cut = text[:limit]
    escaped = cut.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    tail = "…" if len(text) > limit else ""
    return f'"{escaped}{tail}"' if isinstance(value, str) else escaped + tail


def printable(text: str, limit: int = SHOWN) -> str:
    """`text` for people, cut to `limit` characters; what does not print is escaped."""
    cut = text[:limit] + ("…" if len(text) > limit else "")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut
    )


def _folded(identifier: str) -> str:
    """An id with all that people get wrong removed: case, Unicode form, spaces, zeros."""
    text = unicodedata.normalize("NFKC", identifier).casefold()
    return "".join(text.split()).lstrip("0") or "0"


def nearest(found: str, expected: Iterable[str]) -> str | None:
    """The expected id that `found` was probably meant to be, or None.

    First one that differs only in case, Unicode form, spaces or leading zeros; else
    the most similar by `difflib`, among the first 2,000 so that a message stays cheap.
    """
    options = list(expected)
    wanted = _folded(found[:SHOWN])
    for option in options:
        if _folded(option) == wanted:
            return option
    close = difflib.get_close_matches(found[:SHOWN], options[:2000], n=1, cutoff=0.75)
    return close[0] if close else None


def nearest_hint(found: str, expected: Iterable[str]) -> str:
    """``; nearest: "tt99"`` for messages, or an empty string."""
    near = nearest(found, expected)
    return "" if near is None else f"; nearest: {shown(near)}"
