"""Chat servers on this machine that do what some real ones do, and fail as told."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback import LoopbackServer

HANGS = "hangs"
CUT = "cut"
DRIPS = "drips"
DROPPED = "dropped"

Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]] | str | None
"""Status, body and headers; or one of the words above; or None for what the server usually says."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class Does:
    """What a server does with the fields that a chat may have; what it does not, it ignores."""

    most: int = 0
    """Of `top_logprobs`; more are refused."""
    schema: bool = False
    seed: bool = False
    goes_on: bool = False
    goes_on_if_told: bool = False
    repeats: bool = False
    tokenises: bool = False
    chats_as_tokens: bool = False
    echo: bool = False
    newer: bool = False
    """Takes `max_completion_tokens` and the temperature 1, and refuses others, as OpenAI says it.
    """


LLAMA = Does(10_000, schema=True, seed=True, goes_on=True, repeats=True, tokenises=True)
VLLM = Does(
    20,
    schema=True,
    seed=True,
    goes_on_if_told=True,
    tokenises=True,
    chats_as_tokens=True,
    echo=True,
)
OPENAI = Does(20, schema=True, seed=True)
DEAF = Does()


@dataclass
class State:
    """What a server has been asked, and how it answers."""

    does: Does = field(default_factory=Does)
    odd: dict[str, list[Reply]] = field(default_factory=dict)
    """Replies to a chat by its last message, one after the other, the last one again and again."""
    models: Reply = None
    """To who asks for the models; None lists `chatter`."""
    known: str = ""
    """A model that is told of when it is asked for by its name."""
    answers_as: str | None = "chatter"
    """The only name it answers under; None is any, as where there is one model."""
    asked: list[tuple[str, str | None, dict]] = field(default_factory=list)
    most_at_once: int = 0
    under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def chats(self) -> list[dict]:
        """The bodies of all chats."""
        return [body for path, _, body in self.asked if path == "/v1/chat/completions"]


class ChatServer(LoopbackServer):
    """A server for a model named `chatter`."""

    def __init__(self, does: Does) -> None:
        super().__init__(Handler)
        self.state = State(does)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.state.asked.append((self.path, self.headers["Authorization"], {}))
        if self.path == "/v1/models":
            self.reply(self.state.models or (200, listing("chatter")))
        elif self.path == f"/v1/models/{self.state.known}":
            self.send(200, {"id": self.state.known, "object": "model"})
        else:
            self.send(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.asked.append((self.path, self.headers["Authorization"], body))
            state.under_way += 1
            state.most_at_once = max(state.most_at_once, state.under_way)
        try:
            self.reply(self.found(body))
        finally:
            with state.lock:
                state.under_way -= 1

    def found(self, body: dict) -> Reply:
        does = self.state.does
        if self.path == "/v1/chat/completions":
            if body["model"] != self.state.answers_as is not None:
                return 404, {"error": {"message": f"model {body['model']} does not exist"}}
            odd = self.state.odd.get(body["messages"][-1]["content"], [None])
            with self.state.lock:
                reply = odd.pop(0) if len(odd) > 1 else odd[0]
            return reply or chat(body, does, len(self.state.asked))
        if self.path == "/tokenize" and does.tokenises:
            if "messages" in body and does.chats_as_tokens:
                return 200, {"tokens": [9, *tokens(body["messages"][-1]["content"])]}
            return 200, {"tokens": tokens(body.get("content", ""))}
        if self.path == "/v1/completions" and does.echo:
            return 200, completions(body)
        return 404, {"error": {"message": "no such path"}}

    def reply(self, reply: Reply) -> None:
        if reply == HANGS:
            self.server.holding.set()
            self.server.released.wait()
        elif reply == CUT:
            self.send(200, b'{"choices": [', {}, missing=99)
        elif reply == DRIPS:
            self.send(200, b" ", {}, missing=99)
            with suppress(ConnectionError):
                while not self.server.released.wait(0.05):
                    self.wfile.write(b" ")
                    self.wfile.flush()
        elif reply != DROPPED:
            self.send(*reply)

    def send(self, status: int, body: Any, headers: dict | None = None, missing: int = 0) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) + missing))
        for name, value in (headers or {"retry-after-ms": "1"}).items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # of a client that has called it off
            self.end_headers()
            self.wfile.write(data)

    @property
    def state(self) -> State:
        return self.server.state

    def log_message(self, *_: object) -> None:
        pass


def listing(*names: str, **more: Any) -> dict:
    """A list of models."""
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names], **more}


def said(content: str | None, finish: str = "stop", **more: Any) -> dict:
    """A chat's answer."""
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    return {
        "object": "chat.completion",
        "model": "chatter-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, **more}],
        "usage": {
            "prompt_tokens": 40,
            "completion_tokens": 2,
            "total_tokens": 42,
            "prompt_tokens_details": {"cached_tokens": 16},
        },
    }


def chat(body: dict, does: Does, number: int) -> Reply:
    """An answer that tells what was understood."""
    last = body["messages"][-1]
    more: dict[str, Any] = {}
    if does.newer and (odd := _unsupported(body)):
        return 400, {"error": {"message": f"{odd} is not supported", "param": odd}}
    if does.most and body.get("logprobs"):
        if body["top_logprobs"] > does.most:
            return 400, {"error": {"message": f"top_logprobs must be at most {does.most}"}}
        more["logprobs"] = {"content": [{"top_logprobs": likely(body["top_logprobs"], last)}]}
    text = f"You said: {last['content']}"
    goes_on = does.goes_on or (does.goes_on_if_told and body.get("continue_final_message"))
    if last["role"] == "assistant":
        text = "Again? red green blue."
        if goes_on:
            text = (last["content"] if does.repeats else "") + " green blue red"
    elif does.schema and "response_format" in body:
        schema = body["response_format"]["json_schema"]["schema"]
        text = json.dumps({name: one["enum"][0] for name, one in schema["properties"].items()})
    elif body.get("temperature"):
        text = f"words {body.get('seed') if does.seed else number}"
    return 200, said(text, **more)


def _unsupported(body: dict) -> str | None:
    if "max_tokens" in body:
        return "max_tokens"
    return "temperature" if body.get("temperature", 1.0) != 1.0 else None


def likely(count: int, last: dict) -> list[dict]:
    """Letters from A on, each a tenth less likely than the one before, and a few others.

    After a word with which the assistant's turn has begun they have a blank before them.
    """
    blank = " " if last["role"] == "assistant" and last["content"].strip() else ""
    told = [
        {"token": f"{blank}{letter}", "logprob": -1.0 - place / 10}
        for place, letter in enumerate(LETTERS)
    ]
    told += [
        {"token": text, "logprob": -5.0} for text in ("A" if blank else " A", "Yes", "No", "Yes")
    ]
    return told[:count]


def tokens(text: str) -> list[int]:
    """One a word; a single word is one token, a title several."""
    return [sum(map(ord, word)) for word in text.split()]


def completions(body: dict) -> dict:
    """Each token of a prompt is as likely as its number, negative, says."""
    choices = [
        {
            "index": index,
            "text": "…",
            "logprobs": {"token_logprobs": [None] + [-float(one) for one in prompt[1:]] + [-0.5]},
            "finish_reason": "length",
        }
        for index, prompt in enumerate(body["prompt"])
    ]
    return {"choices": choices[::-1], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}
