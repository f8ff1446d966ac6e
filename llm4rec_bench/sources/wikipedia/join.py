"""Joining films of a catalogue to the English Wikipedia articles that describe them.

Films are joined by what they are called and when they came out, and, where the catalogue
knows IMDb numbers, by a published map from those to pages. A wrong text is worse than
none: what two films or two articles could claim alike is left out. Every join says in its
``match`` column what it rests on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple
from urllib.parse import quote

import pyarrow as pa

from llm4rec_bench.sources.wikipedia.names import (
    Names,
    item_names,
    normalised,
    page_names,
    year_in_name,
)
from llm4rec_bench.task import tables

SOURCE = "Wikipedia"
SITE = "https://en.wikipedia.org/wiki/"
LICENCE = "CC BY-SA 4.0"

_Kind = Literal["own", "other", "similar", "parts"]
_KINDS: tuple[_Kind, ...] = ("own", "similar", "parts")
"""Kinds of names that a page can have; only catalogues give others."""


class Tier(NamedTuple):
    """One kind of evidence: which names of an item must be which of a page, how near in years."""

    name: str
    alike: tuple[tuple[_Kind, _Kind], ...]
    years: int
    overruled: bool = False
    """Whether a link that leads elsewhere speaks against it."""


LINK = "IMDb link"

_OWN: tuple[tuple[_Kind, _Kind], ...] = (("own", "own"),)
_ANY: tuple[tuple[_Kind, _Kind], ...] = (*_OWN, ("other", "own"))
_SIMILAR: tuple[tuple[_Kind, _Kind], ...] = (("similar", "similar"),)
_PART: tuple[tuple[_Kind, _Kind], ...] = (("parts", "similar"), ("similar", "parts"))

TIERS = (
    Tier("title and year", _OWN, 0),
    Tier("other title and year", _ANY, 0),
    Tier("title and year ±1", _ANY, 1),
    Tier("similar title and year", _SIMILAR, 0),
    Tier("part of title and year", (*_SIMILAR, *_PART), 0, overruled=True),
    Tier("part of title and year ±1", _PART, 1, overruled=True),
)
"""In falling order of trust, after `LINK`."""


class Match(NamedTuple):
    """What an item is joined to, and on what evidence."""

    page: str
    tier: str


def describe(items: pa.Table, pages: pa.Table, links: Mapping[str, str] | None = None) -> pa.Table:
    """Descriptions of the items that a page is found for, in order of their ids.

    `items` has the columns item_id, title and year, `pages` those of `PAGES`; `links` maps
    an item's id to the name of its page, where that is known.
    """
    texts = dict(zip(pages["page"].to_pylist(), pages["text"].to_pylist(), strict=True))
    rows = [
        {
            "item_id": item,
            "text": texts[match.page],
            "source": SOURCE,
            "url": page_url(match.page),
            "licence": LICENCE,
            "match": match.tier,
        }
        for item, match in sorted(join(items, pages, links or {}).items())
    ]
    return pa.Table.from_pylist(rows, schema=tables.SCHEMAS[tables.DESCRIPTIONS])


def page_url(page: str) -> str:
    """Where a page is read; what Wikipedia itself leaves unescaped is left so."""
    return SITE + quote(page, safe=";@$!*(),/:~")


def join(items: pa.Table, pages: pa.Table, links: Mapping[str, str]) -> dict[str, Match]:
    """A page for each item that has one beyond doubt; no page is given twice.

    First by links, then tier by tier, an item and a page are joined if neither could be
    joined to another that is still free. What a tier leaves open is open to the next.
    """
    known = set(pages["page"].to_pylist())
    given = [(i, links[i]) for i in items["item_id"].to_pylist() if links.get(i) in known]
    joined = _unrivalled(given, LINK, {})
    films = _films_of(items)
    index = _index(pages)
    for tier in TIERS:
        pairs = [
            (item, page)
            for item, film in films.items()
            if item not in joined and not (tier.overruled and item in links)
            for page in _candidates(film, tier, index)
        ]
        joined |= _unrivalled(pairs, tier.name, joined)
    return joined


def _unrivalled(
    pairs: Iterable[tuple[str, str]], tier: str, joined: Mapping[str, Match]
) -> dict[str, Match]:
    """Those pairs of an item and a page of which both are free and in no other pair."""
    taken = {match.page for match in joined.values()}
    free = {(item, page) for item, page in pairs if item not in joined and page not in taken}
    of_item = Counter(item for item, _ in free)
    of_page = Counter(page for _, page in free)
    return {item: Match(page, tier) for item, page in free if of_item[item] == of_page[page] == 1}


class _Film(NamedTuple):
    """An item, as far as its title and year tell what film it is."""

    names: Names
    year: int


def _films_of(items: pa.Table) -> dict[str, _Film]:
    """The films of a catalogue that have a year; of one listed twice, the first by its id.

    Shorter ids come first, so that numbers stand in their order. Catalogues number films as
    they take them in, and what comes later under a title and year of before is a double, or
    a film so obscure that the page is rather of the first.
    """
    columns = (items[name].to_pylist() for name in ("item_id", "title", "year"))
    rows = [(item, title, year) for item, title, year in zip(*columns, strict=True) if year]
    first: dict[tuple[str, int], str] = {}
    names = {item: item_names(title) for item, title, _ in rows}
    for item, title, year in sorted(rows, key=lambda row: (len(row[0]), row[0])):
        first.setdefault((normalised(title), year), item)
    listed = set(first.values())
    return {item: _Film(names[item], year) for item, _, year in rows if item in listed}


_Index = dict[tuple[_Kind, str, int], set[str]]
"""Pages by kind of name, name and year."""


def _index(pages: pa.Table) -> _Index:
    index: _Index = defaultdict(set)
    columns = (pages[name].to_pylist() for name in ("page", "title", "year"))
    for page, title, stated in zip(*columns, strict=True):
        names = page_names(page, title)
        for year in {stated, year_in_name(page) or stated}:
            for kind in _KINDS:
                for name in getattr(names, kind):
                    index[kind, name, year].add(page)
    return index


def _candidates(film: _Film, tier: Tier, index: _Index) -> Iterator[str]:
    for ours, theirs in tier.alike:
        for name in getattr(film.names, ours):
            for year in range(film.year - tier.years, film.year + tier.years + 1):
                yield from index.get((theirs, name, year), ())
