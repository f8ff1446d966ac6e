"""Files read in blocks: the lines are those of the file, however it is cut and whoever reads."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm4rec_bench import RunRefused, Task, read_run
from llm4rec_bench.run import lines, read, rows
from llm4rec_bench.run.format import LONGEST_LINE
from llm4rec_bench.run.lines import BLOCK, Block, block_of, blocks
from llm4rec_bench.run.plain import no_lists
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.run.read import Run
from tests.run.conftest import Refused, Written
from tests.runs import make

HEADER = make.joined([make.header()])
PLAIN = make.joined(make.whole())

Line = tuple[int, bytes]


def split(data: bytes) -> list[bytes]:
    """The lines of some bytes; what is behind the last newline is one if it is anything."""
    *whole, last = data.split(b"\n")
    return [*whole, last] if last else whole


def numbered(data: bytes, first: int = 1) -> list[Line]:
    return list(enumerate(split(data), first))


def told_of(pieces: Iterable[Block]) -> list[Line]:
    """Number and bytes of each line in some blocks."""
    return [
        (piece.first + place, piece.line(place))
        for piece in pieces
        for place in range(len(piece.start))
    ]


class Dribbling(io.BytesIO):
    """A file that hands out less than it is asked for."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(min(5, size or 0) if size != -1 else 5)


def read_in_blocks(
    data: bytes, block: int, longest: int = LONGEST_LINE, file: type[io.BytesIO] = io.BytesIO
) -> tuple[list[Block], Problems]:
    problems = Problems("run.jsonl")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines, "BLOCK", block)
        patched.setattr(lines, "LONGEST_LINE", longest)
        return list(blocks(file(data), problems)), problems


texts = st.lists(
    st.sampled_from([b"\n", b"\n", b"\r\n", b"x", b"{}", b"\0\xff", b"word " * 9, b"\n\n\n"])
    | st.binary(max_size=20),
    max_size=30,
).map(b"".join)
sizes = st.integers(1, 64)


@given(st.binary(max_size=40) | texts, st.integers(1, 10**7))
@example(b"", 1)
@example(b"\n", 1)
@example(b"\n\nx", 2)
def test_a_block_holds_the_lines_of_its_bytes(data: bytes, first: int) -> None:
    block = block_of(first, [data])
    assert told_of([block]) == numbered(data, first)


@given(texts, sizes, st.sampled_from([io.BytesIO, Dribbling]))
@example(b"a\nb\nc", 2, io.BytesIO)
@example(b"a" * 64 + b"\n" + b"b" * 64, 64, io.BytesIO)
@example(b"\n" * 65, 64, io.BytesIO)
def test_lines_and_numbers_are_those_of_the_file_wherever_it_is_cut(
    data: bytes, size: int, file: type[io.BytesIO]
) -> None:
    pieces, problems = read_in_blocks(data, size, file=file)
    assert told_of(pieces) == numbered(data)
    assert b"".join(bytes(piece.read()) for piece in pieces) == data
    assert all(bytes(piece.read()).endswith(b"\n") for piece in pieces[:-1])
    assert all(len(piece.start) for piece in pieces)
    assert not problems.total


@given(texts, sizes, st.integers(0, 40))
@example(b"a\n" + b"b" * 300 + b"\nc\n" + b"d" * 300, 7, 20)
@example(b"b" * 21 + b"\n" + b"c" * 20 + b"\n", 1, 20)
@example(b"b" * 300, 64, 20)
def test_an_over_long_line_is_cut_and_counted_once(data: bytes, size: int, longest: int) -> None:
    pieces, problems = read_in_blocks(data, size, longest)
    found = told_of(pieces)
    assert [number for number, _ in found] == [number for number, _ in numbered(data)]
    for (_, line), whole in zip(found, split(data), strict=True):
        if len(whole) <= longest:
            assert line == whole
        else:
            assert longest < len(line) <= longest + 2 * size
            assert line[: longest + 1] == whole[: longest + 1]
    assert not problems.total


# Archives that break off


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.floats(0, 1), st.sampled_from([1, 7, 64, 1000, BLOCK]))
def test_of_a_truncated_archive_all_lines_that_are_whole_are_handed_on(
    seed: int, end: float, size: int
) -> None:
    draw = random.Random(seed)
    data = b"".join(draw.randbytes(draw.randint(0, 60)) + b"\n" for _ in range(60))
    packed = gzip.compress(data)
    cut = packed[: 10 + int(end * (len(packed) - 11))]
    whole = zlib.decompressobj(wbits=31).decompress(cut)
    whole = whole[: whole.rfind(b"\n") + 1]
    problems = Problems("run.jsonl")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines, "BLOCK", size)
        with gzip.GzipFile(fileobj=io.BytesIO(cut)) as file:
            found = told_of(blocks(cast(BinaryIO, file), problems))
    assert found == numbered(whole)
    (problem,) = problems.found
    assert problem.code == "bad-compression"
    assert problem.message.startswith(f"cannot be unpacked after line {len(found)} (")


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("size", [500, 3000, BLOCK])
@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_what_is_wrong_before_an_archive_breaks_off_is_told(
    pack: Callable[[bytes], bytes], size: int, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK", size)
    draw = random.Random(3)
    noise = b"".join(draw.randbytes(200).hex().encode() + b"\n" for _ in range(500))
    packed = pack(HEADER + b"{}\n[]\n" + noise)
    refusal = refused(packed[: len(packed) * 9 // 10])
    assert [(problem.line, problem.code) for problem in refusal.problems][:2] == [
        (2, "missing-field"), (3, "wrong-type"),
    ]  # fmt: skip
    assert refusal.by_code["bad-compression"] == 1
    assert not any(code.startswith("missing-r") for code in refusal.by_code)


# Blocks and workers


def outcome(path: Path, task: Task, block: int, workers: int) -> dict[str, Any]:
    """All that a file is read as, or all that it is refused for."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines, "BLOCK", block)
        patched.setattr(read, "_WORKERS", workers)
        try:
            return all_of(read_run(path, task))
        except RunRefused as refusal:
            return {
                "said": str(refusal),
                "problems": refusal.problems,
                "by code": refusal.by_code,
                "read to": read_to(refusal),
            }


def read_to(refusal: RunRefused) -> int | None:
    """The last line that was read, where a file is said to be read no further."""
    found = re.search(r": read no further than line ([\d,]+); mend these first\Z", str(refusal))
    return int(found[1].replace(",", "")) if found else None


def all_of(run: Run) -> dict[str, Any]:
    tally = run.tally
    return {
        "header": run.header,
        "digest": run.digest,
        "ranks": (run.ranks.dtype, run.ranks.tolist()),
        "top": [(top.dtype, top.tolist()) for top in run.top],
        "counts": (tally.rows, tally.valid, tally.items, tally.as_given, tally.tokens),
        "by name": (+tally.statuses, +tally.dropped),
        "latency": np.concatenate(tally.latency_ms).tolist(),
    }


BROKEN = [
    name
    for name in make.invalid()
    # These are large; and how much can be unpacked of a damaged zstd archive is not ours to say.
    if not name.startswith(("line-too-long", "too-large")) and not re.match("bad-com.*zst", name)
]


@pytest.mark.parametrize(("size", "workers"), [(400, 2), (3000, 1), (3000, 3)])
def test_a_sound_file_is_the_same_run_in_any_number_of_blocks(
    size: int, workers: int, toy: Task
) -> None:
    for name in make.valid():
        path = make.HERE / "valid" / name
        expected = outcome(path, toy, BLOCK, 1)
        assert "ranks" in expected
        assert outcome(path, toy, size, workers) == expected, name


@pytest.mark.parametrize(("size", "workers"), [(700, 3), (2000, 1)])
def test_a_broken_file_is_refused_for_the_same_in_any_number_of_blocks(
    size: int, workers: int, toy: Task
) -> None:
    for name in BROKEN:
        path = make.HERE / "invalid" / name
        expected = outcome(path, toy, BLOCK, 1)
        assert "said" in expected
        assert outcome(path, toy, size, workers) == expected, name


@pytest.mark.parametrize("folder", ["valid", "invalid"])
def test_the_quick_way_of_reading_changes_no_outcome(
    folder: str, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted((make.HERE / folder).glob("*.jsonl*"))
    found = [outcome(path, toy, BLOCK, 1) for path in paths]
    monkeypatch.setattr(rows, "plain_lists", lambda block, catalogue: no_lists())
    for path, expected in zip(paths, found, strict=True):
        assert outcome(path, toy, BLOCK, 1) == expected, path.name


def damaged(toy: Task, seed: int) -> bytes:
    """Two repetitions of a run, with some of its lines repeated, dropped or broken."""
    draw = random.Random(seed)
    track = draw.choice(["ranking", "retrieval"])
    sound = [
        {**row, "run": number, "items": row["items"][: draw.randint(0, 12)]}
        for number in range(2)
        for row in make.rows(track, depth=12)[:60]
    ]
    texts = [json.dumps(row).encode() for row in sound]
    for _ in range(draw.choice([0, 1, 5, 40])):
        place = draw.randrange(len(texts))
        row = draw.choice(sound)
        texts[place] = draw.choice(
            [
                texts[place] + b"\n" + texts[place],
                b"",
                b"[]",
                b'{"request_id":"u001","items":["none","w1","w1"]}',
                json.dumps({**row, "items": row["items"] + row["items"]}).encode(),
                json.dumps({**row, "items": toy.items.ids[:20]}).encode(),
                json.dumps({**row, "items": ["W1"], "explanation": "[]\n"}).encode(),
                json.dumps({**row, "request_id": "none"}, separators=(",", ":")).encode(),
                texts[place].replace(b"w", b"\xff", 1),
                b"\r",
            ]
        )
    blank = draw.choice([b"", b"", b"\n\r\n \n" * 9])
    end = draw.choice([b"", b"\n", b"\n\n"])
    return blank + make.joined([make.header(track)]) + b"\n".join(texts) + end


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(100, 4000), st.integers(1, 3))
def test_any_file_is_read_the_same_in_any_number_of_blocks(
    toy: Task, tmp_path_factory: pytest.TempPathFactory, seed: int, size: int, workers: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.jsonl"
    path.write_bytes(damaged(toy, seed))
    assert outcome(path, toy, size, workers) == outcome(path, toy, BLOCK, 1)


@pytest.mark.parametrize("size", [1, 2, 50, BLOCK])
@pytest.mark.parametrize(
    "data",
    [
        HEADER,
        HEADER.rstrip(),
        b"\n \r\n" * 9 + HEADER.rstrip(),
        HEADER + b"\n\n \n",
        b"\n" * 5,
        HEADER + b"{}",
        b"x\n" + HEADER,
    ],
    ids=["alone", "no newline", "blank before", "blank behind", "blank", "line", "text before"],
)
def test_a_header_is_found_wherever_blocks_end(
    data: bytes, size: int, toy: Task, written: Written
) -> None:
    path = written(data)
    assert outcome(path, toy, size, 2) == outcome(path, toy, BLOCK, 1)


# Files read no further


ENOUGH = 10_000


@pytest.fixture
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many lines of three bytes a block holds."""
    monkeypatch.setattr(lines, "BLOCK", 3000)
    return 1000


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_after_ten_thousand_problems_a_file_is_read_no_further(
    workers: int, in_small_blocks: int, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "_WORKERS", workers)
    refusal = refused(HEADER + b"{}\n" * 4 * ENOUGH)
    assert ENOUGH < refusal.total <= ENOUGH + in_small_blocks
    assert refusal.by_code == {"missing-field": refusal.total}
    assert read_to(refusal) == 1 + refusal.total
    assert [problem.line for problem in refusal.problems] == list(range(2, 22))
    *_, counted, last = str(refusal).splitlines()
    assert counted == (
        f"run.jsonl: … and {refusal.total - 20:,} more; in all: missing-field {refusal.total:,}"
    )
    line = f"{1 + refusal.total:,}"
    assert last == f"run.jsonl: read no further than line {line}; mend these first"


def test_the_command_line_says_so_and_fails(in_small_blocks: int, written: Written) -> None:
    code, out, err = make.said_of("check", written(HEADER + b"{}\n" * 2 * ENOUGH))
    assert (code, out) == (1, "")
    *_, last, summary = err.splitlines()
    assert re.fullmatch(r"run\.jsonl: read no further than line [\d,]+; mend these first", last)
    assert re.fullmatch(r"run\.jsonl: refused, [\d,]+ problems", summary)


def test_ten_thousand_problems_are_not_too_many(in_small_blocks: int, refused: Refused) -> None:
    refusal = refused(HEADER + b"{}\n" * ENOUGH + b"\n" * ENOUGH)
    assert refusal.by_code == {"missing-field": ENOUGH}
    assert read_to(refusal) is None
    assert "read no further" not in str(refusal)


def test_problems_with_the_task_count_as_well(in_small_blocks: int, refused: Refused) -> None:
    line = make.joined([{"request_id": "u001", "items": ["none"] * 100}])
    refusal = refused(HEADER + line * 500)
    last = read_to(refusal)
    assert last is not None
    assert last < 200
    answered = last - 1
    assert refusal.by_code == {"unknown-item": 100 * answered, "repeated-request": answered - 1}


def test_without_a_header_a_file_is_read_no_further_either(
    in_small_blocks: int, refused: Refused
) -> None:
    refusal = refused(b"{}\n" * 4 * ENOUGH)
    assert read_to(refusal) is not None
    assert ENOUGH < refusal.total <= ENOUGH + in_small_blocks


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_what_lies_behind_is_told_on_no_machine(
    workers: int, written: Written, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that a refusal does not depend on how far ahead a machine with more processors reads.
    draw = random.Random(0)
    noise = b"".join(draw.randbytes(50).hex().encode() + b"\n" for _ in range(400))
    packed = gzip.compress(HEADER + b"{}\n" * (ENOUGH + 1) + noise)
    path = written(packed[:-1000])
    size = 40_000
    assert outcome(path, toy, size, workers) == outcome(path, toy, size, 1)


# Memory


class Endless(io.RawIOBase):
    """So many bytes of a pattern, made as they are read."""

    def __init__(self, pattern: bytes, size: int) -> None:
        self.left, self.chunk = size, pattern * (BLOCK // len(pattern))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self.chunk[: min(len(buffer), self.left)]
        buffer[: len(part)] = part
        self.left -= len(part)
        return len(part)


@pytest.mark.parametrize("pattern", [b"x" * 127 + b"\n", b"x"], ids=["lines", "one line"])
def test_however_long_a_file_only_a_few_blocks_of_it_are_held(pattern: bytes) -> None:
    size = 40 * BLOCK
    problems = Problems("run.jsonl")
    tracemalloc.start()
    try:
        read = blocks(cast(BinaryIO, io.BufferedReader(Endless(pattern, size))), problems)
        found = sum(len(piece.start) for piece in read)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == max(1, size // 128 if b"\n" in pattern else 1)
    assert peak < 8 * BLOCK


def test_workers_are_not_far_ahead_of_what_is_taken() -> None:
    read_ahead: list[int] = []

    def pieces() -> Iterator[Block]:
        for number in range(1, 50):
            read_ahead.append(number)
            yield block_of(number, [b"x\n"])

    def work(block: Block) -> tuple[None, Problems]:
        return None, Problems(str(block.first))

    for taken, (block, (_, problems)) in enumerate(read._in_order(work, pieces()), 1):
        assert block.first == taken == int(problems.name)
        assert len(read_ahead) <= taken + read._WORKERS


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_archives_are_cut_into_the_same_lines(pack: Any, written: Written) -> None:
    data = HEADER + PLAIN * 20
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines, "BLOCK", 1000)
        with lines.opened(written(pack(data))) as file:
            assert told_of(blocks(file, Problems("run.jsonl"))) == numbered(data)
