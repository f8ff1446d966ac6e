"""Predictions of other tools: ranked by our rules, against a slow reading of the same file."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec_bench import RunRefused, Task, UsageError, read_run
from llm4rec_bench.exchange import columns, import_predictions, predictions
from llm4rec_bench.exchange.columns import CODES, HEADER, LONGEST_LINE
from llm4rec_bench.freeze import freeze, manifest_of
from llm4rec_bench.sources import RawData
from tests.exchange.conftest import RECIPE, small_task

TABLE = HEADER.decode()
SMALL = small_task([f"u{n}" for n in range(9)], [f"i{n}" for n in range(8)])
USERS = SMALL.request_ids("test").to_pylist()

Line = tuple[str, str, str]


def table_of(lines: list[Line]) -> str:
    return "\n".join([TABLE, *map("\t".join, lines)]) + "\n"


def trec_of(lines: list[Line]) -> str:
    return "".join(f"{user} Q0 {item} 0 {score} tool\n" for user, item, score in lines)


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., list[dict]]:
    """The rows that a text becomes."""

    def read(
        text: str | bytes, task: Task = SMALL, track: str = "retrieval", **options
    ) -> list[dict]:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "predictions").write_bytes(data)
        out = tmp_path / "run.jsonl"
        import_predictions(tmp_path / "predictions", task, track, out, "x", **options)
        return [json.loads(line) for line in out.read_text("utf-8").splitlines()][1:]

    return read


@pytest.fixture
def refused(imported) -> Callable[..., RunRefused]:
    def refuse(text: str | bytes, **options) -> RunRefused:
        with pytest.raises(RunRefused) as caught:
            imported(text, **options)
        return caught.value

    return refuse


def everything(task: Task = SMALL, score: str = "1") -> list[Line]:
    return [(user, item, score) for user in task.request_ids("test").to_pylist()
            for item in task.items.ids]  # fmt: skip


def slowly(lines: list[Line], task: Task, track: str) -> dict[str, dict]:
    """What a file becomes, item by item."""
    row_of, best = task.items.row_of, defaultdict(list)
    for user, item, score in lines:
        best[user].append((-float(score), row_of[item], item))
    made = {}
    for request in task.requests("test", track):
        items: list[str] = []
        duplicate = refused = 0
        told = set()
        for _, _, item in sorted(best[request.user_id]):
            if len(items) == 100:
                break
            allowed = (item in request.candidates if request.candidates is not None
                       else item not in request.history)  # fmt: skip
            if item in told:
                duplicate += 1
            elif not allowed:
                refused += 1
            else:
                items.append(item)
            told.add(item)
        dropped = {
            "duplicate": duplicate,
            ("out_of_pool" if request.candidates else "seen"): refused,
        }
        made[request.request_id] = {
            "request_id": request.request_id, "items": items,
            "dropped": {name: count for name, count in dropped.items() if count},
        }  # fmt: skip
    return made


scores = st.sampled_from(["0", "-0.0", "1", "1.0", "1e0", ".5", "0.25", "-3.5e-2", "2.", "1E+3"])
answers = st.lists(st.tuples(st.sampled_from(SMALL.items.ids), scores), min_size=1, max_size=14)


@settings(max_examples=60)
@given(st.lists(answers, min_size=len(USERS), max_size=len(USERS)), st.randoms(), st.booleans())
def test_a_file_becomes_what_a_slow_reading_of_it_says(
    tmp_path_factory, answered, mixed, as_table: bool
) -> None:
    users = list(USERS)
    mixed.shuffle(users)
    lines = [(user, *line) for user, answer in zip(users, answered, strict=True) for line in answer]
    path = tmp_path_factory.mktemp("slow") / "predictions"
    path.write_text((table_of if as_table else trec_of)(lines))
    import_predictions(path, SMALL, "retrieval", path.with_name("run.jsonl"), "x")
    read_run(path.with_name("run.jsonl"), SMALL)
    rows = [json.loads(line) for line in path.with_name("run.jsonl").read_text().splitlines()[1:]]
    assert [row["request_id"] for row in rows] == USERS
    expected = slowly(lines, SMALL, "retrieval")
    for row in rows:
        assert {"dropped": {}} | row == expected[row["request_id"]]


@pytest.mark.parametrize("track", ["retrieval", "ranking", "reranking"])
def test_every_track_has_its_own_rule_and_targets_stay_closed(track, blind: Task, imported) -> None:
    mixed = random.Random(3)
    lines = [(user, item, str(mixed.randrange(9))) for user, item, _ in everything(blind)]
    rows = imported(table_of(lines), blind, track)
    expected = slowly(lines, blind, track)
    assert [{"dropped": {}} | row for row in rows] == list(expected.values())
    assert any(row["dropped"] for row in rows)


def test_the_order_of_the_lines_and_the_blocks_decide_nothing(imported, monkeypatch) -> None:
    mixed = random.Random(4)
    lines = [(user, item, str(mixed.randrange(3))) for user, item, _ in everything()]
    first = imported(trec_of(lines))
    by_user = defaultdict(list)
    for line in lines:
        by_user[line[0]].append(line)
    users = list(by_user)
    mixed.shuffle(users)
    for user in users:
        mixed.shuffle(by_user[user])
    other = [line for user in users for line in by_user[user]]
    assert imported(trec_of(other)) == first
    monkeypatch.setattr(columns, "BLOCK", 40)
    assert imported(trec_of(other)) == first
    assert imported(table_of(other)) == first


def test_a_hundred_items_are_kept_and_what_lies_below_is_not_counted(imported) -> None:
    items = [f"i{number:03}" for number in range(130)]
    task = small_task([f"u{number}" for number in range(130)], items)
    request = task.requests("test")[0]
    below = [(request.user_id, item, "0") for item in items]  # all of them once more
    lines = [(user, item, str(1000 - int(item[1:]))) for user, item, _ in everything(task)]
    of_first = [line for line in lines if line[0] == request.user_id]
    rest = [line for line in lines if line[0] != request.user_id]
    rows = imported(trec_of(of_first + below + rest), task)
    unseen = [item for item in items if item not in request.history]
    assert rows[0]["items"] == unseen[:100]
    last = items.index(unseen[99])
    above = sum(item in request.history for item in items[:last])
    assert rows[0].get("dropped", {}) == ({"seen": above} if above else {})


def test_ids_are_strings_and_nothing_else(imported) -> None:
    items = ["007", "7", "7.0", "1e3", "1000", "NA", "nan", "a b", '"q"']
    task = small_task([f"0{number}" for number in range(9)], items)
    rows = imported(table_of([(user, item, "1") for user, item, _ in everything(task)]), task)
    for row, request in zip(rows, task.requests("test"), strict=True):
        assert row["items"] == [item for item in task.items.ids if item not in request.history]


@pytest.mark.parametrize(
    "text",
    [
        trec_of(everything()).replace(" ", "\t"),
        trec_of(everything()).replace(" ", "  \t "),
        trec_of(everything()).replace("\n", "\r\n"),
        "\n \n" + trec_of(everything()).replace("\n", "\n\n"),
        trec_of(everything())[:-1],
        table_of(everything()).replace("\n", "\r\n"),
        table_of(everything())[:-1],
        "\n" + table_of(everything()) + "\n\n",
        gzip.compress(table_of(everything()).encode()),
    ],
    ids=["tabs", "spaces", "returns", "blank", "endless", "table-returns", "table-endless",
         "table-blank", "gzip"],
)  # fmt: skip
def test_forms_that_tools_write_are_read_alike(text, imported) -> None:
    assert imported(text) == imported(trec_of(everything()))


def test_a_request_without_a_line_is_refused_or_taken_for_failed(
    imported, refused, tmp_path
) -> None:
    lines = [line for line in everything() if line[0] not in ("u1", "u4")]
    error = refused(trec_of(lines))
    mend = "add them, or take them for failed with --allow-missing"
    told = "predictions: error[missing-request] holds no line for request"
    assert str(error).splitlines() == [f'{told} "{user}"; {mend}' for user in ("u1", "u4")]
    rows = imported(trec_of(lines), allow_missing=True)
    failed = [row for row in rows if row.get("status")]
    assert failed == [
        {"request_id": user, "items": [], "status": "api_error"} for user in ("u1", "u4")
    ]
    assert read_run(tmp_path / "run.jsonl", SMALL).tally.statuses["api_error"] == 2
    assert "does not" not in str(refused(trec_of(everything()[:8])))
    assert refused(trec_of(everything()[:8])).by_code == {"missing-request": len(USERS) - 1}


def test_a_request_of_which_nothing_is_left_answered_all_the_same(imported) -> None:
    request = SMALL.requests("test")[0]
    mine = [(request.user_id, item, "1") for item in request.history]
    rows = imported(trec_of(mine + [line for line in everything() if line[0] != request.user_id]))
    assert rows[0] == {"request_id": request.request_id, "items": [],
                       "dropped": {"seen": len(request.history)}}  # fmt: skip


GOOD = trec_of(everything())
GOOD_TABLE = table_of(everything())
SECOND = GOOD_TABLE.splitlines()[1]

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "unknown-request": (GOOD.replace("u3 ", "U3 ", 1), '"U3" is not a request of toy-v1'),
    "unknown-request-user": (GOOD_TABLE.replace("u3\t", "x\t", 1), '"x" is not the user of a req'),
    "unknown-item": (GOOD.replace(" i3 ", " I3 ", 1), '"I3" is not an item of toy-v1; nea'),
    "unknown-item-bytes": (GOOD.encode().replace(b" i3 ", b" \xff\x1b ", 1), '"\\\\xff\\x1b" is'),
    "bad-number": (GOOD.replace(" 1 tool", " nan tool", 1), '"nan" is not a finite number'),
    "bad-number-infinite": (GOOD_TABLE.replace("\t1\n", "\t-inf\n", 1), '"-inf" is not a finite'),
    "bad-number-huge": (GOOD.replace(" 1 tool", " 1e999 tool", 1), '"1e999" is not'),
    "bad-number-empty": (GOOD_TABLE.replace("\t1\n", "\t\n", 1), '"" is not a finite number'),
    "bad-number-word": (GOOD.replace(" 1 tool", " 1_0 tool", 1), '"1_0" is not'),
    "bad-number-bytes": (GOOD.encode().replace(b" 1 tool", b" \xb2 tool", 1), '"\\\\xb2" is not'),
    "wrong-columns": (GOOD + "u1 Q0 i1 1 1\n", "expected 6 words: qid Q0 docid rank score tag"),
    "wrong-columns-table": (GOOD_TABLE + "u1\ti1\n", '"u1\\ti1"; expected 3 fields parted by tabs'),
    "wrong-columns-more": (GOOD_TABLE + "u1\ti1\t1\t\n", "expected 3 fields"),
    "scattered-request": (GOOD + GOOD.splitlines()[0], "has lines further up as well"),
    "line-too-long": (GOOD + "x" * (LONGEST_LINE + 1), f"longer than {LONGEST_LINE:,} bytes"),
    "line-too-long-first": ("x" * (LONGEST_LINE + 1) + "\n" + GOOD, "longer than"),
    "line-too-long-inside": (GOOD + "x" * (LONGEST_LINE + 1) + "\n" + GOOD, "longer than"),
    "unknown-format": ("user,item,score\n", 'begins with "user,item,score"; expected 6 words'),
    "unknown-format-header": ("user_id:token\titem_id:token\tscore:token\n", "or the header"),
    "unknown-format-json": ('{"format": "llm4rec-bench/1"}\n', "begins with"),
    "not-utf8": (b"\xef\xbb\xbf" + GOOD_TABLE.encode(), "starts with a byte order mark"),
    "bad-compression": (gzip.compress(GOOD.encode())[:-9], "cannot be unpacked after line"),
    "not-text": (b"PAR1" + bytes(99), "looks like Parquet; expected lines of text"),
    "missing-request": ("", f"holds no line for {len(USERS)} of {len(USERS)} requests"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_each_reason_for_a_refusal(case: str, refused) -> None:
    text, told = REFUSED[case]
    error = refused(text)
    code = next(code for code in CODES if case.startswith(code))
    assert f"error[{code}]" in str(error)
    assert told in str(error)
    assert str(error).isprintable() or all(map(str.isprintable, str(error).splitlines()))


def test_every_reason_is_tested() -> None:
    tried = {code for code in CODES for case in REFUSED if case.startswith(code)}
    elsewhere = {"not-a-file", "too-large", "too-many-lines"}
    assert tried | elsewhere == set(CODES)


def test_what_is_no_file_or_too_large_is_refused(refused, monkeypatch, tmp_path) -> None:
    with pytest.raises(RunRefused, match="not-a-file"):
        import_predictions(tmp_path, SMALL, "retrieval", tmp_path / "run.jsonl", "x")
    monkeypatch.setattr(columns, "BLOCK", 64)
    with monkeypatch.context() as less:
        less.setattr(predictions, "MOST_LINES", 6)
        assert refused(GOOD).by_code == {"too-many-lines": 1}
    monkeypatch.setattr(columns, "LARGEST", 200)
    assert refused(GOOD).by_code == {"too-large": 1}


def test_problems_are_told_with_their_line_twenty_at_a_time(refused) -> None:
    error = refused(GOOD.replace(" i3 ", " ix ").replace("u5 Q0 i1", "u5 i1"))
    unknown = len(USERS)
    assert error.by_code == {"unknown-item": unknown, "wrong-columns": 1}
    lines = str(error).splitlines()
    assert lines[0] == (
        f"predictions:{SMALL.items.row_of['i3'] + 1}: error[unknown-item] "
        '"ix" is not an item of toy-v1; map titles to ids'
    )
    many = str(refused(GOOD.replace(" i", " ix"))).splitlines()
    assert len(many) == 21
    assert f"… and {len(everything()) - 20} more" in many[-1]


def test_a_hopeless_file_is_read_no_further(refused, monkeypatch) -> None:
    monkeypatch.setattr(columns, "BLOCK", 1 << 16)
    error = refused("u1 Q0 nothing 1 1 x\n" * 200_000)
    assert 10_000 < error.total < 20_000
    assert "read no further than line" in str(error)


def test_users_with_several_requests_are_not_told_apart_by_a_table(imported, toy) -> None:
    frozen = {name: toy.table(name) for name in toy.manifest.tables}
    requests = frozen["requests"]
    place = requests.schema.get_field_index("user_id")
    same = ["one" if user in ("u001", "u002") else user for user in requests["user_id"].to_pylist()]
    frozen["requests"] = requests.set_column(place, "user_id", [same])
    task = Task(toy.recipe, toy.manifest, Path("nowhere"), frozen)
    with pytest.raises(UsageError, match="write a TREC run with request ids"):
        imported(f"{TABLE}\none\tw01\t1\n", task)


def test_a_task_of_the_recipes_rules_is_imported_for_validation(imported) -> None:
    from llm4rec_bench.sources import generate_toy

    raw = generate_toy(RECIPE.source.seed)
    frozen, counts = freeze(RECIPE, RawData(raw.log, raw.items))
    task = Task(RECIPE, manifest_of(RECIPE, frozen, counts), Path("nowhere"), frozen)
    lines = [(user, item, "1") for user in task.request_ids("validation").to_pylist()
             for item in task.items.ids]  # fmt: skip
    rows = imported(trec_of(lines), task, split="validation")
    for row, request in zip(rows, task.requests("validation"), strict=True):
        assert row["items"] == [item for item in task.items.ids if item not in request.history]


@pytest.mark.parametrize(
    "options", [{"track": "reranking"}, {"split": "training"}], ids=["track", "split"]
)
def test_a_track_or_split_that_is_none_is_a_usage_error(options, imported) -> None:
    with pytest.raises(UsageError):
        imported(GOOD, **options)
