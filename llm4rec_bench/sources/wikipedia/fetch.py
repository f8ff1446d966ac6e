"""Fetching from Wikipedia the lead paragraphs of films that a compilation of texts lacks.

A tool for maintainers: what it writes is kept, pinned and frozen into a task, and nobody who
uses the task asks Wikipedia again. Each row names the revision that its text was taken from,
so that anybody can look it up, and carries the licence under which it may be passed on.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from llm4rec_bench.errors import TaskDataError, printable, shown
from llm4rec_bench.sources.wikipedia.lead import candidates, lead_text, tells_of_film
from llm4rec_bench.sources.wikipedia.names import is_page
from llm4rec_bench.sources.wikipedia.site import (
    ENGLISH,
    Article,
    Id,
    Move,
    Pause,
    Revision,
    Wiki,
    asking,
)

LICENCE = "CC BY-SA 4.0"

TITLES = 50
"""Titles that one request may name; MediaWiki refuses more from clients without a bot's right."""

TITLE_BYTES = 5000
"""Bytes of all titles in one request, which common servers take up to 8 KiB long."""

LARGEST_FILE = 256 << 20

_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Wanted(NamedTuple):
    """A film whose text is looked for, by the title and year that the task gives it."""

    item_id: str
    title: str
    year: int | None


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lead of one article, with all that is needed to find it again and to name its source."""

    item_id: str
    page: str
    """The article's name, with underscores."""
    page_id: Id
    revision: Id
    timestamp: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    licence: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """Of the text's UTF-8."""
    text: str


class Missing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item for which no article was found, so that it is not looked for again."""

    item_id: str


class Counts(NamedTuple):
    """What became of the items wanted."""

    fetched: int
    missing: int
    kept: int
    """Settled by an earlier call, found or not."""


def _silent(done: int, of: int) -> None:
    """Tell nobody."""


def fetch_pages(
    wanted: Sequence[Wanted],
    out: Path,
    *,
    contact: str,
    before: datetime | None = None,
    site: str = ENGLISH,
    progress: Callable[[int, int], None] = _silent,
    pause: Pause = time.sleep,
) -> Counts:
    """Add to `out` a row for each film wanted that has an article, as `read_fetched` reads them.

    Rows are written as they come, and items for which there is none go to a list beside it,
    so that a call after one that was killed asks only for the rest. Articles are taken as
    they are, or as they were at `before`. `contact` is an e-mail address or a URL that is
    told to the site; `progress` is told the items settled, and how many are wanted.

    Raises TaskDataError where the site is out of reach or answers what it should not, or
    where `out` holds something else; UsageError for arguments that cannot be used.
    """
    nowhere = out.with_name(out.name + ".missing")
    with asking(site, contact, before, pause) as wiki:
        settled = {page.item_id for page in _resumed(out, Page)}
        settled |= {film.item_id for film in _resumed(nowhere, Missing)}
        films = {film.item_id: film for film in wanted}
        rest = [film for film in films.values() if film.item_id not in settled]
        kept = len(films) - len(rest)
        fetched = 0
        for done, (film, articles) in enumerate(_looked_up(wiki, rest), 1):
            page = _first_that_fits(wiki, film, articles)
            if page is None:
                _append(nowhere, Missing(film.item_id))
            else:
                _append(out, page)
                fetched += 1
            progress(kept + done, len(films))
    return Counts(fetched, len(rest) - fetched, kept)


def _looked_up(wiki: Wiki, films: list[Wanted]) -> Iterator[tuple[Wanted, list[Article]]]:
    """Each film with the articles that may tell of it, the likeliest first."""
    for group in _groups(films):
        titles = list(dict.fromkeys(title for titles in group.values() for title in titles))
        found = _resolved(wiki, titles) if titles else {}
        for film, names in group.items():
            articles = {found[name].pageid: found[name] for name in names if name in found}
            yield film, list(articles.values())


def _groups(films: list[Wanted]) -> Iterator[dict[Wanted, list[str]]]:
    """Films with their candidates, as many together as one request can name."""
    group: dict[Wanted, list[str]] = {}
    titles = size = 0
    for film in films:
        names = candidates(film.title, film.year)
        length = sum(len(quote(name)) + len("%7C") for name in names)
        if group and (titles + len(names) > TITLES or size + length > TITLE_BYTES):
            yield group
            group, titles, size = {}, 0, 0
        group[film] = names
        titles, size = titles + len(names), size + length
    if group:
        yield group


def _resolved(wiki: Wiki, titles: list[str]) -> dict[str, Article]:
    """Those of the titles that lead to an article, and to which."""
    what = {"prop": "pageprops|revisions", "ppprop": "disambiguation", "rvprop": "ids|timestamp"}
    said = wiki.ask("query", titles="|".join(titles), redirects="1", **what).query
    pages = {page.title: page for page in said.pages if _is_article(page)}
    for name in pages:
        if not is_page(name):
            raise TaskDataError(f"{wiki.url}: names an article {shown(name)}")
    spelt = {move.source: move.to for move in said.normalized}
    moved = {move.source: move for move in said.redirects}
    ends = {title: _end(spelt.get(title, title), moved) for title in titles}
    return {title: pages[end] for title, end in ends.items() if end in pages}


def _is_article(page: Article) -> bool:
    there = not page.missing and not page.invalid and page.pageid > 0 and bool(page.revisions)
    return there and page.ns == 0 and "disambiguation" not in page.pageprops


def _end(title: str, moved: dict[str, Move]) -> str | None:
    """Where redirects lead; None if into a section, for then the article is on something wider."""
    for _ in moved:
        move = moved.get(title)
        if move is None:
            break
        if move.tofragment:
            return None
        title = move.to
    return title


def _first_that_fits(wiki: Wiki, film: Wanted, articles: list[Article]) -> Page | None:
    for article in articles:
        revision = _pinned(wiki, article)
        text = "" if revision is None else _lead(wiki, article, revision)
        if revision is not None and tells_of_film(text, film.year):
            return _page(wiki, film, article, revision, text)
    return None


def _pinned(wiki: Wiki, article: Article) -> Revision | None:
    """The article's newest revision that counts, or None where it is younger."""
    latest, before = article.revisions[0], wiki.before
    if before is None or latest.timestamp <= before:
        return latest
    start = before.astimezone(UTC).strftime(_TIME)
    newest = {"rvdir": "older", "rvstart": start, "rvlimit": "1", "rvprop": "ids|timestamp"}
    said = wiki.ask("query", pageids=str(article.pageid), prop="revisions", **newest).query
    revisions = [
        one for page in said.pages if page.pageid == article.pageid for one in page.revisions
    ]
    if revisions and revisions[0].timestamp > before:
        raise TaskDataError(f"{wiki.url}: answers with a revision that is younger than asked for")
    return revisions[0] if revisions else None


def _lead(wiki: Wiki, article: Article, revision: Revision) -> str:
    """The lead's plain text; empty where the revision is gone."""
    plain = {"disablelimitreport": "1", "disableeditsection": "1", "disabletoc": "1"}
    which = {"oldid": str(revision.revid), "section": "0"}
    said = wiki.ask("parse", prop="text", **which, **plain)
    if said.error is not None:
        return ""
    if said.parse is None or said.parse.revid != revision.revid:
        raise TaskDataError(f"{wiki.url}: answers with another revision than {revision.revid}")
    return lead_text(said.parse.text)


def _page(wiki: Wiki, film: Wanted, article: Article, revision: Revision, text: str) -> Page:
    name = article.title.replace(" ", "_")
    return Page(
        item_id=film.item_id,
        page=name,
        page_id=article.pageid,
        revision=revision.revid,
        timestamp=revision.timestamp.astimezone(UTC).strftime(_TIME),
        url=f"{wiki.url}index.php?title={quote(name)}&oldid={revision.revid}",
        licence=LICENCE,
        sha256=_digest(text),
        text=text,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# The files of rows.


def read_fetched(path: Path) -> list[Page]:
    """The rows of a file that `fetch_pages` wrote; raises TaskDataError naming a line at fault."""
    return parse_fetched(_bytes(path), str(path))


def parse_fetched(data: bytes, name: str) -> list[Page]:
    """Rows as `read_fetched` reads them, from the bytes of the file called `name`."""
    return _rows(data, name, Page)


_Row = TypeVar("_Row", Page, Missing)


def _rows(data: bytes, name: str, kind: type[_Row]) -> list[_Row]:
    decoder = msgspec.json.Decoder(kind)
    rows: dict[str, _Row] = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            row = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise TaskDataError(f"{name}:{number}: {printable(str(error), 200)}") from None
        if row.item_id in rows:
            raise TaskDataError(f"{name}:{number}: item {shown(row.item_id)} stands here again")
        if isinstance(row, Page) and (found := _digest(row.text)) != row.sha256:
            said = f"the text has SHA-256 {found}, expected {row.sha256}"
            raise TaskDataError(f"{name}:{number}: {said}")
        rows[row.item_id] = row
    return list(rows.values())


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise TaskDataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > LARGEST_FILE:
        raise TaskDataError(f"{path}: is larger than {LARGEST_FILE >> 20} MiB")
    return data


def _resumed(path: Path, kind: type[_Row]) -> list[_Row]:
    """The whole rows of an earlier call; a last one that it was killed in is cut off."""
    if not path.exists():
        return []
    data = _bytes(path)
    whole = data.rfind(b"\n") + 1
    rows = _rows(data[:whole], str(path), kind)
    if whole == len(data):
        return rows
    begin = b'{"item_id":"'
    if not data[whole:].startswith(begin[: len(data) - whole]):  # some other file of the user's
        raise TaskDataError(f"{path}: does not end with a row, whole or in part")
    try:
        os.truncate(path, whole)
    except OSError as error:
        raise TaskDataError(f"{path}: cannot be written ({error.strerror})") from None
    return rows


def _append(path: Path, row: Page | Missing) -> None:
    """Add a row and have it on disk; files are small and answers slow, so each time anew."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")
    except OSError as error:
        raise TaskDataError(f"{path}: cannot be written ({error.strerror})") from None
