"""Publishing over loopback with the real clients: one commit, one tag, one pin, and nothing lost.

What a download makes of wrong bytes, of a commit or repository that is gone, of a transfer cut
off and of a Hub out of reach is told in `tests.test_hub`.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import close_session, constants

from llm4rec_bench import BenchError, Task, TaskDataError, UsageError, score
from llm4rec_bench import publish as publishing
from llm4rec_bench.freeze import benchmark, freeze, manifest_of, write_manifest, write_tables
from llm4rec_bench.publish import Published
from llm4rec_bench.run import read_run
from llm4rec_bench.run.execute import execute
from llm4rec_bench.sources import generate_toy
from llm4rec_bench.submission import read_card
from llm4rec_bench.task import Recipe, open_task, read_manifest, read_recipe
from llm4rec_bench.task.manifest import HubPin
from tests.conftest import ROOT, real_task
from tests.hubserver import Handler, HubServer, Repository
from tests.sources.test_origin import closed_port

# How the client itself sends large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

FILMS = "films-v1"
REPOSITORY = "tester/films"
TEXTS = ["README.md", "eval.yaml", "manifest.json", "task.toml"]


@cache
def frozen_as(recipe_text: str) -> tuple[dict[str, pa.Table], dict[str, int]]:
    recipe = msgspec.convert(tomllib.loads(recipe_text), Recipe)
    return freeze(recipe, generate_toy(recipe.source.seed))


@dataclass
class Desk:
    """A maintainer's desk: recipes with their manifests, frozen tables, and a Hub to publish to."""

    scratch: Path
    server: HubServer
    told: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.told.append(text)

    def progress(self, label: str, done: int, total: int) -> None:
        raise AssertionError("nothing is promised of that")

    @property
    def recipes(self) -> Path:
        return self.scratch / "recipes"

    def frozen(self, task_id: str = FILMS) -> Path:
        return self.scratch / "frozen" / task_id

    def freeze(self, task_id: str = FILMS, **changed: str) -> None:
        """Freeze a task of the toy world, with some of the recipe's text changed."""
        recipe_text = (ROOT / "tasks" / "toy-v1" / "task.toml").read_text("utf-8")
        for key, text in ({"id": f'"{task_id}"', "salt": f'"{task_id}"'} | changed).items():
            (line,) = [one for one in recipe_text.splitlines() if one.startswith(f"{key} = ")]
            recipe_text = recipe_text.replace(line, f"{key} = {text}")
        folder = self.recipes / task_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "task.toml").write_text(recipe_text, "utf-8")
        recipe = read_recipe(folder)
        tables, counts = frozen_as(recipe_text)
        write_tables(self.frozen(task_id), tables)
        write_manifest(folder, recipe, manifest_of(recipe, tables, counts))

    def task(self, task_id: str = FILMS) -> Task:
        return open_task(self.recipes / task_id, self.frozen(task_id))

    def publish(self, task_id: str = FILMS, **options: object) -> Published:
        return publishing.publish(
            self.recipes / task_id,
            self.frozen(task_id),
            REPOSITORY,
            token="hf_any",
            watcher=self,
            **options,
        )

    def refused(self, kind: type[BenchError] = TaskDataError, **options: object) -> str:
        with pytest.raises(kind) as error:
            self.publish(**options)
        return str(error.value)

    def pin(self, task_id: str = FILMS) -> HubPin | None:
        return read_manifest(self.recipes / task_id).hub

    @property
    def repository(self) -> Repository:
        return self.server.repositories[REPOSITORY]

    def tree(self, commit: str) -> dict[str, bytes]:
        return self.repository.commits[commit]

    def committed(self) -> list[str]:
        """All commits but the one that came with the repository."""
        return list(self.repository.commits)[1:]

    def kinds(self) -> list[str]:
        """The last words of what was asked to be changed, in order."""
        changing = [asked.path for asked in self.server.asked if asked.method in {"POST", "PUT"}]
        return [path.split("/")[5] for path in changing if path.startswith("/api/datasets/")]

    def rows(self, task_id: str = FILMS) -> dict[str, list[dict[str, object]]]:
        return {
            name: pq.read_table(self.frozen(task_id) / "data" / f"{name}.parquet").to_pylist()
            for name in self.task(task_id).manifest.tables
        }

    def python(self, code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Another process, whose clients find this Hub and nothing of the user's."""
        kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("HF_", "HUGGING"))}
        kept |= {
            "HF_ENDPOINT": self.server.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_anything",
            "HF_HOME": str(self.scratch / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(ROOT), "no_proxy": "*",
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], text=True, cwd=self.scratch,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=kept | environment,
        )  # fmt: skip

    def publishes(self, **environment: str) -> subprocess.Popen[str]:
        """Another process that publishes the films and prints where."""
        folders = self.recipes / FILMS, self.frozen()
        return self.python(PUBLISH, *folders, REPOSITORY, **environment)


PUBLISH = """
import json, sys, time
from pathlib import Path
time.sleep = lambda seconds: None  # the client waits longer and longer between its tries
from llm4rec_bench import BenchError
from llm4rec_bench.publish import publish

recipe, data, repository = sys.argv[1:]
try:
    print(json.dumps(publish(Path(recipe), Path(data), repository)))
except BenchError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def said(child: subprocess.Popen[str]) -> list[str]:
    out, trouble = child.communicate(timeout=120)
    assert child.returncode == 0, trouble
    return out.splitlines()


one_context = cache(ssl.create_default_context)
"""Reads the certificates once and not for each client; on loopback nobody shows any."""


@contextmanager
def asked_hub() -> Iterator[HubServer]:
    """An empty Hub that the clients of this process ask, without any pause between tries."""
    with pytest.MonkeyPatch.context() as patch, HubServer(large=".parquet") as server:
        patch.setenv("no_proxy", "*")
        patch.setattr(time, "sleep", lambda seconds: None)
        # Else every body waits 40 ms until its head is acknowledged.
        patch.setattr(Handler, "disable_nagle_algorithm", True)
        patch.setattr(ssl, "create_default_context", one_context)
        # The client makes these of environment variables when it is imported.
        patch.setattr(constants, "ENDPOINT", server.url)
        files = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server
        close_session()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """The films, frozen and not published, and an empty Hub."""
    with asked_hub() as server:
        made = Desk(tmp_path, server)
        made.freeze()
        yield made


# What lies on the Hub afterwards


def test_one_commit_and_one_tag_hold_the_task_and_the_manifest_pins_them(desk: Desk) -> None:
    task = desk.task()
    done = desk.publish()
    assert desk.committed() == [done.commit]
    assert desk.repository.tags == {"v1": done.commit}
    tables = {
        f"data/{name}.parquet": (task.folder / "data" / f"{name}.parquet").read_bytes()
        for name in task.manifest.tables
    }
    tree = desk.tree(done.commit)
    assert set(tree) == {*tables, *TEXTS, ".gitattributes"}
    assert {path: tree[path] for path in tables} == tables
    for name in ("README.md", "task.toml"):
        assert tree[name] == (desk.recipes / FILMS / name).read_bytes()
    assert msgspec.json.decode(tree["manifest.json"])["hub"] is None
    assert desk.pin() == HubPin(REPOSITORY, done.commit)
    assert msgspec.structs.replace(read_manifest(desk.recipes / FILMS), hub=None) == task.manifest
    sizes = {path: len(content) for path, content in tree.items() if path != ".gitattributes"}
    assert done == Published(REPOSITORY, done.commit, "v1", done.files, True)
    assert dict(done.files) == sizes
    short = done.commit[:8]
    committed = f"{len(sizes)} files committed to {REPOSITORY} at {short}"
    assert desk.told == [committed, f"v1 set to {short}"]


def test_a_published_task_is_a_benchmark_of_the_hub(desk: Desk) -> None:
    done = desk.publish()
    tree = desk.tree(done.commit)
    found = yaml.safe_load(tree["eval.yaml"])
    recipe = desk.task().recipe
    # What the Hub's documentation requires, and no framework that it does not know.
    assert found.keys() == {"name", "description", "tasks"}
    assert found["name"] == recipe.title
    assert "ndcg@10 on the test requests, from 0 to 1, higher is better" in found["description"]
    assert [task["id"] for task in found["tasks"]] == list(recipe.tracks)
    for task in found["tasks"]:
        assert task.keys() == {"id", "config", "split"}
        assert f"data/{task['config']}.parquet" in tree
        assert task["split"] == "train"  # as `datasets` calls the one file of a config
    configs = {task["id"]: task["config"] for task in found["tasks"]}
    assert configs["retrieval"] == "requests"
    assert configs["ranking-popular"] == "candidates-ranking-popular"


@pytest.mark.parametrize(
    "text", ["a: b # c", "- x", '"quoted" \\', "\u202e\x7f", "電影 🎬", "{}", "*"]
)
def test_any_title_and_description_reach_the_benchmark(toy: Task, text: str) -> None:
    recipe = msgspec.structs.replace(toy.recipe, title=text, description=text)
    found = yaml.safe_load(benchmark(recipe))
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    assert found["name"] == shown
    assert found["description"].startswith(f"{shown} The value of a track")


def test_publishing_again_changes_nothing(desk: Desk) -> None:
    done = desk.publish()
    manifest = (desk.recipes / FILMS / "manifest.json").read_bytes()
    desk.server.asked.clear()
    assert desk.publish() == done._replace(made=False)
    assert desk.committed() == [done.commit]
    assert desk.kinds() == []
    assert desk.told[2:] == [f"{REPOSITORY} has v1 of {FILMS} at {done.commit[:8]} already"]
    assert (desk.recipes / FILMS / "manifest.json").read_bytes() == manifest


def test_files_of_others_stay_but_their_tables_go(desk: Desk) -> None:
    foreign = {"notes.md": b"notes", "data/notes.txt": b"notes"}
    tables = {"data/items.parquet": b"old", "data/more/x.parquet": b"", "data/train.parquet": b"x"}
    desk.server.repositories[REPOSITORY] = Repository()
    family = {"task.toml": b"", "manifest.json": b'{"format": "older", "task": "films-v0"}'}
    desk.repository.commit({".gitattributes": b"", **family, **foreign, **tables})
    done = desk.publish()
    tree = desk.tree(done.commit)
    assert desk.committed() == [done.commit]
    assert {path: tree[path] for path in foreign} == foreign
    ours = {f"data/{name}.parquet" for name in desk.task().manifest.tables}
    assert {path for path in tree if path.endswith(".parquet")} == ours


HELD: dict[str, tuple[dict[str, bytes], str]] = {
    "no task": ({}, "other tables"),
    "a manifest alone": ({"manifest.json": b'{"task": "films-v1"}'}, "other tables"),
    "a damaged manifest": ({"manifest.json": b"{", "task.toml": b""}, "other tables"),
    "another task": ({"manifest.json": b'{"task": "films-of-x-v1"}', "task.toml": b""},
                     '"films-of-x-v1"'),
}  # fmt: skip


@pytest.mark.parametrize(("held", "named"), HELD.values(), ids=HELD.keys())
def test_tables_of_another_task_are_not_removed(
    desk: Desk, held: dict[str, bytes], named: str
) -> None:
    desk.server.repositories[REPOSITORY] = Repository()
    before = desk.repository.commit({"data/train.parquet": b"x", **held})
    refused = desk.refused(UsageError)
    assert refused.startswith(f"{REPOSITORY} holds {named}, which publishing {FILMS} would remove")
    assert desk.repository.refs["main"] == before
    assert (desk.repository.tags, desk.pin()) == ({}, None)


def test_files_that_are_not_large_to_the_hub_are_compared_as_git_does(desk: Desk) -> None:
    desk.server.large = ""
    done = desk.publish()
    assert desk.publish() == done._replace(made=False)
    assert desk.committed() == [done.commit]


# Versions


def test_another_version_goes_beside_the_first(desk: Desk) -> None:
    first = desk.publish()
    desk.freeze("films-v2", seed="2")
    second = desk.publish("films-v2")
    assert desk.repository.tags == {"v1": first.commit, "v2": second.commit}
    assert (
        desk.tree(first.commit)["data/targets.parquet"]
        != (desk.tree(second.commit)["data/targets.parquet"])
    )
    # The first one's pin is found again though main has gone on, and main is left alone.
    desk.freeze()
    assert desk.publish() == first._replace(made=False)
    assert desk.committed() == [first.commit, second.commit]


def test_a_published_version_never_changes(desk: Desk) -> None:
    done = desk.publish()
    desk.freeze(seed="2")
    before = (desk.recipes / FILMS / "manifest.json").read_bytes()
    assert f"v1 is published already, at {done.commit[:8]}" in desk.refused()
    assert desk.refused().endswith(
        "a published version never changes: give the task a new version, or publish it to "
        "another repository"
    )
    assert desk.committed() == [done.commit]
    assert (desk.recipes / FILMS / "manifest.json").read_bytes() == before


def test_a_tag_on_foreign_tables_beside_ours_is_refused(desk: Desk) -> None:
    done = desk.publish()
    foreign = desk.tree(done.commit) | {"data/extra.parquet": b""}
    desk.repository.tags["v1"] = desk.repository.commit(foreign)
    assert "v1 is published already" in desk.refused()


def test_the_same_rows_in_other_bytes_are_the_same_version(desk: Desk) -> None:
    done = desk.publish()
    path = desk.frozen() / "data" / "targets.parquet"
    pq.write_table(pq.read_table(path), path, compression="none")
    assert desk.publish() == done._replace(made=False, files=desk.publish().files)
    assert desk.committed() == [done.commit]
    assert desk.pin() == HubPin(REPOSITORY, done.commit)


def test_a_card_may_be_improved_and_the_pin_stays(desk: Desk) -> None:
    done = desk.publish()
    desk.freeze(title='"Films and books"', lifecycle='"superseded"')
    again = desk.publish()
    assert (again.commit, again.made) == (done.commit, True)
    assert desk.repository.tags == {"v1": done.commit}
    first, renewed = desk.committed()
    changed = {p for p in desk.tree(first) if desk.tree(first)[p] != desk.tree(renewed)[p]}
    assert changed == {"README.md", "eval.yaml", "task.toml"}
    assert desk.pin() == HubPin(REPOSITORY, done.commit)
    assert not desk.publish().made


# What breaks off is mended by the same command


def test_a_tag_that_fails_is_set_by_the_next_try(desk: Desk) -> None:
    desk.server.faults["tag"] = 500
    assert "the Hub itself fails at the moment: publish again later" in desk.refused()
    assert (desk.repository.tags, desk.pin()) == ({}, None)
    desk.server.faults.clear()
    done = desk.publish()
    assert desk.committed() == [done.commit]
    assert desk.repository.tags == {"v1": done.commit}
    assert desk.pin() == HubPin(REPOSITORY, done.commit)
    assert not done.made


def test_a_lost_pin_is_written_again(desk: Desk) -> None:
    manifest = desk.recipes / FILMS / "manifest.json"
    unpinned = manifest.read_bytes()
    done = desk.publish()
    pinned = manifest.read_bytes()
    manifest.write_bytes(unpinned)
    assert not desk.publish().made
    assert manifest.read_bytes() == pinned
    assert desk.committed() == [done.commit]


@pytest.mark.parametrize("step", ["commit", "tag"])
def test_killed_after_the_hub_has_acted(desk: Desk, step: str) -> None:
    desk.server.faults[step] = "held"
    child = desk.publishes()
    assert desk.server.holding.wait(60)
    child.kill()
    child.communicate()
    assert desk.pin() is None
    assert len(desk.committed()) == 1
    desk.server.faults.clear()
    desk.server.released.set()
    done = desk.publish()
    assert desk.committed() == [desk.repository.tags["v1"]] == [done.commit]
    assert desk.pin() == HubPin(REPOSITORY, done.commit)


FAULTS: dict[str, tuple[str, int | str, str]] = {
    "may not create": ("create", 403, "use a token that may write to the repository"),
    "may not commit": ("commit", 403, "use a token that may write to the repository"),
    "unknown login": ("create", 401, "log in with `hf auth login`"),
    "gone meanwhile": ("tree", 404, "the Hub finds no such repository or commit"),
    "bad card": ("validate", 400, "the Hub refuses it"),
    "someone was faster": ("commit", 412, "someone else has changed it meanwhile"),
    "tagged by someone": ("tag", 409, "someone else has changed it meanwhile"),
    "too many requests": ("commit", 429, "publish again in some minutes"),
    "failing at the start": ("create", 500, "the Hub itself fails"),
    "failing for large files": ("store", 503, "the Hub itself fails"),
    "failing at the commit": ("commit", 502, "the Hub itself fails"),
    "cut at the start": ("refs", "cut", "the connection to the Hub fails"),
    "cut in a large file": ("store", "cut", "the connection to the Hub fails"),
    "cut in the commit": ("commit", "cut", "the connection to the Hub fails"),
    "commit unanswered": ("commit", "unanswered", "the connection to the Hub fails"),
    "tag unanswered": ("tag", "unanswered", "the connection to the Hub fails"),
}


@pytest.mark.parametrize(("kind", "fault", "told"), FAULTS.values(), ids=FAULTS.keys())
def test_a_failing_hub_is_told_in_a_sentence_and_the_next_try_ends_it(
    desk: Desk, kind: str, fault: int | str, told: str
) -> None:
    manifest = (desk.recipes / FILMS / "manifest.json").read_bytes()
    desk.server.faults[kind] = fault
    refused = desk.refused()
    assert refused.startswith(f"{REPOSITORY}: not published; ")
    assert told in refused
    assert "the same command goes on from there" in refused
    assert "hf_any" not in refused
    assert (desk.recipes / FILMS / "manifest.json").read_bytes() == manifest
    desk.server.faults.clear()
    done = desk.publish()
    assert desk.committed() == [done.commit] == [desk.repository.tags["v1"]]
    assert desk.pin() == HubPin(REPOSITORY, done.commit)


def test_a_hub_out_of_reach_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert "the connection to the Hub fails: publish again once it holds" in desk.refused()
    assert desk.pin() is None


def test_without_a_login_the_way_to_log_in_is_told(desk: Desk) -> None:
    child = desk.publishes(HF_TOKEN="")
    _, trouble = child.communicate(timeout=60)
    assert child.returncode == 1
    assert trouble.startswith(f"TaskDataError: {REPOSITORY}: not published; the Hub asks who you")
    assert "log in with `hf auth login`, or set HF_TOKEN" in trouble
    assert desk.pin() is None


def test_a_commit_on_top_of_someone_else_s_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = publishing._Repository.held

    def look(remote: publishing._Repository, commit: str) -> dict[str, str]:
        found = looked(remote, commit)
        desk.repository.commit({"data/items.parquet": b"someone else's"})
        return found

    monkeypatch.setattr(publishing._Repository, "held", look)
    assert "someone else has changed it meanwhile: publish again" in desk.refused()
    assert (desk.repository.tags, desk.pin()) == ({}, None)


def test_tables_that_the_repository_hides_are_noticed_before_the_tag(desk: Desk) -> None:
    desk.server.repositories[REPOSITORY] = Repository()
    desk.repository.commit({".gitignore": b"*.parquet\n"})
    refused = desk.refused()
    assert "data/items.parquet" in refused
    assert "remove a .gitignore there" in refused
    assert (desk.repository.tags, desk.pin()) == ({}, None)


def test_a_manifest_that_cannot_be_written_is_told_with_what_was_published(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, recipe: object, manifest: object) -> None:
        if folder == desk.recipes / FILMS:
            raise OSError(28, "No space left on device")
        write_manifest(folder, recipe, manifest)

    monkeypatch.setattr(publishing, "write_manifest", full)
    refused = desk.refused()
    assert "cannot be written (No space left on device)" in refused
    assert f"published as {REPOSITORY}@{desk.committed()[0][:8]}" in refused


# What is refused before the Hub hears of it


NO_NAMES = [
    "films", "a/b/c", "", "/films", "tester/", "tester/fi lms", "-a/b", "a/b.", "a/b--c",
    "a/b.git", "tester/fílms", "a/" + "b" * 96, "tester/films\n",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_no_repository_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(UsageError, match="expected ORG/NAME"):
        publishing.publish(desk.recipes / FILMS, desk.frozen(), name)
    assert desk.server.asked == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"redistribute": "false"}, "its licence, Apache-2.0, forbids to redistribute the data"),
        ({"lifecycle": '"draft"'}, "while it is a draft"),
        ({"lifecycle": '"draft"'}, 'put lifecycle = "current" at the top of its recipe, task.toml'),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_task_that_may_not_be_published_is_refused(
    desk: Desk, changed: dict[str, str], told: str, dry_run: bool
) -> None:
    desk.freeze(**changed)
    assert told in desk.refused(UsageError, dry_run=dry_run)
    assert desk.server.asked == []


def of_another_version(path: Path) -> None:
    path.write_bytes((path.parents[2] / "films-v2" / "data" / path.name).read_bytes())


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda path: path.unlink(), "no such file"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "cannot be read as Parquet"),
    "other rows": (of_another_version, "table targets differs from the frozen one"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES.keys())
def test_tables_that_are_not_the_frozen_ones_are_refused(
    desk: Desk, damage: Callable[[Path], object], told: str
) -> None:
    desk.freeze("films-v2", seed="2")
    path = desk.frozen() / "data" / "targets.parquet"
    damage(path)
    assert desk.refused().startswith(f"{path}: {told}")
    assert desk.server.asked == []


def test_a_task_without_its_descriptions_is_refused(desk: Desk) -> None:
    (desk.frozen() / "data" / "descriptions.parquet").unlink()
    assert "descriptions.parquet: no such file" in desk.refused()
    assert desk.server.asked == []


def test_a_task_that_is_not_frozen_is_refused(desk: Desk) -> None:
    (desk.recipes / FILMS / "manifest.json").unlink()
    assert "has not been frozen yet" in desk.refused()
    assert desk.server.asked == []


def test_a_file_too_large_to_fetch_in_one_go_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LARGEST", 20_000)
    assert "data/candidates-ranking" in desk.refused()
    assert desk.server.asked == []


def test_a_dry_run_asks_nobody_and_writes_nothing(desk: Desk) -> None:
    before = {p: p.read_bytes() for p in desk.scratch.rglob("*") if p.is_file()}
    would = desk.publish(dry_run=True)
    assert {p: p.read_bytes() for p in desk.scratch.rglob("*") if p.is_file()} == before
    assert desk.server.asked == []
    assert desk.publish() == would._replace(commit=desk.committed()[0], made=True)


# Whoever downloads it gets what was frozen


USE = """
import json, sys
from pathlib import Path
from llm4rec_bench import read_run, score, store
recipes, home, task_id, submission, run = sys.argv[1:]
store.recipes_folder = lambda: Path(recipes)
from llm4rec_bench.download import download
from llm4rec_bench.run.execute import execute
from llm4rec_bench.submission import read_card

task = download(task_id, Path(home))
task.verify()
execute(read_card(Path(submission)), task, "ranking", Path(run))
found = score(read_run(run, task))
print(json.dumps({name: interval.value for name, interval in found.metrics.items()}))
"""


def test_another_process_downloads_runs_and_scores_as_on_the_frozen_tables(desk: Desk) -> None:
    (published,) = map(json.loads, said(desk.publishes()))
    desk.server.asked.clear()
    submission = ROOT / "submissions" / "popularity"
    theirs, ours = desk.scratch / "theirs.jsonl", desk.scratch / "ours.jsonl"
    arguments = desk.recipes, desk.scratch / "home", FILMS, submission, theirs
    (found,) = map(json.loads, said(desk.python(USE, *arguments)))
    commits = {asked.path.split("/")[5] for asked in desk.server.asked if "resolve" in asked.path}
    assert commits == {published[1]}
    execute(read_card(submission), desk.task(), "ranking", ours)
    expected = score(read_run(ours, desk.task())).metrics
    assert found == {name: interval.value for name, interval in expected.items()}


def test_movietweetings_goes_from_one_machine_to_another_that_never_saw_its_raw_data(
    desk: Desk,
) -> None:
    task = real_task("movietweetings-v1")
    recipe = desk.recipes / task.id
    shutil.copytree(ROOT / "tasks" / task.id, recipe)
    (published,) = map(json.loads, said(desk.python(PUBLISH, recipe, task.folder, REPOSITORY)))
    assert read_manifest(recipe).hub == HubPin(REPOSITORY, published[1])
    submission = ROOT / "submissions" / "popularity"
    arguments = desk.recipes, desk.scratch / "home", task.id, submission, desk.scratch / "run.jsonl"
    (found,) = map(json.loads, said(desk.python(USE, *arguments)))
    saved = json.loads((submission / "scores.json").read_text("utf-8"))["scores"]
    (entered,) = [one for one in saved if (one["task"], one["track"]) == (task.id, "ranking")]
    assert found == {name: by["value"] for name, by in entered["metrics"].items()}
    assert not (desk.scratch / "home" / "raw").exists()


LOAD = """
import json, sys
from datasets import load_dataset
repository, commit, cache, *configs = sys.argv[1:]
for config in configs:
    loaded = load_dataset(repository, config, split="train", revision=commit, cache_dir=cache)
    print(json.dumps(loaded.to_list()))
"""


def test_the_datasets_library_reads_every_config_at_the_pinned_commit(desk: Desk) -> None:
    done, rows = desk.publish(), desk.rows()
    # What main holds by then is another version, and a table that nobody pinned.
    desk.freeze("films-v2", seed="2")
    desk.publish("films-v2")
    cache = desk.scratch / "cache"
    loaded = said(desk.python(LOAD, REPOSITORY, done.commit, cache, *rows))
    for (config, expected), line in zip(rows.items(), loaded, strict=True):
        assert json.loads(line) == expected, config


DOWNLOAD = """
import sys
from pathlib import Path
from llm4rec_bench import store
recipes, home, offline, *ids = sys.argv[1:]
store.recipes_folder = lambda: Path(recipes)
from llm4rec_bench.download import download

for task_id in ids:
    task = download(task_id, Path(home), offline=offline == "offline")
    task.verify()
    print(task.manifest.tables["targets"].digest, task.targets("test").items.sum())
"""


def test_two_downloads_at_once_fetch_every_table_once(desk: Desk) -> None:
    done = desk.publish()
    desk.server.asked.clear()
    children = [
        desk.python(DOWNLOAD, desk.recipes, desk.scratch / "home", "", FILMS) for _ in range(2)
    ]
    one, other = map(said, children)
    assert one == other
    fetched = [a.path for a in desk.server.asked if a.method == "GET" and "/resolve/" in a.path]
    prefix = f"/datasets/{REPOSITORY}/resolve/{done.commit}/data/"
    assert sorted(fetched) == sorted(f"{prefix}{name}.parquet" for name in desk.rows())


def test_of_two_versions_each_is_had_at_its_pin_and_offline_too(desk: Desk) -> None:
    desk.publish()
    desk.freeze("films-v2", seed="2")
    desk.publish("films-v2")
    arguments = desk.recipes, desk.scratch / "home"
    first, second = said(desk.python(DOWNLOAD, *arguments, "", FILMS, "films-v2"))
    expected = [
        f"{task.manifest.tables['targets'].digest} {task.targets('test').items.sum()}"
        for task in (desk.task(), desk.task("films-v2"))
    ]
    assert [first, second] == expected
    assert first != second
    desk.server.asked.clear()
    offline = desk.python(DOWNLOAD, *arguments, "offline", "films-v2", FILMS, HF_HUB_OFFLINE="1")
    assert said(offline) == [second, first]
    assert desk.server.asked == []
