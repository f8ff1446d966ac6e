"""`verify`, and the commands of those who look after the board."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm4rec_bench.cli.commands import ANY_PATH, FOLDER, cli, loading_once, shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm4rec_bench.entry.rescore import Place
    from llm4rec_bench.entry.verify import Finding


def _existing(_: click.Context, option: click.Parameter, value: Path) -> Path:
    if not value.is_dir():
        raise click.BadParameter(
            f"{shown_path(value)}: no such folder; run it in a checkout of the repository",
            param=option,
        )
    return value


SUBMISSIONS = click.option(
    "--submissions",
    type=FOLDER,
    default=Path("submissions"),
    show_default=True,
    callback=_existing,
)


@cli.command()
@click.argument("entries", nargs=-1, type=ANY_PATH)
@click.option("--download", is_flag=True, help="Bring the tasks that the store lacks.")
@SUBMISSIONS
def verify(entries: tuple[Path, ...], download: bool, submissions: Path) -> None:
    """Say whether ENTRIES (folders of submissions; all, if none is named) would be accepted.

    Checks cards, files, digests, fresh scores against the saved ones, trials, recordings and
    likeness to other entries, as a pull request is checked.
    """
    from llm4rec_bench.store import default_home

    folders = [_entry(path, submissions) for path in entries] or _all(submissions)
    for folder in folders if download else ():
        _bring(folder)
    sys.path.insert(0, str(Path.cwd()))  # where the methods lie whose recordings are replayed
    refused = count_refused(folders, submissions, default_home())
    if refused:
        raise click.exceptions.Exit(1)


def count_refused(folders: Sequence[Path], submissions: Path, home: Path) -> int:
    """How many of the entries would be refused; what is found is told."""
    from llm4rec_bench.entry.verify import others_of, verify

    load = loading_once(8)
    others = others_of(submissions, folders)
    refused = 0
    for folder in folders:
        findings = verify(folder, others, load, home)
        for finding in findings:
            click.echo(str(finding), err=True)
        refused += _concluded(shown_path(folder), findings, "fine")
    return refused


def _concluded(name: str, findings: Sequence[Finding], fine: str) -> bool:
    """Say in a line what comes of findings, `fine` where none refuses; whether one does."""
    count = sum(finding.refused for finding in findings)
    plural = "problem" if count == 1 else "problems"
    click.echo(f"{name}: {f'refused, {count:,} {plural}' if count else fine}")
    return count > 0


def _entry(path: Path, submissions: Path) -> Path:
    """The folder of an entry, by its path or by its name alone."""
    from llm4rec_bench.errors import UsageError, nearest_hint, shown

    if path.is_dir():
        return path
    if (named := submissions / path.name).is_dir() and len(path.parts) == 1:
        return named
    known = [folder.name for folder in _all(submissions)]
    raise UsageError(
        f"{shown(str(path))} is no folder, nor an entry of {submissions}"
        f"{nearest_hint(path.name, known)}"
    )


def _all(submissions: Path) -> list[Path]:
    """The folders of all entries. One that is being made has a name that begins with a dot."""
    return sorted(
        path for path in submissions.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


@cli.command(name="pull-request")
@click.argument("repository", type=FOLDER)
@click.option("--base", required=True, help="Commit that it is to be merged into.")
@click.option("--head", required=True, help="Its last commit.")
@click.option("--author", required=True, help="Who opened it, as GitHub knows them.")
@click.option("--association", default="NONE", help="What they are to the repository.")
@click.option("--summary", type=ANY_PATH, help="Append the result to this file, as Markdown.")
@click.option("--download", is_flag=True, help="Bring the tasks that the store lacks.")
@SUBMISSIONS
def pull_request(
    repository: Path, base: str, head: str, author: str, association: str, summary: Path | None,
    download: bool, submissions: Path,
) -> None:  # fmt: skip
    """Judge a pull request that lies in the Git REPOSITORY, as CI does.

    Reads its objects, checks nothing out and runs nothing of it. The scorer, the tasks and the
    other entries are those of the folder it is started in.
    """
    import tempfile

    from llm4rec_bench.entry import pull_request as judged
    from llm4rec_bench.entry.verify import Finding, others_of, verify
    from llm4rec_bench.leaderboard import read_submission
    from llm4rec_bench.store import default_home

    proposal = judged.proposal(repository, base, head, author, association)
    findings = [Finding("pull request", told) for told in proposal.refusals]
    name = proposal.name or "pull request"
    entries = []
    if proposal.name is None and not findings:
        click.echo("no entry: nothing under submissions/ is changed, or a maintainer changes it")
        return
    if proposal.name is not None and not findings:
        sys.path.insert(0, str(Path.cwd()))
        with tempfile.TemporaryDirectory() as scratch:
            folder = judged.copy_files(repository, proposal.files, Path(scratch) / "submissions")
            others = others_of(submissions, [folder])
            if download:
                _bring(folder)
            findings = verify(folder, others, loading_once(8), default_home())
            findings = [_relative(finding, folder) for finding in findings]
            mine = judged.entries_of(folder, findings)
            if mine and (submissions / proposal.name).is_dir():
                findings += judged.changed(read_submission(submissions / proposal.name), mine)
            entries = [*others, *mine]
    for finding in findings:
        click.echo(str(finding), err=True)
    text = judged.summary(name, findings, entries)
    if summary is not None:
        with summary.open("a", encoding="utf-8") as file:
            file.write(text)
    if _concluded(name, findings, "can be accepted"):
        raise click.exceptions.Exit(1)


def _relative(finding: Finding, folder: Path) -> Finding:
    """A finding whose place is told as it is in the repository."""
    place, name = str(folder), f"submissions/{folder.name}"
    return finding._replace(
        where=finding.where.replace(place, name), what=finding.what.replace(place, name)
    )


def _bring(folder: Path) -> None:
    """Download the tasks on a card; an unknown one is for the check to refuse."""
    from llm4rec_bench import store
    from llm4rec_bench.download import download
    from llm4rec_bench.errors import CardRefused
    from llm4rec_bench.submission import read_card

    home = store.default_home()
    try:
        tasks = read_card(folder).tasks
    except CardRefused:
        return
    for task in tasks:
        ours = store.is_packaged(task) and not store.is_embedded(task)
        if ours and not store.is_downloaded(task, home):
            download(task, home)


@cli.command()
@click.argument("entries", nargs=-1, type=ANY_PATH)
@click.option("--all", "everything", is_flag=True, help="All entries.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if scores move.")
@SUBMISSIONS
def rescore(
    entries: tuple[Path, ...], everything: bool, only_check: bool, submissions: Path
) -> None:
    """Score ENTRIES again, as a new version of the scorer asks for, and show what moves."""
    from llm4rec_bench.entry.rescore import rescore as again
    from llm4rec_bench.store import default_home

    if bool(entries) == everything:
        raise click.BadParameter("name entries, or say --all")
    folders = _all(submissions) if everything else [_entry(path, submissions) for path in entries]
    moved = again(folders, loading_once(8), default_home(), save=not only_check)
    for one in moved:
        click.echo(
            f"{one.name} {one.task} {one.track}: {_placed(one.before)} -> {_placed(one.after)}"
        )
    click.echo(f"{len(folders):,} submissions scored, {len(moved):,} entries moved")
    if moved and only_check:
        raise click.exceptions.Exit(1)


def _placed(place: Place | None) -> str:
    return "none" if place is None else f"{place.metric} {place.value:.4f}, rank {place.rank}"


@cli.command()
@click.argument("entry", type=ANY_PATH)
@click.option("--task", "tasks", multiple=True, help="Only this task. Repeatable.")
@click.option("--track", "tracks", multiple=True, help="Only this track. Repeatable.")
@click.option("--out", type=FOLDER, help="Folder for the new runs.  [default: reproduced/NAME]")
@click.option("--overwrite", is_flag=True, help="Start anew what is there.")
@click.option("--save", is_flag=True, help="Note it for the board: for maintainers.")
@SUBMISSIONS
def reproduce(
    entry: Path, tasks: tuple[str, ...], tracks: tuple[str, ...], out: Path | None,
    overwrite: bool, save: bool, submissions: Path,
) -> None:  # fmt: skip
    """Make the runs of ENTRY again, from its card or its recordings, and compare them.

    Exits with 1 where a difference in quality is shown.
    """
    import datetime

    from llm4rec_bench.cli.bars import RunBar
    from llm4rec_bench.entry.elsewhere import entered_runs
    from llm4rec_bench.entry.replay import recorded_in
    from llm4rec_bench.entry.reproduce import reproduce as again
    from llm4rec_bench.errors import UsageError
    from llm4rec_bench.leaderboard import card_of, read_reproduced, save_reproduced
    from llm4rec_bench.store import default_home, workspace

    folder = _entry(entry, submissions)
    card = card_of(folder)
    there = entered_runs(folder, card, default_home())
    chosen = [
        path
        for path in there
        for task, track in [path.name.split(".")[:2]]
        if (not tasks or task in tasks) and (not tracks or track in tracks)
    ]
    if not chosen:
        raise UsageError(
            f"{folder}: has no such run; it has {', '.join(path.name for path in there)}"
        )
    sys.path.insert(0, str(Path.cwd()))
    load = loading_once(1)
    differ = 0
    for path in chosen:
        task, track = path.name.split(".")[:2]
        to = (out or Path("reproduced") / card.name) / path.name.removesuffix(".gz")
        with RunBar(f"{card.name} {task} {track}") as bar:
            found = again(
                card, path, recorded_in(folder, path), to, load, overwrite=overwrite,
                today=datetime.datetime.now(datetime.UTC).date(),
                workspace=workspace(default_home()), watcher=bar,
            )  # fmt: skip
        differ += not found.confirmed
        click.echo(
            f"{card.name} {task} {track}: {found.same:.1%} of rankings the same, difference "
            f"{found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f}) by {found.how}: "
            f"{'confirmed' if found.confirmed else 'not confirmed'}"
        )
        if save:
            known = read_reproduced(submissions)
            known.runs[f"{card.name}/{task}.{track}"] = found
            save_reproduced(submissions, known)
    if differ:
        raise click.exceptions.Exit(1)
