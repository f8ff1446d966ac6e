"""Texts about items from elsewhere: where their files are, and joining them to a catalogue."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.sources.raw import RawCopy, RawData
from llm4rec_bench.sources.wikipedia import (
    Page,
    describe,
    parse_fetched,
    read_links,
    read_pages,
)
from llm4rec_bench.task import tables
from llm4rec_bench.task.source import Descriptions, Origin


class Collection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collection of texts, or of links to them, under terms of its own."""

    title: str
    url: str
    licence: str
    notice: str
    origin: list[Origin]
    """Its files, pinned."""


@cache
def text_collections() -> dict[str, Collection]:
    """The collections that recipes can name, from `texts.toml` beside this module."""
    text = Path(__file__).with_suffix(".toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Collection])


def collections_of(rule: Descriptions) -> dict[str, Collection]:
    """The collections that a recipe's descriptions are made of, by name."""
    names = (rule.texts, rule.links)
    return {name: text_collections()[name] for name in names if name is not None}


def missing_texts(rule: Descriptions, copy: RawCopy) -> list[str]:
    """Names of the files of these collections that a raw copy lacks."""
    files = [origin.file for part in collections_of(rule).values() for origin in part.origin]
    files += [rule.pages] if rule.pages else []
    return [name for name in files if copy.find(name) is None]


def with_descriptions(raw: RawData, rule: Descriptions, copy: RawCopy) -> RawData:
    """Raw data with the descriptions that its recipe asks for."""
    found = tables.SCHEMAS[tables.DESCRIPTIONS].empty_table()
    if rule.texts is not None:
        found = describe(raw.items, read_pages(copy), _links(raw, rule, copy))
    if rule.pages is not None:
        fetched = _fetched(parse_fetched(copy.read(rule.pages), rule.pages))
        lacking = pc.invert(pc.is_in(fetched["item_id"], value_set=found["item_id"]))
        found = pa.concat_tables([found, fetched.filter(lacking)])
    return replace(raw, descriptions=found)


def _links(raw: RawData, rule: Descriptions, copy: RawCopy) -> dict[str, str] | None:
    """The page of each item whose IMDb number is linked to one."""
    if rule.links is None or raw.imdb is None:
        return None
    page_of = read_links(copy)
    return {item: page_of[imdb] for item, imdb in raw.imdb.items() if imdb in page_of}


def _fetched(pages: Sequence[Page]) -> pa.Table:
    rows = [
        {
            "item_id": page.item_id,
            "text": page.text,
            "source": "Wikipedia",
            "url": page.url,
            "licence": page.licence,
            "match": f"fetched by title and year, as of {page.timestamp}",
        }
        for page in pages
    ]
    return pa.Table.from_pylist(rows, schema=tables.SCHEMAS[tables.DESCRIPTIONS])
