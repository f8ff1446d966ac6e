"""An entry's results as the Hugging Face Hub reads them: `.eval_results/<task>.yaml`.

Such a file belongs into the repository of the model that was evaluated; the Hub shows it there, and
on the leaderboard of the dataset whose `eval.yaml` names the task. The format is that of
https://huggingface.co/docs/hub/eval-results.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from llm4rec_bench.cite import KEY, entry_page
from llm4rec_bench.errors import UsageError, printable, shown
from llm4rec_bench.hub import check_name
from llm4rec_bench.leaderboard import cells
from llm4rec_bench.leaderboard.entries import Entry
from llm4rec_bench.split import TEST
from llm4rec_bench.store import recipe_folder
from llm4rec_bench.submission import Card
from llm4rec_bench.submission.card import Model
from llm4rec_bench.task import read_manifest
from llm4rec_bench.task.manifest import HubPin

RESULTS = ".eval_results"
"""The folder of a model's repository that the Hub reads them from."""


class EvalResults(NamedTuple):
    """The results of an entry on the tasks that are on the Hub."""

    model: str
    """Into whose repository they belong."""
    files: dict[str, str]
    """The text of each file, by its path in the repository."""
    unpublished: list[str]
    """Tasks of the entry that are not on the Hub, of which there is no file."""


def eval_results(entries: Sequence[Entry], today: datetime.date) -> EvalResults:
    """The files of one submission's entries, dated with the day that is given.

    Raises UsageError where its card does not name one model of the Hub, or none of its tasks is
    published there.
    """
    tests = [entry for entry in entries if entry.score.split == TEST]
    if not tests:
        raise UsageError("the submission has no scored run on test: there is nothing to export")
    card = tests[0].card
    model = _only_model(card)
    tasks = sorted({entry.score.task for entry in tests})
    pins = {task: read_manifest(recipe_folder(task)).hub for task in tasks}
    files = {
        f"{RESULTS}/{task}.yaml": "".join(
            _result(entry, model, pin, today) for entry in tests if entry.score.task == task
        )
        for task, pin in pins.items()
        if pin is not None
    }
    unpublished = [task for task, pin in pins.items() if pin is None]
    if not files:
        raise UsageError(
            f"{card.name}: none of its tasks is on the Hugging Face Hub ({', '.join(unpublished)}),"
            " so the Hub has no leaderboard that results could go to; a task is there once its "
            "manifest.json names a repository and a commit under `hub`, as `llm4rec-bench publish` "
            "writes them"
        )
    return EvalResults(model.name, files, unpublished)


def _only_model(card: Card) -> Model:
    """The model that the results are of."""
    if len(card.models) != 1:
        named = ", ".join(shown(model.name) for model in card.models) or "none"
        raise UsageError(
            f"{card.name}: its card names {len(card.models)} models ({named}); results on the Hub "
            "are of one model: they need a card with exactly one [[models]], whose name is that "
            "of its repository there, ORG/NAME"
        )
    (model,) = card.models
    try:
        check_name(model.name)
    except UsageError:
        raise UsageError(
            f"{card.name}: {shown(model.name)} is no name of a model on the Hugging Face Hub; "
            "expected ORG/NAME under [[models]], as in its address there"
        ) from None
    return model


def _result(entry: Entry, model: Model, pin: HubPin, today: datetime.date) -> str:
    card, score = entry
    return (
        "- dataset:\n"
        f"    id: {_quoted(pin.repository)}\n"
        f"    task_id: {_quoted(score.track)}\n"
        f"    revision: {_quoted(pin.commit)}\n"
        f"  value: {next(iter(score.metrics.values())).value!r}\n"
        f"  date: {_quoted(today.isoformat())}\n"
        "  source:\n"
        f"    url: {_quoted(entry_page(card))}\n"
        f"    name: {_quoted(KEY.replace('_', '-'))}\n"
        f"  notes: {_quoted(_notes(entry, model))}\n"
    )


def _notes(entry: Entry, model: Model) -> str:
    card, score = entry
    first = next(iter(score.metrics))
    runs = "" if score.runs == 1 else f", mean of {score.runs} runs"
    return (
        f"{printable(card.title, 200)}: {first}, 95 % interval {cells.interval(score, first)}, "
        f"{score.requests} requests{runs}; model revision {printable(model.revision, 200)}"
    )


def _quoted(text: str) -> str:
    """A string of JSON, which is one of YAML, too."""
    return msgspec.json.encode(text).decode()
