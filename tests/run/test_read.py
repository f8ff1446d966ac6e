"""Reading run files that strangers wrote: bytes, archives, lines, headers, keys."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm4rec_bench import RunRefused, Score, Task, read_run, score
from llm4rec_bench.run import lines as run_lines
from llm4rec_bench.run.format import LONGEST_LINE, Header, Row
from tests.run.conftest import Judged, Refused, Written
from tests.runs import make

PLAIN = make.joined(make.whole())
HEADER = make.joined([make.header()])
DEEP = 100_000


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return bytes(sink.getvalue())


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd}


def row(more: str = "", request: str = "u001") -> str:
    return f'{{"request_id":"{request}","items":["w41"]{more}}}'


def told(refusal: RunRefused) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.code) for problem in refusal.problems]


def same_but_for_bytes(one: Score, other: Score) -> bool:
    return msgspec.structs.replace(one, run_digest=other.run_digest) == other


# What is accepted


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\n\n \t\r\n"),
        b"\n\n" + PLAIN,
        PLAIN.removesuffix(b"\n"),
        PLAIN.replace(b",", b" ,\t").replace(b"\n", b"  \n"),
        PLAIN.replace(b'"w', b'"\\u0077'),
    ],
    ids=["CRLF", "blank lines", "blank start", "no last newline", "spaces", "escapes"],
)
def test_spelling_that_json_leaves_free_changes_no_score(data: bytes, judged: Judged) -> None:
    assert same_but_for_bytes(judged(data), judged(PLAIN))


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz", "run.jsonl.zst"])
def test_archives_are_known_by_their_bytes_and_digested_unpacked(
    pack: Callable[[bytes], bytes], name: str, judged: Judged
) -> None:
    assert judged(pack(PLAIN), name) == judged(PLAIN)
    assert judged(PLAIN).run_digest == f"sha256:{sha256(PLAIN).hexdigest()}"


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_archives_may_be_put_end_to_end(pack: Callable[[bytes], bytes], judged: Judged) -> None:
    assert judged(pack(PLAIN[:1000]) + pack(PLAIN[1000:])) == judged(PLAIN)


def test_blank_lines_count_where_a_line_is_named(refused: Refused) -> None:
    assert told(refused(HEADER + b"\n\r\n" + b"{}\n")) == [(4, "missing-field")]


# What is no file, or no text


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none", tmp_path / "loop", os.devnull):
        with pytest.raises(RunRefused) as caught:
            read_run(path)
        assert told(caught.value) == [(None, "not-a-file")]


def test_what_a_file_is_called_cannot_reach_a_terminal(refused: Refused) -> None:
    assert str(refused(b"", "a\x1b[2J\nb.jsonl: fine")).isprintable()


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
@pytest.mark.parametrize("end", [4, 5, 10, 0.5, -9, -1])
def test_a_truncated_archive_is_refused(
    pack: Callable[[bytes], bytes], end: float, refused: Refused
) -> None:
    packed = pack(PLAIN)
    cut = packed[: int(end * len(packed)) if end == 0.5 else int(end)]
    assert told(refused(cut)) == [(None, "bad-compression")]


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_bytes_after_an_archive_are_refused(
    pack: Callable[[bytes], bytes], refused: Refused
) -> None:
    assert told(refused(pack(PLAIN) + b"garbage")) == [(None, "bad-compression")]


def test_an_archive_whose_checksum_is_wrong_is_refused(refused: Refused) -> None:
    packed = bytearray(gzip.compress(PLAIN))
    packed[-6] ^= 1
    assert told(refused(bytes(packed))) == [(None, "bad-compression")]


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_an_archive_truncated_inside_an_over_long_line_is_refused(
    pack: Callable[[bytes], bytes], refused: Refused
) -> None:
    noise = random.Random(1).randbytes(4 * LONGEST_LINE).replace(b"\n", b"x")
    packed = pack(HEADER + noise + b"\n")
    assert (None, "bad-compression") in told(refused(packed[: len(packed) // 2]))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\xef\xbb\xbf" + PLAIN, 1),
        (HEADER + b"\xef\xbb\xbf" + row().encode(), 2),
        (HEADER + row().encode() + b"\n\xef\xbb\xbf\n", 3),
        (HEADER + row().replace("w", "\xe9").encode("latin-1"), 2),
        (HEADER + row().encode().replace(b"w", b"\xed\xa0\x80"), 2),
        (HEADER + row().encode().replace(b"w", b"\xc0\xae"), 2),
        (HEADER + row().encode().replace(b"w41", b"\xf0\x9f\x98"), 2),
    ],
    ids=["mark", "later mark", "lone mark", "latin-1", "surrogate", "over-long form", "cut"],
)
def test_what_is_not_utf8_is_refused(data: bytes, line: int, refused: Refused) -> None:
    assert told(refused(data)) == [(line, "not-utf8")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused_at_the_first_line(encoding: str, refused: Refused) -> None:
    refusal = refused(PLAIN.decode().encode(encoding))
    assert refusal.problems[0].line == 1
    assert {code for _, code in told(refusal)} <= {"not-utf8", "bad-json"}


# Limits


@pytest.mark.parametrize("length", range(LONGEST_LINE - 1, LONGEST_LINE + 3))
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_the_line_after_a_long_one_is_read(length: int, ending: bytes, refused: Refused) -> None:
    filler = length - len(row(',"explanation":""'))
    long = row(f',"explanation":"{"x" * filler}"').encode()
    assert len(long) == length
    refusal = refused(HEADER + long + ending + b"{}\n[]\n")
    assert told(refusal)[-2:] == [(3, "missing-field"), (4, "wrong-type")]
    if length < LONGEST_LINE - 1:
        assert refusal.total == 2
    if length > LONGEST_LINE:
        assert told(refusal)[0] == (2, "line-too-long")


def test_an_over_long_line_is_passed_over_without_being_held(written: Written) -> None:
    packed = gzip.compress(HEADER + b"x" * (64 << 20) + b"\n{}\n", 1)
    path = written(packed)
    tracemalloc.start()
    try:
        with pytest.raises(RunRefused) as caught:
            read_run(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told(caught.value) == [(2, "line-too-long"), (3, "missing-field")]
    assert peak < 16 * LONGEST_LINE


def test_a_file_over_the_limit_of_bytes_is_refused(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lines, "LARGEST_RUN", len(PLAIN))
    assert told(refused(PLAIN + b"\n")) == [(None, "too-large")]
    assert told(refused(gzip.compress(PLAIN + b"\n"))) == [(None, "too-large")]
    assert read_run(make.HERE / "valid" / "minimal.jsonl").digest.startswith("sha256:")


def test_a_file_over_the_limit_of_rows_is_refused(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lines, "MOST_ROWS", 299)
    assert told(refused(PLAIN)) == [(None, "too-large")]
    monkeypatch.setattr(run_lines, "MOST_ROWS", 300)
    assert read_run(make.HERE / "valid" / "minimal.jsonl").tally.rows == 300


def test_an_over_long_line_counts_towards_the_limit(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lines, "LARGEST_RUN", 3 * LONGEST_LINE)
    data = HEADER + b"x" * (9 * LONGEST_LINE) + b"\n" + row().encode()
    assert told(refused(data)) == [(2, "line-too-long"), (None, "too-large")]


@pytest.mark.parametrize(
    "line",
    [
        "[" * DEEP,
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
        row(',"x":' + "[" * DEEP + "]" * DEEP),
        row(',"dropped":' + '{"seen":' * DEEP + "1" + "}" * DEEP),
        '{"request_id":"u001","items":' + "[" * DEEP + "]" * DEEP + "}",
        row(',"x\\u0020":' + "[" * DEEP + "]" * DEEP),
        row(',"items":' + "[" * DEEP + "]" * DEEP),
    ],
    ids=["open", "lists", "objects", "unknown", "dropped", "items", "escaped", "repeated"],
)
@pytest.mark.parametrize("head", [HEADER, b""], ids=["row", "header"])
def test_deep_nesting_is_refused_and_costs_no_stack(
    line: str, head: bytes, refused: Refused
) -> None:
    refusal = refused(head + line.encode() + b"\n")
    assert {place for place, _ in told(refusal)} == {2 if head else 1}


@pytest.mark.timeout(6)
def test_a_line_of_many_keys_is_refused_quickly(refused: Refused) -> None:
    keys = ",".join(f'"k{number}":0' for number in range(40_000))
    refusal = refused(HEADER + row(f',{keys},"\\\\":0').encode())
    assert told(refusal) == [(2, "unknown-field")]


# Headers


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n \t\n\n", gzip.compress(b"", mtime=0)])
def test_a_file_without_a_line_is_missing_its_header(data: bytes, refused: Refused) -> None:
    refusal = refused(data)
    assert [problem.render("run.jsonl") for problem in refusal.problems] == [
        "run.jsonl:1: error[missing-header] the file is empty"
    ]


def test_a_header_is_not_looked_for_after_the_first_line(refused: Refused) -> None:
    late = make.joined([row(), row(request="u002"), make.header(), row(request="u003")])
    assert told(refused(late)) == [(1, "missing-header"), (3, "unexpected-header")]


@pytest.mark.parametrize("second", [make.header(), make.header("retrieval", name="another")])
@pytest.mark.parametrize("at", [1, 150, 301])
def test_a_second_header_is_refused_wherever_it_stands(
    second: make.Row, at: int, refused: Refused
) -> None:
    lines = make.whole()
    assert told(refused(make.joined([*lines[:at], second, *lines[at:]]))) == [
        (at + 1, "unexpected-header")
    ]


def test_what_is_wrong_with_rows_is_told_beside_what_is_wrong_with_the_header(
    refused: Refused,
) -> None:
    data = make.joined([make.header(format="x"), row(), "{}", row(',"latency_ms":-1')])
    assert told(refused(data)) == [(1, "wrong-format"), (3, "missing-field"), (4, "bad-number")]


# Keys


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (row(',"items":["w41"]'), ["items"]),
        (row(',"\\u0069tems":[]'), ["items"]),
        ('{"\\u0069tems":[],"request_id":"u001","it\\u0065ms":[]}', ["items"]),
        (row(',"request_id":"u002"'), ["request_id"]),
        (row(',"status":"ok","status":"ok"'), ["status"]),
        (row(',"dropped":{"seen":1,"seen":1}'), ["seen"]),
        (row(',"dropped":{"seen":1,"s\\u0065en":1}'), ["seen"]),
        (row(',"explanation":"","explanation" :"","items":[]'), ["explanation", "items"]),
    ],
)
def test_a_repeated_key_is_refused_however_it_is_spelled(
    line: str, names: list[str], refused: Refused
) -> None:
    refusal = refused(HEADER + line.encode())
    assert told(refusal) == [(2, "repeated-key")] * len(names)
    assert sorted(problem.message for problem in refusal.problems) == [
        f'names "{name}" twice; keep one' for name in names
    ]


def test_a_repeated_key_of_the_header_is_refused_however_it_is_spelled(refused: Refused) -> None:
    for name in ("name", "n\\u0061me"):
        data = HEADER.replace(b"}", f',"{name}":"x"}}'.encode())
        assert told(refused(data)) == [(1, "repeated-key")]


@pytest.mark.parametrize(
    "line",
    [
        row(',"explanation":"items, \\"items\\" and \\"items\\":"'),
        '{"request_id":"items","items":["items","seen","dropped"]}',
        row(',"explanation":"seen","dropped":{"seen":1}'),
    ],
)
def test_a_key_is_not_repeated_by_a_value_that_reads_like_it(line: str, refused: Refused) -> None:
    codes = refused(HEADER + line.encode()).by_code.keys()
    assert codes <= {"missing-request", "unknown-request", "unknown-item"}


# All at once


def test_the_first_twenty_problems_are_told_and_all_are_counted(refused: Refused) -> None:
    refusal = refused(HEADER + b"{}\n" * 27)
    assert (len(refusal.problems), refusal.total) == (20, 27)
    assert str(refusal).splitlines()[-1] == "run.jsonl: … and 7 more; in all: missing-field 27"


HOSTILE = [
    b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\0", b"\xff", b"\xef\xbb\xbf",
    b"NaN", b"1e999", b"-1", b"null", b"\\ud800", b"\\u0000", b'"items":', b'"run":99,',
    b'"request_id":', b'"status":"x",', b'"scores":[1],', b'"dropped":{"seen":1},', b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
]  # fmt: skip

PACKED = [
    PLAIN,
    gzip.compress(PLAIN),
    zstd(PLAIN),
    (make.HERE / "valid/two-runs.jsonl").read_bytes(),
]

Edit = tuple[float, int, bytes]
edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from([0, 0, 1, 1, 2, 7, 60]),
        st.binary(max_size=3) | st.sampled_from(HOSTILE),
    ),
    min_size=1,
    max_size=6,
)


def edited(data: bytes, changes: list[Edit], end: float) -> bytes:
    for place, dropped, added in changes:
        at = int(place * len(data))
        data = data[:at] + added + data[at + dropped :]
    return data[: int(end * len(data)) + 1]


def outcome(path: Path, task: Task) -> Score | RunRefused:
    """What becomes of a file; a refusal is checked for being fit to print."""
    try:
        return score(read_run(path, task))
    except RunRefused as refusal:
        assert refusal.total >= len(refusal.problems) > 0
        assert all(line.isprintable() for line in str(refusal).splitlines())
        places = [problem.line or 10**9 for problem in refusal.problems]
        assert all(a <= b for a, b in itertools.pairwise(places))
        return refusal


@settings(max_examples=200)
@given(st.sampled_from(PACKED), edits, st.just(1.0) | st.floats(0, 1))
@example(PLAIN, [(0.0, 0, b"\n\n")], 1.0)
@example(PLAIN, [(0.0, 1, b"")], 1.0)
def test_whatever_the_bytes_a_file_scores_or_is_refused(
    toy: Task,
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    changes: list[Edit],
    end: float,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(edited(data, changes, end))
    assert isinstance(outcome(path, toy), Score | RunRefused)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
names = st.sampled_from([*Row.__struct_fields__, *Header.__struct_fields__])
strange_rows = st.dictionaries(names, anything, max_size=4) | st.dictionaries(
    names | st.text(max_size=4), st.sampled_from(["ok", 0, "u007", [], ["w41"], {}, {"seen": 1}])
)


@settings(max_examples=120)
@given(st.integers(0, 300), st.lists(strange_rows, min_size=1, max_size=3), st.booleans())
def test_whatever_the_fields_a_file_scores_or_is_refused(
    toy: Task,
    tmp_path_factory: pytest.TempPathFactory,
    at: int,
    strange: list[make.Row],
    escaped: bool,
) -> None:
    lines = make.whole()
    replaced: list[make.Row] = [
        {**lines[at], **found} if number % 2 else found for number, found in enumerate(strange)
    ]
    texts = [json.dumps(row, ensure_ascii=escaped) for row in replaced]
    path = tmp_path_factory.getbasetemp() / "strange.jsonl"
    path.write_bytes(make.joined([*lines[:at], *texts, *lines[at + 1 :]]))
    assert isinstance(outcome(path, toy), Score | RunRefused)
