"""What an option is called, and what an entry of a list names."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

from baselines.llm.parsing.answer import unified

Found = int | Literal["invented", "seen", "out_of_pool", "unclear"]
"""What an entry names: the row of an option, or why it is none."""

_LONGEST_ENTRY = 1_000


def normal_form(title: str) -> str:
    """What is left of a title when spelling that means nothing is taken out of it.

    Case, accents, Unicode form, HTML entities, emphasis, quotes, brackets, dashes and other
    punctuation, and where the article stands (`Matrix, The`). `&` is `and`. A year in brackets
    at the end stays: `matrix (1999)`.
    """
    base, year = _form(title)
    return f"{base} ({year})" if year else base


def forms_of(titles: Iterable[str]) -> frozenset[str]:
    """The forms by which any of some titles is recognised: with its year, and without."""
    return frozenset(form for title in titles for form in (normal_form(title), _form(title)[0]))


_YEAR = re.compile(r"\(([0-9]{4})\)\W*\Z")
_ARTICLE = re.compile(r"(.*), (the|an?|l[aeo]s?|l'|el|il|i|gli|der|die|das|une?|eine?)", re.DOTALL)
_STOP = re.compile(r"(?<![0-9])\.|\.(?![0-9])")


def _form(title: str) -> tuple[str, str]:
    """A title's normal form without its year; and its year, or nothing."""
    text = html.unescape(title)
    year = _YEAR.search(text)
    base = _spelled(text[: year.start()] if year else text)
    if year and base:
        return base, year[1]
    return base or _spelled(text) or " ".join(text.split()), ""


def _spelled(text: str) -> str:
    text = unicodedata.normalize("NFKD", text).casefold().strip().strip("\"'*_“”‘’«»")
    if article := _ARTICLE.fullmatch(text):
        text = f"{article[2]} {article[1]}"
    text = _STOP.sub("", text)
    text = "".join(map(_letter, text))
    return " ".join(unicodedata.normalize("NFKC", text).split())


_NOTHING = "'\"‘’‚‛“”„‟«»‹›`´~*_\\!?†‡®©"


@lru_cache(4096)
def _letter(character: str) -> str:
    """What stands for one character in a normal form."""
    kind = unicodedata.category(character)
    # Marks of other scripts than these are letters of their own, vowels say.
    accent = "\u0300" <= character <= "\u036f" or "\ufe00" <= character <= "\ufe0f"
    if accent or kind == "Cf" or character in _NOTHING:
        return ""
    if character == "&":
        return " and "
    if character not in "#%@." and (kind[0] in "PZ" or kind == "Cc"):
        return " "
    return character


_CHAINED = re.compile(
    r"(?<![\d.-])(?P<first>\d++)-(?P<last>\d++)(?![-.]?\d)"
    r"|(?P<one>(?:(?<![\d\])])-)?\d++(?:\.\d++)*+)"
)
_JOINING = re.compile(
    r"\b(?:and|then|finally|lastly|(?:option|item|movie|film|book|candidate|number)s?|no\b\.?)\b",
    re.IGNORECASE,
)
_NO_DIVIDER = re.compile(r"""[^\s,;|&\[\]()#"'>、-]""")


class Names:
    """What entries of a list name; numbers name options only `by_number`."""

    def __init__(
        self,
        options: Sequence[str],
        history: Sequence[str],
        catalogue: Container[str],
        by_number: bool,
    ) -> None:
        self.by_number = by_number
        self.count = len(options)
        self._longest = max([_LONGEST_ENTRY, *(2 * len(title) for title in options)])
        self.most_parts = 1 + max([0, *(len(re.findall("[,;]", title)) for title in options)])
        """Into how many parts the commas and semicolons of an option divide it, at most."""
        self._history = forms_of(history)
        self._catalogue = catalogue
        self._known: dict[str, Found | None] = {}
        self._exact = _rows(unified(title).strip() for title in options)
        self._forms = [_form(title) for title in options]
        self._bases = _rows(base for base, _ in self._forms)

    def spelled(self, text: str) -> bool:
        """Whether a text is an option to the letter."""
        return len(text) <= self._longest and unified(text).strip() in self._exact

    def number(self, digits: str) -> Found:
        """What a number names."""
        value = int(digits) if digits.isdecimal() and len(digits) < 10 else 0
        return value - 1 if 1 <= value <= self.count else "invented"

    def known(self, title: str) -> Found | None:
        """What a title names: the whole of it is compared."""
        if title not in self._known:
            self._known[title] = None if len(title) > self._longest else self._looked_up(title)
        return self._known[title]

    def _looked_up(self, title: str) -> Found | None:
        exact = self._exact.get(unified(title).strip(), [])
        if len(exact) == 1:
            return exact[0]
        base, year = _form(title)
        rows = self._bases.get(base, [])
        same = [row for row in rows if self._forms[row][1] == year]
        if not same:
            # Without its year, or with one that the option does not show.
            same = [row for row in rows if not (year and self._forms[row][1])]
            if year and same and len(rows) > 1:
                return "unclear"
        if same:
            return same[0] if len(same) == 1 else "unclear"
        form = f"{base} ({year})" if year else base
        if form in self._history:
            return "seen"
        return "out_of_pool" if form in self._catalogue else None

    def named(self, text: str) -> Found | None:
        """What an entry names by a title, which an explanation may follow behind a clear end."""
        known = (self.known(title) for title in _whole_titles(text[: self._longest]))
        return next((found for found in known if found is not None), None)

    def chain(self, text: str) -> list[Found] | None:
        """What numbers name that stand in a text with nothing else but what divides them."""
        text = text.split("...", 1)[0]
        rest, count = _CHAINED.subn(" ", text)
        if not count or _NO_DIVIDER.search(_JOINING.sub(" ", rest)):
            return None
        found: list[Found] = []
        for number in _CHAINED.finditer(text):
            found += self._ranged(number) if number["first"] else [self.number(number["one"])]
        return found

    def _ranged(self, number: re.Match[str]) -> list[Found]:
        first, last = self.number(number["first"]), self.number(number["last"])
        if isinstance(first, int) and isinstance(last, int):
            return [*range(first, last + 1)] if first <= last else [first, last]
        return ["invented"]


def _rows(keys: Iterable[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


_MARKUP = re.compile(
    r"""\W{0,2}?(?:\*\*\*?(.{1,400}?)\*\*\*?|__(.{1,400}?)__|\*(.{1,400}?)\*|_(.{1,400}?)_
    |`(.{1,400}?)`|"(.{1,400}?)"|[“„](.{1,400}?)[”“]|«(.{1,400}?)»|「(.{1,400}?)」
    |『(.{1,400}?)』|《(.{1,400}?)》|‘(.{1,400}?)’)(?P<year>\s?\([0-9]{4}\))?""",
    re.VERBOSE,
)
_DATED = re.compile(r"\([0-9]{4}\)")
_NUMBERED_BEHIND = re.compile(r"[ \t]\[[0-9]{1,9}\]\W*\Z")


def _whole_titles(text: str) -> Iterator[str]:
    """What may be a whole title at the head of an entry."""
    yield text
    if behind := _NUMBERED_BEHIND.search(text):
        yield text[: behind.start()]
    if (marked := _MARKUP.match(text)) and _explains(text[marked.end() :]):
        inside = next(filter(None, marked.groups()[:-1]))
        yield inside + (marked["year"] or "")
    if (dated := _DATED.search(text)) and _explains(text[dated.end() :].lstrip("*_`\"'”’»")):
        yield text[: dated.end()]


def _explains(rest: str) -> bool:
    """Whether what stands behind a title is set off from it."""
    rest = rest.lstrip()
    return not rest or (not rest[0].isalnum() and rest[0] not in "'’&+*_")
