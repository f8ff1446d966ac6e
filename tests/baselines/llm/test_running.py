"""Runs with a model that fails, is cut off, is paid for, and is not there any more."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from baselines.llm.letters import Letters
from baselines.llm.model import Answer, Chat, Likelihoods, Message, Usage
from baselines.llm.models.endpoint import Endpoint
from baselines.llm.models.langchain import LangChain
from baselines.llm.planning import at_most, expected
from baselines.llm.pointwise import Pointwise
from llm4rec_bench import BenchError, CardRefused, Task, TaskView, load_method, read_card
from llm4rec_bench.recording import Budget, Recording
from llm4rec_bench.run.execute import execute, planned
from llm4rec_bench.submission import Card
from tests.baselines.llm.models.servers import LLAMA, OPENAI, VLLM, ChatServer
from tests.baselines.llm.stubs import Stub, prompt
from tests.conftest import ROOT

MODEL = {"kind": "openai", "model": "none"}


class Fickle(Stub):
    """Likes titles by their letters; breaks off, or fails, when told to."""

    def __init__(self) -> None:
        super().__init__(lambda title, place: sum(map(ord, title)) % 97 + place / 50)
        self.breaks_after: int | None = None
        self.fails: dict[str, str] = {}

    def answer(self, call):
        if self.breaks_after is not None and len(self.calls) > self.breaks_after:
            raise KeyboardInterrupt
        for text, status in self.fails.items():
            if text in call.messages[1].content:
                return Answer(status=status, reason="as told", latency_ms=1.0)
        return super().answer(call)


FICKLE = Fickle()


class FickleLetters(Letters):
    asked_model = FICKLE


class FicklePointwise(Pointwise):
    asked_model = FICKLE


@pytest.fixture(autouse=True)
def fickle():
    FICKLE.__init__()
    return FICKLE


def card(kind: str = "Letters", runs: int = 1, **params) -> Card:
    named = {"Letters": "letters", "Pointwise": "yes-no"}[kind]
    return Card(
        "fickle", "Fickle", ["We"], "MIT", "", "none", "none",
        system=f"{__name__}:Fickle{kind}", reads=["title"], runs=runs,
        params={"model": MODEL, "prompt": prompt(named)} | params,
    )  # fmt: skip


def run(card: Card, toy: Task, path: Path, batch: int = 16, track: str = "ranking", **recorded):
    with Recording(path.with_name("a.recording.jsonl"), **recorded) as recording:
        execute(card, toy, track, path, batch=batch, recording=recording, overwrite=True)
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()


def test_a_run_is_made_again_from_its_recording_to_the_byte(toy, tmp_path, fickle) -> None:
    """Latencies and tokens too, and with no model; whatever was handed over at once."""
    fickle.fails = {"cannot be": "refusal"}
    made = run(card(runs=2), toy, tmp_path / "a.jsonl")
    asked = len(fickle.calls)
    assert asked == 2 * 300
    for batch in (1, 7, 600):
        again = run(card(runs=2), toy, tmp_path / "b.jsonl", batch, replay=True)
        assert again == made
    assert len(fickle.calls) == asked
    assert json.loads(made[1])["latency_ms"] == 2.0


@pytest.mark.parametrize("after", [0, 1, 100, 299])
def test_a_run_that_is_killed_asks_for_nothing_twice(toy, tmp_path, fickle, after: int) -> None:
    expected = run(card(), toy, tmp_path / "expected" / "a.jsonl")
    fickle.calls.clear()
    fickle.breaks_after = after
    path = tmp_path / "killed" / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(card(), toy, path)
    answered = len(fickle.calls) - 1
    fickle.breaks_after = None
    fickle.calls.clear()
    with Recording(path.with_name("a.recording.jsonl")) as recording:
        execute(card(), toy, "ranking", path, batch=16, recording=recording)
    assert path.read_bytes().splitlines() == expected
    assert len(fickle.calls) == 300 - answered


def test_what_failed_is_asked_again_by_the_next_run_and_not_by_a_replay(
    toy, tmp_path, fickle
) -> None:
    fickle.fails = {"": "timeout"}
    made = run(card(), toy, tmp_path / "a.jsonl")
    row = json.loads(made[1])
    assert (row["status"], row["items"]) == ("timeout", [])
    assert run(card(), toy, tmp_path / "b.jsonl", replay=True) == made
    fickle.fails = {}
    again = run(card(), toy, tmp_path / "a.jsonl")
    assert {json.loads(line).get("status", "ok") for line in again[1:]} == {"ok"}


@pytest.mark.parametrize("batch", [1, 16])
def test_calls_that_rows_share_have_one_answer_in_a_run(toy, tmp_path, fickle, batch: int) -> None:
    """Although they would be answered the second time: a replay has one answer, too."""
    answer, failed = Fickle.answer, set()

    def once(self, call):
        said = call.messages[1].content
        if sum(said.encode()) % 50 == 0 and said not in failed:
            failed.add(said)
            return Answer(status="timeout", reason="as told", latency_ms=1.0)
        return answer(self, call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fickle, "answer", once)
        made = run(card("Pointwise", runs=2), toy, tmp_path / "a.jsonl", batch)
    assert failed
    assert any(json.loads(line).get("status") == "fallback" for line in made[1:])
    assert run(card("Pointwise", runs=2), toy, tmp_path / "b.jsonl", 7, replay=True) == made


def test_an_answer_that_comes_with_the_next_command_is_in_every_row(toy, tmp_path, fickle) -> None:
    """A run that was killed goes on from the first row that had no answer to some call."""
    title, path = toy.items.texts[0], tmp_path / "a.jsonl"
    fickle.fails = {f"\n{title}": "timeout"}
    fickle.breaks_after = 2000
    with pytest.raises(KeyboardInterrupt):
        run(card("Pointwise"), toy, path)
    fickle.fails, fickle.breaks_after = {}, None
    with Recording(path.with_name("a.recording.jsonl")) as recording:
        execute(card("Pointwise"), toy, "ranking", path, batch=16, recording=recording)
    made = path.read_bytes().splitlines()
    assert {json.loads(line).get("status", "ok") for line in made[1:]} == {"ok"}
    assert run(card("Pointwise"), toy, tmp_path / "b.jsonl", replay=True) == made


def test_a_packed_run_uses_what_a_plain_one_was_answered(toy, tmp_path, fickle) -> None:
    def packed(name: str) -> None:
        with Recording(tmp_path / "a.recording.jsonl.gz") as recording:
            execute(card(), toy, "ranking", tmp_path / name, recording=recording)

    run(card(), toy, tmp_path / "a.jsonl")
    packed("a.jsonl.gz")
    assert len(fickle.calls) == 300
    plain = (tmp_path / "a.recording.jsonl").read_bytes()
    assert gzip.decompress((tmp_path / "a.recording.jsonl.gz").read_bytes()) == plain


def test_a_replay_shows_its_own_file_whatever_lies_beside_it(tmp_path) -> None:
    for ending, said in (("", b"1"), (".gz", b"2")):
        elsewhere = tmp_path / (ending or "plain")
        with Recording(elsewhere / f"a.recording.jsonl{ending}") as recording:
            recording.put("0" * 64, said)
            recording.finish()
        recording.path.rename(tmp_path / recording.path.name)
    for ending, said in (("", b"1"), (".gz", b"2")):
        path = tmp_path / f"a.recording.jsonl{ending}"
        assert Recording(path, replay=True).get("0" * 64) == said
        assert Recording(path).get("0" * 64) == said


def test_two_recordings_that_are_written_at_once_are_both_kept(tmp_path) -> None:
    both = [Recording(tmp_path / f"a.recording.jsonl{ending}") for ending in ("", ".gz")]
    for number, recording in enumerate(both):
        recording.put(str(number) * 64, b"{}")
    for recording in both:
        recording.finish()
    for number, recording in enumerate(both):
        assert Recording(recording.path).get(str(number) * 64) == b"{}"


def test_a_recording_that_is_finished_takes_nothing_from_one_that_is_being_written(
    tmp_path,
) -> None:
    """A packed and a plain run at once: the one ends, the other goes on and is killed."""
    one, other = (Recording(tmp_path / f"a.recording.jsonl{ending}") for ending in ("", ".gz"))
    one.put("1" * 64, b"{}")
    other.put("2" * 64, b"{}")
    one.finish()
    other.put("3" * 64, b"{}")
    other.close()
    for path in (one.path, other.path):
        found = Recording(path)
        assert all(found.get(number * 64) == b"{}" for number in "123")


def test_rows_of_a_replay_and_of_a_run_are_never_in_one_file(toy, tmp_path, fickle) -> None:
    """Whichever is broken off, and whichever follows it."""
    kept = run(card(), toy, tmp_path / "kept" / "a.jsonl")
    fickle.taste = lambda title, place: -sum(map(ord, title)) % 89
    lively = run(card(), toy, tmp_path / "lively" / "a.jsonl")
    assert lively[1:] != kept[1:]

    class Breaks(Recording):
        left = 100

        def get(self, key):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().get(key)

    def go(path: Path, recording: Recording) -> None:
        with recording:
            execute(card(), toy, "ranking", path, batch=16, recording=recording)

    theirs = tmp_path / "kept" / "a.recording.jsonl"
    path = tmp_path / "first" / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        go(path, Breaks(theirs, replay=True))
    go(path, Recording(path.with_name("a.recording.jsonl")))
    assert path.read_bytes().splitlines() == lively

    path = tmp_path / "second" / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        go(path, Breaks(path.with_name("a.recording.jsonl")))
    go(path, Recording(theirs, replay=True))
    assert path.read_bytes().splitlines() == kept


def test_a_row_of_which_something_may_still_come_is_not_said_to_be_refused(
    toy, tmp_path, fickle
) -> None:
    """Else a run that goes on would keep it, and its replay would not have it."""
    titles = toy.items.texts
    fickle.fails = {f"\n{titles[0]}": "refusal"} | {f"\n{one}": "timeout" for one in titles[1:]}
    rows = [json.loads(line) for line in run(card("Pointwise"), toy, tmp_path / "a.jsonl")[1:]]
    assert {row["status"] for row in rows} == {"timeout"}
    fickle.fails = {f"\n{titles[0]}": "refusal"}
    made = run(card("Pointwise"), toy, tmp_path / "a.jsonl")
    assert run(card("Pointwise"), toy, tmp_path / "b.jsonl", replay=True) == made
    assert all(json.loads(line)["items"] for line in made[1:])


def test_half_a_sign_is_none(toy, tmp_path, fickle, monkeypatch) -> None:
    """As libraries hand it on that read JSON with Python's own reader."""
    broken = Answer("half \ud83d", logprobs=[-1.0] * 20, reason="\udc00")
    monkeypatch.setattr(Fickle, "answer", lambda self, call: broken)
    made = run(card(), toy, tmp_path / "a.jsonl")
    assert run(card(), toy, tmp_path / "b.jsonl", replay=True) == made
    assert '"text":"half ?"' in (tmp_path / "a.recording.jsonl").read_text("utf-8")


def test_an_answer_without_end_does_not_make_the_others_unreadable(
    toy, tmp_path, fickle, monkeypatch
) -> None:
    endless = Answer("7" * (5 << 20), logprobs=[-1.0] * 20)
    monkeypatch.setattr(Fickle, "answer", lambda self, call: endless)
    made = run(card(), toy, tmp_path / "a.jsonl")
    assert run(card(), toy, tmp_path / "b.jsonl", replay=True) == made


def test_candidates_that_could_not_be_asked_about_are_left_out_and_said_so(
    toy, tmp_path, fickle
) -> None:
    title = toy.items.texts[0]
    fickle.fails = {f"\n{title}": "api_error"}
    rows = [json.loads(line) for line in run(card("Pointwise"), toy, tmp_path / "a.jsonl")[1:]]
    item = toy.items.ids[0]
    for row, request in zip(rows, toy.requests("test", "ranking"), strict=True):
        failed = item in request.candidates
        assert row.get("status", "ok") == ("fallback" if failed else "ok")
        assert set(request.candidates) - set(row["items"]) == ({item} if failed else set())


def test_a_plan_is_what_is_then_asked(toy, tmp_path, fickle) -> None:
    def show(seed: int) -> TaskView:
        return toy.view("ranking", "test", seed, ["title"], recording=recording)

    # One by one, candidates are the same questions in every order: asked in the first run.
    for kind, calls in (("Letters", 600), ("Pointwise", 300 * 20)):
        recording = Recording(tmp_path / kind / "a.recording.jsonl")
        plan = planned(card(kind, runs=2), toy, "ranking", show, "test")
        assert not fickle.calls
        run(card(kind, runs=2), toy, tmp_path / kind / "a.jsonl")
        used = sum(
            sum(fickle.tokens(said.content) for said in call.messages) for call in fickle.calls
        )
        assert plan.calls == calls == len(fickle.calls)
        assert plan.prompt_tokens == used
        assert plan.completion_tokens == calls
        recording = Recording(tmp_path / kind / "a.recording.jsonl")
        assert planned(card(kind, runs=2), toy, "ranking", show, "test").calls == 0
        fickle.calls.clear()


def test_a_call_that_failed_is_planned_once_however_many_ask_for_it(toy, tmp_path, fickle) -> None:
    fickle.fails = {"": "timeout"}
    run(card("Pointwise", runs=2), toy, tmp_path / "a.jsonl")
    recording = Recording(tmp_path / "a.recording.jsonl")

    def show(seed: int) -> TaskView:
        return toy.view("ranking", "test", seed, ["title"], recording=recording)

    assert planned(card("Pointwise", runs=2), toy, "ranking", show, "test").calls == 300 * 20


def test_a_budget_is_never_passed_and_what_was_answered_is_kept(toy, tmp_path, fickle) -> None:
    def budget(limit: float) -> Budget:
        return Budget(limit, lambda prompt, completion, cached: prompt / 1000, "USD")

    path = tmp_path / "a.jsonl"
    spending = budget(20.0)
    with pytest.raises(BenchError, match="could pass the limit of 20"):
        run(card(), toy, path, budget=spending)
    assert 18.0 < spending.spent <= 20.0
    some = len(fickle.calls)
    assert 0 < some < 300
    with Recording(path.with_name("a.recording.jsonl"), budget=budget(1e9)) as recording:
        execute(card(), toy, "ranking", path, batch=16, recording=recording)
    assert len(fickle.calls) == 300


def test_a_budget_holds_with_a_tokeniser_that_knows_no_word_of_the_language(
    toy, tmp_path, fickle, monkeypatch
) -> None:
    """A token a byte, and a chat format that is as long as any."""

    def answer(self, call):
        written = sum(50 + len(message.content.encode()) for message in call.messages)
        return replace(Stub.answer(self, call), usage=Usage(prompt=written, completion=1))

    monkeypatch.setattr(Fickle, "answer", answer)
    spending = Budget(100.0, lambda prompt, completion, cached: prompt / 1000, "USD")
    with pytest.raises(BenchError, match="could pass the limit of 100"):
        run(card(), toy, tmp_path / "a.jsonl", batch=300, budget=spending)
    assert 98.0 < spending.spent <= 100.0


def test_what_earlier_commands_spent_counts_against_the_limit(toy, tmp_path, fickle) -> None:
    def budget(limit: float) -> Budget:
        return Budget(limit, lambda prompt, completion, cached: prompt / 1000, "USD")

    path = tmp_path / "a.jsonl"
    with pytest.raises(BenchError, match="could pass the limit of 20"):
        run(card(), toy, path, budget=budget(20.0))
    asked = len(fickle.calls)
    again = budget(20.0)
    with pytest.raises(BenchError, match="could pass the limit of 20"):
        run(card(), toy, path, budget=again)
    assert len(fickle.calls) == asked
    assert 18.0 < again.spent <= 20.0


@pytest.mark.parametrize(("titles", "prompts"), [(("Yes", "No"), 1), (("Alien", "Star Wars"), 2)])
def test_a_conversation_is_paid_for_as_often_as_it_is_sent(titles, prompts: int) -> None:
    call = Likelihoods((Message("user", "x" * 400),), titles)
    assert expected(Endpoint(model="none"), call) == (prompts * 100, prompts)
    with ChatServer(OPENAI) as server:
        model = Endpoint(model="chatter", base_url=f"{server.address}/v1")
        assert prompts * 400 < at_most(model, call)[0] < prompts * 600


def test_a_limit_goes_by_the_tokens_that_the_server_makes_of_the_options() -> None:
    """Where it makes two of a letter and its blank, the prompt is sent once for each letter."""
    call = Likelihoods((Message("user", "x" * 400),), ("A", "B"))
    with ChatServer(VLLM) as server:
        model = Endpoint(model="chatter", base_url=f"{server.address}/v1")
        assert at_most(model, call)[0] < 600
        model._words.update(A=[1, 2], B=[1, 3])
        assert at_most(model, call)[0] > 800


def test_no_limit_is_promised_where_nothing_says_how_long_answers_are() -> None:
    model = LangChain(system="a:b", per_call=False)
    with pytest.raises(CardRefused, match="leave out --spend, or per_call"):
        at_most(model, Chat((Message("user", "x"),)))


@pytest.mark.parametrize("counted", [Usage(), Usage(prompt=1), Usage(completion=1)])
def test_answers_whose_tokens_nobody_counts_are_not_free(
    toy, tmp_path, fickle, monkeypatch, counted
) -> None:
    monkeypatch.setattr(
        Fickle, "answer", lambda self, call: replace(Stub.answer(self, call), usage=counted)
    )
    spending = Budget(5.0, lambda prompt, completion, cached: prompt / 1000 + completion, "USD")
    with pytest.raises(BenchError, match="could pass the limit of 5"):
        run(card(), toy, tmp_path / "a.jsonl", batch=1, budget=spending)
    assert 3.0 < spending.spent <= 5.0


def test_finding_out_what_a_server_is_costs_nothing_and_a_replay_asks_nobody(toy, tmp_path) -> None:
    budget = Budget(1e9, lambda prompt, completion, cached: prompt, "USD")
    with ChatServer(LLAMA) as server:
        served = {"kind": "openai", "model": "chatter", "base_url": f"{server.address}/v1"}
        asked = replace(card(), system="baselines.llm.letters:Letters")
        asked = replace(asked, params=asked.params | {"model": served})
        made = run(asked, toy, tmp_path / "a.jsonl", batch=300, budget=budget)
        paths = [path for path, _, _ in server.state.asked]
        assert paths.count("/v1/models") == 1
        assert len(server.state.chats()) > 300  # each states 40 tokens
    assert budget.spent == 300 * 40
    assert run(asked, toy, tmp_path / "b.jsonl", replay=True) == made


@pytest.mark.parametrize(
    ("name", "does"),
    [("gpt-4-1-mini-letters", OPENAI), ("llama-3-70b-letters", VLLM),
     ("smollm2-served-letters", LLAMA)],
)  # fmt: skip
def test_a_card_that_is_ready_to_run_is_answered_by_its_kind_of_server(toy, name, does) -> None:
    made = read_card(ROOT / "baselines" / "llm" / "cards" / f"{name}.toml")
    with ChatServer(does) as server:
        there = {"model": "chatter", "base_url": f"{server.address}/v1"}
        params = made.params | {"model": made.params["model"] | there}
        ranker = load_method(replace(made, params=params), "ml-100k-v1", "ranking")
        ranker.fit(toy.view("ranking", "test", 0, ["title"]))
        (found,) = ranker.rank([toy.requests("test", "ranking")[0]])
    assert found.status == "ok"
    assert found.items == toy.requests("test", "ranking")[0].candidates  # A is the likeliest


def test_no_answer_depends_on_what_is_relevant(toy, tmp_path, monkeypatch, fickle) -> None:
    """Targets are never opened while a run is made, through retries and repairs as well."""
    fickle.fails = {"e": "timeout"}
    monkeypatch.setattr(Task, "targets", lambda *_: pytest.fail("targets were opened"))
    run(card(), toy, tmp_path / "a.jsonl")
    run(card("Pointwise"), toy, tmp_path / "b" / "a.jsonl")


def test_rows_state_their_own_latency_whatever_was_handed_over_at_once(toy, tmp_path) -> None:
    for batch in (1, 300):
        rows = run(card(), toy, tmp_path / str(batch) / "a.jsonl", batch)
        assert {msgspec.json.decode(row)["latency_ms"] for row in rows[1:]} == {2.0}


def test_chance_is_the_seeds_and_the_requests(toy) -> None:
    def orders(seed: int, names: slice) -> list[list[int]]:
        ranker = FickleLetters(model=MODEL, prompt=prompt("letters"), permutations=2)
        ranker.fit(toy.view("ranking", "test", seed, ["title"]))
        some = list(toy.requests("test", "ranking"))[names]
        return [about.random.permutation(20).tolist() for about in ranker.abouts(some)]

    assert orders(0, slice(5, 6)) == orders(0, slice(0, 9))[5:6]
    assert orders(0, slice(5)) != orders(1, slice(5))
    assert len({tuple(order) for order in orders(0, slice(50))}) == 50
    assert np.unique(orders(0, slice(300)), axis=0).shape == (300, 20)


PRICES = """
version = "today"
date = 2026-11-22
currency = "EUR"
source = "invented"

[models.fickle]
prompt = 1.0
completion = 2.0
"""


def card_file(folder: Path, tracks: list[str]) -> None:
    folder.mkdir()
    (folder / "submission.toml").write_text(
        f'''name = "fickle"
title = "Fickle"
authors = ["We"]
licence = "MIT"
description = ""
hardware = "none"
command = "none"
system = "{__name__}:FickleLetters"
params = {{ model = {{ kind = "openai", model = "none" }}, prompt = "{prompt("letters")}" }}
reads = ["title"]
tasks = ["toy-v1"]
tracks = {json.dumps(tracks)}
'''
    )


def test_the_command_line_plans_spends_records_and_replays(bench, toy, tmp_path, fickle) -> None:
    folder = tmp_path / "fickle"
    card_file(folder, tracks=["ranking"])
    (tmp_path / "prices.toml").write_text(PRICES)
    priced = ["--prices", tmp_path / "prices.toml"]
    code, out, err = bench("run", folder, "--dry-run", *priced)
    assert (code, err, fickle.calls) == (0, "", [])
    assert out.startswith("fickle toy-v1 ranking: 300 calls, ")
    assert out.endswith(
        "300 completion tokens at most, about 0.0631 EUR at the prices of "
        "fickle with the longest answers; "
        "0 answers are recorded\n"
    )
    code, out, err = bench("run", folder, "--dry-run", "--show")
    assert (code, err, fickle.calls) == (0, "", [])
    first = toy.requests("test", "ranking")[0]
    assert f"\nA. {toy.items.texts[toy.items.rows(first.candidates[:1])[0]]}\n" in out
    assert out.endswith("--- how likely each is to follow\n" + " ".join(
        f"[ {letter}]" for letter in "ABCDEFGHIJKLMNOPQRST") + "\n")  # fmt: skip
    code, out, err = bench("run", folder, "--batch", 8, *priced, "--spend", "0.01")
    assert (code, out) == (1, "")
    assert "EUR spent, and the next call could pass the limit of 0.01" in err
    assert 0 < len(fickle.calls) < 100
    code, out, err = bench("run", folder, "--out", folder, "--compress")
    assert (code, err) == (0, "")
    assert {path.name for path in folder.iterdir()} == {
        "submission.toml", "toy-v1.ranking.jsonl.gz", "toy-v1.ranking.recording.jsonl.gz",
    }  # fmt: skip
    asked = len(fickle.calls)
    code, out, _ = bench("run", folder, "--replay")
    assert (code, out) == (0, "runs/fickle/toy-v1.ranking.jsonl\n")
    assert len(fickle.calls) == asked
    unfinished = Path("runs/fickle/toy-v1.ranking.jsonl.partial")
    runs = [path for path in Path("runs/fickle").iterdir() if path != unfinished]
    assert len(runs) > 1  # the recordings among them are no runs, and are left alone
    code, out, err = bench("score", *runs)
    assert (code, err) == (0, "")
    again = Path("runs/fickle/toy-v1.ranking.jsonl").read_bytes()
    assert gzip.decompress((folder / "toy-v1.ranking.jsonl.gz").read_bytes()) == again


def test_a_limit_holds_over_all_run_files_of_a_command_however_often_it_is_given(
    bench, toy, tmp_path, fickle
) -> None:
    """What a track has cost that is finished, or not begun, counts for all of them."""
    card_file(tmp_path / "fickle", tracks=["ranking", "ranking-popular"])
    (tmp_path / "prices.toml").write_text(PRICES)
    command = ["run", tmp_path / "fickle", "--prices", tmp_path / "prices.toml"]
    code, _, _ = bench(*command, "--track", "ranking")
    assert code == 0
    finished = sum(Stub.answer(fickle, call).usage.prompt for call in fickle.calls) / 1e6
    asked = len(fickle.calls)
    for _ in range(3):
        code, _, err = bench(*command, "--spend", f"{finished + 0.002:.6f}")
        assert code == 1
        assert "could pass the limit" in err
    spent = sum(Stub.answer(fickle, call).usage.prompt for call in fickle.calls[asked:]) / 1e6
    assert spent <= 0.002
