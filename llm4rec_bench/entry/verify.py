"""Whether an entry would be accepted: one check, used by its author and on pull requests.

The files are strangers'. They are read as data, with bounded sizes; of the code that a card
names only what lies in this repository is run, and that only to make recorded answers into a
run file again.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llm4rec_bench.entry.elsewhere import fetched
from llm4rec_bench.entry.likeness import NEAR, as_read, nearness, ticked
from llm4rec_bench.entry.paths import FILE, MOST_FILES, unsound
from llm4rec_bench.entry.replay import OURS, REPLAYED, recorded_in, replay_of
from llm4rec_bench.errors import BenchError, CardRefused, RunRefused, printable
from llm4rec_bench.leaderboard import (
    SCORES,
    Entry,
    card_of,
    rank_alike,
    read_submission,
    scores_text,
)
from llm4rec_bench.recording import MARK
from llm4rec_bench.run import Run, read_run
from llm4rec_bench.run.execute import execute
from llm4rec_bench.run.lines import opened
from llm4rec_bench.scoring import DESCRIBED, Score, score
from llm4rec_bench.split import TEST
from llm4rec_bench.store import known_tasks, recipe_folder
from llm4rec_bench.submission import CARD, Card, run_files
from llm4rec_bench.task import Task, read_recipe

_MOVING = {"main", "master", "latest", "head", "dev", "stable", "default", "current", "newest"}
"""Revisions that are another model tomorrow."""

_MODELS = ("model", "encoder")
"""Parameters that name a pre-trained model."""


class Finding(NamedTuple):
    """Something about an entry: where, and what; and whether it keeps the entry off the board."""

    where: str
    what: str
    refused: bool = True

    def __str__(self) -> str:
        kind = "error" if self.refused else "warning"
        return f"{printable(self.where, 300)}: {kind}: {self.what}"


def verify(
    folder: Path, others: Sequence[Entry], load: Callable[[str], Task], home: Path
) -> list[Finding]:
    """What is wrong with the entry in a folder, or calls for a look; nothing where all is well.

    `others` are the entries to tell it from, `load` brings tasks, and `home` holds what is
    fetched. Raises TaskDataError where a task is not there.
    """
    found = _files(folder)
    if found:
        return found
    try:
        card = card_of(folder)
    except CardRefused as error:
        return [Finding(str(folder / CARD), _after(str(error), folder / CARD))]
    found = [*_declared(folder, card), *_titles(folder, card, others)]
    scores: list[Score] = []
    paths = [*run_files(folder), *_elsewhere(card, home, found)]
    found += _without_run(folder, card)
    if not (run_files(folder) or card.elsewhere):
        found.append(Finding(str(folder), "holds no run: an entry is withdrawn by the maintainers"))
    for path in paths:
        made, told = _run(path, card, load)
        found += told
        if made is not None:
            scores.append(made)
    if any(finding.refused for finding in found):
        return found
    found += _scores(folder, scores)
    found += _alarms(folder, card, scores, others)
    if not any(finding.refused for finding in found):
        found += _replays(folder, paths, card, load)
    return found


def others_of(submissions: Path, folders: Sequence[Path]) -> list[Entry]:
    """The entries to tell those in some folders from; unsound ones are left out."""
    found = []
    for folder in sorted(submissions.iterdir()):
        if not folder.is_dir() or (len(folders) == 1 and folder.name == folders[0].name):
            continue
        try:
            found += read_submission(folder)
        except CardRefused:  # told where that one is verified itself
            continue
    return found


def _files(folder: Path) -> list[Finding]:
    """Files that do not belong into the folder of an entry, or not so."""
    try:
        there = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError as error:
        reason = f"{error.strerror}; an entry is a folder with a {CARD}"
        return [Finding(str(folder), reason)]
    found = [
        Finding(
            str(folder / one.name),
            "does not belong into an entry; expected submission.toml, scores.json, tuning.json, "
            "<task>.<track>.jsonl.gz and <task>.<track>.recording.jsonl.gz",
        )
        for one in there
        if not FILE.fullmatch(one.name)
    ]
    if len(there) > MOST_FILES:
        found.append(Finding(str(folder), f"holds {len(there):,} files; {MOST_FILES} are allowed"))
    listed = []
    for one in there:
        state = one.stat(follow_symlinks=False)
        kinds = {stat.S_IFLNK: "120000", stat.S_IFREG: "100644", stat.S_IFDIR: "040000"}
        listed.append((one.name, kinds.get(stat.S_IFMT(state.st_mode), ""), state.st_size))
    found += [Finding(str(folder), fault) for fault in unsound(listed)]
    if not any(one.name == SCORES for one in there):
        mend = f"is missing; run: llm4rec-bench score {folder} --save"
        found.append(Finding(str(folder / SCORES), mend))
    return found


def _declared(folder: Path, card: Card) -> list[Finding]:
    """What a card must say beside what its format asks for."""
    found = []
    where = str(folder / CARD)
    tables: list[dict[str, Any]] = [card.params, *(by.params for by in card.on.values())]
    if not card.models and any(name in table for table in tables for name in _MODELS):
        found.append(
            Finding(
                where,
                "params name a pre-trained model; say which in [[models]], with its revision, and "
                "in exposure whether it may have seen the data set",
            )
        )
    found += [
        Finding(
            where,
            f"models: {printable(model.name)} at {printable(model.revision)}, which moves; name "
            "the commit, the digest, or the dated name of a hosted model",
        )
        for model in card.models
        if model.revision.strip().casefold() in _MOVING
    ]
    if card.exposure is not None and not card.models:
        told = "exposure: is said of no model; name them in [[models]], or leave it out"
        found.append(Finding(where, told))
    if card.owner is not None:
        found += _told_as_facts(where, card)
    if not card.tasks:
        found.append(Finding(where, "tasks: names no task; name those it is entered on"))
    return found


def _told_as_facts(where: str, card: Card) -> Iterator[Finding]:
    """What of a stranger's card the board would show as if it were its own word."""
    if card.system is not None and not card.system.startswith(OURS):
        said = f"system: {card.system} is none of this repository: nobody can make the run again"
        yield Finding(where, said, False)
    texts = {"title": card.title, "hardware": card.hardware}
    if card.prices is not None:
        texts["prices.currency"] = card.prices.currency
        if not re.fullmatch("[A-Z]{3}", card.prices.currency):
            said = f"prices.currency: expected a code such as USD, found {card.prices.currency!r}"
            yield Finding(where, printable(said, 300))
    for field, text in texts.items():
        if ticked(text):
            yield Finding(where, f"{field}: bears a check mark, which the board uses; leave it out")


def _titles(folder: Path, card: Card, others: Sequence[Entry]) -> list[Finding]:
    """Entries of which a stranger's could pass for one."""
    named = {
        other.card.name
        for other in others
        if other.card.name != card.name and as_read(other.card.title) == as_read(card.title)
    }
    where = str(folder / CARD)
    told = "title: reads as that of {}; choose one that tells them apart"
    return [Finding(where, told.format(name)) for name in sorted(named) if card.owner is not None]


def _elsewhere(card: Card, home: Path, found: list[Finding]) -> Iterator[Path]:
    """Run files that lie in a dataset of the Hub, brought here and known by their digests."""
    for name, there in card.elsewhere.items():
        task, _, track = name.partition(".")
        try:
            if task not in known_tasks() or track not in read_recipe(recipe_folder(task)).tracks:
                raise CardRefused("is of no known task, or no track of it; nothing is fetched")
            yield fetched(name, there, home)
        except BenchError as error:
            found.append(Finding(f"{CARD}: elsewhere.{name}", str(error)))


def _without_run(folder: Path, card: Card) -> list[Finding]:
    """Recordings beside which there is no run: nobody would look at what they hold."""
    runs = {path.name.split(".jsonl")[0] for path in run_files(folder)} | card.elsewhere.keys()
    return [
        Finding(str(path), "is the recording of no run of this entry; remove it")
        for path in sorted(folder.iterdir())
        if MARK in path.name and path.name.split(MARK)[0] not in runs
    ]


def _run(path: Path, card: Card, load: Callable[[str], Task]) -> tuple[Score | None, list[Finding]]:
    """The fresh score of a run file, and what is wrong with the file."""
    try:
        run = read_run(path, load=load)
    except RunRefused as error:
        return None, [Finding(str(path), "is refused by the scorer:\n" + str(error))]
    found = [Finding(str(path), fault) for fault in _faults(run, path, card)]
    return score(run), found


def _faults(run: Run, path: Path, card: Card) -> Iterable[str]:
    header = run.header
    named = path.name.split(".jsonl")[0]
    if named != f"{header.task}.{header.track}":
        yield f"holds a run on {header.task} {header.track}; name it for them"
    if header.split != TEST:
        yield "is a run on validation; entries are runs on test"
    if header.task not in card.tasks:
        yield f"is on {header.task}, which {CARD} does not name in tasks"
    elif header.track not in card.tracks_of([header.track]):
        yield f"is on {header.track}, which {CARD} does not name in tracks"
    if card.system is not None and header.card != card.fingerprint(header.task, header.track):
        yield (
            "was not made with the system, parameters, seed, runs and reads that the card states; "
            "run the card again, or put back what made it"
        )


def _scores(folder: Path, fresh: Sequence[Score]) -> list[Finding]:
    """Where `scores.json` is not what the scorer computes."""
    where = str(folder / SCORES)
    mend = f"run: llm4rec-bench score {folder} --save"
    try:
        saved = {(one.task, one.track): one for _, one in read_submission(folder)}
    except CardRefused as error:
        return [Finding(where, _after(str(error), folder / SCORES))]
    found = []
    for made in fresh:
        differs = _difference(saved[made.task, made.track], made)
        if differs:
            told = f"{made.task} {made.track}: {differs}; {mend}"
            found.append(Finding(where, told))
    if not found and (folder / SCORES).read_bytes() != scores_text(saved.values()).encode():
        # Such as a field that stands there twice, of which another reader takes the other.
        found.append(Finding(where, f"is not written as the scorer writes it; {mend}"))
    return found


def _difference(saved: Score, made: Score) -> str | None:
    """In what a saved score differs from a fresh one."""
    unknown = set(DESCRIBED) - made.slices.keys()
    saved = msgspec.structs.replace(
        saved, slices={name: by for name, by in saved.slices.items() if name not in unknown}
    )
    if msgspec.json.encode(saved) == msgspec.json.encode(made):
        return None
    for metric, by in made.metrics.items():
        told = saved.metrics[metric].value
        if told != by.value:
            return f"{metric} is {told:.4f} there, and the run file gives {by.value:.4f}"
    fields = [
        field
        for field in made.__struct_fields__
        if msgspec.json.encode(getattr(saved, field)) != msgspec.json.encode(getattr(made, field))
    ]
    return f"{', '.join(fields)} there is not what the run file gives"


def _alarms(
    folder: Path, card: Card, scores: Sequence[Score], others: Sequence[Entry]
) -> list[Finding]:
    """What the scorer warns of, and entries whose rankings these are."""
    found = []
    for made in scores:
        where = f"{folder}: {made.task} {made.track}"
        found += [Finding(where, f"{alarm.message} ({alarm.code})", False) for alarm in made.alarms]
        for other in others:
            if other.card.name == card.name or (other.score.task, other.score.track) != (
                made.task,
                made.track,
            ):
                continue
            if rank_alike(made, other.score):
                told = f"has the same first ten items as {other.card.name} for every request"
                if card.owner is not None:
                    told += (
                        "; an entry must differ from all others: to show that you reproduced one, "
                        "open an issue"
                    )
                found.append(Finding(where, told, card.owner is not None))
            elif card.owner is not None and (near := nearness(made, other.score)) >= NEAR:
                told = f"ranks {near:.1%} of the targets where {other.card.name} does; see how"
                found.append(Finding(where, told, False))
    return found


def _replays(
    folder: Path, paths: Sequence[Path], card: Card, load: Callable[[str], Task]
) -> list[Finding]:
    """Where the recorded answers in a folder do not make its run files, wherever these lie."""
    found = []
    for path in paths:
        recorded = recorded_in(folder, path)
        if not recorded.exists():
            continue
        if not (card.system or "").startswith(REPLAYED):
            found.append(
                Finding(
                    str(recorded),
                    f"is not replayed, for its system is not of this repository's {REPLAYED[:-1]}",
                    False,
                )
            )
            continue
        task_id, track = path.name.split(".")[:2]
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / path.name.removesuffix(".gz")
            try:
                recording = replay_of(card, recorded)
                execute(card, load(task_id), track, out, recording=recording)
            except BenchError as error:
                found.append(Finding(str(recorded), f"cannot be replayed: {error}"))
                continue
            if not _same(out, path):
                found.append(
                    Finding(
                        str(recorded),
                        f"replays to another run than {path.name}; enter the run and the recording "
                        "of one `llm4rec-bench run`",
                    )
                )
    return found


def _same(one: Path, other: Path) -> bool:
    """Whether two files hold the same, unpacked."""
    with opened(one) as first, opened(other) as second:
        while (piece := first.read(1 << 20)) == second.read(1 << 20):
            if not piece:
                return True
    return False


def _after(message: str, path: Path) -> str:
    """A message without the path that it begins with."""
    return message.removeprefix(f"{path}: ")
