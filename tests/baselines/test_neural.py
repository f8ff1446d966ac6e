"""Neural rankers: their windows, losses and networks, and the loop that trains them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.sequential import losses, training
from baselines.sequential.bert4rec import BERT4Rec
from baselines.sequential.gru4rec import GRU4Rec
from baselines.sequential.neural import NeuralRanker
from baselines.sequential.sasrec import SASRec
from baselines.sequential.sequences import Sequences, latest, sequences
from baselines.sequential.training import HeldOut, ndcg, train
from baselines.text.unisrec import UniSRec
from llm4rec_bench import CardRefused
from llm4rec_bench.interactions import Log
from llm4rec_bench.task import Task

SMALL = {"length": 6, "dimension": 16, "epochs": 60, "learning_rate": 0.01, "dropout": 0.0}
METHODS = {
    "sasrec": lambda **more: SASRec(**{**SMALL, "heads": 2, "blocks": 1, **more}),
    "gsasrec": lambda **more: SASRec(
        **{**SMALL, "loss": "gbce", "negatives": 8, "blocks": 1, **more}
    ),
    "gru4rec": lambda **more: GRU4Rec(**{**SMALL, "hidden": 24, **more}),
    "bert4rec": lambda **more: BERT4Rec(**{**SMALL, "blocks": 1, **more}),
}
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)

lists = st.lists(st.lists(st.integers(0, 9), max_size=14), min_size=1, max_size=6)


def joined(histories: list[list[int]]) -> Sequences:
    offsets = np.cumsum([0, *map(len, histories)])
    return Sequences(np.array([item for row in histories for item in row], np.int64), offsets)


class Catalogue:
    """As much of a task view as a network is made from."""

    def __init__(self, items: int) -> None:
        self.items = range(items)


def network(make, items: int = 12):
    torch.manual_seed(0)
    return make().network(Catalogue(items)).eval()


# Sequences


@given(lists, st.integers(1, 6), st.integers(0, 99))
def test_every_item_but_a_first_one_is_a_target_once(histories, length: int, seed: int) -> None:
    windows = joined(histories).windows(length, -1, np.random.default_rng(seed))
    assert windows.shape[1] == length + 1
    expected = [item for row in histories for item in row[1:]]
    targets = [item for window in windows.tolist() for item in window[1:] if item >= 0]
    assert targets == expected


@given(lists, st.integers(1, 6), st.integers(0, 99))
def test_windows_are_pieces_of_sequences_that_share_an_item(histories, length, seed) -> None:
    windows = joined(histories).windows(length, -1, np.random.default_rng(seed)).tolist()
    for row in histories:
        rest = row
        while len(rest) > 1:
            window = [item for item in windows[0] if item >= 0]
            assert windows.pop(0) == window + [-1] * (length + 1 - len(window))
            assert window == rest[: len(window)]
            assert len(window) > 1
            rest = rest[len(window) - 1 :]
    assert not windows


@given(lists, st.integers(0, 8), st.integers(0, 99))
def test_what_is_held_out_is_the_last_item_of_some(histories, most: int, seed: int) -> None:
    rest, held_out = joined(histories).hold_out(most, np.random.default_rng(seed))
    assert len(held_out.targets) == min(most, sum(len(row) >= 3 for row in histories))
    asked = list(zip([h.tolist() for h in held_out.histories], held_out.targets, strict=True))
    for user, row in enumerate(histories):
        if rest.of(user).tolist() != row:
            history, target = asked.pop(0)
            assert (history, [*history, target]) == (rest.of(user).tolist(), row)
    assert not asked


def test_sequences_of_a_log_are_in_its_order(toy: Task) -> None:
    log: Log = toy.log("validation")
    found = sequences(log)
    assert len(found) == len(log.user_ids)
    for user in (0, 7, len(found) - 1):
        assert found.of(user).tolist() == log.item[log.user == user].tolist()


def test_the_latest_items_are_filled_up_on_the_right() -> None:
    rows = [np.array([1, 2, 3]), np.array([], np.int64), np.array([4])]
    assert latest(rows, 2, 9).tolist() == [[2, 3], [9, 9], [4, 9]]
    assert latest(rows[1:], 2, 9).tolist() == [[9], [4]]


# Losses


@given(st.integers(0, 999), st.integers(1, 40), st.integers(2, 30))
def test_the_softmax_and_its_gradients_are_those_of_cross_entropy(seed, places, items) -> None:
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(places, 5, generator=draw, requires_grad=True)
    vectors = torch.randn(items, 5, generator=draw, requires_grad=True)
    targets = torch.randint(items, (places,), generator=draw)
    expected = torch.nn.functional.cross_entropy(states @ vectors.T, targets)
    gradients = torch.autograd.grad(3 * expected, [states, vectors])
    cells, losses._CELLS = losses._CELLS, 3 * items
    found = losses.softmax(states, vectors, targets)
    losses._CELLS = cells
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * found, [states, vectors]), gradients)


@pytest.mark.parametrize("t", [0.0, 0.75, 1.0])
def test_gbce_by_hand(t: float) -> None:
    states, vectors = (
        torch.tensor([[1.0, 0.5]]),
        torch.tensor([[0.2, 0.4], [1.0, -1.0], [0.0, 2.0]]),
    )
    torch.manual_seed(3)
    found = losses.gbce(2, t)(states, vectors, torch.tensor([0]))
    torch.manual_seed(3)
    drawn = torch.randint(3, (2,)).tolist()
    rate = 2 / 2  # both negatives of three items
    power = rate * (t * (1 - 1 / rate) + 1 / rate)
    log_likelihood = power * np.log(1 / (1 + np.exp(-(0.4 - np.log(2)))))
    others = {1: 0.5 - np.log(2), 2: 1.0 - np.log(2)}
    for item in drawn:
        if item != 0:
            log_likelihood += np.log(1 - 1 / (1 + np.exp(-others[item])))
    assert float(found) == pytest.approx(-log_likelihood, rel=1e-5)


def test_calibration_shrinks_the_positive_by_the_rate_of_sampling() -> None:
    states, vectors = torch.ones(1, 1), torch.zeros(101, 1)
    torch.manual_seed(0)
    plain = losses.gbce(10, 0.0)(states, vectors, torch.tensor([100]))
    torch.manual_seed(0)
    full = losses.gbce(10, 1.0)(states, vectors, torch.tensor([100]))
    assert float(plain - full) == pytest.approx((1 - 0.1) * np.log(1 + 10), rel=1e-4)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(CardRefused, match="expected softmax or gbce, found 'bpr'"):
        SASRec(loss="bpr").network(Catalogue(3))


# Params

COUNT = "a whole number of 1 or more"
RANGES = [  # of all: what is expected, and values that are not
    (("length", "epochs", "patience", "batch", "held_out"), COUNT, [0, 2.5, float("nan"), "3"]),
    (("learning_rate",), "a number above 0", [0, float("nan"), float("inf")]),
    (("weight_decay", "finish"), "a number of 0 or more", [-0.1, float("nan"), float("inf")]),
    (("dropout",), "a number of 0 or more and below 1", [-0.1, 1, float("nan")]),
    (("dimension",), COUNT, [0]),
]
HEADS = (("blocks", "heads"), COUNT, [0])
SAMPLED = [
    (("negatives",), COUNT, [0]),
    (("calibration",), "a number from 0 to 1", [-0.1, 1.1, float("nan")]),
]
RANGES_OF = {
    SASRec: [*RANGES, HEADS, *SAMPLED],
    GRU4Rec: [*RANGES, (("hidden", "layers"), COUNT, [0]), *SAMPLED],
    BERT4Rec: [
        *RANGES,
        HEADS,
        (("masked",), "a number above 0 and below 1", [0, 1, float("nan")]),
        (("last_only",), "a number from 0 to 1", [-0.1, 1.1, float("nan")]),
    ],
    UniSRec: [
        *RANGES,
        HEADS,
        (("experts",), COUNT, [0]),
        (("temperature",), "a number above 0", [0, float("nan"), float("inf")]),
    ],
}


@pytest.mark.parametrize(
    ("method", "name", "expected", "found"),
    [
        (method, name, expected, found)
        for method, ranges in RANGES_OF.items()
        for names, expected, outside in ranges
        for name in names
        for found in outside
    ]
    + [
        (method, "dimension", "a multiple of the 2 heads", 63)
        for method in (SASRec, BERT4Rec, UniSRec)
    ],
)
def test_params_that_mean_nothing_are_refused(method, name: str, expected: str, found) -> None:
    with pytest.raises(CardRefused) as refused:
        method(**{name: found})
    assert str(refused.value) == f"{name}: expected {expected}, found {found!r}"


def test_params_at_the_ends_of_their_ranges_are_taken() -> None:
    ones = dict.fromkeys(("length", "epochs", "patience", "batch", "held_out", "dimension"), 1)
    shared = {**ones, "weight_decay": 0, "finish": 0, "dropout": 0}
    heads = {"blocks": 1, "heads": 1}
    SASRec(**shared, **heads, negatives=1, calibration=0)
    SASRec(**shared, **heads, negatives=1, calibration=1)
    GRU4Rec(**shared, hidden=1, layers=1)
    BERT4Rec(**shared, **heads, last_only=0)
    UniSRec(**shared, **heads, experts=1)


# Networks


@every_method
def test_a_user_is_the_same_however_much_is_filled_up(make) -> None:
    found = network(make)
    with torch.inference_mode():
        short = found.users(torch.tensor([[3, 1, 12], [5, 12, 12]]))
        long = found.users(torch.tensor([[3, 1, 12, 12, 12], [5, 12, 12, 12, 12]]))
    torch.testing.assert_close(short, long)
    assert not torch.allclose(short[0], short[1])


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_a_state_depends_on_nothing_after_it(name: str) -> None:
    found = network(METHODS[name])
    with torch.inference_mode():
        one = found.states(torch.tensor([[3, 1, 4, 1, 5]]))
        two = found.states(torch.tensor([[3, 1, 4, 9, 2]]))
    torch.testing.assert_close(one[:, :3], two[:, :3])
    assert not torch.allclose(one[:, 3:], two[:, 3:])


def test_order_matters_to_each(toy: Task) -> None:
    for make in METHODS.values():
        found = network(make)
        with torch.inference_mode():
            one, two = found.users(torch.tensor([[3, 1, 4], [1, 3, 4]]))
        assert not torch.allclose(one, two)


def test_bert_masks_items_and_never_what_fills_up() -> None:
    found = network(METHODS["bert4rec"])
    windows = torch.tensor([[1, 2, 3, 12, 12], [4, 5, 6, 7, 8], [9, 12, 12, 12, 12]] * 200)
    hidden = found._hidden(windows)
    assert not (hidden & (windows == 12)).any()
    assert hidden.any(1).all()
    alone = hidden.sum(1) == 1
    assert hidden[(windows[:, 4] != 12) & alone][:, 4].float().mean() > 0.2  # the last, by rule
    assert 0.15 < hidden[windows[:, 4] != 12].float().mean() < 0.35


# Training


@every_method
def test_each_learns_what_always_follows(make) -> None:
    circle = np.arange(12)
    histories = [np.roll(circle, -start)[:8].tolist() for start in range(12)] * 4
    ranker = make(epochs=40, patience=40, batch=32)
    found = train(lambda: ranker.network(Catalogue(12)), joined(histories), ranker, 0, None, print)
    asked = HeldOut([np.arange(start, start + 3) for start in range(9)], np.arange(3, 12))
    assert ndcg(found, asked, ranker.length) > 0.9


def test_ndcg_by_hand() -> None:
    class Fixed(training.Network):
        def users(self, histories):
            return torch.ones(len(histories), 1)

        def item_vectors(self):
            return torch.arange(20.0, 0, -1)[:, None]  # item 0 is the best

    asked = HeldOut([np.array([0, 1]), np.array([5]), np.array([7])], np.array([4, 0, 15]))
    # Ranks 3, 1 and 15, seen items left out.
    assert ndcg(Fixed(20), asked, 4) == pytest.approx((1 / 2 + 1 + 0) / 3)


@pytest.mark.parametrize("vector", [torch.nan, 0.0, 1.0])
def test_a_network_that_tells_no_items_apart_is_worth_nothing(vector: float) -> None:
    class Broken(training.Network):
        def users(self, histories):
            return torch.full((len(histories), 1), vector)

        def item_vectors(self):
            return torch.full((40, 1), vector)

    asked = HeldOut([np.array([0, 1]), np.array([5])], np.array([4, 0]))
    assert ndcg(Broken(40), asked, 4) == 0


def test_a_held_out_item_that_is_in_the_history_keeps_its_rank() -> None:
    class Fixed(training.Network):
        def users(self, histories):
            return torch.ones(len(histories), 1)

        def item_vectors(self):
            return torch.arange(20.0, 0, -1)[:, None]

    asked = HeldOut([np.array([1, 3])], np.array([3]))
    assert ndcg(Fixed(20), asked, 4) == pytest.approx(1 / np.log2(1 + 3))  # after 0 and 2


def test_a_training_that_diverges_is_refused(toy: Task) -> None:
    class Diverging(training.Network):
        def __init__(self, items: int) -> None:
            super().__init__(items)
            self.vectors = torch.nn.Parameter(torch.ones(items, 1))

        def loss(self, windows):
            return self.vectors.sum() * torch.nan

    data = sequences(toy.log("validation"))
    plan = training.Plan(learning_rate=0.5)
    with pytest.raises(CardRefused, match=r"found nan in epoch 1; a learning_rate below 0\.5 may"):
        train(lambda: Diverging(48), data, plan, 0, None, print)


def test_a_log_without_anybody_to_hold_out_is_refused() -> None:
    ranker = METHODS["sasrec"]()
    for histories in ([[0, 1], [2], [3, 4]], [[]]):
        with pytest.raises(CardRefused, match=f"found none among {len(histories)};"):
            train(lambda: ranker.network(Catalogue(5)), joined(histories), ranker, 0, None, print)


def log_digest(network) -> list:
    return [part.tolist() for part in network.state_dict().values()]


def short(make) -> NeuralRanker:
    return make(epochs=5, patience=2, batch=400, dropout=0.1)


@every_method
def test_equal_seeds_give_equal_weights_and_others_do_not(make, toy: Task) -> None:
    data = sequences(toy.log("validation"))
    ranker = short(make)

    def trained(seed: int) -> list:
        return log_digest(
            train(lambda: ranker.network(toy.view("retrieval")), data, ranker, seed, None, print)
        )

    first = trained(1)
    torch.rand(5)  # what else happens to the generator does not matter
    assert trained(1) == first
    assert trained(2) != first


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 5, 6])
def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(
    after: int, toy: Task, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(training, "_SECONDS_BETWEEN", 0.0)
    data, ranker = sequences(toy.log("validation")), short(METHODS["sasrec"])
    told: list[str] = []

    def run(kept, report):
        view = toy.view("retrieval")
        return log_digest(train(lambda: ranker.network(view), data, ranker, 0, kept, report))

    def killing(line: str) -> None:
        told.append(line)
        if len(told) == after:
            raise Killed

    whole: list[str] = []
    expected = run(None, whole.append)
    with pytest.raises(Killed):
        run(tmp_path / "kept" / "model.pt", killing)
    assert run(tmp_path / "kept" / "model.pt", told.append) == expected
    # What was told when it was killed is not kept yet, and done again.
    assert told[:after] + told[after + 1 :] == whole or told[: after - 1] + told[after:] == whole


def test_weights_are_kept_for_all_tracks_and_damage_is_mended(toy: Task, tmp_path) -> None:
    def fit(track: str, **more) -> tuple[list[str], list]:
        told: list[str] = []
        ranker = METHODS["sasrec"](**{"epochs": 2, "patience": 1, "batch": 400, **more})
        ranker.fit(toy.view(track, "validation", workspace=tmp_path, report=told.append))
        return told, log_digest(ranker.model)

    told, weights = fit("retrieval")
    assert told
    assert fit("ranking") == ([], weights)
    assert fit("ranking", blocks=2)[0]  # another card is another model
    for file in (tmp_path / "trained").iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert fit("retrieval") == (told, weights)
    assert not list((tmp_path / "trained").glob("*.tmp"))


@every_method
def test_rankings_do_not_depend_on_the_size_of_the_batch(make, toy: Task) -> None:
    ranker = make(epochs=1, batch=400)
    ranker.fit(toy.view("retrieval", "validation"))
    requests = list(toy.requests("validation"))[:40]
    together = ranker.rank(requests)
    alone = [ranking for request in requests for ranking in ranker.rank([request])]
    assert sum(one.items != two.items for one, two in zip(together, alone, strict=True)) <= 1
