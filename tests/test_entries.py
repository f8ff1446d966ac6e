"""The repository's own data: every entry, manifest, card and the leaderboard are current."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pytest

from llm4rec_bench import load_task, read_run, score
from llm4rec_bench.exchange import fuse
from llm4rec_bench.freeze import dataset_card, draft_card, freeze, manifest_of
from llm4rec_bench.leaderboard import SavedScores, board, leaderboard, read_changes, read_reproduced
from llm4rec_bench.recording import recording_of
from llm4rec_bench.sources import raw_data
from llm4rec_bench.store import HOME, default_home, recipes_folder
from llm4rec_bench.submission import read_card, run_files
from llm4rec_bench.task import read_manifest, read_recipe
from llm4rec_bench.tuning import TUNING, check_followed
from tests.conftest import ROOT, real_task

SUBMISSIONS = sorted(path.parent for path in (ROOT / "submissions").glob("*/submission.toml"))
PACKAGED = sorted(path.parent.name for path in recipes_folder().glob("*/task.toml"))
FROZEN = [task for task in PACKAGED if (recipes_folder() / task / "manifest.json").exists()]
STORE = str(default_home())
RUNS = [path for folder in SUBMISSIONS for path in run_files(folder)]


def saved_score(path: Path):
    saved = msgspec.json.decode((path.parent / "scores.json").read_bytes(), type=SavedScores)
    task, track = path.name.split(".")[:2]
    (found,) = [score for score in saved.scores if (score.task, score.track) == (task, track)]
    return found


def rescored(path: Path, task) -> None:
    found, saved = score(read_run(path, task)), saved_score(path)
    if task.lacks_descriptions:  # then the slices by description cannot be made
        saved = msgspec.structs.replace(
            saved, slices={name: by for name, by in saved.slices.items() if "described" not in name}
        )
    assert msgspec.json.encode(found) == msgspec.json.encode(saved)


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.name}"


def runs_on(*tasks: str) -> list[Path]:
    return [path for path in RUNS if path.name.partition(".")[0] in tasks]


@pytest.mark.parametrize("path", runs_on("toy-v1"), ids=named)
def test_committed_scores_on_the_toy_are_what_the_scorer_computes(path: Path, toy) -> None:
    rescored(path, toy)


# There are more of them with every entry: CI scores them all, and `verify` those one asks for.
@pytest.mark.slow
@pytest.mark.movielens
@pytest.mark.parametrize("path", runs_on("ml-100k-v1"), ids=named)
def test_committed_scores_on_movielens_are_what_the_scorer_computes(path: Path, movielens) -> None:
    rescored(path, movielens)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", runs_on("ml-latest-small-v1", "movietweetings-v1", "shakespeare-v1"), ids=named
)
def test_committed_scores_on_other_tasks_are_what_the_scorer_computes(path: Path) -> None:
    rescored(path, real_task(path.name.partition(".")[0]))


@pytest.mark.parametrize("folder", SUBMISSIONS, ids=lambda folder: folder.name)
def test_every_submission_is_whole(folder: Path) -> None:
    card = read_card(folder)
    runs = {path.name.removesuffix(".jsonl.gz") for path in run_files(folder)}
    saved = msgspec.json.decode((folder / "scores.json").read_bytes(), type=SavedScores)
    assert runs == {f"{score.task}.{score.track}" for score in saved.scores}
    assert {name.split(".")[0] for name in runs} == set(card.tasks)
    beside = {path.name for path in folder.iterdir()} - {path.name for path in run_files(folder)}
    recorded = {recording_of(path).name for path in run_files(folder)}
    assert beside - {TUNING} - recorded == {"submission.toml", "scores.json"}
    for name in recorded & beside:
        assert (folder / name).stat().st_size < 5_000_000
    for path in run_files(folder):
        assert path.stat().st_size < 5_000_000
        task, track = path.name.split(".")[:2]
        if card.system is not None:
            assert read_run(path).header.card == card.fingerprint(task, track)


@pytest.mark.parametrize("path", [path for path in RUNS if recording_of(path).exists()], ids=named)
def test_recordings_replay_to_the_same_run(path: Path, tmp_path, bench, monkeypatch) -> None:
    task, track = path.name.split(".")[:2]
    monkeypatch.setenv(HOME, STORE)
    real_task(task)
    code, _, err = bench(
        "run", path.parent, "--task", task, "--track", track, "--replay", "--out", tmp_path
    )
    assert code == 0, err
    made = tmp_path / path.name.removesuffix(".gz")
    assert made.read_bytes() == gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("folder", SUBMISSIONS, ids=lambda folder: folder.name)
def test_every_card_follows_its_trials(folder: Path) -> None:
    entered = [tuple(path.name.split(".")[:2]) for path in run_files(folder)]
    check_followed(read_card(folder), folder, entered)
    if (folder / TUNING).exists():
        assert (folder / TUNING).stat().st_size < 5_000_000


WITHOUT = {
    "recent-popularity": {"shakespeare-v1"},  # whose loans have no times
    "latest-popularity": {"shakespeare-v1"},
    "bm25-wikipedia": {"shakespeare-v1"},  # whose books have no descriptions
    "minilm-wikipedia": {"shakespeare-v1"},
    "bert4rec": {"ml-latest-small-v1"},  # half an hour of training on two cores
    "gsasrec": {"ml-latest-small-v1"},
}


@pytest.mark.parametrize("folder", SUBMISSIONS, ids=lambda folder: folder.name)
def test_our_own_methods_are_entered_on_every_track(folder: Path) -> None:
    card = read_card(folder)
    if (card.system or "").startswith("baselines.llm."):  # which take hours a task
        assert {path.name.split(".")[0] for path in run_files(folder)} == set(card.tasks)
        return
    expected = {
        f"{task}.{track}.jsonl.gz"
        for task in set(FROZEN) - WITHOUT.get(folder.name, set())
        for track in read_card(folder).tracks_of(read_recipe(recipes_folder() / task).tracks)
    }
    assert {path.name for path in run_files(folder)} == expected


def test_the_leaderboard_is_current_and_shows_what_was_made_again() -> None:
    page = (ROOT / "leaderboard.md").read_text("utf-8")
    submissions = ROOT / "submissions"
    tables = board(submissions)
    assert page == leaderboard(tables, read_changes(submissions))
    rows = [row for table in tables for row in table.rows]
    marked = [row for row in rows if row.repetition is not None]
    assert len(marked) == len(read_reproduced(ROOT / "submissions").runs)
    assert all(row.repetition.confirmed for row in marked)


@pytest.mark.parametrize(
    "path", run_files(ROOT / "submissions" / "hybrid"), ids=lambda path: path.name
)
def test_the_fusion_is_that_of_its_parts_as_they_are_entered(path: Path, tmp_path: Path) -> None:
    task_id, track = path.name.split(".")[:2]
    task = load_task(task_id) if task_id == "toy-v1" else real_task(task_id)
    params = read_card(path.parent).params_on(task_id, track)
    parts = [ROOT / "submissions" / params[part] / path.name for part in ("first", "second")]
    fuse(
        parts, tmp_path / "fused.jsonl", "fused", weights=[1, params["weight"]], load=lambda _: task
    )
    lines = [
        [json.loads(line)["items"] for line in text.splitlines()[1:]]
        for text in ((tmp_path / "fused.jsonl").read_text(), gzip.decompress(path.read_bytes()))
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("task_id", PACKAGED)
def test_dataset_cards_are_current(task_id: str) -> None:
    folder = recipes_folder() / task_id
    recipe, page = read_recipe(folder), (folder / "README.md").read_text("utf-8")
    assert recipe.id == folder.name
    if task_id in FROZEN:
        manifest = read_manifest(folder)
        assert page == dataset_card(recipe, manifest)
        assert manifest.task == recipe.id
    else:
        assert page == draft_card(recipe)
        assert recipe.lifecycle == "draft"


def test_the_embedded_task_freezes_to_its_manifest(toy) -> None:
    frozen, counts = freeze(toy.recipe, raw_data(toy.recipe))
    assert manifest_of(toy.recipe, frozen, counts) == toy.manifest
    toy.verify()


@pytest.mark.parametrize("task_id", [task for task in FROZEN if task != "toy-v1"])
def test_tasks_are_recipe_and_digests_only(task_id: str) -> None:
    assert sorted(path.name for path in (recipes_folder() / task_id).iterdir()) == [
        "README.md", "manifest.json", "task.toml",
    ]  # fmt: skip


def test_what_may_not_be_published_says_so() -> None:
    closed = [
        task for task in PACKAGED if not read_recipe(recipes_folder() / task).licence.redistribute
    ]
    assert closed == ["ml-100k-v1", "shakespeare-v1"]


def test_popularity_equals_its_floor_on_every_track() -> None:
    folder = ROOT / "submissions" / "popularity"
    saved = msgspec.json.decode((folder / "scores.json").read_bytes(), type=SavedScores)
    for found in saved.scores:
        values = {name: interval.value for name, interval in found.metrics.items()}
        assert values == pytest.approx(found.floors.popularity, abs=1e-9)


def test_tasks_load_by_path_too(toy) -> None:
    assert load_task(recipes_folder() / "toy-v1").manifest == toy.manifest


def test_runs_made_again_are_noted_with_the_card_that_made_them() -> None:
    for place, by in read_reproduced(ROOT / "submissions").runs.items():
        name, where = place.split("/")
        assert by.card == read_card(ROOT / "submissions" / name).fingerprint(*where.split(".")), (
            place
        )
