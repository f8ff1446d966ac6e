"""What a run cost, by the prices of a day.

Prices change and run files do not, so a cost is worked out when it is asked for, from the
tokens of a score and prices with a date, and is never saved.
"""

from __future__ import annotations

import datetime

import msgspec

from llm4rec_bench.scoring.scorer import Score
from llm4rec_bench.statistics import rounded
from llm4rec_bench.submission import Paid, Price, Prices


class Cost(msgspec.Struct, frozen=True):
    """What a run cost by one row of a table of prices."""

    per_1000_requests: float
    """By the mean of each kind of tokens over the rows that state it."""
    stated: float
    """Share of rows that state the kind that is stated least."""
    unknown: list[str]
    """Kinds that no row states, of prompt and completion: they are not in the cost."""
    currency: str
    model: str
    """The row of the table of prices; the submission, where its card states them."""
    prices: str
    """The table's version; the place where they were found, where a card states them."""
    date: datetime.date


def cost(score: Score, prices: Prices, model: str) -> Cost | None:
    """The cost of a run by a table of prices; None where no row states its tokens.

    Raises UsageError where the table does not hold the model.
    """
    price = prices.price(model)
    return _cost(score, price, prices.currency, model, prices.version, prices.date)


def cost_stated(score: Score, prices: Paid) -> Cost | None:
    """The cost of a run by the prices on its card; None where no row states its tokens."""
    return _cost(score, prices, prices.currency, score.name, prices.source, prices.date)


def _cost(
    score: Score, price: Price, currency: str, model: str, version: str, date: datetime.date
) -> Cost | None:
    used = score.tokens
    if not used:
        return None
    prompt, completion, cached = (
        used[kind].mean if kind in used else 0.0 for kind in ("prompt", "completion", "cached")
    )
    if "cached" in used and "prompt" in used:  # of the rows that state a prompt, few may state it
        cached *= used["cached"].rows / used["prompt"].rows
    rows = sum(score.validity.statuses.values())
    return Cost(
        per_1000_requests=rounded(price.of(prompt, completion, cached) * 1000.0),
        stated=rounded(min(by.rows for kind, by in used.items() if kind != "cached") / rows),
        unknown=[kind for kind in ("prompt", "completion") if kind not in used],
        currency=currency,
        model=model,
        prices=version,
        date=date,
    )


def shown_amount(amount: float) -> str:
    """An amount of money: two decimals, or three digits of what is less than 1."""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.3g}"
