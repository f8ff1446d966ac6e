"""Bringing a task into the store: ways in order, and nothing wrong, half-written or left over."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec
import pytest
from filelock import FileLock

from llm4rec_bench import Task, TaskDataError, UsageError, load_task
from llm4rec_bench.cli.bars import DownloadBar
from llm4rec_bench.download import download
from llm4rec_bench.freeze import freeze, manifest_of, write_manifest
from llm4rec_bench.store import HOME
from llm4rec_bench.task import read_recipe
from llm4rec_bench.task.manifest import HubPin
from tests.conftest import ROOT
from tests.sources.test_layouts import (
    READER,
    grouplens_files,
    read_raw,
    recbole_files,
    write_folder,
    write_zip,
)
from tests.sources.test_origin import Publisher, closed_port, use_index, write_wheel

SMALL = "small-v1"

TASK = """\
id = "small-v1"
title = "Small"
description = "Invented films."
domain = "films"
salt = "small"
lifecycle = "draft"
source = {source}
split = {{ rule = "leave-one-out" }}
licence = {{ name = "none", url = "https://example.org", redistribute = false }}

[tracks.retrieval]
metrics = ["ndcg@10"]

[tracks.ranking]
metrics = ["ndcg@10"]
negatives = {{ draw = "uniform", size = 3 }}
"""

DEAD = f"[Errno {errno.ECONNREFUSED}] Connection refused"

ALL = ["candidates-ranking", "interactions", "items", "requests", "targets"]


@dataclass
class Told:
    """A watcher that keeps what it is told."""

    said: list[str] = field(default_factory=list)
    bytes: list[tuple[str, int, int]] = field(default_factory=list)

    def say(self, text: str) -> None:
        # Waiting for itself would never end.
        assert "another process" not in text
        self.said.append(text)

    def progress(self, label: str, done: int, total: int) -> None:
        self.bytes.append((label, done, total))


@dataclass
class World:
    """A package that knows one small task, a store, and a publisher of its raw data."""

    recipes: Path
    home: Path
    publisher: Publisher

    def knows(
        self,
        origin: str | None = "/ml-100k.zip",
        digest: str | None = None,
        wheel: Path | None = None,
        hub: HubPin | None = None,
    ) -> None:
        """Write the recipe with these ways to get the data, and its manifest."""
        source = [f'reader = "{READER}"']
        if origin is not None:
            url = origin if origin.startswith("http") else self.publisher.url(origin)
            pin = f', sha256 = "{digest}"' if digest else ""
            source.append(f'origin = [{{ url = "{url}"{pin} }}]')
        if wheel is not None:
            found = sha256(wheel.read_bytes()).hexdigest()
            name, version, _ = wheel.name.split("-", 2)
            source.append(
                f'mirror = {{ package = "{name}", version = "{version}", sha256 = "{found}" }}'
            )
        folder = self.recipes / SMALL
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "task.toml").write_text(TASK.format(source="{ " + ", ".join(source) + " }"))
        recipe = read_recipe(folder)
        files = write_folder(self.recipes.parent / "files", grouplens_files())
        frozen, counts = freeze(recipe, read_raw(READER, files))
        manifest = manifest_of(recipe, frozen, counts)
        write_manifest(folder, recipe, msgspec.structs.replace(manifest, hub=hub))

    @property
    def data(self) -> Path:
        return self.home / "tasks" / SMALL / "data"

    def download(self, told: Told | None = None, **options: object) -> Task:
        return download(SMALL, self.home, watcher=told or Told(), **options)

    def refused(self, told: Told | None = None, **options: object) -> str:
        with pytest.raises(TaskDataError) as error:
            self.download(told, **options)
        return str(error.value)

    def left(self) -> list[str]:
        """All files of the store but locks."""
        found = [path for path in self.home.rglob("*") if path.is_file()]
        return sorted(str(p.relative_to(self.home)) for p in found if p.suffix != ".lock")

    def child(self, patch: str = "") -> subprocess.Popen[str]:
        """Another process that downloads the task and prints what it does."""
        command = [sys.executable, "-c", CHILD.format(patch=patch), self.recipes, self.home]
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip


CHILD = """
import os, sys, time
from pathlib import Path
from llm4rec_bench import store
from llm4rec_bench.task import tables
recipes, home = map(Path, sys.argv[1:])
store.recipes_folder = lambda: recipes

def hold():
    print("held", flush=True)
    time.sleep(60)

{patch}
from llm4rec_bench.download import download

class Loud:
    def say(self, text):
        print(text, flush=True)
    def progress(self, label, done, total):
        pass

download("small-v1", home, watcher=Loud())
"""


def stop_before(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End the process, as far as one can from inside, at a move out of a task written in full."""
    replace, moves = os.replace, itertools.count()

    def once(old: str | Path, new: str | Path) -> None:
        if Path(old).parent.name == ".frozen" and next(moves) == step:
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(os, "replace", once)


TABLES = [f"tasks/{SMALL}/data/{name}.parquet" for name in ALL]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("llm4rec_bench.store.recipes_folder", lambda: tmp_path / "recipes")
    with Publisher() as publisher:
        zipped = write_zip(tmp_path / "ml-100k.zip", grouplens_files(), "ml-100k/")
        publisher.files["/ml-100k.zip"] = zipped.read_bytes()
        made = World(tmp_path / "recipes", tmp_path / "home", publisher)
        made.knows()
        yield made


def edited() -> dict[str, bytes]:
    """Raw data in which one user's last event has another film."""
    files = grouplens_files()
    return files | {"u.data": files["u.data"] + b"1\t3\t3\t889999999\n"}


def test_the_first_download_tells_its_steps(world: World) -> None:
    told = Told()
    task = world.download(told)
    url = world.publisher.url("/ml-100k.zip")
    assert told.said == [
        f"store: {SMALL} is not in {world.home}",
        f"trying publisher {url}",
        f"{SMALL} verified in {world.home / 'tasks' / SMALL}",
    ]
    size = len(world.publisher.files["/ml-100k.zip"])
    assert told.bytes[-1] == (SMALL, size, size)
    assert world.left() == sorted(["raw/small-v1/ml-100k.zip", *TABLES])
    assert load_task(SMALL, world.home).requests()[:] == task.requests()[:]


def test_a_sound_store_is_verified_and_nothing_asked(world: World) -> None:
    world.download()
    world.publisher.asked.clear()
    told = Told()
    world.download(told)
    assert told.said == [f"store: {SMALL} verified in {world.home}"]
    assert world.publisher.asked == []


def test_a_kept_raw_copy_is_used_again(world: World) -> None:
    world.download()
    for table in world.data.iterdir():
        table.unlink()
    world.data.rmdir()
    world.download()
    assert world.publisher.asked == ["/ml-100k.zip"]
    assert world.left() == sorted(["raw/small-v1/ml-100k.zip", *TABLES])


def flip(path: Path) -> None:
    """Change the first pages of a table, which hold ids."""
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(byte ^ 0xFF for byte in content[4:100]) + content[100:])


DAMAGES = {
    "flipped bytes": flip,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "another table": lambda path: path.write_bytes(path.with_name("items.parquet").read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("table", ["targets", "interactions"])
def test_a_damaged_table_is_noticed_and_replaced(world: World, damage, table: str) -> None:
    world.download()
    path = world.data / f"{table}.parquet"
    whole = path.read_bytes()
    damage(path)
    with pytest.raises(TaskDataError, match=f"{table}.parquet: .*download the task again"):
        load_task(SMALL, world.home).verify()
    told = Told()
    world.download(told).verify()
    assert told.said[0].startswith(f"store: {path}: ")
    assert told.said[-1] == f"{SMALL} verified in {world.data.parent}"
    assert path.read_bytes() == whole
    assert world.left() == sorted(["raw/small-v1/ml-100k.zip", *TABLES])


# Ways that fail.


def mirror(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_index(tmp_path / "index", monkeypatch)
    files = {f"somelib/data/{name}": content for name, content in recbole_files().items()}
    return write_wheel(tmp_path / "index", "somelib", files)


def test_a_dead_publisher_gives_way_to_the_mirror(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{closed_port()}/ml-100k.zip"
    world.knows(origin=url, wheel=mirror(world, monkeypatch, tmp_path))
    told = Told()
    world.download(told)
    assert told.said[1:3] == [
        f"trying publisher {url}",
        f"  {url}: cannot be fetched ({DEAD})",
    ]
    assert told.said[3] == "trying mirror somelib==1.0, by pip"
    assert world.left() == sorted(["raw/small-v1/somelib-1.0-py3-none-any.whl", *TABLES])


def test_where_no_way_works_all_are_told_with_their_reasons(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{closed_port()}/ml-100k.zip"
    world.knows(origin=url, wheel=mirror(world, monkeypatch, tmp_path))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert world.refused().splitlines() == [
        f"{SMALL} could not be brought:",
        f"  publisher {url}: {url}: cannot be fetched ({DEAD})",
        "  mirror somelib==1.0, by pip: somelib==1.0: pip cannot download it "
        '("ERROR: No matching distribution found for somelib==1.0")',
        "If you have the publisher's files: llm4rec-bench download small-v1 --raw PATH",
    ]
    assert world.left() == []
    with pytest.raises(TaskDataError, match=f"run: llm4rec-bench download {SMALL}"):
        load_task(SMALL, world.home)


def test_a_transfer_cut_off_is_told_and_made_good_by_the_next_try(world: World) -> None:
    world.publisher.cut = True
    assert "the connection ended after" in world.refused()
    assert world.left() == []
    world.publisher.cut = False
    world.download()


def test_a_file_with_another_sha256_is_refused(world: World) -> None:
    world.knows(digest="0" * 64)
    assert f"expected {'0' * 64}" in world.refused()
    assert world.left() == []


def test_data_of_another_task_are_refused_and_the_differing_tables_named(
    world: World, tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "edited.zip", edited())
    said = world.refused(raw=[path])
    assert f"{path}: freezes to another task: tables " in said
    assert "requests" in said
    assert "targets" in said
    assert world.left() == []


def test_a_single_differing_table_is_named_alone(world: World, tmp_path: Path) -> None:
    files = grouplens_files()
    files["u.item"] = files["u.item"].replace(b"Plain Film", b"Plane Film")
    said = world.refused(raw=[write_folder(tmp_path / "copy", files)])
    assert "freezes to another task: table items differs from the manifest of small-v1" in said


def test_refused_data_leave_a_sound_store_alone(world: World, tmp_path: Path) -> None:
    world.download()
    before = world.left()
    world.refused(raw=[write_zip(tmp_path / "edited.zip", edited())])
    assert world.left() == before
    load_task(SMALL, world.home).verify()


@pytest.mark.parametrize("content", [b"<html>sign in to the hotel's network</html>", None])
def test_wrong_data_from_a_publisher_are_not_kept_for_ever(
    world: World, tmp_path: Path, content: bytes | None
) -> None:
    # No SHA-256 of the file is published, so only freezing tells that it is another one.
    right = world.publisher.files["/ml-100k.zip"]
    wrong = content or write_zip(tmp_path / "edited.zip", edited()).read_bytes()
    world.publisher.files["/ml-100k.zip"] = wrong
    world.refused()
    world.publisher.files["/ml-100k.zip"] = right
    world.download()


# A copy of one's own.


@pytest.mark.parametrize("files", [grouplens_files, recbole_files])
@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_a_raw_copy_in_either_layout_is_enough(world: World, tmp_path: Path, files, write) -> None:
    path = write(tmp_path / "copy", files(), "ml-100k/")
    told = Told()
    world.download(told, raw=[path]).verify()
    assert told.said == [
        f"trying raw copy {path}",
        f"{SMALL} verified in {world.home / 'tasks' / SMALL}",
    ]
    assert world.publisher.asked == []
    assert world.left() == TABLES


def test_offline_takes_only_what_is_here(world: World) -> None:
    said = world.refused(offline=True)
    assert "nothing on this machine, and --offline was given" in said
    world.download()
    asked = len(world.publisher.asked)
    flip(world.data / "items.parquet")
    told = Told()
    world.download(told, offline=True).verify()
    assert told.said[1] == f"trying kept copy {world.home / 'raw' / SMALL / 'ml-100k.zip'}"
    assert len(world.publisher.asked) == asked


def test_offline_tries_every_kept_copy(world: World, tmp_path: Path) -> None:
    kept = world.home / "raw" / SMALL
    kept.mkdir(parents=True)
    write_zip(kept / "a.zip", edited())
    write_zip(kept / "b.whl", recbole_files(), "somelib/")
    told = Told()
    world.download(told, offline=True).verify()
    assert [line for line in told.said if "trying" in line] == [
        f"trying kept copy {kept / 'a.zip'}",
        f"trying kept copy {kept / 'b.whl'}",
    ]
    assert world.publisher.asked == []


def test_the_embedded_task_is_only_verified(tmp_path: Path) -> None:
    told = Told()
    assert download("toy-v1", tmp_path / "home", watcher=told).id == "toy-v1"
    assert told.said == ["toy-v1 ships with the package: verified"]
    assert not (tmp_path / "home").exists()


def test_an_unknown_task_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nearest: \"ml-100k-v1\""):
        download("ml-100k-v11", tmp_path / "home")
    assert not (tmp_path / "home").exists()


# A store in a bad place.


def test_a_store_that_cannot_be_made_is_told_how_to_be_moved(world: World) -> None:
    world.home.write_text("a file where a folder should be")
    assert f"set {HOME} to a folder of yours" in world.refused()


def test_a_store_that_cannot_be_locked_is_told_how_to_be_moved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", denied)
    said = world.refused()
    assert "Permission denied" in said
    assert HOME in said


def test_a_store_that_cannot_keep_raw_copies_is_told(world: World) -> None:
    world.home.mkdir()
    (world.home / "raw").write_text("a file where a folder should be")
    assert str(world.home / "raw") in world.refused()


# Several processes, and killed ones.


def wait_for(child: subprocess.Popen[str], text: str) -> list[str]:
    """What a child has said until it says `text`."""
    assert child.stdout is not None
    heard = []
    for line in child.stdout:
        heard.append(line.rstrip("\n"))
        if text in line:
            return heard
    raise AssertionError(f"ended without saying {text!r}: {heard}")


def finish(child: subprocess.Popen[str]) -> list[str]:
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return said.splitlines()


def kill(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL


def test_of_two_processes_one_works_and_the_other_waits(world: World) -> None:
    world.publisher.hold = True
    first = world.child()
    assert world.publisher.holding.wait(60)
    second = world.child()
    wait_for(second, "another process is bringing or freezing this task: waiting for it")
    world.publisher.released.set()
    assert finish(first)[-1] == f"{SMALL} verified in {world.home / 'tasks' / SMALL}"
    assert finish(second) == [f"store: {SMALL} verified in {world.home}"]
    assert world.publisher.asked == ["/ml-100k.zip"]
    load_task(SMALL, world.home).verify()


def test_a_failed_download_does_not_keep_the_store_locked(world: World) -> None:
    world.publisher.cut = True
    with pytest.raises(TaskDataError) as first:
        world.download()
    world.publisher.cut = False
    world.download()  # in this process, with the first error and its frames still alive
    assert "could not be brought" in str(first.value)


def test_killed_in_the_middle_of_a_transfer(world: World, tmp_path: Path) -> None:
    files = grouplens_files() | {"padding": Random(0).randbytes(2 << 20)}
    world.publisher.files["/ml-100k.zip"] = write_zip(tmp_path / "big.zip", files).read_bytes()
    world.publisher.hold = True
    child = world.child()
    partial = world.home / "raw" / SMALL / "ml-100k.zip.partial"
    while not partial.exists() or partial.stat().st_size < 1 << 18:
        assert child.poll() is None
        time.sleep(0.01)
    kill(child)
    assert world.left() == ["raw/small-v1/ml-100k.zip.partial"]
    assert not world.data.exists()
    world.publisher.hold = False
    world.download()
    assert world.left() == sorted(["raw/small-v1/ml-100k.zip", *TABLES])


WRITES_ONE_TABLE = """
write = tables.write_table
def once(path, table):
    write(path, table)
    hold()
tables.write_table = once
"""

MOVES_THE_OLD_AWAY = """
replace = os.replace
def once(old, new):
    if Path(old).parent.name.startswith(".freezing-") and Path(new).name == "data":
        hold()
    replace(old, new)
os.replace = once
"""


@pytest.mark.parametrize("patch", [WRITES_ONE_TABLE, MOVES_THE_OLD_AWAY])
@pytest.mark.parametrize("before", ["nothing", "damaged"])
def test_killed_while_tables_are_written(world: World, patch: str, before: str) -> None:
    if before == "damaged":
        world.download()
        flip(world.data / "items.parquet")
    child = world.child(patch)
    wait_for(child, "held")
    kill(child)
    if before == "nothing" or patch == MOVES_THE_OLD_AWAY:
        assert not world.data.exists()
        with pytest.raises(TaskDataError, match="run: llm4rec-bench download"):
            load_task(SMALL, world.home)
    else:
        assert sorted(path.stem for path in world.data.iterdir()) == ALL
    assert any(".freezing-" in path for path in world.left())
    world.download().verify()
    assert world.left() == sorted(["raw/small-v1/ml-100k.zip", *TABLES])
    assert not list(world.home.rglob(".freezing-*"))


def test_all_that_killed_downloads_left_is_swept(world: World, tmp_path: Path) -> None:
    litter = [
        world.home / "tasks" / SMALL / ".freezing-abc" / "data" / "items.parquet",
        world.home / "raw" / SMALL / ".pip-abc" / "somelib-1.0-py3-none-any.whl",
        world.home / "raw" / SMALL / "elsewhere.zip.partial",
    ]
    for path in litter:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    world.download()
    assert world.left() == sorted(["raw/small-v1/ml-100k.zip", *TABLES])


def test_tables_that_a_killed_swap_left_aside_are_found_and_nothing_asked(world: World) -> None:
    world.download()
    before = world.left()
    world.data.rename(world.data.with_name(".data-replaced"))
    world.publisher.files.clear()
    (world.home / "raw" / SMALL / "ml-100k.zip").unlink()
    told = Told()
    world.download(told).verify()
    assert told.said == [
        f"store: {SMALL} is not in {world.home}",
        f"store: {SMALL} verified in {world.home}",
    ]
    assert world.left() == [name for name in before if name.startswith("tasks")]


def test_offline_is_said_only_where_it_was_given(world: World) -> None:
    world.knows(origin=None)
    said = world.refused()
    assert "--offline" not in said
    assert "the recipe names no publisher and no mirror" in said


def test_what_strangers_write_reaches_no_terminal_as_escapes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with DownloadBar() as bar:
        bar.say("one\x1b]0;x\x07[red]\ntwo\u202e")
    assert capfd.readouterr().err == "one\\x1b]0;x\\x07[red]\ntwo\\u202e\n"
