"""Which paths the pull request of an entry may change, and who may change them.

Decided from names, modes and sizes alone: nothing of the pull request is read. The guard of the
repository's workflows holds the text of this file, so that it needs no checkout; for that it uses
the standard library only, and a test keeps the two the same.
"""

import json
import re
import sys
from pathlib import Path

LARGEST_FILE = 5_000_000
LARGEST_ENTRY = 50_000_000
MOST_FILES = 200
"""Bytes of one file and of all files of an entry, and how many files it may have."""

_WORDS = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_RUN = r"[a-z0-9]+(?:-[a-z0-9]+)*-v[0-9]+\.[a-z]+(?:-[a-z]+)*"
FILE = re.compile(rf"submission\.toml|scores\.json|tuning\.json|{_RUN}(?:\.recording)?\.jsonl\.gz")
"""What an entry's folder may hold."""
_ENTRY = re.compile(rf"submissions/((?:({_WORDS})--)?{_WORDS})/([^/]+)")
MEMBERS = ("OWNER", "MEMBER", "COLLABORATOR")
"""What GitHub calls those who may merge."""


def refusals(
    changes: list[tuple[str, str, str]], author: str, association: str = "NONE"
) -> list[str]:
    """Why a pull request is none that enters the board, a line each; empty where it may go on.

    `changes` are (status, path, former path), as GitHub lists them. One that leaves the folder of
    submissions alone is no entry, and one of a maintainer is theirs to answer for.
    """
    touched = [path for _, *paths in changes for path in paths if path]
    if association in MEMBERS or not any(path.startswith("submissions/") for path in touched):
        return []
    faults: dict[str, list[str]] = {}
    folders = set()
    for status, path, former in changes:
        for one in filter(None, (path, former)):
            if fault := _fault(one, author):
                faults.setdefault(fault, []).append(one)
            else:
                folders.add(one.split("/")[1])
        if status == "removed" and path.endswith("/submission.toml"):
            faults.setdefault("an entry is withdrawn by the maintainers: ask", []).append(path)
    found = [f"{_shown(paths)}: {fault}" for fault, paths in faults.items()]
    if len(folders) > 1:
        found.append(
            f"{', '.join(sorted(folders))}: one entry a pull request; open another for each"
        )
    if len(changes) > MOST_FILES:
        found.append(f"{len(changes):,} files are changed; an entry has {MOST_FILES} at most")
    return found


def _shown(paths: list[str]) -> str:
    """Paths as they may be printed, the first of them by name."""
    more = "" if len(paths) == 1 else f" and {len(paths) - 1} more"
    return ascii(paths[0])[1:-1][:200] + more


def _fault(path: str, author: str) -> str | None:
    """Why an author may not change a path."""
    if path == "leaderboard.md":
        return "is made anew after merging: leave it as it is on the main branch"
    entry = _ENTRY.fullmatch(path)
    if entry is None and _ENTRY.fullmatch(path.casefold()):
        return "lies in a folder that is none of an entry: its name is in lower case"
    if entry is None or ".." in path:
        return (
            "lies outside an entry's folder: an entry changes files of submissions/LOGIN--NAME only"
        )
    if entry[2] is None or entry[2] != author.casefold():
        mend = f"only {ascii(entry[2])[1:-1]}" if entry[2] else "only a maintainer"
        return f"{mend} may change it; yours begins with {ascii(author.casefold())[1:-1]}--"
    if not FILE.fullmatch(entry[3]):
        return (
            "is no file of an entry: submission.toml, scores.json, tuning.json, "
            "<task>.<track>.jsonl.gz or <task>.<track>.recording.jsonl.gz"
        )
    return None


def unsound(files: list[tuple[str, str, int]]) -> list[str]:
    """What is wrong with the files of an entry, as (path, mode, bytes), a line each."""
    found = []
    for path, mode, size in files:
        shown = ascii(path)[1:-1][:200]
        if mode != "100644":
            kind = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a folder"}
            found.append(f"{shown}: is {kind.get(mode, 'executable')}; expected a regular file")
        elif size > LARGEST_FILE:
            found.append(
                f"{shown}: has {size:,} bytes; a file has {LARGEST_FILE:,} at most, and longer "
                "runs lie in a dataset of the Hub (llm4rec-bench submit --hub)"
            )
    total = sum(size for _, _, size in files)
    if total > LARGEST_ENTRY:
        found.append(f"the entry has {total:,} bytes; {LARGEST_ENTRY:,} are allowed")
    return found


def main(arguments: list[str]) -> int:
    """Judge what GitHub's interface lists: FILES TREE AUTHOR ASSOCIATION CHANGED."""
    listed, tree, author, association, changed = arguments
    lines = Path(listed).read_text("utf-8").splitlines()
    changes = [tuple(json.loads(line)) for line in lines]
    found = refusals(changes, author, association)
    if len(changes) != int(changed):
        found.append(f"{changed} files are changed, of which {len(changes)} are listed")
    entry = any(path.startswith("submissions/") for _, path, _ in changes)
    if entry and association not in MEMBERS:
        whole = json.loads(Path(tree).read_text("utf-8"))
        if whole["truncated"]:
            found.append("the tree of the pull request is too large to be listed")
        folders = {path.rsplit("/", 1)[0] for _, path, _ in changes}
        found += unsound([
            (one["path"], one["mode"], one.get("size", 0))
            for one in whole["tree"]
            if one["path"].rsplit("/", 1)[0] in folders
        ])  # fmt: skip
    for line in found[:50]:
        print(line)  # noqa: T201 - read in the log of the workflow
    if not found:
        print("the paths are in order" if entry else "no entry")  # noqa: T201
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
