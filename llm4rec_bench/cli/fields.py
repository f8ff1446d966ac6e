"""What is said of the fields of our records where they are defined, for pages and schemas.

Python forgets the strings below attributes, so they are read from the source.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from itertools import pairwise
from typing import Any

import msgspec

from llm4rec_bench.leaderboard.data import BoardRecord, EntryRecord, TableRecord
from llm4rec_bench.submission import Card


def described(record: type[msgspec.Struct]) -> dict[str, str]:
    """What is said of each field of a record, in one line; "" where nothing is."""
    found = dict.fromkeys(record.__struct_fields__, "")
    for part in reversed(record.__mro__):
        if part is not msgspec.Struct and issubclass(part, msgspec.Struct):
            found |= _said_in(part)
    return found


def _said_in(record: type) -> dict[str, str]:
    (defined,) = (
        part
        for part in ast.parse(textwrap.dedent(inspect.getsource(record))).body
        if isinstance(part, ast.ClassDef)
    )
    return {
        field.target.id: " ".join(said.value.value.split())
        for field, said in pairwise(defined.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
        and isinstance(said.value.value, str)
    }


def board_reference() -> str:
    """The page on the board as data: a table for each record of its document."""
    records = (
        ("The document", BoardRecord),
        ("Each of its `tables`", TableRecord),
        ("Each of a table's `entries`", EntryRecord),
    )
    parts = [
        "`leaderboard --json` prints the board as one document of JSON, `--format json` writes it; "
        "`--format csv` writes a table of its most important fields, a row for each entry.\n"
    ]
    for title, record in records:
        rows = [f"| `{name}` | {said} |\n" for name, said in described(record).items()]
        parts.append(f"{title}:\n\n| field | |\n|---|---|\n{''.join(rows)}")
    return "\n".join(parts)


def card_schema() -> str:
    """The schema of cards, in JSON Schema (2020-12), by which editors help to write them.

    It is as strict as a schema can be: what it lets pass, reading a card may still refuse.
    """
    _, definitions = msgspec.json.schema_components([Card], ref_template="#/$defs/{name}")
    parts = {name: _as_toml(part) for name, part in definitions.items()}
    for record in _records(Card):
        properties = parts[record.__name__]["properties"]
        for name, said in described(record).items():
            if said:
                properties[name] = {"description": said} | properties[name]
    card = parts.pop("Card")
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **card,
        "title": "Card of a submission to llm4rec-bench",
        "description": "submission.toml: who made a submission, what it is, and how to run it "
        "again.",
        "if": {"required": ["models"], "properties": {"models": {"minItems": 1}}},
        "then": {"required": ["exposure"]},
        "$defs": dict(sorted(parts.items())),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _records(record: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """A record and all that it is made of."""
    found: list[type[msgspec.Struct]] = []
    waiting: list[Any] = [msgspec.inspect.type_info(record)]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in found:
                continue
            found.append(info.cls)
            waiting += [field.type for field in info.fields]
        elif isinstance(info, msgspec.inspect.UnionType):
            waiting += info.types
        elif isinstance(info, msgspec.inspect.DictType):
            waiting.append(info.value_type)
        elif isinstance(info, msgspec.inspect.ListType):
            waiting.append(info.item_type)
    return found


def _as_toml(part: dict[str, Any]) -> dict[str, Any]:
    """A schema without null, which TOML has not, with patterns that every language reads."""
    made: dict[str, Any] = {name: _inside(value) for name, value in part.items()}
    if made.get("default", ...) in (None, "", [], {}):
        del made["default"]
    if isinstance(made.get("pattern"), str):
        made["pattern"] = made["pattern"].replace(r"\Z", "$")
    kinds = [kind for kind in made.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return made | kinds[0]
    return made | {"anyOf": kinds} if kinds else made


def _inside(value: object) -> object:
    if isinstance(value, list):
        return [_inside(one) for one in value]
    return _as_toml(value) if isinstance(value, dict) else value
