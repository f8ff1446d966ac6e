"""Reading a frozen task, and the view of it that a method gets.

Every table is checked against the manifest when it is first read. Targets are reached
only through `Task.targets`, which the scorer calls; a method is handed a `TaskView`,
which holds no reference to the task, its folder or its targets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import TaskDataError, UsageError, nearest_hint
from llm4rec_bench.ids import Ids
from llm4rec_bench.interactions import Codes, Log
from llm4rec_bench.recording import Recording
from llm4rec_bench.split import SPLITS, TEST
from llm4rec_bench.task import tables
from llm4rec_bench.task.manifest import Manifest, read_manifest
from llm4rec_bench.task.recipe import Recipe, Track, read_recipe
from llm4rec_bench.task.records import Items, Requests
from llm4rec_bench.texts import CONDITIONS, Condition, item_texts

if TYPE_CHECKING:
    import datasets

DEPTH = 100
"""Longest ranking a run file may hold."""


_TOGETHER = 1 << 18
"""Interactions that are looked at in one go, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """What a method may see while it is fitted."""

    task: str
    track: str
    split: str
    seed: int
    depth: int
    """Most items a ranking may hold."""
    reads: tuple[Condition, ...]
    """What the method declares to read of items beside their ids."""
    items: Items
    """The catalogue: titles and years are empty unless `title` is read, categories and creators
    unless `metadata` is."""
    log: Log
    """The interactions visible for this split, by user and time; `log.item` holds rows of
    `items`, and `log.item_ids` are its ids."""
    descriptions: dict[str, str]
    """Text of each item that has one; empty unless `wikipedia` is read."""
    workspace: Path | None = None
    """A folder in which a method may keep what is dear to compute again, such as embeddings and
    trained weights, under names of its own; None where nothing is kept."""
    report: Callable[[str], None] = field(default=lambda line: None, compare=False)
    """Told, in a line, how far a long fit has come."""
    domain: str = ""
    """What the items are, in a word: films, books."""
    recording: Recording | None = field(default=None, compare=False)
    """Keeps what a model answers, so that it is asked once; None where nothing is kept."""

    def texts(self) -> list[str]:
        """One text for each item, by row, of all that is read; what an item lacks is left out."""
        return item_texts(self.items.table, self.descriptions, self.reads)

    def only(self, reads: Collection[Condition]) -> TaskView:
        """The same view for a method that reads less: of what this one shows, what is named."""
        read = tuple(condition for condition in self.reads if condition in reads)
        if read == self.reads:
            return self
        described = self.descriptions if "wikipedia" in read else {}
        return replace(self, reads=read, items=self.items.only(read), descriptions=described)


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

    def of(self, first: int, last: int) -> Histories:
        """The histories of the requests from `first` up to `last`."""
        offsets = self.offsets[first : last + 1]
        return Histories(self.items[offsets[0] : offsets[-1]], offsets - offsets[0])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """How many items each history holds."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """Number of the request that each cell of `items` belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)


@dataclass(frozen=True, slots=True)
class Visible:
    """What the interactions that a split may see amount to."""

    events: npt.NDArray[np.int64]
    """How often each item occurs among them, by item row."""
    pause: npt.NDArray[np.int64] | None
    """For each request, the seconds since the last of its user's; None without times."""


class Task:
    """One frozen task: a dataset, a split, its tracks.

    `folder` holds the tables under ``data/``; `recipe` and `manifest` say what they are.
    Tables that were just frozen need not lie there: `at_hand` are they.
    """

    def __init__(
        self,
        recipe: Recipe,
        manifest: Manifest,
        folder: Path,
        at_hand: Mapping[str, pa.Table] | None = None,
    ) -> None:
        self.recipe = recipe
        self.manifest = manifest
        self.folder = folder
        self._at_hand = at_hand or {}
        self._kept: dict[tuple[str, ...], Any] = {}
        self._verified: set[str] = set()

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
        return Items(self.table(tables.ITEMS))

    @cached_property
    def descriptions(self) -> pa.Table:
        """Texts about items, each with its source and licence; empty where there are none.

        Raises TaskDataError where the task has some but they are not on this machine.
        """
        if tables.DESCRIPTIONS not in self.manifest.tables:
            return tables.SCHEMAS[tables.DESCRIPTIONS].empty_table()
        if self.lacks_descriptions:
            raise TaskDataError(
                f"the descriptions of {self.id} are not on this machine; run: llm4rec-bench "
                f"download {self.id}"
            )
        return self.table(tables.DESCRIPTIONS)

    @property
    def lacks_descriptions(self) -> bool:
        """Whether the task has descriptions that are not on this machine."""
        has = tables.DESCRIPTIONS in self.manifest.tables
        has = has and tables.DESCRIPTIONS not in self._at_hand
        return has and not tables.parquet_path(self.folder, tables.DESCRIPTIONS).exists()

    def to_datasets(self) -> dict[str, datasets.Dataset]:
        """Each table as a `datasets.Dataset`, as `datasets.load_dataset` reads it from the Hub.

        Descriptions are left out where they are not on this machine. Raises UsageError where
        that library is not installed.
        """
        try:
            from datasets import Dataset
        except ImportError:
            raise UsageError("datasets is not installed; pip install datasets") from None
        missing = {tables.DESCRIPTIONS} if self.lacks_descriptions else set()
        here = [name for name in self.manifest.tables if name not in missing]
        return {name: Dataset(self.table(name)) for name in here}

    def requests(self, split: str = TEST, track: str | None = None, run: int = 0) -> Requests:
        """The requests of a split with the candidates that run number `run` of a track sees.

        Without a track, and on one that ranks the whole catalogue, they have none.
        """
        asked = self._of_split(tables.REQUESTS, split)
        if track is None or not self.track(track).has_pools:
            return Requests(asked, None)
        pools = self._of_split(tables.candidates(track), split)
        order = run % self.track(track).orders
        return Requests(asked, pools.filter(pc.equal(pools["permutation"], order)))

    def request_ids(self, split: str) -> pa.StringArray:
        """Ids of a split's requests, in order."""
        return self._once(
            ("request_ids", split),
            lambda: self._made_of(tables.REQUESTS, split, request_id=_together)["request_id"],
        )

    def pools(self, split: str, track: str) -> Codes:
        """Item rows of the candidates: shape (requests, orders, size)."""
        return self._once(("pools", split, track), lambda: self._read_pools(track, split))

    def _read_pools(self, track: str, split: str) -> Codes:
        made = self._made_of(tables.candidates(track), split, items=self._cells)
        codes: Codes = made["items"][0]
        requests = len(self.targets(split).items)
        return codes.reshape(requests, self.track(track).orders, -1)

    def _cells(self, lists: pa.ChunkedArray) -> tuple[Codes, npt.NDArray[np.int32]]:
        """Item rows of a column of lists, end to end, and how long the lists are."""
        lengths = pc.list_value_length(lists).to_numpy()
        return self.items.encode(pc.list_flatten(lists)), lengths

    def histories(self, split: str) -> Histories:
        """The histories of a split's requests as item rows."""
        return self._once(("histories", split), lambda: self._read_histories(split))

    def _read_histories(self, split: str) -> Histories:
        codes, lengths = self._made_of(tables.REQUESTS, split, history=self._cells)["history"]
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return Histories(codes, offsets)

    def targets(self, split: str) -> Targets:
        """The relevant items of a split's requests. For the scorer alone."""
        return self._once(("targets", split), lambda: self._read_targets(split))

    def _read_targets(self, split: str) -> Targets:
        made = self._made_of(tables.TARGETS, split, items=self._cells, tied=_array)
        codes, lengths = made["items"]
        padded = np.full((len(lengths), lengths.max(initial=1)), -1, np.int32)
        padded[np.arange(padded.shape[1])[None, :] < lengths[:, None]] = codes
        return Targets(padded, made["tied"])

    def visible(self, split: str) -> Visible:
        """What the interactions that a split may see amount to, without keeping them."""
        return self._once(("visible", split), lambda: self._read_visible(split))

    def _read_visible(self, split: str) -> Visible:
        asked = self._made_of(tables.REQUESTS, split, user_id=_together, timestamp=_seconds)
        users = Ids(pc.unique(asked["user_id"]))
        asking = users.find(asked.pop("user_id"))
        made = self._read(
            tables.INTERACTIONS,
            {
                "user_id": users.find,
                "item_id": self.items.encode,
                "timestamp": _seconds,
                "part": lambda part: _array(pc.equal(part, "train")),
            },
        )
        last, events = np.zeros(len(asking), np.int64), np.zeros(len(self.items), np.int64)
        for place in range(0, len(made["part"]), _TOGETHER):
            user, item, train = (
                made[name][place : place + _TOGETHER] for name in ("user_id", "item_id", "part")
            )
            seen = np.ones_like(train) if split == TEST else train
            events += np.bincount(item[seen], minlength=len(events))
            if made["timestamp"] is not None:
                seen = seen & (user >= 0)
                timestamp = made["timestamp"][place : place + _TOGETHER]
                last[user[seen]] = timestamp[seen]  # in time order: the last one stays
        moment = asked["timestamp"]
        return Visible(events, None if moment is None else moment - last[asking])

    def log(self, split: str) -> Log:
        """The interactions that a method may see when it ranks `split`."""
        return self._once(("log", split), lambda: self._read_log(split))

    def _read_log(self, split: str) -> Log:
        table = self.table(tables.INTERACTIONS)
        if split != TEST:
            table = table.filter(pc.equal(table["part"], "train"))
        user_ids = pc.unique(table["user_id"])
        user_ids = user_ids.take(pc.sort_indices(user_ids))
        user = pc.index_in(table["user_id"], value_set=user_ids).to_numpy().astype(np.int32)
        by_user = np.argsort(user, kind="stable")  # the table is in time order already
        rating = pc.fill_null(table["rating"], float("nan")).to_numpy()
        timed = table["timestamp"].null_count == 0
        timestamp = table["timestamp"].to_numpy() if timed else np.arange(len(user))
        return Log(
            user_ids,
            self.items.id_array,
            user[by_user],
            self.items.encode(table["item_id"])[by_user],
            timestamp[by_user],
            rating[by_user],
            timed,
        )

    def view(
        self,
        track: str,
        split: str = TEST,
        seed: int = 0,
        reads: Collection[Condition] = CONDITIONS,
        workspace: Path | None = None,
        report: Callable[[str], None] = lambda line: None,
        recording: Recording | None = None,
    ) -> TaskView:
        """What a method gets to see of this task: everything but targets, and texts it reads.

        Raises TaskDataError where it reads descriptions that are not on this machine.
        """
        self.track(track)
        described: dict[str, str] = {}
        if "wikipedia" in reads:
            texts = self.descriptions
            described = dict(
                zip(texts["item_id"].to_pylist(), texts["text"].to_pylist(), strict=True)
            )
        read = tuple(condition for condition in CONDITIONS if condition in reads)
        return TaskView(
            self.id, track, split, seed, DEPTH, read, self.items.only(reads), self.log(split),
            described, workspace, report, self.recipe.domain.partition(" (")[0], recording,
        )  # fmt: skip

    def verify(self, progress: Callable[[str], None] = lambda table: None) -> None:
        """Read every table against its digest; raises TaskDataError at the first that differs.

        Descriptions may be missing, see `lacks_descriptions`.
        """
        for name in self.manifest.tables:
            if name != tables.DESCRIPTIONS or not self.lacks_descriptions:
                self._read(name, {})
                progress(name)

    def table(self, name: str) -> pa.Table:
        """A whole table by its name in the manifest; it is verified, and kept."""

        def read() -> pa.Table:
            names = tables.schema(name).names
            return pa.table(self._read(name, dict.fromkeys(names, lambda column: column)))

        return self._once(("table", name), read)

    def _of_split(self, table: str, split: str) -> pa.Table:
        """The rows of one split of a whole table."""
        whole = self.table(table)
        return whole.filter(pc.equal(whole["split"], _known(split)))

    def _made_of(self, table: str, split: str, **columns: Callable[[Any], Any]) -> dict[str, Any]:
        """What the functions make of the rows of one split in their columns."""
        inside: list[pa.ChunkedArray] = []

        def of_split(make: Callable[[Any], Any]) -> Callable[[pa.ChunkedArray], Any]:
            return lambda column: make(column.filter(inside[0]))

        first = {"split": lambda column: inside.append(pc.equal(column, _known(split)))}
        return self._read(table, first | {name: of_split(make) for name, make in columns.items()})

    def _read(self, name: str, columns: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
        """What is made of some columns of a table, which is verified when it is first read."""
        if name in self._at_hand:
            return {column: make(self._at_hand[name][column]) for column, make in columns.items()}
        digest = None if name in self._verified else self.manifest.tables[name].digest
        made = tables.read_columns(self.folder, name, digest, columns)
        self._verified.add(name)
        return made

    def _once(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:  # noqa: ANN401
        """What `make` makes, which is kept for the next time."""
        if key not in self._kept:
            self._kept[key] = make()
            pa.default_memory_pool().release_unused()  # what making it took
        return self._kept[key]


def _known(split: str) -> str:
    if split not in SPLITS:
        raise UsageError(f"no split is called {split!r}; expected one of {', '.join(SPLITS)}")
    return split


def _together(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()


def _array(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    return column.to_numpy()


def _seconds(column: pa.ChunkedArray) -> npt.NDArray[np.int64] | None:
    return None if column.null_count else _array(column)


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
