"""What a line that does not decode is said to be wrong with: a code, a message, a field."""

from __future__ import annotations

import re

import msgspec

from llm4rec_bench.errors import nearest_hint, shown
from llm4rec_bench.run.format import LONGEST_ID, MOST_ITEMS, STATUSES, Dropped

_PLACE = re.compile(r" - at `\$\.?(?P<field>.*)`$", re.DOTALL)
_NOT_A_NUMBER = re.compile(rb"[\s:,\[]-?(?:NaN|Infinity|inf|nan)\s*[,}\]]")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(?P<name>\w+)`")
_BAD_STATUS = re.compile(r"Invalid enum value '(?P<name>.*)'", re.DOTALL)
_RANGE = re.compile(r"Expected `\w+` [<>]=? .*|Number out of range|Integer value out of range")

Fault = tuple[str, str, str]
"""Code, message and field."""


def explain(line: bytes, error: msgspec.DecodeError, struct: type[msgspec.Struct]) -> Fault:
    """Why `line` is no `struct`, in the words that the format's documentation uses."""
    if not isinstance(error, msgspec.ValidationError):
        return _malformed(line, str(error))
    text = str(error)
    place = _PLACE.search(text)
    said = text[: place.start()] if place else text
    field = place["field"] if place else ""
    if match := _UNKNOWN_FIELD.fullmatch(said):
        fields = _fields(struct, field)
        expected = ", ".join(fields)
        hint = nearest_hint(match["name"], fields)
        return (
            "unknown-field",
            f"{shown(match['name'])} is not a field; expected {expected}{hint}",
            field,
        )
    if match := _MISSING_FIELD.fullmatch(said):
        return "missing-field", f"has no {match['name']}; every line needs it", field
    if match := _BAD_STATUS.fullmatch(said):
        hint = nearest_hint(match["name"], STATUSES)
        expected = ", ".join(STATUSES)
        return (
            "unknown-status",
            f"{shown(match['name'])} is not a status; expected {expected}{hint}",
            field,
        )
    if said == f"Expected `array` of length <= {MOST_ITEMS}":
        return "too-many-items", f"holds more than {MOST_ITEMS}; cut the ranking there", field
    if _RANGE.fullmatch(said):
        return "bad-number", f"{_lowered(said)}; leave the field out where it is unknown", field
    return "wrong-type", _mended(_lowered(said)), field


def _malformed(line: bytes, said: str) -> Fault:
    if _NOT_A_NUMBER.search(line):
        return "bad-number", "JSON has no NaN or Infinity; leave the field out", ""
    reason = shown(said, 120)[1:-1]
    return "bad-json", f"not a JSON object ({reason}); write one object a line", ""


def _fields(struct: type[msgspec.Struct], field: str) -> tuple[str, ...]:
    """The fields that the object at `field` may have."""
    if field == "dropped":
        return Dropped.__struct_fields__
    return struct.__struct_fields__


def _lowered(said: str) -> str:
    return (said[0].lower() + said[1:]).replace("`", "")


def _mended(said: str) -> str:
    if said == "expected str, got int":
        return f'{said}; ids are strings, write "302", not 302'
    if said.startswith("expected str of length"):
        return f"{said}; an id has 1 to {LONGEST_ID} characters"
    return said
