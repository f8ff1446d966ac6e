"""Ids found where they lie in bytes, against a dict."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm4rec_bench import ids as ids_module
from llm4rec_bench.ids import UNKNOWN, Ids, Written, words_of

LONGEST = 70

prefixes = st.sampled_from(["", "12345678", "abcdefgh" * 2, "sh\0red é" * 3, "\0" * 8, "東京🙂"])
ends = st.text(st.sampled_from('a\0é京🙂\x7f"'), max_size=18) | st.text(max_size=12)
names = st.builds("".join, st.tuples(prefixes, ends)).filter(
    lambda name: len(name.encode()) <= LONGEST
)
sets = st.lists(names, unique=True, max_size=40)


def strings(values: list[str]) -> pa.StringArray:
    return pa.array(values, pa.string())


def places(known: list[str], asked: list[str]) -> list[int]:
    """What `Ids.find` promises, by a dict."""
    place_of = {name: place for place, name in enumerate(known)}
    return [place_of.get(name, UNKNOWN) for name in asked]


def asked_of(known: list[str], others: list[str]) -> list[str]:
    """The known ids, ids that are nearly theirs, and others."""
    near = [name[:-1] for name in known] + [f"{name}\0" for name in known]
    return [*known, *near, *others, *known[::-1], ""]


@settings(max_examples=200)
@given(sets, st.lists(names, max_size=20))
@example([], ["", "a"])
@example([""], ["", "\0", "a"])
@example(["\0", "\0\0", ""], ["\0" * number for number in range(18)])
@example(["a" * size for size in range(1, LONGEST + 1)], ["a" * 71, "a" * 200])
def test_every_id_is_found_and_no_other(known: list[str], others: list[str]) -> None:
    asked = asked_of(known, others)
    found = Ids(strings(known)).find(strings(asked))
    assert found.dtype == np.int32
    assert found.tolist() == places(known, asked)


@settings(max_examples=60)
@given(sets, st.lists(names, max_size=20), st.data())
def test_it_makes_no_difference_how_arrow_keeps_them(
    known: list[str], others: list[str], data: st.DataObject
) -> None:
    asked = asked_of(known, others)
    cut = st.integers(0, len(asked))
    cuts = [0, *sorted(data.draw(st.lists(cut, max_size=4))), len(asked)]
    sliced_known = strings(["before", "é", *known, "behind"]).slice(2, len(known))
    whole = strings(["é" * 5, *asked, "behind"]).slice(1)
    chunks = [whole.slice(first, last - first) for first, last in pairwise(cuts)]
    found = Ids(sliced_known).find(pa.chunked_array(chunks, pa.string()))
    assert found.tolist() == places(known, asked)
    assert Ids(sliced_known).find(whole.slice(0, len(asked))).tolist() == found.tolist()


@settings(max_examples=60)
@given(sets, st.lists(names, max_size=20), st.integers(1, 7))
def test_more_than_are_looked_for_in_one_go_are_found_as_well(
    known: list[str], others: list[str], together: int
) -> None:
    asked = asked_of(known, others)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ids_module, "_TOGETHER", together)
        found = Ids(strings(known)).find(strings(asked))
        chunked = Ids(strings(known)).find(pa.chunked_array([strings(asked), strings(known)]))
    assert found.tolist() == places(known, asked)
    assert chunked.tolist() == places(known, asked + known)


def test_more_ids_than_one_go_takes_are_found() -> None:
    number = 2 * ids_module._TOGETHER + 3
    known = [f"item-{place:07}" for place in range(number)]
    found = Ids(strings(known)).find(strings([*known, *(name + "x" for name in known)]))
    assert np.array_equal(found[:number], np.arange(number))
    assert (found[number:] == UNKNOWN).all()


def test_ids_whose_hashes_are_all_equal_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    full = (1 << 64) - 1  # the last slot: what collides goes on at the first
    monkeypatch.setattr(
        ids_module, "_hashes", lambda words, number: np.full(number, full, np.uint64)
    )
    known = [f"{number}é" for number in range(50)]
    asked = asked_of(known, ["none", "50é"])
    assert Ids(strings(known)).find(strings(asked)).tolist() == places(known, asked)


@pytest.mark.parametrize(
    "nothing", [strings([]), pa.chunked_array([], pa.string())], ids=["array", "chunks"]
)
def test_of_no_ids_none_is_found(nothing: pa.Array) -> None:
    found = Ids(strings(["a"])).find(nothing)
    assert found.dtype == np.int32
    assert len(found) == 0


@settings(max_examples=100)
@given(st.lists(names, unique=True, min_size=1, max_size=8), st.binary(max_size=20), st.data())
def test_ids_are_found_anywhere_in_bytes(
    known: list[str], around: bytes, data: st.DataObject
) -> None:
    text = around + b"".join(name.encode() for name in known) + data.draw(st.binary(max_size=9))
    bound = st.integers(0, len(text))
    cells = data.draw(st.lists(st.tuples(bound, bound).map(sorted), max_size=20))
    lengths = [0, *(len(name.encode()) for name in known)]
    starts = [len(around) + sum(lengths[: place + 1]) for place in range(len(known))]
    cells += [[start, start + length] for start, length in zip(starts, lengths[1:], strict=True)]
    begin, end = np.array(cells, np.int64).T
    found = Ids(strings(known)).find_in(Written(words_of(text), begin, end - begin))
    place_of = {name.encode(): place for place, name in enumerate(known)}
    assert found.tolist() == [place_of.get(text[a:b], UNKNOWN) for a, b in cells]


@given(st.binary(max_size=30))
def test_a_word_holds_eight_bytes_and_zeros_behind_the_end(data: bytes) -> None:
    words = words_of(data)
    assert words.tolist() == [
        int.from_bytes(data[at : at + 8], "little") for at in range(len(data) + 1)
    ]


@given(st.binary(max_size=40), st.data())
def test_words_of_an_id_are_zero_behind_its_end(data: bytes, draw: st.DataObject) -> None:
    bound = st.integers(0, len(data))
    first, last = sorted(draw.draw(st.tuples(bound, bound)))
    written = Written(words_of(data), np.array([first]), np.array([last - first]))
    for number in range(7):
        (word,) = written.word(number).tolist()
        cell = data[first:last][number * 8 : number * 8 + 8]
        assert word == int.from_bytes(cell, "little")


def test_an_id_at_the_end_of_the_bytes_is_not_read_beyond_it() -> None:
    known = ["abc", "abcdefgh", "abcdefghi", "h", ""]
    text = b"..abcdefghi"
    begin = np.array([2, 2, 2, 9, 11, 10])
    length = np.array([9, 8, 3, 1, 0, 1])
    found = Ids(strings(known)).find_in(Written(words_of(text), begin, length))
    assert found.tolist() == [2, 1, 0, 3, 4, UNKNOWN]


def test_an_id_is_not_known_by_its_first_bytes_alone() -> None:
    asked = ["12345678", "123456789", "1234567", "12345678" * 2, "1234567\0"]
    assert Ids(strings(asked[:1])).find(strings(asked)).tolist() == [0, *[UNKNOWN] * 4]
