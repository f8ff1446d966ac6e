"""Putting a frozen task on disk, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import pyarrow as pa

from llm4rec_bench.errors import TaskDataError, UsageError
from llm4rec_bench.files import recover_folder, replace_text, swap_folder
from llm4rec_bench.freeze.card import dataset_card
from llm4rec_bench.task import Manifest, Recipe, tables
from llm4rec_bench.task.recipe import RECIPE

_MANIFEST, _CARD = "manifest.json", "README.md"

_GENERATED = "Generated from task.toml and manifest.json"
"""What a card says of itself."""

_SCRATCH = ".freezing-"
"""How the folder begins in which a task is written before it takes its place."""

_READY = ".frozen"
"""The folder of a task that is written in full and is on the way to its place."""


def write_tables(folder: Path, frozen: Mapping[str, pa.Table]) -> None:
    """Replace ``folder/data`` by these tables.

    They are written beside it first and moved there as a whole, so that no reader sees some
    of the old and some of the new (see `files.swap_folder`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
        _write_all(Path(scratch), frozen)
        swap_folder(Path(scratch) / "data", folder / "data")


def _write_all(scratch: Path, frozen: Mapping[str, pa.Table]) -> None:
    for name, table in frozen.items():
        tables.write_table(tables.parquet_path(scratch, name), table)
    # Whoever takes a folder in use for litter must not make us swap half a task in.
    for name in frozen:
        if not tables.parquet_path(scratch, name).is_file():
            raise TaskDataError(
                f"{scratch}: {name} was removed while the task was written; run the command again"
            )


def write_manifest(folder: Path, recipe: Recipe, manifest: Manifest) -> None:
    """Write the dataset card and `manifest.json`, of which it is made."""
    replace_text(folder / _CARD, dataset_card(recipe, manifest))
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n"
    replace_text(folder / _MANIFEST, text)


def write_recipe(folder: Path, recipe: Path) -> None:
    """Copy a recipe, the file or its folder, into `folder`."""
    file = recipe / RECIPE if recipe.is_dir() else recipe
    if file.resolve() != (folder / RECIPE).resolve():
        replace_text(folder / RECIPE, file.read_text("utf-8"))


def write_task(
    place: Path, recipe: Path, rule: Recipe, manifest: Manifest, frozen: Mapping[str, pa.Table]
) -> None:
    """Put a whole task, tables, recipe, card and manifest, into `place`.

    Killed on the way, it leaves the old task, or the new one for `finish_task` to move.
    Nobody else may write there meanwhile.
    """
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=_SCRATCH) as scratch:
        written = Path(scratch) / rule.id
        _write_all(written, frozen)
        write_recipe(written, recipe)
        write_manifest(written, rule, manifest)
        move_task(written, place)


def move_task(written: Path, place: Path) -> None:
    """Move a task that lies whole in the folder `written` to `place`.

    Both are on one file system, and `finish_task` was called before.
    """
    place.mkdir(parents=True, exist_ok=True)
    written.replace(place / _READY)  # from here on there is a way forward only
    _put_in_place(place)


def finish_task(place: Path) -> bool:
    """Finish what a killed process began in `place`; returns whether tables came back by it.

    Nobody else may write there meanwhile.
    """
    for left in place.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    broken_off = recover_folder(place / "data")
    return _put_in_place(place) or broken_off


def _put_in_place(place: Path) -> bool:
    ready = place / _READY
    if not ready.is_dir():
        return False
    if (ready / "data").is_dir():
        swap_folder(ready / "data", place / "data")
    for name in (RECIPE, _CARD, _MANIFEST):
        if (ready / name).is_file():
            (ready / name).replace(place / name)
    shutil.rmtree(ready, ignore_errors=True)
    return True


def check_tables_replaceable(place: Path, *, in_store: bool) -> None:
    """Raise UsageError where ``place/data`` holds what freezing has not put there.

    In the store a task of the package has no manifest beside its tables.
    """
    data = place / "data"
    found = [data] if data.is_file() or data.is_symlink() else list(data.glob("*"))
    foreign = sorted(path.name for path in found if path.suffix != ".parquet")
    if foreign:
        why = f"holds {', '.join(foreign[:3])}"
    elif found and not in_store and not (place / _MANIFEST).is_file():
        why = "has no manifest.json beside it"
    else:
        return
    raise UsageError(
        f"{data}: {why}, so it is not the data of a frozen task and is not replaced; "
        "move it away, or name another folder with --out"
    )


def check_cards_replaceable(folders: Iterable[Path]) -> None:
    """Raise UsageError where a folder's README.md is one that freezing has not written."""
    for card in (folder / _CARD for folder in folders):
        if not card.exists():
            continue
        if not card.is_file() or _GENERATED not in card.read_text("utf-8", errors="replace"):
            raise UsageError(
                f"{card}: is not the card of a frozen task, for it lacks the line "
                f'"{_GENERATED}", and is not overwritten; rename it, or name another folder'
            )
