"""The generated parts of README.md: commands and refusal codes.

`python -m llm4rec_bench.cli.reference` writes them; a test fails where they are stale.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from llm4rec_bench.cli.commands import cli
from llm4rec_bench.files import replace_text
from llm4rec_bench.run.format import CODES


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


def with_references(text: str) -> str:
    """A README with its generated parts made anew."""
    for name, made in (("cli", commands()), ("codes", codes())):
        block = re.compile(
            rf"(?<=<!-- {name}: generated)([^\n]*-->\n).*?(?=<!-- /{name} -->)", re.S
        )
        found = block.findall(text)
        if len(found) != 1:
            raise ValueError(f"README.md has {len(found)} blocks for {name}, expected one")
        text = block.sub(f"{found[0]}\n{made}\n".replace("\\", r"\\"), text)
    return text


if __name__ == "__main__":
    readme = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md")
    replace_text(readme, with_references(readme.read_text("utf-8")))
