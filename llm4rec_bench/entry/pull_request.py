"""What a pull request does to the board, judged from the objects of a Git repository.

Nothing of it is checked out, let alone run: names, modes and sizes are read from its trees, and
the files of its one entry are copied from their blobs once these are in order.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llm4rec_bench.compare import compare_scores
from llm4rec_bench.entry.paths import refusals, unsound
from llm4rec_bench.entry.verify import Finding
from llm4rec_bench.errors import UsageError, printable
from llm4rec_bench.leaderboard import Entry, Row, Table, cells, escaped, read_submission, tables
from llm4rec_bench.scoring import Score

LARGEST_SUMMARY = 60_000
"""Bytes of a summary; GitHub shows up to a mebibyte, and nobody reads that."""

_NEIGHBOURS = 3
"""Rows shown on each side of the entry."""

_STATUSES = {"A": "added", "M": "modified", "D": "removed", "T": "changed"}


class File(NamedTuple):
    """A file of the entry, as Git holds it."""

    path: str
    blob: str


class Proposal(NamedTuple):
    """What a pull request would do."""

    name: str | None
    """The one entry that it adds or changes; None where there is none."""
    files: list[File]
    """All files of that entry, once it is merged."""
    refusals: list[str]
    """Why its paths, modes or sizes cannot be."""


def proposal(
    repository: Path, base: str, head: str, author: str, association: str = "NONE"
) -> Proposal:
    """Read a pull request from its two commits; raises UsageError where Git cannot find them."""
    fork, *others = _git(repository, "merge-base", "--all", "--", base, head).split()
    if others:  # a change between one of them and the head need not be what merging does
        told = (
            f"its history meets that of the main branch in {len(others) + 1} commits, so that what "
            "it changes cannot be told; make one commit of the entry on the main branch as it is"
        )
        return Proposal(None, [], [told])
    changes = _changes(_git(repository, "diff", "--raw", "-z", "--no-renames", fork, head))
    found = refusals(changes, author, association)
    names = sorted({
        path.split("/")[1]
        for _, path, _ in changes
        if path.startswith("submissions/") and path.count("/") > 1
    })  # fmt: skip
    if found or len(names) != 1:
        return Proposal(None, [], found)
    folder = f"submissions/{names[0]}/"
    listed = _git(repository, "ls-tree", "-r", "-l", "-z", head, "--", folder)
    there = [_listed(line) for line in listed.split("\0") if line]
    if not there:  # a maintainer withdraws it
        return Proposal(None, [], [])
    found = unsound([(path, mode, size) for path, mode, size, _ in there])
    return Proposal(names[0], [File(path, blob) for path, _, _, blob in there], found)


def _changes(raw: str) -> list[tuple[str, str, str]]:
    """(status, path, former path) of the changes between two trees."""
    parts = raw.split("\0")
    return [
        (_STATUSES.get(told.rsplit(" ", 1)[1][:1], "changed"), path, "")
        for told, path in zip(parts[:-1:2], parts[1::2], strict=True)
    ]


def _listed(line: str) -> tuple[str, str, int, str]:
    """Path, mode, bytes and blob of a line of a tree."""
    told, _, path = line.partition("\t")
    mode, _, blob, size = told.split()
    return path, mode, 0 if size == "-" else int(size), blob


def copy_files(repository: Path, files: Sequence[File], place: Path) -> Path:
    """Write the files of an entry whose paths are in order below `place`; the entry's folder."""
    folder = place / Path(files[0].path).parent.name
    folder.mkdir(parents=True)
    for file in files:
        with (folder / Path(file.path).name).open("wb") as out:
            subprocess.run(
                ["git", "-C", str(repository), "cat-file", "blob", file.blob],
                stdout=out, check=True, env=_environment(),
            )  # fmt: skip
    return folder


def entries_of(folder: Path, findings: Sequence[Finding]) -> list[Entry]:
    """The entries in a folder that was verified; none where it is refused."""
    return [] if any(finding.refused for finding in findings) else read_submission(folder)


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, env=_environment()
    )
    if done.returncode:
        said = printable(done.stderr.decode("utf-8", "replace").strip(), 300)
        raise UsageError(f"{repository}: git {arguments[0]} fails: {said}")
    return done.stdout.decode("utf-8", "surrogateescape")


def _environment() -> dict[str, str]:
    """Git without settings of this machine or of the repository that would run a program."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",  # what older versions know: nothing is fetched by any of them
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": "false",
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": "*",
        "LC_ALL": "C",
    }


def changed(before: Sequence[Entry], after: Sequence[Entry]) -> list[Finding]:
    """What an entry takes away from the board, or puts in another's place: for a reviewer's eye."""
    there = {(entry.score.task, entry.score.track): entry.score for entry in after}
    found = []
    for _, score in before:
        metric, by = next(iter(score.metrics.items()))
        now = there.get((score.task, score.track))
        told = f"a run with {metric} {by.value:.4f}"
        if now is None:
            told = f"takes {told} off the board; say why"
        elif now.run_digest != score.run_digest:
            told = (
                f"puts one with {now.metrics[metric].value:.4f} in the place of {told}; "
                "test_looks counts both"
            )
        else:
            continue
        found.append(Finding(f"{score.task} {score.track}", told, False))
    return found


def summary(name: str, findings: Sequence[Finding], entries: Sequence[Entry]) -> str:
    """What a reviewer reads: what is wrong, and the entry between its neighbours.

    `entries` are those of the board and, where it could be read, the entry's own.
    """
    refused = [finding for finding in findings if finding.refused]
    verdict = "cannot be accepted yet" if refused else "can be accepted"
    parts = [f"## {escaped(name)}: {verdict}\n"]
    parts += [
        f"* **{'error' if finding.refused else 'warning'}** {escaped(finding.where)}: "
        f"{escaped(finding.what)}\n"
        for finding in findings
    ]
    mine = [entry for entry in entries if entry.card.name == name]
    if mine and not refused:
        here = {(entry.score.task, entry.score.track) for entry in mine}
        near = [entry for entry in entries if (entry.score.task, entry.score.track) in here]
        parts += [_between(table, name) for table in tables(near)]
        parts.append(_READING)
    return _bounded(parts)


def _bounded(parts: Sequence[str]) -> str:
    """The parts that fit, and a word on those that do not."""
    text = ""
    for number, part in enumerate(parts):
        if len((text + part).encode()) > LARGEST_SUMMARY:
            return text + f"\n… and {len(parts) - number} more; run `llm4rec-bench verify`\n"
        text += part
    return text


def _between(table: Table, name: str) -> str:
    """The rows around an entry's, each with the paired difference to it."""
    (place,) = [at for at, row in enumerate(table.rows) if row.entry.card.name == name]
    mine = table.rows[place].entry.score
    first = table.metrics[0]
    rows = table.rows[max(place - _NEIGHBOURS, 0) : place + _NEIGHBOURS + 1]
    title = escaped(table.rows[place].entry.card.title)
    lines = [
        f"\n### {table.task} {table.track}\n\n",
        f"{title}: {_told(table.rows[place])}\n\n",
        f"| rank | system | {first} | minus {title} | p |\n",
        "| ---: | --- | ---: | ---: | ---: |\n",
        *(_line(row, first, mine) for row in rows),
    ]
    floors = ", ".join(
        f"{name.replace('_', ' ')} {values[first]:.4f}" for name, values in table.references.items()
    )
    return "".join([*lines, f"\n{floors}\n"])


def _told(row: Row) -> str:
    """What the board will say of an entry beside its metrics."""
    card, score = row.entry
    told = {
        "valid": cells.valid(score),
        "reads": cells.reads(card),
        "p50 ms": cells.latency(score, "p50"),
        "tokens": cells.tokens(score),
        "cost": escaped(cells.cost(row.cost)),
        "exposure": cells.exposure(card),
        "hardware": escaped(card.hardware),
    }
    return " · ".join(f"{name} {cell}" for name, cell in told.items())


_READING = (
    "\n*rank* is one more than the number of entries that are better beyond chance, adjusted for "
    "all pairs of the table; *p* is that of the one pair. After merging, everything is scored "
    "again and the board is made anew.\n"
)


def _line(row: Row, metric: str, mine: Score) -> str:
    found = row.entry.score.metrics[metric]
    title = escaped(row.entry.card.title)
    value = f"{found.value:.4f} ({found.low:.4f}–{found.high:.4f})"
    if row.entry.score is mine:
        return f"| {row.rank} | **{title}** | {value} | | |\n"
    (by,) = compare_scores([row.entry.score, mine])
    low, high = by.difference.low, by.difference.high
    difference = f"{by.difference.value:+.4f} ({low:+.4f} to {high:+.4f})"
    return f"| {row.rank} | {title} | {value} | {difference} | {_probability(by.p)} |\n"


def _probability(p: float) -> str:
    """A p-value, of which four digits are known."""
    return f"{p:.4f}" if p >= 0.0001 else "< .0001"
