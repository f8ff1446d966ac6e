"""The pure part of freezing: a log and a recipe in, the tables of a frozen task out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import TaskDataError
from llm4rec_bench.freeze.facts import examples_of, facts_of
from llm4rec_bench.freeze.pools import Asked, pools_of
from llm4rec_bench.interactions import Codes, Log, Rows, at_least, first_events, in_order, ranges
from llm4rec_bench.pools import hash_keys
from llm4rec_bench.sources import RawData
from llm4rec_bench.split import SPLITS, TEST, VALIDATION, Mask, Outcome, hold_out
from llm4rec_bench.task import FORMAT, Items, Manifest, Recipe, Task, tables
from llm4rec_bench.task.manifest import TableEntry
from llm4rec_bench.texts import last_year, until


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """The items of a task in hash order, and how to get there from a log's item codes."""

    table: pa.Table
    row_of_code: Codes
    """Row of each item code of the log; -1 for an item that is not in the task."""
    text: Codes
    """A number for each row's displayed text; equal where the texts are."""

    def ids(self, rows: npt.NDArray[np.integer]) -> pa.Array:
        return self.table["item_id"].combine_chunks().take(pa.array(rows.reshape(-1)))


def freeze(recipe: Recipe, raw: RawData) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """The tables of the task that `recipe` makes of `raw`, by name, and what was counted.

    Independent of the order of the rows where events have times, and for each track linear in
    the rows and the requests. Raises TaskDataError where the data cannot carry the recipe (no
    requests left, pools too large).
    """
    log, counts = _filtered(recipe, raw)
    outcome = hold_out(log, recipe.split, recipe.filters.k_core)
    catalogue = _catalogue(recipe, raw, log, outcome)
    asked = [_asked(log, outcome, catalogue, split) for split in SPLITS]
    frozen = {
        tables.INTERACTIONS: _interactions(log, outcome),
        tables.ITEMS: catalogue.table,
        tables.REQUESTS: pa.concat_tables(
            [_requests(log, part, outcome.held[part.split].target, catalogue) for part in asked]
        ),
        tables.TARGETS: pa.concat_tables(
            [_targets(part, outcome.held[part.split].tied, catalogue) for part in asked]
        ),
    }
    if raw.descriptions is not None:
        asked_at = log.timestamp[outcome.held[TEST].target] if log.timed else None
        # Texts that came with the items are as their owner wants them.
        year = None if recipe.descriptions is None or asked_at is None else last_year(asked_at)
        frozen[tables.DESCRIPTIONS] = _descriptions(raw.descriptions, catalogue, year, counts)
    frozen |= _all_candidates(recipe, asked, catalogue)
    return frozen, counts | outcome.counts | sizes_of(frozen)


def _filtered(recipe: Recipe, raw: RawData) -> tuple[Log, dict[str, int]]:
    if not raw.log.num_rows:
        raise TaskDataError(f"{raw.log_name} holds no event")
    log = in_order(raw.log, recipe.salt, raw.in_row_order)
    counts = {"raw_interactions": len(log)}
    if recipe.filters.min_rating is not None:
        if np.isnan(log.rating).all():
            raise TaskDataError(f"filters.min_rating: {raw.log_name} holds no ratings")
        log = at_least(log, recipe.filters.min_rating)
        counts["below_min_rating"] = counts["raw_interactions"] - len(log)
    first = first_events(log)
    counts["repeated_interactions"] = len(log) - len(first)
    if not len(first):
        raise TaskDataError("the filters leave no interaction; loosen them in task.toml")
    return first, counts


def _catalogue(recipe: Recipe, raw: RawData, log: Log, outcome: Outcome) -> _Catalogue:
    occurs = outcome.train | outcome.validation
    codes = np.unique(np.r_[log.item[occurs], log.item[outcome.held[TEST].target]])
    ids = log.item_ids.take(pa.array(codes))
    order = np.argsort(hash_keys(recipe.salt, "item order", ids.to_pylist()), kind="stable")
    found = pc.index_in(ids.take(pa.array(order)), value_set=raw.items["item_id"].combine_chunks())
    table = _shaped(raw.items.take(found), tables.ITEMS)
    row_of_code = np.full(len(log.item_ids), -1, np.int32)
    row_of_code[codes[order]] = np.arange(len(codes), dtype=np.int32)
    return _Catalogue(table, row_of_code, Items(table).text_codes)


def _shaped(table: pa.Table, name: str) -> pa.Table:
    schema = tables.schema(name)
    return table.select(schema.names).cast(schema).combine_chunks()


def _interactions(log: Log, outcome: Outcome) -> pa.Table:
    rows = np.flatnonzero(outcome.train | outcome.validation)
    rows = rows[np.argsort(log.timestamp[rows], kind="stable")]
    rating = log.rating[rows]
    part = pa.array(np.where(outcome.validation[rows], "validation", "train"))
    return _table(
        tables.INTERACTIONS,
        user_id=log.user_ids.take(pa.array(log.user[rows])),
        item_id=log.item_ids.take(pa.array(log.item[rows])),
        timestamp=_times(log, rows),
        rating=pa.array(rating, mask=np.isnan(rating)),
        part=part,
    )


def _times(log: Log, rows: Rows) -> pa.Array:
    return pa.array(log.timestamp[rows]) if log.timed else pa.nulls(len(rows), pa.int64())


def _table(name: str, **columns: pa.Array) -> pa.Table:
    schema = tables.schema(name)
    return pa.table([columns[field].cast(schema.field(field).type) for field in schema.names],
                    schema=schema)  # fmt: skip


def _asked(log: Log, outcome: Outcome, catalogue: _Catalogue, split: str) -> Asked:
    held = outcome.held[split]
    visible = outcome.train | outcome.validation if split == TEST else outcome.train
    rows = np.flatnonzero(visible)
    start = np.searchsorted(rows, held.history_start)
    stop = np.searchsorted(rows, held.history_stop)
    item = catalogue.row_of_code[log.item]
    request_ids = log.user_ids.take(pa.array(log.user[held.target])).to_pylist()
    return Asked(
        split,
        request_ids,
        item[held.target],
        item[rows[ranges(start, stop - start)]],
        stop - start,
        (log.user[visible], item[visible]),
        np.bincount(item[visible], minlength=catalogue.table.num_rows),
    )


def _requests(log: Log, asked: Asked, target: Rows, catalogue: _Catalogue) -> pa.Table:
    ids = pa.array(asked.request_ids, pa.string())
    return _table(
        tables.REQUESTS,
        split=_constant(asked.split, len(ids)),
        request_id=ids,
        user_id=ids,
        timestamp=_times(log, target),
        history=_lists(catalogue.ids(asked.history), asked.lengths),
    )


def _constant(value: str, length: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), length)


def _all_candidates(
    recipe: Recipe, asked: Sequence[Asked], catalogue: _Catalogue
) -> dict[str, pa.Table]:
    """The candidates of every track that has pools, both splits at a time."""

    def made(name: str, part: Asked) -> pa.Table:
        return _candidates(name, pools_of(recipe, name, part, catalogue.text), part, catalogue)

    names = [name for name, track in recipe.tracks.items() if track.has_pools]
    with ThreadPoolExecutor(len(asked)) as both:  # sorting in NumPy lets others work
        parts = {name: list(both.map(made, [name] * len(asked), asked)) for name in names}
    return {tables.candidates(name): pa.concat_tables(found) for name, found in parts.items()}


def _candidates(name: str, pools: Codes, asked: Asked, catalogue: _Catalogue) -> pa.Table:
    rows = pools.shape[0] * pools.shape[1]
    number = np.arange(rows)
    return _table(
        tables.candidates(name),
        split=_constant(asked.split, rows),
        request_id=pa.array(asked.request_ids).take(pa.array(number // pools.shape[1])),
        permutation=pa.array(number % pools.shape[1]),
        items=_fixed_lists(catalogue.ids(pools), rows),
    )


def _descriptions(
    raw: pa.Table, catalogue: _Catalogue, year: int | None, counts: dict[str, int]
) -> pa.Table:
    """The catalogue's descriptions, without sentences that name a year after the one given."""
    row = pc.index_in(raw["item_id"], value_set=catalogue.table["item_id"].combine_chunks())
    inside = raw.filter(row.is_valid()).take(pc.sort_indices(row.drop_null()))
    if year is None:
        return _shaped(inside, tables.DESCRIPTIONS)
    texts = inside["text"].to_pylist()
    past = [until(text, year) for text in texts]
    changed = sum(one != other for one, other in zip(texts, past, strict=True))
    counts["descriptions_without_sentences_of_the_future"] = changed
    place = inside.schema.get_field_index("text")
    inside = inside.set_column(place, "text", pa.array(past, pa.string()))
    return _shaped(inside.filter(pc.not_equal(inside["text"], "")), tables.DESCRIPTIONS)


def manifest_of(
    recipe: Recipe, frozen: Mapping[str, pa.Table], counts: Mapping[str, int]
) -> Manifest:
    """The manifest of frozen tables, facts and examples included."""
    manifest = digests_of(recipe, frozen, counts)
    task = Task(recipe, manifest, Path(), frozen)
    return msgspec.structs.replace(manifest, facts=facts_of(task), examples=examples_of(task))


def digests_of(
    recipe: Recipe, frozen: Mapping[str, pa.Table], counts: Mapping[str, int]
) -> Manifest:
    """The part of a manifest by which tables are told from others."""
    entries = {
        name: TableEntry(table.num_rows, table.column_names, tables.content_digest(table))
        for name, table in sorted(frozen.items())
    }
    digests = {name: entry.digest for name, entry in entries.items()}
    tracks = {name: tables.track_digest(recipe.id, name, digests) for name in recipe.tracks}
    return Manifest(FORMAT, recipe.id, entries, tracks, dict(counts))  # type: ignore[arg-type]


def differing_tables(manifest: Manifest, expected: Manifest) -> list[str]:
    """Names of the tables whose digests are not the expected ones."""
    names = sorted(manifest.tables.keys() | expected.tables.keys())
    return [name for name in names if manifest.tables.get(name) != expected.tables.get(name)]


def sizes_of(frozen: Mapping[str, pa.Table]) -> dict[str, int]:
    """What can be counted in the tables."""
    requests = frozen[tables.REQUESTS]
    interactions = frozen[tables.INTERACTIONS]
    targets = frozen[tables.TARGETS].filter(pc.field("split") == TEST)
    return {
        "users": len(pc.unique(interactions["user_id"])),
        "items": frozen[tables.ITEMS].num_rows,
        "interactions": interactions.num_rows,
        "requests_validation": pc.sum(pc.equal(requests["split"], VALIDATION)).as_py(),
        "requests_test": pc.sum(pc.equal(requests["split"], TEST)).as_py(),
        "tied_test_targets": pc.sum(targets["tied"]).as_py() or 0,
        "described_items": frozen[tables.DESCRIPTIONS].num_rows
        if tables.DESCRIPTIONS in frozen
        else 0,
    }


def _targets(asked: Asked, tied: Mask, catalogue: _Catalogue) -> pa.Table:
    rows = len(asked.target)
    return _table(
        tables.TARGETS,
        split=_constant(asked.split, rows),
        request_id=pa.array(asked.request_ids, pa.string()),
        items=_fixed_lists(catalogue.ids(asked.target), rows),
        tied=pa.array(tied),
    )


def _fixed_lists(ids: pa.Array, rows: int) -> pa.Array:
    """`ids` cut into `rows` lists of equal length."""
    return _lists(ids, np.full(rows, len(ids) // rows if rows else 0))


def _lists(ids: pa.Array, lengths: Rows) -> pa.Array:
    """`ids` cut into lists of these lengths."""
    offsets = pa.array(np.r_[0, np.cumsum(lengths)].astype(np.int32))
    return pa.ListArray.from_arrays(offsets, ids)
