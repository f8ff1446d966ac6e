"""Reading a frozen task, and the view of it that a method gets.

Every table is checked against the manifest when it is first read. Targets are reached
only through `Task.targets`, which the scorer calls; a method is handed a `TaskView`,
which holds no reference to the task, its folder or its targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import TaskDataError, UsageError, nearest_hint
from llm4rec_bench.interactions import Codes, Log
from llm4rec_bench.pools import PERMUTATIONS
from llm4rec_bench.split import SPLITS, TEST
from llm4rec_bench.task import tables
from llm4rec_bench.task.recipe import RETRIEVAL, Manifest, Recipe, Track, read_manifest, read_recipe
from llm4rec_bench.task.records import Items, Requests

DEPTH = 100
"""Longest ranking a run file may hold."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """What a method may see while it is fitted."""

    task: str
    track: str
    split: str
    seed: int
    depth: int
    """Most items a ranking may hold."""
    items: Items
    log: Log
    """The interactions visible for this split, by user and time; `log.item` holds rows of
    `items`, and `log.item_ids` are its ids."""
    descriptions: dict[str, str]
    """Text of each item that has one."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The relevant items of each request, in the order of the requests."""

    items: Codes
    """Item rows, shape (requests, widest), -1 in unused cells."""
    tied: npt.NDArray[np.bool_]
    """Whether the target shares its timestamp with another event of the user."""


@dataclass(frozen=True, slots=True)
class Histories:
    """The histories of all requests end to end."""

    items: Codes
    """Item rows, oldest first within a request."""
    offsets: npt.NDArray[np.int64]
    """History i is `items[offsets[i]:offsets[i + 1]]`."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """How many items each history holds."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """Number of the request that each cell of `items` belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)


class Task:
    """One frozen task: a dataset, a split, its tracks.

    `folder` holds the tables under ``data/``; `recipe` and `manifest` say what they are.
    """

    def __init__(self, recipe: Recipe, manifest: Manifest, folder: Path) -> None:
        self.recipe = recipe
        self.manifest = manifest
        self.folder = folder

    @property
    def id(self) -> str:
        """The task's id, ``ml-100k-v1``."""
        return self.recipe.id

    def __repr__(self) -> str:
        return f"Task({self.id!r}, tracks={list(self.recipe.tracks)})"

    def track(self, name: str) -> Track:
        """A track's recipe; raises UsageError naming the tracks there are."""
        for track, recipe in self.recipe.tracks.items():
            if track == name:
                return recipe
        raise UsageError(
            f"task {self.id} has no track {name!r}; expected one of "
            f"{', '.join(self.recipe.tracks)}{nearest_hint(name, self.recipe.tracks)}"
        )

    def digest(self, track: str) -> str:
        """The digest that run files on a track carry."""
        self.track(track)
        return next(digest for name, digest in self.manifest.tracks.items() if name == track)

    @cached_property
    def items(self) -> Items:
        """The catalogue."""
        return Items(self._table(tables.ITEMS))

    @cached_property
    def descriptions(self) -> pa.Table:
        """Texts about items, each with its source and licence; empty where there are none."""
        if tables.DESCRIPTIONS not in self.manifest.tables:
            return tables.SCHEMAS[tables.DESCRIPTIONS].empty_table()
        return self._table(tables.DESCRIPTIONS)

    def requests(self, split: str = TEST, track: str = RETRIEVAL, run: int = 0) -> Requests:
        """The requests of a split with the candidates that run number `run` of a track sees."""
        asked = self._of_split(tables.REQUESTS, split)
        if self.track(track).negatives is None:
            return Requests(asked, None)
        pools = self._of_split(tables.candidates(track), split)
        return Requests(asked, pools.filter(pc.equal(pools["permutation"], run % PERMUTATIONS)))

    def pools(self, split: str, track: str) -> Codes:
        """Item rows of the candidates: shape (requests, permutations, size)."""
        pools = self._of_split(tables.candidates(track), split)["items"].combine_chunks()
        codes = self.items.encode(pools.flatten())
        return codes.reshape(len(pools) // PERMUTATIONS, PERMUTATIONS, -1)

    def histories(self, split: str) -> Histories:
        """The histories of a split's requests as item rows."""
        history = self._of_split(tables.REQUESTS, split)["history"].combine_chunks()
        lengths = pc.list_value_length(history).to_numpy()
        return Histories(self.items.encode(history.flatten()), np.r_[0, np.cumsum(lengths)])

    def targets(self, split: str) -> Targets:
        """The relevant items of a split's requests. For the scorer alone."""
        table = self._of_split(tables.TARGETS, split)
        relevant = table["items"].combine_chunks()
        lengths = pc.list_value_length(relevant).to_numpy()
        padded = np.full((len(lengths), lengths.max(initial=1)), -1, np.int32)
        padded[np.arange(padded.shape[1])[None, :] < lengths[:, None]] = self.items.encode(
            relevant.flatten()
        )
        return Targets(padded, table["tied"].to_numpy())

    def log(self, split: str) -> Log:
        """The interactions that a method may see when it ranks `split`."""
        if split not in self._logs:
            self._logs[split] = self._read_log(split)
        return self._logs[split]

    def _read_log(self, split: str) -> Log:
        table = self._table(tables.INTERACTIONS)
        if split != TEST:
            table = table.filter(pc.equal(table["part"], "train"))
        user_ids = pc.unique(table["user_id"])
        user_ids = user_ids.take(pc.sort_indices(user_ids))
        user = pc.index_in(table["user_id"], value_set=user_ids).to_numpy().astype(np.int32)
        by_user = np.argsort(user, kind="stable")  # the table is in time order already
        rating = pc.fill_null(table["rating"], float("nan")).to_numpy()
        timestamp = pc.fill_null(table["timestamp"], 0).to_numpy()
        return Log(
            user_ids,
            self.items.id_array,
            user[by_user],
            self.items.encode(table["item_id"])[by_user],
            timestamp[by_user],
            rating[by_user],
        )

    def view(self, track: str, split: str = TEST, seed: int = 0) -> TaskView:
        """What a method gets to see of this task: everything but the targets."""
        self.track(track)
        texts = self.descriptions
        described = dict(zip(texts["item_id"].to_pylist(), texts["text"].to_pylist(), strict=True))
        return TaskView(self.id, track, split, seed, DEPTH, self.items, self.log(split), described)

    def verify(self, progress: Callable[[str], None] = lambda table: None) -> None:
        """Read every table against its digest; raises TaskDataError at the first that differs."""
        for name in self.manifest.tables:
            self._table(name)
            progress(name)

    def _table(self, name: str) -> pa.Table:
        if name not in self._tables:
            digest = self.manifest.tables[name].digest
            self._tables[name] = tables.read_table(self.folder, name, digest)
        return self._tables[name]

    def _of_split(self, table: str, split: str) -> pa.Table:
        if split not in SPLITS:
            raise UsageError(f"no split is called {split!r}; expected one of {', '.join(SPLITS)}")
        whole = self._table(table)
        return whole.filter(pc.equal(whole["split"], split))

    @cached_property
    def _logs(self) -> dict[str, Log]:
        return {}

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        return {}


def open_task(recipe_folder: Path, data_folder: Path | None = None) -> Task:
    """The task whose recipe and manifest lie in `recipe_folder`.

    Its tables are taken from `data_folder`, or from the same folder. Raises TaskDataError
    where either file is missing or damaged, or the two are of different tasks.
    """
    recipe = read_recipe(recipe_folder)
    manifest = read_manifest(recipe_folder)
    if manifest.task != recipe.id:
        raise TaskDataError(
            f"{recipe_folder / 'manifest.json'}: is of task {manifest.task}, "
            f"but task.toml is of {recipe.id}; freeze the task again"
        )
    digests = {name: entry.digest for name, entry in manifest.tables.items()}
    expected = {track: tables.track_digest(recipe.id, track, digests) for track in recipe.tracks}
    if manifest.tracks != expected:
        raise TaskDataError(
            f"{recipe_folder / 'manifest.json'}: the digests of its tracks are not those of its "
            "tables; restore the file or freeze the task again"
        )
    return Task(recipe, manifest, data_folder or recipe_folder)
