"""Bringing what somebody else has published, and tasks whose descriptions lie somewhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from huggingface_hub import constants

from llm4rec_bench import BenchError, Task, TaskDataError, UsageError, load_task, read_run, score
from llm4rec_bench import cli as command_line
from llm4rec_bench.download import adopt, download
from llm4rec_bench.freeze import freeze, manifest_of, write_manifest
from llm4rec_bench.run.execute import execute
from llm4rec_bench.sources import Collection, generate_toy, raw_data
from llm4rec_bench.store import HOME, known_tasks
from llm4rec_bench.submission import read_card
from llm4rec_bench.task import read_manifest, read_recipe
from llm4rec_bench.task.manifest import HubPin
from llm4rec_bench.task.source import Origin
from tests.conftest import ROOT
from tests.hubserver import Repository
from tests.sources.test_layouts import FILMS as INVENTED
from tests.sources.test_layouts import READER, grouplens_files, write_folder, write_zip
from tests.sources.test_origin import Publisher, closed_port
from tests.test_download import SMALL, TABLES, TASK, Told, World, stop_before
from tests.test_publish import FILMS, REPOSITORY, Desk, asked_hub, said

# How the client itself sends large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

POPULARITY = ROOT / "submissions" / "popularity"


class Stranger(Desk):
    """Somebody's desk and their Hub, and the store of whoever adopts from it."""

    @property
    def home(self) -> Path:
        return self.scratch / "home"

    @property
    def place(self) -> Path:
        return self.home / "tasks" / FILMS

    def adopts(self, revision: str | None = None, repository: str = REPOSITORY) -> Task:
        self.told.clear()
        return adopt(repository, self.home, revision=revision, watcher=self)

    def refused_to_adopt(
        self, kind: type[BenchError] = TaskDataError, revision: str | None = None
    ) -> str:
        """What is said, where nothing is changed in the store by it."""
        before = self.left()
        with pytest.raises(kind) as error:
            self.adopts(revision)
        assert self.left() == before
        assert "Traceback" not in str(error.value)
        return str(error.value)

    def left(self) -> dict[str, bytes]:
        """All files of the store but locks."""
        found = [path for path in self.home.rglob("*") if path.is_file()]
        return {
            str(path.relative_to(self.home)): path.read_bytes() for path in found
            if path.suffix != ".lock"
        }  # fmt: skip

    def tampered(self, **changed: bytes | None) -> str:
        """A commit on top with other files, named with two underscores for each dot."""
        tree = dict(self.tree(self.repository.refs["main"]))
        for name, content in changed.items():
            path = name.replace("__", ".")
            tree.pop(path)
            if content is not None:
                tree[path] = content
        return self.repository.commit(tree)

    def manifest(self) -> dict:
        return json.loads(self.tree(self.repository.refs["main"])["manifest.json"])

    def recipe(self) -> str:
        return self.tree(self.repository.refs["main"])["task.toml"].decode()

    def with_manifest(self, **changed: object) -> str:
        return self.tampered(manifest__json=json.dumps(self.manifest() | changed).encode())

    def with_recipe(self, old: str, new: str) -> str:
        recipe = self.recipe()
        assert old in recipe
        return self.tampered(task__toml=recipe.replace(old, new).encode())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Repository]:
    """The desk of a stranger who has published films, and what lies on the Hub."""
    with asked_hub() as server:
        made = Stranger(tmp_path_factory.mktemp("desk"), server)
        made.freeze()
        made.publish()
        return made.scratch, made.repository


@pytest.fixture
def stranger(published: tuple[Path, Repository], tmp_path: Path) -> Iterator[Stranger]:
    """Films published by a stranger, and an empty store."""
    with asked_hub() as server:
        desk, repository = published
        shutil.copytree(desk, tmp_path, dirs_exist_ok=True)
        server.repositories[REPOSITORY] = deepcopy(repository)
        yield Stranger(tmp_path, server)


@pytest.fixture
def command(stranger: Stranger, monkeypatch, capfd):
    """Runs a command in this process with the store of whoever adopts."""
    (stranger.scratch / "here").mkdir()
    monkeypatch.setenv(HOME, str(stranger.home))
    monkeypatch.chdir(stranger.scratch / "here")
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["llm4rec-bench", *map(str, words)])
        code = command_line._exit_code()
        out, err = capfd.readouterr()
        return code, out, err

    return call


# What is adopted


def test_a_stranger_s_task_is_had_whole_and_pinned(stranger: Stranger) -> None:
    commit = stranger.repository.tags["v1"]
    task = stranger.adopts()
    task.verify()
    assert task.manifest.hub == HubPin(REPOSITORY, commit)
    assert msgspec.structs.replace(task.manifest, hub=None) == msgspec.structs.replace(
        stranger.task().manifest, hub=None
    )
    tree = stranger.tree(commit)
    data = {path: content for path, content in tree.items() if path.startswith("data/")}
    found = stranger.left()
    names = {f"tasks/{FILMS}/{name}" for name in (*data, "task.toml", "manifest.json", "README.md")}
    assert set(found) == names
    assert {path: found[f"tasks/{FILMS}/{path}"] for path in data} == data
    assert found[f"tasks/{FILMS}/task.toml"] == tree["task.toml"]
    assert found[f"tasks/{FILMS}/README.md"] == tree["README.md"]
    assert stranger.told == [
        f"fetching {REPOSITORY}@{commit[:8]}",
        f"{FILMS} verified in {stranger.place}",
    ]
    assert FILMS in known_tasks(stranger.home)
    assert load_task(FILMS, stranger.home).requests()[:] == stranger.task().requests()[:]


def test_adopting_again_is_the_same(stranger: Stranger) -> None:
    stranger.adopts()
    before = stranger.left()
    stranger.adopts()
    assert stranger.left() == before


def own(stranger: Stranger, hub: HubPin | None = None) -> None:
    """Put a task of the same tables into the store, with a recipe of one's own."""
    stranger.place.mkdir(parents=True)
    shutil.copytree(stranger.frozen() / "data", stranger.place / "data")
    manifest = msgspec.structs.replace(stranger.task().manifest, hub=hub)
    (stranger.place / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    recipe = (stranger.recipes / FILMS / "task.toml").read_text("utf-8")
    (stranger.place / "task.toml").write_text(f"# mine\n{recipe}", "utf-8")


def test_one_s_own_recipe_is_not_replaced_by_a_stranger_s(stranger: Stranger) -> None:
    own(stranger)
    said = stranger.refused_to_adopt()
    assert said == (
        f"{stranger.place}: holds {FILMS} frozen here, with a recipe of its own; move it away first"
    )


def test_what_was_adopted_from_elsewhere_stays(stranger: Stranger) -> None:
    own(stranger, HubPin("another/films", "0" * 40))
    assert f"holds {FILMS} of another/films" in stranger.refused_to_adopt()


@pytest.mark.parametrize("name", ["task.toml", "data/items.parquet", "notes.md"])
def test_a_place_with_files_and_no_manifest_is_left_alone(stranger: Stranger, name: str) -> None:
    path = stranger.place / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert "holds files without a manifest.json" in stranger.refused_to_adopt()


def test_a_newer_commit_of_the_same_tables_brings_its_recipe(stranger: Stranger) -> None:
    stranger.adopts()
    commit = stranger.with_recipe("Toy: invented", "Of old: invented")
    task = stranger.adopts()
    assert task.recipe.title.startswith("Of old")
    assert task.manifest.hub == HubPin(REPOSITORY, commit)


@pytest.mark.parametrize("step", range(4))
def test_adoption_broken_off_between_its_moves_is_mended_by_the_same_command(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    stop_before(monkeypatch, step)
    with pytest.raises(KeyboardInterrupt):
        stranger.adopts()
    monkeypatch.undo()
    stranger.adopts().verify()
    assert {path.name for path in stranger.place.iterdir()} == {
        "task.toml", "manifest.json", "README.md", "data",
    }  # fmt: skip


def test_a_tag_a_branch_and_a_commit_are_revisions(stranger: Stranger) -> None:
    first = stranger.repository.tags["v1"]
    stranger.freeze("films-v2", seed="2")
    second = stranger.publish("films-v2").commit
    for revision, commit, name in (
        ("v1", first, FILMS),
        (first, first, FILMS),
        ("v2", second, "films-v2"),
        ("main", second, "films-v2"),
        (None, second, "films-v2"),
    ):
        task = stranger.adopts(revision)
        assert (task.id, task.manifest.hub) == (name, HubPin(REPOSITORY, commit))
    assert set(known_tasks(stranger.home)) >= {FILMS, "films-v2"}


def test_the_command_takes_a_revision_behind_an_at(stranger: Stranger, command) -> None:
    first = stranger.repository.tags["v1"]
    stranger.tampered(task__toml=None)  # main holds no task any more
    code, out, err = command("download", f"{REPOSITORY}@v1")
    assert code == 0, err
    assert out == f"{FILMS}: {stranger.place / 'data'}\n"
    assert read_manifest(stranger.place).hub == HubPin(REPOSITORY, first)
    code, out, _ = command("tasks")
    assert code == 0
    assert FILMS in out


def test_an_adopted_task_is_offline_by_id(stranger: Stranger, command) -> None:
    stranger.adopts()
    stranger.server.asked.clear()
    assert command("download", FILMS, "--offline")[0] == 0
    assert command("download", FILMS)[0] == 0
    assert command("tasks", FILMS)[0] == 0
    code, _, err = command("run", POPULARITY, "--task", FILMS, "--track", "ranking")
    assert code == 0, err
    assert command("score", f"runs/popularity/{FILMS}.ranking.jsonl")[0] == 0
    assert stranger.server.asked == []


@pytest.mark.parametrize("table", ["targets", "descriptions"])
def test_a_table_that_is_lost_later_comes_from_the_pinned_commit(
    stranger: Stranger, table: str
) -> None:
    stranger.adopts()
    whole = stranger.left()
    path = stranger.place / "data" / f"{table}.parquet"
    path.unlink()
    stranger.tampered(**{f"data/{table}__parquet": b"another one on main"})
    download(FILMS, stranger.home)
    assert stranger.left() == whole


def test_a_run_on_it_scores_as_on_the_stranger_s_own_tables(stranger: Stranger) -> None:
    adopted = stranger.adopts()
    found = []
    for number, task in enumerate((adopted, stranger.task())):
        path = stranger.scratch / f"{number}.jsonl"
        execute(read_card(POPULARITY), task, "ranking", path)
        found.append(score(read_run(path, task)).metrics)
    assert found[0] == found[1]


# From one process to another, with the commands themselves


COMMANDS = """
import json, sys
from llm4rec_bench.cli import main
for words in map(json.loads, sys.argv[1:]):
    sys.argv = ["llm4rec-bench", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def commanded(
    stranger: Stranger, home: str, *commands: list[str], **environment: str
) -> tuple[int, str, str]:
    """One command after the other in another process, up to the first that fails."""
    folder = stranger.scratch / home
    folder.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("HF_", "HUGGING"))}
    kept |= {
        "HF_ENDPOINT": stranger.server.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_anything",
        "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1", HOME: str(folder / "store"),
        "PYTHONPATH": str(ROOT), "no_proxy": "*",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *map(json.dumps, commands)], text=True, cwd=folder,
        capture_output=True, env=kept | environment, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


RECIPE = """
id = "shelf-v1"
title = "A shelf"
description = "Readers of a shelf."
domain = "books"
salt = "shelf"
lifecycle = "current"
source = { reader = "table", log = { file = "log.csv", columns = { user_id = "u", item_id = "i", timestamp = "t" } } }
split = { rule = "leave-one-out" }
licence = { name = "CC0 1.0", url = "https://example.org", redistribute = true }

[tracks.retrieval]
metrics = ["ndcg@10"]
"""  # noqa: E501


def test_freeze_publish_download_run_and_score_between_two_people(stranger: Stranger) -> None:
    log = generate_toy(7).log.to_pylist()
    one = stranger.scratch / "one"
    one.mkdir()
    lines = [f"{row['user_id']},{row['item_id']},{row['timestamp']}\n" for row in log]
    (one / "log.csv").write_text("u,i,t\n" + "".join(lines), "utf-8")
    (one / "task.toml").write_text(RECIPE, "utf-8")
    freezes = ["freeze", "task.toml", "--raw", "log.csv"]
    publishes = ["publish", "shelf-v1", "--repo", "tester/shelf"]
    code, _, err = commanded(stranger, "one", freezes, publishes)
    assert code == 0, err
    code, out, err = commanded(stranger, "other", ["download", "tester/shelf@v1"])
    assert code == 0, err
    assert out.startswith("shelf-v1: ")
    runs = []
    for who in ("one", "other"):
        offline = {"HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}", "HF_HUB_OFFLINE": "1"}
        runs_it = ["run", str(POPULARITY), "--task", "shelf-v1", "--out", "runs"]
        scores_it = ["score", "runs/shelf-v1.retrieval.jsonl", "--json"]
        code, out, err = commanded(stranger, who, runs_it, scores_it, **offline)
        assert code == 0, err
        runs.append(json.loads(out[out.index("{") :])["metrics"])
    assert runs[0] == runs[1]
    assert runs[0]["ndcg@10"]["value"] > 0


LOAD = """
import json, sys
from pathlib import Path
from datasets import load_dataset, disable_progress_bars
from llm4rec_bench import load_task
disable_progress_bars()
repository, commit, cache, home, *names = sys.argv[1:]
for name in names:
    task = load_task(name, Path(home))
    ours = task.to_datasets()
    assert set(ours) == set(task.manifest.tables)
    for config, mine in ours.items():
        theirs = load_dataset(repository, config, split="train", revision=commit, cache_dir=cache)
        assert mine.features == theirs.features, (config, mine.features, theirs.features)
        assert mine.num_rows == theirs.num_rows > 0
        assert mine.to_list() == theirs.to_list(), config
        assert mine[0] == theirs[0]
        assert mine.with_format("arrow")[:].equals(theirs.with_format("arrow")[:]), config
        print(config)
"""


def test_to_datasets_is_what_the_datasets_library_reads_of_every_config(
    stranger: Stranger,
) -> None:
    task = stranger.adopts()
    assert task.manifest.hub is not None
    read = said(
        stranger.python(
            LOAD, REPOSITORY, task.manifest.hub.commit, stranger.scratch / "cache", stranger.home,
            FILMS,
        )
    )  # fmt: skip
    assert read == list(task.manifest.tables)


# What is no task, or not the one it says


def test_a_repository_that_is_not_there(stranger: Stranger) -> None:
    with pytest.raises(TaskDataError, match="tester/none@main: cannot be fetched"):
        stranger.adopts(repository="tester/none")
    assert stranger.left() == {}


@pytest.mark.parametrize("revision", ["v9", "0" * 40])
def test_a_revision_that_is_not_there(stranger: Stranger, revision: str) -> None:
    said = stranger.refused_to_adopt(revision=revision)
    assert said.startswith(f"{REPOSITORY}@{revision}: cannot be fetched")


def test_a_hub_out_of_reach(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert f"{REPOSITORY}@main: cannot be fetched" in stranger.refused_to_adopt()


NAMES = [
    "./films", "/films", "films/", "../films", "a/b/c", "tester/films@", "tester/fi lms",
    "tester//films", "https://huggingface.co/datasets/tester/films", "a/../../b", "tester/films\n",
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("@")])
def test_what_is_no_name_of_a_repository_is_refused_plainly(
    stranger: Stranger, command, name: str
) -> None:
    code, out, err = command("download", name)
    assert (code in {2, 3}, out) == (True, "")
    assert "Traceback" not in err
    assert "error" in err.lower()
    assert stranger.left() == {}


def test_an_at_with_nothing_behind_it_means_main(stranger: Stranger, command) -> None:
    assert command("download", f"{REPOSITORY}@")[0] == 0


@pytest.mark.parametrize("option", [["--offline"], ["--raw", "."]])
def test_options_of_known_tasks_are_refused(stranger: Stranger, command, option) -> None:
    code, _, err = command("download", REPOSITORY, *option)
    assert code == 2
    assert "for tasks named by their id" in err
    assert stranger.server.asked == []


LACKING = {
    "nothing of a task": lambda stranger: stranger.repository.commit({"README.md": b"# Films"}),
    "no recipe": lambda stranger: stranger.tampered(task__toml=None),
    "no manifest": lambda stranger: stranger.tampered(manifest__json=None),
    "no targets": lambda stranger: stranger.tampered(**{"data/targets__parquet": None}),
    "no items": lambda stranger: stranger.tampered(**{"data/items__parquet": None}),
}


@pytest.mark.parametrize("change", LACKING.values(), ids=LACKING.keys())
def test_a_repository_that_lacks_what_makes_a_task(stranger: Stranger, change) -> None:
    change(stranger)
    assert "no such file" in stranger.refused_to_adopt()
    assert stranger.left() == {}


@pytest.mark.parametrize("change", [LACKING["no recipe"], LACKING["no targets"]])
def test_what_is_wrong_is_told_of_the_repository(stranger: Stranger, change) -> None:
    change(stranger)
    said = stranger.refused_to_adopt()
    assert REPOSITORY in said
    assert str(stranger.home / "hub") not in said


def of_another(stranger: Stranger, name: str) -> bytes:
    stranger.freeze("films-v2", seed="2")
    return (stranger.frozen("films-v2") / "data" / f"{name}.parquet").read_bytes()


def cut_off(stranger: Stranger, name: str) -> bytes:
    return stranger.tree(stranger.repository.refs["main"])[f"data/{name}.parquet"][:-9]


@pytest.mark.parametrize("table", ["targets", "descriptions"])
@pytest.mark.parametrize("damage", [of_another, cut_off, lambda *_: b"", lambda *_: b"PAR1PAR1"],
                         ids=["other rows", "cut off", "empty", "no Parquet"])  # fmt: skip
def test_a_table_that_is_not_the_manifest_s(
    stranger: Stranger, table: str, damage: Callable[[Stranger, str], bytes]
) -> None:
    stranger.tampered(**{f"data/{table}__parquet": damage(stranger, table)})
    assert f"{table}.parquet" in stranger.refused_to_adopt()
    assert stranger.left() == {}
    # And the sound version before it can be had all the same.
    stranger.adopts("v1").verify()


def test_bytes_that_are_spoiled_on_the_way_are_not_kept(stranger: Stranger) -> None:
    stranger.server.spoiled.add("data/targets.parquet")
    stranger.refused_to_adopt()
    stranger.server.spoiled.clear()
    stranger.adopts().verify()


def test_a_transfer_that_is_cut_off_is_refused_or_made_good(stranger: Stranger) -> None:
    stranger.server.cut.add("data/targets.parquet")
    try:
        stranger.adopts().verify()
    except TaskDataError:
        assert stranger.left() == {}
        stranger.adopts().verify()


def test_a_bad_update_leaves_what_was_adopted_before_alone(stranger: Stranger) -> None:
    stranger.adopts()
    stranger.tampered(**{"data/targets__parquet": of_another(stranger, "targets")})
    stranger.refused_to_adopt()
    load_task(FILMS, stranger.home).verify()


def test_a_manifest_of_another_task(stranger: Stranger) -> None:
    stranger.with_manifest(task="other-v1")
    assert "is of task other-v1, but task.toml is of films-v1" in stranger.refused_to_adopt()


def test_a_manifest_whose_tracks_are_not_its_tables(stranger: Stranger) -> None:
    tracks = stranger.manifest()["tracks"] | {"ranking": f"sha256:{'0' * 64}"}
    stranger.with_manifest(tracks=tracks)
    assert "the digests of its tracks are not those of its tables" in stranger.refused_to_adopt()


def test_a_recipe_of_another_id_with_the_same_tables(stranger: Stranger) -> None:
    """The digests of tracks hold the id, so that nobody's runs pass for runs on another task."""
    stranger.with_recipe(f'id = "{FILMS}"', 'id = "others-v1"')
    stranger.with_manifest(task="others-v1")
    assert "the digests of its tracks" in stranger.refused_to_adopt()


@pytest.mark.parametrize("packaged", ["toy-v1", "ml-100k-v1", "goodbooks-v1"])
def test_an_id_of_this_package_is_never_taken_from_elsewhere(
    stranger: Stranger, command, packaged: str
) -> None:
    stranger.freeze(packaged, seed="3")
    stranger.server.repositories.clear()
    stranger.publish(packaged)
    said = stranger.refused_to_adopt(UsageError)
    assert said.startswith(f"{packaged} is a task of this package; ")
    assert f"llm4rec-bench download {packaged}" in said
    assert command("download", REPOSITORY)[0] == 2
    assert load_task("toy-v1", stranger.home).id == "toy-v1"


def test_another_task_under_the_same_id_is_not_overwritten(stranger: Stranger) -> None:
    stranger.adopts()
    stranger.freeze(seed="2")
    stranger.server.repositories.clear()
    stranger.publish()
    said = stranger.refused_to_adopt()
    assert f"{stranger.place}: holds another {FILMS}" in said
    assert "move it away first" in said
    stranger.place.rename(stranger.home / "away")
    assert (
        stranger.adopts().manifest.tables["targets"] == (stranger.task().manifest.tables["targets"])
    )


def test_what_a_killed_adoption_left_is_not_taken_for_what_is_published(
    stranger: Stranger,
) -> None:
    left = stranger.home / "hub" / REPOSITORY.replace("/", "--")
    shutil.copytree(stranger.frozen() / "data", left / "data")
    for name in ("task.toml", "manifest.json"):
        (left / name).write_bytes((stranger.recipes / FILMS / name).read_bytes())
    stranger.adopts().verify()
    assert not left.exists()


def test_what_a_killed_adoption_left_is_no_task_of_a_repository_without_one(
    stranger: Stranger,
) -> None:
    left = stranger.home / "hub" / REPOSITORY.replace("/", "--")
    shutil.copytree(stranger.frozen() / "data", left / "data")
    for name in ("task.toml", "manifest.json"):
        (left / name).write_bytes((stranger.recipes / FILMS / name).read_bytes())
    stranger.repository.commit({"README.md": b"moved elsewhere"})
    with pytest.raises(TaskDataError):
        stranger.adopts()


# Recipes and manifests made to harm


@pytest.mark.parametrize(
    "task_id",
    ["../films-v1", "/films-v1", "films-v1/..", "..", "films", "FILMS-v1", "films-v1\\n",
     "films-v0", "a" * 80 + "-v1", "", "films-v1\\u0000", "~/films-v1"],
)  # fmt: skip
def test_an_id_that_is_none(stranger: Stranger, task_id: str) -> None:
    outside = {path for path in stranger.scratch.rglob("*") if stranger.home not in path.parents}
    stranger.with_recipe(f'id = "{FILMS}"', f'id = "{task_id}"')
    stranger.with_manifest(task=task_id)
    assert "id" in stranger.refused_to_adopt()
    assert stranger.left() == {}
    assert {path for path in stranger.scratch.rglob("*") if stranger.home not in path.parents} == (
        outside | {stranger.home}
    )


TABLE_NAMES = ["../targets", "../../../outside", "/etc/passwd", "notes", "", "candidates-", "a\0b"]


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_a_manifest_with_a_table_that_no_task_has(stranger: Stranger, name: str) -> None:
    tables = stranger.manifest()["tables"]
    stranger.with_manifest(tables=tables | {name: tables["targets"]})
    stranger.refused_to_adopt()
    assert stranger.left() == {}


HARM: dict[str, Callable[[str], bytes]] = {
    "not TOML": lambda recipe: b"<html>sign in</html>",
    "not UTF-8": lambda recipe: recipe.encode().replace(b"Toy", b"T\xff\xfe", 1),
    "unknown field": lambda recipe: b'run_me = "rm -rf"\n' + recipe.encode(),
    "unknown reader": lambda recipe: recipe.replace('"toy"', '"pickle"').encode(),
    "a number for a title": lambda recipe: recipe.replace("title = ", "title = 1 # ").encode(),
    "path for pages": lambda recipe: (
        recipe + '\n[descriptions]\npages = "../../pages.jsonl"\n'
    ).encode(),
    "empty": lambda recipe: b"",
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_a_recipe_that_is_none(stranger: Stranger, harm: Callable[[str], bytes]) -> None:
    stranger.tampered(task__toml=harm(stranger.recipe()))
    assert "task.toml" in stranger.refused_to_adopt()
    assert stranger.left() == {}


def test_a_recipe_that_is_nested_too_deep(stranger: Stranger) -> None:
    stranger.tampered(task__toml=b"x = " + b"[" * 20_000 + b"]" * 20_000)
    assert "task.toml" in stranger.refused_to_adopt()


@pytest.mark.parametrize("where", ["comment", "title"])
def test_a_recipe_of_many_megabytes(stranger: Stranger, where: str) -> None:
    much = "x" * 20_000_000
    if where == "comment":
        stranger.tampered(task__toml=f"# {much}\n{stranger.recipe()}".encode())
    else:
        stranger.with_recipe("Toy: invented", much)
    began = time.perf_counter()
    said = stranger.refused_to_adopt()
    assert time.perf_counter() - began < 5
    assert len(said) < 1_000
    assert "task.toml" in said


def test_what_is_said_of_a_bad_recipe_is_short_and_printable(stranger: Stranger, command) -> None:
    stranger.with_recipe(
        'domain = "', 'lifecycles = "\\u001b[31m' + "y" * 100_000 + '"\ndomain = "'
    )
    code, out, err = command("download", REPOSITORY)
    assert code == 3
    assert "\x1b[31m" not in out + err
    assert len(err) < 2_000


BAD_MANIFESTS: dict[str, Callable[[dict], bytes]] = {
    "not JSON": lambda manifest: b"<html>",
    "empty": lambda manifest: b"",
    "of another format": lambda m: json.dumps(m | {"format": "llm4rec-bench/9"}).encode(),
    "unknown field": lambda m: json.dumps(m | {"signed": True}).encode(),
    "negative rows": lambda m: json.dumps(
        m | {"tables": m["tables"] | {"items": m["tables"]["items"] | {"rows": "many"}}}
    ).encode(),
    "digest that is none": lambda m: json.dumps(
        m | {"tables": m["tables"] | {"items": m["tables"]["items"] | {"digest": "sha256:0"}}}
    ).encode(),
    "no tables": lambda m: json.dumps(m | {"tables": {}}).encode(),
    "no tracks": lambda m: json.dumps(m | {"tracks": {}}).encode(),
    "nested": lambda m: b'{"counts": ' + b'{"a": ' * 50_000 + b"1" + b"}" * 50_000 + b"}",
}


@pytest.mark.parametrize("made", BAD_MANIFESTS.values(), ids=BAD_MANIFESTS.keys())
def test_a_manifest_that_is_none(stranger: Stranger, made: Callable[[dict], bytes]) -> None:
    stranger.tampered(manifest__json=made(stranger.manifest()))
    stranger.refused_to_adopt()
    assert stranger.left() == {}


def test_a_pin_that_a_stranger_wrote_is_not_kept(stranger: Stranger) -> None:
    commit = stranger.with_manifest(hub={"repository": "evil/films", "commit": "0" * 40})
    assert stranger.adopts().manifest.hub == HubPin(REPOSITORY, commit)


UNTOLD = {
    "no facts": {"facts": {}},
    "other facts": {"facts": {"density": 2.0}},
    "no counts": {"counts": {}},
    "other counts": {"counts": {"users": 5, "items": 1, "interactions": 10**17}},
    "a moment that no clock knows": {"cut_test": 10**17},
}


@pytest.mark.parametrize("untold", UNTOLD.values(), ids=UNTOLD.keys())
def test_a_manifest_with_bad_numbers_is_adopted_with_those_of_the_tables(
    stranger: Stranger, untold: dict
) -> None:
    told = stranger.manifest()
    if "cut_test" in untold:
        untold = {"counts": told["counts"] | untold}
    stranger.with_manifest(**untold)
    adopted = stranger.adopts()
    adopted.verify()
    assert adopted.manifest.facts == told["facts"]
    for count in ("users", "items", "interactions", "requests_test", "tied_test_targets"):
        assert adopted.manifest.counts[count] == told["counts"][count]


@pytest.mark.parametrize("field", ["request_id", "target", "last"])
def test_examples_of_a_manifest_that_the_tables_do_not_hold(
    stranger: Stranger, command, field: str
) -> None:
    told = stranger.manifest()["examples"]
    first, *rest = told
    stranger.with_manifest(
        examples=[first | {field: ["no-one"] if field == "last" else "no-one"}, *rest]
    )
    code, _, err = command("download", REPOSITORY)
    assert code == 0, err
    assert msgspec.to_builtins(read_manifest(stranger.place).examples) == told
    code, out, err = command("tasks", FILMS)
    assert code == 0, err
    assert "no-one" not in out


def test_names_that_a_stranger_chose_are_printed_as_text(stranger: Stranger, command) -> None:
    title, domain = (
        next(line for line in stranger.recipe().splitlines() if line.startswith(f"{name} = "))
        for name in ("title", "domain")
    )
    stranger.with_recipe(title, 'title = "\\u001b[2J[red]films[/red] \\u202e"')
    stranger.with_recipe(domain, 'domain = "[bold]x[/nothing] \\u001b]0;y\\u0007"')
    assert command("download", REPOSITORY)[0] == 0
    for words in (["tasks"], ["tasks", FILMS]):
        code, out, err = command(*words)
        assert code == 0, err
        assert not set(out) & {"\x1b", "\x07", "\u202e"}


def with_mirror(recipe: str, package: str, version: str) -> str:
    mirror = {"package": package, "version": version, "sha256": "0" * 64}
    words = ", ".join(f"{name} = {json.dumps(value)}" for name, value in mirror.items())
    return recipe.replace("seed = 1", f"seed = 1\nmirror = {{ {words} }}")


def test_a_stranger_s_recipe_gives_pip_no_options(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without its descriptions, which is gone from the Hub when these are asked for."""

    def called(words: list[str], **_: object) -> None:
        raise AssertionError(f"pip was called: {words}")

    recipe = with_mirror(stranger.recipe(), "-rhttp://127.0.0.1/x", "1.0")
    stranger.tampered(task__toml=recipe.encode(), **{"data/descriptions__parquet": None})
    monkeypatch.setattr("llm4rec_bench.sources.origin.subprocess.run", called)
    assert "mirror" in stranger.refused_to_adopt()
    assert stranger.left() == {}


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("-rhttp://127.0.0.1/x", "1.0"),
        ("--index-url=http://127.0.0.1/x", "1.0"),
        ("somelib @ http://127.0.0.1/x", "1.0"),
        ("../somelib", "1.0"),
        ("somelib", "1.0 --no-binary=:all:"),
        ("somelib", "../../1.0"),
    ],
)
def test_a_mirror_that_is_an_option_of_pip_and_no_package(
    tmp_path: Path, package: str, version: str
) -> None:
    recipe = (ROOT / "tasks" / "toy-v1" / "task.toml").read_text("utf-8")
    (tmp_path / "task.toml").write_text(with_mirror(recipe, package, version), "utf-8")
    with pytest.raises(TaskDataError, match="mirror"):
        read_recipe(tmp_path)


# Known tasks whose descriptions lie elsewhere, and cannot always be had


DESCRIBED = TASK.replace(
    "licence = ", 'descriptions = {{ texts = "wikipedia-movie-data" }}\nlicence = '
)
TEXT_FILES = [f"movies-{decade}s.json" for decade in range(1900, 2030, 10)]
WITHOUT = [table for table in TABLES if "descriptions" not in table]
WHOLE = sorted([*TABLES, f"tasks/{SMALL}/data/descriptions.parquet"])


@dataclass
class Library(World):
    """The small world, and a second publisher with texts about its films."""

    texts: Publisher = field(default_factory=Publisher)

    def shelved(self) -> dict[str, bytes]:
        """A text about every film that has a year, and files without any."""
        told = [
            {"title": film.title, "year": film.year, "extract": f"{film.title} is a film.",
             "href": f"Page_{film.item_id}_({film.year}_film)"}
            for film in INVENTED if film.year is not None
        ]  # fmt: skip
        files = dict.fromkeys(TEXT_FILES, b"[]")
        return files | {"movies-1990s.json": json.dumps(told).encode()}

    def opens(self, *names: str) -> None:
        """Serve these files, or all."""
        files = self.shelved()
        self.texts.files |= {f"/{name}": files[name] for name in names or files}

    def knows_texts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        origins = [
            Origin(self.texts.url(f"/{name}"), sha256=sha256(content).hexdigest())
            for name, content in self.shelved().items()
        ]
        collection = Collection("Texts", "https://example.org", "CC BY-SA 4.0", "By us.", origins)
        monkeypatch.setattr(
            "llm4rec_bench.sources.texts.text_collections",
            lambda: {"wikipedia-movie-data": collection},
        )
        folder = self.recipes / SMALL
        source = f'{{ reader = "{READER}", origin = [{{ url = "{self.publisher.url(ZIP)}" }}] }}'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "task.toml").write_text(DESCRIBED.format(source=source), "utf-8")
        recipe = read_recipe(folder)
        shelf = write_folder(self.recipes.parent / "shelf", self.shelved())
        rows = write_folder(self.recipes.parent / "files", grouplens_files())
        frozen, counts = freeze(recipe, raw_data(recipe, rows, shelf))
        assert frozen["descriptions"].num_rows > 1
        write_manifest(folder, recipe, manifest_of(recipe, frozen, counts))

    def tables(self) -> list[str]:
        return [name for name in self.left() if name.startswith("tasks/")]


ZIP = "/ml-100k.zip"
NOT_YET = (
    "the descriptions are not there yet: what reads none works, and the same command tries again"
)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("llm4rec_bench.store.recipes_folder", lambda: tmp_path / "recipes")
    with Publisher() as publisher, Publisher() as texts:
        zipped = write_zip(tmp_path / "ml-100k.zip", grouplens_files(), "ml-100k/")
        publisher.files[ZIP] = zipped.read_bytes()
        made = Library(tmp_path / "recipes", tmp_path / "home", publisher, texts)
        made.knows_texts(monkeypatch)
        yield made


def test_what_can_be_had_is_brought_without_its_descriptions(library: Library) -> None:
    told = Told()
    task = library.download(told)
    assert task.lacks_descriptions
    task.verify()
    assert library.tables() == WITHOUT
    first = library.texts.url(f"/{TEXT_FILES[0]}")
    assert [line for line in told.said if line.startswith("  descriptions: ")] == [
        f"  descriptions: {first}: cannot be fetched (Not Found)"
    ]
    assert told.said[-1] == NOT_YET
    assert load_task(SMALL, library.home).requests()[:] == task.requests()[:]


def test_a_second_call_brings_descriptions_and_nothing_twice(library: Library) -> None:
    library.download()
    before = {name: (library.home / name).read_bytes() for name in WITHOUT}
    library.opens()
    library.texts.asked.clear()
    told = Told()
    task = library.download(told)
    assert not task.lacks_descriptions
    assert task.descriptions.num_rows > 1
    assert library.tables() == WHOLE
    assert {name: (library.home / name).read_bytes() for name in WITHOUT} == before
    assert library.publisher.asked == [ZIP]
    assert library.texts.asked == [f"/{name}" for name in TEXT_FILES]
    assert NOT_YET not in told.said
    # And then it is done.
    library.texts.asked.clear()
    told = Told()
    library.download(told)
    assert told.said == [f"store: {SMALL} verified in {library.home}"]
    assert library.texts.asked == []


def test_a_first_call_with_everything_brings_everything(library: Library) -> None:
    library.opens()
    assert not library.download().lacks_descriptions
    assert library.tables() == WHOLE


def test_text_files_that_came_are_not_asked_for_again(library: Library) -> None:
    library.opens(*TEXT_FILES[:4])
    assert library.download().lacks_descriptions
    library.texts.asked.clear()
    library.opens()
    assert not library.download().lacks_descriptions
    assert library.texts.asked == [f"/{name}" for name in TEXT_FILES[4:]]


@pytest.mark.parametrize("fault", ["cut off", "edited", "server error"])
def test_texts_that_come_wrong_are_not_taken(library: Library, fault: str) -> None:
    library.opens()
    if fault == "cut off":
        library.texts.cut = True
    elif fault == "edited":
        library.texts.files["/movies-1990s.json"] += b" "
    else:
        library.texts.status = 503
    told = Told()
    assert library.download(told).lacks_descriptions
    assert any(line.startswith("  descriptions: ") for line in told.said)
    assert told.said[-1] == NOT_YET
    library.texts.cut, library.texts.status = False, 200
    library.opens()
    assert not library.download().lacks_descriptions
    assert not [name for name in library.left() if name.endswith(".partial")]


def test_where_neither_comes_the_store_stays_empty(library: Library) -> None:
    library.publisher.files.clear()
    assert "could not be brought" in library.refused()
    assert library.tables() == []


def test_a_sound_store_stays_where_the_publisher_is_gone_when_texts_are_asked_for(
    library: Library,
) -> None:
    library.download()
    before = library.tables()
    library.publisher.files.clear()
    (library.home / "raw" / SMALL / "ml-100k.zip").unlink()
    library.opens()
    told = Told()
    assert library.download(told).lacks_descriptions
    assert library.tables() == before
    assert told.said[-1] == NOT_YET


def test_offline_is_content_with_what_there_is(library: Library) -> None:
    library.download()
    library.opens()
    asked = len(library.texts.asked)
    assert library.download(offline=True).lacks_descriptions
    assert len(library.texts.asked) == asked


def test_offline_takes_texts_that_are_here_already(library: Library) -> None:
    library.download()
    write_folder(library.home / "raw" / "wikipedia-movie-data", library.shelved())
    assert not library.download(offline=True).lacks_descriptions


def test_texts_of_one_s_own_are_enough(library: Library, tmp_path: Path) -> None:
    shelf = write_folder(tmp_path / "own", library.shelved())
    task = library.download(raw=[tmp_path / "ml-100k.zip", shelf])
    assert not task.lacks_descriptions
    assert (library.texts.asked, library.publisher.asked) == ([], [])


def test_copies_without_texts_name_what_they_lack_and_what_to_do(
    library: Library, tmp_path: Path
) -> None:
    told = Told()
    assert library.download(told, raw=[tmp_path / "ml-100k.zip"]).lacks_descriptions
    assert told.said[1] == f"  the descriptions also need {', '.join(TEXT_FILES)}"
    assert told.said[2].startswith("  descriptions: ")
    assert told.said[-1] == (
        "the descriptions are not there yet: what reads none works, and add a folder with them "
        "as another --raw"
    )


@pytest.mark.parametrize("sound", [True, False])
def test_copies_without_texts_keep_sound_descriptions_that_are_there(
    library: Library, tmp_path: Path, sound: bool
) -> None:
    library.opens()
    library.download()
    shutil.rmtree(library.home / "raw")
    library.texts.files.clear()
    path = library.data / "descriptions.parquet"
    whole = path.read_bytes()
    if not sound:
        path.write_bytes(whole[:-9])
    (library.data / "items.parquet").unlink()
    task = library.download(raw=[tmp_path / "ml-100k.zip"])
    task.verify()
    assert task.lacks_descriptions is not sound
    if sound:
        assert path.read_bytes() == whole


def test_a_list_of_tasks_tells_where_descriptions_are_missing(
    library: Library, monkeypatch, capfd
) -> None:
    library.download()
    monkeypatch.setenv(HOME, str(library.home))
    monkeypatch.setattr(sys, "argv", ["llm4rec-bench", "tasks"])
    assert command_line._exit_code() == 0
    assert "in the store, without descriptions" in " ".join(capfd.readouterr().out.split())


def test_tables_without_descriptions_are_datasets(library: Library) -> None:
    task = library.download()
    assert set(task.to_datasets()) == set(task.manifest.tables) - {"descriptions"}


def test_texts_of_one_s_own_that_were_edited_are_refused(library: Library, tmp_path: Path) -> None:
    files = library.shelved()
    files["movies-1990s.json"] = files["movies-1990s.json"].replace(b"is a film", b"is no film")
    shelf = write_folder(tmp_path / "own", files)
    said = library.refused(raw=[tmp_path / "ml-100k.zip", shelf])
    assert "table descriptions differs" in said
    assert library.tables() == []


def test_a_damaged_table_of_descriptions_is_replaced(library: Library) -> None:
    library.opens()
    library.download()
    path = library.data / "descriptions.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    library.download().verify()
    assert path.read_bytes() == whole


def test_the_command_says_it_and_is_content(library: Library, monkeypatch, capfd) -> None:
    monkeypatch.setenv(HOME, str(library.home))
    monkeypatch.setattr(sys, "argv", ["llm4rec-bench", "download", SMALL])
    assert command_line._exit_code() == 0
    out, err = capfd.readouterr()
    assert out == f"{SMALL}: {library.data}\n"
    assert NOT_YET in " ".join(err.split())
    assert "Traceback" not in err
    library.opens()
    assert command_line._exit_code() == 0
    assert NOT_YET not in " ".join(capfd.readouterr().err.split())
    assert library.tables() == WHOLE
