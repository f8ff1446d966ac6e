"""Files of models on this machine: which they are, and loading them without noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest as digest_of
from hashlib import sha256
from pathlib import Path

import msgspec

from llm4rec_bench import CardRefused


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return digest_of(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """One digest of the names and contents of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [[path.relative_to(folder).as_posix(), file_digest(path)] for path in files]
    return sha256(msgspec.json.encode(named)).hexdigest()


def own_folder(model: str, what: str) -> Path:
    """The folder that a card names as its model; raises CardRefused where there is none."""
    folder = Path(model)
    if not folder.is_dir():
        raise CardRefused(
            f"{what}: {model}: no such folder; a model of the Hub is named with its commit, "
            "`revision`"
        )
    return folder


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep Transformers from drawing progress bars across the command line's own."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
