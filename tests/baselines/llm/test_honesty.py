"""That a score says what a model knows: none that knows nothing is above chance, and none can peek.

Models with known tastes, and one of random weights, go the whole way: card, run file, scorer.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baselines.llm.model import Answer, Call, Likelihoods
from baselines.llm.ranker import Talking
from llm4rec_bench import BenchError, Ranking, Request, Score, Task, TaskView, read_run, score
from llm4rec_bench.cli.bars import RunBar
from llm4rec_bench.recording import Recording
from llm4rec_bench.run.execute import execute
from llm4rec_bench.scoring.floors import popularity_order
from llm4rec_bench.submission import Card
from llm4rec_bench.task import open_task, tables
from tests.baselines.llm.models.test_local import LLAMA, save
from tests.baselines.llm.stubs import Stub, prompt
from tests.baselines.llm.test_rankers import LIST_READERS, LISTWISE, MAKERS, by_title
from tests.run.test_execute import leaks


def card(system: str, runs: int = 1, **params: Any) -> Card:
    return Card(
        "tested", "Tested", ["We"], "MIT", "", "none", "none",
        system=system, reads=["title"], params=params, runs=runs,
    )  # fmt: skip


def scored(card: Card, toy: Task, path: Path) -> Score:
    execute(card, toy, "ranking", path, batch=300)
    return score(read_run(path, toy))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()[1:]]


# Random weights


@pytest.fixture(scope="session")
def ignorant(tmp_path_factory) -> dict[str, Any]:
    """A model that was never trained, read as any other is."""
    small = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    longest = {"max_position_embeddings": 1024}
    folder = save(tmp_path_factory.mktemp("ignorant"), LLAMA, **small, **heads, **longest)
    return {"kind": "transformers", "model": str(folder), "batch_size": 256}


def tastes(toy: Task, count: int) -> list[float]:
    """The ndcg@10 of so many random orders of the catalogue, each kept to in all pools.

    This is what somebody who knows nothing may come to: the same taste meets the same items again
    and again, so it is spread further than answers that are drawn anew for each request.
    """
    pools, targets = toy.pools("test", "ranking")[:, 0], toy.targets("test").items
    random = np.random.default_rng(0)
    orders = [random.permutation(len(toy.items)) for _ in range(count)]
    ranks = np.array([1 + (order[pools] < order[targets]).sum(axis=1) for order in orders])
    return np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean(axis=1).tolist()


SHORT = {"history": 3, "characters": 30}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "named"),
    [("letters:Letters", "letters"), ("pointwise:Pointwise", "yes-no"),
     ("likelihood:TitleLikelihood", "likelihood")],
)  # fmt: skip
def test_random_weights_are_at_chance(
    toy: Task, tmp_path: Path, ignorant, system: str, named: str
) -> None:
    made = card(f"baselines.llm.{system}", model=ignorant, prompt=prompt(named), **SHORT)
    found = scored(made, toy, tmp_path / "a.jsonl")
    chance = tastes(toy, 999)
    assert np.mean(chance) == pytest.approx(found.floors.random["ndcg@10"], abs=0.005)
    low, high = np.quantile(chance, (0.025, 0.975))
    assert low < found.metrics["ndcg@10"].value < high
    assert Counter(row.get("status", "ok") for row in rows(tmp_path / "a.jsonl")) == {"ok": 300}


def test_random_weights_write_no_ranking_and_nothing_is_made_of_it(
    toy: Task, tmp_path: Path, ignorant
) -> None:
    """What cannot be read ranks nothing, so that a list of nonsense is below chance."""
    made = card(
        "baselines.llm.listwise:Listwise",
        model=ignorant, prompt=LISTWISE, max_tokens=12, left_out="given", **SHORT,
    )  # fmt: skip
    found = scored(made, toy, tmp_path / "a.jsonl")
    assert {row["status"] for row in rows(tmp_path / "a.jsonl")} <= {"parse_error", "truncated"}
    assert not any(row["items"] for row in rows(tmp_path / "a.jsonl"))
    assert found.metrics["ndcg@10"].high == 0 < found.floors.random["ndcg@10"]
    assert found.validity.valid_share == 0


# Known tastes


class Tasted:
    """A ranker that asks a stub, as a card's `system`: the taste is the test's."""

    stub: ClassVar[Stub]
    seen: ClassVar[list[object]] = []
    """What the method is handed and becomes."""

    def __init__(self, ranker: str, hint: str | None = None) -> None:
        self.ranker: Talking = MAKERS[ranker]()
        self.ranker.asked_model = type(self).stub
        if hint is not None:
            self.ranker.hint = hint

    def fit(self, task: TaskView) -> None:
        self.ranker.fit(task)
        type(self).seen = [task, self]

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        type(self).seen += [requests, found := self.ranker.rank(requests)]
        return found


def tasted(
    ranker: str, stub: Stub, toy: Task, path: Path, track: str = "ranking", **more: Any
) -> Path:
    Tasted.stub = stub
    made = card(f"{__name__}:Tasted", ranker=ranker, **more.pop("params", {}))
    execute(made, toy, track, path, batch=more.pop("batch", 300), **more)
    return path


class Informed(Stub):
    """Knows the target of whoever has a history, and likes it by `sign`."""

    def __init__(self, toy: Task, sign: float) -> None:
        texts, targets = toy.items.texts, toy.targets("test").items[:, 0].tolist()
        self.target: dict[str, str] = {}
        for request, target in zip(toy.requests("test", "ranking"), targets, strict=True):
            shown = [texts[row] for row in toy.items.rows(request.history[-20:]).tolist()]
            self.target["\n".join(f"- {title}" for title in shown)] = texts[target]
        assert len(self.target) == 300
        self.wanted = ""
        super().__init__(lambda title, place: sign * (title == self.wanted))

    def answer(self, call: Call) -> Answer:
        (history,) = re.findall(r"last:\n((?:- .*\n)+)\n", call.messages[1].content)
        self.wanted = self.target[history.rstrip("\n")]
        return super().answer(call)


ALL_AT_ONCE = ["letters", "listwise", "yes-no", "rating", "select", "likelihood", "sliding"]
"""Those of which 300 requests take no more than a second or two."""


@pytest.mark.parametrize("ranker", ALL_AT_ONCE)
def test_who_knows_is_at_the_ceiling_and_who_inverts_it_at_nothing(
    toy: Task, tmp_path: Path, ranker: str
) -> None:
    found = score(read_run(tasted(ranker, Informed(toy, 1.0), toy, tmp_path / "a.jsonl"), toy))
    assert {name: by.value for name, by in found.metrics.items()} == found.floors.ceiling
    assert found.metrics["recall@1"].value == 1.0
    found = score(read_run(tasted(ranker, Informed(toy, -1.0), toy, tmp_path / "b.jsonl"), toy))
    assert {by.value for by in found.metrics.values()} == {0.0}


@pytest.mark.parametrize("ranker", ALL_AT_ONCE)
def test_who_likes_what_is_popular_is_at_the_popularity_floor(
    toy: Task, tmp_path: Path, ranker: str
) -> None:
    values = -popularity_order(toy, "test") / 50.0
    path = tasted(ranker, Stub(by_title(toy, values.tolist())), toy, tmp_path / "a.jsonl")
    found = score(read_run(path, toy))
    assert {name: by.value for name, by in found.metrics.items()} == found.floors.popularity


@pytest.mark.parametrize("ranker", LIST_READERS)
def test_who_takes_the_first_is_at_the_floor_of_the_order_given(
    toy: Task, tmp_path: Path, ranker: str
) -> None:
    stub = Stub(lambda title, place: -float(place))
    found = score(read_run(tasted(ranker, stub, toy, tmp_path / "a.jsonl"), toy))
    expected = pytest.approx(found.floors.as_given, abs=1e-9)
    assert {name: by.value for name, by in found.metrics.items()} == expected


@pytest.mark.parametrize("ranker", ALL_AT_ONCE)
def test_who_answers_by_chance_is_at_chance(toy: Task, tmp_path: Path, ranker: str) -> None:
    random = np.random.default_rng(1)
    stub = Stub(lambda title, place: random.normal())
    found = score(read_run(tasted(ranker, stub, toy, tmp_path / "a.jsonl"), toy))
    for metric in ("ndcg@10", "recall@5", "mrr@10"):
        interval = found.metrics[metric]
        assert interval.low < found.floors.random[metric] < interval.high


# Labels


def all_of(call: Call) -> str:
    """The texts that a model is shown by a call."""
    continuations = call.continuations if isinstance(call, Likelihoods) else ()
    return "\n".join([*(message.content for message in call.messages), *continuations])


@pytest.mark.parametrize("ranker", [*ALL_AT_ONCE, "example", "hybrid"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_target_that_is_no_candidate_is_told_to_no_model(toy: Task, ranker, split: str) -> None:
    """Neither history, example nor calibration ever shows what was held out."""
    method = MAKERS[ranker]()
    method.asked_model = stub = Stub(lambda title, place: 0.0)
    method.fit(toy.view("ranking", split, 0, ["title"]))
    targets = toy.targets(split).items[:, 0].tolist()
    for request, target in list(zip(toy.requests(split, "ranking"), targets, strict=True))[:12]:
        others = [item for item in request.candidates if item != toy.items.ids[target]]
        assert len(others) == 19
        stub.calls.clear()
        method.rank([msgspec.structs.replace(request, candidates=others)])
        told = "\n".join(map(all_of, stub.calls))
        assert toy.items.texts[target] not in told
        assert all(toy.items.texts[row] in told for row in toy.items.rows(others))


class Sloppy(Stub):
    """Answers as careless models do, by a digest of the question; time runs out once for some."""

    def __init__(self, toy: Task) -> None:
        super().__init__(lambda title, place: sha256(title.encode()).digest()[0] / 256 - place / 99)
        self.titles = toy.items.texts
        self.given_up: set[bytes] = set()

    def answer(self, call: Call) -> Answer:
        digest = sha256(msgspec.json.encode(call)).digest()
        kind = digest[0] % 8
        if kind == 0 and digest not in self.given_up:
            self.given_up.add(digest)
            return Answer(status="timeout", reason="late")
        if kind == 1:
            return Answer(status="refusal", reason="no")
        good = super().answer(call)
        if good.logprobs is not None or kind > 5:
            return good
        invented = f"An Invention\n{self.titles[digest[1] % 48]}\n99\n"
        texts = {2: good.text[: len(good.text) // 2], 3: f"Well:\n{good.text}\nHope it helps!"}
        text = texts.get(kind, invented + good.text if kind == 4 else "I cannot tell.")
        return Answer(text, status="truncated" if kind == 2 else "ok", usage=good.usage)


@pytest.mark.parametrize("ranker", ["letters, three orders", "listwise", "select"])
def test_a_run_is_the_same_whatever_is_relevant(toy: Task, tmp_path: Path, ranker: str) -> None:
    """With targets of others, and with none at all; through failures, repairs and a second try."""

    def made(task: Task, name: str) -> tuple[bytes, bytes]:
        folder = tmp_path / name
        path, stub = folder / "a.jsonl", Sloppy(toy)
        for _ in range(2):
            with Recording(folder / "a.recording.jsonl") as recording:
                tasted(ranker, stub, task, path, recording=recording, overwrite=True, batch=7)
        return path.read_bytes(), (folder / "a.recording.jsonl").read_bytes()

    expected = made(toy, "theirs")
    found = Counter(row.get("status", "ok") for row in rows(tmp_path / "theirs" / "a.jsonl"))
    assert found["ok"] + found["fallback"] > 30
    assert len(found) > 1
    copied = tmp_path / "toy-v1"
    shutil.copytree(toy.folder, copied)
    file = tables.parquet_path(copied, tables.TARGETS)
    table = pq.read_table(file)
    order = np.random.default_rng(0).permutation(len(table))
    swapped = table.set_column(2, "items", table["items"].take(pa.array(order)))
    assert swapped.column_names == table.column_names
    assert swapped["items"] != table["items"]
    pq.write_table(swapped, file)
    assert made(open_task(copied), "swapped") == expected
    file.unlink()
    assert made(open_task(copied), "none") == expected
    with pytest.raises(BenchError):
        open_task(copied).targets("test")


@pytest.mark.parametrize("hint", [None, "item-knn"])
@pytest.mark.parametrize("ranker", ["letters", "example"])
def test_nothing_that_a_ranker_can_reach_tells_the_targets(
    toy: Task, tmp_path: Path, ranker: str, hint: str | None
) -> None:
    """From all that it was handed and has become when a run is over, as `run` makes it."""
    toy.targets("test")  # what the task has read lies in its memory
    stub = Stub(lambda title, place: 0.0)
    with RunBar("a run") as bar, Recording(tmp_path / "a.recording.jsonl") as recording:
        tasted(
            ranker, stub, toy, tmp_path / "a.jsonl",
            params={"hint": hint}, workspace=tmp_path, recording=recording, watcher=bar,
        )  # fmt: skip
        assert len(Tasted.seen) == 4
        assert leaks([*Tasted.seen, stub, recording], toy) == set()
    assert leaks([*Tasted.seen, lambda: toy], toy) >= {"task"}
