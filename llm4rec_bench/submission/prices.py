"""Tables of prices of tokens, and the prices that a card states.

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

LARGEST_TABLE = 1 << 20
"""Bytes of a table of prices beyond which it is not read."""

PerMillion = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a million tokens cost."""

    prompt: PerMillion
    """Of what the model reads."""
    completion: PerMillion
    """Of what it writes."""
    cached: PerMillion | None = None
    """Of what it reads again; as `prompt`, where it is not told."""

    def of(self, prompt: float, completion: float, cached: float = 0.0) -> float:
        """What so many tokens cost; `cached` ones are among those of the prompt."""
        price_cached = self.prompt if self.cached is None else self.cached
        a_million = (
            (prompt - cached) * self.prompt + cached * price_cached + completion * self.completion
        )
        return a_million / 1e6


class Paid(Price, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[prices]` of a card: what a million tokens cost those who entered it, and when."""

    date: datetime.date
    """The day of the prices."""
    currency: Line
    """Such as USD."""
    source: Line
    """Where they were found."""


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
