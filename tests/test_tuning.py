"""Tuning: what is tried, what is kept of it, what the card becomes, and what stays hidden."""

from __future__ import annotations

import inspect
import json
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm4rec_bench import CardRefused, Task, read_run, score
from llm4rec_bench.errors import UsageError
from llm4rec_bench.files import replace_text
from llm4rec_bench.leaderboard import read_submission
from llm4rec_bench.run.execute import MethodFailed, execute
from llm4rec_bench.submission import Card, Range, Tuning, read_card
from llm4rec_bench.task import tables
from llm4rec_bench.tuning import (
    Study,
    Trial,
    Watcher,
    at_edge,
    check_followed,
    places,
    read_tried,
    tune,
)
from llm4rec_bench.tuning.edit import with_params
from llm4rec_bench.tuning.record import TUNING, best_of, new_study
from llm4rec_bench.tuning.search import next_params
from llm4rec_bench.tuning.space import inside, tidy
from tests import tunable
from tests.conftest import ROOT

CARD = """\
# Mine, all mine
name = "mine"
title = "Mine"   # as the board has it
authors = ["me"]
licence = "MIT"
description = "A blend."
hardware = "none"
command = "none"
system = "tests.tunable:Blend"
params = { share = 0.05, noise = 3 }
tasks = ["toy-v1"]

[tuning]
metric = "ndcg@10"
trials = 6
sampler = "tpe"

[tuning.space]   # what is tried
share = { low = 0.0, high = 1.0 }
kind = ["up", "down"]
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    tunable.MADE.clear()
    tunable.STOPS_AT.clear()
    yield
    assert not tunable.STOPS_AT


@pytest.fixture
def card(tmp_path: Path) -> Callable[..., Path]:
    """A submission's folder, whose card has some of its text replaced."""

    def write(*changes: tuple[str, str]) -> Path:
        text = CARD
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "submission.toml").write_text(text, "utf-8")
        return folder

    return write


FUSSY = ("tests.tunable:Blend", "tests.tunable:Fussy"), (", noise = 3", "")


def tuned(folder: Path, task: Task, track: str = "ranking", **options: Any) -> Study:
    (place,) = places(read_card(folder), task, [track])
    return tune(folder, place, **options)


def timeless(folder: Path) -> str:
    """A `tuning.json` without what a clock decides."""
    return re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0', (folder / TUNING).read_text("utf-8"))


def study_of(space: dict[str, Any], **changed: Any) -> Study:
    """A study of a space, without a trial."""
    tuning = Tuning("ndcg@10", space, **({"trials": 10_000, "sampler": "tpe"} | changed))
    made = Card("a", "a", ["a"], "a", "", "a", "a", system="a:A", tuning=tuning)
    return new_study(made, tuning, "toy-v1", "ranking", ["ranking"], "sha256:0")


def searched(study: Study, trials: int, value: Callable[..., float | None]) -> Study:
    """The study after so many trials of a function of the parameters, None for a failure."""
    for number in range(trials):
        if (params := next_params(study, {})) is None:
            break
        found = value(**params)
        state = "failed" if found is None else "ok"
        study = study.with_trial(Trial(number, params, state, 0.0, found), None)
    return study


# What a card may say


def described(text: str, tmp_path: Path) -> Tuning | None:
    head, _, _ = CARD.partition("[tuning]")
    (tmp_path / "submission.toml").write_text(head + text, "utf-8")
    return read_card(tmp_path).tuning


def test_a_space_holds_ranges_and_choices(tmp_path: Path) -> None:
    found = described(
        '[tuning]\nmetric = "mrr@10"\ntrials = 3\nsampler = "random"\n[tuning.space]\n'
        "a = { low = 1, high = 9, step = 2 }\nb = { low = 1, high = 9.5, log = true }\n"
        'c = [2, 2.5, "x", true]\nd = { low = 0.1, high = 0.4, step = 0.1 }\n',
        tmp_path,
    )
    assert found is not None
    assert found.space == {
        "a": Range(1, 9, step=2), "b": Range(1, 9.5, log=True), "c": [2, 2.5, "x", True],
        "d": Range(0.1, 0.4, step=0.1),
    }  # fmt: skip
    sizes = [by.size for by in found.space.values() if isinstance(by, Range)]
    assert sizes == [5, None, 4]
    assert found.size is None
    assert [found.space[name].whole for name in "abd"] == [True, False, False]


def test_a_grid_needs_nothing_but_lists(tmp_path: Path) -> None:
    found = described('[tuning]\nmetric = "ndcg@10"\nspace = { a = [1, 2], b = [3] }', tmp_path)
    assert found == Tuning("ndcg@10", {"a": [1, 2], "b": [3]}, "grid", None, 0, "track", "")
    assert found.size == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('metric = "ndcg"\nspace = { a = [1] }', "tuning.metric: no metric is called"),
        ("space = { a = [1] }", "tuning: Object missing required field `metric`"),
        ('metric = "ndcg@10"', "tuning: Object missing required field `space`"),
        ('metric = "ndcg@10"\nspace = {}', "tuning.space: names no parameter"),
        ('metric = "ndcg@10"\nspace = { a = [] }', "tuning.space.a: expected"),
        ('metric = "ndcg@10"\nspace = { z = [1], a = 5 }', "tuning.space.a: expected"),
        ('metric = "ndcg@10"\nspace = { a = [[1]] }', "tuning.space.a: Expected `bool | int"),
        ('metric = "ndcg@10"\nspace = { a = [2024-01-01] }', "tuning.space.a: Expected"),
        ('metric = "ndcg@10"\nspace = { a = [1, 1.0] }', "tuning.space.a: names 1.0 twice"),
        ('metric = "ndcg@10"\nspace = { a = [nan] }', "tuning.space.a: nan is not a finite"),
        ('metric = "ndcg@10"\nspace = { "a b" = [1] }', "tuning.space: expected a parameter's"),
        ('metric = "ndcg@10"\ngrid = { a = [1] }\nspace = { a = [1] }', '"grid" is not a field'),
        ('metric = "ndcg@10"\nspace = { a = { low = 1, high = 2 } }', "a: a grid takes lists"),
        ('metric = "ndcg@10"\nsampler = "hand"\nspace = { a = [1] }', "expected grid, random or"),
        ('metric = "ndcg@10"\nper = "user"\nspace = { a = [1] }', "expected track or task"),
        ('metric = "ndcg@10"\nsampler = "tpe"\nspace = { a = [1] }', "tuning.trials: is missing"),
        ('metric = "ndcg@10"\ntrials = 0\nspace = { a = [1] }', "tuning.trials: Expected `int` >="),
        ('metric = "ndcg@10"\nseed = -1\nspace = { a = [1] }', "tuning.seed: Expected `int` >="),
        (
            f'metric = "ndcg@10"\nspace = {{ a = {[*range(101)]}, b = {[*range(100)]} }}',
            "has 10,100 combinations",
        ),
    ],
)  # fmt: skip
def test_a_tuning_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CardRefused, match=re.escape(said)):
        described(f"[tuning]\n{text}", tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("low = 2, high = 1", "low is 2 and high 1; low must be the smaller one"),
        ("low = 1, high = 1", "low is 1 and high 1"),
        ("low = 0, high = 1, log = true", "log needs a low above 0, found 0"),
        ("low = -1.5, high = 1, log = true", "log needs a low above 0"),
        ("low = 1, high = 9, log = true, step = 2", "log and step do not go together"),
        ("low = 1, high = 9, step = 0", "expected more than 0"),
        ("low = 1, high = 9, step = -2", "expected more than 0"),
        ("low = 1, high = 9, step = 10", "at most high - low"),
        ("low = 1, high = 9, step = 3", "such as 7 or 10"),
        ("low = 0.1, high = 0.5, step = 0.3", "such as 0.4 or 0.7"),
        ("low = 1, high = nan", "must lie between"),
        ("low = -inf, high = 1", "must lie between"),
        ("low = 1, high = 10000000000000000", "must lie between"),
        ('low = "1", high = 2', "Expected `int | float`, got `str`"),
        ("low = true, high = 2", "Expected `int | float`, got `bool`"),
        ("low = 1", "missing required field `high`"),
        ("low = 1, hihg = 2", '"hihg" is not a field of a range; nearest: "high"'),
    ],
)
def test_a_range_that_is_none_is_refused(given: str, said: str, tmp_path: Path) -> None:
    text = f'[tuning]\nmetric = "ndcg@10"\nsampler = "tpe"\ntrials = 3\nspace.a = {{ {given} }}'
    with pytest.raises(CardRefused, match=re.escape(said)) as refused:
        described(text, tmp_path)
    assert "tuning.space.a: " in str(refused.value)


# What is tried

numbers = st.one_of(
    st.integers(-(10**15), 10**15), st.integers(-20, 20), st.floats(-1e15, 1e15), st.floats(-2, 2)
)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    low, high = sorted([draw(numbers), draw(numbers)])
    log = draw(st.booleans())
    step = None if log else draw(st.sampled_from([None, 1, 2, 0.1, 0.25]))
    if step is not None:
        low = draw(st.integers(-50, 50)) * (1 if isinstance(step, int) else 0.25)
        steps = draw(st.integers(1, 50)) * step
        high = low + steps if isinstance(step, int) else float(f"{low + steps:.10g}")
    return Range(abs(low) if log else low, abs(high) if log else high, log, step)


@given(ranges(), st.sampled_from(["random", "tpe"]), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_every_draw_lies_in_its_range(dimension: Range, sampler: str, seed: int) -> None:
    assume(dimension.fault() is None)
    study = study_of({"a": dimension}, sampler=sampler, seed=seed)
    tried = searched(study, 4, lambda a: 0.5).trials
    values = [trial.params["a"] for trial in tried]
    assert all(inside(value, dimension) for value in values)
    assert all(isinstance(value, int) == dimension.whole for value in values)
    assert len(set(values)) == len(values) == min(4, dimension.size or 4)


def test_the_numbers_of_a_range_are_those_a_person_would_write() -> None:
    assert tidy(0.30000000000000004, Range(0.1, 0.5, step=0.1)) == 0.3
    assert tidy(12.3456789, Range(1.0, 100.0, log=True)) == 12.346
    assert tidy(0.0123456789, Range(0.001, 100.0, log=True)) == 0.01235
    assert tidy(0.123456789, Range(0.0, 1.0)) == 0.1235
    assert tidy(1.00001234567, Range(1.0, 1.0002)) == 1.00001235
    assert tidy(0.1000000001, Range(0.10000000001, 1.0)) == 0.10000000001  # and no less
    assert tidy(123456, Range(1, 10**6)) == 123456
    assert tidy("tpe", ["tpe"]) == "tpe"


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_a_search_follows_from_its_seed_alone(sampler: str) -> None:
    space = {"a": [*range(8)], "b": ["x", "y", "z"]}
    if sampler != "grid":
        space["c"] = Range(0.001, 1.0, log=True)

    def value(a: int, b: str, c: float = 1.0) -> float:
        random.seed(), np.random.seed()
        return c / (1 + a) if b == "x" else 0.1

    one = searched(study_of(space, sampler=sampler, seed=3), 15, value)
    half = searched(study_of(space, sampler=sampler, seed=3), 7, value)
    for number in range(7, 15):
        params = next_params(half, {})
        half = half.with_trial(Trial(number, params, "ok", 9.9, value(**params)), None)
    assert [trial.params for trial in half.trials] == [trial.params for trial in one.trials]
    other = searched(study_of(space, sampler=sampler, seed=4), 15, value)
    assert [trial.params for trial in other.trials] != [trial.params for trial in one.trials]


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_a_finite_space_is_tried_to_its_end_and_nothing_twice(sampler: str) -> None:
    space = {"a": [1, 2, 3], "b": [True, False]}
    tried = searched(study_of(space, sampler=sampler), 50, lambda a, b: a / 10).trials
    assert len({(t.params["a"], t.params["b"]) for t in tried}) == len(tried) == 6
    assert [list(trial.params) for trial in tried] == [["a", "b"]] * 6


def test_tpe_draws_near_to_what_was_good_and_ignores_failures() -> None:
    def value(a: float, b: str) -> float | None:
        return None if b == "bad" else 1 / (1 + (a - 0.7) ** 2)

    space = {"a": Range(0.0, 100.0), "b": ["good", "bad"]}
    far = {}
    for sampler in ("tpe", "random"):
        tried = searched(study_of(space, sampler=sampler), 40, value).trials
        far[sampler] = np.median([abs(trial.params["a"] - 0.7) for trial in tried[20:]])
    assert far["tpe"] < far["random"] / 4


def test_the_libraries_are_kept_quiet_and_left_as_they_were(
    capfd: pytest.CaptureFixture[str],
) -> None:
    import optuna

    before = optuna.logging.get_verbosity(), list(warnings.filters)
    searched(study_of({"a": Range(1, 1000), "b": ["x", "y"]}), 12, lambda a, b: a / 1000)
    assert (optuna.logging.get_verbosity(), list(warnings.filters)) == before
    assert capfd.readouterr() == ("", "")


def test_edges_are_told() -> None:
    space = {
        "low": Range(0.0, 1.0), "high": Range(1.0, 10_000.0, log=True), "middle": Range(1, 9),
        "first": [1, 2, 3], "last": [3, 10, 2], "inner": [1, 2, 3], "two": [1, 2],
        "word": ["a", "b", "c"], "flag": [True, False],
    }  # fmt: skip
    params = {
        "low": 0.04, "high": 7000.0, "middle": 2, "first": 1, "last": 10, "inner": 2, "two": 2,
        "word": "a", "flag": True,
    }  # fmt: skip
    assert at_edge(params, space) == ["low", "high", "first", "last"]
    assert at_edge(params | {"high": 5000.0, "middle": 1}, space) == [
        "low", "middle", "first", "last",
    ]  # fmt: skip


def test_equal_values_go_to_the_earlier_trial() -> None:
    trials = [
        Trial(0, {}, "failed", 1.0), Trial(1, {}, "ok", 1.0, 0.3), Trial(2, {}, "ok", 1.0, 0.4),
        Trial(3, {}, "ok", 1.0, 0.4),
    ]  # fmt: skip
    assert best_of(trials) == 2
    assert best_of(trials[:1]) is None


# A tuning as a whole


def test_a_value_is_what_the_scorer_gives_a_validation_run(
    toy: Task, card: Callable[..., Path], tmp_path: Path
) -> None:
    study = tuned(card(), toy, trials=3)
    for trial in study.trials:
        made = msgspec.structs.replace(read_card(card()), params={"noise": 3} | trial.params)
        path = tmp_path / f"{trial.number}.jsonl"
        execute(made, toy, "ranking", path, split="validation")
        found = score(read_run(path, toy))
        assert trial.value == found.metrics["ndcg@10"].value


def test_the_cards_own_params_are_tried_first(toy: Task, card: Callable[..., Path]) -> None:
    folder = card(("noise = 3 }", 'noise = 3, kind = "down" }'), ("tasks =", "runs = 3\ntasks ="))
    study = tuned(folder, toy)
    assert len(tunable.MADE) == 6  # one run of each is enough
    assert study.trials[0].params == {"share": 0.05, "kind": "down"}
    assert len(study.trials) == 6
    assert tunable.MADE[0] == {"share": 0.05, "kind": "down", "noise": 3}
    assert study.best_trial.value == max(trial.value for trial in study.trials)
    assert study.best_trial.value > study.trials[0].value


def test_params_outside_the_space_are_not_tried_and_that_is_said(
    toy: Task, card: Callable[..., Path]
) -> None:
    said: list[str] = []

    class Told(Watcher):
        def say(self, line: str) -> None:
            said.append(line)

    study = tuned(card(("share = 0.05", "share = 1.5")), toy, trials=2, watcher=Told())
    assert all(inside(trial.params["share"], study.space["share"]) for trial in study.trials)
    assert said == ["toy-v1/ranking: the card's own params are outside the space, so not tried"]


def guarded(task: Task) -> tuple[Task, set[str]]:
    """A task that refuses whatever names its test split, and what was asked of it."""
    asked: set[str] = set()

    class Guarded(Task):
        pass

    def guard(name: str, method: Callable[..., Any]) -> None:
        signature = inspect.signature(method)

        @wraps(method)
        def checked(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            assert bound.arguments["split"] == "validation", name
            asked.add(name)
            return method(*args, **kwargs)

        setattr(Guarded, name, checked)

    for name, method in inspect.getmembers(Task, inspect.isfunction):
        if "split" in inspect.signature(method).parameters:
            guard(name, method)
    return Guarded(task.recipe, task.manifest, task.folder), asked


@pytest.mark.parametrize("track", ["retrieval", "ranking", "reranking"])
def test_no_trial_opens_anything_of_the_test_split(
    track: str, toy: Task, card: Callable[..., Path]
) -> None:
    task, asked = guarded(toy)
    assert len(tuned(card(), task, track, trials=2).trials) == 2
    assert {"requests", "targets", "log", "view", "_of_split", "_made_of"} <= asked
    for name in ("requests", "targets", "log", "view"):
        with pytest.raises(AssertionError, match=name):
            getattr(task, name)(**{"split": "test"} | ({"track": track} if name == "view" else {}))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_other_test_targets_change_no_trial(
    sampler: str, toy: Task, card: Callable[..., Path]
) -> None:
    folder = card(('"tpe"', f'"{sampler}"'))
    tuned(folder, toy)
    expected, chosen = timeless(folder), (folder / "submission.toml").read_text()
    (folder / TUNING).unlink()
    card(('"tpe"', f'"{sampler}"'))
    tuned(folder, with_other_test_targets(toy))
    assert timeless(folder) == expected
    assert (folder / "submission.toml").read_text() == chosen


def with_other_test_targets(task: Task) -> Task:
    """A task whose test targets are others, and whose validation targets are its own."""
    table = task.table(tables.TARGETS)
    test = pc.equal(table["split"], "test").to_numpy()
    lists = np.array(table["items"].to_pylist(), dtype=object)[:, 0]
    lists[test] = np.roll(lists[test], 1)
    field = table.schema.field("items")
    other = table.set_column(
        table.schema.get_field_index("items"), field, pa.array([[i] for i in lists], field.type)
    )
    made = Task(task.recipe, task.manifest, task.folder, {tables.TARGETS: other})
    assert not np.array_equal(made.targets("test").items, task.targets("test").items)
    assert np.array_equal(made.targets("validation").items, task.targets("validation").items)
    return made


def test_trials_are_written_one_a_line_and_their_place_in_the_card(
    toy: Task, card: Callable[..., Path]
) -> None:
    folder = card()
    study = tuned(folder, toy)
    text = (folder / TUNING).read_text("utf-8")
    assert len(text.splitlines()) == 1 + 1 + 6 + 1 + 1
    data = json.loads(text)
    assert data["format"] == "llm4rec-bench/1"
    (saved,) = data["studies"]
    head = {name: saved[name] for name in saved if name not in ("trials", "space", "optuna")}
    assert head == {
        "task": "toy-v1", "track": "ranking", "serves": ["ranking"],
        "digest": toy.digest("ranking"), "split": "validation", "metric": "ndcg@10",
        "sampler": "tpe", "seed": 0, "system": "tests.tunable:Blend", "held": {"noise": 3},
        "reads": [], "method_seed": 0, "best": study.best,
    }  # fmt: skip
    assert [trial["number"] for trial in saved["trials"]] == [*range(6)]
    assert read_tried(folder).study("toy-v1", "ranking") == study
    values = study.best_trial.params
    assert (folder / "submission.toml").read_text("utf-8") == (
        f'{CARD}\n[on."toy-v1/ranking"]\n'
        f'params = {{ share = {values["share"]}, kind = "{values["kind"]}" }}\n'
    )
    assert sorted(path.name for path in folder.iterdir()) == ["submission.toml", TUNING]


def test_the_same_seed_gives_the_same_trials(toy: Task, card: Callable[..., Path]) -> None:
    folder = card()
    tuned(folder, toy)
    first = timeless(folder)
    card()
    tuned(folder, toy, overwrite=True)
    assert timeless(folder) == first
    tuned(card(("trials = 6", "trials = 6\nseed = 1")), toy)
    assert timeless(folder) != first


def test_an_interrupted_tuning_goes_on_as_if_nothing_had_happened(
    toy: Task, card: Callable[..., Path]
) -> None:
    folder = card()
    tuned(folder, toy)
    expected, chosen = timeless(folder), (folder / "submission.toml").read_text()
    (folder / TUNING).unlink()
    before = card().joinpath("submission.toml").read_text()
    tunable.MADE.clear()
    tunable.STOPS_AT.append(4)
    with pytest.raises(KeyboardInterrupt):
        tuned(folder, toy)
    assert len(read_tried(folder).studies[0].trials) == 4
    assert (folder / "submission.toml").read_text() == before  # not before the study is whole
    assert sorted(path.name for path in folder.iterdir()) == ["submission.toml", TUNING]
    tuned(folder, toy)
    assert len(tunable.MADE) == 6
    assert timeless(folder) == expected
    assert (folder / "submission.toml").read_text() == chosen


def test_a_tuning_that_is_killed_goes_on_with_the_same_command(
    toy: Task, card: Callable[..., Path]
) -> None:
    folder = card(("noise = 3", "noise = 3, pause = 0.05"))
    code = "from llm4rec_bench.cli import main; main()"
    command = [sys.executable, "-c", code, "tune", folder, "--track", "ranking"]
    started = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while not (folder / TUNING).exists() or not (folder / ".trial.partial").exists():
            assert time.monotonic() < end
            time.sleep(0.002)
    finally:
        started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    left = len(read_tried(folder).studies[0].trials)
    assert 1 <= left < 6
    tuned(folder, toy)
    assert len(tunable.MADE) == 6 - left
    goes_on = timeless(folder)
    assert not [path for path in folder.iterdir() if path.name.startswith(".trial")]
    card(("noise = 3", "noise = 3, pause = 0.05"))
    tuned(folder, toy, overwrite=True)
    assert timeless(folder) == goes_on


def test_a_finished_tuning_is_kept_and_more_trials_are_added(
    toy: Task, card: Callable[..., Path]
) -> None:
    folder = card()
    tuned(folder, toy)
    before = (folder / TUNING).read_bytes()
    tuned(folder, toy)
    assert (folder / TUNING).read_bytes() == before
    assert len(tunable.MADE) == 6
    more = tuned(folder, toy, trials=9)
    assert len(tunable.MADE) == len(more.trials) == 9
    assert (folder / TUNING).read_bytes().splitlines()[2:7] == before.splitlines()[2:7]
    assert len(tuned(folder, toy).trials) == 9


@pytest.mark.parametrize(
    "change",
    [
        ("high = 1.0", "high = 0.9"),
        ('["up", "down"]', '["up"]'),
        ('"tpe"', '"random"'),
        ("trials = 6", "trials = 6\nseed = 1"),
        ("ndcg@10", "mrr@10"),
        ("noise = 3", "noise = 4"),
        ("tasks =", "seed = 7\ntasks ="),
        ("tasks =", 'reads = ["title"]\ntasks ='),
    ],
)
def test_a_study_by_other_rules_is_made_anew_and_others_are_left_alone(
    change: tuple[str, str], toy: Task, card: Callable[..., Path]
) -> None:
    folder = card()
    other, first = tuned(folder, toy, "ranking-popular", trials=2), tuned(folder, toy, trials=2)
    tunable.MADE.clear()
    second = tuned(card(change), toy, trials=2)
    assert len(tunable.MADE) == 2
    assert second != first
    tracks = {study.track: study for study in read_tried(folder).studies}
    assert tracks == {"ranking": second, "ranking-popular": other}


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(
    toy: Task, card: Callable[..., Path]
) -> None:
    study = tuned(card(*FUSSY, ("trials = 6", "trials = 9")), toy)
    assert len(study.trials) == 9
    failed = [trial for trial in study.trials if trial.state == "failed"]
    assert 2 <= len(failed) < 9
    assert all(trial.value is None for trial in failed)
    broken = [t for t in failed if t.params["kind"] == "down" and t.params["share"] <= 0.5]
    refused = [t for t in failed if t.params["share"] > 0.5]
    assert broken and refused and len(broken) + len(refused) == len(failed)
    for trial in broken:
        assert "failed while fitting: RuntimeError: the model \\x1b[31mwent away" in trial.error
        assert len(trial.error) <= 310 and trial.error.endswith("…")
    assert {f"mine: share is {t.params['share']}; expected at most .5" for t in refused} == {
        trial.error for trial in refused
    }
    assert study.best_trial.state == "ok"


def test_a_method_that_only_fails_stops_the_tuning(toy: Task, card: Callable[..., Path]) -> None:
    broken = card(*FUSSY, ('["up", "down"]', '["down"]'), ("high = 1.0", "high = 0.5"))
    before = (broken / "submission.toml").read_text()
    with pytest.raises(
        MethodFailed, match=r"all trials failed \(3\), the last one so: mine: "
    ) as told:
        tuned(broken, toy)
    assert isinstance(told.value.__cause__, RuntimeError)
    assert [trial.state for trial in read_tried(broken).studies[0].trials] == ["failed"] * 3
    assert (broken / "submission.toml").read_text() == before


def test_a_study_without_a_success_is_made_anew(
    toy: Task, card: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunable.Blend, "rank", lambda self, requests: [])
    with pytest.raises(MethodFailed, match="rank returned 0, expected a list of 300"):
        tuned(card(), toy)
    assert len(read_tried(card()).studies[0].trials) == 3
    monkeypatch.undo()
    study = tuned(card(), toy)
    assert [trial.state for trial in study.trials] == ["ok"] * 6


def test_what_is_no_fault_of_the_parameters_ends_the_tuning(
    toy: Task, card: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*args: Any) -> None:
        raise OSError("the disk fails")

    monkeypatch.setattr("llm4rec_bench.tuning.trials.read_run", unreadable)
    with pytest.raises(OSError, match="the disk fails"):
        tuned(card(), toy)


def test_one_search_can_serve_all_tracks_of_a_task(toy: Task, card: Callable[..., Path]) -> None:
    folder = card(("trials = 6", 'trials = 3\nper = "task"'))
    path = folder / "submission.toml"
    path.write_text(
        f'{path.read_text()}\n[on."toy-v1/ranking"]\nparams = {{ share = 0.1, noise = 1 }}\n'
        '\n[on."toy-v1/reranking"]\nparams = { share = 0.1 }\n'
    )
    (place,) = places(read_card(folder), toy)
    assert (place.track, place.name) == ("retrieval", "toy-v1")
    study = tune(folder, place)
    assert study.serves == ["retrieval", "ranking", "ranking-popular", "reranking"]
    best, made = study.best_trial.params, read_card(folder)
    assert made.on["toy-v1"].params == best
    assert made.on["toy-v1/ranking"].params == {"noise": 1}
    assert "toy-v1/reranking" not in made.on
    for track in study.serves:
        assert made.params_on("toy-v1", track).items() >= best.items()
    check_followed(made, folder, [("toy-v1", track) for track in study.serves])
    with pytest.raises(UsageError, match="all tracks share one search"):
        places(made, toy, ["ranking"])


def test_a_search_for_one_track_takes_it_from_the_search_for_all(
    toy: Task, card: Callable[..., Path]
) -> None:
    task = ("trials = 6", 'trials = 2\nper = "task"')
    folder = card(task)
    together = tune(folder, *places(read_card(folder), toy))
    card(("trials = 6", "trials = 2"))
    ranking = tuned(folder, toy, "ranking")
    serving = {study.track: study.serves for study in read_tried(folder).studies}
    rest = ["retrieval", "ranking-popular", "reranking"]
    assert serving == {"retrieval": rest, "ranking": ["ranking"]}
    tunable.MADE.clear()
    retrieval = tuned(folder, toy, "retrieval")
    assert not tunable.MADE
    assert retrieval.trials == together.trials
    assert read_tried(folder).studies == [retrieval, ranking]
    card(task)
    assert tune(folder, *places(read_card(folder), toy)) == together
    assert not tunable.MADE
    assert read_tried(folder).studies == [together]


def test_only_one_process_tunes_a_card(toy: Task, card: Callable[..., Path]) -> None:
    folder, held = card(), []

    class Nosy(Watcher):
        def tried(self, study: Study, wanted: int) -> None:
            with pytest.raises(CardRefused, match="another process is tuning this card") as told:
                tuned(folder, toy)
            held.append(told)

    tuned(folder, toy, trials=1, watcher=Nosy())
    assert len(held) == 2
    assert len(tuned(folder, toy, trials=2).trials) == 2


def test_a_card_that_was_changed_meanwhile_keeps_its_authors_words(
    toy: Task, card: Callable[..., Path]
) -> None:
    folder = card()
    path = folder / "submission.toml"

    class Author(Watcher):
        def __init__(self, old: str, new: str) -> None:
            self.old, self.new = old, new

        def tried(self, study: Study, wanted: int) -> None:
            path.write_text(path.read_text().replace(self.old, self.new))

    tuned(folder, toy, trials=1, watcher=Author("A blend.", "A better blend."))
    assert "A better blend." in path.read_text()
    assert '[on."toy-v1/ranking"]' in path.read_text()
    with pytest.raises(CardRefused, match="was changed meanwhile, to another space"):
        tuned(folder, toy, trials=2, watcher=Author("high = 1.0", "high = 0.9"))


# The card's text


def test_editing_keeps_comments_order_and_all_else() -> None:
    text = (
        '# top\nname = "x"  # a name\n\n[on."t-v1/ranking"]  # by hand\n# why\n'
        'params = { b = 1, share = 0.1 }  # keep me\n\n[tuning]  # last\nmetric = "m"\n'
    )
    assert with_params(text, "t-v1/ranking", {"share": 0.25}) == text.replace("0.1", "0.25")
    added = with_params(text, "t-v1/retrieval", {"share": 1e-05, "kind": 'a "b" ]', "on": True})
    assert added == (
        text + '\n[on."t-v1/retrieval"]\n'
        'params = { share = 1e-05, kind = "a \\"b\\" ]", on = true }\n'
    )
    assert with_params(text, "t-v1/ranking", {"share": 0.1}) == text


@pytest.mark.parametrize(
    "text",
    [
        'name = "x"\n[on."a-v1".params]\nshare = 1 # one\nb = 2\n\n[tuning]\nm = 1\n',
        'name = "x"\non."a-v1".params.share = 1\n',
        'name = "x"\non = { "a-v1" = { params = { share = 1 } } }\n',
        'name = "x"\n[on]\n"a-v1" = { params = { b = 1 } }\n[tuning]\nm = 1\n',
        '[on."b-v1"]\nparams = {}\n[tuning]\nm = 1\n[on."a-v1"]\nparams = { share = 2 }',
        'name = "x"\r\n\r\n[on."a-v1"]\r\nparams = { share = 2 }\r\n',
        'name = "x"\r\nparams = { share = 1 }',
        '[on."a-v1"]\n[on."a-v1".params]\n[on."a-v1/ranking"]\nparams = { share = 1 }\n',
    ],
)
def test_a_card_may_be_spelled_in_any_way(text: str) -> None:
    params = {"share": 0.5, "kind": "up"}
    made = with_params(text, "a-v1", params, cleared=["a-v1/ranking"])
    before, after = tomllib.loads(text), tomllib.loads(made)
    kept = before.get("on", {}).pop("a-v1", {"params": {}})["params"]
    assert after["on"].pop("a-v1") == {"params": kept | params}
    before.get("on", {}).pop("a-v1/ranking", None)
    assert {**after, "on": after["on"] or None} == {**before, "on": before.get("on") or None}
    assert made.count("\r\n") == (made.count("\n") if "\r\n" in text else 0)
    assert [
        line for line in text.splitlines() if "#" in line and line.split("#")[1] not in made
    ] == []


def test_a_card_that_cannot_be_edited_is_left_alone() -> None:
    text = 'on = { "b-v1" = { params = { share = 1 } } }\n'
    with pytest.raises(CardRefused, match=re.escape('give [on."a-v1"] a table of its own')):
        with_params(text, "a-v1", {"share": 0.5})


# What a card must follow


@pytest.fixture(scope="module")
def whole(toy: Task, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a tuned submission."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "submission.toml").write_text(CARD)
    tuned(folder, toy)
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def entry(whole: dict[str, str], tmp_path: Path) -> Path:
    for name, text in whole.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def check(folder: Path, *tracks: str) -> None:
    check_followed(read_card(folder), folder, [("toy-v1", t) for t in tracks or ["ranking"]])


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_card_that_follows_its_trials_is_fine(entry: Path) -> None:
    check(entry)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r"(\[on.*share = )[0-9.]+", r"\g<1>0.123", "share is 0.123, and "),
        (r'\n\[on\."toy-v1/ranking"\]\nparams = .*', "", "share is 0.05, and "),
        ("noise = 3", "noise = 4", "made with another value of a param that is not tuned"),
        ("high = 1.0", "high = 2.0", "made with another space"),
        ('sampler = "tpe"', 'sampler = "random"', "made with another sampler"),
        ("ndcg@10", "mrr@10", "made with another metric"),
        ("trials = 6", "trials = 7", "6 of 7 trials"),
        ("trials = 6", "trials = 6\nseed = 1", "another seed of the sampler"),
        (":Blend", ":Fussy", "made with another system"),
    ],
)
def test_a_card_that_does_not_is_refused(entry: Path, old: str, new: str, said: str) -> None:
    path = entry / "submission.toml"
    text, count = re.subn(old, new, path.read_text(), flags=re.DOTALL if "on" in old else 0)
    assert count == 1
    path.write_text(text)
    with pytest.raises(CardRefused) as refused:
        check(entry)
    assert "does not follow its trials: toy-v1/ranking: " in str(refused.value)
    assert said in str(refused.value)
    assert str(refused.value).endswith(f"run: llm4rec-bench tune {entry}")


def test_trials_must_be_of_the_task_as_it_is_and_of_every_place(entry: Path) -> None:
    with pytest.raises(CardRefused, match=r"toy-v1/retrieval: tuning\.json holds no trials of it"):
        check(entry, "ranking", "retrieval")
    with pytest.raises(CardRefused, match="and 1 more places"):
        check(entry, *["retrieval"] * 4)
    text = (entry / TUNING).read_text()
    (entry / TUNING).write_text(re.sub(r"sha256:[0-9a-f]", "sha256:", text))
    with pytest.raises(CardRefused, match="made with another version of the task"):
        check(entry)


def test_trials_without_a_card_that_they_could_be_of_are_refused(entry: Path) -> None:
    path = entry / "submission.toml"
    text = path.read_text()
    path.write_text(text.replace('system = "tests.tunable:Blend"\n', ""))
    with pytest.raises(CardRefused, match="the card has no system that they could be of"):
        check(entry)
    (entry / TUNING).unlink()
    check(entry)  # a method made elsewhere only states how it was tuned


def test_a_tuned_card_without_trials_is_refused(entry: Path) -> None:
    (entry / TUNING).unlink()
    with pytest.raises(CardRefused, match="holds no trials of it"):
        check(entry)


def changed_trial(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda study: study["trials"][2].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed_trial(number=3), "trial 2 has the number 3"),
        (changed_trial(state="failed"), "trial 2 is failed with the value 0."),
        (changed_trial(value=None), "trial 2 is ok with the value None"),
        (changed_trial(value=1.5), "Expected `float` <= 1.0"),
        (changed_trial(value=0.9999), "but trial 2 is the best"),
        (changed_trial(params={"share": 0.5}), "the params of trial 2 are not those"),
        (changed_trial(params={"share": 7, "kind": "up"}), "share = 7 is outside the space"),
        (changed_trial(params={"share": "1", "kind": "up"}), "share = '1' is outside"),
        (changed_trial(hidden=1), "unknown field `hidden`"),
        (lambda study: study.update(split="test"), "Invalid enum value 'test'"),
        (lambda study: study.update(best=None), "best is None, but"),
        (lambda study: study.update(best=10**6), "best is 1000000, but"),
        (lambda study: study["trials"][1].update(params=study["trials"][2]["params"]),
         "trial 2 repeats an earlier one"),
        (lambda study: study["space"]["share"].update(step=0), "space.share: step is 0"),
        (lambda study: study["space"]["share"].update(low=-(10**30)), "must lie between"),
    ],
)  # fmt: skip
def test_a_record_that_no_tuning_wrote_is_refused(
    change: Callable[[dict[str, Any]], None], said: str, entry: Path
) -> None:
    data = json.loads((entry / TUNING).read_text())
    (study,) = data["studies"]
    change(study)
    (entry / TUNING).write_text(json.dumps(data))
    with pytest.raises(CardRefused, match=re.escape(said)) as refused:
        check(entry)
    assert str(refused.value).startswith(f"{entry / TUNING}: ")
    assert "it is generated" in str(refused.value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b'{"format": "x/9", "studies": []}', b"\xff\xfe", b"null"]
)
def test_a_damaged_record_is_refused(data: bytes, entry: Path) -> None:
    (entry / TUNING).write_bytes(data)
    with pytest.raises(CardRefused, match=r"tuning\.json: .*it is generated"):
        check(entry)


def test_a_record_that_is_no_file_or_too_large_is_refused(
    entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm4rec_bench.tuning.record.LARGEST", 100)
    with pytest.raises(CardRefused, match="is larger than"):
        check(entry)
    (entry / TUNING).unlink()
    (entry / TUNING).mkdir()
    with pytest.raises(CardRefused, match=r"tuning\.json: "):
        check(entry)


def test_the_leaderboard_refuses_an_entry_that_does_not_follow_its_trials(
    bench: Callable[..., tuple[int, str, str]], card: Callable[..., Path]
) -> None:
    folder = card()
    assert bench("tune", folder, "--track", "ranking", "--trials", 6)[0] == 0
    run = ["run", folder, "--track", "ranking", "--compress", "--out", folder]
    # The split of the run does not matter to whether a card follows its trials.
    assert bench(*run, "--split", "validation")[0] == 0
    (folder / "toy-v1.ranking.validation.jsonl.gz").rename(folder / "toy-v1.ranking.jsonl.gz")
    assert bench("score", folder, "--save")[0] == 0
    assert len(read_submission(folder)) == 1
    path = folder / "submission.toml"
    replace_text(
        path, re.sub(r"(\[on.*share = )[0-9.]+", r"\g<1>0.123", path.read_text(), flags=re.S)
    )
    code, _, err = bench("score", folder, "--save")
    assert code == 1
    assert "does not follow its trials: toy-v1/ranking: share is 0.123" in err


# The command line


def test_tune_shows_what_was_chosen_and_what_to_do_next(
    bench: Callable[..., tuple[int, str, str]], card: Callable[..., Path]
) -> None:
    folder = card()
    code, out, err = bench("tune", folder, "--task", "toy-v1")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["place", "trials", "seconds", "ndcg@10", "best", "params"]
    assert [line.split()[:2] for line in lines[1:5]] == [
        [f"toy-v1/{track}", "6"]
        for track in ("retrieval", "ranking", "ranking-popular", "reranking")
    ]
    assert lines[-1] == f"next: llm4rec-bench run {folder} --task toy-v1"
    assert len(err.splitlines()) == 24  # where there is no terminal, a line for each trial
    first = r'mine toy-v1/retrieval 1/6: 0\.\d{4} with share = 0\.05, kind = "up", best 0\.\d{4}'
    assert re.fullmatch(first, err.splitlines()[0])
    assert len(read_tried(folder).studies) == 4
    check_followed(
        read_card(folder), folder, [("toy-v1", study.track) for study in read_tried(folder).studies]
    )


def test_tune_continues_marks_edges_and_counts_failures(
    bench: Callable[..., tuple[int, str, str]], card: Callable[..., Path]
) -> None:
    edge = ("high = 1.0", "high = 0.5"), ("share = 0.05", "share = 0.5")
    folder = card(*FUSSY, *edge, ("trials = 6", "trials = 8"))
    words = ["tune", folder, "--track", "ranking"]
    code, out, _ = bench(*words, "--trials", 5)
    assert code == 0
    assert "fewer trials than the card's 8: the same without --trials adds the rest" in out
    code, out, err = bench(*words)
    assert code == 0
    assert "mine toy-v1/ranking: continues after 5 of 8 trials, best 0." in err
    assert re.search(r"toy-v1/ranking +8 \(\d failed\)", out)
    assert "0.5*" in out
    assert "* at the edge of the space: widen it" in out
    assert bench(*words, "--overwrite")[0] == 0


def test_ctrl_c_keeps_what_is_done(
    bench: Callable[..., tuple[int, str, str]], card: Callable[..., Path]
) -> None:
    folder = card()
    tunable.STOPS_AT.append(2)
    code, out, err = bench("tune", folder, "--track", "ranking")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted; what is written so far is kept")
    code, _, err = bench("tune", folder, "--track", "ranking")
    assert code == 0
    assert "continues after 2 of 6 trials" in err


@pytest.mark.parametrize(
    ("change", "options", "code", "said"),
    [
        (("[tuning]", "[turning]"), [], 1, '"turning" is not a field of a card; nearest: "tuning"'),
        ((CARD[CARD.index("[tuning]"):], ""), [], 1, "the card has no [tuning] table"),
        (('system = "tests.tunable:Blend"\n', ""), [], 1, "the card names no system"),
        ((":Blend", ":Blind"), [], 1, "tests.tunable has no Blind"),
        (("kind = [", "sort = ["), [], 1, "params do not fit tests.tunable:Blend"),
        (("ndcg@10", "ndcg@11"), [], 1, "tuning.metric: ndcg@11 is not computed on retrieval of"),
        (('tasks = ["toy-v1"]', ""), [], 2, "the card names no tasks"),
        (None, ["--task", "toy-v9"], 2, "no task is called 'toy-v9'"),
        (None, ["--track", "rankign"], 2, 'nearest: "ranking"'),
        (None, ["--trials", "0"], 2, "--trials"),
        (None, ["--split", "test"], 2, "No such option"),
        (("trials = 6", 'trials = 6\nper = "task"'), ["--track", "ranking"], 2, "share one search"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_before_the_first_trial(
    bench: Callable[..., tuple[int, str, str]], card: Callable[..., Path],
    change: tuple[str, str] | None, options: list[str], code: int, said: str,
) -> None:  # fmt: skip
    folder = card(*[change] if change else [])
    found, out, err = bench("tune", folder, *options)
    assert (found, out) == (code, "")
    assert said in err
    assert not tunable.MADE
    assert [path.name for path in folder.iterdir()] == ["submission.toml"]


@pytest.mark.parametrize("library", ["optuna", "tomlkit"])
def test_a_missing_library_is_told_before_the_first_trial(
    bench: Callable[..., tuple[int, str, str]], card: Callable[..., Path], library: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, library, None)
    code, _, err = bench("tune", card(), "--track", "ranking")
    assert code == 2
    assert f"{library} is not installed; pip install 'llm4rec-bench[tune]'" in err
    assert not tunable.MADE


def test_a_grid_needs_no_optuna(
    toy: Task, card: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    grid = ('trials = 6\nsampler = "tpe"', 'sampler = "grid"')
    study = tuned(card(grid, ("{ low = 0.0, high = 1.0 }", "[0.1, 0.5]")), toy)
    assert len(study.trials) == 4
    assert study.optuna == []


def test_help_loads_no_library_that_searches() -> None:
    code = (
        "import sys; from llm4rec_bench.cli import cli\n"
        "try: cli.main(['tune', '--help'])\n"
        "finally: print({'optuna', 'tomlkit', 'numpy', 'rich'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert done.stdout.startswith("Usage:")


def test_the_examples_of_the_readme_can_be_tuned(
    bench: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from baselines.classical.als import ALS
    from tests.test_readme import blocks

    (stated,) = (text for text in blocks("text") if text.startswith("[tuning]"))
    tuning = msgspec.convert(tomllib.loads(stated)["tuning"], Tuning)
    inspect.signature(ALS).bind(**{**tuning.space, "iterations": 15})
    monkeypatch.delitem(sys.modules, "my_methods", raising=False)
    Path("my_methods.py").write_text(blocks("python")[1], "utf-8")
    Path("submission.toml").write_text(blocks("toml")[0], "utf-8")
    assert bench("tune", "submission.toml", "--track", "ranking")[0] == 0
    (study,) = read_tried(Path()).studies
    assert {trial.params["reverse"] for trial in study.trials} == {True, False}
