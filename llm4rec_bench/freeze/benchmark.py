"""`eval.yaml`: what makes a published task a benchmark of the Hugging Face Hub.

The Hub reads it at the root of a dataset repository, calls each of its tasks a leaderboard of its
own, and fills these from `.eval_results/*.yaml` in repositories of models. The format is that of
https://huggingface.co/docs/hub/eval-results. Its field `evaluation_framework` is left out: the Hub
refuses names that are not on its own list, and takes files without it.
"""

from __future__ import annotations

import msgspec

from llm4rec_bench.errors import printable
from llm4rec_bench.task import Recipe, tables
from llm4rec_bench.task.recipe import Track

BENCHMARK = "eval.yaml"

_SPLIT = "train"
"""How the Hub calls the only file of a config; `validation` and `test` are a column of it."""


_LONGEST = 10_000
"""Characters of a description."""


def benchmark(recipe: Recipe) -> str:
    """The text of a task's `eval.yaml`: each track is one of the Hub's tasks."""
    head = (
        "# Made by `llm4rec-bench publish` from task.toml.\n"
        f"name: {_quoted(recipe.title)}\n"
        f"description: {_quoted(_description(recipe))}\n"
        "tasks:\n"
    )
    return head + "".join(
        f"  - id: {name}\n    config: {_config(name, track)}\n    split: {_SPLIT}\n"
        for name, track in recipe.tracks.items()
    )


def _description(recipe: Recipe) -> str:
    metrics = dict.fromkeys(track.metrics[0] for track in recipe.tracks.values())
    return (
        f"{' '.join(recipe.description.split())} The value of a track is {', '.join(metrics)} on "
        "the test requests, from 0 to 1, higher is better, as `llm4rec-bench score` computes it."
    )


def _config(name: str, track: Track) -> str:
    """The table that holds what is asked on a track."""
    return tables.candidates(name) if track.has_pools else tables.REQUESTS


def _quoted(text: str) -> str:
    """A printable string of JSON, which is one of YAML, too."""
    return msgspec.json.encode(printable(text, _LONGEST)).decode()
