"""Runs and judgements for TREC tools: the same values there, and the same rankings back."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import R, nDCG

from llm4rec_bench import BenchError, UsageError, read_run, score
from llm4rec_bench.exchange import export_qrels, export_run, import_predictions
from tests.conftest import ROOT
from tests.exchange.conftest import small_task

ALS = ROOT / "submissions" / "als" / "toy-v1.retrieval.jsonl.gz"
RANKING = ROOT / "submissions" / "als" / "toy-v1.ranking.jsonl.gz"
TWO_RUNS = ROOT / "tests" / "runs" / "valid" / "two-runs.jsonl"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The judgements of toy-v1, and a run."""
    folder = tmp_path_factory.mktemp("trec")
    run = read_run(ALS)
    export_qrels(run.task, "test", folder / "toy.qrels")
    export_run(ALS, run, folder / "als.trec")
    return folder / "toy.qrels", folder / "als.trec"


def test_judgements_hold_every_target_and_nothing_else(exported, toy) -> None:
    lines = [line.split(" ") for line in exported[0].read_text().splitlines()]
    targets = [toy.items.ids[row] for row in toy.targets("test").items[:, 0]]
    expected = zip(toy.requests("test").ids, targets, strict=True)
    assert lines == [[request, "0", target, "1"] for request, target in expected]


def test_validation_judgements_are_those_of_validation(toy, tmp_path: Path) -> None:
    export_qrels(toy, "validation", tmp_path / "toy.qrels")
    targets = [toy.items.ids[row] for row in toy.targets("validation").items[:, 0]]
    found = [line.split()[2] for line in (tmp_path / "toy.qrels").read_text().splitlines()]
    assert found == targets


def test_scores_fall_strictly_and_ranks_count_up(exported, toy) -> None:
    lines = [line.split(" ") for line in exported[1].read_text().splitlines()]
    assert {tuple(line[1::4]) for line in lines} == {("Q0", "ALS-(implicit)")}
    places: dict[str, list[tuple[int, int]]] = {}
    for request, _, _, rank, value, _ in lines:
        places.setdefault(request, []).append((int(rank), int(value)))
    assert set(places) == set(toy.requests("test").ids)
    for found in places.values():
        assert found == [(rank, 101 - rank) for rank in range(1, len(found) + 1)]


def test_ir_measures_gives_the_scorers_values(exported) -> None:
    judged, ranked = exported
    theirs = ir_measures.calc_aggregate(
        [nDCG @ 10, R @ 10], ir_measures.read_trec_qrels(str(judged)),
        ir_measures.read_trec_run(str(ranked)),
    )  # fmt: skip
    ours = score(read_run(ALS)).metrics
    assert theirs[nDCG @ 10] == pytest.approx(ours["ndcg@10"].value, abs=1e-9)
    assert theirs[R @ 10] == pytest.approx(ours["recall@10"].value, abs=1e-9)


def test_pytrec_eval_gives_the_scorers_values(exported) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="pip install -e '.[peers]'")
    with exported[0].open() as judged, exported[1].open() as ranked:
        evaluator = pytrec_eval.RelevanceEvaluator(
            pytrec_eval.parse_qrel(judged), {"ndcg_cut.10", "recall.10"}
        )
        found = evaluator.evaluate(pytrec_eval.parse_run(ranked)).values()
    ours = score(read_run(ALS)).metrics
    for name, theirs in (("ndcg@10", "ndcg_cut_10"), ("recall@10", "recall_10")):
        mean = sum(values[theirs] for values in found) / len(found)
        assert mean == pytest.approx(ours[name].value, abs=1e-9)


@pytest.mark.parametrize("path", [ALS, RANKING], ids=["retrieval", "ranking"])
def test_a_run_comes_back_with_the_same_rankings(path: Path, toy, tmp_path: Path) -> None:
    run = read_run(path)
    export_run(path, run, tmp_path / "run.trec.gz")
    back = tmp_path / "back.jsonl"
    found = import_predictions(
        tmp_path / "run.trec.gz", toy, run.header.track, back, run.header.name
    )
    assert not any(found.dropped.values())
    again = read_run(back)
    assert (again.ranks == run.ranks).all()
    assert (again.top[0] == run.top[0]).all()


def test_one_of_several_runs_is_exported(tmp_path: Path) -> None:
    run = read_run(TWO_RUNS)
    for number in (0, 1):
        export_run(TWO_RUNS, run, tmp_path / f"{number}.trec", number)
        rows = map(json.loads, TWO_RUNS.read_text().splitlines()[1:])
        expected = [
            [row["request_id"], item] for row in rows if row.get("run", 0) == number
            for item in row["items"]
        ]  # fmt: skip
        lines = (tmp_path / f"{number}.trec").read_text().splitlines()
        assert sorted(line.split()[:3:2] for line in lines) == sorted(expected)
    with pytest.raises(UsageError, match="holds runs 0 to 1, but no run 2"):
        export_run(TWO_RUNS, run, tmp_path / "2.trec", 2)


words = st.text(
    st.characters(exclude_categories=("Z", "C"), exclude_characters="\t"), min_size=1, max_size=9
)


@settings(max_examples=25)
@given(st.lists(words, min_size=6, max_size=7, unique=True),
       st.lists(words, min_size=5, max_size=6, unique=True))  # fmt: skip
def test_whatever_ids_are_words_come_back(tmp_path_factory, users, items) -> None:
    task = small_task(users, items)
    folder = tmp_path_factory.mktemp("words")
    ranked = [f"{user} Q0 {item} 1 {number / 7} x" for user in task.request_ids("test").to_pylist()
              for number, item in enumerate(items)]  # fmt: skip
    (folder / "run.trec").write_text("\n".join(ranked), "utf-8")
    import_predictions(folder / "run.trec", task, "retrieval", folder / "run.jsonl", "x")
    run = read_run(folder / "run.jsonl", task)
    export_run(folder / "run.jsonl", run, folder / "again.trec")
    import_predictions(folder / "again.trec", task, "retrieval", folder / "again.jsonl", "x")
    read_run(folder / "again.jsonl", task)
    for name in ("run.jsonl", "again.jsonl"):
        rows = [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()[1:]]
        for row, request in zip(rows, task.requests("test"), strict=True):
            assert row["items"] == [item for item in items[::-1] if item not in request.history]


@pytest.mark.parametrize("odd", ["a b", "a\tb", "a\n", "\u3000", "a\u00a0b", "a\u2028", "a\0b"])
def test_ids_that_are_no_words_are_refused(odd: str, tmp_path: Path) -> None:
    others = [f"x{number}" for number in range(6)]
    for task in (small_task([odd, *others], others), small_task(others, [odd, *others[1:]])):
        assert odd in (*task.requests("test").ids, *task.items.ids)
        with pytest.raises(UsageError, match="cannot be written as TREC"):
            export_qrels(task, "test", tmp_path / "toy.qrels")
    assert not list(tmp_path.iterdir())


def test_a_file_that_changes_on_the_way_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(TWO_RUNS.read_bytes())
    run = read_run(path)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(BenchError, match="changed while it was read"):
        export_run(path, run, tmp_path / "out.trec")
    assert not (tmp_path / "out.trec").exists()
