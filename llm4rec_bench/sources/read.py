"""Reading a raw copy as a recipe says."""

from __future__ import annotations

from pathlib import Path

from llm4rec_bench.errors import TaskDataError, UsageError
from llm4rec_bench.sources.layouts import LAYOUTS
from llm4rec_bench.sources.raw import RawCopy, RawData, checked
from llm4rec_bench.sources.table import read_table
from llm4rec_bench.sources.texts import missing_texts, with_descriptions
from llm4rec_bench.sources.toy import generate_toy
from llm4rec_bench.task import Recipe


def raw_data(recipe: Recipe, *paths: Path) -> RawData:
    """What a recipe's reader makes of raw copies; a generated source needs none.

    Descriptions are None where the copies lack files that these are made of. Raises
    TaskDataError saying which files were looked for, or which line is wrong.
    """
    if recipe.source.reader == "toy":
        return generate_toy(recipe.source.seed)
    if not paths:
        raise UsageError(f"task {recipe.id} is frozen from raw data; name them with --raw PATH")
    copy = RawCopy(*paths)
    raw = _without_texts(recipe, copy)
    if recipe.descriptions is None or missing_texts(recipe.descriptions, copy):
        return raw
    return with_descriptions(raw, recipe.descriptions, copy)


def _without_texts(recipe: Recipe, copy: RawCopy) -> RawData:
    if recipe.source.reader == "table":
        return checked(read_table(recipe, copy), copy)
    layouts = LAYOUTS[recipe.source.reader]
    for names, read in layouts.items():
        if all(copy.find(name) for name in names):
            return checked(read(copy), copy)
    wanted = " or ".join(" and ".join(names) for names in layouts)
    raise TaskDataError(f"{copy.path}: holds no data this task can be made of; expected {wanted}")
