"""Mutated copies of the files in tests/runs: each is scored or refused, and nothing else.

A fuzz of the same promise that follows the code is tests/fuzz/fuzz_run.py.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.fuzz_run import TOKENS, scored_or_refused
from tests.runs import make

ROUNDS = 20
COPIES = 60
"""Mutated files of one round: about half a second."""

SLOW = {"too-large.jsonl.zst", "line-too-long.jsonl.zst"}
VALID = list(make.valid().values())
INVALID = {name: data for name, data in make.invalid().items() if name not in SLOW}


def mutated(draw: random.Random, data: bytes) -> bytes:
    """Bytes flipped, cut out, doubled, turned round or put in, a few times over."""
    for _ in range(draw.choice([1, 1, 2, 4, 8])):
        start = draw.randrange(len(data) + 1)
        piece = data[start : start + draw.choice([0, 1, 1, 2, 8, 60, 1000])]
        put = draw.choice(
            [
                b"",
                draw.choice(TOKENS),
                piece + draw.choice(TOKENS),
                piece * 2,
                piece[::-1],
                draw.randbytes(len(piece) or 1),
                bytes(byte ^ 1 << draw.randrange(8) for byte in piece[:1]) + piece[1:],
            ]
        )
        data = data[:start] + put + data[start + len(piece) :]
    return data[: draw.randrange(len(data) + 1)] if draw.random() < 0.1 else data


def reordered(draw: random.Random, data: bytes) -> bytes:
    """The lines behind the first in another order, some of them blank or with spaces around."""
    head, *lines = data.splitlines(keepends=True)
    draw.shuffle(lines)
    ends = draw.choices([b"", b" ", b"\t", b"\n", b"\r\n"], [50, 1, 1, 1, 1], k=len(lines))
    return b"".join([head, *(end + line for end, line in zip(ends, lines, strict=True))])


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_whatever_becomes_of_a_file_it_is_scored_or_refused(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    broken = list(INVALID.values())
    scored = 0
    for _ in range(COPIES):
        data = draw.choice(draw.choice([VALID, broken]))
        if data and draw.random() < 0.3:
            data = reordered(draw, data)
        if draw.random() < 0.7:
            data = mutated(draw, data)
        scored += scored_or_refused(data, tmp_path / "run.jsonl")
    assert 0 < scored < COPIES  # mutations are neither too weak nor too strong


@pytest.mark.parametrize("data", VALID, ids=list(make.valid()))
def test_a_file_may_end_anywhere(data: bytes, tmp_path: Path) -> None:
    draw = random.Random(0)
    for _ in range(10):
        end = draw.randrange(len(data) - 1)
        assert not scored_or_refused(data[:end], tmp_path / "run.jsonl")
