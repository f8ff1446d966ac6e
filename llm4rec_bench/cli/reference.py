"""The generated parts of README.md and of the guard, and the generated files beside them.

They are `CITATION.cff`, the schema of cards, and the pages of tasks that are not frozen yet.

`python -m llm4rec_bench.cli.reference` writes them; a test fails where they are stale.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from llm4rec_bench import __version__
from llm4rec_bench.cite import citation_file
from llm4rec_bench.cli import cli
from llm4rec_bench.cli.fields import board_reference, card_schema
from llm4rec_bench.entry import paths
from llm4rec_bench.files import replace_text
from llm4rec_bench.freeze import draft_card
from llm4rec_bench.run.format import CODES
from llm4rec_bench.store import is_embedded, recipes_folder
from llm4rec_bench.task import Manifest, Recipe, read_manifest, read_recipe

GUARD = Path(".github/workflows/entry-guard.yml")


def commands() -> str:
    """Usage, purpose and options of every command."""
    parts = []
    for name, command in cli.commands.items():
        context = click.Context(
            command,
            info_name=f"llm4rec-bench {name}",
            terminal_width=90,
            help_option_names=["-h", "--help"],
        )
        parts.append(f"```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def codes() -> str:
    """A row for each reason for which a run file is refused."""
    rows = [f"| `{code}` | {rule} |\n" for code, rule in CODES.items()]
    return "| code | rule |\n|---|---|\n" + "".join(rows)


def tasks() -> str:
    """A row for each task of the package."""
    lines = [
        "| task | domain | split | users | items | events | test requests | described | data |",
        "|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for folder in sorted(recipes_folder().glob("*/task.toml"), key=_embedded_first):
        recipe = read_recipe(folder.parent)
        link = f"[`{recipe.id}`](tasks/{recipe.id}/README.md)"
        head = [link, recipe.domain, str(recipe.split.__struct_config__.tag)]
        if (folder.parent / "manifest.json").exists():
            lines.append(_row([*head, *_counts(read_manifest(folder.parent)), _terms(recipe)]))
        else:
            lines.append(_row([*head, *["–"] * 5, "not frozen yet: a recipe without a manifest"]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _embedded_first(recipe: Path) -> tuple[bool, str]:
    return not is_embedded(recipe.parent.name), recipe.parent.name


def _counts(manifest: Manifest) -> list[str]:
    counts = [manifest.counts[name] for name in ("users", "items", "interactions", "requests_test")]
    described = manifest.facts.get("items_described")
    return [f"{count:,}" for count in counts] + [f"{described:.0%}" if described else "–"]


def _terms(recipe: Recipe) -> str:
    if is_embedded(recipe.id):
        return "ships with the package"
    if recipe.licence.redistribute:
        texts = "" if recipe.descriptions is None else "; descriptions CC BY-SA 4.0"
        return f"may be published again ({recipe.licence.name}{texts})"
    return "rebuilt from the publisher's files; may not be published again"


def with_references(text: str) -> str:
    """A README with its generated parts made anew."""
    parts = {
        "cli": commands(),
        "codes": codes(),
        "tasks": tasks(),
        "board": board_reference(),
    }
    for name, made in parts.items():
        block = re.compile(
            rf"(?<=<!-- {name}: generated)([^\n]*-->\n).*?(?=<!-- /{name} -->)", re.S
        )
        found = block.findall(text)
        if len(found) != 1:
            raise ValueError(f"README.md has {len(found)} blocks for {name}, expected one")
        text = block.sub(f"{found[0]}\n{made}\n".replace("\\", r"\\"), text)
    return text


def with_paths(workflow: str) -> str:
    """The guard's workflow with the text of `entry.paths`, which decides for it."""
    lines = Path(paths.__file__).read_text("utf-8").splitlines()
    text = "".join(f"{' ' * 10}{line}".rstrip() + "\n" for line in lines)
    head, begins, rest = workflow.partition("<<'PY'\n")
    _, _, tail = f"\n{rest}".partition("\n          PY\n")
    return f"{head}{begins}{text}          PY\n{tail}"


def files() -> dict[str, str]:
    """The files that are generated as a whole, by their path in the repository."""
    return {
        "CITATION.cff": citation_file(__version__),
        "submissions/submission.schema.json": card_schema(),
    }


if __name__ == "__main__":
    readme = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md")
    replace_text(readme, with_references(readme.read_text("utf-8")))
    replace_text(GUARD, with_paths(GUARD.read_text("utf-8")))
    for name, text in files().items():
        replace_text(readme.parent / name, text)
    for path in recipes_folder().glob("*/task.toml"):
        if not path.with_name("manifest.json").exists():
            replace_text(path.with_name("README.md"), draft_card(read_recipe(path)))
