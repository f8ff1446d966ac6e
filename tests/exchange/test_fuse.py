"""Fusing runs: against the formula in exact fractions, by hand, and against ranx."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm4rec_bench import BenchError, UsageError, read_run
from llm4rec_bench.exchange import fuse
from llm4rec_bench.exchange.fuse import fused_items, shares_of
from llm4rec_bench.run.format import MOST_ITEMS
from llm4rec_bench.run.plain import EMPTY
from tests.conftest import ROOT

ALS, KNN, POPULAR = (
    ROOT / "submissions" / name / "toy-v1.retrieval.jsonl.gz"
    for name in ("als", "item-knn", "popularity")
)

Lists = Sequence[Sequence[int]]
"""The ranking of one request by each of several runs."""


def padded(lists: Lists) -> list[np.ndarray]:
    return [
        np.array([[*ranked, *[EMPTY] * (MOST_ITEMS - len(ranked))]], np.int16) for ranked in lists
    ]


def fused(lists: Lists, k: float = 60, weights: Sequence[float] | None = None) -> list[int]:
    shares = shares_of(k, weights or [1.0] * len(lists))
    (row,) = fused_items(padded(lists), shares).tolist()
    return [item for item in row if item != EMPTY]


def by_the_formula(lists: Lists, k: float, weights: Sequence[float]) -> list[int]:
    """Reciprocal-rank fusion in fractions, ties by the row of the item."""
    score: dict[int, Fraction] = {}
    for ranked, weight in zip(lists, weights, strict=True):
        for rank, item in enumerate(ranked, 1):
            score[item] = score.get(item, Fraction(0)) + Fraction(weight) / (Fraction(k) + rank)
    return sorted(score, key=lambda item: (-score[item], item))[:MOST_ITEMS]


rankings = st.permutations(range(12)).flatmap(
    lambda items: st.integers(0, 12).map(lambda length: items[:length])
)


@given(st.lists(rankings, min_size=2, max_size=4), st.sampled_from([0, 1, 5, 60]))
@example([[0, 1, 2, 3, 4], [4, 1, 5, 6, 0]], 1)  # 1/2 + 1/6 is 1/3 + 1/3
@example([[0, 1, 2], [1, 2, 0], [2, 0, 1]], 60)
@example([[], []], 60)
def test_fusion_is_the_formula_in_exact_fractions(lists: Lists, k: int) -> None:
    assert fused(lists, k) == by_the_formula(lists, k, [1] * len(lists))


@given(st.lists(rankings, min_size=2, max_size=3), st.data())
def test_weights_are_those_of_the_formula(lists: Lists, data: st.DataObject) -> None:
    weights = data.draw(
        st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=len(lists), max_size=len(lists))
    )
    assert fused(lists, 60, weights) == by_the_formula(lists, 60, weights)


@given(st.lists(rankings, min_size=2, max_size=4), st.randoms())
def test_the_order_of_the_runs_decides_nothing(lists: Lists, random) -> None:
    mixed = list(lists)
    random.shuffle(mixed)
    assert fused(mixed) == fused(lists)


def test_an_item_that_two_runs_rank_low_beats_one_that_a_single_run_ranks_first() -> None:
    # 1/61 < 1/70 + 1/70, worked by hand
    filler = [[*range(10, 19)], [*range(20, 29)]]
    assert fused([[*filler[0], 5], [*filler[1], 5]])[0] == 5
    assert fused([[7, 8], [8, 7]]) == [7, 8]  # a tie, by row


def test_requests_are_fused_apart_and_cut_at_a_hundred() -> None:
    one = np.stack([np.arange(100), np.arange(100, 200)]).astype(np.int16)
    other = np.stack([np.arange(200, 300), np.arange(100, 200)]).astype(np.int16)
    first, second = fused_items([one, other], shares_of(60, [1, 1])).tolist()
    assert first == [item for place in range(50) for item in (place, place + 200)]
    assert second == list(range(100, 200))


@pytest.mark.slow  # ranx compiles itself first, for half a minute
@pytest.mark.filterwarnings("ignore:unsafe cast from uint64")
def test_ranx_fuses_alike(tmp_path: Path) -> None:
    ranx = pytest.importorskip("ranx", reason="ranx is not installed; pip install -e '.[peers]'")
    fuse([ALS, KNN], tmp_path / "fused.jsonl", "ours")
    runs = [ranx.Run({row["request_id"]: counted_down(row["items"]) for row in rows(path)})
            for path in (ALS, KNN)]  # fmt: skip
    theirs = ranx.fuse(runs=runs, method="rrf", norm=None, params={"k": 60}).to_dict()
    for row in rows(tmp_path / "fused.jsonl"):
        scores = theirs[row["request_id"]]
        found = [scores[item] for item in row["items"]]
        assert len(found) == len(scores)
        assert found == sorted(found, reverse=True)


def counted_down(items: list[str]) -> dict[str, float]:
    return {item: float(-place) for place, item in enumerate(items)}


def rows(path: Path) -> list[dict]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.splitlines()][1:]


def test_a_fused_file_is_sound_and_the_same_every_time(toy, tmp_path: Path) -> None:
    for name in ("one.jsonl", "two.jsonl", "packed.jsonl.gz"):
        fuse([ALS, KNN, POPULAR], tmp_path / name, "All three")
    run = read_run(tmp_path / "one.jsonl")
    assert (run.header.name, run.header.card, run.header.track) == ("All three", None, "retrieval")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert read_run(tmp_path / "packed.jsonl.gz").digest == run.digest
    parts = [{row["request_id"]: row for row in rows(path)} for path in (ALS, KNN, POPULAR)]
    row_of = toy.items.row_of
    made = rows(tmp_path / "one.jsonl")
    assert [row["request_id"] for row in made] == toy.requests("test").ids
    for row in made[::17]:
        mine = [part[row["request_id"]] for part in parts]
        lists = [[row_of[item] for item in part["items"]] for part in mine]
        expected = by_the_formula(lists, 60, [1, 1, 1])
        assert row["items"] == [toy.items.ids[item] for item in expected]
        assert row["latency_ms"] == pytest.approx(
            sum(part["latency_ms"] for part in mine), abs=1e-3
        )


@pytest.fixture
def run_file(toy, tmp_path: Path):
    """A run file with some fields of its rows changed: by the number of the request."""

    def write(name: str, changed: dict[int, dict] | None = None, runs: int = 1, **header) -> Path:
        head = {"format": "llm4rec-bench/1", "task": "toy-v1", "track": "ranking",
                "digest": toy.digest("ranking"), "name": name} | header  # fmt: skip
        lines = [head]
        for number in range(runs):
            for place, request in enumerate(toy.requests("test", "ranking")):
                row = {"request_id": request.request_id, "items": request.candidates[:3],
                       "run": number}  # fmt: skip
                lines.append(row | (changed or {}).get(place, {}))
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return path

    return write


FAILED = {"status": "refusal", "items": []}


def test_a_failed_request_takes_part_with_the_others_and_says_so(run_file, toy, tmp_path) -> None:
    one = run_file("one", {0: FAILED, 1: FAILED, 2: {"status": "truncated"}})
    other = run_file("other", {0: {"status": "timeout", "items": []}, 3: {"status": "fallback"}})
    fuse([one, other], out := tmp_path / "fused.jsonl", "x")
    read_run(out)
    made = rows(out)
    assert made[0] == {"request_id": "u001", "items": [], "status": "refusal"}
    assert made[1]["status"] == "fallback"
    assert made[1]["items"] == toy.requests("test", "ranking")[1].candidates[:3]
    assert [row.get("status", "ok") for row in made[2:5]] == ["truncated", "fallback", "ok"]


def test_costs_are_summed_where_all_files_state_them(run_file, tmp_path) -> None:
    spent = {"latency_ms": 1.5, "prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 5}
    unknown = {"cached_tokens": 0}  # of no known number of prompt tokens
    left_out = {"dropped": {"invented": 1, "duplicate": 2}}
    one = run_file("one", {0: spent, 1: spent, 2: spent, 3: {"latency_ms": 9e8}} | {4: left_out})
    other = run_file("other", {0: spent, 1: {"latency_ms": 2}, 2: unknown, 3: {"latency_ms": 9e8},
                               4: left_out})  # fmt: skip
    fuse([one, other], out := tmp_path / "fused.jsonl", "x")
    read_run(out)
    costs = [{name: value for name, value in row.items() if name not in ("items", "request_id")}
             for row in rows(out)[:6]]  # fmt: skip
    assert costs == [
        {"latency_ms": 3.0, "prompt_tokens": 20, "completion_tokens": 4, "cached_tokens": 10},
        {"latency_ms": 3.5}, {}, {}, {"dropped": {"invented": 2, "duplicate": 4}}, {},
    ]  # fmt: skip


def test_runs_are_fused_number_by_number_and_a_single_one_goes_with_each(
    run_file, tmp_path
) -> None:
    several, single = run_file("several", runs=3), run_file("single")
    fuse([several, single], out := tmp_path / "fused.jsonl", "x")
    assert len(read_run(out).ranks) == 3
    assert [row.get("run", 0) for row in rows(out)[::300]] == [0, 1, 2]
    with pytest.raises(UsageError, match=r"two\.jsonl holds 2 runs, but several\.jsonl 3"):
        fuse([several, run_file("two", runs=2)], out, "x")


def test_runs_of_other_requests_are_refused(run_file, tmp_path) -> None:
    with pytest.raises(BenchError, match=r"is of track 'ranking', but .* is of 'retrieval'"):
        fuse([ALS, run_file("one")], tmp_path / "fused.jsonl", "x")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"weights": [1]}, "1 weights for 2 run files"),
        ({"weights": [1, 0]}, "above 0"),
        ({"weights": [1, float("nan")]}, "above 0"),
        ({"k": -1}, "k is a finite number"),
        ({"name": ""}, "a run's name"),
        ({"name": "two\nlines"}, "a run's name"),
    ],
)
def test_numbers_and_names_that_cannot_be_are_refused(options, told, tmp_path) -> None:
    with pytest.raises(UsageError, match=told):
        fuse([ALS, KNN], tmp_path / "fused.jsonl", **{"name": "x"} | options)
    assert not list(tmp_path.iterdir())


def test_a_run_is_never_written_over_what_it_is_made_of(run_file) -> None:
    one, other = run_file("one"), run_file("other")
    with pytest.raises(UsageError, match="write elsewhere"):
        fuse([one, other], other, "x")
