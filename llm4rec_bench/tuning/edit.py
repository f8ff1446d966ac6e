"""Putting the chosen parameters into a card, and leaving the rest of it as its author wrote it."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from typing import Any

from llm4rec_bench.errors import CardRefused, UsageError
from llm4rec_bench.tuning.record import Params


def check_editable() -> None:
    """Raise UsageError where the library that edits cards is not installed."""
    try:
        import tomlkit  # noqa: F401
    except ImportError:
        raise UsageError("tomlkit is not installed; pip install 'llm4rec-bench[tune]'") from None


def with_params(text: str, place: str, params: Params, cleared: Collection[str] = ()) -> str:
    """A card's text with `params` under ``[on."place"]``, and under none of the places `cleared`.

    Other parameters stay, as do comments and order; a new table goes to the end. Raises
    CardRefused where the text cannot be changed without changing anything else.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    wanted = tomllib.loads(text)
    new = place not in wanted.get("on", {})
    _put(wanted, place, params, cleared)
    if wanted == tomllib.loads(text):
        return text
    try:
        document: Any = tomlkit.parse(_with_table(text, place, params) if new else text)
        _put(document, place, params, cleared)
        made = tomlkit.dumps(document)
        if tomllib.loads(made) == wanted:
            return made
    except (TOMLKitError, tomllib.TOMLDecodeError):
        pass
    raise CardRefused(
        f'the card cannot be edited as it is written; give [on."{place}"] a table of its own '
        "and run the same command again"
    )


def _with_table(text: str, place: str, params: Params) -> str:
    """A card's text with a table for a new place at its end."""
    import tomlkit

    newline = "\r\n" if "\r\n" in text else "\n"
    values = ", ".join(f"{name} = {tomlkit.item(by).as_string()}" for name, by in params.items())
    lines = ["", f'[on."{place}"]', f"params = {{ {values} }}", ""]
    return text.rstrip() + newline + newline.join(lines)


def _put(card: Any, place: str, params: Params, cleared: Collection[str]) -> None:  # noqa: ANN401
    """Change a card, be it of plain dictionaries or one that knows its text."""
    on = card.setdefault("on", {})
    for other in cleared:
        kept = on.get(other, {}).get("params", {})
        for name in params.keys() & kept.keys():
            del kept[name]
        if other in on and not kept:
            del on[other]
    chosen = on.setdefault(place, {"params": {}})["params"]
    for name, value in params.items():
        if name not in chosen or chosen[name] != value:
            chosen[name] = value
