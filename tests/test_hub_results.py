"""Results as the Hub reads them: what its own client makes of our files, and what is refused."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, parse_eval_result_entries

from llm4rec_bench import Score, UsageError
from llm4rec_bench.leaderboard import Entry, eval_results
from llm4rec_bench.leaderboard import hub as results
from llm4rec_bench.statistics import Interval
from llm4rec_bench.task import read_manifest
from llm4rec_bench.task.manifest import HubPin
from tests.test_leaderboard import HOSTILE, base, entry, submission  # noqa: F401

# ruff: noqa: F811 - a fixture of another module is imported

COMMIT = "0123456789" * 4
PIN = HubPin("tester/toy", COMMIT)
MODEL = {"name": "org/Model-1.5B", "revision": "a" * 40}
TODAY = datetime.date(2026, 11, 23)


@pytest.fixture
def pinned(monkeypatch) -> dict[str, HubPin | None]:
    """Where each task is published; the toy, unless a test says otherwise."""
    pins: dict[str, HubPin | None] = {"toy-v1": PIN}
    monkeypatch.setattr(results, "read_manifest", lambda folder: msgspec.structs.replace(
        read_manifest(folder), hub=pins.get(folder.name)
    ))  # fmt: skip
    return pins


def of_model(found: Score, **card: Any) -> Entry:
    metrics = found.metrics | {"ndcg@10": Interval(0.4321, 0.41234, 0.46)}
    found = msgspec.structs.replace(found, metrics=metrics)
    return entry(found, **{"models": [MODEL], "exposure": "possible"} | card)


def test_a_file_is_what_the_hubs_own_client_writes(base, pinned) -> None:
    made = eval_results([of_model(base["ranking"]), of_model(base["retrieval"])], TODAY)
    assert made.model == "org/Model-1.5B"
    assert made.unpublished == []
    ((path, text),) = made.files.items()
    assert path == ".eval_results/toy-v1.yaml"
    runs = {track: base[track].runs for track in ("ranking", "retrieval")}
    assert runs == {"ranking": 1, "retrieval": 1}
    expected = [
        EvalResultEntry(
            dataset_id="tester/toy",
            task_id=track,
            value=0.4321,
            dataset_revision=COMMIT,
            date="2026-11-23",
            source_url="https://github.com/llm4rec-bench/llm4rec-bench/tree/main/submissions/a-name",
            source_name="llm4rec-bench",
            notes="A title: ndcg@10, 95 % interval 0.4123–0.4600, 300 requests; "
            f"model revision {'a' * 40}",
        )
        for track in ("ranking", "retrieval")
    ]
    assert parse_eval_result_entries(yaml.safe_load(text)) == expected
    assert yaml.safe_load(text) == eval_result_entries_to_yaml(expected)


@pytest.mark.parametrize("text", HOSTILE)
def test_any_title_stays_in_the_notes(base, pinned, text: str) -> None:
    made = eval_results([of_model(base["ranking"], title=text)], TODAY)
    (found,) = parse_eval_result_entries(yaml.safe_load(made.files[".eval_results/toy-v1.yaml"]))
    assert found.notes.endswith(f"300 requests; model revision {'a' * 40}")
    assert found.notes.isprintable()
    assert found.value == 0.4321


def test_repeated_runs_are_told(base, pinned) -> None:
    found = msgspec.structs.replace(base["ranking"], runs=3)
    text = eval_results([of_model(found)], TODAY).files[".eval_results/toy-v1.yaml"]
    assert "300 requests, mean of 3 runs; model" in text


def test_tasks_that_are_not_published_are_left_out_and_named(base, pinned) -> None:
    other = msgspec.structs.replace(base["ranking"], task="ml-100k-v1")
    made = eval_results([of_model(base["ranking"]), of_model(other)], TODAY)
    assert list(made.files) == [".eval_results/toy-v1.yaml"]
    assert made.unpublished == ["ml-100k-v1"]
    pinned["toy-v1"] = None
    with pytest.raises(UsageError) as refused:
        eval_results([of_model(base["ranking"]), of_model(other)], TODAY)
    assert "none of its tasks is on the Hugging Face Hub (ml-100k-v1, toy-v1)" in str(refused.value)
    assert "`llm4rec-bench publish`" in str(refused.value)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], "its card names 0 models (none)"),
        ([MODEL, MODEL | {"name": "org/other"}], 'names 2 models ("org/Model-1.5B", "org/other")'),
        ([MODEL | {"name": "gpt-5-2026-01-01"}], '"gpt-5-2026-01-01" is no name of a model'),
        ([MODEL | {"name": "a/b/c"}], '"a/b/c" is no name of a model'),
        ([MODEL | {"name": "a/../b"}], "is no name of a model"),
        ([MODEL | {"name": "org/mod\u202eel"}], r'"org/mod\u202eel" is no name of a model'),
    ],
)
def test_results_are_of_one_model_on_the_hub(base, pinned, models: list, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        eval_results([of_model(base["ranking"], models=models)], TODAY)
    assert said in str(refused.value)
    assert "ORG/NAME" in str(refused.value)


def test_scores_of_validation_are_no_results(base, pinned) -> None:
    validated = msgspec.structs.replace(base["ranking"], split="validation")
    with pytest.raises(UsageError, match="no scored run on test"):
        eval_results([of_model(validated)], TODAY)


# The command


@pytest.fixture
def folder(base, tmp_path) -> Path:
    """A submission that stands on one model."""
    made = submission(tmp_path, [base["ranking"]], "mine", exposure="possible")
    card = made / "submission.toml"
    models = '[[models]]\nname = "org/Model-1.5B"\nrevision = "1"\n'
    card.write_text(f"{card.read_text()}\n{models}", "utf-8")
    return made


def test_the_file_lies_where_the_hub_looks_for_it(bench, pinned, folder: Path) -> None:
    words = ["export", folder, "--format", "eval-results", "--out", "model"]
    code, out, err = bench(*words)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "model/.eval_results/toy-v1.yaml",
        "next: open a pull request with them in https://huggingface.co/org/Model-1.5B",
    ]
    (found,) = parse_eval_result_entries(
        yaml.safe_load(Path("model/.eval_results/toy-v1.yaml").read_text("utf-8"))
    )
    assert (found.dataset_id, found.task_id) == ("tester/toy", "ranking")
    assert datetime.date.fromisoformat(found.date) >= TODAY
    assert bench(*words)[0] == 0


def test_what_cannot_be_exported_is_refused_and_writes_nothing(bench, folder: Path) -> None:
    words = ["--format", "eval-results", "--out", "model"]
    code, out, err = bench("export", folder, *words)  # the toy is not on the Hub
    assert (code, out) == (2, "")
    assert "none of its tasks is on the Hugging Face Hub (toy-v1)" in err
    assert bench("export", "toy-v1", *words)[0] == 2
    code, _, err = bench("export", folder, *words, "--run", "1")
    assert code == 2
    assert "--run does not go with an entry" in err
    assert not list(Path().iterdir())
