"""Published tasks: a dataset repository on the Hugging Face Hub, at one pinned commit."""

from __future__ import annotations

from pathlib import Path

from llm4rec_bench.errors import TaskDataError, shown
from llm4rec_bench.task.recipe import HubPin

TIMEOUT = 10.0
"""Seconds without an answer after which the Hub counts as out of reach."""


def fetch_tables(pin: HubPin, folder: Path) -> Path:
    """Bring the tables at the pinned commit into ``folder/data`` and return `folder`.

    Finished files are kept between calls. What arrives is not trusted: the caller checks
    every table against its digest. Raises TaskDataError where the Hub is out of reach or
    has no such commit.
    """
    # Imported here: it costs half a second, and reads HF_ENDPOINT once, when imported.
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        # Asked first because it fails at once, where the download retries for long.
        HfApi().dataset_info(pin.repository, revision=pin.commit, timeout=TIMEOUT)
        snapshot_download(
            pin.repository,
            repo_type="dataset",
            revision=pin.commit,
            local_dir=folder,
            allow_patterns=["data/*.parquet"],
        )
    except (
        HfHubHTTPError,
        HTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OSError,
    ) as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = shown(" ".join(said[:3]) or type(error).__name__, 300)
        raise TaskDataError(
            f"{pin.repository}@{pin.commit[:8]}: cannot be fetched ({reason})"
        ) from None
    return folder
