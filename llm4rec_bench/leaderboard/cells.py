"""What stands in a cell of the board, as plain text; whoever shows it escapes it."""

from __future__ import annotations

from llm4rec_bench.scoring import Alarm, Cost, Score, shown_amount
from llm4rec_bench.scoring.alarms import CODES
from llm4rec_bench.submission import Card
from llm4rec_bench.texts import CONDITIONS

UNKNOWN = "–"
"""What is not stated, or of which there are too few rows."""

_BEYOND_CHANCE = 0.001
"""p-value below which what the place of the target does is marked: there are many rows."""


def value(score: Score, metric: str) -> str:
    """A metric, with the deviation between repeated runs."""
    found = score.metrics[metric]
    spread = found.std_between_runs
    return f"{found.value:.4f}" + ("" if spread is None else f" ±{spread:.4f}")


def interval(score: Score, metric: str) -> str:
    """The 95 % interval of a metric."""
    found = score.metrics[metric]
    return f"{found.low:.4f}–{found.high:.4f}"


def reads(card: Card) -> str:
    """What a method reads of items."""
    return " + ".join(name for name in CONDITIONS if name in card.reads) or "ids"


def valid(score: Score) -> str:
    """The share of rows whose status is ok and that rank something."""
    return f"{score.validity.valid_share:.1%}"


def by_place(score: Score) -> str:
    """The least and the most that a run reaches by the place of the target in the pool."""
    if score.order is None or not score.order.by_place:
        return UNKNOWN
    values = [place.value for place in score.order.by_place.values()]
    return f"{min(values):.3f}–{max(values):.3f}"


def place_matters(score: Score) -> bool:
    """Whether what the place of the target does is beyond chance."""
    if score.order is None or score.order.p is None:
        return False
    return score.order.p < _BEYOND_CHANCE


def latency(score: Score, percentile: str) -> str:
    """Milliseconds within which so many requests are answered."""
    if score.latency is None or percentile not in score.latency.percentiles:
        return UNKNOWN
    found = score.latency.percentiles[percentile].value
    return f"{found:,.2f}{_share_stated(score, score.latency.rows)}"


def tokens(score: Score) -> str:
    """The mean of prompt and completion tokens a request."""
    used = [score.tokens.get(kind) for kind in ("prompt", "completion")]
    known = [tokens for tokens in used if tokens is not None]
    if not known:
        return UNKNOWN
    stated = _share_stated(score, min(tokens.rows for tokens in known))
    return f"{sum(tokens.mean for tokens in known):,.0f}{stated}"


def cost(found: Cost | None) -> str:
    """The cost of a thousand requests, and the day of its prices."""
    if found is None:
        return UNKNOWN
    text = shown_amount(found.per_1000_requests)
    least = "≥ " if found.unknown or found.stated < 1 else ""
    return f"{least}{text} {found.currency} ({found.date})"


def code(alarm: Alarm) -> str:
    """The code of an alarm, if it is one that the scorer knows."""
    return alarm.code if alarm.code in CODES else "unknown"


def exposure(card: Card) -> str:
    """Whether the models may have seen the data set before."""
    return card.exposure or UNKNOWN


def _share_stated(score: Score, rows: int) -> str:
    """A mark where not all rows state a thing: those left out may well be the worst."""
    share = rows / sum(score.validity.statuses.values())
    return "" if share == 1.0 else f" (of {min(share, 0.999):.1%})"
