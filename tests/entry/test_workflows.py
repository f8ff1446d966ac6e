"""The workflows: what they are allowed, what they run, and that the guard decides as we do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llm4rec_bench.cli.reference import with_paths
from llm4rec_bench.entry.paths import FILE, refusals, unsound
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GUARD = ROOT / ".github" / "workflows" / "entry-guard.yml"


def steps(path: Path) -> list[dict]:
    jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_given_little_and_pin_what_they_use(path: Path) -> None:
    text = path.read_text("utf-8")
    whole = yaml.safe_load(text)
    assert whole["permissions"] == {}
    assert "secrets." not in text
    for job in whole["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert job["permissions"]
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        # What strangers choose reaches a shell through the environment only.
        assert "${{" not in step.get("run", "")


def test_only_the_guard_runs_beside_secrets_and_it_reads_nothing() -> None:
    dangerous = [path for path in WORKFLOWS if "pull_request_target" in path.read_text("utf-8")]
    assert dangerous == [GUARD]
    assert not [step for step in steps(GUARD) if "uses" in step]
    (job,) = yaml.safe_load(GUARD.read_text("utf-8"))["jobs"].values()
    assert set(job["permissions"].values()) == {"read"}


def test_the_guard_judges_the_commit_that_its_tick_is_of_and_what_is_merged_into_main() -> None:
    whole = yaml.safe_load(GUARD.read_text("utf-8"))
    when = whole[True]["pull_request_target"]  # YAML reads `on` as a truth value
    assert when["branches"] == ["main"]
    assert set(when["types"]) == {"opened", "synchronize", "reopened", "edited"}
    (step,) = steps(GUARD)
    listed, checked, judged = (
        step["run"].index(word) for word in ("/files?", "--jq .head.sha", 'paths.py" \\\n')
    )
    assert listed < checked < judged


def test_entries_are_scored_with_a_token_that_only_reads_and_code_of_the_base() -> None:
    path = ROOT / ".github" / "workflows" / "entry-score.yml"
    (job,) = yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
    assert job["permissions"] == {"contents": "read"}
    (checkout,) = [step for step in job["steps"] if "checkout@" in step.get("uses", "")]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"


def test_the_guard_holds_our_rules() -> None:
    text = GUARD.read_text("utf-8")
    assert with_paths(text) == text


@pytest.mark.skipif(shutil.which("zizmor") is None, reason="zizmor is not installed")
def test_the_audit_of_workflows_finds_nothing() -> None:
    done = subprocess.run(
        ["zizmor", "--offline", "--no-progress", *map(str, WORKFLOWS)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "extras"), [("requirements.lock", []), ("requirements-site.lock", ["report"])]
)
def test_the_locks_hold_every_dependency_by_hash(name: str, extras: list[str]) -> None:
    lock = (ROOT / name).read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    more = [wanted for extra in extras for wanted in project["optional-dependencies"][extra]]
    for wanted in [*project["dependencies"], *more]:
        name = re.split(r"[<>=!~ ]", wanted)[0]
        assert re.search(rf"^{re.escape(name)}==\S+( ;[^\n]*)? \\\n    --hash=sha256:", lock, re.M)
    assert not re.search(r"https?://", lock)


MINE = [
    ["added", f"submissions/ada--mine/{name}", ""] for name in ("submission.toml", "scores.json")
]
TREE = [{"path": path, "mode": "100644", "size": 10} for _, path, _ in MINE]


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({}, 0, "the paths are in order"),
        ({"files": [["modified", "README.md", ""]]}, 0, "no entry"),
        ({"author": "bob"}, 1, "only ada may change it; yours begins with bob--"),
        ({"association": "MEMBER", "author": "bob"}, 0, "in order"),
        ({"association": "FIRST_TIMER", "author": "bob"}, 1, "only ada"),
        ({"files": [*MINE, ["added", ".github/workflows/x.yml", ""]]}, 1, "outside an entry's"),
        ({"files": [["renamed", MINE[0][1], "submissions/bob--his/scores.json"]]}, 1, "only bob"),
        ({"files": [["removed", MINE[0][1], ""]]}, 1, "withdrawn by the maintainers"),
        ({"changed": 3001}, 1, "3001 files are changed, of which 2 are listed"),
        ({"truncated": True}, 1, "too large to be listed"),
        ({"tree": [TREE[0] | {"mode": "120000"}]}, 1, "a symbolic link"),
        ({"tree": [TREE[0] | {"mode": "160000"}]}, 1, "a submodule"),
        ({"tree": [TREE[0] | {"mode": "100755"}]}, 1, "executable"),
        ({"tree": [TREE[0] | {"size": 5_000_001}]}, 1, "5,000,000 at most"),
        ({"tree": TREE * 6 + [TREE[0] | {"size": 4_999_999}] * 11}, 1, "50,000,000 are allowed"),
    ],
)  # fmt: skip
def test_the_guard_as_its_workflow_runs_it(
    tmp_path: Path, change: dict, code: int, told: str
) -> None:
    (script,) = [step["run"] for step in steps(GUARD)]
    (text,) = re.findall(r"<<'PY'\n(.*?)\nPY\n", script, re.S)
    (tmp_path / "paths.py").write_text(text)
    given = {
        "files": MINE,
        "tree": TREE,
        "author": "Ada",
        "association": "NONE",
        "truncated": False,
    }
    given |= change
    lines = "".join(json.dumps(line) + "\n" for line in given["files"])
    (tmp_path / "files.jsonl").write_text(lines)
    tree = {"tree": given["tree"], "truncated": given["truncated"]}
    (tmp_path / "tree.json").write_text(json.dumps(tree))
    done = subprocess.run(
        [sys.executable, "-I", "paths.py", "files.jsonl", "tree.json", given["author"],
         given["association"], str(given.get("changed", len(given["files"])))],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "")
    assert told in done.stdout


SIGNS = st.text("ab-./_~\\ \n\0AÀ‮", max_size=12)
PATHS = st.builds(
    "{}{}{}".format,
    st.sampled_from(
        ["submissions/ada--", "submissions/", "submissions/bob--", "", "./submissions/"]
    ),
    SIGNS,
    st.sampled_from(["/submission.toml", "/scores.json", "/x", "", "/toy-v1.ranking.jsonl.gz"]),
)


@given(st.lists(st.tuples(st.sampled_from(["added", "modified", "renamed"]), PATHS), max_size=4))
def test_what_is_let_through_lies_in_one_folder_of_its_author(
    changes: list[tuple[str, str]],
) -> None:
    found = refusals([(status, path, "") for status, path in changes], "Ada")
    touched = [path for _, path in changes]
    if found or not any(path.startswith("submissions/") for path in touched):
        return
    folders = {path.rsplit("/", 1)[0] for path in touched}
    assert len(folders) == 1
    for path in touched:
        assert re.fullmatch(r"submissions/ada--[a-z0-9-]+/[a-z0-9.-]+", path)
        assert FILE.fullmatch(path.rsplit("/", 1)[1])


def test_a_folder_in_an_entry_is_no_file() -> None:
    assert unsound([("x", "040000", 0)]) == ["x: is a folder; expected a regular file"]
