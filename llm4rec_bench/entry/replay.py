"""Recorded answers of a stranger's entry, and what may be done with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm4rec_bench.errors import CardRefused
from llm4rec_bench.recording import Recording, recording_of
from llm4rec_bench.run.execute import refuse_foreign
from llm4rec_bench.submission import Card

OURS = "baselines."
"""Methods of this repository; what else a card names may do anything."""

REPLAYED = f"{OURS}llm."
"""Methods whose recorded answers are made into a run again; all of them lie in this repository."""


def recorded_in(folder: Path, run: Path) -> Path:
    """Where the recorded answers of an entry's run lie: in its folder, wherever the run does."""
    return recording_of(folder / f"{run.name.split('.jsonl')[0]}.jsonl.gz")


def replay_of(card: Card, path: Path) -> Recording:
    """The recorded answers at `path`, from which a card's run can be made with nothing asked.

    Raises CardRefused where it cannot: where the system is none of REPLAYED, or where a model
    has its server count tokens, which a replay would ask, with a key of whoever replays.
    """
    refuse_foreign(card, REPLAYED)
    for params in (card.params, *(by.params for by in card.on.values())):
        if any(table.get("count_tokens", "estimate") != "estimate" for table in _tables(params)):
            raise CardRefused(
                f'{card.name}: count_tokens: a replay asks no server; expected "estimate", or an '
                "entry without its recording"
            )
    return Recording(path, replay=True)


def _tables(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - what TOML may hold
    """All tables in a value, itself included."""
    if isinstance(value, dict):
        yield value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inside:
        yield from _tables(part)
