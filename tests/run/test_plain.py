"""The quick way of reading lines and the slow one: the same rows, the same problems."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm4rec_bench.errors import Problem
from llm4rec_bench.ids import LONGEST_ID, UNKNOWN
from llm4rec_bench.run import plain, rows
from llm4rec_bench.run.format import FAILED, LONGEST_LINE, MOST_ITEMS, STATUSES
from llm4rec_bench.run.lines import block_of
from llm4rec_bench.run.plain import EMPTY, plain_lists
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.run.rows import Reader, Rows
from llm4rec_bench.task import Items
from llm4rec_bench.task.tables import SCHEMAS

USUAL = [f"w{number}" for number in range(1, 13)]
AWKWARD = [
    "12345678", "123456789", "1234567812345678", "a,b", "a, b", '","', '", "', "[", "]", "[]",
    '["w1"]', "/", "x:y", ":", '"', "\\", "\\u0077", "b\\n", " ", "  w1", "w1 ", "é", "東京",
    "🙂", "\x7f", "{", "}", "items", "request_id", "null",
]  # fmt: skip
REQUESTS = ["u1", "u2", "u3", "u4", "ü 5", 'u"6', "u:7", "[u8]", "items", "u,9"]
FIRST = 5
"""Number of the first line of a block."""


def catalogue(ids: list[str]) -> Items:
    columns = {"item_id": ids, "title": ids}
    empty: dict[str, list[Any]] = {
        name: [None] * len(ids) for name in ("year", "categories", "creators")
    }
    return Items(pa.table({**columns, **empty}, schema=SCHEMAS["items"]))


def reader(ids: list[str], plainly: bool) -> Reader:
    made = Reader(catalogue(ids), pa.array(REQUESTS, pa.string()))
    assert made._plainly
    made._plainly = plainly
    return made


QUICK, SLOW = (reader(USUAL + AWKWARD, plainly) for plainly in (True, False))


def found_in(data: bytes, how: Reader) -> tuple[Rows, list[Problem]]:
    problems = Problems("run.jsonl")
    return how.rows(block_of(FIRST, [data]), problems), problems.found


def columns_of(rows: Rows) -> dict[str, Any]:
    """All that a block is turned into, as lists; items without what is empty in every row."""
    longest = int(rows.lengths.max(initial=0))
    assert (rows.items[:, longest:] == EMPTY).all()
    arrays: dict[str, npt.NDArray[Any]] = {
        "line": rows.line,
        "request": rows.request,
        "number": rows.number,
        "items": rows.items[:, :longest],
        "lengths": rows.lengths,
        "status": rows.status,
        "latency_ms": rows.latency_ms,
        "tokens": rows.tokens,
        "dropped": rows.dropped,
    }
    assert {name: len(array) for name, array in arrays.items()} == dict.fromkeys(arrays, len(rows))
    assert len(rows.written) == len(rows)
    unknown = [
        row.items if UNKNOWN in codes else None
        for row, codes in zip(rows.written, rows.items.tolist(), strict=True)
    ]
    lists = {
        name: (array.dtype, np.where(np.isnan(array), -7.5, array).tolist())
        for name, array in arrays.items()
    }
    return {**lists, "ids": [row.request_id for row in rows.written], "unknown": unknown}


def agree(data: bytes, quick: Reader = QUICK, slow: Reader = SLOW) -> None:
    expected, told = found_in(data, slow)
    found, also_told = found_in(data, quick)
    assert also_told == told
    assert columns_of(found) == columns_of(expected)


def taken_plainly(data: bytes) -> list[int]:
    """Places of the lines whose lists are read the quick way."""
    return plain_lists(block_of(FIRST, [data]), QUICK._items).line.tolist()


# Any rows in any spelling


counts = st.sampled_from([0, 1, 71, 1 << 31])
texts = st.text(st.sampled_from('[]{}:," \\\n\tié🙂"') | st.characters(codec="utf-8"), max_size=12)
more = st.fixed_dictionaries(
    {},
    optional={
        "run": st.sampled_from([0, 1, 7, 99]),
        "latency_ms": st.sampled_from([0, 0.5, 1250, 1e9, None]),
        "scores": st.lists(st.sampled_from([2.0, 1, 0.5, -1e-9]), max_size=3) | st.none(),
        "status": st.sampled_from(STATUSES),
        "prompt_tokens": counts,
        "completion_tokens": counts | st.none(),
        "cached_tokens": counts,
        "dropped": st.none() | st.dictionaries(st.sampled_from(rows.REASONS), counts, max_size=4),
        "explanation": texts | st.none(),
    },
)
wrong_more = st.sampled_from(
    [
        {"run": 100}, {"run": 0.5}, {"latency_ms": -1}, {"status": "tired"}, {"title": "w1"},
        {"dropped": {"odd": 1}}, {"prompt_tokens": -1}, {"items": "w1"}, {"items": [["w1"]]},
        {"items": [7]}, {"request_id": 7}, {"request_id": ""}, {"items": [""]}, {"items": None},
        {"scores": ["w1"]}, {"explanation": ["w1"]}, {"status": None}, {"dropped": ["w1"]},
    ]
)  # fmt: skip
items = (
    st.lists(st.sampled_from(USUAL), max_size=6)
    | st.lists(st.sampled_from([*USUAL, *AWKWARD]), max_size=6)
    | st.lists(st.sampled_from([*USUAL[:2], "none", "W1", "w1\0", ""]), max_size=3)
    | st.sampled_from([MOST_ITEMS - 1, MOST_ITEMS, MOST_ITEMS + 1]).map(lambda size: ["w1"] * size)
)
lines = st.builds(
    lambda request, ranked, further, wrong: {
        "request_id": request, "items": ranked, **further, **wrong,
    },
    st.sampled_from([*REQUESTS, "U1", "none"]),
    items,
    st.just({}) | more,
    st.just({}) | st.just({}) | st.just({}) | wrong_more,
)  # fmt: skip

separators = st.sampled_from(
    [(",", ":"), (", ", ": "), (" , ", " : "), (",\t", ":\r"), (",  ", ":")]
)
respelled = st.sampled_from(
    [
        ("", ""), ("", ""), ("", ""), ("w", "\\u0077"), ('"w1"', '"\\u0077\\u0031"'),
        ("items", "it\\u0065ms"), ("/", "\\/"), ('["', '[ "'), ('"]', '" ]'), ('", "', '" ,"'),
        ('["', '["",'), ('"]', '",]'), ('","', '"\v,"'), ('","', '""'), ("}", " }"),
    ]
)  # fmt: skip
repeats = st.sampled_from(
    [
        "", "", "", "", "", ',"run":0', ',"run" :0', ',"r\\u0075n":0', ',"items":["w1"]',
        ',"items":[]', ',"\\u0069tems":[]', ',"request_id":"u2"', ',"status":"ok"',
        ',"dropped":{"seen":1,"seen":2}', ',"dropped":{"seen":1},"dropped":{}',
        ',"explanation":"a","explanation":"b"', ',"latency_ms":1,"latency":2', ',"title":""',
        ',"status":"timeout"', ",", "}", "{}", ',"run":NaN',
    ]
)  # fmt: skip
around = st.sampled_from([("", "")] * 5 + [(" ", "\t "), ("", "\r"), ("\ufeff", ""), ("", " x")])
endings = st.sampled_from(["\n"] * 4 + ["\r\n", "\n\n", "\n \t\r\n", "\n\v\n"])


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """A line that says what it says in one of many ways, and its end."""
    row = draw(lines)
    if draw(st.booleans()):
        row = dict(draw(st.permutations(list(row.items()))))
    text = json.dumps(row, separators=draw(separators), ensure_ascii=draw(st.booleans()))
    text = text.replace(*draw(respelled))
    again = draw(repeats)
    text = text[:-1] + again + text[-1] if again else text
    before, behind = draw(around)
    return f"{before}{text}{behind}{draw(endings)}".encode()


files = st.lists(spelled(), max_size=5).map(b"".join)

HOSTILE = [bytes([byte]) for byte in b'"[],:{} \\\n\r\t\0\xff\xc3w1'] + [
    b'","', b'", "', b'""', b"[]", b"][", b"}\n", b"}\n{", b"\n{", b"\n,", b'"items":[]',
    b'"items":["w1"]', b',"run":1', b'"run":1,', b'"status":"timeout",', b'"w1"', b'"w1",',
    b'{"request_id":"u2","items":["w2"]}', b"\xed\xa0\x80", b"\xc0\xae", b"\xef\xbb\xbf",
    b"\\u0077",
]  # fmt: skip

edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from([0, 0, 0, 1, 1, 2, 9]),
        st.just(b"") | st.sampled_from(HOSTILE),
    ),
    max_size=4,
)


def edited(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, gone, added in changes:
        at = int(place * len(data))
        data = data[:at] + added + data[at + gone :]
    return data


@settings(max_examples=150)
@given(files)
def test_lines_are_read_alike_however_they_are_spelled(data: bytes) -> None:
    agree(data)
    agree(data.removesuffix(b"\n"))


@settings(max_examples=250)
@given(files, edits)
def test_lines_are_read_alike_however_they_are_damaged(
    data: bytes, changes: list[tuple[float, int, bytes]]
) -> None:
    agree(edited(data, changes))


FRAGMENTS = [
    "\n", "\n", "{", "}", ",", " ", '"request_id":"u1"', '"request_id": "u2"', '"items":[]',
    '"items":["w1"]', '"items": ["w1", "w2"]', '"run":0', '"run":1', '"dropped":{', '"seen":1',
    '"explanation":"', '"', '"explanation":', '"status":"timeout"', '{"request_id":"u3","items":',
    '["w3"]', "[", "]", "\\", '{"request_id":"u1","items":["w1"]', '"items"', ":",
    '{"request_id":"u4","items":["w4"]}\n', '{"request_id":"u1","items":["w1"],"dropped":',
    ',"items":["w2"]}', '} {"request_id":"u2","items":["w2"]}',
]  # fmt: skip


@settings(max_examples=500)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=9).map("".join))
@example('{"request_id":"u1","items":["w1"]\n,"run":0} {"request_id":"u2","items":["w2"]}\n')
@example('{"request_id":"u1","items":["w1"]\n,"items":["w2"]}\n')
@example('{"request_id":"u1","items":["w1"],"dropped":\n{"seen":1},"items":["w2"]}\n')
@example('{"request_id":"u1","items":["w1"],\n"items":["w2"]}{"request_id":"u2","items":[]}\n')
def test_lines_are_read_alike_whatever_they_are_made_of(text: str) -> None:
    agree(text.encode())


# Lines by hand


def row(more: str = "", listed: str = '["w1", "w2"]') -> bytes:
    return f'{{"request_id": "u1", "items": {listed}{more}}}'.encode()


PLAIN = {
    "default": row(),
    "compact": b'{"request_id":"u1","items":["w1","w2"]}',
    "mixed commas": row(listed='["w1","w2", "w3"]'),
    "items first": b'{"items":["w1"],"request_id":"u1"}',
    "carriage return": row() + b"\r",
    "no item": row(listed="[]"),
    "one item": row(listed='["w1"]'),
    "a hundred items": row(listed=json.dumps(USUAL * 8 + USUAL[:4])),
    "an item twice": row(listed='["w1", "w1"]'),
    "ids like syntax": row(listed='["a,b", "a, b", "x:y", ":", " ", "{", "}", "items"]'),
    "other scripts": row(listed='["é", "東京", "🙂", "\x7f"]'),
    "every field": row(
        ', "run": 3, "latency_ms": 12.5, "status": "truncated", "prompt_tokens": 1, '
        '"completion_tokens": 2, "cached_tokens": 0, "dropped": {"invented": 1, "duplicate": 2, '
        '"seen": 3, "out_of_pool": 4}, "explanation": "été, {all} of it"'
    ),
    "an unknown request": row().replace(b"u1", b"none"),
    "no scores": row(', "scores": null'),
    "a failure without items": row(', "status": "timeout"', "[]"),
}
"""Sound lines that most files are made of."""


@pytest.mark.parametrize("line", PLAIN.values(), ids=PLAIN)
def test_what_nearly_all_lines_look_like_is_read_the_quick_way(line: bytes) -> None:
    data = b"\n".join([line, b'{"request_id":"u2","items":["w5"]}', line, line])
    assert taken_plainly(data) == [0, 1, 2, 3]
    agree(data)
    found, told = found_in(data, QUICK)
    assert not told
    ranked = json.loads(line)["items"]
    ids = USUAL + AWKWARD
    assert [ids[code] for code in found.items[0].tolist() if code != EMPTY] == ranked
    assert found.line.tolist() == [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]
    assert found.lengths.tolist() == [len(ranked), 1, len(ranked), len(ranked)]


def test_lists_are_told_with_their_places() -> None:
    data = b'\n{"items":["w2", "w1"],"request_id":"u1"}\nx\n{"request_id":"u1","items":["w3"]}'
    found = plain_lists(block_of(FIRST, [data]), QUICK._items)
    assert found.line.tolist() == [1, 3]
    assert [data[at : at + 5] for at in found.opened.tolist()] == [b'["w2"', b'["w3"']
    assert [data[at - 5 : at + 1] for at in found.closed.tolist()] == [b' "w1"]', b'["w3"]']
    assert found.items.tolist() == [[1, 0], [2, EMPTY]]
    assert found.lengths.tolist() == [2, 1]


NOT_PLAIN = {
    "no comma": row(listed='["w1" "w2"]'),
    "nothing between": row(listed='["w1""w2"]'),
    "two commas": row(listed='["w1",,"w2"]'),
    "last comma": row(listed='["w1","w2",]'),
    "first comma": row(listed='[,"w1","w2"]'),
    "comma alone": row(listed="[,]"),
    "colon for comma": row(listed='["w1":"w2"]'),
    "space for comma": row(listed='["w1"  "w2"]'),
    "not a space": row(listed='["w1",\v"w2"]'),
    "letter": row(listed='["w1"x,"w2"]'),
    "letter behind": row(listed='["w1","w2"x]'),
    "letter before": row(listed='[x"w1","w2"]'),
    "number": row(listed="[7]"),
    "number behind": row(listed='["w1",7]'),
    "open string": row(listed='["w1","w2]'),
    "list in a string": b'{"request_id":"u1","items":"["w1"]"}',
    "brackets in strings": b'{"request_id":"[u1","items":"w1]"}',
    "brackets in one string": b'{"request_id":"u1","explanation":"[\\"w1\\"]"}',
    "brackets the wrong way": row(listed=']"w1"['),
    "a list in a list": row(listed='[["w1"]]'),
    "two lists": row(', "items": ["w1"]'),
    "too many items": row(listed=json.dumps(["w1"] * (MOST_ITEMS + 1))),
    "unknown item": row(listed='["w1", "none"]'),
    "unknown case": row(listed='["W1"]'),
    "nothing for an id": row(listed='["w1", ""]'),
    "repeated key": row(', "run": 0, "run": 1'),
    "repeated key before": row().replace(b"{", b'{"request_id": "u2", '),
    "repeated key around": b'{"run": 0, "request_id": "u1", "items": ["w1"], "run": 1}',
    "repeated with a space": row(', "run": 0, "run" : 1'),
    "repeated far inside": row(', "dropped": {"seen": 1, "seen": 2}'),
    "repeated by an escape": row(', "run": 0, "r\\u0075n": 1'),
    "too long": row(f"{' ' * LONGEST_LINE}"),
    "quote too many": row('", "run": 1'),
}
"""Lines whose lists no quick look may settle, whatever becomes of the rest of them."""


@pytest.mark.parametrize("line", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_the_decoder_has_to_judge_is_left_to_it(line: bytes) -> None:
    sound = b'{"request_id":"u2","items":["w5"]}'
    data = b"\n".join([sound, line, sound, line, sound])
    assert taken_plainly(data) == [0, 2, 4]
    agree(data)


WRONG = {
    "not JSON": row()[:-1],
    "two objects": row() + b"{}",
    "a comma at the end": row() + b",",
    "text behind": row() + b" x",
    "unknown field": row(', "title": "x"'),
    "no request": b'{"items":["w1"]}',
    "list of another field": b'{"request_id":"u1","scores":["w1"]}',
    "list in an object": b'{"request_id":"u1","dropped":{"items":["w1"]}}',
    "list alone": b'["w1"]',
    "no key": b'{"request_id":"u1",["w1"]}',
    "key without a list": b'{"request_id":"u1","items":["w1"],"run"}',
    "no field is an id": row(', "run": "1"'),
    "range": row(', "run": 100'),
    "not a number": row(', "latency_ms": NaN'),
    "status": row(', "status": "tired"'),
    "failure with items": row(', "status": "timeout"'),
    "cached": row(', "prompt_tokens": 1, "cached_tokens": 2'),
    "not UTF-8": row(', "explanation": "x"').replace(b'"x"', b'"\xe9"'),
    "surrogate": row(', "explanation": "x"').replace(b'"x"', b'"\xed\xa0\x80"'),
    "not UTF-8 in a request": row().replace(b"u1", b"u1\xff"),
    "control character": row(', "explanation": "\0"'),
    "tab": row(', "explanation": "\t"'),
    "mark": b"\xef\xbb\xbf" + row(),
    "leading zero": row(', "run": 01'),
}
"""Lines whose lists are plain and that are refused for something else."""


@pytest.mark.parametrize("line", [*WRONG.values()], ids=WRONG)
def test_a_plain_list_does_not_make_a_line_sound(line: bytes) -> None:
    sound = b'{"request_id":"u2","items":["w5"]}'
    data = b"\n".join([sound, line, sound, line, sound])
    agree(data)
    found, told = found_in(data, QUICK)
    assert found.line.tolist() == [FIRST, FIRST + 2, FIRST + 4]
    assert [problem.line for problem in told] == [FIRST + 1, FIRST + 3]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("listed", ["[]", '["w1"]'])
def test_a_failure_is_sound_without_items_only(status: str, listed: str) -> None:
    data = b"\n".join([row(f', "status": "{status}"', listed), row(', "run": 2'), b"x", row()])
    agree(data)
    found, _ = found_in(data, QUICK)
    sound = status not in FAILED or listed == "[]"
    assert (FIRST in found.line) == sound


@pytest.mark.parametrize("length", range(LONGEST_LINE - 2, LONGEST_LINE + 3))
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"], ids=repr)
def test_lines_of_about_the_longest_length_are_read_alike(length: int, end: bytes) -> None:
    filler = " " * (length - len(row()))
    agree(row() + b"\n" + row(filler) + end)


LINES_OF_SEVERAL = {
    "an object over two lines": (
        b'{"request_id":"u1","items":["w1"]\n,"run":0} {"request_id":"u2","items":["w2"]}\n'
    ),
    "a key on the next line": b'{"request_id":"u1","items":["w1"],\n"items":["w2"]}\n',
    "a value on the next line": (
        b'{"request_id":"u1","items":["w1"],"dropped":\n{"seen":1},"items":["w2"]}\n'
    ),
    "a list on the next line": (
        b'{"request_id":"u1","items":\n["w1"]} {"request_id":"u2","items":\n["w2"]}\n'
    ),
}


@pytest.mark.parametrize("data", LINES_OF_SEVERAL.values(), ids=LINES_OF_SEVERAL)
def test_no_line_makes_up_for_what_another_lacks(data: bytes) -> None:
    _, told = found_in(data, QUICK)
    assert {problem.line for problem in told} == set(range(FIRST, FIRST + data.count(b"\n")))
    agree(data)


# Catalogues


@pytest.mark.parametrize("odd", ["a\tb", "\0", "\x1f", "w1\r", "\n"], ids=ascii)
def test_an_id_with_a_control_character_keeps_all_lines_from_the_quick_way(odd: str) -> None:
    assert not Reader(catalogue(["w1", odd]), pa.array(["u1"]))._plainly


@pytest.mark.parametrize(
    "odd",
    ["", "x" * (LONGEST_ID + 1), "é" * (LONGEST_ID + 1)],
    ids=["empty", "too long", "too long in two bytes"],
)
def test_an_id_that_no_row_may_hold_is_refused_even_if_it_is_an_items(odd: str) -> None:
    items, requests = catalogue(["w1", odd]), pa.array(["u1"])
    quick, slow = Reader(items, requests), Reader(items, requests)
    slow._plainly = False
    data = f'{{"request_id":"u1","items":["w1","{odd}"]}}\n'.encode()
    _, told = found_in(data, quick)
    assert [problem.code for problem in told] == ["wrong-type"]
    agree(data, quick, slow)


@pytest.mark.parametrize("size", [LONGEST_ID, LONGEST_ID - 1])
def test_the_longest_id_is_read_the_quick_way(size: int) -> None:
    ids = ["w1", "é" * size]
    quick, slow = reader(ids, True), reader(ids, False)
    data = row(listed=f'["w1", "{"é" * size}"]')
    agree(data, quick, slow)
    assert found_in(data, quick)[0].items.tolist() == [[0, 1]]


def test_of_an_empty_catalogue_only_empty_lists_are_plain() -> None:
    quick, slow = reader([], True), reader([], False)
    agree(b"\n".join([row(), row(listed="[]"), row(listed='[""]')]), quick, slow)


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n\r\n", b"[]", b"][", b'"', b'["', b"]\n["])
def test_blocks_of_next_to_nothing_are_read_alike(data: bytes) -> None:
    agree(data)
    agree(data + b"\n" + row())


# Each check is needed


def all_true(places: Callable[..., int]) -> Callable[..., npt.NDArray[np.bool_]]:
    return lambda *given: np.ones(places(*given), bool)


NEEDED: dict[str, tuple[object, str, object, list[str]]] = {
    "well parted": (
        plain,
        "_well_parted",
        all_true(lambda text, begin, *_: len(begin)),
        ["no comma", "nothing between", "two commas", "last comma", "first comma", "letter",
         "letter behind", "letter before", "colon for comma", "number behind", "not a space"],
    ),
    "keys differ": (
        plain,
        "_keys_differ",
        all_true(lambda text, words, quotes, around, at: len(at[0])),
        ["repeated key", "repeated key before", "repeated key around", "repeated far inside",
         "repeated with a space"],
    ),
    "no colon without a key": (plain, "_COLON", 0, ["repeated key", "repeated key before"]),
    "no backslash": (plain, "_BACKSLASH", 0, ["repeated by an escape"]),
    "not too many items": (plain, "MOST_ITEMS", 2 * MOST_ITEMS, ["too many items"]),
    "not too long": (plain, "LONGEST_LINE", 2 * LONGEST_LINE, ["too long"]),
    "no more cached than asked": (rows, "unsound", lambda row: None, ["cached"]),
    "no failure": (rows, "FAILED", frozenset(), ["failure with items"]),
}  # fmt: skip
"""What is left out for a test, and the lines that are then accepted though they are wrong."""


@pytest.mark.parametrize(
    ("check", "wrong"), [(check, wrong) for check in NEEDED for wrong in NEEDED[check][-1]]
)
def test_without_a_check_a_wrong_line_would_be_accepted(
    check: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name, instead, _ = NEEDED[check]
    line = {**NOT_PLAIN, **WRONG}[wrong]
    assert not len(found_in(line, QUICK)[0])
    monkeypatch.setattr(where, name, instead)
    found, told = found_in(line, QUICK)
    assert found.line.tolist() == [FIRST]
    assert not told


def test_without_the_look_for_control_characters_one_would_be_accepted() -> None:
    items, requests = catalogue(["w1", "a\tb"]), pa.array(["u1"])
    one, other = Reader(items, requests), Reader(items, requests)
    other._plainly = True
    line = row(listed='["w1", "a\tb"]')
    assert [problem.code for problem in found_in(line, one)[1]] == ["bad-json"]
    assert found_in(line, other)[0].line.tolist() == [FIRST]
