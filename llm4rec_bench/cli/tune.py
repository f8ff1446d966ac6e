"""The command that chooses a method's parameters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm4rec_bench.cli.commands import ANY_PATH, cli, shown_path

if TYPE_CHECKING:
    from rich.table import Table

    from llm4rec_bench.submission import Card
    from llm4rec_bench.tuning import Place, Study


@cli.command()
@click.argument("cards", nargs=-1, required=True, type=ANY_PATH)
@click.option("--task", "tasks", multiple=True, help="Only this task. Repeatable.")
@click.option("--track", "tracks", multiple=True, help="Only this track. Repeatable.")
@click.option(
    "--trials",
    type=click.IntRange(1, 10_000),
    help="So many for each place; where fewer were made, the rest is.  [default: the card's]",
)
@click.option("--overwrite", is_flag=True, help="Start anew, whatever was tried before.")
def tune(
    cards: tuple[Path, ...],
    tasks: tuple[str, ...],
    tracks: tuple[str, ...],
    trials: int | None,
    overwrite: bool,
) -> None:
    """Choose the parameters of CARDS (submission folders) as their [tuning] says.

    Tries them on the validation split, writes every trial to tuning.json beside the card and
    the best parameters into the card. A tuning that was broken off continues with the same
    command; one that is finished is kept, and --trials adds to it.
    """
    from llm4rec_bench.errors import UsageError
    from llm4rec_bench.store import load_task
    from llm4rec_bench.submission import read_card
    from llm4rec_bench.tuning import places

    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: a card may name your own module
    for path in cards:
        card = read_card(path)
        names = tasks or tuple(card.tasks)
        if not names:
            raise UsageError(f"{path}: the card names no tasks; name one with --task")
        for name in names:  # all that can be said of them before the first trial
            places(card, load_task(name), tracks)
        tuned = [
            (place.name, _tuned(path, card, place, trials, overwrite))
            for name in names
            for place in places(card, load_task(name), tracks)
        ]
        _summary(path, card, tuned, tasks)


def _tuned(path: Path, card: Card, place: Place, trials: int | None, overwrite: bool) -> Study:
    from llm4rec_bench.cli.bars import TuneBar
    from llm4rec_bench.store import default_home, workspace
    from llm4rec_bench.tuning import tune as search

    with TuneBar(f"{card.name} {place.name}") as bar:
        return search(
            path,
            place,
            trials=trials,
            overwrite=overwrite,
            workspace=workspace(default_home()),
            watcher=bar,
        )


def _summary(
    path: Path, card: Card, tuned: list[tuple[str, Study]], tasks: tuple[str, ...]
) -> None:
    """What was chosen, what to look at, and what to do next."""
    from rich.console import Console

    from llm4rec_bench.submission import CARD
    from llm4rec_bench.tuning import TUNING, at_edge, trials_wanted

    studies = [study for _, study in tuned]
    Console().print(_table(tuned))
    stated = trials_wanted(card.tuning) if card.tuning else 0
    if any(len(study.trials) < stated for study in studies):
        click.echo(
            f"fewer trials than the card's {stated:,}: the same without --trials adds the rest"
        )
    if any(study.best_trial and at_edge(study.best_trial.params, study.space) for study in studies):
        click.echo("* at the edge of the space: widen it")
    folder, file = (path, path / CARD) if path.is_dir() else (path.parent, path)
    click.echo(f"trials: {shown_path(folder / TUNING)}; params: {shown_path(file)}")
    options = "".join(f" --task {task}" for task in tasks)
    click.echo(f"next: llm4rec-bench run {shown_path(path)}{options}")


def _table(tuned: list[tuple[str, Study]]) -> Table:
    """A row for each place: its best trial and what that took to find."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("place", no_wrap=True)
    for column in ("trials", "seconds", tuned[0][1].metric):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("best params", overflow="fold")
    for place, study in tuned:
        table.add_row(place, *_counts(study), *map(escape, _best(study)))
    return table


def _counts(study: Study) -> tuple[str, ...]:
    failed = sum(trial.state == "failed" for trial in study.trials)
    told = f"{len(study.trials):,}" + f" ({failed:,} failed)" * (failed > 0)
    return told, f"{sum(trial.seconds for trial in study.trials):,.0f}"


def _best(study: Study) -> tuple[str, str]:
    """The value and the parameters of the best trial, those at an edge marked."""
    from llm4rec_bench.errors import printable
    from llm4rec_bench.tuning import at_edge

    best = study.best_trial
    if best is None or best.value is None:
        return "", ""
    edge = at_edge(best.params, study.space)
    params = (f"{name} = {printable(str(by))}{'*' * (name in edge)}"
              for name, by in best.params.items())  # fmt: skip
    return f"{best.value:.4f}", ", ".join(params)
