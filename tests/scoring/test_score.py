"""Scores from the run file to the numbers, against an independent implementation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import ir_measures
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec_bench import RunRefused, Score, Task, load_task, read_run, score
from llm4rec_bench.freeze import manifest_of, write_manifest, write_tables
from llm4rec_bench.scoring import Tokens
from tests.conftest import ROOT

TRACKS = ("retrieval", "ranking", "ranking-popular")
THEIRS = {"recall": ir_measures.R, "ndcg": ir_measures.nDCG, "mrr": ir_measures.RR}

Rows = list[dict[str, object]]


def write_run(path: Path, task: Task, track: str, rows: Rows, split: str = "test") -> Path:
    header = {
        "format": "llm4rec-bench/1", "task": task.id, "track": track,
        "digest": task.digest(track), "name": "made by a test", "split": split,
    }  # fmt: skip
    path.write_bytes(b"\n".join(msgspec.json.encode(line) for line in [header, *rows]))
    return path


def random_rows(task: Task, track: str, runs: int = 1, seed: int = 0, split: str = "test") -> Rows:
    """Rankings of random length and order; a tenth of the requests fail."""
    random = np.random.default_rng(seed)
    rows: Rows = []
    for run in range(runs):
        for request in task.requests(split, track, run):
            allowed = request.candidates or sorted({*task.items.ids} - {*request.history})
            row = {"request_id": request.request_id, "run": run}
            if random.random() < 0.1:
                rows.append({**row, "items": [], "status": "refusal"})
            else:
                length = int(random.integers(1, len(allowed) + 1))
                rows.append({**row, "items": random.permutation(allowed)[:length].tolist()})
    return rows


def relevant(task: Task, split: str = "test") -> dict[str, list[str]]:
    """The targets, read from the table's file."""
    rows = pq.read_table(task.folder / "data" / "targets.parquet").to_pylist()
    return {row["request_id"]: row["items"] for row in rows if row["split"] == split}


def by_ir_measures(
    rows: Rows, targets: dict[str, list[str]], metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Metric, then request, then value, of one run; 0 for a request without items."""
    judged = [ir_measures.Qrel(name, item, 1) for name, items in targets.items() for item in items]
    ranked = [
        ir_measures.ScoredDoc(str(row["request_id"]), item, float(-place))
        for row in rows
        for place, item in enumerate(row["items"])
    ]
    measures = {THEIRS[name.split("@")[0]] @ int(name.split("@")[1]): name for name in metrics}
    values = {name: dict.fromkeys(targets, 0.0) for name in metrics}
    for found in ir_measures.iter_calc(list(measures), judged, ranked):
        values[measures[found.measure]][found.query_id] = found.value
    return values


def task_with_gaps(folder: Path) -> Task:
    """The toy task with a second target for every request, often no candidate and sometimes
    seen already, and with the first target of every fourth request gone from its pools."""
    toy = load_task("toy-v1")
    frozen = {
        name: pq.read_table(toy.folder / "data" / f"{name}.parquet") for name in toy.manifest.tables
    }
    targets, taken, lost = [], {}, {}
    asked = zip(frozen["requests"].to_pylist(), frozen["targets"].to_pylist(), strict=True)
    for number, (request, target) in enumerate(asked):
        key, (first,) = (request["split"], request["request_id"]), target["items"]
        unseen = (item for item in toy.items.ids if item not in {first, *request["history"]})
        second = request["history"][0] if number % 7 == 0 else next(unseen)
        targets.append([first, second])
        taken[key] = {first, second, *request["history"]}
        if number % 4 == 0:
            lost[key] = first
    frozen["targets"] = _with_items(frozen["targets"], targets)
    for name in [f"candidates-{track}" for track in TRACKS[1:]]:
        pools = []
        for row in frozen[name].to_pylist():
            key, pool = (row["split"], row["request_id"]), row["items"]
            spare = next(i for i in toy.items.ids if i not in {*pool, *taken[key]})
            pools.append([spare if item == lost.get(key) else item for item in pool])
        frozen[name] = _with_items(frozen[name], pools)
    write_tables(folder, frozen)
    write_manifest(folder, toy.recipe, manifest_of(toy.recipe, frozen, toy.manifest.counts))
    (folder / "task.toml").write_bytes((ROOT / "tasks" / "toy-v1" / "task.toml").read_bytes())
    return load_task(folder)


def _with_items(table: pa.Table, lists: list[list[str]]) -> pa.Table:
    field = table.schema.field("items")
    return table.set_column(
        table.schema.get_field_index("items"), field, pa.array(lists, field.type)
    )


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return task_with_gaps(tmp_path_factory.mktemp("gaps"))


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("runs", [1, 4])
def test_every_value_is_the_mean_over_all_requests(
    toy: Task, tmp_path: Path, track: str, split: str, runs: int
) -> None:
    _assert_equals_ir_measures(toy, tmp_path, track, split, runs)


@pytest.mark.parametrize("track", TRACKS)
def test_requests_may_have_several_targets(gaps: Task, tmp_path: Path, track: str) -> None:
    _assert_equals_ir_measures(gaps, tmp_path, track, "test", 2)


def _assert_equals_ir_measures(
    task: Task, tmp_path: Path, track: str, split: str, runs: int
) -> None:
    rows = random_rows(task, track, runs, seed=runs, split=split)
    found = score(read_run(write_run(tmp_path / "run.jsonl", task, track, rows, split), task))
    targets, metrics = relevant(task, split), task.track(track).metrics
    each = [
        by_ir_measures([row for row in rows if row["run"] == run], targets, metrics)
        for run in range(runs)
    ]
    assert list(found.metrics) == metrics
    assert (found.requests, found.runs, found.split) == (len(targets), runs, split)
    for metric in metrics:
        means = [statistics.fmean(values[metric].values()) for values in each]
        interval = found.metrics[metric]
        assert interval.value == pytest.approx(statistics.fmean(means), abs=1e-9)
        assert interval.low < interval.value < interval.high
        if runs == 1:
            assert interval.std_between_runs is None
        else:
            assert interval.std_between_runs == pytest.approx(statistics.stdev(means), abs=1e-9)


def test_runs_are_averaged_before_requests_are_resampled(toy: Task, tmp_path: Path) -> None:
    # Three identical runs hold no more requests than one: the interval must not shrink.
    one = random_rows(toy, "retrieval")
    three = [{**row, "run": run} for run in range(3) for row in one]
    single = score(read_run(write_run(tmp_path / "1.jsonl", toy, "retrieval", one), toy))
    triple = score(read_run(write_run(tmp_path / "3.jsonl", toy, "retrieval", three), toy))
    for metric, found in triple.metrics.items():
        assert msgspec.structs.replace(found, std_between_runs=None) == single.metrics[metric]
        assert found.std_between_runs == 0.0


def test_failed_requests_count_0(toy: Task, tmp_path: Path) -> None:
    targets = relevant(toy)
    rows: Rows = [
        {"request_id": name, "items": items} if number % 3 else
        {"request_id": name, "items": [], "status": "timeout"}
        for number, (name, items) in enumerate(targets.items())
    ]  # fmt: skip
    found = score(read_run(write_run(tmp_path / "run.jsonl", toy, "ranking", rows), toy))
    values = [interval.value for interval in found.metrics.values()]
    assert values == pytest.approx([2 / 3] * 5, abs=1e-10)
    assert found.validity.statuses == {"ok": 200, "timeout": 100}
    assert found.validity.valid_share == pytest.approx(2 / 3, abs=1e-10)
    assert found.validity.items_per_row == pytest.approx(2 / 3, abs=1e-10)


def test_a_missing_request_is_refused_and_not_averaged_away(toy: Task, tmp_path: Path) -> None:
    rows = random_rows(toy, "ranking")[1:]
    path = write_run(tmp_path / "run.jsonl", toy, "ranking", rows)
    with pytest.raises(RunRefused, match="missing-request"):
        read_run(path, toy)


def test_the_order_of_lines_changes_nothing_but_the_run_digest(toy: Task, tmp_path: Path) -> None:
    rows = random_rows(toy, "ranking", runs=2)
    shuffled = [rows[n] for n in np.random.default_rng(3).permutation(len(rows))]
    one, other = (
        score(read_run(write_run(tmp_path / "run.jsonl", toy, "ranking", some), toy))
        for some in (rows, shuffled)
    )
    assert one.run_digest != other.run_digest
    assert msgspec.structs.replace(one, run_digest="") == msgspec.structs.replace(
        other, run_digest=""
    )


def test_the_order_of_a_list_is_the_ranking_whatever_its_scores_say(
    toy: Task, tmp_path: Path
) -> None:
    rows = random_rows(toy, "ranking")
    tied = [{**row, "scores": [0.5] * len(row["items"])} for row in rows]
    one, other = (
        score(read_run(write_run(tmp_path / "run.jsonl", toy, "ranking", some), toy)).metrics
        for some in (rows, tied)
    )
    assert one == other


def test_slices_are_scored_like_the_whole(toy: Task, tmp_path: Path) -> None:
    rows = random_rows(toy, "ranking", runs=2)
    found = score(read_run(write_run(tmp_path / "run.jsonl", toy, "ranking", rows), toy))
    table = pq.read_table(toy.folder / "data" / "targets.parquet").to_pylist()
    tied = {row["request_id"] for row in table if row["split"] == "test" and row["tied"]}
    assert found.slices["tied"].requests == len(tied) == toy.manifest.counts["tied_test_targets"]
    parts = {name: found.slices[name] for name in ("tied", "not tied")}
    assert sum(part.requests for part in parts.values()) == found.requests
    targets, metrics = relevant(toy), list(found.metrics)
    for name, part in parts.items():
        inside = {key: own for key, own in targets.items() if (key in tied) == (name == "tied")}
        own_rows = [row for row in rows if row["request_id"] in inside]
        each = [
            by_ir_measures([row for row in own_rows if row["run"] == run], inside, metrics)
            for run in range(2)
        ]
        for metric in metrics:
            means = [statistics.fmean(values[metric].values()) for values in each]
            assert part.metrics[metric].value == pytest.approx(statistics.fmean(means), abs=1e-9)


def test_latency_and_tokens_are_over_the_rows_that_state_them(toy: Task, tmp_path: Path) -> None:
    rows = random_rows(toy, "ranking")
    for number, row in enumerate(rows[:100]):
        row |= {
            "latency_ms": float(number + 1),
            "prompt_tokens": 2 * number,
            "completion_tokens": 7,
        }
        row["dropped"] = {"invented": 1, "duplicate": number % 2}
    found = score(read_run(write_run(tmp_path / "run.jsonl", toy, "ranking", rows), toy))
    # 100 rows support p90 but not p95.
    assert found.latency is not None
    assert (found.latency.rows, found.latency.mean) == (100, 50.5)
    assert found.latency.requests_per_second == pytest.approx(1000 / 50.5)
    told = {name: by.value for name, by in found.latency.percentiles.items()}
    assert told == pytest.approx({"p50": 50.5, "p90": 90.1})
    assert found.tokens == {"prompt": Tokens(100, 99.0), "completion": Tokens(100, 7.0)}
    assert found.validity.dropped == {"invented": 100, "duplicate": 50}


def test_nothing_stated_gives_no_latency_and_no_tokens(toy: Task, tmp_path: Path) -> None:
    rows = random_rows(toy, "ranking")
    found = score(read_run(write_run(tmp_path / "run.jsonl", toy, "ranking", rows), toy))
    assert (found.latency, found.tokens, found.validity.dropped) == (None, {}, {})


@pytest.fixture(scope="module", params=["retrieval", "ranking"])
def scored(toy: Task, tmp_path_factory: pytest.TempPathFactory, request) -> Score:
    rows = random_rows(toy, request.param, runs=2)
    path = tmp_path_factory.mktemp("run") / "run.jsonl"
    return score(read_run(write_run(path, toy, request.param, rows), toy))


def test_a_score_becomes_a_table_with_a_row_a_metric(scored: Score) -> None:
    frame = scored.to_pandas()
    assert list(frame.index) == list(scored.metrics)
    for metric, found in scored.metrics.items():
        row = frame.loc[metric]
        assert (row["value"], row["low"], row["high"]) == (found.value, found.low, found.high)
        assert row["std_between_runs"] == found.std_between_runs
        assert row["random"] == scored.floors.random[metric]
        assert row["popularity"] == scored.floors.popularity[metric]
        assert row["ceiling"] == scored.floors.ceiling[metric]
    assert ("as_given" in frame.columns) == (scored.track != "retrieval")


def test_a_score_survives_json(scored: Score) -> None:
    assert msgspec.json.decode(msgspec.json.encode(scored), type=Score) == scored


def test_a_score_says_what_it_is_of(toy: Task, scored: Score) -> None:
    assert (scored.task, scored.name, scored.requests) == ("toy-v1", "made by a test", 300)
    assert scored.track_digest == toy.manifest.tracks[scored.track]
    assert scored.run_digest.startswith("sha256:")
