"""Where a site is written, and where it is not."""

from __future__ import annotations

import importlib.util
import stat

import pytest

from llm4rec_bench import UsageError
from llm4rec_bench.site import build, build_site, text
from llm4rec_bench.site.folder import MARKER, write_site
from tests.site.conftest import Runs

FILES = {"index.html": b"one", "assets/site.css": b"two"}


def test_a_site_replaces_a_site_and_nothing_of_it_stays(tmp_path) -> None:
    place = tmp_path / "deep" / "site"
    write_site(place, FILES | {"old.html": b""})
    write_site(place, FILES)
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert found == {*FILES, MARKER}
    assert (place / "index.html").read_bytes() == b"one"
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert [path.name for path in place.parent.iterdir()] == ["site"]


def test_an_empty_folder_is_taken(tmp_path) -> None:
    write_site(tmp_path / "site", FILES)
    (tmp_path / "empty").mkdir()
    write_site(tmp_path / "empty", FILES)
    assert (tmp_path / "empty" / "index.html").exists()


@pytest.mark.parametrize("name", ["notes.txt", ".git/config"])
def test_what_no_site_wrote_is_never_replaced(tmp_path, name: str) -> None:
    place = tmp_path / "site"
    write_site(place, FILES)
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text("mine")
    with pytest.raises(UsageError, match="which no site wrote"):
        write_site(place, FILES)
    assert (place / name).read_text() == "mine"


def test_a_folder_of_others_a_file_and_a_link_are_refused(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("folder", "file", "link"):
        with pytest.raises(UsageError):
            write_site(tmp_path / name, FILES)
    assert (tmp_path / "folder" / "index.html").read_text() == "mine"


def test_a_build_that_fails_leaves_the_site_as_it_was(tmp_path, runs: Runs, monkeypatch) -> None:
    place, submissions = tmp_path / "site", tmp_path / "submissions"
    write_site(place, FILES)
    runs.enter(submissions, "mine")

    def broken() -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(build, "_assets", broken)
    with pytest.raises(RuntimeError):
        build_site(place, submissions, None)
    assert (place / "index.html").read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site", "submissions"]


def test_a_missing_library_is_named_with_its_extra(tmp_path, runs: Runs, monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(text, "find_spec", lambda name: None if name == "itables" else find(name))
    runs.enter(tmp_path / "submissions", "mine")
    with pytest.raises(UsageError, match=r"itables not installed; .*'llm4rec-bench\[report\]'"):
        build_site(tmp_path / "site", tmp_path / "submissions", None)
    assert not (tmp_path / "site").exists()


def test_the_command_writes_a_site_and_says_how_large(bench, tmp_path, runs: Runs) -> None:
    submissions = tmp_path / "submissions"
    runs.enter(submissions, "mine")
    code, out, err = bench("site", "made", "--submissions", submissions)
    assert (code, err) == (0, "")
    assert out.startswith("made/index.html: 0.") and out.endswith(" MB\n")
    entry = tmp_path / "here" / "made" / "entries" / "mine.html"
    assert "Examples" in entry.read_text("utf-8")
    code, _, _ = bench("site", "made", "--submissions", submissions, "--no-runs")
    assert code == 0 and "Examples" not in entry.read_text("utf-8")
    (tmp_path / "here" / "made" / "mine.txt").touch()
    code, _, err = bench("site", "made", "--submissions", submissions)
    assert code == 2 and '"mine.txt", which no site wrote' in err


def test_another_form_of_the_tables_script_is_told(monkeypatch, tmp_path) -> None:
    from llm4rec_bench import BenchError

    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "dt_bundle.js").write_text("export default 1")
    monkeypatch.setattr(build, "resources", lambda package: tmp_path)
    with pytest.raises(BenchError, match="itables holds DataTables in another form"):
        build._tables_script()
