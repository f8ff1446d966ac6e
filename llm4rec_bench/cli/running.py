"""`run`: a card's method, over all its tasks and tracks, or what that would take."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm4rec_bench.cli.commands import ANY_PATH, FOLDER, SPLITS, cli, only_model, shown_path

if TYPE_CHECKING:
    from llm4rec_bench.recording import Recording
    from llm4rec_bench.submission import Card, Price
    from llm4rec_bench.task import Task, TaskView


@cli.command()
@click.argument("cards", nargs=-1, required=True, type=ANY_PATH)
@click.option("--task", "task_names", multiple=True, help="Only this task. Repeatable.")
@click.option("--track", "tracks", multiple=True, help="Only this track. Repeatable.")
@click.option("--split", type=SPLITS, default="test", show_default=True)
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Override a param.")
@click.option("--out", type=FOLDER, help="Folder for the run files.  [default: runs/NAME]")
@click.option("--compress", is_flag=True, help="Write .jsonl.gz files.")
@click.option(
    "--batch",
    type=click.IntRange(1, 1 << 20),
    default=1,
    help="Hand over so many requests at once: faster, but a latency is written only where the "
    "method tells it.",
)
@click.option("--overwrite", is_flag=True, help="Run anew and replace what is there.")
@click.option(
    "--replay", is_flag=True, help="Ask no model: take its answers from the recordings of CARDS."
)
@click.option("--dry-run", is_flag=True, help="Only say how many calls and tokens it would take.")
@click.option("--show", "shows", is_flag=True, help="With --dry-run: print the first call, too.")
@click.option("--prices", "table", type=ANY_PATH, help="Work out the cost by this price table.")
@click.option("--model", help="The row of --prices.  [default: the only one]")
@click.option(
    "--spend",
    type=click.FloatRange(0, min_open=True),
    metavar="AMOUNT",
    help="Stop before the run files of this command have cost more in all, by --prices, with what "
    "is recorded for them.",
)
def run(
    cards: tuple[Path, ...],
    task_names: tuple[str, ...],
    tracks: tuple[str, ...],
    split: str,
    params: tuple[str, ...],
    out: Path | None,
    compress: bool,
    batch: int,
    overwrite: bool,
    replay: bool,
    dry_run: bool,
    shows: bool,
    table: Path | None,
    model: str | None,
    spend: float | None,
) -> None:
    """Run the methods of CARDS (submission folders) and write their run files.

    A run that was broken off continues with the same command; a finished one is kept. What a
    language model answers is recorded beside the run file, and never asked for twice.
    """
    from llm4rec_bench.errors import printable
    from llm4rec_bench.recording import Budget, Recording, recording_of

    if replay and dry_run:
        raise click.BadParameter("--replay asks nothing, so there is nothing to plan")
    if shows and not dry_run:
        raise click.BadParameter("--show needs --dry-run")
    if spend is not None and not math.isfinite(spend):
        raise click.BadParameter(f"--spend takes an amount, not {spend}")
    if spend is not None and table is None:
        raise click.BadParameter("--spend needs --prices")
    price, currency, priced_as = _price(table, model)
    budget = None if price is None or spend is None else Budget(spend, price.of, currency)
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: a card may name your own module
    ending = f"{'' if split == 'test' else f'.{split}'}.jsonl{'.gz' * compress}"
    asked = deque(_asked(cards, params, task_names, tracks, out, ending))
    if budget is not None and not replay:
        for *_, path in asked:  # what all have cost counts before the first call
            Recording(recording_of(path), budget=budget)
    while asked:  # what is done is let go, and what its task has read with it
        folder, card, task, track, path = asked.popleft()
        recording = Recording(_recorded(folder, path, replay), replay, budget)
        if dry_run:
            plan = _plan_one(card, task, track, split, recording, price, f"{currency} {priced_as}")
            if shows:
                click.echo("\n".join(printable(line, 10_000) for line in plan.splitlines()))
        else:
            _run_one(card, task, track, path, split, batch, overwrite, recording)


def _asked(
    cards: tuple[Path, ...], params: tuple[str, ...], task_names: tuple[str, ...],
    tracks: tuple[str, ...], out: Path | None, ending: str,
) -> Iterator[tuple[Path, Card, Task, str, Path]]:  # fmt: skip
    """All that a command is to run: folder and card, task and track, and its run file."""
    from llm4rec_bench.errors import UsageError
    from llm4rec_bench.store import load_task
    from llm4rec_bench.submission import read_card

    for folder in cards:
        card = _with_params(read_card(folder), params)
        names = task_names or tuple(card.tasks)
        if not names:
            raise UsageError(f"{folder}: the card names no tasks; name one with --task")
        for name in names:
            task = load_task(name)
            for track in tracks or card.tracks_of(task.recipe.tracks):
                file = f"{task.id}.{track}{ending}"
                yield folder, card, task, track, (out or Path("runs") / card.name) / file


def _recorded(folder: Path, run: Path, replay: bool) -> Path:
    """Where a run's answers are kept; to be replayed, beside the card if they are there."""
    from llm4rec_bench.recording import recording_of

    if replay:
        beside = folder if folder.is_dir() else folder.parent
        plain = recording_of(beside / run.name.removesuffix(".gz"))
        for path in (plain.with_name(f"{plain.name}.gz"), plain):
            if path.exists():
                return path
    return recording_of(run)


def _price(table: Path | None, model: str | None) -> tuple[Price | None, str, str]:
    """The row of a table of prices that a command names, its currency and whose it is."""
    if table is None:
        if model is not None:
            raise click.BadParameter("--model names a row of --prices")
        return None, "", ""
    from llm4rec_bench.errors import printable
    from llm4rec_bench.submission import read_prices

    prices = read_prices(table)
    name = only_model(prices, model)
    return prices.price(name), prices.currency, f"at the prices of {printable(name)}"


def _plan_one(
    card: Card, task: Task, track: str, split: str, recording: Recording,
    price: Price | None, priced: str,
) -> str:  # fmt: skip
    """Say what a run would take; its first call in words."""
    from llm4rec_bench.run.execute import planned
    from llm4rec_bench.store import default_home, workspace

    def show(seed: int) -> TaskView:
        return task.view(
            track, split, seed, card.reads, workspace(default_home()), recording=recording
        )

    plan = planned(card, task, track, show, split)
    costs = ""
    if price is not None:
        most = price.of(plan.prompt_tokens, plan.completion_tokens)
        costs = f", about {most:,.4f} {priced} with the longest answers"
    click.echo(
        f"{card.name} {task.id} {track}: {plan.calls:,} calls, "
        f"about {plan.prompt_tokens:,} prompt tokens, "
        f"{plan.completion_tokens:,} completion tokens at most{costs}; "
        f"{len(recording):,} answers are recorded"
    )
    return plan.first


def _run_one(
    card: Card, task: Task, track: str, path: Path, split: str, batch: int, overwrite: bool,
    recording: Recording,
) -> None:  # fmt: skip
    from llm4rec_bench.cli.bars import RunBar
    from llm4rec_bench.run.execute import execute
    from llm4rec_bench.store import default_home, workspace

    with RunBar(f"{card.name} {task.id} {track}") as bar, recording:
        made = execute(
            card,
            task,
            track,
            path,
            split=split,
            overwrite=overwrite,
            batch=batch,
            workspace=workspace(default_home()),
            recording=recording,
            watcher=bar,
        )
    kept = "" if made else " (kept: finished, same card; --overwrite runs it again)"
    click.echo(f"{shown_path(path)}{kept}")
    if made and len(recording) and not recording.replay:
        _tell_what_went_wrong(path)


def _tell_what_went_wrong(path: Path) -> None:
    """Say how many rows of a run are not a model's sound answers, before the score does."""
    from llm4rec_bench.run.execute import statuses

    counts = statuses(path)
    if odd := {status: count for status, count in counts.items() if status != "ok"}:
        named = ", ".join(f"{count:,} {status}" for status, count in sorted(odd.items()))
        click.echo(
            f"{shown_path(path)}: of {counts.total():,} rows {named}; --overwrite asks again "
            "where the model failed, and keeps its answers",
            err=True,
        )


def _with_params(card: Card, params: tuple[str, ...]) -> Card:
    import tomllib

    import msgspec

    changed: dict[str, Any] = {}
    for given in params:
        name, equals, value = given.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, found {given!r}")
        try:
            changed[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changed[name] = value
    if not changed:
        return card
    on = {
        task: msgspec.structs.replace(adjusted, params=adjusted.params | changed)
        for task, adjusted in card.on.items()
    }
    return msgspec.structs.replace(card, params=card.params | changed, on=on)
