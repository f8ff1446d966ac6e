"""Chat models of LangChain that answer, fail and tell log-probabilities as providers' do."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from baselines.llm.model import Answer, Chat, Likelihoods, ModelUnavailable, Sampling, Usage
from baselines.llm.models.connect import model_of
from baselines.llm.models.langchain import LangChain
from llm4rec_bench import CardRefused
from tests.baselines.llm.stubs import said

pytest.importorskip("langchain_core", reason="pip install langchain-core")

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

KEY = "sk-this-is-a-secret"
ASKED: list[dict[str, Any]] = []


class Failed(Exception):
    """As providers' libraries have them."""

    def __init__(self, text: str, **more: Any) -> None:
        super().__init__(text)
        self.__dict__ |= more


class ReadTimeout(Exception):
    pass


ODD: dict[str, Any] = {
    "empty": AIMessage("", response_metadata={"finish_reason": "stop"}),
    "long": AIMessage("1, 2", response_metadata={"finish_reason": "length"}),
    "Anthropic's long": AIMessage("1", response_metadata={"stop_reason": "max_tokens"}),
    "Ollama's long": AIMessage("1", response_metadata={"done_reason": "length"}),
    "filtered": AIMessage("", response_metadata={"finish_reason": "SAFETY"}),
    "refused": AIMessage("", additional_kwargs={"refusal": "I will not"}),
    "blocks": AIMessage([{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}]),
    "late": ReadTimeout("too late"),
    "later": TimeoutError(),
    "key": Failed("bad key", status_code=401),
    "account": Failed("pay first", response=type("Response", (), {"status_code": 402})),
    "nowhere": Failed("no such model", status_code=404),
    "busy": Failed(f"slow down,\n{KEY}\x1b[31m", status_code=429),
    "bug": TypeError("unexpected keyword argument 'temperature'"),
    "Azure's": Failed("filtered", status_code=400, code="content_filter"),
}


class Provider(BaseChatModel):
    """Says what was said to it."""

    tells: bool = False
    waits: bool = False

    @property
    def _llm_type(self) -> str:
        return "provider"

    def _generate(self, messages, stop=None, run_manager=None, **fields: Any) -> ChatResult:
        ASKED.append({"messages": [(one.type, one.content) for one in messages], **fields})
        text = messages[-1].content
        if isinstance(odd := ODD.get(text), Exception):
            raise odd
        usage = {
            "input_tokens": 12,
            "output_tokens": 3,
            "total_tokens": 15,
            "input_token_details": {"cache_read": 8},
        }
        metadata: dict[str, Any] = {"finish_reason": "stop"}
        if self.tells and fields.get("logprobs"):
            top = [{"token": "B", "logprob": -0.5}, {"token": "A", "logprob": -1.5}]
            metadata["logprobs"] = {"content": [{"token": "B", "top_logprobs": top}]}
        plain = AIMessage(f"You said: {text}", usage_metadata=usage, response_metadata=metadata)
        return ChatResult(generations=[ChatGeneration(message=odd or plain)])

    async def _agenerate(self, messages, stop=None, run_manager=None, **fields: Any) -> ChatResult:
        if self.waits and messages[-1].content != "first":
            await asyncio.sleep(100)
        return self._generate(messages, **fields)


def refusing(**params: Any) -> None:
    raise ValueError(f"no such parameter; {KEY}")


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    there = ModuleType("provider")
    vars(there).update(Provider=Provider, refusing=refusing, answering=answering, dict=dict)
    monkeypatch.setitem(sys.modules, "provider", there)
    ASKED.clear()


def model(name: str = "Provider", **more: Any) -> LangChain:
    return model_of({"kind": "langchain", "system": f"provider:{name}"} | more)


def asked(made: LangChain, *calls: str | Chat | Likelihoods) -> list[Answer]:
    found = dict(made.answers([Chat(said(c)) if isinstance(c, str) else c for c in calls]))
    return [found[index] for index in range(len(calls))]


def test_a_chat_is_handed_on_with_how_it_is_drawn() -> None:
    call = Chat(said("Hello", "Yes?", "Which?"), Sampling(9, 0.5, 0.9, seed=3))
    first, second = asked(model(), call, "Hello")
    assert (first.text, first.status) == ("You said: Which?", "ok")
    assert first.usage == Usage(prompt=12, completion=3, cached=8)
    assert first.latency_ms > 0
    assert second.text == "You said: Hello"
    drawn, plain = sorted(ASKED, key=lambda one: -len(one["messages"]))
    assert drawn == {
        "messages": [("human", "Hello"), ("ai", "Yes?"), ("human", "Which?")],
        "temperature": 0.5,
        "max_tokens": 9,
        "top_p": 0.9,
        "seed": 3,
    }
    assert plain == {"messages": [("human", "Hello")], "temperature": 0.0, "max_tokens": 256}
    asked(model(per_call=False), "Hello")
    assert ASKED[-1] == {"messages": [("human", "Hello")]}


def test_a_model_without_coroutines_or_counts_will_do() -> None:
    made = model_of({"kind": "langchain", "system": "provider:answering", "params": {"text": "A"}})
    assert [(one.text, one.status, one.usage) for one in asked(made, *"xyz")] == [
        ("A", "ok", Usage())
    ] * 3


def answering(text: str) -> FakeMessagesListChatModel:
    return FakeMessagesListChatModel(responses=[AIMessage(text)])


@pytest.mark.parametrize(
    ("question", "text", "status", "reason"),
    [
        ("empty", "", "ok", ""),
        ("blocks", "two parts", "ok", ""),
        ("long", "1, 2", "truncated", ""),
        ("Anthropic's long", "1", "truncated", ""),
        ("Ollama's long", "1", "truncated", ""),
        ("filtered", "", "refusal", "stopped by the server: safety"),
        ("refused", "", "refusal", "I will not"),
        ("Azure's", "", "refusal", "Failed: filtered"),
        ("late", "", "timeout", "ReadTimeout: too late"),
        ("later", "", "timeout", "TimeoutError:"),
        ("busy", "", "api_error", "Failed: slow down, …?[31m"),
        ("bug", "", "api_error", "TypeError: unexpected keyword argument 'temperature'"),
    ],
)
def test_how_answers_end(question, text, status, reason) -> None:
    good, odd = asked(model(), "good", question)
    assert good.status == "ok"
    assert (odd.text, odd.status, odd.reason) == (text, status, reason)


@pytest.mark.parametrize("question", ["key", "account", "nowhere"])
def test_what_can_never_succeed_ends_the_run(question) -> None:
    with pytest.raises(ModelUnavailable, match=r"^provider:Provider: .* is refused: Failed: "):
        asked(model(concurrency=1), "good", question, "good")
    assert len(ASKED) == 2


def test_a_run_of_failures_ends_it() -> None:
    found = []
    with pytest.raises(ModelUnavailable, match="10 calls in a row") as told:
        found.extend(model(concurrency=1).answers([Chat(said("busy"))] * 40))
    assert 10 <= len(found) < 40
    assert KEY not in str(told.value)


def test_nothing_goes_on_when_the_caller_stops_early() -> None:
    before = threading.active_count()
    calls = [Chat(said(text)) for text in ("first", "second", "third")]
    answers = model(params={"waits": True}).answers(calls)
    assert next(answers)[1].text == "You said: first"
    answers.close()
    assert threading.active_count() == before


def test_letters_are_read_off_where_the_model_tells_of_them() -> None:
    call = Likelihoods(said("Which?"), ("A", "B", "C"))
    (answer,) = asked(model(params={"tells": True}), call)
    assert answer.logprobs == [-1.5, -0.5, -1.5]
    assert ASKED[-1] | {"messages": ()} == {
        "messages": (),
        "logprobs": True,
        "top_logprobs": 20,
        "max_tokens": 1,
        "temperature": 1.0,
    }
    with pytest.raises(CardRefused, match="tells no log-probabilities"):
        asked(model(), call)


def test_what_langchain_cannot_say_is_refused_before_anything_is_asked() -> None:
    for call, message in (
        (Likelihoods(said("Which?"), ("Star Wars", "Alien")), "not of given texts such as 'Star"),
        (Chat(said("Repeat", "red")), "goes on with a turn that is begun"),
    ):
        with pytest.raises(CardRefused, match=message):
            asked(model(), "good", call)
    assert ASKED == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"system": "provider"}, "model: system: Expected `str` matching"),
        ({"system": "no.such:Model"}, "no.such:Model cannot be loaded: No module named 'no'"),
        ({"system": "provider:Missing"}, "provider:Missing cannot be loaded: .*Missing"),
        ({"system": "provider:refusing"}, "refuses them: ValueError: no such parameter; …$"),
        ({"system": "provider:dict"}, "gives a dict, expected a chat model of LangChain"),
        ({"concurrency": 0}, "model: concurrency: Expected `int` >= 1"),
        (
            {"model": "x"},
            "'model' is not a field of a model of kind langchain; it has kind, system",
        ),
    ],
)
def test_what_makes_no_sense_on_a_card_is_refused(fields, message) -> None:
    with pytest.raises(CardRefused, match=message):
        asked(model(**fields), "x")


def test_params_and_revision_are_part_of_the_identity() -> None:
    plain = model(params={"tells": True})
    assert plain.identity == model(params={"tells": True}, concurrency=1).identity
    assert plain.identity != model().identity
    assert model(revision="a").identity != model(revision="b").identity
    assert plain.tokens("fives") == 2
