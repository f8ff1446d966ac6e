"""Hostile run files and hostile machines, met by the real command line in processes of its own.

Every call ends by itself in a documented exit code and a message, within two gigabytes.
What single bytes of a run file may hold is shown by the files in tests/runs.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from llm4rec_bench.run.format import LARGEST_RUN
from llm4rec_bench.store import HOME
from tests.conftest import ROOT
from tests.runs import make

VALID = make.HERE / "valid"
SOUND = VALID / "minimal.jsonl"
HEADER = make.joined([make.header()])
HUGE = 10 << 30

START = """\
import resource
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
{first}
from llm4rec_bench.cli import main
main()
"""

WITHOUT_ROOT = """\
import ctypes  # root reads and writes what it likes: give up these two capabilities
head, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capget(head, held) == 0
held[0] &= ~0b110
assert ctypes.CDLL(None).capset(head, held) == 0
"""

needs_modes = pytest.mark.skipif(
    os.geteuid() == 0 and sys.platform != "linux",
    reason="root may read and write everything, and only Linux lets it give that up",
)
UNPRIVILEGED = WITHOUT_ROOT if os.geteuid() == 0 else ""


def started(*words: object, first: str = "") -> subprocess.Popen[str]:
    """The command line in a process that runs `first` and may take two gigabytes."""
    return subprocess.Popen(
        [sys.executable, "-c", START.format(first=first), *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=ROOT,
    )  # fmt: skip


def said(child: subprocess.Popen[str], within: float = 30) -> tuple[int, str, str]:
    """How a child ends: exit code, standard output and standard error."""
    try:
        out, err = child.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise
    assert "Traceback" not in err
    return child.returncode, out, err


def call(*words: object, first: str = "", within: float = 30) -> tuple[int, str, str]:
    return said(started(*words, first=first), within)


# What is no file


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    return tmp_path / "pipe.jsonl"


@pytest.mark.parametrize("verb", ["check", "score", "compare"])
def test_a_pipe_is_refused_and_not_waited_for(verb: str, pipe: Path) -> None:
    code, out, err = call(verb, pipe, SOUND)
    assert code == 1
    assert err.splitlines()[0].startswith("pipe.jsonl: error[not-a-file]")
    assert bool(out) == (verb != "compare")  # the sound file is still checked and scored


def test_what_stands_in_a_folder_of_runs_is_refused_one_by_one(pipe: Path) -> None:
    folder = pipe.parent
    (folder / "folder.jsonl").mkdir()
    (folder / "broken.jsonl").symlink_to("nowhere")
    (folder / "loop.jsonl").symlink_to("loop.jsonl")
    (folder / "sound.jsonl").symlink_to(SOUND)
    code, out, err = call("check", folder)
    assert (code, out) == (1, f"{folder / 'sound.jsonl'}: fine\n")
    assert [line.split(":")[0] for line in err.splitlines() if "not-a-file" in line] == [
        "broken.jsonl", "folder.jsonl", "loop.jsonl", "pipe.jsonl",
    ]  # fmt: skip
    assert "broken.jsonl" in err.split("cannot be opened (No such file or directory)")[0]


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/stdin", "/dev/tty", os.devnull])
def test_a_device_is_refused(place: str) -> None:
    code, out, err = call("score", place)
    assert (code, out) == (1, "")
    assert "error[not-a-file]" in err


def test_a_link_to_a_run_is_as_good_as_the_run(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(SOUND)
    (tmp_path / "runs").symlink_to(VALID)
    assert call("check", tmp_path / "link.jsonl") == (0, f"{tmp_path / 'link.jsonl'}: fine\n", "")
    code, out, err = call("check", tmp_path / "runs")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(make.valid())


def test_a_folder_is_taken_for_its_runs_and_not_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        code, _, err = call("score", folder)
        assert (code, err) == (2, f"error: {folder}: holds no run files "
                                  "(*.jsonl, *.jsonl.gz, *.jsonl.zst)\n")  # fmt: skip
    code, _, err = call("compare", SOUND, tmp_path)
    assert code == 1
    assert f'error[not-a-file] "{tmp_path}" is not a regular file' in err


@pytest.mark.parametrize(
    "name", ["none.jsonl", "none/run.jsonl", "\x1b[2J\nrun.jsonl: fine", "\udcff"], ids=ascii
)
def test_a_path_that_leads_nowhere_is_refused(name: str, tmp_path: Path) -> None:
    code, out, err = call("check", tmp_path / name)
    assert (code, out) == (1, "")
    assert "cannot be opened (No such file or directory); check the path" in err
    assert len(err.splitlines()) == 2
    assert all(line.isprintable() for line in err.splitlines())


@needs_modes
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = Path(shutil.copy(SOUND, tmp_path))
    path.chmod(0)
    code, out, err = call("check", path, first=UNPRIVILEGED)
    assert (code, out) == (1, "")
    assert "cannot be opened (Permission denied); check the path" in err


# Sizes


def many_lines() -> bytes:
    """A header and eleven million blank lines."""
    return make.zstandard(HEADER) + make.zstandard(11_000_000, filler=b"\n")


def zstd_line(path: Path) -> None:
    path.write_bytes(make.zstandard(HEADER, HUGE))


def plain_line(path: Path) -> None:
    path.write_bytes(HEADER)
    os.truncate(path, HUGE)


def gzip_line(path: Path) -> None:
    part = gzip.compress(bytes(1 << 26))
    with path.open("wb") as file:
        file.writelines([gzip.compress(HEADER), *[part] * (HUGE >> 26)])


@pytest.mark.parametrize(
    "write",
    [
        zstd_line,
        pytest.param(plain_line, marks=pytest.mark.slow),
        pytest.param(gzip_line, marks=pytest.mark.slow),
    ],
)
def test_a_line_of_ten_gigabytes_is_refused_and_never_held(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    write(path)
    code, out, err = call("score", path, within=200)
    path.unlink()
    assert (code, out) == (1, "")
    long, large, last = err.splitlines()
    assert long.startswith("run.jsonl:2: error[line-too-long] ")
    assert large.startswith(f"run.jsonl: error[too-large] holds more than {LARGEST_RUN >> 30} GiB")
    assert last == "run.jsonl: refused, 2 problems"


@pytest.mark.slow
def test_ten_million_lines_are_the_most_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_bytes(many_lines())
    code, _, err = call("check", tmp_path / "run.jsonl", within=200)
    assert code == 1
    assert "error[too-large]" in err


def test_rows_without_end_are_read_no_further_than_there_is_enough_to_mend(tmp_path: Path) -> None:
    row = json.dumps(make.rows()[0]).encode() + b"\n"
    with gzip.open(tmp_path / "run.jsonl", "wb", compresslevel=1) as file:
        file.write(HEADER)
        for _ in range(100):
            file.write(row * 10_000)
    code, _, err = call("check", tmp_path / "run.jsonl")
    assert code == 1
    assert "run.jsonl: read no further than line" in err


# What names hold


def test_a_hostile_name_is_text_in_every_output(tmp_path: Path) -> None:
    path, table = VALID / "hostile-name.jsonl", tmp_path / "table.parquet"
    code, scored, err = call("score", path)
    assert (code, err) == (0, "")
    code, compared, err = call("compare", path, SOUND, "--per-request", table)
    assert (code, err) == (0, "")
    assert table.exists()
    for text in (scored, compared):
        assert r"\x1b[2J\x1b]0;x\x07\u202e\n| [x]" in text
        assert all(line.isprintable() for line in text.splitlines())
    code, encoded, _ = call("score", "--json", path)
    assert code == 0
    assert json.loads(encoded)["name"] == make.HOSTILE_NAME
    assert encoded.count("\n") == 1
    assert "\x1b" not in encoded


@pytest.mark.parametrize("name", ["../toy-v1", "toy-v1\n\x1b[2J"])
def test_a_path_is_no_name_of_a_task_or_track(name: str, tmp_path: Path) -> None:
    entry = ROOT / "submissions" / "random"
    for words in (
        ["tasks", name],
        ["download", name],
        ["run", entry, "--task", "toy-v1", "--track", name, "--out", tmp_path],
    ):
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        assert "\x1b" not in err
        assert "toy-v1" in err
    assert not list(tmp_path.iterdir())


# The store


TO_THE_STORE = """\
from pathlib import Path
from llm4rec_bench import store
store.recipes_folder = lambda: Path({recipes!r})
"""


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """The toy task in a store instead of the package: its tables, and what a child runs first."""
    recipes, home = tmp_path / "recipes", tmp_path / "home"
    shutil.copytree(ROOT / "tasks" / "toy-v1", recipes / "toy-v1")
    (home / "tasks" / "toy-v1").mkdir(parents=True)
    data = (recipes / "toy-v1" / "data").replace(home / "tasks" / "toy-v1" / "data")
    monkeypatch.setenv(HOME, str(home))
    return data, TO_THE_STORE.format(recipes=str(recipes))


def flipped(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(byte ^ 0xFF for byte in content[4:100]) + content[100:])


def replaced(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flipped,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "another": lambda path: shutil.copy(path.with_name("targets.parquet"), path),
    "a folder": replaced,
}


@pytest.mark.parametrize(
    ("table", "damage"),
    [
        *(("items", damage) for damage in DAMAGES),
        *(
            (table, "cut")
            for table in ("interactions", "requests", "targets", "candidates-ranking")
        ),
    ],
)
def test_a_corrupt_store_is_no_fault_of_the_run(
    table: str, damage: str, stored: tuple[Path, str]
) -> None:
    data, first = stored
    path = data / f"{table}.parquet"
    DAMAGES[damage](path)
    code, out, err = call("score", SOUND, first=first)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {path}: ")
    assert err.endswith("download the task again\n")


@needs_modes
def test_a_read_only_store_is_enough_to_score(stored: tuple[Path, str]) -> None:
    data, first = stored
    assert call("score", SOUND, first=first)[0] == 0
    for path in (*data.iterdir(), data, *list(data.parents)[:3]):
        path.chmod(0o555 if path.is_dir() else 0o444)
    code, _, err = call("score", SOUND, first=UNPRIVILEGED + first)
    assert (code, err) == (0, "")


@needs_modes
def test_downloading_into_a_read_only_store_says_how_to_move_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir(mode=0o555)
    monkeypatch.setenv(HOME, str(tmp_path / "home" / "store"))
    code, _, err = call("download", "ml-100k-v1", "--offline", first=UNPRIVILEGED)
    assert code == 3
    assert "Permission denied" in err
    assert f"set {HOME} to a folder of yours" in err


@needs_modes
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    entry = tmp_path / "random"
    shutil.copytree(ROOT / "submissions" / "random", entry)
    for path in entry.glob("*.jsonl.gz"):
        if path.name != "toy-v1.ranking.jsonl.gz":
            path.unlink()
    saved = (entry / "scores.json").read_bytes()
    entry.chmod(0o555)
    board = tmp_path / "submissions"
    board.mkdir()
    (board / "popularity").symlink_to(ROOT / "submissions" / "popularity")
    for words in (
        ["score", "--save", entry],
        ["run", entry, "--task", "toy-v1", "--track", "ranking", "--out", entry],
        ["leaderboard", "--submissions", board, "--out", entry / "board.md"],
    ):
        code, _, err = call(*words, first=UNPRIVILEGED)
        assert code == 2
        assert err.splitlines()[-1].startswith(f"error: {entry}/")
        assert ": Permission denied; write elsewhere" in err.splitlines()[-1]
    entry.chmod(0o755)
    assert (entry / "scores.json").read_bytes() == saved


# Ctrl-C


@pytest.mark.parametrize("large", ["long line", "many lines"])
def test_ctrl_c_ends_reading_soon(large: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    if large == "long line":
        plain_line(path)
    else:
        path.write_bytes(many_lines())
    child = started("score", SOUND, path)
    assert child.stdout is not None
    child.stdout.readline()  # the sound file is done with
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    code, _, err = said(child, within=10)
    assert code == 130
    assert err.splitlines()[-1].startswith("interrupted")
    assert "refused" not in err


# Full disks

FULL = "resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
"""A write beyond so many bytes of a file fails, whoever writes, as it does on a full disk."""


@pytest.mark.parametrize("verb", ["check", "score"])
def test_a_full_disk_behind_stdout_is_told(verb: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from llm4rec_bench.cli import main; main()", verb, SOUND],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode in (1, 2)
    assert "No space left on device" in done.stderr
    assert "bug" not in done.stderr


def test_a_full_disk_leaves_saved_scores_as_they_were(tmp_path: Path) -> None:
    entry = tmp_path / "random"
    shutil.copytree(ROOT / "submissions" / "random", entry)
    for path in entry.glob("ml-*"):
        path.unlink()
    before = {path.name: path.read_bytes() for path in entry.iterdir()}
    code, _, err = call("score", "--save", entry, first=FULL.format(size=1000))
    assert code in (1, 2)
    assert "bug" not in err
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == before


def test_a_full_disk_leaves_no_half_table(tmp_path: Path) -> None:
    words = ["compare", SOUND, VALID / "every-field.jsonl", "--per-request", tmp_path / "t.parquet"]
    code, _, err = call(*words, first=FULL.format(size=1000))
    assert code in (1, 2)
    assert "bug" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("packed", [[], ["--compress"]])
def test_a_run_goes_on_once_the_disk_has_room(packed: list[str], tmp_path: Path) -> None:
    words = ["run", ROOT / "submissions" / "random", "--task", "toy-v1", "--track", "ranking",
             *packed, "--out", tmp_path]  # fmt: skip
    code, _, err = call(*words, first=FULL.format(size=5000))
    assert code in (1, 2)
    assert "bug" not in err
    code, _, err = call(*words)
    assert code == 0
    assert "continues after" in err
    assert call("check", tmp_path)[0] == 0


# Places


@needs_modes
def test_a_table_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    code, _, err = call("compare", SOUND, VALID / "every-field.jsonl", "--per-request",
                        tmp_path / "closed" / "t.parquet", first=UNPRIVILEGED)  # fmt: skip
    assert code == 2
    assert "Permission denied" in err
    assert "bug" not in err


def test_a_table_replaces_neither_a_device_nor_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "t.tmp").write_text("mine")
    assert call("compare", SOUND, VALID / "every-field.jsonl", "--per-request",
                tmp_path / "t.parquet")[0] == 0  # fmt: skip
    assert (tmp_path / "t.tmp").read_text() == "mine"
    os.mkfifo(tmp_path / "pipe")
    code, _, _ = call("compare", SOUND, VALID / "every-field.jsonl", "--per-request",
                      tmp_path / "pipe")  # fmt: skip
    assert code == 2
    assert (tmp_path / "pipe").is_fifo()


def test_a_card_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "submission.toml")
    for words in (["run", tmp_path], ["score", "--save", tmp_path]):
        code, _, err = call(*words, within=10)
        assert code == 1
        assert "submission.toml" in err


def test_a_path_cannot_reach_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "\x1b[2J\n"
    folder.mkdir()
    path = Path(shutil.copy(SOUND, folder / "\x1b]0;x\x07.jsonl"))
    code, out, _ = call("check", path)
    assert code == 0
    assert all(line.isprintable() for line in out.splitlines())
    assert len(out.splitlines()) == 1


def test_a_name_that_is_not_utf8_can_be_compared(tmp_path: Path) -> None:
    path = Path(shutil.copy(SOUND, tmp_path / "\udcff.jsonl"))
    for more in (["--json"], ["--per-request", tmp_path / "t.parquet"]):
        assert call("compare", path, SOUND, *more)[0] == 0


def test_a_terminal_of_ascii_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert call("score", SOUND)[0] == 0


@pytest.mark.timeout(60)
def test_a_small_file_cannot_take_minutes(tmp_path: Path) -> None:
    row = '{"request_id":"u001","items":[],"x":[' + "{}," * 340_000 + "{}]}\n"
    with pa.CompressedOutputStream(str(tmp_path / "run.jsonl"), "zstd") as file:
        file.write(HEADER + row.encode() * 200)
    assert (tmp_path / "run.jsonl").stat().st_size < 50_000
    assert call("check", tmp_path / "run.jsonl", within=30)[0] == 1


def test_a_path_too_long_is_refused_like_any_other(tmp_path: Path) -> None:
    code, out, err = call("check", tmp_path / ("x" * 5000), SOUND)
    assert code == 1
    assert out == f"{SOUND}: fine\n"
    assert "error[not-a-file]" in err
    assert len(err) < 1000


@needs_modes
def test_a_run_in_a_closed_folder_is_refused_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    path = Path(shutil.copy(SOUND, tmp_path / "closed"))
    path.parent.chmod(0)
    code, out, err = call("check", path, SOUND, first=UNPRIVILEGED)
    path.parent.chmod(0o755)
    assert code == 1
    assert out == f"{SOUND}: fine\n"
    assert "error[not-a-file]" in err


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_whose_first_bytes_cannot_be_read_is_refused() -> None:
    code, _, err = call("check", "/proc/self/mem")
    assert code == 1
    assert "error[not-a-file]" in err or "error[bad-compression]" in err


@pytest.mark.parametrize("name", ["bad-json-utf16-unmarked.jsonl", "bad-json-nul.jsonl"])
def test_nul_bytes_are_told_to_be_an_encoding(name: str) -> None:
    assert "UTF-8" in call("check", make.HERE / "invalid" / name)[2]


def test_a_bomb_is_told_how_to_be_mended() -> None:
    err = call("check", make.HERE / "invalid" / "too-large.jsonl.zst")[2]
    assert ";" in err.splitlines()[0]
