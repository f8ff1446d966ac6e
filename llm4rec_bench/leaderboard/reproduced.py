"""Which runs the maintainers have made again: `submissions/reproduced.json`.

An entrant cannot write it, for it lies outside every entry's folder. What it says of a run holds
for that run file and the card that made it: where either is changed, the mark is gone by itself.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

import msgspec

from llm4rec_bench.errors import BenchError
from llm4rec_bench.files import read_bounded, replace_text
from llm4rec_bench.scoring import Score
from llm4rec_bench.submission import Card
from llm4rec_bench.task import FORMAT

REPRODUCED = "reproduced.json"
LARGEST = 1 << 24
"""Bytes beyond which the file is not read."""


class Repetition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run that was made again."""

    run_digest: str
    """Of the run file on the board."""
    how: Literal["run", "replay"]
    """By running the method, or from the recorded answers of its language model."""
    same: float
    """Share of rankings whose first ten items came out the same."""
    difference: float
    """Of the first metric: the run made again minus that on the board."""
    low: float
    high: float
    """The paired 95 % interval of the difference."""
    date: datetime.date
    card: str
    """Fingerprint of the card on that track: system, parameters, seed, repeats and reads."""

    @property
    def confirmed(self) -> bool:
        """Whether the run came out the same, or no difference in quality is shown."""
        return self.same == 1.0 or self.low <= 0.0 <= self.high

    @property
    def verified(self) -> bool:
        """Whether the method itself was run again and confirmed.

        A replay shows that answers were read as they should be, not that a model gave them.
        """
        return self.how == "run" and self.confirmed


class Reproduced(msgspec.Struct, forbid_unknown_fields=True):
    """All repetitions, by ``<entry>/<task>.<track>``."""

    format: str = FORMAT
    runs: dict[str, Repetition] = {}

    def of(self, card: Card, score: Score) -> Repetition | None:
        """The repetition of the very run that a score was computed from, by its card as it is."""
        found = self.runs.get(f"{card.name}/{score.task}.{score.track}")
        made_by = score.run_digest, card.fingerprint(score.task, score.track)
        return found if found is not None and (found.run_digest, found.card) == made_by else None


def read_reproduced(submissions: Path) -> Reproduced:
    """What the maintainers have made again; nothing where there is no such file."""
    path = submissions / REPRODUCED
    if not path.exists():
        return Reproduced()
    try:
        return msgspec.json.decode(read_bounded(path, LARGEST), type=Reproduced)
    except (msgspec.DecodeError, ValueError) as error:
        raise BenchError(f"{path}: {error}; restore the file of the main branch") from None


def save_reproduced(submissions: Path, found: Reproduced) -> None:
    """Write the file, by name."""
    ordered = Reproduced(found.format, dict(sorted(found.runs.items())))
    text = msgspec.json.format(msgspec.json.encode(ordered), indent=1).decode()
    replace_text(submissions / REPRODUCED, text + "\n")
