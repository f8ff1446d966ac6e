"""Tasks as RecBole's files: what may be seen and no more, in an order and a form that last."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from llm4rec_bench import Task, UsageError, read_run, score
from llm4rec_bench.exchange import export_recbole, import_predictions
from tests.conftest import real_task
from tests.exchange.conftest import small_task

HERE = Path(__file__).parent / "recbole"
PAIR = ["user_id:token", "item_id:token", "timestamp:float"]
LIST = "item_id_list:token_seq"


def exported(task: Task, out: Path, split: str = "test", **options) -> dict[str, list[list[str]]]:
    """The lines of each file of an export, by what follows the name."""
    folder = export_recbole(task, out, split=split, **options)
    return {
        path.name.removeprefix(f"{folder.name}."): [
            line.split("\t") for line in path.read_text("utf-8").split("\n")[:-1]
        ]
        for path in folder.iterdir()
    }


def visible(task: Task, split: str) -> list[list[str]]:
    """The interactions that a split may see, in the order of the task's table."""
    rows = task.table("interactions").to_pylist()
    return [
        [row["user_id"], row["item_id"], str(row["timestamp"])] for row in rows
        if split == "test" or row["part"] == "train"
    ]  # fmt: skip


def asked(task: Task, split: str) -> list[list[str]]:
    targets = [task.items.ids[row] for row in task.targets(split).items[:, 0]]
    return [
        [request.user_id, target, str(request.timestamp), " ".join(request.history)]
        for request, target in zip(task.requests(split), targets, strict=True)
    ]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_train_is_the_visible_log_row_by_row(split: str, toy: Task, tmp_path: Path) -> None:
    files = exported(toy, tmp_path, split)
    assert files["train.inter"] == [PAIR, *visible(toy, split)]
    assert files["valid.inter"] == [[*PAIR, LIST], *asked(toy, "validation")]
    if split == "test":
        assert files["test.inter"] == [[*PAIR, LIST], *asked(toy, "test")]


def test_an_export_for_validation_holds_no_trace_of_what_test_asks(toy: Task, tmp_path) -> None:
    files = exported(toy, tmp_path, "validation")
    assert "test.inter" not in files
    hidden = {(user, target) for user, target, *_ in asked(toy, "test")}
    for name in ("train.inter", "train-sequences.inter", "valid.inter"):
        for user, item, *rest in files[name]:
            for named in (item, *" ".join(rest[1:]).split()):
                assert (user, named) not in hidden
    config = (tmp_path / "toy-v1-validation/toy-v1-validation.general.yaml").read_text("utf-8")
    assert "benchmark_filename: [train, valid, valid]\n" in config


@pytest.mark.parametrize("longest", [1, 3, 50])
def test_each_event_comes_with_what_its_user_had_before(longest: int, toy, tmp_path) -> None:
    files = exported(toy, tmp_path, max_length=longest)
    before, expected = defaultdict(list), []
    for row in visible(toy, "test"):
        if past := before[row[0]]:
            expected.append([*row, " ".join(past[-longest:])])
        past.append(row[1])
    assert files["train-sequences.inter"] == [[*PAIR, LIST], *expected]
    for row, whole in zip(files["test.inter"][1:], asked(toy, "test"), strict=True):
        assert row[3].split() == whole[3].split()[-longest:]


def test_the_configurations_name_the_files_and_the_longest_history(toy, tmp_path) -> None:
    lists = exported(toy, tmp_path)
    folder = tmp_path / "toy-v1"
    for kind in ("general", "sequential"):
        text = (folder / f"toy-v1.{kind}.yaml").read_text("utf-8")
        (named,) = re.findall(r"^benchmark_filename: \[(.*)\]$", text, re.M)
        assert len(named.split(", ")) == 3
        for part in named.split(", "):
            assert (folder / f"toy-v1.{part}.inter").exists()
        (place,) = re.findall(r'^data_path: "(.*)"$', text, re.M)
        assert Path(place) == tmp_path
        assert "eval_step: 0" in text
    (longest,) = re.findall(r"^MAX_ITEM_LIST_LENGTH: (\d+)$", text, re.M)
    rows = [row for name, rows in lists.items() if rows[0][-1] == LIST for row in rows[1:]]
    assert int(longest) == max(len(row[3].split()) for row in rows)


def test_the_page_beside_the_files_says_which_hold_targets_and_under_what_licence(
    toy, tmp_path
) -> None:
    page = (export_recbole(toy, tmp_path) / "README.md").read_text("utf-8")
    assert "`toy-v1.test.inter`: the **targets of the test split**" in page
    assert "Never train" in page
    assert "Licence: Apache-2.0" in page
    other = export_recbole(toy, tmp_path, split="validation") / "README.md"
    assert "test.inter" not in other.read_text("utf-8")


def test_an_export_written_again_is_the_same_file_by_file(toy, tmp_path) -> None:
    first, second = exported(toy, tmp_path), exported(toy, tmp_path)
    assert first == second


def read_as_recbole(path: Path) -> pd.DataFrame:
    """How RecBole 1.2.1 reads a file: its `Dataset._load_feat`."""
    with path.open(encoding="utf-8") as file:
        head = file.readline()[:-1].split("\t")
    kinds = {field: float if field.endswith(":float") else str for field in head}
    frame = pd.read_csv(path, delimiter="\t", dtype=kinds, encoding="utf-8", engine="python")
    for field in head:
        if field.endswith("_seq"):
            frame[field] = [list(filter(None, text.split(" "))) for text in frame[field].fillna("")]
    return frame


words = st.text(
    st.characters(exclude_categories=("Z", "C"), exclude_characters='"'), min_size=1, max_size=6
).filter(lambda word: word not in {*STR_NA_VALUES, "[PAD]"})
titles = st.text(max_size=12)


@settings(max_examples=25)
@given(st.lists(words, min_size=6, max_size=7, unique=True),
       st.lists(words, min_size=6, max_size=6, unique=True),
       st.lists(titles, min_size=6, max_size=6))  # fmt: skip
@example(
    list("123456"), ["007", "7", "7.0", "1e3", "'", "#"], ['"', 'a "b"\n', "\t", "", "NA", "x"]
)
def test_odd_ids_and_titles_are_read_back_by_recbole(tmp_path_factory, users, items, named) -> None:
    task = small_task(users, items, named)
    folder = export_recbole(task, tmp_path_factory.mktemp("odd"))
    frame = read_as_recbole(folder / "toy-v1.item")
    assert frame["item_id:token"].tolist() == task.items.ids
    assert set(frame["year:token"]) == {"1999"}
    assert frame["categories:token_seq"].tolist() == [["A_b", "c"]] * len(task.items)
    assert "creators:token_seq" not in frame
    train = read_as_recbole(folder / "toy-v1.train-sequences.inter")
    before = defaultdict(list)
    expected = []
    for user, item, _ in visible(task, "test"):
        if before[user]:
            expected.append((user, item, list(before[user])))
        before[user].append(item)
    columns = (train[name] for name in ("user_id:token", "item_id:token", LIST))
    assert list(zip(*columns, strict=True)) == expected


def test_titles_keep_their_words(tmp_path) -> None:
    named = ['The "Quoted" One', "two\tlines\nof it", "plain", "x\u2028y", "é ü", "7"]
    task = small_task([f"u{n}" for n in range(6)], [f"i{n}" for n in range(6)], named)
    rows = exported(task, tmp_path)["item"]
    found = {row[0]: row[1] for row in rows[1:]}
    assert [found[f"i{n}"] for n in range(6)] == [
        "The 'Quoted' One", "two lines of it", "plain", "x y", "é ü", "7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "odd", ["a b", "a\tb", "a\n", '"a', "[PAD]", "\u2028", "a\0", *sorted(STR_NA_VALUES)]
)
def test_ids_that_recbole_would_misread_are_refused(odd: str, tmp_path: Path) -> None:
    others = [f"x{number}" for number in range(6)]
    for task in (small_task([odd, *others], others), small_task(others, [odd, *others[1:]])):
        with pytest.raises(UsageError, match="cannot be written as RecBole files"):
            export_recbole(task, tmp_path)
    assert not list(tmp_path.iterdir())


def test_events_without_times_are_numbered_and_requests_without_a_past_left_out(tmp_path) -> None:
    task = real_task("shakespeare-v1")
    files = exported(task, tmp_path)
    times = [int(row[2]) for row in files["train.inter"][1:]]
    assert times == list(range(task.table("interactions").num_rows))
    assert min(int(row[2]) for row in files["test.inter"][1:]) == len(times)
    assert all(row[3] for name in ("valid.inter", "test.inter") for row in files[name][1:])


def test_a_task_cut_at_one_moment_shows_all_events_before_it(tmp_path) -> None:
    task = real_task("movietweetings-v1")
    files = exported(task, tmp_path)
    assert files["train.inter"] == [PAIR, *visible(task, "test")]
    latest = pc.max(task.table("interactions")["timestamp"]).as_py()
    assert min(int(row[2]) for row in files["test.inter"][1:]) > latest


REPORTED = json.loads((HERE / "reported.json").read_text())


@pytest.mark.parametrize("model", ["bpr", "sasrec"])
def test_predictions_of_recbole_itself_become_a_run(model: str, toy, tmp_path: Path) -> None:
    path, out = HERE / f"{model}.tsv.gz", tmp_path / "run.jsonl"
    found = import_predictions(path, toy, "retrieval", out, f"{model} (RecBole)")
    values = score(read_run(out)).metrics
    seen = sum(len(request.history) for request in toy.requests("test"))
    if model == "bpr":  # a general model, masked as the task masks
        assert found.dropped["seen"] == 0
        for name in ("ndcg@10", "recall@10"):
            assert values[name].value == pytest.approx(REPORTED[model][name], abs=1e-6)
    else:  # a sequential one, which ranks what was seen as well
        assert 0 < found.dropped["seen"] <= seen
        for name in ("ndcg@10", "recall@10"):
            assert values[name].value > REPORTED[model][name]


def test_the_values_that_recbole_reports_are_those_of_its_own_order(toy) -> None:
    """With what was seen left in, the sequential predictions give RecBole's own value."""
    with gzip.open(HERE / "sasrec.tsv.gz", "rt") as file:
        lines = list(csv.reader(file, delimiter="\t"))[1:]
    ranked = defaultdict(list)
    for user, item, _ in lines:
        ranked[user].append(item)
    hits = [target in ranked[user][:10] for user, target, *_ in asked(toy, "test")]
    assert sum(hits) / len(hits) == pytest.approx(REPORTED["sasrec"]["recall@10"], abs=1e-6)
