"""UniSRec: items are known by their texts alone, and an adaptor learns what matters in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.sequential.sequences import Sequences
from baselines.sequential.training import HeldOut, ndcg, train
from baselines.text import unisrec
from baselines.text.unisrec import UniSRec
from llm4rec_bench import CardRefused

SMALL = {"length": 6, "dimension": 16, "blocks": 1, "experts": 3, "dropout": 0.0}
WORDS = np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)


class Catalogue:
    """As much of a task view as a network is made from."""

    def __init__(self, items: int) -> None:
        self.items = range(items)


def ranker(vectors: np.ndarray = WORDS, **more) -> UniSRec:
    made = UniSRec(**{**SMALL, **more})
    made.vectors = vectors
    return made


def network(made: UniSRec, seed: int = 0):
    torch.manual_seed(seed)
    return made.network(Catalogue(len(made.vectors))).eval()


def test_the_adaptor_is_a_gated_sum_of_experts_that_shift_and_map() -> None:
    found = network(ranker())
    adaptor = found.adaptor
    torch.nn.init.normal_(adaptor.shift)
    torch.nn.init.normal_(adaptor.gate)
    maps = adaptor.map.detach().numpy().reshape(8, 3, 16)
    gates = np.exp(WORDS @ adaptor.gate.detach().numpy())
    gates /= gates.sum(1, keepdims=True)
    expected = sum(
        gates[:, [expert]] * ((WORDS - adaptor.shift[expert].detach().numpy()) @ maps[:, expert])
        for expert in range(3)
    )
    with torch.inference_mode():
        np.testing.assert_allclose(adaptor(found.texts).numpy(), expected, atol=1e-5)


def test_the_gate_is_noisy_in_training_only() -> None:
    found = network(ranker())
    with torch.inference_mode():
        assert torch.equal(found.adaptor(found.texts), found.adaptor(found.texts))
        found.train()
        torch.nn.init.normal_(found.adaptor.gate)
        assert not torch.equal(found.adaptor(found.texts), found.adaptor(found.texts))


def test_scores_are_cosines_over_the_temperature() -> None:
    found = network(ranker(temperature=0.5))
    with torch.inference_mode():
        users = found.users(torch.tensor([[1, 2, 12], [12, 12, 12]]))
        items = found.item_vectors()
    assert torch.linalg.norm(users, dim=1).tolist() == pytest.approx([2.0, 0.0], abs=1e-5)
    torch.testing.assert_close(torch.linalg.norm(items, dim=1), torch.ones(12))


def test_adapted_vectors_are_forgotten_when_training_goes_on() -> None:
    found = network(ranker())
    with torch.no_grad():
        before = found.item_vectors()
        found.train()
        found.adaptor.map += torch.randn_like(found.adaptor.map)
        found.eval()
        assert not torch.allclose(found.item_vectors(), before)


def test_items_that_nobody_consumed_are_ranked_by_their_texts() -> None:
    # Two kinds of items alternate; 10 and 11 are in no sequence, but their texts tell their kind.
    kinds = np.arange(12) % 2
    draw = np.random.default_rng(1)
    vectors = np.eye(8, dtype=np.float32)[kinds] + 0.1 * draw.standard_normal((12, 8))
    even, odd = np.arange(0, 10, 2), np.arange(1, 10, 2)
    rows = [[draw.choice(odd if place % 2 else even) for place in range(8)] for _ in range(300)]
    data = Sequences(np.array(rows).ravel(), np.arange(0, 2401, 8))
    made = ranker(vectors.astype(np.float32), epochs=8, batch=16, learning_rate=0.002)
    found = train(lambda: network(made), data, made, 0, None, print)
    asked = HeldOut([even, np.append(even, 1)], np.array([11, 10]))  # ends even, ends odd
    assert ndcg(found, asked, made.length) > 0.3
    with torch.inference_mode():
        scores = found.users(torch.tensor([[0, 1, 2, 12], [0, 1, 2, 3]])) @ found.item_vectors().T
    assert scores[0, 11] > scores[0, 10]
    assert scores[1, 10] > scores[1, 11]


def test_a_task_without_any_such_text_is_refused(toy) -> None:
    with pytest.raises(CardRefused, match=r"has a text of what the card reads \(nothing\)"):
        UniSRec(**SMALL).fit(toy.view("retrieval", "validation", reads=[]))


def test_items_without_a_text_have_one_vector_between_them() -> None:
    vectors = WORDS.copy()
    vectors[[2, 7]] = 0
    found = network(ranker(vectors))
    torch.nn.init.normal_(found.adaptor.shift)  # as training does
    with torch.inference_mode():
        items = found.item_vectors()
    torch.testing.assert_close(items[2], items[7])
    assert torch.linalg.norm(items[2]) == pytest.approx(1)


def test_texts_are_embedded_once_and_missing_ones_are_zero(toy, monkeypatch) -> None:
    asked: list[str] = []

    class Counted:
        def __init__(self, encoder, workspace) -> None:
            pass

        def passages(self, texts):
            asked.extend(texts)
            return np.ones((len(texts), 4), np.float32)

    monkeypatch.setattr(unisrec, "Embeddings", Counted)
    made = UniSRec(**SMALL, epochs=1, batch=400)
    made.fit(toy.view("retrieval", "validation", reads=["wikipedia"]))
    described = [text for text in toy.view("retrieval", reads=["wikipedia"]).texts() if text]
    assert asked == described
    assert made.vectors.any(1).sum() == len(described)
    assert len(made.rank(toy.requests("validation")[:3])[0].items) > 30
