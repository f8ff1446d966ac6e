"""Methods that know who consumed what, beside direct computations and hand-worked examples."""

from __future__ import annotations

from collections import Counter
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.classical.als import ALS
from baselines.classical.bpr import BPR
from baselines.classical.ease import EASE
from baselines.classical.item_knn import ItemKNN
from baselines.classical.popularity import Popularity, RecentPopularity
from baselines.sequential.markov import Markov
from baselines.sequential.windowed_knn import WindowedKNN
from llm4rec_bench import CardRefused, TaskView
from llm4rec_bench.task import Task
from tests.baselines.small_tasks import ITEMS, asked, histories, sequences, view

DAY = 86_400


def fitted(method, task: TaskView):
    method.fit(task)
    return method


def order(method, *args, **kwargs) -> list[int]:
    """Rows that a fitted method ranks for one request, best first."""
    (ranking,) = method.rank([asked(*args, **kwargs)])
    return [int(item[1:]) for item in ranking.items]


def consumed(log_of: list[list[int]]) -> np.ndarray:
    """The log as a dense matrix of ones, users by items."""
    matrix = np.zeros((len(log_of), ITEMS))
    for user, sequence in enumerate(log_of):
        matrix[user, sequence] = 1
    return matrix


# EASE


@settings(max_examples=30)
@given(sequences, st.floats(0.5, 50))
def test_ease_weighs_items_as_the_paper_says(log_of, l2: float) -> None:
    events = consumed(log_of)
    inverse = np.linalg.inv(events.T @ events + l2 * np.eye(ITEMS))
    expected = np.eye(ITEMS) - inverse @ np.diag(1 / np.diag(inverse))
    assert fitted(EASE(l2), view(log_of)).weights == pytest.approx(expected, abs=1e-5)


@settings(max_examples=30)
@given(sequences, histories)
def test_ease_adds_up_the_weights_of_the_history(log_of, history) -> None:
    method = fitted(EASE(2.0), view(log_of))
    plain = method.scores([asked(history)])[0]
    assert plain == pytest.approx(method.weights[history].sum(axis=0), abs=1e-6)
    faded = fitted(EASE(2.0, half_life=2), view(log_of)).scores([asked(history)])[0]
    backwards = enumerate(reversed(history))
    expected = sum(0.5 ** (age / 2) * method.weights[row] for age, row in backwards)
    assert faded == pytest.approx(expected * np.ones(ITEMS), abs=1e-6)


def test_with_a_half_life_the_last_item_decides() -> None:
    """Item 0 goes with 2 more often than 1 with 3, so only recency puts 3 first."""
    task = view([[0, 2], [0, 2], [0, 2], [1, 3]])
    assert order(fitted(EASE(1.0), task), [0, 1])[:2] == [2, 3]
    assert order(fitted(EASE(1.0, half_life=0.5), task), [0, 1])[:2] == [3, 2]


@pytest.mark.parametrize("log_of", [[[0, 1, 2, 3]] * 2, [[0, 1]] * 9, [[0]]])
def test_ease_refuses_a_penalty_that_leaves_no_solution(log_of) -> None:
    with pytest.raises(CardRefused, match="l2: expected a larger number, found 1e-30"):
        fitted(EASE(1e-30), view(log_of))


def test_a_half_life_is_positive() -> None:
    with pytest.raises(CardRefused, match="half_life: expected a positive number of items"):
        EASE(1.0, half_life=0)


# Item-kNN


def cosine(users: list[set[int]], one: int, other: int, shrink: float) -> np.float32:
    both = np.float32(len(users[one] & users[other]))
    squared = np.float32(len(users[one]) * len(users[other]))
    return both / (np.sqrt(squared) + np.float32(shrink))


def nearest(similarity: dict[tuple[int, int], np.float32], neighbours: int) -> np.ndarray:
    """The largest similarities of each item, ties by row, as a matrix."""
    kept = np.zeros((ITEMS, ITEMS))
    for item in range(ITEMS):
        cells = [(-value, other) for (one, other), value in similarity.items() if one == item]
        for value, other in sorted(cells)[:neighbours]:
            kept[item, other] = -value
    return kept


@given(sequences, histories, st.integers(1, 4), st.sampled_from([0, 1, 10]))
def test_item_knn_is_what_brute_force_finds(log_of, history, neighbours, shrink) -> None:
    task = view(log_of)
    users = [{user for user, sequence in enumerate(log_of) if item in sequence}
             for item in range(ITEMS)]  # fmt: skip
    similarity = {
        (one, other): cosine(users, one, other, shrink)
        for one in range(ITEMS) for other in range(ITEMS)
        if one != other and users[one] & users[other]
    }  # fmt: skip
    kept = nearest(similarity, neighbours)
    of_history = fitted(ItemKNN(neighbours, shrink), task).scores([asked(history)])[0]
    assert of_history == pytest.approx(kept[history].sum(axis=0), abs=1e-5)
    candidates = fitted(ItemKNN(neighbours, shrink, nearest_to="candidate"), task)
    found = candidates.scores([asked(history)])[0]
    assert found == pytest.approx(kept[:, history].sum(axis=1), abs=1e-5)


def idf(log_of, user: int) -> float:
    """Of a user, who is to an item what a word is to a document."""
    return log(ITEMS) - log(1 + len(log_of[user]))


@given(sequences, histories)
def test_tf_idf_makes_busy_users_count_less(log_of, history) -> None:
    weights = consumed(log_of) * [[idf(log_of, user)] for user in range(len(log_of))]
    length = np.sqrt((weights**2).sum(axis=0))
    products = weights.T @ weights
    expected = products / np.maximum(np.outer(length, length) + 1.0, 1e-9)
    np.fill_diagonal(expected, 0)
    found = fitted(ItemKNN(ITEMS, 1.0, weight="tfidf"), view(log_of)).scores([asked(history)])
    assert found[0] == pytest.approx(expected[history].sum(axis=0), abs=1e-5)


@given(sequences, histories, st.floats(0.1, 100), st.floats(0, 1))
def test_bm25_is_the_inner_product_of_its_weights(log_of, history, k1, b) -> None:
    events = Counter(row for sequence in log_of for row in sequence)
    average = sum(events.values()) / ITEMS

    def weight(user: int, item: int) -> float:
        norm = k1 * (1 - b + b * events[item] / average)
        return idf(log_of, user) * (k1 + 1) / (norm + 1)

    expected = np.zeros(ITEMS)
    for user, sequence in enumerate(log_of):
        for one in set(history) & set(sequence):
            for other in set(sequence) - {one}:
                expected[other] += weight(user, one) * weight(user, other)
    method = fitted(ItemKNN(ITEMS, 0, weight="bm25", k1=k1, b=b), view(log_of))
    assert method.scores([asked(history)])[0] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_user_of_nearly_everything_tells_nothing() -> None:
    """The idf of whoever consumed all items but one is zero: no similarity, and no 0/0."""
    method = fitted(ItemKNN(3, 0, weight="tfidf"), view([[0, 1, 2, 3, 4, 5]]))
    assert not method.scores([asked([0])]).any()


def test_item_knn_names_the_words_it_knows() -> None:
    with pytest.raises(CardRefused, match="weight: expected cosine or tfidf or bm25, found bm52"):
        ItemKNN(1, 0, weight="bm52")
    with pytest.raises(CardRefused, match="nearest_to: expected history or candidate, found user"):
        ItemKNN(1, 0, nearest_to="user")


def test_neighbours_are_the_same_whatever_the_size_of_a_part(toy: Task, monkeypatch) -> None:
    task = toy.view("retrieval")
    whole = fitted(ItemKNN(5, 1), task).similar
    monkeypatch.setattr("baselines.classical.item_knn._TOGETHER", 7 * len(task.items))
    parts = fitted(ItemKNN(5, 1), task).similar
    assert (whole != parts).nnz == 0


# Popularity

EVENTS = [[0, 1, 2], [1, 3], [0, 1]]
TIMES = [0, 1 * DAY, 9 * DAY, 2 * DAY, 10 * DAY, 3 * DAY, 4 * DAY]
"""Item 0 on days 0 and 3, item 1 on days 1, 2 and 4, item 2 on day 9, item 3 on day 10."""


def test_popularity_counts_all_events_for_everybody() -> None:
    method = fitted(Popularity(), view(EVENTS, TIMES))
    assert order(method, [], time=0) == [1, 0, 2, 3, 4, 5, 6]


def test_recent_popularity_counts_the_days_before_the_request() -> None:
    method = fitted(RecentPopularity(days=2.5), view(EVENTS, TIMES))
    assert order(method, [], time=5 * DAY)[:2] == [1, 0]  # one event each on days 3 and 4
    assert order(method, [], time=4 * DAY)[:2] == [0, 1]  # days 2 and 3; day 4 is not before
    assert order(method, [], time=10 * DAY)[:3] == [2, 1, 0]  # day 9, then all before
    assert order(method, [], time=11 * DAY)[:4] == [2, 3, 1, 0]


def test_latest_popularity_is_the_same_list_at_any_moment() -> None:
    method = fitted(RecentPopularity(days=2.5, at="end"), view(EVENTS, TIMES))
    assert order(method, [], time=5 * DAY) == order(method, [], time=0)
    assert order(method, [], time=5 * DAY)[:4] == [2, 3, 1, 0]
    assert order(method, [2], time=5 * DAY)[:3] == [3, 1, 0]


def test_events_fade_by_half_lives() -> None:
    method = fitted(RecentPopularity(days=2, fading=True), view(EVENTS, TIMES))
    scores = method.scores([asked([], time=5 * DAY)])[0]
    ages = {0: [5, 2], 1: [4, 3, 1]}
    for item, days in ages.items():
        assert scores[item] == pytest.approx(sum(0.5 ** (age / 2) for age in days), rel=1e-6)
    assert not scores[2:].any()  # what comes later
    assert order(method, [], time=11 * DAY)[:4] == [3, 2, 1, 0]


def test_events_that_have_faded_go_by_their_number() -> None:
    method = fitted(RecentPopularity(days=0.01, fading=True), view(EVENTS, TIMES))
    assert order(method, [], time=11 * DAY) == [1, 0, 2, 3, 4, 5, 6]


def test_recent_popularity_refuses_what_means_nothing() -> None:
    with pytest.raises(CardRefused, match="at: expected request or end, found now"):
        RecentPopularity(days=1, at="now")
    with pytest.raises(CardRefused, match="days: expected a positive number, found 0"):
        RecentPopularity(days=0)


def test_nothing_is_recent_without_times() -> None:
    with pytest.raises(CardRefused, match="small-v1 has no times"):
        fitted(RecentPopularity(days=1), view(EVENTS, timed=False))


# ALS


@settings(max_examples=30)
@given(sequences, histories, st.floats(0.1, 20), st.floats(0.1, 10))
def test_als_solves_for_the_user_with_the_confidence_alpha(log_of, history, alpha, penalty) -> None:
    """(YᵀCY + λI) u = YᵀCp, where C holds `alpha` for the history and 1 for all else."""
    method = fitted(ALS(3, penalty, alpha, 5), view(log_of))
    # Factors of a size at which every term counts: on a few events ALS shrinks them to nothing.
    method.model.item_factors = np.random.default_rng(0).normal(size=(ITEMS, 3)).astype(np.float32)
    items = method.model.item_factors.astype(np.float64)
    preferred = np.isin(np.arange(ITEMS), history).astype(float)
    confidence = np.where(preferred, alpha, 1.0)
    left = items.T @ (confidence[:, None] * items) + penalty * np.eye(3)
    expected = np.linalg.solve(left, items.T @ (confidence * preferred))
    (found,) = method.users([asked(history)])
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
    (scores,) = method.scores([asked(history)])
    assert scores == pytest.approx(items @ expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("params", [(8, 1, 1e20, 3), (8, 1e38, 5, 3)])
def test_als_refuses_what_does_not_end_in_numbers(params, toy: Task) -> None:
    with pytest.raises(CardRefused, match="alpha and regularization: expected smaller numbers"):
        fitted(ALS(*params), toy.view("retrieval"))


def test_als_refuses_a_penalty_with_which_no_user_can_be_solved_for(toy: Task) -> None:
    method = fitted(ALS(200, 1e-30, 5, 2), toy.view("retrieval"))
    with pytest.raises(CardRefused, match="regularization: expected a larger number, found 1e-30"):
        method.rank(toy.requests("test")[:5])


# BPR


def test_a_seed_decides_the_factors(toy: Task) -> None:
    params = {"factors": 8, "learning_rate": 0.05, "regularization": 0.01, "iterations": 5}
    one, same = (fitted(BPR(**params), toy.view("retrieval", seed=3)) for _ in range(2))
    other = fitted(BPR(**params), toy.view("retrieval", seed=4))
    assert one.users.tobytes() == same.users.tobytes()
    assert one.items.tobytes() == same.items.tobytes()
    assert one.items.tobytes() != other.items.tobytes()


def hits(method, toy: Task) -> float:
    """Share of the test requests whose target is among the first ten."""
    rankings = fitted(method, toy.view("retrieval")).rank(list(toy.requests("test")))
    targets = toy.targets("test").items[:, 0].tolist()
    pairs = zip(rankings, targets, strict=True)
    return float(
        np.mean([toy.items.ids[target] in ranking.items[:10] for ranking, target in pairs])
    )


def test_bpr_learns(toy: Task) -> None:
    """Ten of at most 48 unseen items hold the target a quarter of the time by chance."""
    chance = np.mean([10 / (48 - len(request.history)) for request in toy.requests("test")])
    learned = hits(BPR(16, 0.05, 0.01, 60), toy)
    assert learned > chance + 5 * sqrt(chance * (1 - chance) / 300)


@pytest.mark.parametrize("user", ["somebody", "u2"])  # u2 has no events
def test_a_user_without_events_gets_what_is_popular(user: str) -> None:
    method = fitted(BPR(4, 0.05, 0.01, 50), view([[3, 1], [3, 2], [], [3, 5], [3, 1]]))
    assert order(method, [], user=user) == [3, 1, 2, 5, 0, 4, 6]
    assert order(method, [1], user=user) == [3, 2, 5, 0, 4, 6]


def test_users_with_events_are_served_by_factors_beside_whom_it_may() -> None:
    method = fitted(BPR(4, 0.05, 0.01, 50), view([[3, 1], [3, 2], [], [3, 5], [3, 1]]))
    scores = method.scores([asked([], user="nobody"), asked([], user="u4"), asked([], user="u0")])
    assert scores[0].tolist() == [0, 2, 1, 4, 0, 1, 0]
    assert scores[1:] == pytest.approx(method.users[[4, 0]] @ method.items.T)


def test_steps_that_are_too_long_are_refused(toy: Task) -> None:
    with pytest.raises(CardRefused, match="learning_rate: expected a smaller number, found 10"):
        fitted(BPR(8, 10, 1, 20), toy.view("retrieval"))


# All of them

METHODS = {
    "ease": EASE(10.0),
    "ease-recent": EASE(10.0, half_life=3),
    "bpr": BPR(8, 0.05, 0.01, 10),
    "item-knn": ItemKNN(5, 1),
    "item-knn-bm25": ItemKNN(5, 0, weight="bm25", nearest_to="candidate"),
    "popularity": Popularity(),
    "recent-popularity": RecentPopularity(days=7, fading=True),
    "latest-popularity": RecentPopularity(days=30, at="end"),
    "markov": Markov(),
    "windowed-knn": WindowedKNN(5, 1.0, 0.5, 10, 3.0),
}


@pytest.mark.parametrize("track", ["retrieval", "ranking"])
@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_ranked_like_its_requests_one_by_one(name: str, track: str, toy: Task) -> None:
    method = fitted(METHODS[name], toy.view(track))
    requests = list(toy.requests("test", track))[:60]
    together = method.rank(requests)
    assert together == [ranking for request in requests for ranking in method.rank([request])]
    assert method.rank([]) == []


@pytest.mark.parametrize("name", METHODS)
def test_what_the_log_does_not_know_is_ranked_all_the_same(name: str) -> None:
    method = fitted(METHODS[name], view([[0, 1, 2], [1, 2, 3]]))
    nobody = asked([], user="nobody", time=0)
    cold = asked([6], user="nobody", time=0)
    of_nobody, of_cold = method.rank([nobody, cold])
    assert sorted(of_nobody.items) == [f"i{row}" for row in range(ITEMS)]
    assert sorted(of_cold.items) == [f"i{row}" for row in range(ITEMS - 1)]
    assert sorted(order(method, [0], time=0, candidates=[5, 6, 1])) == [1, 5, 6]
