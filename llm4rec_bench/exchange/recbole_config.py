"""What goes beside RecBole's atomic files: a configuration for each kind of models, and a page."""

from __future__ import annotations

import json
from pathlib import Path

from llm4rec_bench.split import TEST
from llm4rec_bench.task import Task

_TOPK = (10, 20, 50, 100)

_REFIT = """
# valid is a part of train here, so nothing can be learnt from it: train for as many epochs as
# were best on the export of the validation split.
eval_step: 0
"""


def general(task: Task, split: str, name: str, out: Path) -> str:
    """The configuration of models that see users and items."""
    return f"""\
{_head(split, name, "general", "train", out)}
load_col: {{inter: [user_id, item_id], item: [item_id]}}

# The mask: RecBole leaves out what a user has in train and valid, which is what the task does.
{_evaluation(task, split)}"""


def sequential(task: Task, split: str, name: str, out: Path, longest: int) -> str:
    """The configuration of models that see what came before, at most `longest` items."""
    return f"""\
{_head(split, name, "sequential", "train-sequences", out)}
load_col: {{inter: [user_id, item_id, item_id_list], item: [item_id]}}
alias_of_item_id: [item_id_list]
MAX_ITEM_LIST_LENGTH: {longest}
train_neg_sample_args: ~  # as a cross-entropy loss wants it; take this out for a BPR loss

# The mask: RecBole has none for sequential models. What it reports, and would stop on, is of a
# ranking with seen items in it: choose by what `llm4rec-bench import` and `score` make of it.
{_evaluation(task, split)}"""


def _head(split: str, name: str, kind: str, train: str, out: Path) -> str:
    last = "test" if split == TEST else "valid"
    return f"""\
# {name} for {kind} models of RecBole 1.2.1; README.md says what the files hold.
dataset: {_quoted(name)}
data_path: {_quoted(str(out.resolve()))}

# The split: files as they are, with nothing filtered, ordered or split by RecBole.
benchmark_filename: [{train}, valid, {last}]"""


def _quoted(text: str) -> str:
    """A string of JSON without escaped pairs is one of YAML."""
    return json.dumps(text, ensure_ascii=False)


def _evaluation(task: Task, split: str) -> str:
    shortest = [k for k in _TOPK if k < len(task.items)] or [1]
    return f"""\
# The ranking: the whole catalogue, which is in the .item file.
eval_args: {{mode: full, order: TO, group_by: user}}
metrics: [NDCG, Recall, MRR]
topk: {shortest}
valid_metric: NDCG@{shortest[0]}
{_REFIT if split == TEST else ""}"""


def readme(task: Task, split: str, name: str) -> str:
    """What the files are, for whoever finds them."""
    seen = "validation events among them" if split == TEST else "no validation event among them"
    again = "may" if task.recipe.licence.redistribute else "may not"
    targets = f"""\
- `{name}.test.inter`: the **targets of the test split**, which RecBole needs to report a score.
  Never train, tune or stop on them.
"""
    return f"""\
# {task.recipe.title}, for RecBole 1.2.1

The task {task.id}, written by `llm4rec-bench export` for its {split} split.

- `{name}.train.inter`: all events that a method may see, {seen}, in time order.
- `{name}.train-sequences.inter`: the same, each with what its user had before it.
- `{name}.valid.inter`: the targets of the validation split, with histories.
{targets if split == TEST else ""}- `{name}.item`: the catalogue.
- `{name}.general.yaml`, `{name}.sequential.yaml`: configurations for models of each kind.

Licence: {task.recipe.licence.name}; the data {again} be published again.
"""
