"""The pages under docs/ that are generated from measurements."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from docs import baselines, language_models
from docs import embeddings_vs_als as study
from tests.conftest import ROOT, real_task


def test_the_page_is_made_of_the_ranks_that_were_measured() -> None:
    text = study.PAGE.read_text("utf-8")
    assert baselines.with_parts(text, study.tables(study.kept())) == text


def test_the_references_stand_beside_the_scores_as_they_are() -> None:
    text = baselines.PAGE.read_text("utf-8")
    assert baselines.with_parts(text, {"references": baselines.table()}) == text


def test_what_the_small_model_reaches_is_as_scored() -> None:
    text = language_models.PAGE.read_text("utf-8")
    assert baselines.with_parts(text, language_models.parts()) == text


def test_ranks_by_hand(toy) -> None:
    requests = list(toy.requests("test"))[:1]
    history = toy.items.rows(requests[0].history)
    scores = np.arange(len(toy.items), dtype=np.float32)[None]
    target = int(np.setdiff1d(np.arange(len(toy.items)), history)[0])
    ahead = [row for row in range(target + 1, len(toy.items)) if row not in history]
    (rank,) = study._ranks(scores, requests, toy, np.array([target]), None)
    assert rank == 1 + len(ahead)
    (masked_less,) = study._ranks(scores, requests, toy, np.array([target]), 1)
    forgotten = [row for row in history[:-1].tolist() if row > target]
    assert masked_less == 1 + len(ahead) + len(forgotten)


def test_ties_go_by_row_as_in_a_run(toy) -> None:
    requests = list(toy.requests("test"))[:1]
    free = np.setdiff1d(np.arange(len(toy.items)), toy.items.rows(requests[0].history))
    scores = np.zeros((1, len(toy.items)), np.float32)
    for place in (0, 3, len(free) - 1):
        assert study._ranks(scores, requests, toy, free[[place]], None) == [1 + place]


@pytest.mark.movielens
def test_ranks_of_methods_that_are_quick_are_measured_again() -> None:
    task = real_task(study.TASK)
    kept = study.kept()
    for name, found in study.measured(task, ("popularity", "sequential-knn")).items():
        assert found == kept[name]


@pytest.mark.movielens
def test_ranks_are_those_of_the_committed_runs() -> None:
    """What a run shows of the ranks, its first hundred, is what the page counts."""
    from llm4rec_bench import read_run

    task = real_task(study.TASK)
    for name in study.CARDS:
        run = read_run(study.ROOT / "submissions" / name / "ml-100k-v1.retrieval.jsonl.gz", task)
        ranks = np.array(study.kept()[name]["all seen"])
        shown = run.ranks[0].reshape(len(ranks), -1)[:, 0]
        assert (np.where(ranks <= 100, ranks, 0) == np.where(shown > 0, shown, 0)).mean() > 0.99


@pytest.mark.parametrize("measured", ["scoring", "freezing", "training"])
def test_the_tables_of_speed_are_those_of_the_committed_measurements(measured: str) -> None:
    module = importlib.import_module(f"tests.benchmarks.{measured}")
    text = (ROOT / "README.md").read_text("utf-8")
    found = text.split(module.BEGIN)[1].split(module.END)[0]
    assert found.strip() == module.table(json.loads(module.RESULTS.read_text())).strip()
