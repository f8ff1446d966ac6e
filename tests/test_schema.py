"""The schema by which editors help with cards: as strict as reading one, as far as schemas go."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from llm4rec_bench.cli.fields import board_reference, card_schema, described
from llm4rec_bench.cli.reference import files
from llm4rec_bench.leaderboard.data import BoardRecord, EntryRecord, TableRecord
from llm4rec_bench.submission import Card
from tests.conftest import ROOT
from tests.test_entries import SUBMISSIONS
from tests.test_readme import blocks

SCHEMA = ROOT / "submissions" / "submission.schema.json"
CHECK = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))


def as_json(card: dict[str, Any]) -> Any:
    """A card as schemas see it: days are strings."""
    return msgspec.to_builtins(card)


def test_the_schema_is_current_and_a_schema() -> None:
    assert SCHEMA.read_text("utf-8") == card_schema()
    assert files()["submissions/submission.schema.json"] == card_schema()
    schema = json.loads(card_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "Card of a submission to llm4rec-bench"
    assert schema["required"] == [
        "name", "title", "authors", "licence", "description", "hardware", "command",
    ]  # fmt: skip
    assert list(schema["properties"]) == list(Card.__struct_fields__)
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        assert all(field["description"] for field in part["properties"].values())


def test_its_patterns_mean_the_same_in_every_language() -> None:
    text = SCHEMA.read_text("utf-8")
    for pattern in re.findall(r'"pattern": (".*")', text):
        found = json.loads(pattern)
        assert found.startswith("^")
        assert found.endswith("$")
        assert not re.search(r"\\[AZz]|\(\?", found)  # what only Python, or not all, understand
    assert "null" not in text


def test_what_is_said_of_a_field_stands_beside_it() -> None:
    fields = json.loads(card_schema())["properties"]
    assert fields["title"]["description"] == "The system, as the board shows it."
    assert fields["seed"]["default"] == 0
    paid = json.loads(card_schema())["$defs"]["Paid"]["properties"]
    assert paid["prompt"]["description"] == "Of what the model reads."  # from what it derives of


@pytest.mark.parametrize("folder", SUBMISSIONS, ids=lambda folder: folder.name)
def test_every_committed_card_is_valid(folder: Path) -> None:
    text = (folder / "submission.toml").read_text("utf-8")
    CHECK.validate(as_json(tomllib.loads(text)))


def test_the_cards_of_the_documentation_are_valid() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (shown,) = blocks("toml", contributing.replace("\n   ", "\n"))
    for text in (shown, blocks("toml")[0]):
        CHECK.validate(as_json(tomllib.loads(text)))


WHOLE = """
name = "ada--my-ranker"
title = "My ranker"
authors = ["Ada"]
licence = "MIT"
description = "What it is."
hardware = "a machine"
command = "make"
link = "https://paper.example"
exposure = "no"
reads = ["title"]
tracks = ["ranking"]
runs = 3
[[models]]
name = "org/model"
revision = "1"
[prices]
prompt = 1
completion = 2.5
date = 2026-11-22
currency = "USD"
source = "there"
[tuning]
metric = "ndcg@10"
sampler = "random"
trials = 3
[tuning.space]
k = [2, 2.5, "many", true]
rate = { low = 0.1, high = 1, log = true }
[on."ml-100k-v1/ranking"]
params = { k = 3 }
[elsewhere."ml-100k-v1.ranking"]
repository = "org/runs"
commit = "0123456789012345678901234567890123456789"
file = "run.jsonl"
digest = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
"""


def both(card: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the schema lets a card pass, and whether reading does."""
    try:
        msgspec.convert(card, Card)
        read = True
    except msgspec.ValidationError:
        read = False
    return CHECK.is_valid(as_json(card)), read


def test_a_card_with_everything_is_valid() -> None:
    assert both(tomllib.loads(WHOLE)) == (True, True)


@pytest.mark.parametrize("field", Card.__struct_fields__)
def test_the_schema_requires_what_reading_does(field: str) -> None:
    card = tomllib.loads(WHOLE)
    card.pop(field, None)
    allowed, read = both(card)
    assert allowed == read
    assert read == (field not in {"name", "title", "authors", "licence", "description",
                                  "hardware", "command", "exposure"})  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("name", "Upper"), ("name", "a--b--c"), ("name", 3), ("title", ""), ("title", "a\x1bb"),
        ("title", "x" * 201), ("authors", []), ("authors", "Ada"), ("link", "http://plain"),
        ("link", "https://a b"), ("reads", ["titles"]), ("tracks", ["rank"]), ("runs", 0),
        ("runs", "1"), ("runs", 101), ("tasks", ["ml-100k"]), ("exposure", "maybe"),
        ("system", "no colon"), ("unknown", 1), ("params", []), ("concurrency", 0),
        ("models.0.revison", "1"), ("models.0.parameters", 1.5), ("prices.prompt", -1),
        ("prices.date", "yesterday"), ("tuning.sampler", "luck"), ("tuning.space.k", []),
        ("tuning.space.k", {"low": 1}), ("tuning.space.1k", [1]), ("on.ml-100k", {}),
        ("on.ml-100k-v1", {"seed": 1}), ("elsewhere.x", {}), ("tuning.trials", 0),
    ],
)  # fmt: skip
def test_what_reading_refuses_the_schema_marks(place: str, value: object) -> None:
    card: Any = tomllib.loads(WHOLE)
    *outer, field = place.split(".")
    inside = card
    for name in outer:
        inside = inside[int(name)] if name.isdigit() else inside[name]
    inside[field] = value
    allowed, read = both(card)
    assert not read
    assert not allowed or place == "prices.date"  # schemas only note what a string is meant to be


def test_the_projects_own_cards_lead_editors_to_the_schema() -> None:
    own = [folder for folder in SUBMISSIONS if "--" not in folder.name]
    assert own
    for folder in own:
        first, _, _ = (folder / "submission.toml").read_text("utf-8").partition("\n")
        assert first == "#:schema ../submission.schema.json"
        assert (folder / first.partition(" ")[2]).resolve() == SCHEMA


# The board as data


@pytest.mark.parametrize("record", [BoardRecord, TableRecord, EntryRecord])
def test_every_field_of_the_board_is_documented(record: type[msgspec.Struct]) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for name, said in described(record).items():
        assert said
        assert f"| `{name}` | {said} |" in readme
    assert board_reference() in readme
