"""One line of a run file: is it what the format says?

What is wrong with a line is noted and the next one is read, so that one call finds all
there is to mend. Parsing never guesses: no id becomes a number, no number an id, no
repeated key is dropped without a word.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec

from llm4rec_bench.errors import shown
from llm4rec_bench.run.explain import explain
from llm4rec_bench.run.format import LONGEST_LINE, Dropped, Header, Row, unsound
from llm4rec_bench.run.problems import Problems
from llm4rec_bench.task import FORMAT

_decode_row = msgspec.json.Decoder(Row).decode
_decode_header = msgspec.json.Decoder(Header).decode


def judged_header(line: bytes, number: int, problems: Problems) -> Header | None:
    """The header in the first line of a file; None where it holds none."""
    if not _is_text(line, number, problems):
        return None
    try:
        if _is_of_another_format(line, number, problems):
            return None
        header = _decode_header(line)
    except msgspec.DecodeError as error:
        if b'"request_id"' in line and b'"format"' not in line:
            problems.add(
                "missing-header",
                "the first line is a ranking; put before it "
                f'{{"format": "{FORMAT}", "task": …, "track": …, "digest": …, "name": …}}',
                number,
            )
            judged_row(line, number, problems)
        else:
            _refuse(line, number, problems, error, Header)
        return None
    return None if _repeats_a_key(line, number, problems) else header


def judged_row(line: bytes, number: int, problems: Problems) -> Row | None:
    """The row that a line holds; None where it is blank or not sound."""
    if not line.strip():
        return None
    if not _is_text(line, number, problems):
        return None
    try:
        row = _decode_row(line)
    except msgspec.DecodeError as error:
        if b'"format"' in line and b'"digest"' in line:
            said = "a second header; write one run a file"
            problems.add("unexpected-header", said, number)
        else:
            _refuse(line, number, problems, error, Row)
        return None
    if _repeats_a_key(line, number, problems):
        return None
    if fault := unsound(row):
        problems.add(fault.code, fault.message, number, fault.field)
        return None
    return row


def _is_text(line: bytes, number: int, problems: Problems) -> bool:
    said = None
    if len(line) > LONGEST_LINE:
        said = f"longer than {LONGEST_LINE:,} bytes; shorten the explanation"
        problems.add("line-too-long", said, number)
        return False
    if line.startswith(b"\xef\xbb\xbf"):
        said = "starts with a byte order mark; save the file as UTF-8 without it"
    else:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            said = f"byte {error.start + 1} is not UTF-8; write the file as UTF-8"
    if said is not None:
        problems.add("not-utf8", said, number)
    return said is None


def _repeats_a_key(line: bytes, number: int, problems: Problems) -> bool:
    # The decoder keeps the last of repeated keys without a word. What it refuses is not looked
    # at: nothing bounds how much else such a line holds.
    if not _may_repeat_a_key(line):
        return False
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        times = Counter(name for name, _ in found)
        repeated.extend(name for name, count in times.items() if count > 1)
        return dict(found)

    try:
        json.loads(line, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return False
    for name in repeated:
        problems.add("repeated-key", f"names {shown(name)} twice; keep one", number)
    return bool(repeated)


_KEYS = [
    f'"{name}":'.encode()
    for name in dict.fromkeys(
        Row.__struct_fields__ + Header.__struct_fields__ + Dropped.__struct_fields__
    )
]


def _may_repeat_a_key(line: bytes) -> bool:
    """Whether a line needs a slow look for repeated keys.

    It does not where every colon in it belongs to another key of ours, as it does in
    nearly all lines. A string cannot hold a quote before a colon without a backslash.
    """
    colons = line.count(b":")
    for key in _KEYS:
        if colons == 0:
            break
        colons -= key in line
    return colons != 0 or b"\\" in line


class _Format(msgspec.Struct):
    """What a header says of its format, whatever else it holds."""

    format: str | None = None


def _is_of_another_format(line: bytes, number: int, problems: Problems) -> bool:
    # Looked at before the rest: another format may well have other fields.
    try:
        named = msgspec.json.decode(line, type=_Format).format
    except (msgspec.DecodeError, RecursionError):
        return False  # the strict decoder says what is wrong
    if named is None or named == FORMAT:
        return False
    said = f'{shown(named)} is not a format this version reads; expected "{FORMAT}"'
    problems.add("wrong-format", said, number, "format")
    return True


def _refuse(
    line: bytes,
    number: int,
    problems: Problems,
    error: msgspec.DecodeError,
    struct: type[msgspec.Struct],
) -> None:
    fault = explain(line, error, struct)
    problems.refused += len(line)
    problems.add(fault.code, fault.message, number, fault.field)
