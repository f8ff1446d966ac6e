"""What an answer says beside its ranking: what it would not recommend, what was seen already."""

from __future__ import annotations

import re

from baselines.llm.parsing.answer import unified
from baselines.llm.parsing.lines import NOT_RANKED, entry_of
from baselines.llm.parsing.names import Names

_LABELLED = re.compile(r"(?P<label>[^:\[\]{}\"<>]{1,120}):(?P<rest>.*)\Z")
_TITLED = re.compile(r"#{1,6}\s+(?P<one>.{1,120})\Z|\*\*(?P<other>[^*]{1,120})\*\*\Z")
_RANKED = re.compile(r"rank|recommend|order|answer|best|\btop\b|\bmost\b|final", re.IGNORECASE)


def without_asides(said: str, names: Names) -> str:
    """An answer without what stands behind a label such as `Not recommended:`.

    That is the rest of its line, or where nothing follows there, or what does is left open, the
    lines under it: up to the next label or heading, or a blank line behind some of them.
    """
    kept: list[str] = []
    aside = begun = False
    for line in said.split("\n"):
        label, rest = _label(line.strip())
        if label and _is_aside(label) and not _is_entry(line.strip(), label, names):
            aside, begun = not rest or rest.count("[") > rest.count("]"), bool(rest)
        elif not aside:
            kept.append(line)
        elif label and _ends(label, rest) and not _is_entry(line.strip(), label, names):
            aside = False
            kept.append(line)
        elif line.strip():
            begun = True
        else:
            aside = not begun
    return "\n".join(kept)


def _label(line: str) -> tuple[str, str]:
    """What a line may call something, and what follows; two empty texts where it does not."""
    if titled := _TITLED.match(line):
        return (titled["one"] or titled["other"]).rstrip(":"), ""
    if labelled := _LABELLED.match(line):
        return labelled["label"], labelled["rest"].strip(" *_`")
    return "", ""


def _is_entry(line: str, label: str, names: Names) -> bool:
    """Whether a line is an option, whose title has a colon or stands out like a heading."""
    place = entry_of(unified(line), names)
    return names.known(label) is not None or (place is not None and isinstance(place.found, int))


def _ends(label: str, rest: str) -> bool:
    """Whether another part of the answer begins with a label."""
    return not rest or _RANKED.search(label) is not None


def _is_aside(label: str) -> bool:
    """Whether a label is of no ranking; `excluding what was seen, my ranking` is of one."""
    found = NOT_RANKED.search(label.strip(" *_#"))
    return found is not None and not re.search(r"\brank|\border", label[found.end() :])
