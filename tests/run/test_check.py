"""Runs against their task: requests answered, items allowed, ranks of the targets."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec_bench import RunRefused, Task, read_run, score
from llm4rec_bench.errors import nearest
from llm4rec_bench.scoring import Tokens
from tests.run.conftest import Judged, Written
from tests.runs import make

Row = make.Row
TRACKS = ["retrieval", "ranking", "ranking-popular"]
MISSING = (
    "run {} does not answer request {}; write a line for every request, one that failed with its "
    "status and no items"
)


@pytest.fixture
def problems(judged: Judged) -> Any:
    """What is wrong with a file of these lines: (line, code, field) of each problem told."""

    def found(lines: Iterable[Row | str | bytes]) -> list[tuple[int | None, str, str]]:
        with pytest.raises(RunRefused) as caught:
            judged(make.joined(lines))
        assert caught.value.total == len(caught.value.problems)
        return [(problem.line, problem.code, problem.field) for problem in caught.value.problems]

    return found


def refusal(judged: Judged, lines: Iterable[Row | str | bytes]) -> RunRefused:
    with pytest.raises(RunRefused) as caught:
        judged(make.joined(lines))
    return caught.value


# Ranks


def plain_ranks(path: Path, task: Task) -> dict[tuple[int, str], int]:
    """Rank of the target by run and request, from the raw lines, 0 where it is not ranked."""
    with pa.input_stream(str(path)) as file:
        head, *lines = map(json.loads, bytes(file.read()).decode().splitlines())
    split = head.get("split", "test")
    (rows,) = task.targets(split).items.T.tolist()
    target = dict(zip(task.requests(split).ids, rows, strict=True))
    ranks = {}
    for line in lines:
        wanted = task.items.ids[target[line["request_id"]]]
        found = line["items"].index(wanted) + 1 if wanted in line["items"] else 0
        ranks[line.get("run", 0), line["request_id"]] = found
    return ranks


def agree(path: Path, task: Task) -> bool:
    run = read_run(path, task)
    expected = plain_ranks(path, task)
    ids = task.requests(run.header.split).ids
    shaped = [[[expected[number, name]] for name in ids] for number in range(len(run.ranks))]
    return np.array_equal(run.ranks, shaped)


def random_run(task: Task, seed: int) -> list[Row]:
    """Random rankings of random lengths, lines in random order."""
    draw = random.Random(seed)
    track, split = draw.choice(TRACKS), draw.choice(["test", "validation"])
    lines = []
    for number in range(draw.choice([1, 1, 2, 3])):
        for request in task.requests(split, track, number):
            allowed = request.candidates or sorted(set(task.items.ids) - set(request.history))
            items = draw.sample(allowed, draw.randint(0, len(allowed)))
            lines.append({"request_id": request.request_id, "run": number, "items": items})
    draw.shuffle(lines)
    return [make.header(track, split=split), *lines]


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_ranks_are_those_of_a_plain_computation(
    toy: Task, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.jsonl"
    path.write_bytes(make.joined(random_run(toy, seed)))
    assert agree(path, toy)


@pytest.mark.parametrize("name", make.valid())
def test_committed_files_score_what_their_lines_say(name: str, toy: Task) -> None:
    path = make.HERE / "valid" / name
    ranks = plain_ranks(path, toy).values()
    gains = [1 / math.log2(rank + 1) if 0 < rank <= 10 else 0.0 for rank in ranks]
    found = score(read_run(path, toy)).metrics["ndcg@10"].value
    assert found == pytest.approx(sum(gains) / len(gains), abs=1e-5)
    assert agree(path, toy)


def test_a_run_of_many_parts_is_put_together_in_order(toy: Task, written: Written) -> None:
    rows = make.rows(depth=20)
    draw = random.Random(0)
    lines = [
        {**row, "run": number, "items": draw.sample(row["items"], 5)}
        for number in range(100)
        for row in rows
    ]
    path = written(make.joined([make.header(), *lines]))
    assert read_run(path, toy).ranks.shape == (100, 300, 1)
    assert agree(path, toy)


def test_every_field_reaches_the_score(toy: Task) -> None:
    found = score(read_run(make.HERE / "valid" / "every-field.jsonl", toy))
    assert found.latency is not None
    assert found.latency.mean == 12.5
    means = {kind: tokens.mean for kind, tokens in found.tokens.items()}
    assert means == {"prompt": 1903, "completion": 71, "cached": 0}
    assert found.validity.dropped == {"invented": 300, "duplicate": 600, "out_of_pool": 900}
    assert found.validity.items_per_row == 3


def test_failed_requests_count_as_rows_and_not_as_valid(toy: Task) -> None:
    validity = score(read_run(make.HERE / "valid" / "failed-requests.jsonl", toy)).validity
    assert validity.statuses == {"ok": 270, **dict.fromkeys(make.FAILURES, 5)}
    assert (validity.valid_share, validity.items_per_row) == (0.9, 0.9)


def test_counts_at_their_limit_add_up(judged: Judged) -> None:
    lines = [
        {**row, "run": number, "dropped": {"seen": 1 << 31}, "prompt_tokens": 1 << 31}
        for number in range(4)
        for row in make.rows()
    ]
    found = judged(make.joined([make.header(), *lines]))
    assert found.validity.dropped == {"seen": 1200 << 31}
    assert found.tokens == {"prompt": Tokens(1200, 1 << 31)}


def test_latencies_at_their_limit_have_a_finite_mean(judged: Judged) -> None:
    lines = [{**row, "latency_ms": 1.5e308} for row in make.rows()]
    try:
        found = judged(make.joined([make.header(), *lines]))
    except RunRefused as refused:
        assert {problem.code for problem in refused.problems} == {"bad-number"}
    else:
        assert math.isfinite(found.latency.mean)


# The header


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"task": "toy-v2"}, "wrong-task"),
        ({"task": "ml-100k-v1"}, "wrong-task"),
        ({"track": "rerank"}, "wrong-track"),
        ({"track": ""}, "wrong-track"),
        ({"digest": ""}, "wrong-digest"),
        ({"track": "ranking-popular"}, "wrong-digest"),
        ({"split": "Test"}, "wrong-split"),
    ],
    ids=str,
)
def test_of_a_run_for_another_task_only_that_is_said(
    changed: Row, code: str, problems: Any
) -> None:
    field = code.removeprefix("wrong-")
    assert problems([{**make.header(), **changed}]) == [(1, code, field)]


def test_what_was_wrong_with_its_lines_is_still_said(problems: Any) -> None:
    lines = [{**make.header(), "digest": "", "split": ""}, "[]"]
    assert problems(lines) == [
        (1, "wrong-digest", "digest"),
        (1, "wrong-split", "split"),
        (2, "wrong-type", ""),
    ]


def test_a_digest_of_another_length_is_escaped_and_cut(judged: Judged) -> None:
    lines = [{**make.header(), "digest": "\x1b[2J\n" * 100}]
    message = str(refusal(judged, lines))
    assert message.isprintable()
    assert len(message) < 600


# Requests


def test_a_request_answered_again_is_refused_at_each_further_line(judged: Judged) -> None:
    lines = [*make.whole(), make.victim([]), make.victim()]
    found = refusal(judged, lines)
    assert [problem.render("run.jsonl") for problem in found.problems] == [
        f"run.jsonl:{line}: error[repeated-request] request_id: run 0 has answered request "
        '"u007" already; keep one line'
        for line in (302, 303)
    ]


def test_a_request_may_be_answered_once_in_every_run(judged: Judged) -> None:
    second = [{**row, "run": 1} for row in make.rows()]
    assert judged(make.joined([*make.whole(), *second])).runs == 2
    found = refusal(judged, [*make.whole(), *second, make.victim(run=1)])
    assert [(problem.line, problem.code) for problem in found.problems] == [
        (602, "repeated-request")
    ]
    assert found.problems[0].message.startswith("run 1 has answered")


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [((1,), [0]), ((0, 2), [1]), ((1, 4), [0, 2, 3]), ((99,), [*range(99)])],
)
def test_runs_are_numbered_from_zero_without_a_gap(
    numbers: tuple[int, ...], missing: list[int], judged: Judged
) -> None:
    lines = [{**row, "run": number} for number in numbers for row in make.rows()]
    found = refusal(judged, [make.header(), *lines])
    assert found.total == len(missing)
    assert [(problem.code, problem.message) for problem in found.problems] == [
        ("missing-run", f"holds run {numbers[-1]} but no run {number}; number them from 0")
        for number in missing[:20]
    ]


def test_a_request_missing_in_one_run_is_named_with_it(judged: Judged) -> None:
    second = [{**row, "run": 1} for row in make.rows() if row["request_id"] != "u007"]
    found = refusal(judged, [*make.whole(), *second])
    assert [(problem.line, problem.message) for problem in found.problems] == [
        (None, MISSING.format(1, '"u007"'))
    ]


def test_a_header_alone_misses_every_request(judged: Judged) -> None:
    found = refusal(judged, [make.header()])
    assert found.total == 300
    (problem,) = found.problems
    assert problem.message.startswith(
        'run 0 does not answer 300 of 300 requests, "u001" the first of them; write a line'
    )


@pytest.mark.parametrize("missing", [1, 5, 6])
def test_a_few_missing_requests_are_named_and_many_summed_up(judged: Judged, missing: int) -> None:
    found = refusal(judged, make.whole()[:-missing])
    assert found.total == missing
    assert len(found.problems) == (missing if missing <= 5 else 1)


# Ids


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ("W37", "w37"),
        ("w37 ", "w37"),
        ("\tw37", "w37"),
        ("0w37", "w37"),
        ("\uff57\uff13\uff17", "w37"),
        ("w37\0", "w37"),
        ("w37\u200b", "w37"),
        ("w3\u0301\u03017", "w37"),
    ],
)
def test_an_item_id_is_compared_exactly_and_a_near_miss_named(
    found: str, meant: str, judged: Judged
) -> None:
    told = refusal(judged, make.broken(make.victim([found])).splitlines())
    (problem,) = told.problems
    assert (problem.line, problem.code, problem.field) == (make.AT, "unknown-item", "items[0]")
    assert f'nearest: "{meant}"; map titles to ids before writing' in problem.message
    assert str(told).isascii()
    assert str(told).isprintable()


@pytest.mark.parametrize("found", ["U007", "u007\n", "0u007", "\uff55007", " u007"])
def test_a_request_id_is_compared_exactly_and_a_near_miss_named(found: str, judged: Judged) -> None:
    (problem,) = refusal(judged, [*make.whole(), {"request_id": found, "items": []}]).problems
    assert (problem.line, problem.code, problem.field) == (302, "unknown-request", "request_id")
    assert problem.message.endswith(' is not a request of toy-v1 test; nearest: "u007"')


@pytest.mark.parametrize(
    ("found", "expected", "meant"),
    [
        ("1", ["11", "001", "10"], "001"),
        ("0114508", ["114509", "114508"], "114508"),
        ("caf\u00e9", ["cafe", "cafe\u0301"], "cafe\u0301"),
        ("cafe\u0301", ["cafe", "caf\u00e9"], "caf\u00e9"),
        ("STRASSE", ["stra\u00dfe"], "stra\u00dfe"),
        ("0", ["00"], "00"),
        ("tt0000001", ["movie"], None),
        ("x" * 10_000, ["y"], None),
    ],
)
def test_the_nearest_id_differs_in_zeros_case_form_or_spaces(
    found: str, expected: list[str], meant: str | None
) -> None:
    assert nearest(found, expected) == meant


def test_a_number_is_never_taken_for_an_id(problems: Any) -> None:
    lines = [*make.whole(), '{"request_id":7,"items":[]}', '{"request_id":"7","items":[]}']
    assert problems(lines) == [
        (302, "wrong-type", "request_id"),
        (303, "unknown-request", "request_id"),
    ]


# Items


@pytest.mark.parametrize("track", TRACKS)
def test_an_item_that_its_request_may_not_rank_is_refused(
    track: str, toy: Task, problems: Any, judged: Judged
) -> None:
    request = toy.requests("test", track)[make.AT - 2]
    allowed = set(request.candidates or toy.items.ids) - set(request.history)
    code = "item-already-seen" if track == "retrieval" else "item-not-in-pool"
    for item in toy.items.ids:
        lines = make.broken(make.victim([item]), track).splitlines()
        if item in allowed:
            assert judged(make.joined(lines)).requests == 300
        else:
            assert problems(lines) == [(make.AT, code, "items[0]")]


def test_each_item_is_at_fault_once_and_in_its_own_place(problems: Any) -> None:
    outside = sorted(set(make.TASK.items.ids) - set(make.POOL))[0]
    first, second = make.POOL[:2]
    line = make.victim([first, "none", outside, "none", first, second, outside])
    assert sorted(problems(make.broken(line).splitlines()), key=lambda found: found[2]) == [
        (8, "unknown-item", "items[1]"),
        (8, "item-not-in-pool", "items[2]"),
        (8, "unknown-item", "items[3]"),
        (8, "repeated-item", "items[4]"),
        (8, "repeated-item", "items[6]"),
        (8, "item-not-in-pool", "items[6]"),
    ]


def test_items_of_an_unknown_request_are_checked_as_far_as_they_can_be(problems: Any) -> None:
    line = {"request_id": "nobody", "items": [*make.TASK.items.ids, "none"]}
    assert problems([*make.whole(), line]) == [
        (302, "unknown-request", "request_id"),
        (302, "unknown-item", "items[48]"),
    ]


# All at once


def test_problems_of_several_kinds_are_told_in_the_order_of_their_lines(problems: Any) -> None:
    lines = make.whole()
    lines[5] = {"request_id": "u005", "items": ["none"]}
    lines[3] = '{"request_id":"u003","items":[],"latency_ms":-1}'
    lines[9] = b"\xff"
    lines[12] = {"request_id": "nobody", "items": []}
    assert problems(lines) == [
        (4, "bad-number", "latency_ms"),
        (6, "unknown-item", "items[0]"),
        (10, "not-utf8", ""),
        (13, "unknown-request", "request_id"),
    ]


def test_twenty_problems_are_told_and_all_kinds_counted(judged: Judged) -> None:
    lines = [
        make.header(),
        *({**row, "items": ["none", "none"]} for row in make.rows()),
        *("[]" for _ in range(7)),
        *({"request_id": "nobody", "items": []} for _ in range(9)),
    ]
    found = refusal(judged, lines)
    assert (len(found.problems), found.total) == (20, 600 + 7 + 9)
    assert str(found).splitlines()[20:] == [
        "run.jsonl: … and 596 more; in all: unknown-item 600, unknown-request 9, wrong-type 7"
    ]


def test_the_problems_told_are_the_first_of_the_file(judged: Judged) -> None:
    lines = [make.header(), *make.rows(), *("[]" for _ in range(30))]
    lines[make.AT - 1] = make.victim(["none"])
    found = refusal(judged, lines)
    assert (found.problems[0].line, found.problems[0].code) == (make.AT, "unknown-item")
