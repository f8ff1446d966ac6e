"""The numbers by which a researcher judges a data set, and requests to look at."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from llm4rec_bench.freeze.leaks import next_ids
from llm4rec_bench.split import TEST, VALIDATION
from llm4rec_bench.statistics import gini, rounded
from llm4rec_bench.task import Task, tables
from llm4rec_bench.task.manifest import Example
from llm4rec_bench.task.recipe import RERANKING

_SHOWN = 5
"""Items of a history that an example names."""

_EXAMPLES = 3


def facts_of(task: Task) -> dict[str, float]:
    """What the tables of a task amount to; those that a task cannot have are left out."""
    events = task.visible(TEST).events
    targets = task.targets(TEST)
    target = targets.items[:, 0]
    users = len(task.log(TEST).user_ids)
    found: dict[str, float] = {"density": events.sum() / (users * len(events))}
    found |= _spread("history_length", task.histories(TEST).lengths)
    found |= _spread("events_per_item", events[events > 0])
    found["events_on_most_popular_percent_of_items"] = _share_of_head(events, 0.01)
    found["events_on_most_popular_tenth_of_items"] = _share_of_head(events, 0.1)
    found["gini_of_events_per_item"] = gini(events)
    found["test_targets_tied"] = targets.tied.mean()
    found["test_targets_without_visible_event"] = (events[target] == 0).mean()
    found["test_targets_with_id_after_that_of_the_last_item"] = next_ids(task) / len(target)
    if tables.DESCRIPTIONS in task.manifest.tables:
        found |= _described(task, events)
    if RERANKING in task.recipe.tracks:
        pools = task.pools(TEST, RERANKING)[:, 0]
        found["test_targets_in_reranking_pool"] = (pools == target[:, None]).any(axis=1).mean()
    return {name: rounded(float(value)) for name, value in found.items()}


def _spread(name: str, values: npt.NDArray[np.int64]) -> dict[str, float]:
    ordered = np.sort(values)
    places = {"least": 0.0, "90_percent_at_most": 0.9, "most": 1.0}
    at = {
        f"{name}_{what}": float(ordered[max(math.ceil(share * len(ordered)) - 1, 0)])
        for what, share in places.items()
    }
    return at | {f"{name}_median": float(np.median(values)), f"{name}_mean": float(values.mean())}


def _share_of_head(events: npt.NDArray[np.int64], share: float) -> float:
    head = np.sort(events)[::-1][: max(1, round(share * len(events)))]
    return float(head.sum() / events.sum())


def _described(task: Task, events: npt.NDArray[np.int64]) -> dict[str, float]:
    rows = task.items.encode(task.descriptions["item_id"])
    described = np.zeros(len(events), bool)
    described[rows] = True
    words = pc.list_value_length(pc.utf8_split_whitespace(task.descriptions["text"]))
    return {
        "items_described": described.mean(),
        "events_on_described_items": events[described].sum() / events.sum(),
        "test_targets_described": described[task.targets(TEST).items[:, 0]].mean(),
        "words_in_a_description_mean": pc.mean(words).as_py() or 0.0,
    }


def examples_of(task: Task) -> list[Example]:
    """A few validation requests with their targets, spread over all of them."""
    requests, targets = task.requests(VALIDATION), task.targets(VALIDATION)
    events, pause = task.visible(VALIDATION).events, task.visible(VALIDATION).pause
    rows = [(2 * number + 1) * len(requests) // (2 * _EXAMPLES) for number in range(_EXAMPLES)]
    examples = []
    for row in sorted(set(rows)):
        request, target = requests[row], int(targets.items[row, 0])
        examples.append(
            Example(
                request.request_id,
                len(request.history),
                request.history[-_SHOWN:],
                None if pause is None else int(pause[row]),
                task.items.ids[target],
                int(events[target]),
                bool(targets.tied[row]),
            )
        )
    return examples
