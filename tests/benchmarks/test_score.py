"""Reading, checking and scoring a run beside a peer that checks nothing."""

from __future__ import annotations

import time
from pathlib import Path

import ir_measures
import msgspec
import numpy as np
import pytest

from llm4rec_bench.freeze import freeze, manifest_of, write_tables
from llm4rec_bench.run import Header, read_run
from llm4rec_bench.run.format import Row
from llm4rec_bench.scoring import score
from llm4rec_bench.task import FORMAT, Task
from tests.benchmarks.test_freeze import RECIPE, synthetic

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Task:
    folder = tmp_path_factory.mktemp("task")
    made, counts = freeze(RECIPE, synthetic(500_000))
    write_tables(folder, made)
    return Task(RECIPE, manifest_of(RECIPE, made, counts), folder)


@pytest.fixture(scope="module")
def run_file(task: Task, tmp_path_factory) -> Path:
    """100 unseen items for each of 5,000 requests."""
    path = tmp_path_factory.mktemp("run") / "run.jsonl"
    random = np.random.default_rng(1)
    header = Header(FORMAT, task.id, "retrieval", task.digest("retrieval"), "random")
    lines = [msgspec.json.encode(header)]
    for request in task.requests("test"):
        seen = set(request.history)
        drawn = random.choice(len(task.items), 400, replace=False)
        items = [task.items.ids[row] for row in drawn if task.items.ids[row] not in seen][:100]
        lines.append(msgspec.json.encode(Row(request.request_id, items)))
    path.write_bytes(b"\n".join(lines))
    return path


def test_checking_intervals_and_floors_cost_no_more_than_ir_measures_alone(
    benchmark, task: Task, run_file: Path
) -> None:
    ids = task.items.ids
    targets = [ids[row] for row in task.targets("test").items[:, 0]]
    wanted = {
        name: {target: 1} for name, target in zip(task.requests("test").ids, targets, strict=True)
    }
    cuts = (10, 20, 50, 100)
    measures = [ir_measures.nDCG @ 10, *(ir_measures.R @ k for k in cuts)]

    def peer() -> dict:
        """The same metrics without any check, from the same file into the peer's own shape."""
        rows = map(msgspec.json.Decoder(Row).decode, run_file.read_bytes().split(b"\n")[1:])
        run = {
            row.request_id: {item: -float(place) for place, item in enumerate(row.items)}
            for row in rows
        }
        return ir_measures.calc_aggregate(measures, wanted, run)

    ours = benchmark.pedantic(lambda: score(read_run(run_file, task)), rounds=3)
    of_ours = min(_seconds(lambda: score(read_run(run_file, task))) for _ in range(3))
    of_theirs = min(_seconds(peer) for _ in range(3))
    for k in cuts:
        value = ours.metrics[f"recall@{k}"].value
        assert value == pytest.approx(peer()[ir_measures.R @ k])
    benchmark.extra_info["the peer takes times as long"] = round(of_theirs / of_ours, 2)
    print(f"ours {of_ours:.2f} s, ir_measures {of_theirs:.2f} s")
    assert of_ours < of_theirs * 1.5  # equal, but for the noise of a shared machine


def _seconds(call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
