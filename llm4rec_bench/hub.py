"""Published tasks: a dataset repository on the Hugging Face Hub, at one pinned commit."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llm4rec_bench.errors import TaskDataError, UsageError, shown
from llm4rec_bench.task.manifest import HubPin

TIMEOUT = 10.0
"""Seconds without an answer after which the Hub counts as out of reach."""


TABLES = "data/*.parquet"
WHOLE = [TABLES, "task.toml", "manifest.json", "README.md"]
"""What of a repository is fetched where only the tables are wanted, and where all is."""


_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"


def check_name(repository: str) -> None:
    """Raise UsageError for what cannot be the name of a repository."""
    named = re.fullmatch(rf"{_PART}/{_PART}", repository)
    if not named or re.search(r"--|\.\.|\.git\Z", repository) or len(repository) > 96:
        raise UsageError(
            f"{shown(repository)} names no dataset repository; expected ORG/NAME, both of ASCII "
            "letters, digits and single - _ . inside, 96 characters at most"
        )


def commit_of(repository: str, revision: str | None = None) -> HubPin:
    """The commit that a branch, tag or commit names now; of the main branch without one.

    Raises TaskDataError where the Hub is out of reach or has no such repository or revision.
    """
    from huggingface_hub import HfApi

    check_name(repository)
    with _plainly(f"{repository}@{revision or 'main'}"):
        found = HfApi().dataset_info(repository, revision=revision, timeout=TIMEOUT)
        return HubPin(repository, found.sha or "")


def fetch_tables(pin: HubPin, folder: Path, patterns: Sequence[str] = (TABLES,)) -> Path:
    """Bring the tables at the pinned commit into ``folder/data`` and return `folder`.

    Finished files are kept between calls. What arrives is not trusted: the caller checks
    every table against its digest. Raises TaskDataError where the Hub is out of reach or
    has no such commit.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    with _plainly(f"{pin.repository}@{pin.commit[:8]}"):
        # Asked first because it fails at once, where the download retries for long.
        HfApi().dataset_info(pin.repository, revision=pin.commit, timeout=TIMEOUT)
        snapshot_download(
            pin.repository,
            repo_type="dataset",
            revision=pin.commit,
            local_dir=folder,
            allow_patterns=list(patterns),
        )
    return folder


def fetch_file(pin: HubPin, file: str, to: Path, most: int) -> None:
    """Bring one file of a dataset repository, of at most so many bytes, at the pinned commit.

    Raises TaskDataError where there is no such file, or a larger one, or no Hub.
    """
    import shutil

    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils.tqdm import disable_progress_bars

    check_name(pin.repository)
    disable_progress_bars()
    what = f"{pin.repository}@{pin.commit[:8]}: {shown(file)}"
    with _plainly(what), tempfile.TemporaryDirectory() as scratch:
        # Asked first: what is too large is not even begun.
        (found, *_) = [
            *HfApi().get_paths_info(
                pin.repository, [file], revision=pin.commit, repo_type="dataset"
            ),
            None,
        ]
        if not isinstance(found, RepoFile):
            raise TaskDataError(f"{what}: there is no such file")
        if found.size > most:
            raise TaskDataError(f"{what}: has {found.size:,} bytes; {most:,} are allowed")
        there = hf_hub_download(
            pin.repository, file, revision=pin.commit, repo_type="dataset", local_dir=scratch
        )
        shutil.copyfile(there, to)


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Say in one line what the Hub's client raises."""
    # Imported here: it costs half a second, and reads HF_ENDPOINT once, when imported.
    from httpx2 import HTTPError
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        yield
    except (
        HfHubHTTPError,
        HTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OSError,
    ) as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = shown(" ".join(said[:3]) or type(error).__name__, 300)
        raise TaskDataError(f"{what}: cannot be fetched ({reason})") from None
