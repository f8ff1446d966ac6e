"""The plots: the frontier, where points and names stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec_bench.site.figures import HEIGHT, WIDTH, Point, on_frontier, scatter


def point(x: float, y: float, title: str = "A system") -> Point:
    return Point("a.html", title, "text", x, x * 0.9, x * 1.1, y, y - 0.01, y + 0.01, title)


def test_the_frontier_is_what_nothing_beats() -> None:
    points = [point(1, 0.2), point(2, 0.3), point(3, 0.25), point(3, 0.5), point(9, 0.5)]
    assert on_frontier(points) == [True, True, False, True, False]
    assert on_frontier([point(1, 0.2), point(1, 0.2)]) == [True, True]


def places() -> st.SearchStrategy[list[Point]]:
    one = st.builds(
        point,
        st.floats(1e-4, 1e6),
        st.floats(0.02, 0.98),
        st.sampled_from(["A", "A longer name", "A name that is much too long to be shown whole"]),
    )
    return st.lists(one, min_size=1, max_size=30)


@given(places())
def test_whatever_is_off_the_frontier_is_beaten_by_what_is_on_it(points: list[Point]) -> None:
    on = on_frontier(points)
    best = [point for point, winner in zip(points, on, strict=True) if winner]
    assert best
    for one, winner in zip(points, on, strict=True):
        beaten = any(
            by.x <= one.x and by.y >= one.y and (by.x, by.y) != (one.x, one.y) for by in best
        )
        assert beaten is not winner


@given(places())
def test_all_is_drawn_inside_and_in_order(points: list[Point]) -> None:
    drawn = scatter(points, [("random", 0.1), ("popularity", 0.11), ("ceiling", 1.5)])
    assert len(drawn.marks) == len(points)
    for mark in drawn.marks:
        assert 0 < mark.x < WIDTH and 0 < mark.y < HEIGHT
    for tick in drawn.x_ticks:
        assert 0 < tick.at < WIDTH
    assert len(drawn.x_ticks) >= 2 and len(drawn.y_ticks) >= 2
    assert len(drawn.labels) <= len(points)
    assert all(len(label.text) <= 30 for label in drawn.labels)
    assert "ceiling" not in [level.text for level in drawn.levels]
    by_title = sorted(points, key=lambda point: point.x)
    x = [mark.x for mark in sorted(drawn.marks, key=lambda mark: mark.x)]
    assert x == sorted(x) and len(by_title) == len(x)


def test_lines_that_nearly_meet_share_a_name() -> None:
    drawn = scatter([point(1, 0.1), point(10, 0.9)], [("one", 0.5), ("two", 0.501), ("far", 0.8)])
    assert [level.text for level in drawn.levels] == ["far", "two, one", ""]


@pytest.mark.parametrize("value", [0.0, 1e-9])
def test_a_latency_of_nothing_can_be_drawn(value: float) -> None:
    drawn = scatter([point(value, 0.1), point(1.0, 0.2)], [])
    assert all(0 < mark.x < WIDTH for mark in drawn.marks)
