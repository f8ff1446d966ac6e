"""An endpoint on this machine that answers well, badly, late and wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from baselines.text.encoders import Endpoint, encoded, encoder_of
from llm4rec_bench import BenchError, UsageError
from tests.loopback import LoopbackServer

KEY = "sk-this-is-a-secret"

Answer = Callable[[dict], tuple[int, object]]


def good(asked: dict) -> tuple[int, object]:
    """An embedding that tells which text it is of, last one first."""
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0, 0.0]}
        for index, text in enumerate(asked["input"])
    ]
    return 200, {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 7}}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], asked))
        answers = self.server.answers
        status, body = (answers.pop(0) if len(answers) > 1 else answers[0])(asked)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[LoopbackServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LoopbackServer(Handler) as running:
        running.asked, running.answers = [], [good]
        yield running


def at(server: LoopbackServer, **more) -> Endpoint:
    table = {"kind": "openai", "model": "embedder", "base_url": f"{server.address}/v1"}
    return encoder_of(table | {"retries": 2} | more)


def test_texts_are_asked_for_in_batches_and_put_in_order_by_index(server) -> None:
    encoder = at(server, batch_size=2, dimensions=3)
    texts = ["a", "bb", "cccc"]
    found = encoded(encoder, texts, "passage: ")
    lengths = [len("passage: " + text) for text in texts]
    np.testing.assert_allclose(found[:, 0] / found[:, 1], lengths)
    assert encoder.spent.prompt_tokens == 14
    path, key, first = server.asked[0]
    assert (path, key) == ("/v1/embeddings", f"Bearer {KEY}")
    assert first == {
        "model": "embedder",
        "input": ["passage: a", "passage: bb"],
        "dimensions": 3,
        "encoding_format": "float",
    }
    assert [call[2]["input"] for call in server.asked[1:]] == [["passage: cccc"]]


def test_what_passes_is_tried_again_by_the_client(server) -> None:
    server.answers = [
        lambda asked: (429, {"error": {"message": "slow down"}}),
        lambda asked: (503, b"busy"),
        good,
    ]
    assert encoded(at(server), ["a"], "").shape == (1, 3)
    assert len(server.asked) == 3
    assert "dimensions" not in server.asked[0][2]


@pytest.mark.parametrize(
    ("status", "body", "message", "calls"),
    [
        (429, {"error": {"message": "slow down"}}, "RateLimitError: .*slow down", 3),
        (401, {"error": {"message": f"bad key {KEY}"}}, "AuthenticationError: .*bad key …", 1),
        (400, {"error": {"message": "too\x1b[31m long " + "x" * 999}}, "BadRequestError", 1),
        (500, b"\xff\xfe not json", "InternalServerError", 3),
        (200, b"<html>", "no list of embeddings", 1),
        (200, b"", "no list of embeddings", 1),
        (200, b'{"data": [{"index": 0, "embedding": [NaN]}]}', "no list of embeddings", 1),
        (200, b'{"data": [{"index": 0, "embedding": [1e999, 1]}]}', "no list of embeddings", 1),
        (200, b'{"data": [{"index": 0, "embedding": [1e39, 1]}]}', "NaN or infinity", 1),
        (200, b'{"data": [{"index": 0, "embedding": "AACAPw=="}]}', "no list of embeddings", 1),
        (200, {"error": "quota"}, "no list of embeddings: .*`data`", 1),
        (200, {"data": []}, "answered 1 texts with 0 embeddings", 1),
        (200, {"data": [{"index": 1, "embedding": [1.0]}]}, "of which 0 belong", 1),
        (200, {"data": [{"index": 0, "embedding": [1.0]}] * 2}, "1 texts with 2 embeddings", 1),
        (200, {"data": [{"index": 0, "embedding": []}]}, r"shape \(1, 0\)", 1),
    ],
)
def test_other_answers_are_errors_that_name_the_model(
    server, status: int, body: object, message: str, calls: int
) -> None:
    server.answers = [lambda asked: (status, body)]
    with pytest.raises(BenchError, match=message) as told:
        encoded(at(server), ["a"], "")
    assert "embedder" in str(told.value)
    assert KEY not in str(told.value)
    assert len(str(told.value)) < 500
    assert len(server.asked) == calls


def test_vectors_of_different_lengths_are_refused(server) -> None:
    data = [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]
    server.answers = [lambda asked: (200, {"data": data})]
    with pytest.raises(BenchError, match="different lengths"):
        encoded(at(server), ["a", "b"], "")


def test_where_nobody_answers_it_is_said(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LoopbackServer(Handler) as gone:
        pass
    with pytest.raises(BenchError, match=r"embedder at http://127\.0\.0\.1:.*APIConnectionError"):
        at(gone, retries=0).encode(["a"], "")


def test_a_key_comes_from_the_environment_only(server, monkeypatch) -> None:
    at(server).encode(["a"], "")
    monkeypatch.delenv("OPENAI_API_KEY")
    at(server).encode(["a"], "")  # one on this machine needs none
    assert [key for _, key, _ in server.asked] == [f"Bearer {KEY}", "Bearer none"]
    with pytest.raises(UsageError, match=r"no key in OPENAI_API_KEY; .*OPENAI_API_KEY=none"):
        at(server, base_url="https://192.0.2.1/v1").encode(["a"], "")
