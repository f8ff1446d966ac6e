"""Making the folder of an entry: card, packed runs, recordings and scores."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from llm4rec_bench.entry.elsewhere import entered_runs, put
from llm4rec_bench.entry.paths import LARGEST_FILE
from llm4rec_bench.errors import CardRefused, UsageError, shown
from llm4rec_bench.files import replace_text, swap_folder
from llm4rec_bench.leaderboard import save_scores
from llm4rec_bench.recording import recording_of
from llm4rec_bench.run import Run, read_run
from llm4rec_bench.run.lines import opened
from llm4rec_bench.scoring import score
from llm4rec_bench.split import TEST
from llm4rec_bench.submission import CARD, LARGEST_CARD, Card, Name, read_card, run_files
from llm4rec_bench.task import Task
from llm4rec_bench.tuning import TUNING

SCHEMA = "#:schema ../submission.schema.json"
"""First line of a card, by which editors know what belongs into it."""


def submit(
    files: Sequence[Path],
    fields: Mapping[str, Any],
    place: Path,
    load: Callable[[str], Task],
    home: Path,
    *,
    card: Path | None = None,
    hub: str | None = None,
) -> Card:
    """Make the entry in the folder `place`, or change the one that is there; its card.

    `files` are run files, or folders of them; recordings beside them come along. `fields` are put
    into the card, which begins as the one at `card`, as the one in the folder, or as an empty one.
    A run that is too large goes to the dataset `hub`. The folder is made aside and takes its place
    in one step.

    Raises RunRefused and CardRefused where a file or the card is unsound, and UsageError where two
    runs are of one track, or one is too large and no dataset is named.
    """
    files = [run for path in files for run in (run_files(path) if path.is_dir() else [path])]
    runs = _read(files, load)
    document = _document(card if card is not None else place)
    if not tomlkit.dumps(document).startswith(SCHEMA):
        document = tomlkit.parse(f"{SCHEMA}\n{tomlkit.dumps(document)}")
    there = _document(place).get("elsewhere")  # where this entry's runs lie, and no other card's
    document.pop("elsewhere", None)
    if there:
        document["elsewhere"] = there
    for name, value in {"name": place.name, **fields}.items():
        document[name] = value
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as scratch:
        folder = Path(scratch) / place.name
        if place.is_dir():
            shutil.copytree(place, folder, symlinks=True)
        else:
            folder.mkdir()
        for path, run in runs.items():
            _put(path, run, folder, document, hub)
        if card is not None and (tried := card.parent / TUNING).exists() and card.name == CARD:
            shutil.copyfile(tried, folder / TUNING)
        _enter_tracks(folder, document, load)
        replace_text(folder / CARD, tomlkit.dumps(document))
        try:
            made = read_card(folder)
        except CardRefused as error:  # which names a folder that will be gone
            raise CardRefused(str(error).replace(str(folder), str(place))) from None
        paths = entered_runs(folder, made, home)
        save_scores(folder, [score(read_run(path, load=load)) for path in paths])
        swap_folder(folder, place)
    return made


def folder_of(submissions: Path, name: str) -> Path:
    """Where the entry of a name lies; raises UsageError for what can be none."""
    try:
        return submissions / msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise UsageError(
            f"{shown(name)} cannot be an entry's name; expected LOGIN--NAME, both of lower-case "
            "letters and digits in words joined by single hyphens"
        ) from None


def fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """What options say, as fields of a card; those that are left out are left alone.

    Raises UsageError for a model without its revision.
    """
    found = {
        name: list(value) if isinstance(value, tuple) else value for name, value in given.items()
    }
    if models := found.pop("models", None):
        found["models"] = [_model(text) for text in models]
    return {name: value for name, value in found.items() if value not in (None, [])}


def _model(text: str) -> dict[str, str]:
    name, marked, revision = text.rpartition("@")
    if not marked or not name or not revision:
        raise UsageError(
            f"--model {shown(text)}: expected NAME@REVISION, the exact one: a commit, a digest or "
            "the dated name of a hosted model"
        )
    return {"name": name, "revision": revision}


def known_fields(card: Path) -> set[str]:
    """The fields that a card has."""
    return set(_document(card))


def _read(files: Sequence[Path], load: Callable[[str], Task]) -> dict[Path, Run]:
    """The run files, each of a track of its own."""
    runs: dict[Path, Run] = {}
    seen: dict[str, Path] = {}
    for path in files:
        run = read_run(path, load=load)
        header = run.header
        if header.split != TEST:
            raise UsageError(f"{path}: is a run on validation; entries are runs on test")
        named = f"{header.task}.{header.track}"
        if named in seen:
            raise UsageError(
                f"{path}: is a second run on {header.task} {header.track}, beside {seen[named]}; "
                "repeated runs are lines of one file, with another `run` number"
            )
        seen[named] = path
        runs[path] = run
    return runs


def _document(card: Path) -> tomlkit.TOMLDocument:
    """The card to begin with, comments and all."""
    path = card / CARD if card.suffix != ".toml" else card
    if not path.exists():
        if path == card:
            raise UsageError(f"{path}: no such card")
        return tomlkit.parse("")
    if path.stat().st_size > LARGEST_CARD:
        raise UsageError(f"{path}: larger than {LARGEST_CARD >> 10} KiB")
    return tomlkit.parse(path.read_text("utf-8"))


def _put(
    path: Path, run: Run, folder: Path, document: tomlkit.TOMLDocument, hub: str | None
) -> None:
    """A run, packed, and its recording: into the folder, or to the Hub if it is too large."""
    named = f"{run.header.task}.{run.header.track}"
    for old in run_files(folder):
        if old.name.startswith(f"{named}.jsonl"):
            recording_of(old).unlink(missing_ok=True)
            old.unlink()
    there = document.get("elsewhere", {})
    there.pop(named, None)
    packed = folder / f"{named}.jsonl.gz"
    _pack(path, packed)
    if packed.stat().st_size > LARGEST_FILE:
        if hub is None:
            raise UsageError(
                f"{path}: has {packed.stat().st_size:,} bytes packed, of which an entry's folder "
                f"takes {LARGEST_FILE:,}; with --hub ORG/NAME it is uploaded into a dataset of "
                "yours on the Hub, and the card says where it lies"
            )
        there[named] = msgspec.to_builtins(put(packed, hub))
        document["elsewhere"] = there
        packed.unlink()
    plain = recording_of(path.with_name(path.name.removesuffix(".gz")))
    for recorded in (recording_of(path), plain, plain.with_name(f"{plain.name}.gz")):
        if recorded.exists():
            _pack(recorded, recording_of(packed))
            break


def _pack(path: Path, to: Path) -> None:
    """Write what a file holds as gzip, the same bytes for the same content."""
    with (
        opened(path) as file,
        to.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
    ):
        shutil.copyfileobj(file, packed, 1 << 20)


def _enter_tracks(
    folder: Path, document: tomlkit.TOMLDocument, load: Callable[[str], Task]
) -> None:
    """Name on the card the tasks, and where it is not all of them the tracks, of its runs."""
    named = [path.name.split(".")[:2] for path in run_files(folder)]
    named += [name.split(".") for name in document.get("elsewhere", {})]
    tasks = sorted({task for task, _ in named})
    tracks = sorted({track for _, track in named})
    document["tasks"] = tasks
    if all(track in tracks for task in tasks for track in load(task).recipe.tracks):
        document.pop("tracks", None)
    else:
        document["tracks"] = tracks
