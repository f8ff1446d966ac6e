"""Rankings in JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from baselines.llm.parsing.answer import unified
from baselines.llm.parsing.lines import NOT_RANKED, Place, chosen, entry_of
from baselines.llm.parsing.names import Found, Names

_RANKS = ("rank", "position", "place")
_ASIDE = {*_RANKS, "score", "rating", "confidence", "probability", "year", "reason", "reasoning"}
_ASIDE |= {"explanation", "comment", "why", "genre", "genres", "description"}
_NUMBERS = {"number", "id", "option", "index", "item", "candidate"}


def rankings(values: Sequence[Any], key: str) -> Iterator[tuple[bool, list[Any]]]:
    """What in JSON may be a ranking, and whether it is under the key that was asked for."""
    for value in values:
        if isinstance(value, dict):
            yield from _within(value, key.casefold())
        elif len(value) > 1 or len(values) == 1:  # [3] > [1] is no list of one
            yield False, value
    if len(objects := [value for value in values if isinstance(value, dict)]) > 1:
        yield False, objects  # one object a line


def _within(value: dict[str, Any], key: str) -> Iterator[tuple[bool, list[Any]]]:
    asked = [part for name, part in value.items() if name.strip().casefold() == key]
    for name, part in value.items():
        mine = any(part is one for one in asked)
        if NOT_RANKED.search(name):
            continue
        if isinstance(part, list):
            yield mine, part
        elif isinstance(part, dict):
            yield from ((mine or inner, found) for inner, found in _within(part, key))
        elif mine:
            yield True, [_Text(part) if isinstance(part, str) else part]
    if value and all(name.isdecimal() and len(name) < 10 for name in value):
        ranks = sorted(value, key=int)
        yield False, [value[rank] for rank in ranks]  # {"1": "Title", "2": "Title"}


class _Text(str):
    """A string that is a whole ranking."""


def elements(entries: list[Any], names: Names) -> list[Place]:
    """What the elements of a list in JSON say."""
    if len(entries) == 1 and isinstance(entries[0], _Text):
        return [Place(found) for found in chosen(unified(entries[0]), names, False)]
    ranks = [_rank(entry) for entry in entries]
    if None not in ranks and len(set(ranks)) == len(ranks):
        entries = [
            entry for _, entry in sorted(zip(ranks, entries, strict=True), key=itemgetter(0))
        ]
    all_digits = all(isinstance(entry, str) and entry.strip().isdecimal() for entry in entries)
    places = [_element(entry, names, all_digits) for entry in entries]
    return [place for place in places if place]


def _rank(entry: object) -> int | None:
    if not isinstance(entry, dict):
        return None
    given = {name.strip().casefold(): value for name, value in entry.items()}
    told = (str(given[name]).strip().removesuffix(".0") for name in _RANKS if name in given)
    return next((int(rank) for rank in told if rank.isdecimal() and len(rank) < 10), None)


def _element(entry: object, names: Names, digits: bool) -> Place | None:
    if entry is None or isinstance(entry, bool):
        return None
    if isinstance(entry, float):
        entry = int(entry) if entry.is_integer() and entry < 1e9 else 0
    if isinstance(entry, int):
        return Place(names.number(str(entry)))
    if isinstance(entry, str):
        known = None if digits else names.known(entry)
        place = Place(known) if known is not None else entry_of(unified(entry).strip(), names)
        return place or (Place("invented") if entry.strip() else None)
    if isinstance(entry, list):
        return _element(entry[0], names, digits) if len(entry) == 1 else Place("unclear")
    return Place(_field(entry, names)) if isinstance(entry, dict) else None


def _field(entry: dict[str, Any], names: Names) -> Found:
    """What an object names: by a title if it holds one, else by its one number."""
    fields = {name.strip().casefold(): value for name, value in entry.items()}
    fields = {name: value for name, value in fields.items() if name not in _ASIDE}
    told: dict[str, Found] = {}
    for name, value in fields.items():
        if isinstance(value, str) and not value.strip().isdecimal():
            place = entry_of(unified(value).strip(), names)
            told[name] = place.found if place and place.found is not None else "invented"
            if isinstance(told[name], int):
                return told[name]
    numbers = {
        name: names.number(str(value).strip())
        for name, value in fields.items()
        if isinstance(value, int | str) and str(value).strip().isdecimal()
    }
    named = [found for name, found in numbers.items() if _NUMBERS & set(re.split("[^a-z]", name))]
    found = named or list(told.values()) or list(numbers.values())
    return found[0] if len(set(found)) == 1 else "unclear"
