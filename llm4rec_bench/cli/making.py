"""The commands of those who make tasks: freezing, publishing, fetching what they lack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from llm4rec_bench.cli.commands import ANY_PATH, FOLDER, cli, shown_path

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from llm4rec_bench.sources import RawData
    from llm4rec_bench.task import Manifest, Recipe


@cli.command()
@click.argument("recipe", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--raw",
    type=ANY_PATH,
    multiple=True,
    help="The raw data: a folder, zip or file as published. Repeatable.",
)
@click.option("--out", type=FOLDER, help="Folder for the task.  [default: the store]")
@click.option("--replace", is_flag=True, help="Replace a manifest that differs.")
def freeze(recipe: Path, raw: tuple[Path, ...], out: Path | None, replace: bool) -> None:
    """Freeze the task of RECIPE, a task.toml or its folder: tables, manifest and dataset card.

    A task of your own goes into the store, where every other command finds it by its id.
    """
    from llm4rec_bench import freeze as freezing
    from llm4rec_bench.cli import show
    from llm4rec_bench.sources import raw_data
    from llm4rec_bench.store import default_home, is_packaged, own_folder, recipes_folder
    from llm4rec_bench.task import Task, read_recipe

    rule = read_recipe(recipe)
    folders = [recipe] if recipe.is_dir() else []
    place = out or own_folder(rule.id, default_home())
    _may_lie(rule, place, folders)
    if not is_packaged(rule.id):
        folders.append(place)
    elif not folders or recipe.resolve() != (recipes_folder() / rule.id).resolve():
        raise click.BadParameter(f"{rule.id} is a task of this package; give yours another id")
    tables, counts = freezing.freeze(rule, _complete(rule, raw_data(rule, *raw), raw))
    manifest = freezing.manifest_of(rule, tables, counts)
    freezing.check_leaks(Task(rule, manifest, place, tables))
    _put(_Frozen(recipe, rule, manifest, tables), place, folders, replace)
    click.echo(f"{rule.id}: {shown_path(place / 'data')}")
    stored = is_packaged(rule.id) or place == own_folder(rule.id, default_home())
    show.frozen_summary(manifest, tables, rule.id if stored else str(place))
    show.task_details(rule, manifest)


@cli.command()
@click.argument("task")
@click.option("--repo", "repository", required=True, metavar="ORG/NAME", help="Where to.")
@click.option("--dry-run", is_flag=True, help="Ask nobody and write nothing; list the files.")
def publish(task: str, repository: str, dry_run: bool) -> None:
    """Publish TASK, an id or a folder, as a dataset of the Hugging Face Hub.

    One commit and one tag; the task's manifest then names the commit, by which download
    finds it. What may not be redistributed is refused. Run again, it finishes what was
    broken off, and does nothing where all is done.
    """
    from llm4rec_bench.cli.bars import DownloadBar
    from llm4rec_bench.publish import publish as put
    from llm4rec_bench.store import data_folder, default_home, recipe_folder
    from llm4rec_bench.task.recipe import is_task_id

    own = not is_task_id(task) and Path(task).is_dir()
    home = default_home()
    recipe = Path(task) if own else recipe_folder(task, home)
    with DownloadBar() as bar:
        done = put(
            recipe, recipe if own else data_folder(task, home), repository,
            dry_run=dry_run, watcher=bar,
        )  # fmt: skip
    if dry_run:
        for path, size in done.files:
            click.echo(f"{size:>12,}  {shown_path(Path(path))}")
        total = sum(size for _, size in done.files)
        click.echo(f"{total:>12,}  bytes would go to {done.repository}, tagged {done.tag}")
    else:
        click.echo(f"{done.repository}@{done.commit} ({done.tag}): pinned in {shown_path(recipe)}")


@cli.command()
@click.argument("task")
@click.option("--out", type=ANY_PATH, required=True, help="JSON Lines file, added to.")
@click.option("--contact", required=True, help="Your e-mail address or URL, told to Wikipedia.")
@click.option("--before", type=click.DateTime(), help="Take articles as they were then (UTC).")
@click.option("--site", default="https://en.wikipedia.org/w/", show_default=True)
def pages(task: str, out: Path, contact: str, before: datetime | None, site: str) -> None:
    """Fetch from Wikipedia what TASK's films without a description lack. For maintainers.

    Each row of the file names the revision it is of. A recipe reads the file with
    [descriptions] pages = "FILE", after the texts of a collection.
    """
    from datetime import UTC

    from llm4rec_bench.cli.bars import RunBar
    from llm4rec_bench.sources.wikipedia import Wanted, fetch_pages
    from llm4rec_bench.store import load_task

    frozen = load_task(task)
    described = set(frozen.descriptions["item_id"].to_pylist())
    columns = (frozen.items.table[name].to_pylist() for name in ("item_id", "title", "year"))
    wanted = [Wanted(*row) for row in zip(*columns, strict=True) if row[0] not in described]
    with RunBar(f"{frozen.id} pages") as bar:
        counts = fetch_pages(
            wanted, out, contact=contact, site=site, progress=bar.progress,
            before=before and before.replace(tzinfo=UTC),
        )  # fmt: skip
    click.echo(
        f"{shown_path(out)}: {counts.fetched:,} pages fetched, "
        f"{counts.missing:,} items without one, {counts.kept:,} settled before"
    )


def _may_lie(recipe: Recipe, place: Path, folders: list[Path]) -> None:
    """Refuse to put tables that may not be published where they would be."""
    from llm4rec_bench.errors import UsageError
    from llm4rec_bench.store import default_home, own_folder

    if place == own_folder(recipe.id, default_home()):
        return
    if not recipe.licence.redistribute and place.resolve() in [p.resolve() for p in folders]:
        raise UsageError(
            f"{place}: the licence of {recipe.id} forbids to publish its tables, so they must "
            "not lie beside the recipe; leave out --out, or name another folder"
        )


def _complete(recipe: Recipe, raw: RawData, paths: tuple[Path, ...]) -> RawData:
    """Refuse raw data without the descriptions that the recipe asks for."""
    from llm4rec_bench.errors import TaskDataError
    from llm4rec_bench.sources import RawCopy, missing_texts

    if recipe.descriptions is not None and raw.descriptions is None:
        missing = missing_texts(recipe.descriptions, RawCopy(*paths))
        raise TaskDataError(
            f"the descriptions of {recipe.id} need {', '.join(missing)}; "
            "name a folder that holds them with another --raw"
        )
    return raw


class _Frozen(NamedTuple):
    """A task that was just frozen."""

    recipe: Path
    rule: Recipe
    manifest: Manifest
    tables: dict[str, pa.Table]


def _put(frozen: _Frozen, place: Path, folders: list[Path], replace: bool) -> None:
    """Put tables into `place`, and recipe, card and manifest into the folders.

    Nothing is written unless all may be. Killed on the way, the same command mends it.
    """
    from llm4rec_bench import freeze as freezing
    from llm4rec_bench.cli.bars import DownloadBar
    from llm4rec_bench.download import working_on
    from llm4rec_bench.store import default_home, own_folder

    home = default_home()
    recipe, rule, manifest, tables = frozen
    in_store = place.resolve() == own_folder(rule.id, home).resolve()
    with DownloadBar() as bar, working_on(rule.id, home, bar):
        freezing.finish_task(place)
        freezing.check_tables_replaceable(place, in_store=in_store)
        freezing.check_cards_replaceable(folders)
        manifest = _not_another(manifest, [*folders, place], replace)
        whole = {folder.resolve(): folder for folder in folders}
        if whole.pop(place.resolve(), None):
            freezing.write_task(place, recipe, rule, manifest, tables)
        else:
            freezing.write_tables(place, tables)
        for folder in whole.values():
            freezing.write_recipe(folder, recipe)
            freezing.write_manifest(folder, rule, manifest)


def _not_another(manifest: Manifest, folders: list[Path], replace: bool) -> Manifest:
    """The manifest, where none of another content is there; published tables stay published."""
    import msgspec

    from llm4rec_bench.errors import TaskDataError
    from llm4rec_bench.freeze import differing_tables
    from llm4rec_bench.task import read_manifest

    for path in {folder / "manifest.json" for folder in folders}:
        if not path.exists():
            continue
        there = read_manifest(path.parent)
        differing = differing_tables(manifest, there)
        if not differing:
            manifest = msgspec.structs.replace(manifest, hub=manifest.hub or there.hub)
        elif not replace:
            raise TaskDataError(
                f"{path}: differs in {', '.join(differing)}; a frozen task never changes: "
                "give it a new version, or --replace it before its first release"
            )
    return manifest
