"""`submit`: from run files to an entry, asking for what is not given."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from llm4rec_bench.cli.commands import ANY_PATH, cli, loading_once, shown_path
from llm4rec_bench.cli.entering import SUBMISSIONS, count_refused


def _asked(
    name: str, text: str, given: str | None, wanted: bool, default: str | None = None
) -> str:
    """A field of the card: as given, asked for at a terminal, or its default without one."""
    if given is not None or not wanted:
        return given or ""
    if sys.stdin.isatty():
        return str(click.prompt(text, default=default, show_default=bool(default))).strip()
    if default is None:
        raise click.UsageError(f"--{name} is missing: {text}")
    return default


@cli.command()
@click.argument("files", nargs=-1, type=ANY_PATH)
@click.option("--login", help="Your name on GitHub.")
@click.option("--name", help="Of the entry: lower-case words joined by hyphens.")
@click.option("--title", help="The system, as the board shows it.")
@click.option("--author", "authors", multiple=True, help="Repeatable.")
@click.option("--licence", help="Of the run files, such as CC-BY-4.0.")
@click.option("--description", help="What it is, and where it departs from the papers it follows.")
@click.option("--hardware", help="What the latencies were measured on.")
@click.option("--command", help="How to run it again.")
@click.option("--link", help="Of the paper or a page.")
@click.option("--code", help="Of the code, at its commit.")
@click.option("--reads", multiple=True, help="title, metadata or wikipedia. Repeatable.")
@click.option("--model", "models", multiple=True, metavar="NAME@REVISION", help="Repeatable.")
@click.option("--exposure", help="Whether the models may have seen the data: no, possible, yes.")
@click.option("--test-looks", type=click.IntRange(1), help="How often it was scored on test.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests at once, for latencies.")
@click.option("--card", type=ANY_PATH, help="Begin with this card, such as that of `run`.")
@click.option("--hub", metavar="ORG/NAME", help="Dataset on the Hub for runs above 5 MB.")
@click.option("--edit", is_flag=True, help="Change an entry that is there; FILES replace runs.")
@SUBMISSIONS
def submit(
    files: tuple[Path, ...], login: str | None, name: str | None, card: Path | None,
    hub: str | None, edit: bool, submissions: Path, **given: Any,  # noqa: ANN401 - the fields of a card
) -> None:  # fmt: skip
    """Make an entry of run FILES: card, packed runs and scores, checked as a pull request is.

    What is not given is asked for at a terminal. Recordings beside the runs come along.
    """
    from llm4rec_bench.entry.submit import fields, folder_of, known_fields
    from llm4rec_bench.entry.submit import submit as made
    from llm4rec_bench.errors import UsageError
    from llm4rec_bench.store import default_home

    if not files and not edit:
        raise click.UsageError("name the run files to enter")
    known = known_fields(card) if card is not None else set()
    owned = "--" in (name or "")
    login = _asked("login", "Your name on GitHub", login, wanted=not owned and not edit).lower()
    name = _asked("name", "Name of the entry, such as my-ranker", name, wanted=True)
    if owned and login and not name.startswith(f"{login}--"):
        raise UsageError(f"--login {login}: is not whose entry {name} is; leave out one of them")
    name = f"{login}--{name}" if login and not owned else name
    place = folder_of(submissions, name)
    if place.is_dir() != edit:
        mend = "without --edit a new one is made" if edit else "--edit changes it"
        raise UsageError(f"{place}: {'no such entry' if edit else 'is there already'}; {mend}")
    if not edit:
        _ask_for(given, known)
    home = default_home()
    made(files, fields(given), place, loading_once(8), home, card=card, hub=hub)
    if count_refused([place], submissions, home):
        shown = shown_path(place)
        click.echo(
            f"{shown} holds the entry as it is: mend {shown}/submission.toml, or replace a run "
            f"(llm4rec-bench submit RUN --edit --name {name}); then: llm4rec-bench verify {name}",
            err=True,
        )
        raise click.exceptions.Exit(1)
    if edit:
        click.echo(f'next: git add {shown_path(place)}; git commit -m "Change {name}"; git push')
    else:
        click.echo(
            f"next, in a fork of the repository: git switch -c {name}; git add "
            f'{shown_path(place)}; git commit -m "Enter {name}"; git push -u origin {name}; then '
            "open a pull request"
        )


def _ask_for(given: dict[str, Any], known: set[str]) -> None:
    """Put what is not given, nor on a card, into the fields, where somebody can be asked."""
    for field, text in _ASKED.items():
        if field == "authors":
            if not given[field] and field not in known:
                given[field] = (_asked("author", text, None, wanted=True),)
        else:
            wanted = field not in known
            given[field] = _asked(field, text, given[field], wanted) or None
    if not given["reads"] and "reads" not in known:
        text = (
            "What it reads of items beside ids, of title, metadata, wikipedia (empty for ids alone)"
        )
        given["reads"] = tuple(_asked("reads", text, None, True, "").replace(",", " ").split())
    if not given["models"] and "models" not in known:
        text = "Pre-trained models it stands on, as NAME@REVISION (empty for none)"
        given["models"] = tuple(_asked("model", text, None, True, "").replace(",", " ").split())
    if given["models"] and given["exposure"] is None and sys.stdin.isatty():
        text = "May they have seen the data set? no, possible or yes"
        given["exposure"] = _asked("exposure", text, None, wanted=True)
    if not sys.stdin.isatty():
        read = " + ".join(given["reads"]) or "ids only"
        if not known & {"reads", "models"}:
            models = ", ".join(given["models"]) or "none"
            click.echo(f"the card says: reads {read}; pre-trained models: {models}", err=True)


_ASKED = {
    "title": "The system, as the board shows it",
    "authors": "Author",
    "licence": "Licence of the run files, such as CC-BY-4.0",
    "description": "What it is",
    "hardware": "What the latencies were measured on",
    "command": "How to run it again",
}
"""Fields that a card cannot do without."""
