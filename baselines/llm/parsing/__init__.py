"""Reading a ranking out of what a language model answered.

A reader sees the text, the options as they were shown (option i of the prompt is number i, from
1) and nothing else: no label, no id. What it cannot tell for sure it leaves out and counts.

Rules, wherever an answer could be read in two ways:

* A title names an option only where it is the option's title, whole, after `normal_form`; never
  where it is a part of one or one is a part of it. It may go without the year that the option
  shows, or show one where the option does not, if just one option is meant. A title that two
  options share after normalisation names the one that it spells exactly, or none.
* Something may follow a title only behind its year in brackets or the markup around it.
* Where a title and a number stand together, the title decides: a number may be a rank.
* Numbers before the entries of a list are ranks if they grow from 1, or if the titles beside
  them say so, and options otherwise. `[3]` and `option 3` are options anywhere.
* A number in running text is nothing: it stands at the head of its entry, or in a chain of
  numbers that is a line of its own, be it behind a label (`Ranking: 3, 1, 2`).
* Of several lists a chain with `>` counts; else the one that names most options, on one line
  rather than on many, the last rather than the first. All options in the order given are the
  question said again where another list follows. Lists are one where they look the same and
  share no option. Only what the chosen list holds is counted.
* What stands behind or under a label, or in JSON under a key, such as `not recommended` is no
  ranking; `from best to worst` is one.
* Titles numbered from some number down to 1 are ranked from 1 up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Literal, NamedTuple

from baselines.llm.parsing.answer import LONGEST_ANSWER, refuses, said_in, unified
from baselines.llm.parsing.asides import without_asides
from baselines.llm.parsing.elements import elements, rankings
from baselines.llm.parsing.lines import chosen, resolved, said_again
from baselines.llm.parsing.loose_json import json_values
from baselines.llm.parsing.names import Found, Names, forms_of, normal_form
from baselines.llm.parsing.single import letter, rating, yes_no
from llm4rec_bench import Dropped

__all__ = [
    "LONGEST_ANSWER", "Form", "Parsed", "completed", "forms_of", "json_list", "letter",
    "normal_form", "numbers", "parsed", "rating", "titles", "yes_no",
]  # fmt: skip

Form = Literal["numbers", "json", "titles"]
_THEN: dict[Form, tuple[Form, Form]] = {
    "numbers": ("json", "titles"),
    "json": ("numbers", "titles"),
    "titles": ("json", "numbers"),
}
"""What is tried where the form that was asked for names no option."""


class Parsed(NamedTuple):
    """What an answer says."""

    order: list[int]
    """Rows of the options, best first, each at most once."""
    status: Literal["ok", "parse_error", "refusal", "truncated"]
    """`truncated` may have an order, of what was whole; `parse_error` and `refusal` have none."""
    dropped: Dropped
    unclear: int
    """Entries that may mean one option or another, and so mean none."""


def parsed(
    text: str,
    options: Sequence[str],
    form: Form,
    *,
    key: str = "ranking",
    cut: bool = False,
    history: Sequence[str] = (),
    catalogue: Container[str] = (),
) -> Parsed:
    """The ranking in an answer that was asked for in a form.

    The first form that names an option is taken: the one asked for, then `json` and `titles`
    after `numbers`, `numbers` and `titles` after `json`, `json` and `numbers` after `titles`.
    JSON that names but one or two of many options, as the example in a prompt does, gives way to
    a form that names more. `cut` says that the model did not come to its end: what it was about
    to write does not count. A title that is no option counts as seen where it is one of
    `history`, as out of the pool where `catalogue`, the `forms_of` all items' titles, holds it,
    else as invented.
    """

    def read(tried: Form) -> Parsed:
        if tried == "json":
            return json_list(text, options, key, cut=cut, history=history, catalogue=catalogue)
        reader = numbers if tried == "numbers" else titles
        return reader(text, options, cut=cut, history=history, catalogue=catalogue)

    asked = read(form)
    whole = asked.status == "ok"
    example = form == "json" and whole and len(asked.order) <= 2 < len(options) / 2
    if asked.order and not example:
        return asked
    others = (found for found in map(read, _THEN[form]) if len(found.order) > len(asked.order))
    return next(others, asked)


def numbers(
    text: str,
    options: Sequence[str],
    *,
    cut: bool = False,
    history: Sequence[str] = (),
    catalogue: Container[str] = (),
) -> Parsed:
    """A ranking of option numbers: `[3] > [1]`, `3, 1`, `1. [3]`, `3. Title`, a table, a list.

    `1-5` stands for all from 1 to 5. Numbers without an option are invented. Entries that name
    options by their titles count too.
    """
    return _listed(text, Names(options, history, catalogue, by_number=True), cut)


def titles(
    text: str,
    options: Sequence[str],
    *,
    cut: bool = False,
    history: Sequence[str] = (),
    catalogue: Container[str] = (),
) -> Parsed:
    """A ranking of titles, in lines, a list, a table, or divided by `>`, `;` or `,`.

    Numbers before them say nothing.
    """
    return _listed(text, Names(options, history, catalogue, by_number=False), cut)


def json_list(
    text: str,
    options: Sequence[str],
    key: str = "ranking",
    *,
    cut: bool = False,
    history: Sequence[str] = (),
    catalogue: Container[str] = (),
) -> Parsed:
    """A ranking in JSON, wherever in the text: a list under `key`, another list, or objects.

    An element is a number, a title, or an object with either; objects with a `rank` are sorted
    by it. Strings that are all digits are numbers where all strings of the list are. Commas too
    many or too few, single quotes and comments are let be; what is not closed is truncated, and
    its whole elements count.
    """
    said, cut = said_in(text, cut)
    names = Names(options, history, catalogue, by_number=True)
    values, left_open = json_values(without_asides(said, names))
    best: tuple[tuple[bool, bool, int, int], list[Found]] | None = None
    for index, (asked, entries) in enumerate(rankings(values, key)):
        found = resolved(elements(entries, names), names)
        rows = len({row for row in found if isinstance(row, int)})
        rank = (rows > 0, asked, rows, index)
        if best is None or rank > best[0] or (not best[0][1] and said_again(best[1], rows, names)):
            best = rank, found
    return _tallied(best[1] if best else [], said, cut or left_open)


def completed(
    order: Sequence[int], options: Sequence[str], how: Literal["leave", "given"]
) -> tuple[list[int], int]:
    """A ranking with the options it lacks appended in the order given, and how many were.

    `leave` appends none.
    """
    ranked = set(order)
    rest = [] if how == "leave" else [row for row in range(len(options)) if row not in ranked]
    return [*order, *rest], len(rest)


def _listed(text: str, names: Names, cut: bool) -> Parsed:
    said, cut = said_in(text, cut)
    return _tallied(chosen(unified(without_asides(said, names)), names, cut), said, cut)


def _tallied(found: Iterable[Found], said: str, cut: bool) -> Parsed:
    order: dict[int, None] = {}
    counts: Counter[str] = Counter()
    for one in found:
        if isinstance(one, str):
            counts[one] += 1
        elif one in order:
            counts["duplicate"] += 1
        else:
            order[one] = None
    unclear = counts.pop("unclear", 0)
    status: Literal["ok", "parse_error", "refusal", "truncated"] = "truncated" if cut else "ok"
    if not order:
        status = "refusal" if refuses(said) else "truncated" if cut else "parse_error"
    return Parsed([*order], status, Dropped(**counts), unclear)
