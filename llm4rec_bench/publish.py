"""Publishing a frozen task as a dataset repository on the Hugging Face Hub.

One commit holds the tables and what says what they are, a tag named for the task's version
marks it, and the task's manifest keeps repository and commit, by which `download` finds it.
Each step is looked up before it is done: the same command finishes what a killed one began,
and does nothing where all is done. The tables of a published version never change; its card
may be improved, in a later commit that the tag and the manifest do not move to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1, sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from llm4rec_bench.download import Silent, Watcher
from llm4rec_bench.errors import TaskDataError, UsageError, shown
from llm4rec_bench.files import read_bounded
from llm4rec_bench.freeze import BENCHMARK, benchmark, write_manifest
from llm4rec_bench.hub import check_name
from llm4rec_bench.task import Recipe, Task, open_task, tables
from llm4rec_bench.task.manifest import LARGEST_MANIFEST, HubPin

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LARGEST = 100_000_000
"""Bytes of the largest file that is published: a broken download begins a file anew."""

_MAIN = "main"


class Published(NamedTuple):
    """What lies on the Hub, or would."""

    repository: str
    commit: str
    """Of the tables; empty in a dry run."""
    tag: str
    files: list[tuple[str, int]]
    """Path in the repository, and bytes."""
    made: bool
    """Whether a commit was made; False where all was there already."""


def publish(
    recipe_folder: Path,
    data_folder: Path,
    repository: str,
    *,
    dry_run: bool = False,
    token: str | None = None,
    watcher: Watcher | None = None,
) -> Published:
    """Put a task on the Hub and pin it in its manifest.

    `token` is one that may write to the repository; without it, the one that this machine
    is logged in with. A dry run asks nobody and writes nothing. Raises UsageError for a task
    that may not be published, and TaskDataError where its tables are not the frozen ones or
    the Hub fails; then the manifest is as before.
    """
    check_name(repository)
    task = open_task(recipe_folder, data_folder)
    _check_allowed(task.recipe)
    task.verify()
    _check_whole(task)
    files = _files(task, recipe_folder)
    tag = task.id.rpartition("-")[2]
    sizes = [(path, file.size) for path, file in files.items()]
    if dry_run:
        return Published(repository, "", tag, sizes, made=False)
    remote = _Repository.opened(repository, token)
    commit, made = _put(task, files, tag, remote, watcher or Silent())
    _pin(recipe_folder, task, HubPin(repository, commit))
    return Published(repository, commit, tag, sizes, made)


def put_file(path: Path, repository: str, token: str | None = None) -> HubPin:
    """Upload a file into a dataset repository, made if need be, and the commit that holds it.

    Raises UsageError for what is no repository's name, and TaskDataError where the Hub refuses.
    """
    check_name(repository)
    remote = _Repository.opened(repository, token)
    remote.create()
    heads, _ = remote.refs()
    files = {path.name: _file(path)}
    changes = _changes(files, remote.held(heads[_MAIN]) if _MAIN in heads else {})
    if not changes.added:
        return HubPin(repository, heads[_MAIN])
    changes = changes._replace(deleted=[])
    return HubPin(repository, remote.commit(f"Add {path.name}", files, changes, heads.get(_MAIN)))


def _check_allowed(recipe: Recipe) -> None:
    if not recipe.licence.redistribute:
        raise UsageError(
            f"{recipe.id} cannot be published: its licence, {recipe.licence.name}, forbids to "
            "redistribute the data; recipe and digests are enough, `download` rebuilds the tables"
        )
    if recipe.lifecycle == "draft":
        raise UsageError(
            f"{recipe.id} cannot be published while it is a draft, for a published version never "
            'changes; once it is final, put lifecycle = "current" at the top of its recipe, '
            "task.toml, and freeze it again"
        )


def _check_whole(task: Task) -> None:
    """Refuse a task without its descriptions, which verifying lets pass."""
    for name in task.manifest.tables:
        path = tables.parquet_path(task.folder, name)
        if not path.exists():
            raise TaskDataError(
                f"{path}: no such file, and a task is published whole; download or freeze it again"
            )


class _File(NamedTuple):
    """A file to publish."""

    content: Path | bytes
    size: int
    names: tuple[str, str]
    """How the Hub names this content: as a git blob, and in the store of large files."""


def _files(task: Task, recipe_folder: Path) -> dict[str, _File]:
    """All files of the commit by their path in the repository."""
    contents: dict[str, Path | bytes] = {
        tables.parquet_path(Path(), name).as_posix(): tables.parquet_path(task.folder, name)
        for name in task.manifest.tables
    }
    contents |= _generated(task)
    contents["task.toml"] = recipe_folder / "task.toml"
    files = {path: _file(content) for path, content in contents.items()}
    for path, file in files.items():
        if file.size > LARGEST:
            raise TaskDataError(
                f"{task.id} cannot be published: {path} has {file.size / 1e6:,.0f} MB, and a file "
                f"may have {LARGEST / 1e6:,.0f} at most; filter the log further in task.toml"
            )
    return files


def _generated(task: Task) -> dict[str, bytes]:
    """Card and manifest as freezing writes them, and what makes the task a benchmark of the Hub.

    The manifest is without a pin: no commit can name itself.
    """
    unpinned = msgspec.structs.replace(task.manifest, hub=None)
    with tempfile.TemporaryDirectory() as scratch:
        write_manifest(Path(scratch), task.recipe, unpinned)
        written = {path.name: path.read_bytes() for path in sorted(Path(scratch).iterdir())}
    return written | {BENCHMARK: benchmark(task.recipe).encode()}


def _file(content: Path | bytes) -> _File:
    if isinstance(content, bytes):
        size = len(content)
        chunks: Iterator[bytes] = iter([content])
    else:
        size = content.stat().st_size
        chunks = _read(content)
    blob, large = sha1(b"blob %d\0" % size, usedforsecurity=False), sha256()
    for chunk in chunks:
        blob.update(chunk)
        large.update(chunk)
    return _File(content, size, (blob.hexdigest(), large.hexdigest()))


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


class _Changes(NamedTuple):
    """What makes a commit hold exactly our files, and no tables but ours."""

    added: list[str]
    deleted: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.deleted)

    @property
    def of_tables(self) -> bool:
        """Whether the tables differ, and not only what is said of them."""
        return any(_is_table(path) for path in (*self.added, *self.deleted))


def _is_table(path: str) -> bool:
    """Whether `download` would fetch a file of this path."""
    return path.startswith("data/") and path.endswith(".parquet")


def _changes(files: dict[str, _File], held: dict[str, str]) -> _Changes:
    """What turns a commit that holds `held` into one of `files`; other files stay."""
    return _Changes(
        [path for path, file in files.items() if held.get(path) not in file.names],
        [path for path in held if _is_table(path) and path not in files],
    )


def _put(
    task: Task, files: dict[str, _File], tag: str, remote: _Repository, watcher: Watcher
) -> tuple[str, bool]:
    """The commit at which the repository holds the task's tables, and whether one was made."""
    remote.create()
    heads, tags = remote.refs()
    head = heads.get(_MAIN)
    held = remote.held(head) if head else {}
    changes = _changes(files, held)
    if tag in tags:
        _check_same(task, files, tag, tags[tag], remote)
        watcher.say(f"{remote.name} has {tag} of {task.id} at {tags[tag][:8]} already")
        if changes and not changes.of_tables:  # else the repository has gone on to a later version
            remote.commit(f"{task.id}: recipe and card", files, changes, head)
            watcher.say("recipe and card renewed")
            return tags[tag], True
        return tags[tag], False
    if head and changes.of_tables:
        _check_family(task, held, head, remote)
    if changes or head is None:
        head = remote.commit(f"{task.id}: tables, recipe and card", files, changes, head)
        _check_arrived(files, head, remote)
        watcher.say(f"{len(changes.added)} files committed to {remote.name} at {head[:8]}")
    remote.tag(tag, head)
    watcher.say(f"{tag} set to {head[:8]}")
    return head, bool(changes)


def _check_same(
    task: Task, files: dict[str, _File], tag: str, commit: str, remote: _Repository
) -> None:
    """Refuse a tag that marks other tables than the task's."""
    held = remote.held(commit)
    if not _changes(files, held).of_tables:
        return
    # Digests are of the rows: another version of Parquet may have written the same ones.
    if {*filter(_is_table, held)} == {*filter(_is_table, files)} and _same_rows(
        task, commit, remote
    ):
        return
    raise TaskDataError(
        f"{remote.name}: {tag} is published already, at {commit[:8]}, and its tables are not "
        f"those of {task.id} here; a published version never changes: give the task a new "
        "version, or publish it to another repository"
    )


def _check_family(task: Task, held: dict[str, str], commit: str, remote: _Repository) -> None:
    """Refuse to replace tables that are not of another version of the same task."""
    if not any(map(_is_table, held)):
        return
    there = remote.task_at(commit) if {"task.toml", "manifest.json"} <= held.keys() else None
    if there is None or _family(there) != _family(task.id):
        raise UsageError(
            f"{remote.name} holds {'other tables' if there is None else shown(there)}, which "
            f"publishing {task.id} would remove; publish it to a repository of its own"
        )


def _family(task_id: str) -> str:
    """What all versions of a task have in common."""
    return task_id.rpartition("-v")[0]


def _same_rows(task: Task, commit: str, remote: _Repository) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        remote.fetch_tables(commit, Path(scratch))
        try:
            Task(task.recipe, task.manifest, Path(scratch)).verify()
        except TaskDataError:
            return False
    return True


def _check_arrived(files: dict[str, _File], commit: str, remote: _Repository) -> None:
    """Refuse to tag a commit that lacks files, as one does where a .gitignore hides them."""
    missing = _changes(files, remote.held(commit)).added
    if missing:
        raise TaskDataError(
            f"{remote.name}: not published; commit {commit[:8]} holds {', '.join(missing)} not or "
            "otherwise than sent; remove a .gitignore there that names such files, and publish "
            "again"
        )


def _pin(folder: Path, task: Task, pin: HubPin) -> None:
    try:
        write_manifest(folder, task.recipe, msgspec.structs.replace(task.manifest, hub=pin))
    except OSError as error:
        raise TaskDataError(
            f"{folder / 'manifest.json'}: cannot be written ({error.strerror}), so {task.id}, "
            f"published as {pin.repository}@{pin.commit[:8]}, is not pinned; mend that and run "
            "the same command again"
        ) from None


class _OfTask(msgspec.Struct):
    """As much of a manifest, of whatever version, as tells the task."""

    task: str


class _Repository(NamedTuple):
    """A dataset repository on the Hub, asked through its client; TaskDataError where it fails."""

    name: str
    api: HfApi

    @classmethod
    def opened(cls, name: str, token: str | None) -> _Repository:
        # Imported here: it costs half a second, and reads HF_ENDPOINT once, when imported.
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        return cls(name, HfApi(token=token))

    def create(self) -> None:
        """Make the repository unless it is there."""
        with _plainly(self.name):
            self.api.create_repo(self.name, repo_type="dataset", exist_ok=True)

    def refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """The commits of all branches and of all tags."""
        with _plainly(self.name):
            refs = self.api.list_repo_refs(self.name, repo_type="dataset")
        heads, tags = (
            {ref.name: ref.target_commit for ref in kind} for kind in (refs.branches, refs.tags)
        )
        return heads, tags

    def held(self, commit: str) -> dict[str, str]:
        """All files at a commit, with the name of their content."""
        from huggingface_hub.hf_api import RepoFile

        with _plainly(self.name):
            tree = self.api.list_repo_tree(
                self.name, repo_type="dataset", revision=commit, recursive=True
            )
            return {
                entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
                for entry in tree
                if isinstance(entry, RepoFile)
            }

    def commit(
        self, message: str, files: dict[str, _File], changes: _Changes, parent: str | None
    ) -> str:
        """Make one commit of these changes; refused where `parent` is the head no more."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with _plainly(self.name):
            added = [CommitOperationAdd(path, files[path].content) for path in changes.added]
            deleted = [CommitOperationDelete(path) for path in changes.deleted]
            made = self.api.create_commit(
                self.name,
                [*added, *deleted],
                commit_message=message,
                repo_type="dataset",
                parent_commit=parent,
            )
        return made.oid

    def tag(self, name: str, commit: str) -> None:
        """Name a commit; refused where the tag is there."""
        with _plainly(self.name):
            self.api.create_tag(self.name, tag=name, revision=commit, repo_type="dataset")

    def task_at(self, commit: str) -> str | None:
        """The task that the manifest at a commit is of; None where it is none."""
        with tempfile.TemporaryDirectory() as scratch, _plainly(self.name):
            path = self.api.hf_hub_download(
                self.name,
                "manifest.json",
                repo_type="dataset",
                revision=commit,
                local_dir=scratch,
            )
            text = read_bounded(Path(path), LARGEST_MANIFEST)
        try:
            return msgspec.json.decode(text, type=_OfTask).task
        except (msgspec.DecodeError, RecursionError):
            return None

    def fetch_tables(self, commit: str, folder: Path) -> None:
        """Bring the tables at a commit into ``folder/data``."""
        with _plainly(self.name):
            self.api.snapshot_download(
                self.name,
                repo_type="dataset",
                revision=commit,
                local_dir=folder,
                allow_patterns=["data/*.parquet"],
            )


@contextmanager
def _plainly(repository: str) -> Iterator[None]:
    """Say in one sentence what the Hub's client raises, and what mends it.

    ValueError is what the client makes of metadata that the Hub refuses, and of an answer
    that no Hub gives; RuntimeError, of a large file that does not get through.
    """
    from httpx2 import HTTPError

    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else None
        said = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
        reason = shown(" ".join(said[:3]) or type(cause or error).__name__, 300)
        raise TaskDataError(
            f"{repository}: not published; {_meaning(cause or error)} ({reason}). Nothing is lost: "
            "the same command goes on from there"
        ) from None


_MEANINGS = {
    401: "the Hub asks who you are: log in with `hf auth login`, or set HF_TOKEN",
    403: "this login may not write there: use a token that may write to the repository",
    404: "the Hub finds no such repository or commit: check its name, and that the token sees it",
    409: "someone else has changed it meanwhile: publish again",
    412: "someone else has changed it meanwhile: publish again",
    429: "the Hub asks for patience: publish again in some minutes",
}


def _meaning(error: BaseException) -> str:
    """What a failure means for the person who publishes."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status >= 500:
            return "the Hub itself fails at the moment: publish again later"
        return _MEANINGS.get(status, "the Hub refuses it")
    if isinstance(error, HTTPError | OSError):
        return "the connection to the Hub fails: publish again once it holds"
    return "the Hub refuses it, or what answers is no Hub"
