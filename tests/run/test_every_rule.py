"""The files in tests/runs: each rule is broken by a file of its own, its message pinned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llm4rec_bench.run.format import CODES
from tests.runs import make

VALID, INVALID = make.HERE / "valid", make.HERE / "invalid"
EXPECTED: dict[str, list[str]] = json.loads(make.EXPECTED.read_text("utf-8"))
NO_FILE_CAN_SHOW = {"not-a-file"}
"""Tested in test_read."""


def _codes(lines: list[str]) -> set[str]:
    return {found[1] for line in lines if (found := re.search(r" error\[([a-z0-9-]+)\] ", line))}


@pytest.mark.parametrize(("folder", "made"), [(VALID, make.valid()), (INVALID, make.invalid())])
def test_the_files_are_what_their_generator_makes(folder: Path, made: dict[str, bytes]) -> None:
    assert {path.name for path in folder.glob("*.jsonl*")} == made.keys()
    for name, data in made.items():
        assert (folder / name).read_bytes() == data, f"{name}: run python -m tests.runs.make"


def test_every_code_has_a_file_and_every_file_a_pinned_message() -> None:
    assert EXPECTED.keys() == make.invalid().keys()
    shown = set().union(*map(_codes, EXPECTED.values()))
    assert shown | NO_FILE_CAN_SHOW == CODES.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_broken_file_breaks_the_rule_it_is_named_for_and_no_other(name: str) -> None:
    # A line that cannot be read answers no request.
    (code,) = _codes(EXPECTED[name]) - {"missing-request"} or {"missing-request"}
    assert re.fullmatch(rf"{code}(-[a-z0-9-]+)?\.jsonl(\.gz|\.zst)?", name)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_broken_file_is_refused_in_the_pinned_words(name: str) -> None:
    code, out, err = make.said_of("check", INVALID / name)
    assert err.splitlines() == EXPECTED[name]
    assert (code, out) == (1, "")


@pytest.mark.parametrize("name", EXPECTED)
def test_messages_are_single_printable_lines(name: str) -> None:
    code, _, err = make.said_of("score", INVALID / name)
    assert code == 1
    assert all(line.isprintable() and line.startswith(name) for line in err.splitlines())


@pytest.mark.parametrize("verb", ["check", "score"])
def test_the_installed_command_says_and_exits_the_same(verb: str) -> None:
    name = "unknown-item-control.jsonl"
    command = [sys.executable, "-c", "from llm4rec_bench.cli import main; main()"]
    done = subprocess.run(
        [*command, verb, INVALID / name], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines() == EXPECTED[name]
    assert (done.returncode, done.stdout) == (1, "")


def test_a_refused_file_does_not_keep_the_next_one_from_being_checked() -> None:
    code, out, err = make.said_of(
        "check", INVALID / "bad-json.jsonl", VALID / "minimal.jsonl", INVALID / "bad-number.jsonl"
    )
    assert code == 1
    assert out == f"{VALID / 'minimal.jsonl'}: fine\n"
    assert err.splitlines() == EXPECTED["bad-json.jsonl"] + EXPECTED["bad-number.jsonl"]


def test_a_path_that_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.jsonl")
    code, out, err = make.said_of("check", "pipe.jsonl", "none.jsonl")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        'pipe.jsonl: error[not-a-file] "pipe.jsonl" is not a regular file',
        "pipe.jsonl: refused, 1 problem",
        'none.jsonl: error[not-a-file] "none.jsonl" cannot be opened '
        "(No such file or directory); check the path",
        "none.jsonl: refused, 1 problem",
    ]


@pytest.mark.parametrize("name", make.valid())
def test_a_sound_file_is_fine_and_scores(name: str) -> None:
    assert make.said_of("check", VALID / name) == (0, f"{VALID / name}: fine\n", "")
    code, out, err = make.said_of("score", "--json", VALID / name)
    assert (code, err) == (0, "")
    assert json.loads(out)["requests"] == 300
