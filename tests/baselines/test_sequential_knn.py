"""Methods that count what stands near in sequences, beside loops over the sequences."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.sequential.markov import Markov
from baselines.sequential.windowed_knn import WindowedKNN
from llm4rec_bench import CardRefused
from tests.baselines.small_tasks import ITEMS, asked, histories, sequences, view


def order(method, history: list[int]) -> list[int]:
    """Rows that a fitted method ranks, best first."""
    (ranking,) = method.rank([asked(history)])
    return [int(item[1:]) for item in ranking.items]


@given(sequences, histories)
def test_markov_goes_by_transitions_then_events_then_rows(log_of, history) -> None:
    method = Markov()
    method.fit(view(log_of))
    events = Counter(row for sequence in log_of for row in sequence)
    follows: Counter[int] = Counter()
    for sequence in log_of:
        for place in range(len(sequence) - 1):
            if history and sequence[place] == history[-1]:
                follows[sequence[place + 1]] += 1
    unseen = [row for row in range(ITEMS) if row not in history]
    assert order(method, history) == sorted(
        unseen, key=lambda row: (-follows[row], -events[row], row)
    )


def test_a_popular_item_does_not_outweigh_a_transition() -> None:
    method = Markov()
    method.fit(view([[0, 1], *[[2, 3]] * 50, *[[3, 2]] * 50]))
    assert order(method, [0]) == [1, 2, 3, 4, 5, 6]


def nearness(log_of, window: int, decay: float) -> dict[tuple[int, int], float]:
    near: dict[tuple[int, int], float] = defaultdict(float)
    for sequence in log_of:
        for here, one in enumerate(sequence):
            for there, other in enumerate(sequence):
                if 0 < abs(here - there) <= window and one != other:
                    near[one, other] += abs(here - there) ** -decay
    return near


repeating = st.lists(
    st.lists(st.integers(0, ITEMS - 2), min_size=1, max_size=6), min_size=1, max_size=9
)


@given(
    repeating, histories, st.integers(1, 8), st.floats(0, 2), st.floats(0, 1), st.floats(0.3, 9),
    st.integers(1, 4),
)  # fmt: skip
def test_windowed_knn_is_what_loops_find(
    log_of, history, window, decay, damping, half_life, last
) -> None:
    method = WindowedKNN(window, decay, damping, ITEMS, half_life, last)
    method.fit(view(log_of))
    events = Counter(row for sequence in log_of for row in sequence)
    expected = np.zeros(ITEMS)
    for (one, other), near in nearness(log_of, window, decay).items():
        for age, item in enumerate(reversed(history[-last:])):
            if item == one:
                damped = near / (events[one] * events[other]) ** damping
                expected[other] += damped * 0.5 ** (age / half_life)
    found = method.scores([asked(history)])[0]
    assert found[expected > 0] == pytest.approx(expected[expected > 0], rel=1e-4)
    assert (found[expected == 0] < 0).all()


def test_an_item_keeps_its_nearest_neighbours() -> None:
    """Item 0 stands once next to 1 and 2, and twice next to 3; of equal ones the first is kept."""
    method = WindowedKNN(1, 1.0, 0.0, 2, 1.0)
    method.fit(view([[1, 0, 2], [3, 0], [0, 3]]))
    assert method.scores([asked([0])])[0][[1, 2, 3]] == pytest.approx([1, -1 / 2, 2])


def test_what_is_near_nothing_goes_by_its_events() -> None:
    method = WindowedKNN(1, 1.0, 0.5, 9, 1.0)
    method.fit(view([[0, 1], [3], [4], [4], [4], [3], [2]]))
    assert order(method, [0]) == [1, 4, 3, 2, 5, 6]


def test_the_window_ends_with_the_sequence_of_a_user() -> None:
    method = WindowedKNN(5, 0.0, 0.0, 9, 1.0)
    method.fit(view([[0, 1], [2, 3], [4]]))
    assert (method.scores([asked([1])])[0] > 0).nonzero()[0].tolist() == [0]


def test_a_half_life_is_positive() -> None:
    with pytest.raises(CardRefused, match="half_life: expected a positive number of items"):
        WindowedKNN(1, 1.0, 0.5, 9, half_life=-1.0)
