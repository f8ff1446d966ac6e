"""Who needs a key."""

from __future__ import annotations

import pytest

from baselines.openai_client import key_of
from llm4rec_bench import UsageError

HERE = [
    "http://127.0.0.1:8080/v1",
    "https://127.8.9.10/v1",
    "http://localhost:8000/v1",
    "http://LOCALHOST/v1",
    "http://[::1]:8080/v1",
]
ELSEWHERE = [
    "https://api.openai.com/v1",
    "http://192.168.0.1:8000/v1",
    "http://0.0.0.0:8000/v1",
    "http://[2001:db8::1]/v1",
    "http://localhost.example.org/v1",
    "http://127.0.0.1.example.org/v1",
    "http://example.org/127.0.0.1",
]


@pytest.mark.parametrize("held", [None, ""])
@pytest.mark.parametrize("url", HERE + ELSEWHERE)
def test_only_a_server_on_this_machine_needs_no_key(url, held, monkeypatch) -> None:
    monkeypatch.delenv("SOME_API_KEY", raising=False)
    if held is not None:
        monkeypatch.setenv("SOME_API_KEY", held)
    if url in HERE:
        assert key_of("SOME_API_KEY", url, "model") == "none"
    else:
        with pytest.raises(UsageError, match="model: there is no key in SOME_API_KEY; a server"):
            key_of("SOME_API_KEY", url, "model")


@pytest.mark.parametrize("url", HERE + ELSEWHERE)
def test_a_key_that_is_there_is_taken_anywhere_if_it_can_be_one(url, monkeypatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-1")
    assert key_of("SOME_API_KEY", url, "model") == "sk-1"
    monkeypatch.setenv("SOME_API_KEY", "two words")
    with pytest.raises(UsageError, match="SOME_API_KEY holds what cannot be a key"):
        key_of("SOME_API_KEY", url, "model")
