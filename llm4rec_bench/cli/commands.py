"""The commands of those who use tasks, in the order in which a newcomer needs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm4rec_bench import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llm4rec_bench.scoring import Score
    from llm4rec_bench.submission import Prices
    from llm4rec_bench.task import Task

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING = click.Path(file_okay=False, exists=True, path_type=Path)
ANY_PATH = click.Path(path_type=Path)
SPLITS = click.Choice(["test", "validation"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llm4rec-bench")
def cli() -> None:
    """Frozen tasks, one scorer and a leaderboard for LLM-based recommenders."""


@cli.command()
@click.argument("task", required=False)
def tasks(task: str | None) -> None:
    """List the tasks, or show the tracks of TASK with the header lines of their run files."""
    from llm4rec_bench import store
    from llm4rec_bench.cli import show

    home = store.default_home()
    if task is None:
        show.task_list(home)
    else:
        show.task_page(task, home)


@cli.command()
@click.argument("task")
@click.option(
    "--raw",
    type=ANY_PATH,
    multiple=True,
    help="Use this copy: a folder, zip or file as published. Repeatable.",
)
@click.option("--offline", is_flag=True, help="Use only what is on this machine.")
def download(task: str, raw: tuple[Path, ...], offline: bool) -> None:
    """Bring TASK into the store and verify every table.

    Tries the store, the Hugging Face Hub, the publisher and a mirror, in this order. TASK is
    an id, or ORG/NAME[@REVISION] for what somebody else has published on the Hub.
    """
    from llm4rec_bench import store
    from llm4rec_bench.cli.bars import DownloadBar
    from llm4rec_bench.download import adopt
    from llm4rec_bench.download import download as bring

    home = store.default_home()
    with DownloadBar() as bar:
        if "/" in task:
            if raw or offline:
                raise click.BadParameter("--raw and --offline are for tasks named by their id")
            repository, _, revision = task.partition("@")
            brought = adopt(repository, home, revision=revision or None, watcher=bar)
        else:
            brought = bring(task, home, raw=raw, offline=offline, watcher=bar)
    click.echo(f"{brought.id}: {brought.folder / 'data'}")


@cli.command()
@click.argument("files", nargs=-1, required=True, type=ANY_PATH)
def check(files: tuple[Path, ...]) -> None:
    """Say whether run FILES (or folders of them) would be scored, or list what is wrong."""
    _each_scored(files, lambda path, score: click.echo(f"{shown_path(path)}: fine"))


@cli.command()
@click.argument("files", nargs=-1, required=True, type=ANY_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a file and line.")
@click.option("--save", is_flag=True, help="Write scores.json into submission folders.")
@click.option("--prices", "table", type=ANY_PATH, help="Work out the cost by this price table.")
@click.option("--model", help="The table's row to use, where it has several.")
def score(
    files: tuple[Path, ...], as_json: bool, save: bool, table: Path | None, model: str | None
) -> None:
    """Score run FILES, or all runs in folders: values, intervals, floors and ceiling.

    A price table is TOML: version, date, currency, source, and for each model a table
    [models."NAME"] with the prices of a million tokens: prompt, completion and, where
    it differs, cached.
    """
    import msgspec

    from llm4rec_bench.scoring import cost
    from llm4rec_bench.submission import read_prices

    prices = None if table is None else read_prices(table)
    if prices is not None:
        model = only_model(prices, model)
        if save:
            raise click.BadParameter("--save cannot be used with --prices, for prices change")
    elif model is not None:
        raise click.BadParameter("--model names a row of --prices")
    if save:
        from llm4rec_bench.leaderboard import SCORES, card_of, read_submission, save_scores

        for folder in files:
            if not folder.is_dir():
                raise click.BadParameter(f"--save takes submission folders, not {folder}")
            card_of(folder)  # an entry without a sound card is not scored in vain
    saved: dict[Path, list[Score]] = {}

    def told(path: Path, found: Score) -> None:
        saved.setdefault(path.parent, []).append(found)
        dear = None if prices is None or model is None else cost(found, prices, model)
        if as_json:
            costs = {} if prices is None else {"cost": dear}
            encoded = msgspec.json.encode(msgspec.to_builtins(found) | costs)
            click.echo(encoded.decode())
        else:
            from llm4rec_bench.cli import show

            show.score_table(found, dear)

    _each_scored(files, told)
    for folder in files if save else ():
        save_scores(folder, saved.get(folder, []))
        read_submission(folder)
        click.echo(f"{folder / SCORES}: {len(saved[folder])} scores", err=True)


def shown_path(path: Path) -> str:
    """A path as it may be printed."""
    from llm4rec_bench.errors import printable

    return printable(str(path), 4096)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long, or in a folder that is closed: what reads it says so
        return False


def only_model(prices: Prices, model: str | None) -> str:
    """The model whose prices count."""
    from llm4rec_bench.errors import shown

    if model is None and len(prices.models) != 1:
        known = ", ".join(map(shown, prices.models)) or "none"
        raise click.BadParameter(f"name one of the models with --model: {known}")
    return next(iter(prices.models)) if model is None else model


def _each_scored(files: tuple[Path, ...], told: Callable[[Path, Score], None]) -> None:
    """Score every file; what is refused is said, and the next one is taken."""
    from llm4rec_bench.errors import RunRefused

    refused = 0
    load = loading_once()
    for path in _expanded(files):
        try:
            found = _scored(path, load)
        except RunRefused as error:
            refused += 1
            click.echo(str(error), err=True)
            plural = "problem" if error.total == 1 else "problems"
            click.echo(f"{error.name}: refused, {error.total:,} {plural}", err=True)
        else:
            told(path, found)
    if refused:
        raise click.exceptions.Exit(1)


def _expanded(files: tuple[Path, ...]) -> list[Path]:
    from llm4rec_bench.errors import UsageError
    from llm4rec_bench.submission import run_files

    paths: list[Path] = []
    for path in _runs_among(files):
        if not _is_folder(path):
            paths.append(path)
        elif not (found := run_files(path)):
            raise UsageError(f"{path}: holds no run files (*.jsonl, *.jsonl.gz, *.jsonl.zst)")
        else:
            paths += found
    return paths


def _runs_among(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files without recordings, which patterns such as runs/NAME/* take in."""
    from llm4rec_bench.recording import MARK

    return tuple(path for path in files if MARK not in path.name) or files


def _scored(path: Path, load: Callable[[str], Task]) -> Score:
    from llm4rec_bench.run import read_run
    from llm4rec_bench.scoring import score as score_run

    return score_run(read_run(path, load=load))


def loading_once(most: int = 1) -> Callable[[str], Task]:
    """Loads tasks, and keeps the last so many of them for the run files to come."""
    from functools import lru_cache

    from llm4rec_bench.store import load_task

    return lru_cache(maxsize=most)(load_task)


@cli.command()
@click.argument("files", nargs=-1, required=True, type=ANY_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--per-request", type=ANY_PATH, help="Write each request's values as Parquet.")
def compare(files: tuple[Path, ...], as_json: bool, per_request: Path | None) -> None:
    """Compare two or more run FILES: paired differences, intervals, tests, wins and losses."""
    import msgspec

    from llm4rec_bench.cli import show
    from llm4rec_bench.compare import compare_runs, table_by_request
    from llm4rec_bench.errors import UsageError
    from llm4rec_bench.run import read_run
    from llm4rec_bench.task.tables import write_table

    files = _runs_among(files)
    if len(files) < 2:
        raise UsageError("compare takes two run files or more")
    load = loading_once()
    runs = [read_run(path, load=load) for path in files]
    names = _told_apart(files, [run.header.name for run in runs])
    found = compare_runs(runs, names)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        show.comparison(found)
    if per_request is not None:
        write_table(per_request, table_by_request(runs, names))


def _told_apart(files: tuple[Path, ...], names: list[str]) -> list[str]:
    """The runs' names, or their paths where two bear the same name."""
    return names if len(set(names)) == len(names) else [shown_path(path) for path in files]


@cli.command()
@click.option("--task", help="Print the tables of this task, and write nothing.")
@click.option("--track", help="With --task: of this track only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and write nothing.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "csv", "json"]),
    help="Of the file that is written.  [default: markdown]",
)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail when stale.")
@click.option("--submissions", type=EXISTING, default=Path("submissions"), show_default=True)
@click.option("--out", type=ANY_PATH, help="[default: leaderboard.md, .csv or .json]")
def leaderboard(
    task: str | None,
    track: str | None,
    as_json: bool,
    form: str | None,
    only_check: bool,
    submissions: Path,
    out: Path | None,
) -> None:
    """Build leaderboard.md from the scores of all submissions, or print tables of it.

    What a terminal is too narrow for is left out, the least important columns first.
    """
    if task is None and track is not None:
        raise click.BadParameter("--track goes with --task, whose tracks it chooses from")
    if task is not None or as_json:
        writing = {"--check": only_check or None, "--format": form, "--out": out}
        if given := [name for name, value in writing.items() if value is not None]:
            printing = "--json" if task is None else "--task"
            raise click.BadParameter(
                f"{given[0]} is for the file that is written, and {printing} prints; "
                "give one of them"
            )
        _printed_board(submissions, task, track, as_json)
    else:
        _written_board(submissions, form or "markdown", out, only_check)


def _printed_board(submissions: Path, task: str | None, track: str | None, as_json: bool) -> None:
    from llm4rec_bench.cli import board as show
    from llm4rec_bench.leaderboard import board_json, read_changes, read_entries, read_reproduced
    from llm4rec_bench.leaderboard import tables as placed

    entries = read_entries(submissions)
    if task is not None:
        entries = show.chosen(entries, task, track)
    tables = placed(entries, read_reproduced(submissions))
    if as_json:
        click.echo(board_json(tables, read_changes(submissions)), nl=False)
    else:
        show.print_tables(tables)


_ENDINGS = {"markdown": ".md", "csv": ".csv", "json": ".json"}


def _written_board(submissions: Path, form: str, out: Path | None, only_check: bool) -> None:
    from llm4rec_bench.errors import BenchError
    from llm4rec_bench.files import replace_text
    from llm4rec_bench.leaderboard import board, board_csv, board_json, read_changes
    from llm4rec_bench.leaderboard import leaderboard as page

    tables, changes = board(submissions), read_changes(submissions)
    if form == "csv":
        text = board_csv(tables)
    else:
        text = (page if form == "markdown" else board_json)(tables, changes)
    place = out or Path(f"leaderboard{_ENDINGS[form]}")
    if not only_check:
        replace_text(place, text)
        click.echo(shown_path(place))
    elif not place.exists() or place.read_bytes() != text.encode():
        chosen = "" if form == "markdown" else f" --format {form}"
        where = "" if out is None else f" --out {place}"
        raise BenchError(f"{place} is stale; run: llm4rec-bench leaderboard{chosen}{where}")


@cli.command()
@click.argument("what", metavar="[TASK|ENTRY]", required=False)
@click.option("--submissions", type=FOLDER, default=Path("submissions"), show_default=True)
def cite(what: str | None, submissions: Path) -> None:
    """Print BibTeX of the benchmark, and of the papers on the data of TASK or of an ENTRY.

    ENTRY is the name of one below --submissions, or its folder.
    """
    from llm4rec_bench import cite as citing
    from llm4rec_bench.errors import printable
    from llm4rec_bench.store import default_home, known_tasks, recipe_folder
    from llm4rec_bench.submission import read_card
    from llm4rec_bench.task import read_recipe

    home = default_home()
    if what is None:
        text = citing.benchmark(__version__)
    elif what in known_tasks(home):
        text = citing.task(read_recipe(recipe_folder(what, home)), __version__)
    else:
        folder = _entry_folder(what, submissions, known_tasks(home))
        text = citing.submission(read_card(folder), __version__)
    for line in text.splitlines():
        click.echo(printable(line, 10_000))


def _entry_folder(what: str, submissions: Path, tasks: Sequence[str]) -> Path:
    """The folder of an entry; UsageError where neither it nor a task is meant."""
    from llm4rec_bench.errors import UsageError, nearest_hint, shown
    from llm4rec_bench.submission import CARD

    named = [] if "/" in what else [submissions / what]
    for folder in (*named, Path(what)):
        if _is_folder(folder) and (folder / CARD).is_file():
            return folder
    entries = sorted(card.parent.name for card in submissions.glob(f"*/{CARD}"))
    raise UsageError(
        f"{shown(what)} is neither a task nor an entry: no task is called so, and there is no "
        f"{CARD} in such a folder, nor in one below {shown_path(submissions)}"
        f"{nearest_hint(what, [*tasks, *entries])}"
    )
