"""Answers as models give them, and what is read out of them."""

from __future__ import annotations

import json
import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from baselines.llm.parsing import (
    LONGEST_ANSWER,
    completed,
    forms_of,
    json_list,
    letter,
    normal_form,
    numbers,
    parsed,
    rating,
    titles,
    yes_no,
)
from llm4rec_bench import Dropped

_LINES = [
    json.loads(line)
    for line in Path(__file__).with_name("answers.jsonl").read_text("utf-8").splitlines()
]
LISTS = {line["list"]: line["titles"] for line in _LINES if "list" in line}
ANSWERS = [line for line in _LINES if "list" not in line]
FILMS = LISTS["films"]
FORMS = ("numbers", "json", "titles")


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer["name"])
def test_answers_are_read_as_a_person_reads_them(answer: dict) -> None:
    found = parsed(
        answer["text"],
        LISTS[answer["options"]],
        answer["form"],
        cut=answer.get("cut", False),
        history=answer.get("history", ()),
        catalogue=forms_of(answer.get("catalogue", ())),
    )
    expected = answer["expected"]
    assert found.order == expected["order"]
    assert found.status == expected["status"]
    assert {why: count for why, count in asdict(found.dropped).items() if count} == expected.get(
        "dropped", {}
    )
    assert found.unclear == expected.get("unclear", 0)


def test_the_corpus_is_large_and_names_each_answer_once() -> None:
    assert len({answer["name"] for answer in ANSWERS}) == len(ANSWERS) > 150
    assert {answer["form"] for answer in ANSWERS} == set(FORMS)


# What holds for every answer.

_TITLE = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Co", "Cn", "Zl", "Zp")), min_size=1, max_size=12
).filter(lambda title: any(map(str.isalpha, normal_form(title))))

_PIECES = st.sampled_from(
    [
        *FILMS, "Alien", "Heat", "Gravity (2013)", "3", "1", "2", "[3]", "[1]", "99", "-1", "1-3",
        ">", ", ", "\n", "\n\n", ". ", ") ", ": ", " - ", "- ", "* ", "**", "_", '"', "'", "`", "{",
        "```json", "}", "[", "]", "|", '"ranking": ', '"id": ', "null", "//", "...", "<think>", "③",
        "</think>", "Option ", "Ranking: ", "and ", "I'm sorry", "because", "&gt;", "\\", "\u0301",
    ]
)  # fmt: skip
_ANSWER = st.one_of(
    st.text(),
    st.lists(_PIECES, max_size=40).map("".join),
    st.lists(st.one_of(_PIECES, st.text(max_size=3)), max_size=30).map("".join),
)


@given(_ANSWER, st.sampled_from(FORMS), st.booleans(), st.lists(st.text(), max_size=5))
def test_any_text_is_read_and_every_entry_is_an_option_once(
    text: str, form: str, cut: bool, options: list[str]
) -> None:
    for shown in (FILMS, options):
        found = parsed(text, shown, form, cut=cut, history=["Gravity (2013)"])
        assert len(set(found.order)) == len(found.order)
        assert set(found.order) <= set(range(len(shown)))
        assert isinstance(found.dropped, Dropped)
        assert found.unclear >= 0
        if found.order:
            assert found.status in ("ok", "truncated")
        else:
            assert found.status in ("parse_error", "refusal", "truncated")
        if cut:
            assert found.status in ("truncated", "refusal")
        assert parsed(text, shown, form, cut=cut, history=["Gravity (2013)"]) == found


@given(_ANSWER)
def test_single_answers_are_read_from_any_text(text: str) -> None:
    assert letter(text, FILMS) in {None, *range(len(FILMS))}
    assert yes_no(text) in {None, True, False}
    given = rating(text, 1, 5)
    assert given is None or 1 <= given <= 5


# An answer says what it was made to say.


def _chain(rows: list[int], options: list[str]) -> str:
    return " > ".join(f"[{row + 1}]" for row in rows)


NUMBERED = {
    "brackets and >": _chain,
    "commas": lambda rows, _: ", ".join(str(row + 1) for row in rows),
    "lines": lambda rows, _: "\n".join(str(row + 1) for row in rows),
    "ranks": lambda rows, _: "\n".join(f"{k}. [{row + 1}]" for k, row in enumerate(rows, 1)),
    "bare ranks": lambda rows, _: "\n".join(f"{k}. {row + 1}" for k, row in enumerate(rows, 1)),
    "with titles": lambda rows, shown: "\n".join(f"[{row + 1}] {shown[row]}" for row in rows),
    "reasons": lambda rows, _: "\n".join(f"- [{row + 1}]: as you liked 2" for row in rows),
    "in a text": lambda rows, shown: f"Of these 20 I choose:\n\n{_chain(rows, shown)}\n\nEnjoy!",
}
TITLED = {
    "lines": lambda rows, shown: "\n".join(shown[row] for row in rows),
    "ranks": lambda rows, shown: "\n".join(f"{k}. {shown[row]}" for k, row in enumerate(rows, 1)),
    "bullets": lambda rows, shown: "\n".join(f"- {shown[row]}" for row in rows),
    "bold": lambda rows, shown: "\n".join(f"{k}. **{shown[r]}**" for k, r in enumerate(rows, 1)),
}
JSON = {
    "numbers": lambda rows, _: json.dumps({"ranking": [row + 1 for row in rows]}),
    "titles": lambda rows, shown: json.dumps({"ranking": [shown[row] for row in rows]}),
    "fenced": lambda rows, shown: (
        "Here:\n```json\n"
        + json.dumps([shown[row] for row in rows], indent=2, ensure_ascii=False)
        + "\n```"
    ),
    "objects": lambda rows, shown: json.dumps(
        [{"rank": k, "id": row + 1, "title": shown[row]} for k, row in enumerate(rows, 1)]
    ),
}
_DISTINCT = st.lists(_TITLE, min_size=1, max_size=8, unique_by=lambda title: _plainest(title))


def _plainest(title: str) -> str:
    """A normal form without its year, so that no two titles are one for want of it."""
    return min(forms_of([title]), key=len)


@pytest.mark.parametrize("render", NUMBERED.values(), ids=NUMBERED)
@given(data=st.data())
def test_numbers_written_are_the_numbers_read(render, data) -> None:
    options = [f"Film {name}" for name in string.ascii_uppercase[: data.draw(st.integers(2, 26))]]
    rows = data.draw(st.permutations(range(len(options))))
    found = numbers(render(rows, options), options)
    assert found == (rows, "ok", Dropped(), 0)
    assert parsed(render(rows, options), options, "numbers") == found


@pytest.mark.parametrize("render", TITLED.values(), ids=TITLED)
@given(options=_DISTINCT, data=st.data())
def test_titles_written_are_the_titles_read(render, options: list[str], data) -> None:
    rows = data.draw(st.permutations(range(len(options))))
    found = titles(render(rows, options), options)
    assert found == (rows, "ok", Dropped(), 0)


@pytest.mark.parametrize("render", JSON.values(), ids=JSON)
@given(options=_DISTINCT, data=st.data())
def test_json_written_is_the_json_read(render, options: list[str], data) -> None:
    rows = data.draw(st.permutations(range(len(options))))
    found = json_list(render(rows, options), options)
    assert found == (rows, "ok", Dropped(), 0)


@given(options=_DISTINCT, data=st.data(), form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_unicode_form_case_and_emphasis_say_nothing(options: list[str], data, form: str) -> None:
    rows = data.draw(st.permutations(range(len(options))))
    said = [unicodedata.normalize(form, options[row]) for row in rows]
    assert json_list(json.dumps(said), options).order == rows


@given(
    st.permutations(range(len(FILMS))),
    st.sampled_from(
        [
            answer
            for answer in ANSWERS
            if (answer["form"], answer["options"]) == ("titles", "films")
            and "instead" not in answer["name"]
        ]
    ),
)
def test_where_an_option_was_shown_decides_nothing(places: list[int], answer: dict) -> None:
    """Titles that name options name them wherever they are."""
    shown = [FILMS[row] for row in places]
    found = titles(answer["text"], shown, cut=answer.get("cut", False))
    usual = titles(answer["text"], FILMS, cut=answer.get("cut", False))
    assert [places[row] for row in found.order] == usual.order
    assert found[1:] == usual[1:]


@given(st.permutations(range(1, 9)), st.lists(st.integers(0, 12), max_size=12))
def test_numbers_that_are_renamed_rename_the_ranking(names: list[int], said: list[int]) -> None:
    options = [f"Film {name}" for name in string.ascii_uppercase[:8]]
    renamed = [names[number - 1] if 1 <= number <= 8 else number for number in said]
    before = numbers(" > ".join(f"[{number}]" for number in said), options)
    after = numbers(" > ".join(f"[{number}]" for number in renamed), options)
    assert [names[row] - 1 for row in before.order] == after.order
    assert before[1:] == after[1:]


@given(st.lists(st.sampled_from([*FILMS, "Gravity (2013)", "Solaris (1972)", "Foo (1900)"])))
def test_every_entry_is_counted_once(said: list[str]) -> None:
    listed = "\n".join(f"{rank}. {title}" for rank, title in enumerate(said, 1))
    catalogue = forms_of([*FILMS, "Solaris (1972)"])
    for reader, text in ((titles, listed), (numbers, listed), (json_list, json.dumps(said))):
        found = reader(text, FILMS, history=["Gravity (2013)"], catalogue=catalogue)
        known = [FILMS.index(title) for title in said if title in FILMS]
        assert found.order == [*dict.fromkeys(known)]
        assert found.dropped == Dropped(
            invented=said.count("Foo (1900)"),
            duplicate=len(known) - len(set(known)),
            seen=said.count("Gravity (2013)"),
            out_of_pool=said.count("Solaris (1972)"),
        )


@given(st.permutations(range(8)), st.integers(0, 200), st.sampled_from(["[]", "bare", "json"]))
def test_what_is_cut_off_is_a_beginning_of_the_ranking(
    rows: list[int], length: int, kind: str
) -> None:
    options = [f"Film {name}" for name in string.ascii_uppercase[:8]] + ["more"] * 12
    whole = {
        "[]": " > ".join(f"[{row + 11}]" for row in rows),
        "bare": ", ".join(str(row + 11) for row in rows),
        "json": json.dumps({"ranking": [row + 11 for row in rows]}),
    }[kind]
    found = parsed(whole[:length], options, "json" if kind == "json" else "numbers", cut=True)
    assert found.order == [row + 10 for row in rows][: len(found.order)]
    assert found.status == "truncated"
    assert found.dropped == Dropped()


_WORDS = st.text(st.characters(categories=("L", "N", "Zs")), min_size=1, max_size=8).filter(
    lambda title: any(map(str.isalpha, title))
)


@given(st.lists(_WORDS, min_size=2, max_size=6, unique=True), st.data())
def test_a_part_of_a_title_never_names_it(options: list[str], data) -> None:
    title = data.draw(st.sampled_from(options))
    part = title[: data.draw(st.integers(1, len(title)))]
    for said in (part, f"{title}x", f"x{title}", f"{title} two", f"A {title}"):
        for row in titles(said, options).order:
            assert _plainest(options[row]) in {_plainest(said), *forms_of([said])}


# Size.

HUGE = 1_000_000
PATTERNS = (
    "[", "]", "{", '[{"a":', '"', '\\"', "'\\'", "'a", "*", "* ", "-", "- ", ">", "=>", "|", "| 3 ",
    ",", "Alien, ", "Alien > ", "Alien\n", "1. ", "1. x\n", "1", "1-", "1.", "1-5,", "<think>",
    "<think></think>", "\ufdfa", "③", "&amp;", " ", "\n", "\x0b\r", "(1999)", "_", "`", "“", "[1]",
    "[1] x\n", "[99]\n:\n", "{}", "<", "a,b;", "a: ", "is ", '{"ranking": [3]}\n', '{"id":3},',
    "**a", "no ", "no doubt ", "i do not have ", ".", "\u0301", "4/5 ", "rating ",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.timeout(60)
def test_a_megabyte_of_anything_is_read(pattern: str) -> None:
    text = (pattern * (HUGE // len(pattern) + 1))[:HUGE]
    for reader in (numbers, titles, json_list, letter):
        reader(text, FILMS)
    yes_no(text)
    rating(text, 1, 5)


def test_what_is_beyond_the_limit_is_cut_off() -> None:
    line = "[3] > [1] > [2]\n"
    found = numbers("x" * (LONGEST_ANSWER - len(line)) + "\n" + line, FILMS)
    assert (found.order, found.status) == ([2, 0, 1], "truncated")
    assert numbers("x" * LONGEST_ANSWER + "\n" + line, FILMS).order == []
    thought = "<think>" + "x" * HUGE + "</think>"
    assert numbers(thought + line, FILMS) == ([2, 0, 1], "ok", Dropped(), 0)


# Single answers.


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("B", 1), ("b", 1), ("B.", 1), ("(B)", 1), ("**B**", 1), ("[B]", 1), ("B) Heat (1995)", 1),
        ("B: because A is darker", 1), ("Answer: B", 1), ("The answer is B.", 1), ("Option C", 2),
        ("I choose (C) as it is warm.", 2), ("Heat (1995)", 1), ("Heat", 1),
        ("<think>A</think>C", 2),
        ("The correct answer is **C**", 2), ("Ｂ", 1), ("", None), ("A or B", None), ("Z", None),
        ("A great choice is Heat", None), ("I would take both", None),
        ("Answer: A. Or answer: B", None),
        ("I pick a film", None), ("<think>A", None), ("Answer: A's a fine film", None),
    ],
)  # fmt: skip
def test_one_option_by_its_letter(text: str, row: int | None) -> None:
    assert letter(text, FILMS) == row


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", True), ("no", False), ("Yes.", True), ("**No**, as it is dark.", False),
        ("Answer: Yes", True), ("The answer is no.", False), ("I would say yes.", True),
        ("Yes, because there is no other.", True), ("Yes\nThere is no other.", True),
        ("yes and no", None), ("Yes/No", None), ("There is no way to tell", None),
        ("Not sure", None), ("I don't know", None), ("Maybe", None),
        ("", None),
        ("No doubt, yes", True), ("Nobody knows", None), ("<think>No</think>Yes", True),
        ("YES!", True),
    ],
)  # fmt: skip
def test_yes_or_no(text: str, said: bool | None) -> None:
    assert yes_no(text) is said


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("4", 4), ("4.5", 4.5), ("4,5", 4.5), ("4.5/5", 4.5), ("4 / 5", 4), ("Rating: 4", 4),
        ("**Rating:** 4.5/5", 4.5), ("I'd give it 4 out of 5.", 4), ("I'd rate it a 4.", 4),
        ("4 stars", 4), ("4 stars out of 5", 4), ("Score = 3", 3),
        ("Rating: 4\nIt is from 1995.", 4), ("４", 4), ("5.", 5),
        ("<think>2</think>3", 3), ("8/10", None), ("0", None), ("5.1", None), ("-3", None),
        ("", None),
        ("4 or 5", None), ("4-5", None), ("good", None), ("1e9", None), ("9" * 5000, None),
        ("NaN", None), ("4/5 or 3/5", None), ("4/5, so 4 out of 5", 4), ("1995", None),
    ],
)  # fmt: skip
def test_a_rating(text: str, given: float | None) -> None:
    assert rating(text, 1, 5) == given


# What was left out.


def test_what_a_ranking_lacks_is_appended_as_shown_and_counted() -> None:
    assert completed([2, 0], FILMS[:4], "given") == ([2, 0, 1, 3], 2)
    assert completed([2, 0], FILMS[:4], "leave") == ([2, 0], 0)
    assert completed([], FILMS[:2], "given") == ([0, 1], 2)


@given(st.permutations(range(8)), st.integers(0, 8))
def test_a_completed_ranking_is_a_permutation(rows: list[int], length: int) -> None:
    order, appended = completed(rows[:length], FILMS, "given")
    assert order[:length] == rows[:length]
    assert order[length:] == sorted(rows[length:])
    assert appended == 8 - length
