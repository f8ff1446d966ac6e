"""What all that talks to an OpenAI-compatible server shares: its client, and words for failures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

from llm4rec_bench import UsageError

NO_KEY = "none"
"""What a server is sent that needs no key, since the client always sends one; no secret."""


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


def key_of(variable: str, url: str, whose: str) -> str:
    """The key for a server that an environment variable holds.

    A server on this machine needs none. Raises UsageError where one elsewhere has none, since a
    key that was forgotten is likelier there, and where what is held cannot be a key.
    """
    key = os.environ.get(variable, "")
    if not key and _is_loopback(url):
        return NO_KEY
    if not key:
        raise UsageError(
            f"{whose}: there is no key in {variable}; a server that asks for none takes any, "
            f"{variable}={NO_KEY}"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"{whose}: {variable} holds what cannot be a key: expected ASCII letters, digits and "
            "marks, found blanks or other signs among them"
        )
    return key


def _is_loopback(url: str) -> bool:
    """Whether a URL is of this machine by its own words; no name is looked up."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # another name
        return False


def told(error: Exception, key: str) -> str:
    """What a failure says in one line, without the key, should a server repeat it."""
    return cut(without(key, f"{type(error).__name__}: {error}"))


def without(key: str, said: str) -> str:
    """What a server says, should it repeat the key."""
    return said if key == NO_KEY else said.replace(key, "…")


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
