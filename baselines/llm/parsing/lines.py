"""Lists in lines of text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from baselines.llm.parsing.answer import EMPHASIS
from baselines.llm.parsing.names import Found, Names


class Place(NamedTuple):
    """One entry of a list."""

    found: Found | None
    """None where only its mark can tell."""
    mark: int | None = None
    """The number before it: its rank, or an option's."""
    bare: bool = False
    """Whether nothing but a number follows the mark."""


class _Line(NamedTuple):
    """What a line holds of a list."""

    places: list[Place]
    look: str
    """Entries of one list look the same."""
    kind: Literal["entry", "chain", "arrows", "text"] = "entry"
    """`text` names nothing, but counts among entries that look the same."""


_BULLET = re.compile(r"([-*+•·▪◦‣●○■□➤►>]|#{1,6})\s+")
_ARROWS = re.compile(r"(?<![-=])[-=]*+>++|[→➔➜➡⇒≻›]")
_MARK = re.compile(
    r"""(?P<emphasis>[*_`]*+) \(? (?:(?:rank|place)\s)?
    (?: \#?(?P<mark>[0-9]{1,9})(?:st|nd|rd|th)?[*_`]*+ (?:\s?[.):、]{1,2}+ | \s?-(?=\s)) (?!\d)
    | \#(?P<hashed>[0-9]{1,9})[*_`]*+(?=\s) )
    (?:[*_`]++(?=\s))? \s*+""",
    re.VERBOSE | re.IGNORECASE,
)
_OPTION = re.compile(
    r"""[*_`"'(]*+ (?:(?:option|item|movie|film|book|candidate)\s?\#?\[? | \[\s? | 【)
    (?P<number>[0-9]++) \s?[\]】]? (?!\.?\w|-) [*_`"')]*+ [\s.:,-]*+""",
    re.VERBOSE | re.IGNORECASE,
)
_BESIDE = re.compile(r"(?P<mark>[0-9]{1,9})\s?\((?![0-9]{4}\))(?P<title>.+)\)\W{0,2}\Z")
_LABEL = re.compile(r":|=|\b(?:is|are)\b")
NOT_RANKED = re.compile(
    r"(?:\bnot|\bnever|n['’]t)[\s_]+(?:be[\s_]+)?recommend|\b(?:avoid|exclud|dislik)"
    r"|(?<!to[\s_])\b(?:least|worst)"
    r"|^\s*(?:watched|seen|history)\s*$",
    re.IGNORECASE,
)
"""In what a list is called that is no ranking."""
_MOST_DIVIDED = 500
_MOST_BULLETS = 8


def chosen(said: str, names: Names, cut: bool) -> list[Found]:
    """What the entries of an answer's one list name."""
    best: tuple[tuple[bool, int, bool, int], list[Found]] | None = None
    for index, (places, _, kind) in enumerate(_blocks(_lines(said, names, cut))):
        found = resolved(places, names)
        rows = len({row for row in found if isinstance(row, int)})
        rank = (kind == "arrows" and rows > 1, rows, kind != "entry", index)
        if best is None or rank > best[0] or said_again(best[1], rows, names):
            best = rank, found
    if best is None and names.by_number and not cut and "\n" not in said.strip():
        # `Answer: 3`, where nothing else is said.
        return names.chain(_LABEL.split(_digits(said))[-1]) or []
    return best[1] if best else []


def said_again(before: Sequence[Found], rows: int, names: Names) -> bool:
    """Whether a list is but the question once more, now that one of so many options follows."""
    return rows > 1 and len(before) > 2 and [*before] == [*range(names.count)]


def resolved(places: Sequence[Place], names: Names) -> list[Found]:
    """What the entries of a list name, once their marks are known to be ranks or options."""
    ranks = _are_ranks(places)
    found: list[Found] = []
    for place in places:
        if place.found is None:
            by_mark = names.by_number and not ranks
            found.append(names.number(str(place.mark)) if by_mark else "invented")
        else:
            found.append("unclear" if place.bare and not ranks else place.found)
    return found[::-1] if ranks and _falls_to_1([place.mark for place in places]) else found


def _falls_to_1(marks: Sequence[int | None]) -> bool:
    """Whether marks count down to 1 from more than 2."""
    return len(marks) > 2 and [*marks] == [*range(len(marks), 0, -1)]


def _are_ranks(places: Sequence[Place]) -> bool:
    """Whether the marks of a list are ranks: they grow from 1, or what is marked has others."""
    marks = [place.mark for place in places if place.mark is not None]
    grow = marks[:1] in ([0], [1]) and all(a < b for a, b in pairwise(marks))
    others = any(
        isinstance(place.found, int) and place.mark not in (None, place.found + 1)
        for place in places
        if not place.bare
    )
    return grow or set(marks) == {1} or others


def _lines(said: str, names: Names, cut: bool) -> Iterator[_Line | None]:
    """What each line that is not blank holds; None for running text."""
    *whole, last = said.split("\n")
    lines = [_line(line, names) for line in whole if line.strip()]
    if last.strip():
        lines.append(_end_of_whole(last, names) if cut else _line(last, names))
    looks = {line.look for line in lines if line and line.kind == "entry"} or {"-", "*", "•"}
    for line in lines:
        if line and line.kind == "text":
            yield line._replace(kind="entry") if line.look in looks else None
        else:
            yield line


def _end_of_whole(last: str, names: Names) -> _Line | None:
    """What an unfinished line holds of entries that were finished."""
    for ends in (">→]", ",;", " "):
        whole = last[: max(map(last.rfind, ends)) + 1]
        line = _line(whole, names)
        if line and line.kind in ("chain", "arrows"):
            return line
        closed = ends == ">→]" or (ends == ",;" and names.chain(_digits(whole)))
        if line and closed and isinstance(line.places[0].found, int):
            return line
    return None


def _blocks(lines: Iterable[_Line | None]) -> list[_Line]:
    """The lists of an answer, each as one line that holds all of it."""
    blocks: list[_Line] = []
    told: set[tuple[str, object]] = set()
    for run in _runs(lines):
        block = run[0]._replace(places=[place for line in run for place in line.places])
        mine = _told(block.places)
        if blocks and blocks[-1][1:] == block[1:]:
            last, mark = blocks[-1].places[-1].mark, block.places[0].mark
            if told.isdisjoint(mine) or (last is not None and mark == last + 1):
                # One list, although there is text between its parts.
                blocks[-1].places.extend(block.places)
                told |= mine
                continue
        blocks.append(block)
        told = mine
    return blocks


def _runs(lines: Iterable[_Line | None]) -> Iterator[list[_Line]]:
    """Entries that follow one another and look the same; each chain by itself."""
    run: list[_Line] = []
    for line in lines:
        if run and not (line and line.kind == "entry" and _follows(run[-1], line)):
            yield run
            run = []
        if line:
            run.append(line)
    if run:
        yield run


def _follows(before: _Line, line: _Line) -> bool:
    """Whether an entry is of one list with the one right before it."""
    last, mark = before.places[-1].mark, line.places[0].mark
    return before[1:] == line[1:] and not (mark == 1 and last is not None and last > 1)


def _told(places: Iterable[Place]) -> set[tuple[str, object]]:
    """What another part of the same list would not say again."""
    rows = {("row", place.found) for place in places if isinstance(place.found, int)}
    return rows | {("mark", place.mark) for place in places if place.mark not in (None, 1)}


def _line(raw: str, names: Names) -> _Line | None:
    text, look = _unbulleted(raw.strip(), names)
    if _whole(text, names) is None:
        if text.startswith("|") and (row := _row(text, names)):
            return _Line([row], "|")
        if len(pieces := [piece.strip() for piece in _ARROWS.split(text)]) > 1:
            pieces = [piece for piece in pieces if piece]
            if places := _arrowed(pieces, names):
                return _Line(places, "", "arrows")
            text = pieces[0] if len(pieces) == 1 else text
        if places := _numbers_in(text, names) or _divided(text, names):
            return _Line(places, "", "chain")
    if place := entry_of(text, names):
        return _Line([place], look + ("1" if place.mark is not None else ""))
    short = len(text.split()) <= 12 and any(map(str.isalnum, text)) and text[-1] not in ".:!?,;"
    return _Line([Place("invented")], look, "text") if short else None


def _unbulleted(text: str, names: Names) -> tuple[str, str]:
    """A line without the bullets before it; and those, quotation marks aside."""
    look = ""
    while (bullet := _BULLET.match(text)) and len(look) < _MOST_BULLETS:
        if names.spelled(text):
            break  # what looks like a bullet belongs to the title
        text, look = text[bullet.end() :], look + bullet[1]
    return text, look.replace(">", "")


def entry_of(text: str, names: Names) -> Place | None:
    """What one entry of a list says; None where it does not look like one."""
    if names.by_number and (found := names.chain(_digits(text))) and len(found) == 1:
        return Place(found[0])
    if (named := names.known(text)) is not None:
        return Place(named)
    if mark := _MARK.match(text):
        return _marked(text, mark, names)
    if option := _OPTION.match(text):
        return Place(_optional(text, option, names))
    if beside := _BESIDE.match(text):  # 3 (Title)
        return Place(names.known(beside["title"]), int(beside["mark"]))
    named = names.named(text)
    return None if named is None else Place(named)


def _marked(text: str, mark: re.Match[str], names: Names) -> Place:
    """What an entry says that a number opens which may be its rank."""
    rest, number = text[mark.end() :], int(mark["mark"] or mark["hashed"])
    if names.by_number and (found := names.chain(_digits(rest))) and len(found) == 1:
        return Place(found[0], number, bare="[" not in rest)
    named = names.named(rest)
    if named is None and mark["emphasis"]:
        named = names.named(mark["emphasis"] + rest)
    if named is None and (option := _OPTION.match(rest)):
        named = _optional(rest, option, names)
    if named is None and not any(map(str.isalpha, rest)):
        named = "unclear"
    return Place(named, number)


def _optional(text: str, option: re.Match[str], names: Names) -> Found:
    """What an entry names that begins with `[3]` or `option 3`."""
    named = names.named(text[option.end() :])
    if names.by_number and not isinstance(named, int):
        return names.number(option["number"])
    return "invented" if named is None else named


def _row(text: str, names: Names) -> Place | None:
    """What a row of a table says; None for its head and rule."""
    cells = [cell for cell in map(str.strip, text.split("|")) if cell]
    lead = [int(cell) for cell in map(_digits, cells[:2]) if cell.isdecimal() and len(cell) < 10]
    lead = lead if cells and _digits(cells[0]).isdecimal() else []
    for cell in cells[len(lead) :]:
        if (named := names.known(cell)) is None and (option := _OPTION.match(cell)):
            named = _optional(cell, option, names)
        if named is not None:
            return Place(named, lead[0] if lead else None)
    if len(lead) == 2 and names.by_number:
        return Place(names.number(str(lead[1])), lead[0], bare=True)
    return Place(None, lead[0]) if lead and len(cells) > 1 else None


def _arrowed(pieces: Sequence[str], names: Names) -> list[Place]:
    """The entries of a chain with `>`, best first; none where it is no such chain."""
    if len(pieces) > 1 and ":" in pieces[0] and _piece(pieces[0], names) is None:
        pieces = [pieces[0].rpartition(":")[2].strip(), *pieces[1:]]
    told = [_piece(piece, names) for piece in pieces]
    if sum(found is not None for found in told) < 2:
        return []
    return [Place(one) for found in told for one in (found or ["invented"])]


def _piece(piece: str, names: Names) -> Sequence[Found] | None:
    if names.by_number and (chain := names.chain(_digits(piece))):
        return chain
    place = entry_of(piece, names)
    if place is not None and place.found is None and names.by_number:
        return [names.number(str(place.mark))]
    return None if place is None or place.found is None else [place.found]


def _numbers_in(text: str, names: Names) -> list[Place]:
    """The numbers of a line that is a chain of them, behind a label or without."""
    if not names.by_number:
        return []
    plain = _digits(text)
    mark = _MARK.match(plain)
    if mark and len(names.chain(plain[mark.end() :]) or [0]) == 1:
        return []  # a rank, and what has it
    label, _, tail = plain.rpartition(_last_label(plain)) if not mark else ("", "", "")
    if NOT_RANKED.search(label):
        return []
    found = names.chain(plain) or (names.chain(tail) if any(map(str.isalpha, label)) else None)
    return [Place(one) for one in found] if found and len(found) > 1 else []


def _divided(text: str, names: Names) -> list[Place]:
    """The titles of a line that is a list of them, divided by commas or semicolons.

    They may stand behind a label.
    """
    label, _, rest = text.partition(": ")
    labelled = rest and not re.search(r"""[,;"'\[{]""", label)
    return _parts(text, names) or (_parts(rest, names) if labelled else [])


def _parts(text: str, names: Names) -> list[Place]:
    parts = re.split(r"[,;]", text)
    if not 1 < len(parts) <= _MOST_DIVIDED:
        return []
    places: list[Place] = []
    start = 0
    while start < len(parts):
        # A title may hold commas itself: the longest one counts.
        ends = range(min(start + names.most_parts, len(parts)), start, -1)
        told = ((end, _whole(",".join(parts[start:end]), names)) for end in ends)
        end, place = next(((end, place) for end, place in told if place), (start + 1, None))
        if place is None and start == 0:
            return []
        places.append(place or Place("invented"))
        start = end
    return places if sum(place.found != "invented" for place in places) > 1 else []


def _whole(text: str, names: Names) -> Place | None:
    """A title, that a number and the word `and` may stand before, and nothing behind."""
    text = text.strip().removeprefix("and ")
    lead = _MARK.match(text) or _OPTION.match(text)
    named = names.known(text)
    if named is None and lead:
        named = names.known(text[lead.end() :])
    return None if named is None else Place(named)


def _last_label(text: str) -> str:
    labels = _LABEL.findall(text)
    return labels[-1] if labels else "\n"


def _digits(text: str) -> str:
    """A text without emphasis and the stop at its end, to look for numbers in."""
    return EMPHASIS.sub("", text).strip().rstrip(".!").rstrip()
