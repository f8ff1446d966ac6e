"""What changed on the board and why: `submissions/changes.toml`, written by the maintainers."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from llm4rec_bench.errors import BenchError, printable
from llm4rec_bench.files import read_bounded

CHANGES = "changes.toml"
LARGEST = 1 << 20
"""Bytes beyond which the file is not read."""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of the board."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    date: datetime.date
    what: str
    """What changed, and why."""


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every version of the board, the newest first."""

    change: Annotated[list[Change], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        """Refuse versions that are not counted down to 1."""
        versions = [change.version for change in self.change]
        if versions != list(range(len(versions), 0, -1)):
            raise ValueError(f"versions are {versions}; expected them newest first, down to 1")

    @property
    def version(self) -> int:
        """The board's."""
        return self.change[0].version

    @property
    def date(self) -> datetime.date:
        """When that version was made."""
        return self.change[0].date


def read_changes(submissions: Path) -> Changes:
    """The versions of the board. A folder of submissions without the file is at its first."""
    path = submissions / CHANGES
    if not path.exists():
        return Changes([Change(1, datetime.date(1970, 1, 1), "The first version.")])
    try:
        return msgspec.convert(tomllib.loads(read_bounded(path, LARGEST).decode()), Changes)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: {printable(str(error), 300)}") from None
