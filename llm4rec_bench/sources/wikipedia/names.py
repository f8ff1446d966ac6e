"""What a film is called, by catalogues and by pages, made comparable."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

YEAR = re.compile(r"(?<![0-9A-Za-z])(?:18[89]|19[0-9]|20[0-9])[0-9](?![0-9A-Za-z])")
_LAST_BRACKET = re.compile(r"_?\(([^()]*)\)$")


_FORBIDDEN = frozenset("#<>[]|{}\N{REPLACEMENT CHARACTER}")
"""What no page may be called; "#" leads to a part of a page, whose text is not at hand."""

_LONGEST = 255
"""Bytes that Wikipedia allows a page's name."""


def is_page(name: str) -> bool:
    """Whether a page can be called so."""
    allowed = name.isprintable() and not _FORBIDDEN & set(name)
    return bool(name) and allowed and len(name.encode("utf-8", "replace")) <= _LONGEST


def stem(page: str) -> str:
    """A page's name without the bracket that tells it from others of the name."""
    return _LAST_BRACKET.sub("", page).replace("_", " ")


def year_in_name(page: str) -> int | None:
    """1995 for "Heat_(1995_film)"."""
    bracket = _LAST_BRACKET.search(page)
    year = bracket and YEAR.search(bracket[1])
    return int(year[0]) if year else None


_ARTICLES = frozenset(
    "the a an le la les l' un une des il lo gli i uno una der die das ein eine el los las "
    "o os as um uma de het een den det en et ett".split()
)
"""Of ten languages, as catalogues put them behind a title to sort it by its next word."""

_SPELT = str.maketrans(
    {"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
     "&": " and ", "'": None, "’": None}
)  # fmt: skip
"""Letters that Unicode does not take apart into a plain one and an accent, and signs."""


def normalised(title: str) -> str:
    """A title without what two spellings of it differ in: case, accents, punctuation."""
    letters = unicodedata.normalize("NFKD", title).casefold().translate(_SPELT)
    plain = "".join(c for c in letters if not unicodedata.combining(c))
    return " ".join("".join(c if c.isalnum() else " " for c in plain).split())


def unsorted(title: str) -> str:
    """ "Matrix, The" as "The Matrix"."""
    rest, _, last = title.strip().rpartition(", ")
    if not rest or last.casefold() not in _ARTICLES:
        return title.strip()
    return f"{last}{rest}" if last.endswith("'") else f"{last} {rest}"


_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen".split(),
    " i ii iii iv v vi vii viii ix x xi xii xiii".split(" "),
)
_ALIKE = {word: str(number) for words in _WORDS for number, word in enumerate(words)}
_ALIKE |= {"vol": "volume", "pt": "part", "blvd": "boulevard", "the": ""}


def similar(title: str) -> str:
    """A normalised title with numbers as figures, without "the" and spaces."""
    return "".join(_ALIKE.get(word, word) for word in title.split())


_BREAK = re.compile(r":\s+|\s[-–—]\s")
_SEQUEL = re.compile(r"\s(?:part\s)?(?:[0-9]+|[ivx]+)(?=:\s)", re.IGNORECASE)
_OWNER = re.compile(r"(?:[\w.]+ ){0,3}\w+(?:'s|s') (?=\w+ \w)")


def _after(lead: re.Pattern[str], title: str) -> str:
    """A title without what it begins with; matching only there keeps the work linear."""
    found = lead.match(title)
    return title[found.end() :] if found else title


def _parts(title: str) -> Iterator[str]:
    """What people leave of a long title: without owner, number in a series or subtitle."""
    pieces = _BREAK.split(title)
    for part in (pieces[0], pieces[-1], _SEQUEL.sub("", title), _after(_OWNER, title)):
        name = normalised(part)
        if part != title and len([word for word in name.split() if _ALIKE.get(word, word)]) > 1:
            yield similar(name)


class Names(NamedTuple):
    """What a film is called, from the surest to the vaguest."""

    own: set[str]
    other: set[str]
    similar: set[str]
    parts: set[str]


_BRACKETED = re.compile(r"\(([^()]*)\)")
_ALSO = re.compile(r"\s*(?:a\.?\s?k\.?\s?a\b\.?|also known as)[:\s]*", re.IGNORECASE)


def item_names(title: str) -> Names:
    """The names in a catalogue's title: its own, and others that it gives in brackets."""
    before, opened, _ = title.partition("(")
    if opened and not before.strip():
        return _names([title], [])
    first = unsorted(before)
    others = [unsorted(_after(_ALSO, name)) for name in _BRACKETED.findall(title)]
    return _names([first, " ".join([first, *others])], [unsorted(title), *others])


def page_names(page: str, title: str) -> Names:
    """The names of a page's film: the compilation's, and that of the page itself."""
    return _names([title, stem(page)], [])


def _names(own: Iterable[str], other: Iterable[str]) -> Names:
    owned = {normalised(name) for name in own} - {""}
    others = {normalised(name) for name in other} - owned - {""}
    parts = {part for name in own for part in _parts(name)}
    return Names(owned, others, {similar(name) for name in owned | others} - {""}, parts)
