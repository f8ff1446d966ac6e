"""The command that writes the static site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm4rec_bench.cli.commands import ANY_PATH, EXISTING, cli, shown_path

if TYPE_CHECKING:
    from llm4rec_bench.task import Task


@cli.command()
@click.argument("out", type=ANY_PATH)
@click.option("--submissions", type=EXISTING, default=Path("submissions"), show_default=True)
@click.option(
    "--runs/--no-runs", default=True, help="Show example rankings, read from the run files."
)
def site(out: Path, submissions: Path, runs: bool) -> None:
    """Write the board, its entries and tasks as a static site to the folder OUT.

    The pages need no server and no network: open OUT/index.html. A site that is there already is
    replaced; a folder with anything else in it is refused. Titles in the examples are shown for
    tasks in the store whose licence allows it.
    """
    from llm4rec_bench.site import build_site

    size = build_site(out, submissions, _in_store if runs else None)
    click.echo(f"{shown_path(out / 'index.html')}: {size / 1e6:.1f} MB")


def _in_store(task_id: str) -> Task | None:
    """A task, if it is on this machine."""
    from llm4rec_bench import store

    return store.load_task(task_id) if store.is_downloaded(task_id, store.default_home()) else None
