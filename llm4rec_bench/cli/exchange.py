"""The commands of those who also use other tools: tasks and runs out, predictions in, fusion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm4rec_bench.cli.commands import ANY_PATH, cli, shown_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from llm4rec_bench.exchange import Imported

_SPLITS = click.Choice(["test", "validation"])


@cli.command()
@click.argument("what", metavar="TASK|RUN|ENTRY")
@click.option(
    "--format", "form", type=click.Choice(["recbole", "trec", "eval-results"]), required=True
)
@click.option(
    "--out",
    type=ANY_PATH,
    required=True,
    help="The file; for RecBole its data_path, for eval-results a copy of the model's repository.",
)
@click.option("--split", type=_SPLITS, help="Of TASK.  [default: test]")
@click.option(
    "--max-length",
    type=click.IntRange(1, 10_000),
    help="Longest history of RecBole's sequential models.  [default: 50]",
)
@click.option("--run", "number", type=click.IntRange(0), help="Which run of RUN.  [default: 0]")
def export(
    what: str, form: str, out: Path, split: str | None, max_length: int | None, number: int | None
) -> None:
    """Write TASK for RecBole, or the judgements of TASK or the rankings of RUN for TREC tools.

    What is exported of TASK holds targets, without which other tools evaluate nothing: never
    train on them. For choosing parameters, --split validation leaves those of test out.

    With eval-results, write the scores of ENTRY, a submission's folder, as the Hugging Face Hub
    reads them in the repository of the one model that its card names: .eval_results/TASK.yaml.
    """
    options = {"--split": split, "--max-length": max_length, "--run": number}
    if form == "eval-results":
        _only(options, [], "an entry")
        _export_results(Path(what), out)
    elif _names_a_task(what):
        allowed = ["--split", "--max-length"] if form == "recbole" else ["--split"]
        _only(options, allowed, f"a task for {form}")
        _export_task(what, form, out, split or "test", max_length)
    elif form == "recbole":
        raise click.BadParameter("a run file has the format trec; RecBole takes tasks")
    else:
        _only(options, ["--run"], "a run file")
        _export_run(Path(what), out, number or 0)


def _names_a_task(what: str) -> bool:
    """Whether an id or a folder is meant, and not a run file."""
    from llm4rec_bench.task.recipe import is_task_id

    if is_task_id(what) or Path(what).is_dir():
        return True
    return not Path(what).exists() and not {".", "/"} & set(what)


def _only(options: Mapping[str, object], allowed: Collection[str], where: str) -> None:
    """Refuse options that mean nothing there."""
    for name, value in options.items():
        if value is not None and name not in allowed:
            raise click.BadParameter(f"{name} does not go with {where}")


def _export_task(name: str, form: str, out: Path, split: str, max_length: int | None) -> None:
    from llm4rec_bench import exchange
    from llm4rec_bench.store import load_task

    task = load_task(name)
    if form == "trec":
        exchange.export_qrels(task, split, out)
        click.echo(shown_path(out))
        return
    longest = {} if max_length is None else {"max_length": max_length}
    folder = exchange.export_recbole(task, out, split=split, **longest)
    for path in sorted(folder.glob("*.yaml")):
        click.echo(shown_path(path))


def _export_results(folder: Path, out: Path) -> None:
    from datetime import UTC, datetime

    from llm4rec_bench.errors import UsageError
    from llm4rec_bench.files import replace_text
    from llm4rec_bench.leaderboard import eval_results, read_submission

    if not folder.is_dir():
        raise UsageError(
            f"{folder}: is no folder; --format eval-results takes a submission's, such as "
            "submissions/my-ranker"
        )
    found = eval_results(read_submission(folder), datetime.now(UTC).date())
    for name, text in found.files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        replace_text(out / name, text)
        click.echo(shown_path(out / name))
    if found.unpublished:
        there = ", ".join(found.unpublished)
        click.echo(f"left out, for they are not on the Hugging Face Hub: {there}", err=True)
    click.echo(f"next: open a pull request with them in https://huggingface.co/{found.model}")


def _export_run(path: Path, out: Path, number: int) -> None:
    from llm4rec_bench.exchange import export_run
    from llm4rec_bench.run import read_run

    export_run(path, read_run(path), out, number)
    click.echo(shown_path(out))


@cli.command("import")
@click.argument("file", type=ANY_PATH)
@click.option("--task", "task_id", required=True)
@click.option("--track", required=True)
@click.option("--split", type=_SPLITS, default="test", show_default=True)
@click.option("--name", required=True, help="What tables call the run.")
@click.option("--out", type=ANY_PATH, required=True, help="The run file, .jsonl or .jsonl.gz.")
@click.option(
    "--allow-missing", is_flag=True, help="Take requests without a line for failed (api_error)."
)
def import_(
    file: Path, task_id: str, track: str, split: str, name: str, out: Path, allow_missing: bool
) -> None:
    """Make a run file of the predictions in FILE: a TREC run, or a table written from RecBole.

    The table is parted by tabs and begins with user_id:token, item_id:token, score:float.
    Items are ranked by their scores. What the history holds, or no pool, is left out and
    counted; anything unknown is refused.
    """
    from llm4rec_bench.exchange import import_predictions
    from llm4rec_bench.store import load_task

    _refuse_other_name(out)
    found = import_predictions(
        file, load_task(task_id), track, out, name, split=split, allow_missing=allow_missing
    )
    click.echo(f"{shown_path(out)}: {_told(found)}")


def _told(found: Imported) -> str:
    parts = [f"{found.requests:,} requests"]
    if found.unanswered:
        parts.append(f"{found.unanswered:,} of them unanswered")
    parts += [f"{count:,} {reason} dropped" for reason, count in found.dropped.items() if count]
    return ", ".join(parts).replace("out_of_pool", "out of pool")


@cli.command()
@click.argument("files", nargs=-1, required=True, type=ANY_PATH)
@click.option("--out", type=ANY_PATH, required=True, help="The run file, .jsonl or .jsonl.gz.")
@click.option("--name", required=True, help="What tables call the run.")
@click.option("--k", type=click.FloatRange(0), default=60, show_default=True)
@click.option("--weights", metavar="W1,W2,…", help="One for each file.  [default: 1 each]")
def fuse(files: tuple[Path, ...], out: Path, name: str, k: float, weights: str | None) -> None:
    """Fuse two or more run FILES by reciprocal ranks: an item scores the sum of W / (k + rank).

    They must be of the same task, track and split. A file with one run is used for every
    run of the others.
    """
    from llm4rec_bench import exchange

    _refuse_other_name(out)
    exchange.fuse(files, out, name, k=k, weights=_numbers(weights))
    click.echo(shown_path(out))


def _numbers(weights: str | None) -> list[float] | None:
    if weights is None:
        return None
    try:
        return [float(weight) for weight in weights.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"--weights are numbers parted by commas, not {weights!r}"
        ) from None


def _refuse_other_name(out: Path) -> None:
    if not out.name.endswith((".jsonl", ".jsonl.gz")):
        raise click.BadParameter(
            f"--out: a run file is called *.jsonl or *.jsonl.gz, not {out.name!r}"
        )
