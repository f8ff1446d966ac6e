"""What a line that does not decode is said to be wrong with: a code, a message, a field.

The decoder's own messages repeat what the line holds, so nothing of theirs that a
stranger could have written is taken for a place or passed on: keys and values are read
from the line itself.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from llm4rec_bench.errors import nearest_hint, shown
from llm4rec_bench.ids import LONGEST_ID
from llm4rec_bench.run.format import MOST_ITEMS, STATUSES, Dropped, Fault, Row

_PLACE = re.compile(r" - at `\$\.?(?P<field>[a-z_0-9.\[\]]*)`\Z")
_MISSING_FIELD = re.compile(r"Object missing required field `(?P<name>\w+)`\Z")
_RANGE = re.compile(r"Expected `\w+` [<>]=? .*|Number out of range|Integer value out of range")


def explain(line: bytes, error: msgspec.DecodeError, struct: type[msgspec.Struct]) -> Fault:
    """Why `line` is no `struct`, in the words that the format's documentation uses."""
    whole, not_a_number = _loosely_read(line)
    if not isinstance(error, msgspec.ValidationError):
        if not_a_number:
            return Fault("bad-number", "JSON has no NaN or Infinity; leave the field out", "")
        reason = shown(str(error), 120)[1:-1]
        return Fault("bad-json", f"not a JSON object ({reason}); {_json_mend(line)}", "")
    said = str(error)
    if said.startswith("Object contains unknown field"):
        return _unknown_field(whole, struct)
    if said.startswith("Invalid enum value"):
        return _unknown_status(whole)
    place = _PLACE.search(said)
    field = place["field"] if place else ""
    said = said[: place.start()] if place else said
    if match := _MISSING_FIELD.match(said):
        what = "every line needs it" if struct is Row else "the header needs it"
        return Fault("missing-field", f"has no {match['name']}; {what}", field)
    if said == f"Expected `array` of length <= {MOST_ITEMS}":
        return Fault(
            "too-many-items", f"holds more than {MOST_ITEMS}; cut the ranking there", field
        )
    if _RANGE.fullmatch(said):
        return Fault(
            "bad-number", f"{_lowered(said)}; leave the field out where it is unknown", field
        )
    mend = _mend(said, field) if field else "; each line is one JSON object"
    return Fault("wrong-type", _lowered(said) + mend, field)


def _json_mend(line: bytes) -> str:
    text = line.strip()
    if b"\0" in text:
        return "write the file as UTF-8, where no text holds a NUL byte"
    if text.endswith(b","):
        return "a line ends after the object, without a comma"
    if text.startswith((b"{", b"[")) and len(text) < 3:
        return "write each object on a line of its own, without indentation"
    return "write one object a line"


def _loosely_read(line: bytes) -> tuple[Any, bool]:
    """The line's object, if it is one, and whether it holds a NaN or an infinity."""
    constants: list[str] = []
    try:
        whole = json.loads(line, parse_constant=constants.append)
    except (ValueError, RecursionError):
        return None, False
    return whole, bool(constants)


def _unknown_field(whole: Any, struct: type[msgspec.Struct]) -> Fault:  # noqa: ANN401
    fields, place = struct.__struct_fields__, ""
    unknown = _foreign(whole, fields)
    if unknown is None and isinstance(whole, dict):
        place, fields = "dropped", Dropped.__struct_fields__
        unknown = _foreign(whole.get("dropped"), fields)
    if unknown is None:  # the line breaks off after the field, so it cannot be read loosely
        return Fault("bad-json", "not a JSON object; write one object a line", "")
    expected = ", ".join(fields)
    hint = nearest_hint(unknown, fields)
    return Fault(
        "unknown-field", f"{shown(unknown)} is not a field; expected {expected}{hint}", place
    )


def _foreign(found: Any, fields: tuple[str, ...]) -> str | None:  # noqa: ANN401
    """The first key of an object that is none of `fields`."""
    keys = found if isinstance(found, dict) else {}
    return next((key for key in keys if key not in fields), None)


def _unknown_status(whole: Any) -> Fault:  # noqa: ANN401
    found = str(whole.get("status", "")) if isinstance(whole, dict) else ""
    expected = ", ".join(STATUSES)
    hint = nearest_hint(found, STATUSES)
    return Fault(
        "unknown-status", f"{shown(found)} is not a status; expected {expected}{hint}", "status"
    )


def _lowered(said: str) -> str:
    return (said[0].lower() + said[1:]).replace("`", "")


def _mend(said: str, field: str) -> str:
    if not field.startswith(("request_id", "items")):
        return ""
    if said == "Expected `str`, got `int`":
        return "; ids are strings, put them in quotes"
    return f"; an id has 1 to {LONGEST_ID} characters" if "of length" in said else ""
