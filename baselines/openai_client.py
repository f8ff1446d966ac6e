"""What all that talks to an OpenAI-compatible server shares: its client, and words for failures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from llm4rec_bench import UsageError


def check_url(url: str) -> None:
    """Raise ValueError where a card's base_url is none, or tells a secret."""
    expected = "base_url: expected http(s)://host/path without a user or password"
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        sound = False
    if not sound or "@" in parts.netloc or not url.isascii() or " " in url or not url.isprintable():
        raise ValueError(expected)


def key_of(variable: str, whose: str) -> str:
    """The key that an environment variable holds; raises UsageError where that is none."""
    key = os.environ.get(variable, "")
    if not key:
        raise UsageError(
            f"{whose}: there is no key in {variable}; a server that asks for none takes any, "
            f"{variable}=none"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"{whose}: {variable} holds what cannot be a key: expected ASCII letters, digits and "
            "marks, found blanks or other signs among them"
        )
    return key


def told(error: Exception, key: str) -> str:
    """What a failure says in one line, without the key, should a server repeat it."""
    return cut(f"{type(error).__name__}: {error}".replace(key, "…"))


def cut(error: object) -> str:
    """The beginning of a text that came from elsewhere, on one line of signs that can be seen."""
    words = " ".join(str(error).split())
    return "".join(sign if sign.isprintable() else "?" for sign in words[:300])


@contextmanager
def library(name: str, extra: str) -> Iterator[None]:
    """Say how to install a library that is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageError(
            f"{name} is not installed; pip install 'llm4rec-bench[{extra}]' installs it"
        ) from None
