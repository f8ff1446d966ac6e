"""The run file: a header line, then one JSON object a line for each request and run.

Limits are stated here and nowhere else.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal, NamedTuple

import msgspec

from llm4rec_bench.ids import LONGEST_ID
from llm4rec_bench.split import TEST
from llm4rec_bench.task import FORMAT

LONGEST_LINE = 1 << 20
"""Bytes of one line."""

LARGEST_RUN = 8 << 30
"""Bytes of a run file, unpacked."""

MOST_ROWS = 10_000_000
MOST_RUNS = 100
MOST_ITEMS = 100

Status = Literal["ok", "parse_error", "refusal", "truncated", "timeout", "api_error", "fallback"]
STATUSES: tuple[str, ...] = Status.__args__  # type: ignore[attr-defined]

FAILED: frozenset[str] = frozenset({"parse_error", "refusal", "timeout", "api_error"})
"""Statuses of a request that has no ranking: it scores 0."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""Up to eleven days, so that sums stay finite."""

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The first line of a run file."""

    format: str
    task: str
    track: str
    digest: str
    """Digest of the track the rankings are for, as `llm4rec-bench tasks` prints it."""
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    split: str = TEST
    card: str | None = None
    """Fingerprint of the card that made the run, so that another card's is not continued."""


class Dropped(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a method removed from an answer before it became a ranking, by reason."""

    invented: Count = 0
    duplicate: Count = 0
    seen: Count = 0
    out_of_pool: Count = 0


class Ranking(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a method answers to one request: item ids best first, and what it took.

    Items it did not rank are left out; a failed request has its status and no items.
    """

    items: list[str]
    scores: list[float] | None = None
    """One for each item, non-increasing; they never re-sort anything."""
    status: Status = "ok"
    latency_ms: float | None = None
    """Stated by a method that answers many requests at once, or from a recording; without it
    `run` measures."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    dropped: Dropped | None = None
    explanation: str | None = None


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One line of a run file after the header."""

    request_id: Id
    items: Annotated[list[Id], msgspec.Meta(max_length=MOST_ITEMS)]
    run: Annotated[int, msgspec.Meta(ge=0, lt=MOST_RUNS)] = 0
    latency_ms: Milliseconds | None = None
    scores: Annotated[list[float], msgspec.Meta(max_length=MOST_ITEMS)] | None = None
    status: Status = "ok"
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None
    dropped: Dropped | None = None
    explanation: str | None = None


class Fault(NamedTuple):
    """Why something is refused; `code` is one of `CODES`."""

    code: str
    message: str
    field: str


def unsound(row: Row) -> Fault | None:
    """What is wrong with a row whose fields are each as they should be, if anything."""
    if row.items and row.status in FAILED:
        said = f"a request that failed ({row.status}) has no ranking; leave the list empty"
        return Fault("failed-with-items", said, "items")
    cached, prompt = row.cached_tokens or 0, row.prompt_tokens or 0
    if cached > prompt:
        given = "an unknown number of" if row.prompt_tokens is None else f"{prompt:,}"
        said = f"{cached:,} of {given} prompt tokens; cached ones are part of prompt_tokens"
        return Fault("bad-number", said, "cached_tokens")
    fault = None if row.scores is None else _unsound_scores(row.scores, len(row.items))
    return None if fault is None else Fault("bad-scores", fault, "scores")


def _unsound_scores(scores: list[float], items: int) -> str | None:
    if len(scores) != items:
        return f"{len(scores)} scores for {items} items; give one for each item"
    if not all(map(math.isfinite, scores)):
        return "holds a number that is not finite; leave scores out"
    if any(a < b for a, b in itertools.pairwise(scores)):
        return "increases; sort items by score before writing, the order is the ranking"
    return None


CODES: dict[str, str] = {
    "not-a-file": "a run is a regular file",
    "not-json-lines": "a run file is JSON Lines, plain, gzip or zstd",
    "bad-compression": "the gzip or zstd data are damaged or cut off",
    "not-utf8": "a run file is UTF-8 without a byte order mark",
    "too-large": "the file, unpacked, or its rows are over the limit",
    "line-too-long": f"a line has at most {LONGEST_LINE:,} bytes",
    "bad-json": "each line is one JSON object",
    "repeated-key": "a JSON object names each field once",
    "missing-header": "the first line is the header",
    "unexpected-header": "only the first line is a header",
    "wrong-format": f"the header's format is {FORMAT}",
    "wrong-task": "the header names the task that the run is scored on",
    "wrong-track": "the header names a track of the task",
    "wrong-split": "the header's split is test or validation",
    "wrong-digest": "the header carries the track's digest",
    "unknown-field": "only documented fields occur",
    "missing-field": "request_id and items are required",
    "wrong-type": "fields have their documented types",
    "bad-number": "numbers are finite, not negative and in range",
    "unknown-status": "status is one of " + ", ".join(STATUSES),
    "too-many-items": f"a ranking holds at most {MOST_ITEMS} items",
    "failed-with-items": "a row whose status is " + ", ".join(sorted(FAILED)) + " holds no items",
    "bad-scores": "scores are as many as items, finite and non-increasing",
    "unknown-request": "every request_id is one of the task's",
    "repeated-request": "each run answers a request once",
    "missing-request": "each run answers every request; a failed one has a status and no items",
    "missing-run": "runs are numbered 0, 1, 2 … without a gap",
    "repeated-item": "a ranking names an item once",
    "unknown-item": "every item is in the catalogue",
    "item-not-in-pool": "on pool tracks, every item is a candidate of its request",
    "item-already-seen": "on retrieval, no item is in the request's history",
}
"""Every reason for which a run file is refused: a stable code, and the rule it stands for."""
