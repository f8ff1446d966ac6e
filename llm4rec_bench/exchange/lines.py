"""Lines of text made of columns, many at once, and what their words may hold."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.errors import UsageError, shown

TOGETHER = 1 << 12
"""Requests whose lines are made in one go, so that memory stays bounded."""

_NOT_A_WORD = r"^$|[\s\p{Z}\p{C}]"
"""Spaces, line ends and all else that does not print: no id of a file parted by spaces."""


def text_of(columns: list[pa.Array | pa.Scalar], separator: str) -> bytes:
    """A line for each row of some columns of strings, with their ends."""
    lines = pc.binary_join_element_wise(*columns, separator)
    if not len(lines):
        return b""
    whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    return (pc.binary_join(whole, "\n")[0].as_py() + "\n").encode()


def words_only(
    ids: pa.StringArray, what: str, form: str, odd: str = _NOT_A_WORD, nor: str = ""
) -> None:
    """Refuse ids that files of this form cannot hold; raises UsageError naming the first.

    `odd` is the pattern of those, which would come back as others or break their line, and `nor`
    says what it has beyond blanks and signs that do not print.
    """
    wrong = ids.filter(pc.match_substring_regex(ids, odd))
    if len(wrong):
        raise UsageError(
            f"{what} {shown(wrong[0].as_py())} cannot be written as {form}: such files hold no id "
            f"that is empty, has white space or does not print{nor}"
        )


def not_a_word(*more: str) -> str:
    """The pattern of what is no word, and of whatever else a form cannot hold."""
    return "|".join([_NOT_A_WORD, *more])
