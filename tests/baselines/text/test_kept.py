"""Embeddings are made once; a kill, damage or a neighbour costs time and nothing else."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from baselines.text import kept
from baselines.text.kept import Embeddings
from llm4rec_bench import BenchError
from tests.baselines.text.fakes import Words

TEXTS = [f"text number {number}" for number in range(60)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch) -> None:
    monkeypatch.setattr(kept, "_CHUNK", 20)


def files(workspace: Path) -> list[Path]:
    return sorted((workspace / "embeddings").glob("*.sqlite"))


def filled(workspace: Path) -> tuple[Path, np.ndarray]:
    vectors = Embeddings(Words(), workspace).passages(TEXTS)
    (path,) = files(workspace)
    return path, vectors


def made_again(workspace: Path, expected: np.ndarray) -> list[str]:
    """What a later process has to encode, its vectors being the same all the same."""
    encoder = Words()
    np.testing.assert_array_equal(Embeddings(encoder, workspace).passages(TEXTS), expected)
    return [text for texts in encoder.asked for text in texts]


def test_vectors_are_those_of_the_encoder_at_length_one(tmp_path: Path) -> None:
    for workspace in (None, tmp_path):
        encoder = Words()
        found = Embeddings(encoder, workspace).passages(["b a", "c", "b a", ""])
        assert encoder.asked == [["", "c", "b a"]]  # by length
        plain = encoder.encode(["b a", "c", "b a"], "")
        lengths = np.linalg.norm(plain, axis=1, keepdims=True)
        np.testing.assert_allclose(found[:3], plain / lengths, rtol=1e-6)
        assert not found[3].any()  # no direction, no length
        assert found.dtype == np.float32


def test_a_text_is_encoded_once_whatever_it_comes_with(tmp_path: Path) -> None:
    path, vectors = filled(tmp_path)
    assert path.name.startswith("words-")
    assert made_again(tmp_path, vectors) == []
    encoder = Words()
    some = Embeddings(encoder, tmp_path).queries(["new", TEXTS[7], TEXTS[3]])
    assert encoder.asked == [["new"]]
    np.testing.assert_array_equal(some[1:], vectors[[7, 3]])


def test_a_long_encoding_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[str] = []
    Embeddings(Words(), tmp_path, told.append).passages(TEXTS[:50])
    assert told == [f"{done} of 50 texts embedded" for done in (20, 40, 50)]
    told.clear()
    Embeddings(Words(), tmp_path, told.append).passages(TEXTS[:20])
    assert told == []


def test_without_a_workspace_they_last_as_long_as_the_object() -> None:
    encoder = Words()
    embeddings = Embeddings(encoder)
    np.testing.assert_array_equal(embeddings.passages(TEXTS[:9]), embeddings.queries(TEXTS[:9]))
    assert encoder.asked == [TEXTS[:9]]


def test_another_encoder_or_prompt_finds_nothing_of_these(tmp_path: Path) -> None:
    filled(tmp_path)
    for number, change in enumerate([{"identity": ["other"]}, {"identity": ["words", 2]}]):
        other = Words(**change)
        Embeddings(other, tmp_path).passages(TEXTS[:2])
        assert other.asked == [TEXTS[:2]]
        assert len(files(tmp_path)) == 2 + number
    asking = Words()
    asking.query_prompt = "query: "
    embeddings = Embeddings(asking, tmp_path)
    query = embeddings.queries(TEXTS[:1])
    assert asking.asked == [TEXTS[:1]]
    assert not np.array_equal(query, embeddings.passages(TEXTS[:1]))
    assert len(files(tmp_path)) == 4


def test_file_names_hold_nothing_a_card_made_up(tmp_path: Path) -> None:
    encoder = Words()
    encoder.model = "../../etc/pass wd\n\x1b[31m" + "x" * 400
    Embeddings(encoder, tmp_path).passages(["a"])
    (path,) = files(tmp_path)
    assert path.parent == tmp_path / "embeddings"
    assert path.name.startswith("pass-wd-31mxxx") and len(path.name) < 90


class Killed(Words):
    """Breaks off at its third chunk."""

    def encode(self, texts, prompt):
        if len(self.asked) == 2:
            raise KeyboardInterrupt
        return super().encode(texts, prompt)


def test_a_run_that_is_killed_keeps_the_chunks_that_were_done(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Embeddings(Killed(), tmp_path).passages(TEXTS)
    assert made_again(tmp_path, Embeddings(Words()).passages(TEXTS)) == TEXTS[40:]


@pytest.mark.parametrize("size", [0, 1, 99, 100, 4096, 5000, 9000, -4096, -1])
def test_a_file_cut_off_anywhere_is_made_anew(size: int, tmp_path: Path) -> None:
    path, vectors = filled(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:size])
    made_again(tmp_path, vectors)
    assert made_again(tmp_path, vectors) == []


@pytest.mark.parametrize("page", [0, 1, 2])
def test_a_file_overwritten_with_noise_is_made_anew(page: int, tmp_path: Path) -> None:
    path, vectors = filled(tmp_path)
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(0).bytes(4096)
    data[page * 4096 : (page + 1) * 4096] = noise
    path.write_bytes(data)
    made_again(tmp_path, vectors)
    assert made_again(tmp_path, vectors) == []


def test_a_vector_with_a_flipped_bit_is_encoded_again(tmp_path: Path) -> None:
    path, vectors = filled(tmp_path)
    data = path.read_bytes()
    place = data.index(vectors[33].tobytes()) + 10
    path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
    assert made_again(tmp_path, vectors) == [TEXTS[33]]
    assert made_again(tmp_path, vectors) == []


def test_a_file_that_another_process_replaced_is_written_to_all_the_same(tmp_path: Path) -> None:
    path, vectors = filled(tmp_path)

    class Meanwhile(Words):
        def encode(self, texts, prompt):
            path.write_bytes(b"not a database, and longer than a header of one" * 9)
            return super().encode(texts, prompt)

    Embeddings(Meanwhile(), tmp_path).passages(["new", *TEXTS[:2]])
    assert made_again(tmp_path, vectors) == TEXTS


def test_a_file_removed_between_opening_and_writing_is_opened_again(tmp_path: Path) -> None:
    path, vectors = filled(tmp_path)
    tries = []

    def write(file: sqlite3.Connection) -> None:
        if not tries:
            path.unlink()
        tries.append(file)
        file.execute("REPLACE INTO vectors VALUES (x'00', x'00', 0)")

    kept._InFile(path)._used(write)
    assert len(tries) == 2
    assert made_again(tmp_path, vectors) == TEXTS


def test_where_nothing_can_be_kept_it_is_said_where(tmp_path: Path) -> None:
    path, _ = filled(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BenchError, match=rf"{path.name}: embeddings cannot be kept there"):
        Embeddings(Words(), tmp_path).passages(TEXTS)


def test_a_file_locked_for_too_long_is_named(tmp_path: Path, monkeypatch) -> None:
    path, _ = filled(tmp_path)
    monkeypatch.setattr(kept, "_PATIENCE", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BenchError, match="database is locked"):
        Embeddings(Words(), tmp_path).passages(TEXTS)
    other.close()
    assert Embeddings(Words(), tmp_path).passages(TEXTS).shape == (60, 16)


def test_a_model_that_became_another_is_noticed(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(BenchError, match=r"gave vectors of different lengths.*words-.*sqlite"):
        Embeddings(Words(dimensions=8), tmp_path).passages([*TEXTS, "new"])


TWO = """
import sys
from pathlib import Path
from baselines.text import kept
from tests.baselines.text.fakes import Words
kept._CHUNK = 3
vectors = kept.Embeddings(Words(), Path(sys.argv[1])).passages(
    [f"text number {number}" for number in range(60)]
)
print(vectors.sum())
"""


def test_two_processes_fill_one_file(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "error", "-c", TWO, str(tmp_path)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(sums) == 1
    assert made_again(tmp_path, Embeddings(Words()).passages(TEXTS)) == []


def test_two_that_find_the_same_damage_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path, vectors = filled(tmp_path)
    path.write_bytes(b"x" * 5000)
    late = kept._InFile(path)
    made_again(tmp_path, vectors)  # the other has made the file anew in the meantime
    late._remove_if_broken()
    assert made_again(tmp_path, vectors) == []
