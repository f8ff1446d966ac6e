"""The shape of the code: who may import whom, and what must stay cheap to load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "llm4rec_bench"

ORDER = (
    "errors files metrics statistics ids interactions split pools texts recording task sources "
    "freeze hub store download publish submission cite run scoring compare exchange tuning "
    "leaderboard site entry cli"
).split()

HEAVY = {
    "datasets", "faiss", "huggingface_hub", "implicit", "jinja2", "numpy", "openai", "pandas",
    "pyarrow", "rich", "scipy", "sklearn", "torch", "transformers",
}  # fmt: skip


def _modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _imported(path: Path) -> Iterator[str]:
    """Full names of all that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_has_its_place_in_the_reading_order() -> None:
    assert {_part(path) for path in _modules(PACKAGE)} == {*ORDER, "__init__", "__main__"}


@pytest.mark.parametrize("path", _modules(PACKAGE), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_what_stands_before_them(path: Path) -> None:
    part = _part(path)
    if part in {"__init__", "__main__"}:
        return
    for name in _imported(path):
        first, _, rest = name.partition(".")
        if first != "llm4rec_bench":
            continue
        imported = rest.split(".")[0]
        if part == "cli" and imported in {"__version__", *ORDER}:
            continue
        assert imported in ORDER, f"{path} imports the package root for {rest}"
        assert ORDER.index(imported) <= ORDER.index(part), f"{path} imports {name}"


def test_the_kit_never_imports_methods_and_methods_only_public_names() -> None:
    import llm4rec_bench

    for path in _modules(PACKAGE):
        assert not [name for name in _imported(path) if name.startswith("baselines")], path
    for path in _modules(ROOT / "baselines"):
        for name in _imported(path):
            if name.startswith("llm4rec_bench"):
                assert name.removeprefix("llm4rec_bench.") in llm4rec_bench.__all__, path


def test_every_public_name_loads() -> None:
    import llm4rec_bench

    for name in llm4rec_bench.__all__:
        assert getattr(llm4rec_bench, name).__name__ == name


@pytest.mark.parametrize(
    "arguments", [[], ["score"], ["run"], ["download"], ["leaderboard"], ["cite"], ["site"]]
)
def test_help_loads_no_heavy_module(arguments: list[str]) -> None:
    code = (
        "import sys; from llm4rec_bench.cli import cli\n"
        f"try: cli.main({[*arguments, '--help']!r})\n"
        f"finally: print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout.startswith("Usage:")


@pytest.mark.parametrize("command", ["score", "check", "compare"])
def test_scoring_loads_no_method_library_nor_pandas(command: str) -> None:
    run = ROOT / "submissions" / "popularity" / "toy-v1.ranking.jsonl.gz"
    code = (
        f"import sys; sys.argv = ['llm4rec-bench', {command!r}, sys.argv[1], sys.argv[1]]\n"
        "from llm4rec_bench.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"heavy = {HEAVY - {'numpy', 'pyarrow', 'rich'}!r}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
