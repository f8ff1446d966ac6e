"""Putting a frozen task on disk, whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa

from llm4rec_bench.files import replace_text, swap_folder
from llm4rec_bench.freeze.card import dataset_card
from llm4rec_bench.task import Manifest, Recipe, tables
from llm4rec_bench.task.recipe import RECIPE


def write_tables(folder: Path, frozen: Mapping[str, pa.Table]) -> None:
    """Replace ``folder/data`` by these tables.

    They are written beside it first and moved there as a whole, so that no reader sees some
    of the old and some of the new (see `files.swap_folder`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".freezing-") as scratch:
        for name, table in frozen.items():
            tables.write_table(tables.parquet_path(Path(scratch), name), table)
        swap_folder(Path(scratch) / "data", folder / "data")


def write_manifest(folder: Path, recipe: Recipe, manifest: Manifest) -> None:
    """Write `manifest.json` and the dataset card made from it."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n"
    replace_text(folder / "manifest.json", text)
    replace_text(folder / "README.md", dataset_card(recipe, manifest))


def write_recipe(folder: Path, recipe: Path) -> None:
    """Copy a recipe, the file or its folder, into `folder`."""
    file = recipe / RECIPE if recipe.is_dir() else recipe
    if file.resolve() != (folder / RECIPE).resolve():
        replace_text(folder / RECIPE, file.read_text("utf-8"))
