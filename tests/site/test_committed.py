"""The site of the committed submissions: how large it is, and that its links lead on."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm4rec_bench import Task
from llm4rec_bench.leaderboard import board
from llm4rec_bench.site.build import pages
from llm4rec_bench.store import default_home, is_downloaded, load_task
from tests.conftest import ROOT
from tests.site import test_pages
from tests.site.conftest import Site

SHARED, EACH = 800_000, 90_000
"""Bytes of what all pages share, and of what a system adds on five tasks: 3 MB for 24 of them."""


@pytest.fixture(scope="module")
def site() -> Site:
    def load(task: str) -> Task | None:
        return load_task(task) if is_downloaded(task, default_home()) else None

    submissions = ROOT / "submissions"
    return pages(board(submissions), submissions, load)


@pytest.mark.slow
def test_the_committed_site_is_small_and_whole(site: Site) -> None:
    sizes = {name: len(data) for name, data in site.items()}
    names = {folder.name for folder in (ROOT / "submissions").iterdir() if folder.is_dir()}
    assert {Path(name).stem for name in sizes if name.startswith("entries/")} == names
    largest = SHARED + EACH * len(names)
    assert sum(sizes.values()) < largest, sorted(sizes.items(), key=lambda by: -by[1])[:5]
    test_pages.test_all_links_lead_somewhere(site)
    test_pages.test_nothing_is_styled_or_scripted_within_a_page(site)
    test_pages.test_no_file_fetches_from_another_place(site)
    test_pages.test_data_for_scripts_is_read_back_and_ends_no_script(site)
