"""The file of the packaged model."""

from __future__ import annotations

import pytest

from baselines.llm.models import packaged
from llm4rec_bench import BenchError


def test_a_packaged_model_is_taken_only_if_it_is_the_published_one(monkeypatch, tmp_path) -> None:
    (tmp_path / packaged.FILE).write_bytes(b"GGUF")
    there = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr("baselines.llm.models.packaged.find_spec", lambda name: there)
    with pytest.raises(BenchError, match=r"SHA-256 is b179c952.*reinstall"):
        packaged.path()
