"""Under which names a server has its models, by what it says of them itself.

A server of one model mostly answers under any name. What it lists is the only sign that a card
names another model than the one that answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

import msgspec

from baselines.openai_client import cut

LONGEST = 1 << 24
"""Bytes of a list beyond which it is not read: hosts of thousands of models need a few million."""

_SHOWN = 5
_LONGEST_NAME = 80
_COMPARED = 2000


class _Model(msgspec.Struct):
    id: str
    aliases: list[str] = []


class _Models(msgspec.Struct):
    data: list[_Model]
    has_more: bool = False


def listed(data: bytes) -> list[str]:
    """The names in an answer to /models; empty where it is none, or is not all there is to say."""
    try:
        found = msgspec.json.decode(data, type=_Models)
    except msgspec.MsgspecError:
        return []
    return [] if found.has_more else [name for one in found.data for name in (one.id, *one.aliases)]


def among(name: str, names: Sequence[str]) -> bool:
    """Whether a model is one of those listed.

    Hosts that pass questions on take what they list with a word behind it, such as `:nitro`.
    """
    return name in names or name.rpartition(":")[0] in names


def lists_others(base_url: str) -> bool:
    """Whether a host lists what could be set up there, and not under which names it is."""
    return (urlsplit(base_url).hostname or "").endswith(".azure.com")


def nearest(name: str, names: Sequence[str]) -> str:
    """Some of the names, the most similar first, for a message."""
    names = list(dict.fromkeys(names))
    close = get_close_matches(name[:_LONGEST_NAME], names[:_COMPARED], _SHOWN, 0.4)
    return ", ".join(cut(one)[:_LONGEST_NAME] for one in (close or names[:_SHOWN]))
