"""What a task's page shows: what it holds, how it is split, its tracks and its terms."""

from __future__ import annotations

from typing import NamedTuple

from llm4rec_bench.freeze import counted_while_freezing, in_numbers, pitfalls, pool_of, protocol
from llm4rec_bench.store import recipe_folder, recipes_folder
from llm4rec_bench.task import Manifest, Recipe, read_manifest, read_recipe


class OfTrack(NamedTuple):
    """A track of a task."""

    name: str
    ranks: str
    metrics: str
    digest: str


class Shown(NamedTuple):
    """A task as its page shows it."""

    recipe: Recipe
    manifest: Manifest
    superseded: bool
    numbers: list[tuple[str, str]]
    counted: list[tuple[str, str]]
    protocol: list[str]
    tracks: list[OfTrack]
    pitfalls: list[str]


def frozen_tasks() -> list[str]:
    """Ids of the tasks of this package that are frozen."""
    return sorted(path.parent.name for path in recipes_folder().glob("*/manifest.json"))


def shown(task_id: str) -> Shown:
    """A task as its page shows it."""
    folder = recipe_folder(task_id)
    recipe, manifest = read_recipe(folder), read_manifest(folder)
    return Shown(
        recipe=recipe,
        manifest=manifest,
        superseded=recipe.lifecycle == "superseded",
        numbers=in_numbers(manifest) if manifest.facts else [],
        counted=counted_while_freezing(manifest),
        protocol=protocol(recipe),
        tracks=[
            OfTrack(name, pool_of(track), ", ".join(track.metrics), manifest.tracks[name])
            for name, track in recipe.tracks.items()
        ],
        pitfalls=pitfalls(recipe),
    )
