"""A chat endpoint that answers well, badly, late and wrongly, or claims what it does not do."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.llm.model import Answer, Chat, Likelihoods, ModelUnavailable, Sampling, Usage
from baselines.llm.models import endpoint, packaged
from baselines.llm.models.at_once import PATIENCE
from baselines.llm.models.chat_format import Token
from baselines.llm.models.connect import model_of
from baselines.llm.models.endpoint import Endpoint
from baselines.llm.models.first_token import logprobs, surely_one_each
from baselines.llm.models.served_names import lists_others
from baselines.llm.serve import started
from llm4rec_bench import CardRefused, UsageError
from tests.baselines.llm.models.servers import (
    CUT,
    DEAF,
    DRIPS,
    DROPPED,
    HANGS,
    LETTERS,
    LLAMA,
    OPENAI,
    VLLM,
    ChatServer,
    Does,
    listing,
)
from tests.baselines.llm.models.servers import said as answered
from tests.baselines.llm.stubs import said

KEY = "sk-this-is-a-secret"

ERROR = {"error": {"message": f"not so, {KEY}\x1b[31m"}}
BUSY = (503, ERROR)
SCHEMA = {
    "type": "object",
    "properties": {"best": {"type": "string", "enum": ["A"]}},
    "required": ["best"],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def key(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(DEAF) as running:
        yield running


def at(server: ChatServer, **more) -> Endpoint:
    table = {"kind": "openai", "model": "chatter", "base_url": f"{server.address}/v1"}
    return model_of(table | {"retries": 2} | more)


def asked(model: Endpoint, *calls: str | Chat | Likelihoods) -> list[Answer]:
    """The answers to calls, or to questions, in their order."""
    made = [Chat(said(call)) if isinstance(call, str) else call for call in calls]
    found = dict(model.answers(made))
    assert found.keys() == set(range(len(made)))
    return [found[index] for index in range(len(made))]


# Words


def test_a_chat_is_asked_as_it_is_described(server) -> None:
    model = at(server, extra={"top_k": 1})
    call = Chat(said("Hello"), Sampling(9, 0.5, 0.9, seed=3))
    (answer,) = asked(model, call)
    assert (answer.text[:6], answer.status) == ("words ", "ok")
    assert answer.usage == Usage(prompt=40, completion=2, cached=16)
    assert answer.latency_ms > 0
    path, key, body = server.state.asked[-1]
    assert (path, key) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body == {
        "model": "chatter",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "top_k": 1,
    }
    asked(at(server, limit="max_completion_tokens"), "Hello")
    assert server.state.chats()[-1] == {
        "model": "chatter",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 256,
        "temperature": 0.0,
        "top_p": 1.0,
    }


def test_a_model_with_other_words_for_its_limit_and_one_temperature_is_found_out() -> None:
    """As OpenAI's newer ones are: what they do not take is not sent, nor complained of."""
    with ChatServer(Does(20, schema=True, seed=True, newer=True)) as server:
        model = at(server, limit="max_completion_tokens")
        letters = Likelihoods(said("Which?"), ("A", "B"))
        answers = asked(
            model, Chat(said("Best?"), Sampling(temperature=1.0, schema=SCHEMA)), letters
        )
        assert [answer.status for answer in answers] == ["ok", "ok"]
        assert answers[0].text == '{"best": "A"}'
        assert "tells no" not in model.summary()
        with pytest.raises(ModelUnavailable, match='add limit = "max_completion_tokens"'):
            asked(at(server), letters)


@pytest.mark.parametrize(
    "more",
    [
        {"error": ERROR["error"]},
        {
            "choices": [
                {
                    "message": {"content": None, "refusal": f"not with {KEY}"},
                    "finish_reason": "stop",
                }
            ]
        },
    ],
)
def test_a_key_that_a_server_repeats_is_not_kept(server, more) -> None:
    server.state.odd["Hello"] = [(200, more)]
    (answer,) = asked(at(server, retries=0), "Hello")
    assert answer.status in ("api_error", "refusal")
    assert KEY not in answer.reason
    assert "…" in answer.reason


def test_answers_are_those_of_their_calls_in_whatever_order_they_are_asked(server) -> None:
    model, texts = at(server, concurrency=5), [f"number {number}" for number in range(23)]
    for order in (texts, texts[::-1]):
        assert [answer.text for answer in asked(model, *order)] == [f"You said: {t}" for t in order]
    assert 1 <= server.state.most_at_once <= 5
    assert list(model.answers([])) == []


def test_calls_are_under_way_together_but_no_more_than_allowed(server) -> None:
    server.state.odd = {f"{number}": [HANGS] for number in range(9)}
    model = at(server, concurrency=3)
    answers = model.answers([Chat(said(f"{number}")) for number in [*range(9), "last"]])
    waiting = threading.Thread(target=lambda: next(answers, None), daemon=True)
    waiting.start()
    while server.state.under_way < 3:
        threading.Event().wait(0.01)
    server.state.odd.clear()
    server.released.set()  # the three have no answer, and are asked again
    waiting.join()
    assert len(list(answers)) == 9
    assert server.state.most_at_once == 3


def test_what_passes_is_tried_again_after_the_wait_that_is_asked_for(server) -> None:
    waits = {"Retry-After": "0.3"}
    server.state.odd["x"] = [(429, ERROR, waits), (500, b"\xff"), None]
    (answer,) = asked(at(server), "x")
    assert (answer.text, answer.status) == ("You said: x", "ok")
    assert answer.latency_ms > 300
    assert len(server.state.chats()) == 3
    server.state.odd["y"] = [DROPPED, CUT, None]
    assert asked(at(server), "y")[0].status == "ok"
    server.state.odd["z"] = [(429, ERROR, {"Retry-After": "121"}), None]
    assert asked(at(server), "z")[0].status == "api_error"


FAILURES = [
    (HANGS, "timeout", "APITimeoutError", 2),
    ((429, ERROR), "api_error", "RateLimitError: .*not so, …", 2),
    ((500, ERROR), "api_error", "InternalServerError", 2),
    ((400, ERROR), "api_error", r"BadRequestError: .*not so, ….?\W*31m", 1),
    (CUT, "api_error", "APIConnectionError", 2),
    ((200, b"<html>"), "api_error", "no chat: JSON is malformed", 1),
    ((200, b""), "api_error", "no chat: Input data was truncated", 1),
    ((200, {"choices": []}), "api_error", "no choices", 1),
    ((200, {"choices": "x"}), "api_error", r"no chat: Expected `array`.*choices", 1),
    ((200, {"error": {"code": 429, "message": "upstream"}}), "api_error", "error:.*upstream", 1),
    ((200, answered(None)), "api_error", "without a text; finish_reason is stop", 1),
    ((200, answered(None, "content_filter")), "refusal", "content_filter", 1),
    ((200, answered(None, message={"refusal": "I will not"})), "refusal", "I will not", 1),
    (
        (400, {"error": {"message": "filtered", "code": "content_filter"}}),
        "refusal",
        "filtered",
        1,
    ),
    ((200, answered("1, 2", "length")), "truncated", "^$", 1),
    ((200, answered(None, "length")), "truncated", "^$", 1),
]


@pytest.mark.parametrize(("reply", "status", "reason", "tries"), FAILURES)
def test_a_call_that_fails_by_itself_says_why(server, reply, status, reason, tries) -> None:
    server.state.odd["bad"] = [reply]
    # Hanging is given up soon, and nothing else is slow.
    model = at(server, retries=1, timeout=0.4 if reply == HANGS else 60)
    good, bad = asked(model, "good", "bad")
    assert good.text == "You said: good"
    assert bad.status == status
    assert bad.text == ("1, 2" if "1, 2" in str(reply) else "")
    with pytest.raises(ValueError, match=reason):
        raise ValueError(bad.reason)
    assert KEY not in bad.reason
    assert bad.reason.isprintable()
    assert len([body for body in server.state.chats() if "bad" in str(body)]) == tries


# What ends a run


HOPELESS = [
    ((401, ERROR), "key in OPENAI_API_KEY may not"),
    ((402, ERROR), "nothing left to spend"),
    ((429, {"error": {"message": "quota", "code": "insufficient_quota"}}), "nothing left to spend"),
    ((404, ERROR), "no such model.*models there: chatter"),
    ((400, {"error": {"message": "no", "param": "max_tokens", "code": "unsupported_parameter"}}),
     'add limit = "max_completion_tokens"'),
    ((400, {"error": {"message": "no", "param": "temperature", "code": "unsupported_value"}}),
     "set temperature = 1 under"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "message"), HOPELESS)
def test_what_can_never_succeed_ends_the_run_after_the_answers_that_came(
    server, reply, message
) -> None:
    server.state.odd["bad"] = [reply]
    calls = [Chat(said(text)) for text in ("a", "b", "bad", "c")]
    answers, found = at(server, concurrency=1).answers(calls), []
    with pytest.raises(ModelUnavailable, match=message) as told:
        found.extend(answers)
    assert [index for index, _ in found] == [0, 1]
    assert KEY not in str(told.value)
    assert len(server.state.chats()) in (3, 5)  # quota is told like a rate, which is tried again


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "key in OPENAI_API_KEY may not"), (405, "takes no chats"), (501, "takes no chats")],
)
def test_what_is_refused_from_the_first_call_on_ends_the_run(server, status, said) -> None:
    server.state.odd["bad"] = [(status, ERROR)]
    with pytest.raises(ModelUnavailable, match=said):
        asked(at(server), "bad")


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_a_call_that_the_server_will_not_take_is_no_sign_that_it_takes_no_other(
    server, status: int
) -> None:
    server.state.odd["bad"] = [(status, ERROR)]
    found = asked(at(server, concurrency=1), "good", *["bad"] * 30, "good")
    assert [answer.status for answer in found] == ["ok", *["api_error"] * 30, "ok"]
    with pytest.raises(ModelUnavailable):
        asked(at(server, concurrency=1), *["bad"] * 30)  # where none is taken it is


def test_odd_bytes_depths_and_counts_fail_a_call_and_no_more(server) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": -1}
    counted = {"choices": [{"message": {"content": "A"}}], "usage": usage}
    server.state.odd |= {
        "bytes": [(200, b'{"choices": [{"message": {"content": "\xff"}}]}')],
        "depth": [(200, b'{"choices": [' + b"[" * 100_000)],
        "count": [(200, counted)],
    }
    found = asked(at(server), "bytes", "depth", "count")
    assert [answer.status for answer in found] == ["api_error", "api_error", "ok"]
    assert found[2].usage == Usage(prompt=3)


def test_an_answer_that_never_ends_is_given_up(server, monkeypatch) -> None:
    monkeypatch.setattr(endpoint, "_LONGEST_WAIT", 0.2)
    server.state.odd["bad"] = [DRIPS]
    bad, good = asked(at(server, retries=0, timeout=0.4), "bad", "good")
    assert (bad.status, bad.reason) == ("timeout", "no end of the answer came")
    assert good.status == "ok"


def test_an_address_that_has_no_chat_is_told(server) -> None:
    with pytest.raises(ModelUnavailable, match=r"models there: not told.*ends with /v1"):
        asked(at(server, base_url=server.address), "x")


def test_a_name_that_the_server_does_not_list_is_refused_before_any_question(server) -> None:
    """Servers of one model answer under any name, as this one does."""
    server.state.answers_as = None
    with pytest.raises(
        CardRefused, match=r"^model: 'another' is none of those at http.*: chatter;"
    ):
        asked(at(server, model="another"), "x")
    assert [path for path, _, _ in server.state.asked] == ["/v1/models", "/v1/models/another"]
    many = [f"model-{number}" for number in range(5000)]
    server.state.models = (200, listing("\x1b[31mchat\u202eter" + "r" * 999, *many))
    with pytest.raises(CardRefused, match=r"nearest: model-1\d*, .*; name on the card") as told:
        asked(at(server, model="model-x1"), "x")
    assert len(str(told.value)) < 400
    with pytest.raises(CardRefused, match=r"nearest: \?\[31mchat\?terr+, model-0") as told:
        asked(at(server, model="Qwen/Q"), "x")
    assert str(told.value).isprintable()
    assert not server.state.chats()


@pytest.mark.parametrize(
    ("name", "models", "known"),
    [
        ("chatter", listing("other", "chatter"), ""),
        ("chatter:nitro", listing("chatter"), ""),
        ("chatter", {"data": [{"id": "/models/chatter.gguf", "aliases": ["chatter"]}]}, ""),
        ("chatter", listing("other"), "chatter"),
        ("org/chatter", listing("other"), "org%2Fchatter"),
        ("chatter", listing("other", has_more=True), ""),
        ("chatter", listing(), ""),
        ("chatter", {"models": ["other"]}, ""),
        ("chatter", ["other"], ""),
        ("chatter", b"<html>", ""),
        ("chatter", b"", ""),
    ],
)
def test_a_name_that_is_listed_known_or_not_told_of_is_asked(server, name, models, known) -> None:
    server.state.models, server.state.known, server.state.answers_as = (200, models), known, None
    (answer,) = asked(at(server, model=name), "x")
    assert answer.text == "You said: x"
    assert server.state.chats()[-1]["model"] == name


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 501])
def test_a_server_that_lists_nothing_is_asked(server, status) -> None:
    server.state.models, server.state.answers_as = (status, ERROR), None
    assert asked(at(server, model="any", retries=0), "x")[0].status == "ok"


def test_a_list_is_read_no_further_than_it_may_be_long(server, monkeypatch) -> None:
    monkeypatch.setattr("baselines.llm.models.endpoint.LONGEST", 1 << 16)
    server.state.models = (200, listing(*map(str, range(1 << 12))))
    server.state.answers_as = None
    assert asked(at(server, model="any"), "x")[0].status == "ok"
    server.state.models = CUT
    assert asked(at(server, model="any"), "x")[0].status == "ok"


def test_a_host_that_lists_what_could_be_set_up_is_not_believed() -> None:
    assert lists_others("https://mine.openai.azure.com/openai/v1")
    assert not lists_others("https://api.openai.com/v1")


def test_where_nobody_answers_it_is_said_at_once() -> None:
    with ChatServer(DEAF) as gone:
        pass
    with pytest.raises(ModelUnavailable, match=r"refused.*baselines\.llm\.serve"):
        asked(at(gone, retries=1), *"abcdefgh")


def test_a_key_comes_from_the_environment_and_has_to_be_one(server, monkeypatch) -> None:
    monkeypatch.setenv("OTHER_API_KEY", "of another")
    with pytest.raises(UsageError, match="OTHER_API_KEY holds what cannot be a key") as told:
        asked(at(server, api_key_env="OTHER_API_KEY"), "x")
    assert "of another" not in str(told.value)
    monkeypatch.setenv("OTHER_API_KEY", "other")
    asked(at(server, api_key_env="OTHER_API_KEY"), "x")
    assert {key for _, key, _ in server.state.asked} == {"Bearer other"}


@pytest.mark.parametrize("held", [None, ""])
def test_a_server_on_this_machine_needs_no_key_and_one_elsewhere_does(
    server, monkeypatch, held
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    if held is not None:
        monkeypatch.setenv("OPENAI_API_KEY", held)
    server.state.odd["bad"] = [(400, {"error": {"message": "none of it"}})]
    good, bad = asked(at(server), "good", "bad")
    assert good.text == "You said: good"
    assert "none of it" in bad.reason  # what is no secret is not hidden
    assert {key for _, key, _ in server.state.asked} == {"Bearer none"}
    with pytest.raises(UsageError, match=r"no key in OPENAI_API_KEY; .*OPENAI_API_KEY=none"):
        asked(at(server, base_url="https://192.0.2.1/v1"), "x")


def test_a_run_of_failures_ends_it_and_everything_finished_is_handed_over(server) -> None:
    server.state.odd["bad"] = [BUSY]
    model = at(server, retries=0, concurrency=4)
    # Nine failures and a success, again and again, are no reason.
    calls = [*["bad"] * (PATIENCE - 1), "good"]
    for _ in range(2):
        one = at(server, retries=0, concurrency=1)
        assert [a.status for a in asked(one, *calls)] == ["api_error"] * 9 + ["ok"]
    # Six and four more are, across two lots of calls.
    assert len(asked(model, *["bad"] * 6)) == 6
    found = []
    with pytest.raises(ModelUnavailable, match=r"10 calls in a row.*503.*same command") as told:
        found.extend(model.answers([Chat(said("bad"))] * 40))
    assert 4 <= len(found) < 40
    assert KEY not in str(told.value)
    # Who goes on all the same has as much patience again.
    assert len(asked(model, *["bad"] * 6)) == 6


def test_nothing_goes_on_when_the_caller_stops_early(server) -> None:
    before = set(threading.enumerate())
    server.state.odd = {"hang": [HANGS], "wait": [(429, ERROR, {"Retry-After": "100"})]}
    calls = [Chat(said(text)) for text in ("first", "hang", "wait")]
    for stop in (KeyboardInterrupt, GeneratorExit):
        server.holding.clear()
        answers = at(server, concurrency=3).answers(calls)
        assert next(answers)[0] == 0
        server.holding.wait()
        with pytest.raises(stop):
            answers.throw(stop)
        for thread in set(threading.enumerate()) - before:
            if "process_request" not in thread.name:  # the server's
                thread.join(5)  # those that look up names end by themselves
                assert not thread.is_alive()


def test_the_next_lot_of_calls_finds_everything_as_the_first_did(server) -> None:
    model = at(server)
    for number in range(5):
        assert asked(model, f"{number}")[0].text == f"You said: {number}"
    assert len([path for path, _, _ in server.state.asked if path == "/v1/models"]) == 1


# What servers do


@pytest.mark.parametrize(
    ("does", "top", "schema", "seed", "turn", "repeats", "texts"),
    [
        (LLAMA, 30, True, True, "by itself", True, False),
        (VLLM, 20, True, True, "by extra fields", False, True),
        (OPENAI, 20, True, True, "not at all", False, False),
        (DEAF, 0, False, False, "not at all", False, False),
        (Does(7), 5, False, False, "not at all", False, False),
        (Does(3), 0, False, False, "not at all", False, False),
    ],
)
def test_what_a_server_does_is_seen_from_its_answers(
    does, top, schema, seed, turn, repeats, texts
) -> None:
    with ChatServer(does) as server:
        able = at(server).capabilities
        assert (able.top_logprobs, able.schema, able.seed) == (top, schema, seed)
        assert (able.turn, able.repeats, able.given_texts) == (turn, repeats, texts)
        count = len(server.state.asked)
        summary = at(server).summary().partition(": ")[2]
        assert "\n" not in summary
        assert (f"of {top or 'no'} first tokens" in summary, turn in summary) == (True, True)
        able.summary()
        assert len(server.state.asked) > count


@pytest.mark.parametrize("reply", [BUSY, (429, ERROR), CUT, HANGS])
def test_a_server_that_cannot_be_asked_now_is_not_said_to_do_nothing(reply) -> None:
    with ChatServer(LLAMA) as server:
        server.state.odd["Say one letter."] = [reply]
        with pytest.raises(ModelUnavailable, match="try later") as told:
            _ = at(server, retries=0, timeout=0.4).capabilities.top_logprobs
        assert KEY not in str(told.value)


@pytest.mark.parametrize("reply", [(422, ERROR), (500, ERROR), (200, b"<html>"), (200, {})])
def test_a_server_that_chokes_on_a_field_does_not_do_what_it_asks_for(reply) -> None:
    with ChatServer(LLAMA) as server:
        server.state.odd["Say hello."] = [reply]
        assert not at(server, retries=0).capabilities.schema


def test_a_schema_goes_only_where_it_is_kept_to() -> None:
    call = Chat(said("Which?"), Sampling(schema=SCHEMA))
    for does, text in ((OPENAI, '{"best": "A"}'), (DEAF, "You said: Which?")):
        with ChatServer(does) as server:
            assert asked(at(server), call)[0].text == text
            sent = server.state.chats()[-1].get("response_format")
            expected = {"name": "answer", "strict": True, "schema": SCHEMA}
            assert sent == (
                {"type": "json_schema", "json_schema": expected} if text[0] == "{" else None
            )


@pytest.mark.parametrize("does", [LLAMA, VLLM])
def test_a_turn_that_is_begun_goes_on(does) -> None:
    with ChatServer(does) as server:
        begun = said("Repeat", "red")
        told, weighed = asked(at(server), Chat(begun), Likelihoods(begun, (" A", " B")))
        assert (told.text, weighed.logprobs) == (" green blue red", [-1.0, -1.1])
        fields = {"continue_final_message": True, "add_generation_prompt": False}
        assert (fields.items() <= server.state.chats()[-1].items()) == (does is VLLM)


def test_a_turn_that_is_begun_is_refused_where_it_would_be_another() -> None:
    with (
        ChatServer(OPENAI) as server,
        pytest.raises(CardRefused, match=r'does not go on.*"transformers"'),
    ):
        asked(at(server), Chat(said("Repeat", "red")))


# Log-probabilities


def test_letters_are_read_off_the_first_token() -> None:
    with ChatServer(LLAMA) as server:
        call = Likelihoods(said("Which?"), tuple("TBA"))
        (answer,) = asked(at(server), call)
        assert answer.logprobs == pytest.approx([-1.0 - LETTERS.index(x) / 10 for x in "TBA"])
        assert (answer.text, answer.status, answer.usage.prompt) == ("", "ok", 40)
        body = server.state.chats()[-1]
        assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 30)


def test_of_what_is_not_among_the_likeliest_the_least_is_told() -> None:
    with ChatServer(OPENAI) as server:
        (answer,) = asked(at(server), Likelihoods(said("Which?"), ("A", "T", "U", "Z")))
        assert answer.logprobs == pytest.approx([-1.0, -2.9, -2.9, -2.9])


def test_where_none_of_the_answers_is_told_there_is_none() -> None:
    """Not a ranking of ties, which would be one by hash order under the name of the model."""
    with ChatServer(OPENAI) as server:
        unlike, empty = asked(
            at(server), Likelihoods(said("Like it?"), ("Yes", "No")), Likelihoods(said("?"), ())
        )
    assert (unlike.status, unlike.logprobs, unlike.usage.prompt) == ("api_error", None, 40)
    assert unlike.reason.startswith("none of 'Yes, No' is among the 20 likeliest tokens told, of")
    assert "the first is 'A';" in unlike.reason
    assert (empty.status, empty.logprobs) == ("ok", [])


def test_a_blank_before_a_token_is_another_token_and_equal_ones_are_added() -> None:
    told = [Token("A", -1.0), Token(" A", -0.5), Token("B", -2.0), Token("B", -2.0)]
    assert logprobs(told, ["A", " A", "B", "a"]) == [-1.0, -0.5, -2.0 + math.log(2), -2.0]


@given(st.lists(st.tuples(st.sampled_from("ABCDE "), st.floats(-50, 0)), min_size=1, max_size=30))
def test_log_probabilities_are_sums_of_probabilities_of_equal_tokens(told) -> None:
    found = logprobs([Token(*one) for one in told], ["A", "B", "Z"])
    least = min(value for _, value in told)
    for letter, value in zip("ABZ", found, strict=True):
        sums = [math.exp(other) for token, other in told if token == letter]
        assert value == pytest.approx(math.log(sum(sums)) if sums else least)


@pytest.mark.parametrize(
    ("continuations", "sure"),
    [
        (("Yes", "No"), True),
        ((" yes", " no"), True),
        (tuple(LETTERS), True),
        (tuple("12345"), True),
        (("10", "11"), False),
        (("1", "10"), False),
        (("A", "Alien"), False),
        (("A", "A"), False),
        (("Star Wars", "Alien"), False),
        (("Ünder", "Yes"), False),
        (("", "A"), False),
    ],
)
def test_without_a_tokeniser_only_what_is_one_token_anywhere_is_taken_for_one(
    continuations, sure
) -> None:
    assert surely_one_each(continuations) == sure


def test_a_server_that_tells_no_log_probabilities_is_refused() -> None:
    with ChatServer(DEAF) as server:
        with pytest.raises(CardRefused, match="tells no log-probabilities"):
            asked(at(server), "x", Likelihoods(said("Which?"), ("A", "B")))
        assert "x" not in [body["messages"][-1]["content"] for body in server.state.chats()]
    with ChatServer(OPENAI) as server:
        server.state.odd["Which?"] = [(200, answered("A"))]
        (answer,) = asked(at(server), Likelihoods(said("Which?"), ("A", "B")))
        assert (answer.status, answer.reason) == ("api_error", "answered without log-probabilities")


def test_each_word_is_tokenised_once_and_equal_ones_are_no_options() -> None:
    with ChatServer(LLAMA) as server:
        call = Likelihoods(said("Which?"), ("A", "B"))
        model = at(server)
        asked(model, call, call, Likelihoods(said("Which?"), ()))
        asked(model, call)
        paths = [path for path, _, _ in server.state.asked]
        assert paths.count("/tokenize") == 3  # one to see that it does
        with pytest.raises(CardRefused, match="not of given texts"):
            asked(model, Likelihoods(said("Which?"), ("A", "A")))


@pytest.mark.parametrize("does", [LLAMA, OPENAI])
def test_titles_are_refused_where_given_texts_are_not_told_of(does) -> None:
    with (
        ChatServer(does) as server,
        pytest.raises(CardRefused, match=r"not of given texts such as 'Star Wars'.*transformers"),
    ):
        asked(at(server), Likelihoods(said("Which?"), ("Star Wars", "Alien")))


def test_titles_are_summed_over_their_own_tokens_where_prompts_are_repeated() -> None:
    titles = ("Star Wars", "Alien", "The Thing From Another World")
    with ChatServer(VLLM) as server:
        (answer,) = asked(at(server), Likelihoods(said("Which is next?"), titles))
        assert answer.logprobs == [-float(sum(map(ord, t.replace(" ", "")))) for t in titles]
        assert answer.usage == Usage(prompt=7, completion=1)
        path, _, body = server.state.asked[-1]
        assert (path, len(body["prompt"]), body["echo"]) == ("/v1/completions", 3, True)


# Cards


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_url": "ftp://host/v1"}, r"base_url: expected http\(s\)"),
        ({"base_url": "http://user:pass@host/v1"}, "without a user or password"),
        ({"base_url": "http://host:99999/v1"}, "base_url: expected"),
        ({"base_url": "http://ho st/v1"}, "base_url: expected"),
        ({"base_url": "http://[::1/v1"}, "base_url: expected"),
        ({"concurrency": 0}, "concurrency: Expected `int` >= 1"),
        ({"api_key_env": "HOME"}, "api_key_env: .*API_KEY"),
        ({"extra": {"temperature": 1, "top_k": 1, "stream": True}}, "extra: stream, temperature:"),
        (
            {"temperature": 1},
            "'temperature' is not a field of a model of kind openai; it has kind, model",
        ),
        ({"base_ulr": "x"}, "^model: 'base_ulr' is not .*; nearest: \"base_url\"$"),
        ({"model": ""}, "model: Expected `str` of length >= 1"),
    ],
)
def test_what_makes_no_sense_on_a_card_is_refused_by_its_field(fields, message) -> None:
    with pytest.raises(CardRefused, match=message) as told:
        model_of({"kind": "openai", "model": "chatter"} | fields)
    assert "pass@" not in str(told.value)


def test_the_address_matters_unless_it_is_declared_what_is_served_there() -> None:
    def identity(**fields) -> bytes:
        return msgspec.json.encode(model_of({"kind": "openai", "model": "m", **fields}).identity)

    there, here = "http://there:1/v1", "http://here:2/v1/"
    assert identity(base_url=there) != identity(base_url=here)
    assert identity(base_url=there, revision="abc") == identity(base_url=here, revision="abc")
    assert identity(base_url=here) == identity(base_url=here.rstrip("/"), retries=9, concurrency=1)
    assert identity(extra={"top_k": 1}) != identity()


def test_tokens_are_estimated_so_that_prompts_are_the_same_without_a_server(monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    model = model_of({"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"})
    assert [model.tokens(text) for text in ("", "a", "four", "fives", "日本語")] == [0, 1, 1, 2, 3]
    assert model.concurrency == 8


def test_tokens_are_counted_by_the_server_where_the_card_says_so() -> None:
    with ChatServer(LLAMA) as server:
        assert at(server, count_tokens="server").tokens("three words here") == 3
    with ChatServer(OPENAI) as server, pytest.raises(CardRefused, match="leave out count_tokens"):
        at(server, count_tokens="server").tokens("three words here")


# A real server


@pytest.fixture(scope="module")
def real() -> Iterator[Endpoint]:
    try:
        server = started(port=0, context=1024, threads=1)
    except UsageError as missing:
        pytest.skip(str(missing))
    table = {"kind": "openai", "model": packaged.NAME, "base_url": f"{server.listening_address}/v1"}
    yield model_of(table | {"concurrency": 3})
    del server


FILMS = ("Which film is next?\n", "Answer with its letter. Earlier: Alien, Aliens, The Thing.\n")


def films(count: int, start: str = "") -> Likelihoods:
    shown = "\n".join(f"{letter}. Film {letter * 3}" for letter in LETTERS[:count])
    return Likelihoods(said(start + FILMS[0] + FILMS[1] + shown), tuple(LETTERS[:count]))


@pytest.mark.slow
def test_a_real_server_does_all_that_llama_cpp_does(real) -> None:
    able = real.capabilities
    assert (able.top_logprobs, able.schema, able.seed) == (500, True, True)
    assert (able.turn, able.repeats, able.tokeniser) == ("by itself", True, True)
    assert not able.given_texts
    going, held, long = asked(
        real,
        Chat(said("What is the capital of France?", "The capital of France is"), Sampling(2)),
        Chat(said("Which?"), Sampling(40, schema=SCHEMA)),
        Chat(said("x " * 2000)),
    )
    assert going.text.startswith(" Paris")
    assert json.loads(held.text) == {"best": "A"}
    assert (long.status, "exceeds the available context" in long.reason) == ("api_error", True)
    assert going.usage.cached == 0
    with pytest.raises(CardRefused, match="given texts such as 'Star Wars'"):
        asked(real, Likelihoods(said("Which?"), ("Star Wars", "Alien")))


@pytest.mark.slow
def test_a_real_server_tells_of_every_letter_and_the_same_whatever_came_before(real) -> None:
    calls = [films(20), films(12), films(20, "A list. "), films(5)]
    first = [answer.logprobs for answer in asked(real, *calls)]
    assert all(len(set(values)) == len(values) for values in first)
    assert [sum(np.exp(values)) <= 1 for values in first] == [True] * 4
    again = [answer.logprobs for answer in asked(real, *calls[::-1], *calls[::-1])]
    assert again == first[::-1] * 2
