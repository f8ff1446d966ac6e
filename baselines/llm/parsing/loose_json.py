"""JSON as language models write it."""

from __future__ import annotations

import json
import re
from typing import Any

_DEEPEST = 32

_OPENING = re.compile(r"[\[{]")
_TOKEN = re.compile(
    r"""(?P<blank>[\s,]++ | //[^\n]*+ | \.\.\. | …)
    | "(?P<string>(?:[^"\\]|\\.)*+)(?P<end>")?
    | '(?P<quoted>(?:[^'\\\n]|\\.)*+)(?P<close>')?
    | (?P<number>-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)
    | (?P<word>true|false|null|True|False|None)\b
    | (?P<sign>[\[\]{}:])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": True, "True": True, "false": False, "False": False}


class _Open:
    """A list or an object that is being read."""

    def __init__(self, opening: str) -> None:
        self.value: list[Any] | dict[str, Any] = [] if opening == "[" else {}
        self.key: str | None = None
        self.colon = False

    def takes(self, value: object) -> bool:
        """Take a value or a key; False where there can be none."""
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is None:
            if isinstance(value, list | dict):
                return False
            self.key = str(value)
        elif self.colon:
            self.value[self.key] = value
            self.key, self.colon = None, False
        else:
            return False
        return True


def json_values(text: str) -> tuple[list[Any], bool]:
    """All lists and objects of a text that are in no other, and whether the last was cut off.

    Of what was cut off the whole parts are there. What turns out not to be JSON is left at
    the point where it does: every character is read once.
    """
    values: list[Any] = []
    stack: list[_Open] = []
    at = 0
    while True:
        if not stack:
            opening = _OPENING.search(text, at)
            if opening is None:
                return values, False
            at = opening.start()
        token = _TOKEN.match(text, at)
        if _cut_off(text, at, token):
            break
        if token and _goes(token, stack, values):
            at = token.end()
        else:
            stack.clear()
            again = token is not None and token[0] in "[{"
            at = at if again else token.end() if token else at + 1
    while stack:
        last = stack.pop()
        if not stack:
            values.append(last.value)
        elif isinstance(last.value, list) or isinstance(stack[-1].value, dict):
            stack[-1].takes(last.value)  # an object that is but a part of an entry is none
    return values, True


def _cut_off(text: str, at: int, token: re.Match[str] | None) -> bool:
    """Whether the text ends before its lists and objects, at a token or in one."""
    if token is None:
        return len(text) - at < 6 and (at == len(text) or text[at:].isalpha())
    if token["string"] is not None and token["end"] is None:
        return True
    return token.end() == len(text) and (_unclosed(token) or token["number"] is not None)


def _unclosed(token: re.Match[str]) -> bool:
    return token["quoted"] is not None and token["close"] is None


def _goes(token: re.Match[str], stack: list[_Open], values: list[Any]) -> bool:
    """Read on by one token; False where it cannot stand there."""
    kind, text = token.lastgroup, token[0]
    if kind == "blank":
        return True
    if kind != "sign":
        return not _unclosed(token) and stack[-1].takes(_scalar(token))
    if text in "[{":
        stack.append(_Open(text))
        return len(stack) <= _DEEPEST
    if text == ":":
        allowed = stack[-1].key is not None and not stack[-1].colon
        stack[-1].colon = True
        return allowed
    last = stack[-1]
    if isinstance(last.value, list) != (text == "]") or last.key is not None:
        return False
    stack.pop()
    if not stack:
        values.append(last.value)
        return True
    return stack[-1].takes(last.value)


def _scalar(token: re.Match[str]) -> object:
    if (number := token["number"]) is not None:
        return int(number) if number.isdecimal() and len(number) < 10 else float(number)
    if token["word"] is not None:
        return _WORDS.get(token["word"])
    if token["quoted"] is not None:
        return re.sub(r"\\(.)", r"\1", token["quoted"])
    try:
        return json.loads(f'"{token["string"]}"', strict=False)
    except ValueError:
        return token["string"].replace("\\", "")
