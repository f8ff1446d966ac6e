"""Making run files: what is written, kept, continued and refused, and what a method can see."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llm4rec_bench import BenchError, CardRefused, Task, read_run
from llm4rec_bench.run import execute as execute_module
from llm4rec_bench.run.execute import MethodFailed, Watcher, execute, load_method
from llm4rec_bench.submission import Adjusted, Card
from llm4rec_bench.task import tables
from tests.conftest import ROOT
from tests.run import methods

HERE = "tests.run.methods"


def card(method: str = "AsGiven", **changed: Any) -> Card:
    made = {
        "name": "tested",
        "title": "Tested",
        "authors": ["nobody"],
        "licence": "Apache-2.0",
        "description": "",
        "hardware": "none",
        "command": "none",
        "system": f"{HERE}:{method}",
    }
    return Card(**{**made, **changed})


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a run file, header first, without what a clock decides."""
    lines = map(json.loads, path.read_bytes().splitlines())
    return [{name: line[name] for name in line if name != "latency_ms"} for line in lines]


def differing(found: Sequence[object], expected: Sequence[object]) -> list[object]:
    """Where two long lists first differ; pytest takes minutes to compare them for itself."""
    pairs = enumerate(itertools.zip_longest(found, expected))
    return [(place, *pair) for place, pair in pairs if pair[0] != pair[1]][:1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "run.jsonl"


def partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


# What is written


def test_a_run_holds_what_the_method_answered_and_how_long_it_took(toy: Task, path: Path) -> None:
    assert execute(card(params={"pause": 0.001}), toy, "ranking", path)
    header, *answers = map(json.loads, path.read_bytes().splitlines())
    assert header == {
        "format": "llm4rec-bench/1",
        "task": "toy-v1",
        "track": "ranking",
        "digest": toy.digest("ranking"),
        "name": "Tested",
        "card": card(params={"pause": 0.001}).fingerprint("toy-v1", "ranking"),
    }
    assert all(1.0 <= answer.pop("latency_ms") < 1000 for answer in answers)
    expected = [
        {
            "request_id": request.request_id,
            "items": request.candidates,
            "prompt_tokens": 7,
            "explanation": "seed 0, fitted 1, test",
        }
        for request in toy.requests("test", "ranking")
    ]
    assert not differing(answers, expected)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("track", ["retrieval", "ranking", "ranking-popular"])
@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])
def test_what_is_written_passes_the_check(
    track: str, split: str, name: str, toy: Task, tmp_path: Path
) -> None:
    assert execute(card(runs=2), toy, track, tmp_path / name, split=split)
    made = read_run(tmp_path / name)
    assert made.ranks.shape == (2, 300, 1)
    assert (made.header.track, made.header.split) == (track, split)


def test_repeated_runs_see_the_three_permutations_with_seeds_of_their_own(
    toy: Task, path: Path
) -> None:
    before = methods.AsGiven.made
    execute(card(runs=4, seed=10), toy, "ranking", path)
    assert methods.AsGiven.made == before + 4
    _, *answers = rows(path)
    by_run = [[a for a in answers if a.get("run", 0) == number] for number in range(4)]
    for number, found in enumerate(by_run):
        offered = [request.candidates for request in toy.requests("test", "ranking", number)]
        assert not differing([answer["items"] for answer in found], offered)
        assert {a["explanation"] for a in found} == {f"seed {10 + number}, fitted 1, test"}
    orders = [[tuple(answer["items"]) for answer in found] for found in by_run]
    assert not differing(orders[0], orders[3])
    for position in zip(*orders[:3], strict=True):
        assert len(set(position)) == 3
        assert len(set(map(frozenset, position))) == 1


def test_archives_of_equal_rows_are_equal_byte_for_byte(
    toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(perf_counter=lambda: 0.0)
    monkeypatch.setattr(execute_module, "time", clock)
    one, other, plain = (tmp_path / name for name in ("a.jsonl.gz", "b.jsonl.gz", "c.jsonl"))
    execute(card(), toy, "ranking", one)
    execute(card(), toy, "ranking", plain)
    execute(card(), toy, "ranking", other)
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes()[3:8] == bytes(5)  # neither a name nor a time
    assert gzip.decompress(one.read_bytes()) == plain.read_bytes()
    assert one.stat().st_size < plain.stat().st_size / 4


class Told(Watcher):
    """Hands on how many rows there are."""

    def __init__(self, told: Callable[[int, int], None]) -> None:
        self.progress = told  # type: ignore[method-assign]


def test_progress_counts_rows_that_are_on_disk(toy: Task, path: Path) -> None:
    told: list[tuple[int, int]] = []

    def count(done: int, total: int) -> None:
        told.append((done, total))
        if done % 100 == 1:
            assert len(rows(partial(path))) == 1 + done

    execute(card(runs=2), toy, "ranking", path, watcher=Told(count))
    assert not differing(told, [(done, 600) for done in range(601)])


# Breaking off and continuing


def cuts(whole: bytes) -> list[int]:
    """Places to cut a run file: its ends, around line breaks, and anywhere."""
    draw = random.Random(0)
    header, first = whole.index(b"\n"), whole.index(b"\n", whole.index(b"\n") + 1)
    near = [place + step for place in (header, first) for step in (-1, 0, 1, 2)]
    return [
        0,
        1,
        *near,
        len(whole) - 1,
        len(whole),
        *(draw.randrange(len(whole)) for _ in range(8)),
    ]


@pytest.mark.parametrize("tail", [b"", b"\0" * 700, b'{"request_id":"u301","items":[]}'])
def test_a_run_cut_off_anywhere_continues_to_the_same_rows(
    toy: Task, path: Path, tail: bytes
) -> None:
    execute(card(runs=2), toy, "ranking", path)
    whole, expected = path.read_bytes(), rows(path)
    for cut in cuts(whole):
        path.unlink()
        partial(path).write_bytes(whole[:cut] + tail)
        assert execute(card(runs=2), toy, "ranking", path)
        kept = whole[: whole[:cut].rfind(b"\n") + 1]
        assert path.read_bytes().startswith(kept), f"rewrote whole rows, cut at byte {cut}"
        assert not differing(rows(path), expected), f"cut at byte {cut}"
        assert not partial(path).exists()


def test_a_continued_archive_holds_the_rows_of_an_uninterrupted_one(
    toy: Task, tmp_path: Path
) -> None:
    plain, packed = tmp_path / "run.jsonl", tmp_path / "run.jsonl.gz"
    execute(card(), toy, "retrieval", plain)
    partial(packed).write_bytes(plain.read_bytes()[:20_000])
    execute(card(), toy, "retrieval", packed)
    plain_again = tmp_path / "again.jsonl"
    plain_again.write_bytes(gzip.decompress(packed.read_bytes()))
    assert not differing(rows(plain_again), rows(plain))


def test_a_run_that_is_killed_continues_with_the_same_command(toy: Task, tmp_path: Path) -> None:
    slow = card(tasks=["toy-v1"], params={"pause": 0.004})
    (tmp_path / "submission.toml").write_text(_as_toml(slow))
    path = tmp_path / "out" / "toy-v1.ranking.jsonl"
    code = "from llm4rec_bench.cli import main; main()"
    command = [sys.executable, "-c", code, "run", tmp_path, "--track", "ranking"]
    command += ["--out", path.parent]
    started = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until(lambda: partial(path).exists() and partial(path).read_bytes().count(b"\n") > 20)
    finally:
        started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert not path.exists()
    left = partial(path).read_bytes()
    whole = left[: left.rfind(b"\n") + 1]
    assert 20 < whole.count(b"\n") < 301
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert path.read_bytes().startswith(whole)
    execute(slow, toy, "ranking", tmp_path / "uninterrupted.jsonl")
    assert not differing(rows(path), rows(tmp_path / "uninterrupted.jsonl"))
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def _as_toml(made: Card) -> str:
    fields = ["name", "title", "authors", "licence", "description", "hardware", "command"]
    lines = [f"{name} = {json.dumps(getattr(made, name))}" for name in [*fields, "system", "tasks"]]
    params = [f"{name} = {json.dumps(value)}" for name, value in made.params.items()]
    return "\n".join([*lines, "[params]", *params])


def _wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_finished_run_of_the_same_card_is_kept(toy: Task, path: Path) -> None:
    for found in (path, path.with_name("run.jsonl.gz")):
        assert execute(card(), toy, "ranking", found)
        before, made = found.read_bytes(), methods.AsGiven.made
        assert not execute(card(), toy, "ranking", found)
        assert found.read_bytes() == before
        assert methods.AsGiven.made == made


OTHERS = {
    "params": card(params={"depth": 3}),
    "seed": card(seed=1),
    "runs": card(runs=2),
    "system": card("Fallible"),
    "title": card(title="Other"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])
def test_another_cards_run_is_replaced_only_on_demand(
    other: Card, name: str, toy: Task, tmp_path: Path
) -> None:
    path = tmp_path / name
    execute(card(), toy, "ranking", path)
    before = path.read_bytes()
    with pytest.raises(CardRefused, match="holds a run of another card"):
        execute(other, toy, "ranking", path)
    assert path.read_bytes() == before
    assert execute(other, toy, "ranking", path, overwrite=True)
    assert not execute(other, toy, "ranking", path)


@pytest.mark.parametrize(
    "changed", [{"track": "ranking-popular"}, {"split": "validation"}], ids=str
)
def test_a_run_of_another_track_or_split_is_not_taken_for_this_one(
    changed: dict[str, str], toy: Task, path: Path
) -> None:
    execute(card(), toy, "ranking", path)
    with pytest.raises(CardRefused):
        execute(card(), toy, **{"track": "ranking", "path": path, **changed})


def test_another_cards_partial_run_is_replaced_only_on_demand(toy: Task, path: Path) -> None:
    execute(card(), toy, "ranking", path)
    begun = path.read_bytes()[:5000]
    path.unlink()
    partial(path).write_bytes(begun)
    with pytest.raises(CardRefused, match="params do not fit"):
        execute(card(params={"mispelt": 1}), toy, "ranking", path)
    with pytest.raises(CardRefused, match="was begun by another card"):
        execute(card(seed=1), toy, "ranking", path)
    assert partial(path).read_bytes() == begun
    assert execute(card(seed=1), toy, "ranking", path, overwrite=True)
    assert rows(path)[1]["explanation"] == "seed 1, fitted 1, test"
    assert len(rows(path)) == 301


def answered(line: bytes) -> tuple[str, list[str], str]:
    row = json.loads(line)
    return row["request_id"], row["items"], row.get("status", "ok")


def test_what_failed_in_passing_before_a_run_stopped_is_asked_for_again(
    toy: Task, path: Path
) -> None:
    execute(card(), toy, "ranking", path)
    expected = path.read_bytes()
    header, *lines = expected.splitlines(keepends=True)

    def failed(line: bytes) -> bytes:
        return json.dumps(json.loads(line) | {"items": [], "status": "api_error"}).encode() + b"\n"

    path.unlink()
    begun = [*lines[:3], failed(lines[3]), lines[4], failed(lines[5]), failed(lines[6])]
    partial(path).write_bytes(b"".join([header, *begun]))
    execute(card(), toy, "ranking", path)
    found = path.read_bytes().splitlines(keepends=True)[1:]
    assert found[:5] == begun[:5]
    assert [answered(line) for line in found[5:]] == [answered(line) for line in lines[5:]]


def test_overwriting_starts_anew_what_the_same_card_began(toy: Task, path: Path) -> None:
    execute(card(), toy, "ranking", path)
    expected = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    header, first, *_ = expected
    other = json.loads(first)
    other["items"].reverse()
    partial(path).write_bytes(header + json.dumps(other).encode() + b"\n")
    execute(card(), toy, "ranking", path, overwrite=True)
    found = path.read_bytes().splitlines(keepends=True)
    assert list(map(answered, found[1:])) == list(map(answered, expected[1:]))


@pytest.mark.parametrize("damage", ["text", "empty", "archive"])
def test_a_file_that_is_no_run_is_replaced_only_on_demand(
    damage: str, toy: Task, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl.gz"
    execute(card(), toy, "ranking", path)
    packed = path.read_bytes()
    broken = packed[:30] + bytes(byte ^ 0xFF for byte in packed[30:60]) + packed[60:]
    path.write_bytes({"text": b"hello", "empty": b"", "archive": broken}[damage])
    before = path.read_bytes()
    with pytest.raises(CardRefused, match="--overwrite"):
        execute(card(), toy, "ranking", path)
    assert path.read_bytes() == before
    assert execute(card(), toy, "ranking", path, overwrite=True)


def test_a_second_writer_is_refused_while_the_first_writes(toy: Task, path: Path) -> None:
    refused: list[str] = []

    def begin_again(done: int, total: int) -> None:
        if done in (0, 150, total):
            with pytest.raises(CardRefused, match="another process is writing") as caught:
                execute(card(), toy, "ranking", path)
            refused.append(str(caught.value))

    assert execute(card(), toy, "ranking", path, watcher=Told(begin_again))
    assert len(refused) == 3
    assert len(read_run(path, toy).ranks) == 1
    assert [found.name for found in path.parent.iterdir()] == [path.name]


# Methods that fail


@pytest.fixture
def failing() -> Iterator[set[str]]:
    methods.FAILS_AT.add("u042")
    yield methods.FAILS_AT
    methods.FAILS_AT.clear()


def test_a_method_that_breaks_off_is_blamed_and_its_rows_are_kept(
    failing: set[str], toy: Task, path: Path
) -> None:
    with pytest.raises(MethodFailed) as caught:
        execute(card("Fallible", runs=2), toy, "ranking", path)
    assert str(caught.value) == (
        f'tested: {HERE}:Fallible failed on request "u042" of run 0: '
        "RuntimeError: the model went away"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)
    kept = partial(path).read_bytes()
    assert not path.exists()
    assert [row["request_id"] for row in rows(partial(path))[1:]] == toy.requests().ids[:41]
    failing.clear()
    assert execute(card("Fallible", runs=2), toy, "ranking", path)
    assert path.read_bytes().startswith(kept)
    assert len(read_run(path, toy).ranks) == 2


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("NeverFitted", "failed while fitting: MemoryError: too large"),
        ("NeverMade", "depth must be positive"),
        ("NoMethod", "has no methods fit and rank"),
        ("WrongCount", 'on request "u001" of run 0: rank returned 2, expected a list of one'),
    ],
)
def test_a_method_that_cannot_start_is_blamed(
    method: str, said: str, toy: Task, path: Path
) -> None:
    with pytest.raises(BenchError) as caught:
        execute(card(method), toy, "ranking", path)
    assert said in str(caught.value)
    assert f"{HERE}:{method}" in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("what", methods.ANSWERS)
def test_an_answer_that_no_run_may_hold_is_refused_at_once(
    what: str, toy: Task, path: Path
) -> None:
    with pytest.raises(MethodFailed) as caught:
        execute(card("Wrong", params={"what": what}), toy, "ranking", path)
    assert f"{HERE}:Wrong" in str(caught.value)
    assert '"u003" of run 0' in str(caught.value)
    assert [row["request_id"] for row in rows(partial(path))[1:]] == ["u001", "u002"]


@pytest.mark.parametrize(
    ("track", "what", "said"),
    [
        ("ranking", "unknown", 'ranked "nothing", which is not a candidate'),
        ("ranking", "twice", "ranked an item twice"),
        ("ranking", "too many", "Expected `array` of length <= 100 - at `$.items`"),
        ("retrieval", "unknown", 'ranked "nothing", which is unknown or already seen'),
        ("retrieval", "seen", "which is unknown or already seen"),
    ],
)
def test_what_was_wrong_with_an_answer_is_said(
    track: str, what: str, said: str, toy: Task, path: Path
) -> None:
    with pytest.raises(MethodFailed) as caught:
        execute(card("Wrong", params={"what": what}), toy, track, path)
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize("system", [f"{HERE}:Consuming", f"{HERE}:Smuggling"])
def test_what_a_method_does_to_its_request_does_not_change_what_it_may_rank(
    system: str, toy: Task, path: Path
) -> None:
    try:
        execute(card(system=system), toy, "ranking", path)
    except MethodFailed as failed:
        assert system.endswith("Smuggling")
        assert 'ranked "nothing"' in str(failed)
    else:
        assert len(read_run(path, toy).ranks) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"system": None}, "names no system"),
        ({"system": "no_such_module:Method"}, "No module named 'no_such_module'"),
        ({"system": f"{HERE}.inner:Method"}, f"No module named '{HERE}.inner'"),
        ({"system": f"{HERE}:Absent"}, f"{HERE} has no Absent"),
        ({"system": f"{HERE}:HERE_IS_NOTHING"}, "has no HERE_IS_NOTHING"),
        ({"params": {"width": 3}}, 'AsGiven: "width" is none of its parameters'),
        ({"params": {"dept": 3}}, '"dept" is none of its parameters; nearest: "depth"'),
        ({"system": f"{HERE}:Wrong"}, "missing a required argument: 'what'"),
        ({"system": f"{HERE}:FAILS_AT"}, "not a callable"),
        ({"system": "builtins:dict"}, "builtins:dict"),
    ],
    ids=str,
)
def test_a_card_that_names_no_usable_method_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(CardRefused) as caught:
        load_method(card(**changed), "toy-v1", "ranking")
    assert said in str(caught.value)
    assert str(caught.value).startswith("tested: ")


@pytest.mark.parametrize(
    "source",
    ["x = = 1", "from json import absent", "1 / 0", "import absent_library"],
    ids=["syntax", "name", "error", "dependency"],
)
def test_a_module_that_does_not_import_is_its_authors_fault(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "written_in_haste.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "written_in_haste", raising=False)
    with pytest.raises(BenchError, match="written_in_haste"):
        load_method(card(system="written_in_haste:Method"), "toy-v1", "ranking")


def test_params_of_a_task_reach_the_method(toy: Task, path: Path) -> None:
    execute(card(params={"depth": 9}, on={"toy-v1": Adjusted({"depth": 3})}), toy, "ranking", path)
    assert {len(row["items"]) for row in rows(path)[1:]} == {3}


# What a method can see


def reachable(start: object) -> Iterator[object]:
    """Every object that can be reached from one, less types and what modules hold."""
    seen: set[int] = set()
    left = [start]
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, type | ModuleType):
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, FunctionType):
            left += [*(found.__closure__ or ()), found.__defaults__, found.__kwdefaults__]
            continue
        left += gc.get_referents(found)
        if isinstance(found, np.ndarray):
            left.append(found.base)
        elif isinstance(found, pa.ChunkedArray | pa.Table):
            left += found.chunks if isinstance(found, pa.ChunkedArray) else found.columns


def leaks(start: object, toy: Task) -> set[str]:
    """What among the objects reachable from one tells targets, or where they lie."""
    targets = toy.targets("test").items
    hidden = {str(toy.folder), str(tables.parquet_path(toy.folder, tables.TARGETS))}
    ids = [toy.items.ids[row] for row in targets[:, 0].tolist()]
    found = set()
    for thing in reachable(start):
        if isinstance(thing, Task):
            found.add("task")
        elif isinstance(thing, str | Path) and str(thing) in hidden:
            found.add("path")
        elif isinstance(thing, dict | list | tuple) and len(thing) == len(ids):
            values = list(thing.values() if isinstance(thing, dict) else thing)
            if values in (ids, targets[:, 0].tolist(), targets.tolist()):
                found.add("list")
        elif isinstance(thing, pa.Table) and "tied" in thing.column_names:
            found.add("table")
        elif (
            isinstance(thing, np.ndarray)
            and thing.size == targets.size
            and thing.dtype.kind in "iu"
            and np.array_equal(thing.ravel(), targets.ravel())
        ):
            found.add("array")
    return found


@pytest.mark.parametrize("track", ["retrieval", "ranking"])
def test_no_targets_can_be_reached_from_what_a_method_is_handed(toy: Task, track: str) -> None:
    toy.targets("test")  # what the task has read lies in its memory
    view, request = toy.view(track), toy.requests("test", track)[0]
    view.items.row_of, view.items.texts  # noqa: B018 - what a method may have asked for
    assert leaks([view, request], toy) == set()
    assert leaks([view, toy], toy) >= {"task", "path", "array"}
    assert leaks([view, toy.targets("test")], toy) == {"array"}
    ids = [toy.items.ids[row] for row in toy.targets("test").items[:, 0]]
    told = dict(zip(toy.requests("test").ids, ids, strict=True))
    for start in (told, ids, lambda: told, lambda ids=ids: ids):
        assert leaks([view, start], toy) == {"list"}


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_visible_log_holds_no_target(toy: Task, split: str) -> None:
    log = toy.view("retrieval", split).log
    users = np.array(log.user_ids.to_pylist())[log.user]
    visible = set(zip(users.tolist(), log.item.tolist(), strict=True))
    owners = [request.user_id for request in toy.requests(split)]
    (targets,) = toy.targets(split).items.T.tolist()
    assert visible.isdisjoint(zip(owners, targets, strict=True))
    assert len(visible) == len(log)
