"""Parameters that make no sense are refused by name before any work is done with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from baselines.classical.als import ALS
from baselines.classical.bpr import BPR
from baselines.classical.ease import EASE
from baselines.classical.item_knn import ItemKNN
from baselines.fusion import Fusion
from baselines.llm.letters import Letters
from baselines.llm.listwise import Listwise
from baselines.llm.pairwise import Pairwise
from baselines.sequential.windowed_knn import WindowedKNN
from baselines.text.lexical import BM25, TfIdf
from llm4rec_bench import CardRefused, load_method, read_card
from tests.baselines.llm.stubs import prompt
from tests.conftest import ROOT

MODEL = {"kind": "openai", "model": "none"}

SOUND: dict[Callable[..., Any], dict[str, Any]] = {
    ALS: {"factors": 4, "regularization": 1, "alpha": 5.0, "iterations": 2},
    BPR: {"factors": 4, "learning_rate": 0.1, "regularization": 0, "iterations": 2},
    EASE: {"l2": 10},
    ItemKNN: {"neighbours": 3, "shrink": 0, "k1": 0, "b": 1},
    WindowedKNN: {"window": 1, "decay": 0, "damping": 0.5, "neighbours": 9, "half_life": 1.5},
    BM25: {"last": 5, "k1": 0, "b": 0},
    TfIdf: {"last": 5},
    Fusion: {"first": "als", "second": "ease", "weight": 0.5, "k": 0},
    Letters: {"model": MODEL, "prompt": prompt("letters"), "history": 1, "permutations": 1},
    Listwise: {"model": MODEL, "prompt": prompt("listwise-sequential"), "shuffles": 1},
    Pairwise: {"model": MODEL, "prompt": prompt("pairwise"), "calls": 2},
}

WHOLE = "a whole number of 1 or more", [0, -1, 1.5, nan, inf, True, "2", None]
PAIRS = "a whole number of 2 or more", [1, 0, -2, 401.5, nan, inf, True, "400", None]
POSITIVE = "a number above 0", [0, -1, nan, inf, True, "2", None]
NOT_NEGATIVE = "a number of 0 or more", [-5, -1e-9, nan, inf, False, "2", None]
SHARE = "a number from 0 to 1", [-0.1, 1.5, nan, inf, True, "1", None]

EXPECTED = {
    ALS: {"factors": WHOLE, "regularization": POSITIVE, "alpha": POSITIVE, "iterations": WHOLE},
    BPR: {"factors": WHOLE, "learning_rate": POSITIVE, "regularization": NOT_NEGATIVE,
          "iterations": WHOLE},
    EASE: {"l2": POSITIVE},
    ItemKNN: {"neighbours": WHOLE, "shrink": NOT_NEGATIVE, "k1": NOT_NEGATIVE, "b": SHARE},
    WindowedKNN: {"window": WHOLE, "decay": NOT_NEGATIVE, "damping": NOT_NEGATIVE,
                  "neighbours": WHOLE, "last": WHOLE},
    BM25: {"last": WHOLE, "ngrams": WHOLE, "k1": NOT_NEGATIVE, "b": SHARE},
    TfIdf: {"last": WHOLE, "ngrams": WHOLE},
    Fusion: {"weight": POSITIVE, "k": NOT_NEGATIVE},
    Letters: {"history": WHOLE, "characters": WHOLE, "context": WHOLE, "permutations": WHOLE},
    Listwise: {"shuffles": WHOLE, "max_tokens": WHOLE, "temperature": NOT_NEGATIVE},
    Pairwise: {"calls": PAIRS},
}  # fmt: skip

WRONG = [
    pytest.param(method, name, value, expected, id=f"{method.__name__}-{name}-{value!r}")
    for method, params in EXPECTED.items()
    for name, (expected, values) in params.items()
    for value in values
]


@pytest.mark.parametrize(("method", "name", "value", "expected"), WRONG)
def test_a_parameter_out_of_range_is_refused_by_name(method, name: str, value, expected) -> None:
    message = f"{name}: expected {expected}, found {value!r}"
    with pytest.raises(CardRefused, match=f"^{re.escape(message)}$"):
        method(**SOUND[method] | {name: value})


@pytest.mark.parametrize("method", SOUND, ids=lambda method: method.__name__)
def test_the_ends_of_the_ranges_are_not_refused(method) -> None:
    method(**SOUND[method])


CHECKED = {f"{method.__module__}:{method.__name__}" for method in SOUND}
ENTRIES = [read_card(path.parent) for path in sorted(ROOT.glob("submissions/*/submission.toml"))]


@pytest.mark.parametrize(
    "card", [card for card in ENTRIES if card.system in CHECKED], ids=lambda card: card.name
)
def test_no_entry_is_refused(card) -> None:
    for place in {f"{task}/" for task in card.tasks} | set(card.on):
        load_method(card, *place.partition("/")[::2])


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "baselines/llm/cards").glob("*.toml")),
    ids=lambda path: path.name,
)
def test_cards_that_are_ready_to_run_make_their_methods(path) -> None:
    card = read_card(path)
    assert card.name == path.stem
    for task in card.tasks:
        load_method(card, task, "ranking")
