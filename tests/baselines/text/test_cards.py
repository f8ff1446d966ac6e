"""The cards of the text methods make methods that run, wherever they are entered."""

from __future__ import annotations

import pytest

from baselines.text.encoders import MINILM
from llm4rec_bench.run.execute import load_method
from llm4rec_bench.submission import read_card
from llm4rec_bench.task import Task
from tests.baselines.text.fakes import Words
from tests.conftest import ROOT

CARDS = ["tf-idf", "bm25", "minilm", "minilm-metadata", "minilm-wikipedia"]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_makes_a_method_that_ranks_what_it_reads(name: str, toy: Task) -> None:
    card = read_card(ROOT / "submissions" / name)
    for track in toy.recipe.tracks:
        method = load_method(card, toy.id, track)
        if name.startswith("minilm"):
            encoder = card.params["encoder"]
            assert method.encoder.identity[1:3] == [encoder["model"], encoder["revision"]]
            assert encoder == MINILM
            method.encoder = Words()
        method.fit(toy.view(track, reads=card.reads))
        requests = toy.requests("test", track)[:5]
        assert all(ranking.items for ranking in method.rank(requests))
