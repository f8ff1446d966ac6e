"""The command line: the only part that prints, exits, or decides where files are.

Commands import what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

import click

from llm4rec_bench.cli.commands import cli
from llm4rec_bench.errors import BenchError, RunRefused

USAGE = 2
OUR_BUG = 70
INTERRUPTED = 130
ISSUES = "https://github.com/llm4rec-bench/llm4rec-bench/issues"


def main() -> None:
    """Run the command line; every way to fail ends in a message and a documented exit code."""
    if sys.argv[1:2] and sys.argv[1] in _LEAN:
        lean()
    sys.exit(_exit_code())


def lean() -> None:
    """Set Arrow up for a command that reads much and keeps little; before Arrow is loaded.

    Its own allocator keeps what a table took to decode, a quarter of all memory.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    sys.meta_path.insert(0, _NoPandas())


_LEAN = {"check", "compare", "score", "tasks"}


class _NoPandas:
    """Keeps Arrow from loading pandas, which it does wherever that is installed.

    It costs a quarter of a second, and these commands never hand anything to it.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Say that there is no pandas, and nothing of any other module."""
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=fullname)


def _exit_code() -> int:
    try:
        code = cli.main(standalone_mode=False)  # click returns what a command exits with
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BenchError as error:
        if error.__cause__ is not None:  # a method's own code failed: its author needs the place
            traceback.print_exception(error.__cause__)
        told = str(error) if isinstance(error, RunRefused) else f"error: {error}"
        click.echo(told, err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "interrupted; rows written so far are kept, and the same command continues a run",
            err=True,
        )
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.filename is None:
            click.echo(f"internal error: {_kept_trace()}", err=True)
            return OUR_BUG
        click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        return USAGE
    except Exception:
        click.echo(f"internal error: {_kept_trace()}", err=True)
        return OUR_BUG
    return code if isinstance(code, int) else 0


def _kept_trace() -> str:
    """Save the trace of a bug of ours where it can be attached to a report."""
    kind, error, _ = sys.exc_info()
    with tempfile.NamedTemporaryFile(
        "w", prefix="llm4rec-bench-", suffix=".txt", encoding="utf-8", delete=False
    ) as file:
        traceback.print_exc(file=file)
    said = f"{kind.__name__ if kind else 'error'}: {error}"
    return f"{said}\nThis is a bug of llm4rec-bench. Please report it with {file.name} at {ISSUES}"


__all__ = ["cli", "main"]
