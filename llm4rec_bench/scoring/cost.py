"""What a run cost, by the prices of a day.

Prices change and run files do not, so a cost is worked out when it is asked for, from the
tokens of a score and a table of prices with a version and a date, and is never saved.

    version = "2026-11-22"
    date = 2026-11-22
    currency = "USD"
    source = "https://…"

    [models."my-model"]        # per million tokens
    prompt = 0.15
    cached = 0.075             # prompt tokens that the server had seen; as `prompt`, if left out
    completion = 0.60
"""

from __future__ import annotations

import datetime
import stat
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from llm4rec_bench.errors import UsageError, nearest_hint, printable, shown
from llm4rec_bench.scoring.scorer import Score
from llm4rec_bench.statistics import rounded

LARGEST_TABLE = 1 << 20
"""Bytes of a table of prices beyond which it is not read."""

PerMillion = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a million tokens cost."""

    prompt: PerMillion
    completion: PerMillion
    cached: PerMillion | None = None

    def of(self, prompt: float, completion: float, cached: float = 0.0) -> float:
        """What so many tokens cost; `cached` ones are among those of the prompt."""
        price_cached = self.prompt if self.cached is None else self.cached
        a_million = (
            (prompt - cached) * self.prompt + cached * price_cached + completion * self.completion
        )
        return a_million / 1e6


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of prices."""

    version: Line
    date: datetime.date
    currency: Line
    source: Line
    """Where they were found."""
    models: dict[Line, Price]

    def price(self, model: str) -> Price:
        """The prices of a model; raises UsageError where the table does not hold it."""
        found = self.models.get(model)
        if found is None:
            known = ", ".join(map(shown, self.models))
            raise UsageError(
                f"{shown(model)} has no price; expected {known}{nearest_hint(model, self.models)}"
            )
        return found


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
    prices: str
    """The table's version."""
    date: datetime.date


def read_prices(path: Path) -> Prices:
    """A table of prices; raises UsageError naming the file and the field."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise UsageError(f"{path}: is not a regular file; --prices takes a TOML file")
        if state.st_size > LARGEST_TABLE:
            raise UsageError(f"{path}: larger than {LARGEST_TABLE >> 20} MiB")
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Prices)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; --prices takes a TOML file") from None
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {printable(str(error), 200)}; see --help for its form") from None


def cost(score: Score, prices: Prices, model: str) -> Cost | None:
    """The cost of a run; None where no row states its tokens.

    Raises UsageError where the table does not hold the model.
    """
    price = prices.price(model)
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
        currency=prices.currency,
        model=model,
        prices=prices.version,
        date=prices.date,
    )
