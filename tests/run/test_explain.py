"""What is said of a line that is no row, and of a first line that is no header."""

from __future__ import annotations

import json

import pytest

from tests.run.conftest import Refused
from tests.runs import make

ROW_FIELDS = (
    "expected request_id, items, run, latency_ms, scores, status, prompt_tokens, "
    "completion_tokens, cached_tokens, dropped, explanation"
)
STATUSES = "expected ok, parse_error, refusal, truncated, timeout, api_error, fallback"
LEAVE_OUT = "leave the field out where it is unknown"
NO_NAN = "JSON has no NaN or Infinity; leave the field out"
NOT_302 = "ids are strings, put them in quotes"
UP_TO_512 = "an id has 1 to 512 characters"


def _row(more: str) -> str:
    return f'{{"request_id":"u001","items":["w41"],{more}}}'


ROWS = {
    # Numbers
    _row('"latency_ms":NaN'): ("bad-number", "", NO_NAN),
    _row('"latency_ms":-Infinity'): ("bad-number", "", NO_NAN),
    _row('"scores":[NaN]'): ("bad-number", "", NO_NAN),
    _row('"latency_ms":1e999'): (
        "bad-number", "latency_ms", f"number out of range; {LEAVE_OUT}",
    ),
    _row(f'"latency_ms":{"9" * 5000}'): (
        "bad-number", "latency_ms", f"number out of range; {LEAVE_OUT}",
    ),
    _row('"latency_ms":-1'): (
        "bad-number", "latency_ms", f"expected float >= 0.0; {LEAVE_OUT}",
    ),
    _row('"scores":[1e999]'): (
        "bad-number", "scores[0]", f"number out of range; {LEAVE_OUT}",
    ),
    _row('"prompt_tokens":9007199254740993'): (
        "bad-number", "prompt_tokens", f"expected int <= 2147483648; {LEAVE_OUT}",
    ),
    _row(f'"prompt_tokens":{"9" * 5000}'): (
        "bad-number", "prompt_tokens", f"integer value out of range; {LEAVE_OUT}",
    ),
    _row('"cached_tokens":-1'): (
        "bad-number", "cached_tokens", f"expected int >= 0; {LEAVE_OUT}",
    ),
    _row('"dropped":{"seen":-1}'): (
        "bad-number", "dropped.seen", f"expected int >= 0; {LEAVE_OUT}",
    ),
    _row('"run":-1'): ("bad-number", "run", f"expected int >= 0; {LEAVE_OUT}"),
    _row('"run":100'): ("bad-number", "run", f"expected int <= 99; {LEAVE_OUT}"),
    # Types
    _row('"latency_ms":true'): ("wrong-type", "latency_ms", "expected float | null, got bool"),
    _row('"run":false'): ("wrong-type", "run", "expected int, got bool"),
    _row('"run":0.0'): ("wrong-type", "run", "expected int, got float"),
    _row('"run":"0"'): ("wrong-type", "run", "expected int, got str"),
    _row('"latency_ms":"12"'): ("wrong-type", "latency_ms", "expected float | null, got str"),
    _row('"prompt_tokens":1.5'): ("wrong-type", "prompt_tokens", "expected int | null, got float"),
    _row('"scores":[null]'): ("wrong-type", "scores[0]", "expected float, got null"),
    _row('"status":null'): ("wrong-type", "status", "expected str, got null"),
    _row('"dropped":[1]'): ("wrong-type", "dropped", "expected object | null, got array"),
    '{"request_id":1,"items":[]}': (
        "wrong-type", "request_id", f"expected str, got int; {NOT_302}",
    ),
    '{"request_id":"u001","items":["w41",41]}': (
        "wrong-type", "items[1]", f"expected str, got int; {NOT_302}",
    ),
    '{"request_id":"u001","items":"w41"}': (
        "wrong-type", "items", "expected array, got str",
    ),
    '{"request_id":"u001","items":[""]}': (
        "wrong-type", "items[0]", f"expected str of length >= 1; {UP_TO_512}",
    ),
    f'{{"request_id":"{"u" * 513}","items":[]}}': (
        "wrong-type", "request_id", f"expected str of length <= 512; {UP_TO_512}",
    ),
    "[]": ("wrong-type", "", "expected object, got array; each line is one JSON object"),
    "null": ("wrong-type", "", "expected object, got null; each line is one JSON object"),
    # Fields
    _row('"latencyms":1'): (
        "unknown-field", "", f'"latencyms" is not a field; {ROW_FIELDS}; nearest: "latency_ms"',
    ),
    _row('"Items":[]'): (
        "unknown-field", "", f'"Items" is not a field; {ROW_FIELDS}; nearest: "items"',
    ),
    _row('"\\u001b[2J\\n":1'): (
        "unknown-field", "", f'"\\x1b[2J\\n" is not a field; {ROW_FIELDS}',
    ),
    _row(f'"{"x" * 500}":1'): (
        "unknown-field", "", f'"{"x" * 80}…" is not a field; {ROW_FIELDS}',
    ),
    _row('"dropped":{"unseen":1}'): (
        "unknown-field", "dropped",
        '"unseen" is not a field; expected invented, duplicate, seen, out_of_pool; '
        'nearest: "seen"',
    ),
    '{"items":[]}': ("missing-field", "", "has no request_id; every line needs it"),
    '{"request_id":"u001"}': ("missing-field", "", "has no items; every line needs it"),
    # Values
    _row('"status":"Refusal"'): (
        "unknown-status", "status", f'"Refusal" is not a status; {STATUSES}; nearest: "refusal"',
    ),
    _row('"status":"\\u001b[2J"'): (
        "unknown-status", "status", f'"\\x1b[2J" is not a status; {STATUSES}',
    ),
    _row('"status":"don\'t know"'): (
        "unknown-status", "status", f'"don\'t know" is not a status; {STATUSES}',
    ),
    json.dumps({"request_id": "u001", "items": ["w41"] * 101}): (
        "too-many-items", "items", "holds more than 100; cut the ranking there",
    ),
    _row('"scores":[]'): (
        "bad-scores", "scores", "0 scores for 1 items; give one for each item",
    ),
    '{"request_id":"u001","items":["w41","w11","w48"],"scores":[1,0.5,0.6]}': (
        "bad-scores", "scores",
        "increases; sort items by score before writing, the order is the ranking",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "fault"), ROWS.items(), ids=[line[:72] for line in ROWS])
def test_a_row_is_refused_naming_rule_field_and_mend(
    line: str, fault: tuple[str, str, str], refused: Refused
) -> None:
    refusal = refused(make.joined([make.header(), line]))
    assert [(p.line, p.code, p.field, p.message) for p in refusal.problems] == [(2, *fault)]


@pytest.mark.parametrize(
    "more",
    [
        '"scores":null,"latency_ms":null,"prompt_tokens":null,"dropped":null,"explanation":null',
        '"scores":[-1e308],"latency_ms":0,"prompt_tokens":2147483648,"run":0,"dropped":{}',
        '"latency_ms":-0.0,"explanation":"","status":"fallback"',
    ],
)
def test_values_at_the_edge_of_their_range_are_accepted(more: str, refused: Refused) -> None:
    refusal = refused(make.joined([make.header(), _row(more), "{}"]))
    assert [problem.line for problem in refusal.problems] == [3]


def test_equal_scores_are_accepted_and_change_no_order(refused: Refused) -> None:
    line = '{"request_id":"u001","items":["w41","w11","w48"],"scores":[1,1,1.0]}'
    refusal = refused(make.joined([make.header(), line, "{}"]))
    assert [problem.line for problem in refusal.problems] == [3]


@pytest.mark.parametrize(
    "more",
    [
        '"x` - at `$.\\u001b[2J\\nrun.jsonl: fine":1',
        '"status":"x\' - at `$.\\u001b[2J\\nrun.jsonl: fine`"',
    ],
    ids=["a field's name", "a value"],
)
def test_nothing_in_a_line_can_pass_for_the_place_of_its_fault(more: str, refused: Refused) -> None:
    refusal = refused(make.joined([make.header(), _row(more)]))
    assert str(refusal).isprintable()
    assert refusal.problems[0].code == ("unknown-status" if "status" in more else "unknown-field")


def test_a_number_is_blamed_only_where_there_is_one(refused: Refused) -> None:
    cut_off = '{"request_id":"u001","items":["w41"],"explanation":"a mean of: NaN, so'
    assert refused(make.joined([make.header(), cut_off])).problems[0].code == "bad-json"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"format": "llm4rec-bench/2"}, ("wrong-format", "format")),
        ({"format": "llm4rec-bench/2", "new": 1}, ("wrong-format", "format")),
        ({"format": 1}, ("wrong-type", "format")),
        ({"nme": "x"}, ("unknown-field", "")),
        ({"name": "x" * 201}, ("wrong-type", "name")),
        ({"split": None}, ("wrong-type", "split")),
    ],
    ids=str,
)
def test_a_header_is_refused_naming_rule_and_field(
    changed: dict[str, object], fault: tuple[str, str], refused: Refused
) -> None:
    refusal = refused(make.joined([{**make.header(), **changed}, *make.rows()]))
    assert [(p.line, p.code, p.field) for p in refusal.problems] == [(1, *fault)]


def test_an_unknown_field_of_a_header_is_told_the_nearest(refused: Refused) -> None:
    refusal = refused(make.joined([{**make.header(), "diggest": "x"}]))
    assert refusal.problems[0].message == (
        '"diggest" is not a field; expected format, task, track, digest, name, split, card; '
        'nearest: "digest"'
    )


@pytest.mark.parametrize("changed", [{"name": ""}, {"name": 3}, {"digest": 3}], ids=str)
def test_what_is_said_of_a_header_does_not_speak_of_ids(
    changed: dict[str, object], refused: Refused
) -> None:
    refusal = refused(make.joined([{**make.header(), **changed}]))
    assert "id" not in refusal.problems[0].message.split()
    assert "ids" not in refusal.problems[0].message.split()
