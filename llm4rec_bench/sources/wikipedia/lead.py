"""What a film's article may be called, and the plain text of an article's lead paragraphs."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser

from llm4rec_bench.sources.wikipedia.names import is_page, unsorted

LARGEST_TEXT = 20_000
"""Characters of a lead beyond which further paragraphs are left out."""

_AKA = re.compile(r"(?<=\S)\s*\([^()]*\)$")

_FILM = re.compile(
    r"\b(?:tele)?(?:film|movie|documentary|mockumentary|mini-?series)\b"
    r"(?!-| (?:film ?)?(?:actor|actress|company|composer|critic|director|editor|festival|maker|"
    r"producer|score|series|star|studio)s?\b)",
    re.IGNORECASE,
)
"""A word for a film; not one for a person, a firm or a series of them that films made known."""

_NAMED_EARLY = 300
"""Characters in which an article on a film says that it is on one."""

_YEAR = re.compile(r"\b(?:18|19|20)[0-9]{2}\b")


def candidates(title: str, year: int | None) -> list[str]:
    """Names that Wikipedia may give to the article on a film, the surest first.

    A film often came out in one year at a festival and in the next elsewhere, so the years
    beside its own come last. Empty where no article can be called as the film is.
    """
    name = " ".join(unicodedata.normalize("NFC", title).replace("_", " ").split())
    while (shorter := _AKA.sub("", name)) != name:
        name = shorter
    name = unsorted(name)
    years = [] if year is None else [year, year - 1, year + 1]
    dated = [f"{name} ({year} film)" for year in years]
    names = [*dated[:1], f"{name} (film)", name, *dated[1:]]
    return [name for name in names if is_page(name)] if is_page(name) else []


def tells_of_film(text: str, year: int | None) -> bool:
    """Whether a lead is of a film that came out in `year` or beside it."""
    if not _FILM.search(text[:_NAMED_EARLY]):
        return False
    named = [int(found) for found in _YEAR.findall(text)]
    return year is None or any(abs(found - year) <= 1 for found in named)


def lead_text(html: str) -> str:
    """The paragraphs of rendered wikitext, each on a line, without notes, tables and controls."""
    parser = _Paragraphs()
    parser.feed(html)
    parser.end_paragraph()  # not close(), which looks for the end of each broken tag anew
    kept: list[str] = []
    room = LARGEST_TEXT
    for paragraph in map(_tidied, parser.paragraphs):
        room -= len(paragraph) + 1
        if room < 0:
            break
        if paragraph:
            kept.append(paragraph)
    return "\n".join(kept)


def _tidied(text: str) -> str:
    """One line of text that prints, without what a dropped note or sound leaves in brackets."""
    spaced = " ".join(text.split())
    printing = "".join(c for c in spaced if unicodedata.category(c)[0] != "C")
    emptied = re.sub(r" ?\([\s,;]*\)", "", printing)
    opened = re.sub(r"\([\s,;]+", "(", emptied)
    return " ".join(re.sub(r"(?<![\s,;])[\s,;]+\)", ")", opened).split())


_DROPPED_TAGS = frozenset("table style script math figure audio video".split())
_DROPPED_CLASSES = frozenset(
    "reference noprint metadata noexcerpt ext-phonos mw-editsection".split()
)
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())


class _Paragraphs(HTMLParser):
    """Collects the text of `p` elements, but for the elements in it that are dropped."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self._parts: list[str] | None = None
        self._dropping = ""
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a paragraph, or something dropped."""
        if self._dropping:
            self._depth += tag == self._dropping
        elif tag in _VOID:
            self.handle_data(" " if tag == "br" else "")
        elif _is_dropped(tag, dict(attrs)):
            self._dropping, self._depth = tag, 1
        elif tag == "p":
            self.end_paragraph()
            self._parts = []

    def handle_endtag(self, tag: str) -> None:
        """Close what is open; within something dropped only that, however badly it is nested."""
        if self._dropping:
            self._depth -= tag == self._dropping
            if not self._depth:
                self._dropping = ""
        elif tag in ("p", "div", "section"):
            self.end_paragraph()

    def handle_data(self, data: str) -> None:
        """Take text that stands in a paragraph."""
        if self._parts is not None and not self._dropping:
            self._parts.append(data)

    def end_paragraph(self) -> None:
        """Keep the paragraph that is open, if one is."""
        if self._parts is not None:
            self.paragraphs.append("".join(self._parts))
        self._parts = None


def _is_dropped(tag: str, attributes: dict[str, str | None]) -> bool:
    classes = (attributes.get("class") or "").split()
    hidden = _HIDDEN.search(attributes.get("style") or "")
    coordinates = attributes.get("id") == "coordinates"
    return (
        tag in _DROPPED_TAGS
        or bool(hidden)
        or coordinates
        or not _DROPPED_CLASSES.isdisjoint(classes)
    )
