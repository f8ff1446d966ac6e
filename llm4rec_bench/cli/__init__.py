"""The command line: the only part that prints, exits, or decides where files are.

Commands import what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import traceback

import click

from llm4rec_bench.cli import entering, exchange, making, running, site, submit, tune
from llm4rec_bench.cli.commands import cli
from llm4rec_bench.errors import BenchError, RunRefused, printable

USAGE = 2
OUR_BUG = 70
INTERRUPTED = 130
_LONGEST = 10_000
"""Characters of a message; what strangers wrote in it is cut long before."""

_ROOM = "; free some space and run the same command again"
_MENDS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: "; write elsewhere, or change who may write there",
    errno.EROFS: "; write elsewhere",
    errno.EIO: "; the disk or the network fails",
}
"""What goes wrong on a machine through nobody's fault, and how to go on."""
ISSUES = "https://github.com/llm4rec-bench/llm4rec-bench/issues"


def main() -> None:
    """Run the command line; every way to fail ends in a message and a documented exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of ASCII is to show what it can
            stream.reconfigure(errors="backslashreplace")
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


def _lines(message: str) -> str:
    """A message as it may be printed; its lines stay lines."""
    return "\n".join(printable(line, _LONGEST) for line in message[:_LONGEST].split("\n"))


def _exit_code() -> int:
    try:
        code = cli.main(standalone_mode=False)  # click returns what a command exits with
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BenchError as error:
        if error.__cause__ is not None:  # a method's own code failed: its author needs the place
            traceback.print_exception(error.__cause__)
        refused = isinstance(error, RunRefused)  # whose every line is fit to print already
        told = str(error) if refused else f"error: {_lines(str(error))}"
        click.echo(told, err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "interrupted; what is written so far is kept, and the same command goes on from there",
            err=True,
        )
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.filename is None and error.errno not in _MENDS:
            click.echo(f"internal error: {_kept_trace()}", err=True)
            return OUR_BUG
        place = "" if error.filename is None else f"{printable(str(error.filename), _LONGEST)}: "
        reason = error.strerror or str(error)
        click.echo(f"error: {place}{reason}{_MENDS.get(error.errno or 0, '')}", err=True)
        return USAGE
    except Exception:
        click.echo(f"internal error: {_kept_trace()}", err=True)
        return OUR_BUG
    return code if isinstance(code, int) else 0


def _kept_trace() -> str:
    """Save the trace of a bug of ours where it can be attached to a report."""
    kind, error, _ = sys.exc_info()
    said = f"{kind.__name__ if kind else 'error'}: {error}"
    try:
        name = _written_trace()
    except OSError:
        return f"{said}\nThis is a bug of llm4rec-bench. Please report it at {ISSUES}"
    return f"{said}\nThis is a bug of llm4rec-bench. Please report it with {name} at {ISSUES}"


def _written_trace() -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="llm4rec-bench-", suffix=".txt", encoding="utf-8", delete=False
    ) as file:
        traceback.print_exc(file=file)
    return file.name


__all__ = ["cli", "entering", "exchange", "main", "making", "running", "site", "submit", "tune"]
