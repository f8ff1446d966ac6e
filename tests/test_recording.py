"""Recordings: nothing answered is lost, nothing else is read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from llm4rec_bench import BenchError, CardRefused
from llm4rec_bench import recording as module
from llm4rec_bench.recording import FORMAT, Budget, Recording, recording_of
from llm4rec_bench.submission import run_files

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


def lines(path: Path) -> list[dict]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", ["a.recording.jsonl", "a.recording.jsonl.gz"])
def test_answers_are_kept_at_once_and_named_when_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    recording = Recording(path)
    recording.put(TWO, b'{"text":"b"}')
    recording.put(ONE, b'{"text":"a"}')
    assert not path.exists()
    (partial,) = tmp_path.iterdir()
    assert [line.get("key") for line in lines(partial)] == [None, TWO, ONE]
    recording.finish()
    assert list(tmp_path.iterdir()) == [path]
    assert lines(path) == [
        {"format": FORMAT},
        {"key": ONE, "answer": {"text": "a"}},
        {"key": TWO, "answer": {"text": "b"}},
    ]
    assert Recording(path, replay=True).get(TWO) == b'{"text":"b"}'


def test_equal_answers_give_equal_files_whenever_they_came(tmp_path: Path) -> None:
    for name, keys in (("a", [ONE, TWO]), ("b", [TWO, ONE])):
        recording = Recording(tmp_path / f"{name}.recording.jsonl.gz")
        for key in keys:
            recording.put(key, b"{}")
        recording.finish()
    one, other = sorted(tmp_path.iterdir())
    assert one.read_bytes() == other.read_bytes()


def test_a_kill_loses_no_more_than_the_line_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.recording.jsonl.gz"
    recording = Recording(path)
    recording.put(ONE, b"{}")
    recording.put(TWO, b"{}")
    recording.close()
    partial = tmp_path / "a.recording.jsonl.gz.partial"
    whole = partial.read_bytes()
    for cut in range(len(whole) + 1):
        partial.write_bytes(whole[:cut])
        again = Recording(path)
        ends = whole[:cut].count(b"\n")
        assert len(again) == max(0, ends - 1)
        again.put(THREE, b'{"new":1}')
        again.close()
        assert len(Recording(path)) == max(0, ends - 1) + 1


def test_who_reads_beside_a_run_takes_nothing_from_it(tmp_path: Path) -> None:
    """As a dry run does, that asks how much is left: also in the middle of a line."""
    path = tmp_path / "a.recording.jsonl"
    running = Recording(path)
    running.put(ONE, b"{}")
    partial = tmp_path / "a.recording.jsonl.partial"
    begun = partial.read_bytes()
    for cut in range(len(begun) + 1):
        partial.write_bytes(begun[:cut])
        assert len(Recording(path)) == begun[:cut].count(b"\n") - (cut > begun.index(b"\n"))
        assert partial.read_bytes() == begun[:cut]
    running.put(TWO, b"{}")
    running.close()
    assert len(Recording(path)) == 2


def test_a_finished_recording_goes_on_and_newer_answers_count(tmp_path: Path) -> None:
    path = tmp_path / "a.recording.jsonl"
    for answer in (b'{"n":1}', b'{"n":2}'):
        recording = Recording(path)
        recording.put(ONE, answer)
        recording.put(answer.hex()[:1] * 64, answer)
        recording.finish()
    assert Recording(path).get(ONE) == b'{"n":2}'


def test_a_replay_asks_for_nothing_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.recording.jsonl"
    with pytest.raises(CardRefused, match="no recording to replay"):
        Recording(path, replay=True)
    recording = Recording(path)
    recording.put(ONE, b"{}")
    recording.finish()
    replayed = Recording(path, replay=True)
    assert replayed.get(ONE) == b"{}"
    with pytest.raises(BenchError, match="holds no answer to a call of this run"):
        replayed.get(TWO)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", None),
        (b"not json\n", "line 1"),
        (b'{"format": "llm4rec-bench-recording/9"}\n', "not of the format"),
        (b'{"format": "%s"}\n{"key": "short", "answer": {}}\n' % FORMAT.encode(), "line 2"),
        (b'{"format": "%s"}\n{"key": 1}\n' % FORMAT.encode(), "line 2"),
        (
            b'{"format": "%s"}\n{"key": "%s", "answer": ' % (FORMAT.encode(), b"0" * 64)
            + b"[" * 1_000_000
            + b"\n",
            "line 2",
        ),
        (b'{"format": "%s"}\n\xff\xfe\n' % FORMAT.encode(), "line 2"),
        (b'{"format": "%s"}\n' % FORMAT.encode() + b"x" * (1 << 23), "a line of more than 4 MiB"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, data: bytes, said) -> None:
    path = tmp_path / "a.recording.jsonl"
    path.write_bytes(data)
    if said is None:
        assert len(Recording(path)) == 0
        return
    with pytest.raises(CardRefused, match=said):
        Recording(path)


def test_archives_are_bounded_and_may_not_be_broken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1 << 20)
    path = tmp_path / "a.recording.jsonl.gz"
    row = json.dumps({"key": ONE, "answer": {"text": "x" * 1000}}) + "\n"
    path.write_bytes(gzip.compress(f'{{"format": "{FORMAT}"}}\n{row * 2000}'.encode()))
    with pytest.raises(CardRefused, match="larger than"):
        Recording(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CardRefused, match="cannot be read"):
        Recording(path)


def test_recordings_lie_beside_runs_and_are_none(tmp_path: Path) -> None:
    for run, recorded in (
        ("toy-v1.ranking.jsonl", "toy-v1.ranking.recording.jsonl"),
        ("toy-v1.ranking.jsonl.gz", "toy-v1.ranking.recording.jsonl.gz"),
    ):
        assert recording_of(tmp_path / run) == tmp_path / recorded
        (tmp_path / run).touch()
        (tmp_path / recorded).touch()
    assert sorted(path.name for path in run_files(tmp_path)) == [
        "toy-v1.ranking.jsonl", "toy-v1.ranking.jsonl.gz",
    ]  # fmt: skip


def test_a_budget_counts_in_the_prices_of_a_table() -> None:
    budget = Budget(1.0, lambda prompt, completion, cached: prompt + 10 * completion, "USD")
    assert budget.allows(1.0)
    budget.spend(0, 0, 0)
    budget.price = lambda prompt, completion, cached: 0.25
    budget.spend(1, 1, 0)
    assert budget.allows(0.75)
    assert not budget.allows(0.76)
    assert "0.2500 USD spent" in str(budget.exhausted())
