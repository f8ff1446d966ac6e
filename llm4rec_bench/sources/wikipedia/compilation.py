"""Reading the compilation of lead paragraphs, and the map from IMDb numbers to pages.

The paragraphs are those of ``prust/wikipedia-movie-data``; the map leads to DBpedia's pages,
which bear the names of Wikipedia's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated
from urllib.parse import unquote

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import TaskDataError, printable
from llm4rec_bench.sources.raw import RawCopy, delimited
from llm4rec_bench.sources.wikipedia.names import YEAR, is_page, normalised, stem, year_in_name

PAGES_FILES = tuple(f"movies-{decade}s.json" for decade in range(1900, 2030, 10))
LINKS_FILE = "mappings.csv"

PAGES = pa.schema(
    [("page", pa.string()), ("title", pa.string()), ("year", pa.int32()), ("text", pa.string())]
)
"""One row a page: its name with underscores, the film's title and year, the lead paragraph."""


class _Row(msgspec.Struct):
    """A row of the compilation; its publisher may add fields."""

    title: str
    year: Annotated[int, msgspec.Meta(ge=1, le=9999)]
    href: str | None = None
    extract: str | None = None

    @property
    def text(self) -> str:
        return _one_line(self.extract or "")


def read_pages(copy: RawCopy) -> pa.Table:
    """The compilation's pages that have a text of their own, as `PAGES`, ordered by name.

    Raises TaskDataError where one of `PAGES_FILES` is missing or does not hold what it should.
    """
    linked: dict[str, list[_Row]] = defaultdict(list)
    for name in PAGES_FILES:
        for film in _films(copy, name):
            page = page_name(film.href or "")
            if page and film.text:
                linked[page].append(film)
    subjects = {page: _subject(page, linked[page]) for page in sorted(linked)}
    described = {page: film for page, film in subjects.items() if film}
    bearers = _bearers(described)
    rows = [
        {"page": page, "title": _one_line(film.title), "year": film.year, "text": film.text}
        for page, film in described.items()
        if page in bearers
    ]
    return pa.Table.from_pylist(rows, schema=PAGES)


def _films(copy: RawCopy, name: str) -> list[_Row]:
    try:
        return msgspec.json.decode(copy.read(name), type=list[_Row])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TaskDataError(f"{copy.path}: {name}: {printable(str(error), 200)}") from None


def page_name(href: str) -> str | None:
    """The one spelling of a page's name, or None for what cannot be one."""
    name = unquote(href).replace(" ", "_").strip("_")
    return name if is_page(name) else None


def _one_line(text: str) -> str:
    """A text with white space and control characters made single spaces."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


_YEARS_APART = 2
"""A festival, a cinema and a video shop can see a film in three years; a remake comes later."""


def _subject(page: str, films: Collection[_Row]) -> _Row | None:
    """The film that a page is about, of those that the compilation links to it.

    New prints and sequels are linked to the page of the first film; the page's own year
    tells which that is. None where the text names years and none near the film's: it is of
    the book then, or of another film of the name.
    """

    def unlikeness(film: _Row) -> tuple[int, bool, int, str, str]:
        told = year_in_name(page) or next(_years(film.text), film.year)
        other = normalised(film.title) != normalised(stem(page))
        return abs(told - film.year), other, film.year, film.title, film.text

    film = min(films, key=unlikeness)
    apart = min((abs(year - film.year) for year in _years(film.text)), default=0)
    return film if apart <= _YEARS_APART else None


def _years(text: str) -> Iterator[int]:
    return (int(year[0]) for year in YEAR.finditer(text))


def _bearers(described: Mapping[str, _Row]) -> set[str]:
    """One page for each text, so that none stands for a film it is not about.

    Names that lead to another page, as an episode's to its series, bring that one's text.
    Of pages with one text, the one is kept that the text begins with the name of.
    """
    sharing: dict[str, list[str]] = defaultdict(list)
    for page, film in described.items():
        sharing[film.text].append(page)
    bearers = (_bearer(text, pages, described) for text, pages in sharing.items())
    return {page for page in bearers if page}


def _bearer(text: str, pages: list[str], described: Mapping[str, _Row]) -> str | None:
    if len(pages) == 1:
        return pages[0]
    begins = normalised(text) + " "
    named = [page for page in pages if begins.startswith(normalised(stem(page)) + " ")]
    told = next(_years(text), 0)
    return min(named, key=lambda page: (abs(told - described[page].year), page), default=None)


_DBPEDIA = "http://dbpedia.org/resource/"

_TRUSTED = "perfect"
"""The method of matching whose links are taken: title and year are those of DBpedia's film.

Where a join by title could be compared, the page was another film's in none of its 9,855
links, but in links by "pattern", "partial" and "any" it was: a sequel, a remake, a namesake.
"""


def read_links(copy: RawCopy) -> dict[str, str]:
    """Names of Wikipedia pages by IMDb number, which is text without leading zeros.

    Raises TaskDataError where the file is missing or does not have the columns it should.
    """
    columns = dict.fromkeys(["id", "uri", "method"], pa.string())
    rows = delimited(copy, LINKS_FILE, ";", columns, quoted=True, header=True)
    rows = rows.filter(pc.equal(rows["method"], _TRUSTED))
    numbers = pc.utf8_ltrim(rows["id"], "0").to_pylist()
    pages = [page_name(uri.removeprefix(_DBPEDIA)) for uri in rows["uri"].to_pylist()]
    return {number: page for number, page in zip(numbers, pages, strict=True) if page}
