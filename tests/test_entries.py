"""The repository's own data: every entry, manifest, card and the leaderboard are current."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from llm4rec_bench import load_task, read_run, score
from llm4rec_bench.download import raw_data
from llm4rec_bench.freeze import dataset_card, freeze, manifest_of
from llm4rec_bench.leaderboard import SavedScores, leaderboard, read_entries
from llm4rec_bench.store import known_tasks, recipes_folder
from llm4rec_bench.submission import read_card, run_files
from llm4rec_bench.task import read_manifest, read_recipe
from tests.conftest import ROOT

SUBMISSIONS = sorted(path.parent for path in (ROOT / "submissions").glob("*/submission.toml"))
RUNS = [path for folder in SUBMISSIONS for path in run_files(folder)]


def saved_score(path: Path):
    saved = msgspec.json.decode((path.parent / "scores.json").read_bytes(), type=SavedScores)
    task, track = path.name.split(".")[:2]
    (found,) = [score for score in saved.scores if (score.task, score.track) == (task, track)]
    return found


def rescored(path: Path, task) -> None:
    assert msgspec.json.encode(score(read_run(path, task))) == msgspec.json.encode(
        saved_score(path)
    )


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.name}"


@pytest.mark.parametrize("path", [p for p in RUNS if p.name.startswith("toy-v1")], ids=named)
def test_committed_scores_on_the_toy_are_what_the_scorer_computes(path: Path, toy) -> None:
    rescored(path, toy)


@pytest.mark.movielens
@pytest.mark.parametrize("path", [p for p in RUNS if p.name.startswith("ml-100k-v1")], ids=named)
def test_committed_scores_on_movielens_are_what_the_scorer_computes(path: Path, movielens) -> None:
    rescored(path, movielens)


@pytest.mark.parametrize("folder", SUBMISSIONS, ids=lambda folder: folder.name)
def test_every_submission_is_whole(folder: Path) -> None:
    card = read_card(folder)
    runs = {path.name.removesuffix(".jsonl.gz") for path in run_files(folder)}
    saved = msgspec.json.decode((folder / "scores.json").read_bytes(), type=SavedScores)
    assert runs == {f"{score.task}.{score.track}" for score in saved.scores}
    assert {name.split(".")[0] for name in runs} == set(card.tasks)
    assert len(list(folder.iterdir())) == len(runs) + 2  # the card and the scores
    for path in run_files(folder):
        assert path.stat().st_size < 5_000_000
        task, track = path.name.split(".")[:2]
        if card.system is not None:
            assert read_run(path).header.card == card.fingerprint(task, track)


@pytest.mark.parametrize("name", ["random", "popularity", "recent-popularity", "item-knn", "als"])
def test_our_own_methods_are_entered_on_every_track(name: str) -> None:
    expected = {
        f"{task}.{track}.jsonl.gz"
        for task in ("ml-100k-v1", "toy-v1")
        for track in read_recipe(recipes_folder() / task).tracks
    }
    assert {path.name for path in run_files(ROOT / "submissions" / name)} == expected


def test_the_leaderboard_is_current() -> None:
    page = (ROOT / "leaderboard.md").read_text("utf-8")
    assert page == leaderboard(read_entries(ROOT / "submissions"))


@pytest.mark.parametrize("task_id", known_tasks())
def test_dataset_cards_are_current(task_id: str) -> None:
    folder = recipes_folder() / task_id
    recipe, manifest = read_recipe(folder), read_manifest(folder)
    assert (folder / "README.md").read_text("utf-8") == dataset_card(recipe, manifest)
    assert manifest.task == recipe.id == folder.name


def test_the_embedded_task_freezes_to_its_manifest(toy) -> None:
    frozen, counts = freeze(toy.recipe, raw_data(toy.recipe, None))
    assert manifest_of(toy.recipe, frozen, counts) == toy.manifest
    toy.verify()


def test_movielens_is_recipe_and_digests_only() -> None:
    folder = recipes_folder() / "ml-100k-v1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "manifest.json", "task.toml",
    ]  # fmt: skip
    recipe = tomllib.loads((folder / "task.toml").read_text("utf-8"))
    assert recipe["licence"]["redistribute"] is False


def test_popularity_equals_its_floor_on_every_track() -> None:
    folder = ROOT / "submissions" / "popularity"
    saved = msgspec.json.decode((folder / "scores.json").read_bytes(), type=SavedScores)
    for found in saved.scores:
        values = {name: interval.value for name, interval in found.metrics.items()}
        assert values == pytest.approx(found.floors.popularity, abs=1e-9)


def test_tasks_load_by_path_too(toy) -> None:
    assert load_task(recipes_folder() / "toy-v1").manifest == toy.manifest
