"""The built wheel in an empty environment, and the frozen digests on other library versions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm4rec_bench.store import HOME, recipes_folder
from llm4rec_bench.task import read_manifest
from tests.conftest import RAW, ROOT, kept_raw_copies, raw_copies

pytestmark = pytest.mark.slow


def run(command: list[str | Path], **options) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(folder: Path, requirements: list[str | Path]) -> Path:
    """The interpreter of a new virtual environment with these requirements."""
    run([sys.executable, "-m", "venv", folder])
    python = folder / "bin" / "python"
    run([python, "-m", "pip", "install", "-q", *requirements])
    return python


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT])
    (wheel,) = folder.glob("*.whl")
    return environment(folder / "venv", [wheel, "-c", ROOT / "constraints.txt"])


def test_the_wheel_works_from_a_folder_that_is_no_checkout(installed: Path, tmp_path) -> None:
    command = installed.parent / "llm4rec-bench"
    settings = os.environ | {HOME: str(tmp_path / "store")}
    settings.pop("PYTHONPATH", None)

    def bench(*words: str | Path) -> str:
        return run([command, *words], cwd=tmp_path, env=settings)

    assert "ml-100k-v1" in bench("tasks")
    assert "sha256:" in bench("tasks", "toy-v1")
    assert Path(bench("download", "toy-v1").split(": ")[-1].strip()).is_dir()
    entry = ROOT / "submissions" / "als"
    found = json.loads(bench("score", "--json", entry / "toy-v1.ranking.jsonl.gz"))
    saved = json.loads((entry / "scores.json").read_text("utf-8"))["scores"]
    assert found in saved


@pytest.mark.movielens
def test_the_wheel_downloads_movielens(installed: Path, movielens, tmp_path) -> None:
    command = installed.parent / "llm4rec-bench"
    kept = kept_raw_copies()
    if not kept:
        pytest.skip("the store holds no raw copy")
    settings = os.environ | {HOME: str(tmp_path / "store")}
    run([command, "download", "ml-100k-v1", "--raw", kept[0]], cwd=tmp_path, env=settings)
    entry = ROOT / "submissions" / "als" / "ml-100k-v1.retrieval.jsonl.gz"
    run([command, "score", entry], cwd=tmp_path, env=settings)


def test_the_wheel_holds_what_pages_are_made_of(installed: Path) -> None:
    (there,) = (installed.parent.parent / "lib").glob("python*/site-packages/llm4rec_bench/site")
    here = ROOT / "llm4rec_bench" / "site"
    for folder in ("assets", "templates"):
        expected = {path.name for path in (here / folder).iterdir()}
        assert {path.name for path in (there / folder).iterdir()} == expected


def test_the_kit_brings_no_method_library(installed: Path) -> None:
    names = {line.split("==")[0].lower() for line in run(
        [installed, "-m", "pip", "list", "--format=freeze"]).splitlines()}  # fmt: skip
    assert not names & {"torch", "scipy", "implicit", "pandas", "scikit-learn", "datasets"}


_FREEZE = """
import json, sys, numpy, pyarrow
from pathlib import Path
from llm4rec_bench.freeze import digests_of, freeze
from llm4rec_bench.sources import raw_data
from llm4rec_bench.task import read_recipe

found = {}
for task, raw in json.loads(sys.argv[1]).items():
    recipe = read_recipe(Path("tasks") / task)
    frozen, counts = freeze(recipe, raw_data(recipe, *map(Path, raw)))
    found[task] = {n: e.digest for n, e in digests_of(recipe, frozen, counts).tables.items()}
print(json.dumps([numpy.__version__, pyarrow.__version__, found]))
"""


@pytest.mark.movielens
def test_oldest_allowed_libraries_freeze_to_the_same_digests(movielens, tmp_path) -> None:
    import numpy
    import pyarrow

    oldest = ["numpy==1.26.4", "pyarrow==17.0.0", "msgspec==0.19.0", "platformdirs", "filelock"]
    python = environment(tmp_path / "venv", oldest)
    raw = {"toy-v1": []} | {task: list(map(str, raw_copies(task))) for task in RAW}
    raw = {task: paths for task, paths in raw.items() if paths or task == "toy-v1"}
    if "ml-100k-v1" not in raw and kept_raw_copies():
        raw["ml-100k-v1"] = [str(kept_raw_copies()[0])]
    printed = run([python, "-c", _FREEZE, json.dumps(raw)], cwd=ROOT)
    numpy_version, pyarrow_version, found = json.loads(printed)
    assert (numpy_version, pyarrow_version) != (numpy.__version__, pyarrow.__version__)
    for task, digests in found.items():
        tables = read_manifest(recipes_folder() / task).tables
        expected = {name: entry.digest for name, entry in tables.items()}
        if "descriptions" not in digests:  # whose files are not at hand
            expected.pop("descriptions", None)
        assert digests == expected
