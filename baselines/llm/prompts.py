"""Prompts are files: a folder for each, with typed slots, named on cards together with a digest.

    prompts/<name>/template.toml    paper, description, what the slots hold
    prompts/<name>/user.txt         what the user says; system.txt and assistant.txt if there are
                                    any, the latter being how the answer begins

A slot is `{name}` in a text; all other braces are as they stand. A card names `"letters@<12 hex
digits>"`: where the files are not those any more, the run is refused, so that a run file always
belongs to the words that made it.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Literal, cast, get_args

import msgspec

from baselines.llm.model import Message, Role
from llm4rec_bench import CardRefused

FOLDER = Path(__file__).with_name("prompts")

Kind = Literal["word", "number", "item", "list", "numbered", "lettered"]
"""How a slot is filled: with a word or a number of ours; with one item's text; or with several,
a line each, behind a dash, a number in brackets, or a letter."""

Value = str | int | Sequence[str]

_SLOT = re.compile(r"\{([a-z_]+)\}")
_TURNS: tuple[Role, ...] = ("system", "user", "assistant")
_LARGEST = 1 << 16
"""Bytes of a file of a prompt."""

_DIGITS = 12


class _Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    description: str
    slots: dict[Annotated[str, msgspec.Meta(pattern=r"^[a-z_]+\Z")], Kind]
    paper: str = ""


class Template:
    """One prompt, read and checked. Raises CardRefused where its files do not fit together."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        files = {path.name: _read(path) for path in _files(folder)}
        digest = sha256(msgspec.json.encode(sorted(files.items())))
        self.digest = digest.hexdigest()[:_DIGITS]
        try:
            described = tomllib.loads(files.pop("template.toml", ""))
            self.described = msgspec.convert(described, _Described)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise CardRefused(
                f"prompt {folder}/template.toml: {error}; it has a description, and under [slots] "
                f"what each holds: {', '.join(get_args(Kind))}"
            ) from None
        self.turns = {
            turn: files[f"{turn}.txt"].strip() for turn in _TURNS if f"{turn}.txt" in files
        }
        if "user" not in self.turns:
            raise CardRefused(f"prompt {folder}: has no user.txt, what the user says")
        used = {name for text in self.turns.values() for name in _SLOT.findall(text)}
        if used != set(self.described.slots):
            odd = ", ".join(sorted(used ^ set(self.described.slots)))
            raise CardRefused(
                f"prompt {folder}: {odd}: every slot of a text stands under [slots] of "
                "template.toml, and every one there in a text"
            )

    @property
    def slots(self) -> Mapping[str, Kind]:
        """What each slot holds."""
        return self.described.slots

    def messages(self, values: Mapping[str, Value]) -> tuple[Message, ...]:
        """The conversation with its slots filled. All values are `shown` already."""
        filled = {name: _filled(kind, values[name]) for name, kind in self.slots.items()}
        return tuple(
            Message(turn, _SLOT.sub(lambda slot: filled[slot[1]], text))
            for turn, text in self.turns.items()
        )

    @cached_property
    def cut(self) -> str | None:
        """The slot that is cut where there is no room: the history, or all of it but the latest."""
        return next((name for name in ("history", "earlier") if name in self.slots), None)


Slots = Mapping[str, tuple[Kind, ...]]
"""What a ranker fills, and of which kinds each may be."""

ITEMS: tuple[Kind, ...] = ("list", "numbered")
SLOTS: Slots = {
    "things": ("word",),
    "history": ITEMS,
    "earlier": ITEMS,
    "latest": ("item",),
    "candidate": ("item",),
    "count": ("number",),
    "k": ("number",),
}
"""What a slot holds whichever ranker fills it. `candidates` differ: answers name their marks."""


def template_of(named: str, offered: Slots) -> Template:
    """The prompt that a card names, `name@digest`, or `folder/of/mine@digest`.

    `offered` are the slots that a ranker can fill. Raises CardRefused where the prompt is not
    there, is not the one that the card means, asks for another slot or another kind of it, or
    does not show what is to be ranked.
    """
    name, _, digest = named.partition("@")
    folder = Path(name) if "/" in name else FOLDER / name
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in FOLDER.iterdir() if path.is_dir()))
        raise CardRefused(f"prompt: {name!r} is no folder and none of ours, which are {known}")
    template = Template(folder)
    if digest != template.digest:
        found = f"the card means {digest}" if digest else "the card does not say which"
        raise CardRefused(
            f"prompt: {name} has the digest {template.digest}, and {found}; "
            f'write prompt = "{name}@{template.digest}" if these are the words you want'
        )
    if unknown := set(template.slots) - set(offered):
        raise CardRefused(
            f"prompt: {name} has the slot {{{sorted(unknown)[0]}}}, which this ranker does not "
            f"fill; it fills {', '.join(offered)}"
        )
    for slot, kinds in offered.items():
        if slot in ("candidate", "candidates") and slot not in template.slots:
            raise CardRefused(f"prompt: {name} has no slot {{{slot}}}, so nothing would be ranked")
        if slot in template.slots and (kind := template.slots[slot]) not in kinds:
            raise CardRefused(
                f'prompt: {name} declares {slot} = "{kind}", and this ranker fills it with '
                f"{' or '.join(kinds)}"
            )
    return template


def fitted(
    template: Template,
    values: Mapping[str, Value],
    room: int,
    tokens: Callable[[str], int],
) -> tuple[Message, ...] | None:
    """The conversation with as much of the history, its latest items, as has room.

    `room` is in tokens of the whole. None where even without a history there is not enough.
    """

    history = cast("Sequence[str]", values[template.cut] if template.cut else ())

    def with_last(count: int) -> tuple[Message, ...]:
        kept = {} if template.cut is None else {template.cut: history[len(history) - count :]}
        return template.messages({**values, **kept})

    def fits(messages: tuple[Message, ...]) -> bool:
        # A token stands for a byte at least, but for one that some put before a text: what is
        # short enough by that needs no tokeniser, so that it is replayed where there is none.
        if sum(len(message.content.encode()) + 1 + _TURN for message in messages) <= room:
            return True
        return sum(tokens(message.content) + _TURN for message in messages) <= room

    whole = with_last(len(history))
    if fits(whole):
        return whole
    enough, too_many = -1, len(history)
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if fits(with_last(middle)):
            enough = middle
        else:
            too_many = middle
    return with_last(enough) if enough >= 0 else None


_TURN = 8
"""Tokens, about, by which chat templates mark a turn."""


def shown(text: str, most: int) -> str:
    """An item's text as prompts show it: one line of at most so many characters.

    Texts come from strangers. On one line, behind a number of ours, they end where the line
    does; what cannot be seen or looks like the mark of a turn is taken out.
    """
    text = unicodedata.normalize("NFC", text[: 16 * most])
    text = _MARKS.sub(" ", text)
    text = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text)
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


_MARKS = re.compile(
    r"<[|｜][^|｜>]{0,40}[|｜]>|</?s>|<(?:bos|eos|pad|unk)>|<<?/?SYS>?>|<(?:start|end)_of_turn>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)
"""How usual chat templates mark turns."""


def _filled(kind: Kind, value: Value) -> str:
    match kind, value:
        case "word" | "item", str():
            return value
        case "number", int():
            return str(value)
        case (("list" | "numbered" | "lettered"), list() | tuple()):
            marks = {
                "list": ["-"] * len(value),
                "numbered": [f"[{place}]" for place in range(1, len(value) + 1)],
                "lettered": [f"{letter}." for letter in ascii_uppercase[: len(value)]],
            }[kind]
            return "\n".join(f"{mark} {text}" for mark, text in zip(marks, value, strict=True))
    raise TypeError(f"{type(value).__name__} for a slot of kind {kind}")


def _files(folder: Path) -> list[Path]:
    known = {"template.toml", *(f"{turn}.txt" for turn in _TURNS)}
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in found:
        if path.name not in known or not path.is_file():
            raise CardRefused(f"prompt {path}: expected {', '.join(sorted(known))} and no others")
    return found


def _read(path: Path) -> str:
    if path.stat().st_size > _LARGEST:
        raise CardRefused(f"prompt {path}: larger than {_LARGEST >> 10} KiB")
    try:
        return path.read_text("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise CardRefused(f"prompt {path}: is not UTF-8: {error}") from None
