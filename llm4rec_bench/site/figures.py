"""The plots, as SVG that is written here.

A plotting library was weighed: Vega-Lite is 800 KB of script that wants `eval` or an interpreter of
its own, a third of the whole site; and what it draws cannot be walked with the keyboard. These
figures need no script to be read. Every point is a link with a name, positions are attributes and
never styles, so that the pages' policy can forbid inline styles, and colours come from the
stylesheet, so that they follow the theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 860, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 14, 48
_LETTER = 7.2
"""Width of a letter of a label, at most, about."""
_LINE = 13
"""Height of a label."""


class Point(NamedTuple):
    """An entry in a plot."""

    href: str
    title: str
    shape: str
    """Name of its symbol."""
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    told: str
    """All its numbers, in words."""


class Mark(NamedTuple):
    """A point as it is drawn."""

    href: str
    shape: str
    x: float
    y: float
    whiskers: str
    """Path of its intervals."""
    told: str
    frontier: bool


class Label(NamedTuple):
    """A name beside a point."""

    x: float
    y: float
    anchor: str
    text: str
    frontier: bool


class Tick(NamedTuple):
    """A place on an axis."""

    at: float
    text: str


class Level(NamedTuple):
    """A line across the plot: what is reached without a method."""

    at: float
    text: str
    """Empty where another line nearby tells it."""
    x: float
    anchor: str


class Scatter(NamedTuple):
    """A plot of quality against what it takes; the frontier holds what nothing beats in both."""

    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    labels: list[Label]
    levels: list[Level]
    frontier: str
    """Path."""


def on_frontier(points: Sequence[Point]) -> list[bool]:
    """Whether no other point is as good for less, or better for as much."""
    return [
        not any(
            other.x <= point.x and other.y >= point.y and (other.x, other.y) != (point.x, point.y)
            for other in points
        )
        for point in points
    ]


def scatter(points: Sequence[Point], levels: Sequence[tuple[str, float]]) -> Scatter:
    """The plot of some points, `x` on a logarithmic axis; `levels` are drawn where they fit."""
    shown = [point._replace(x=max(point.x, 1e-6), x_low=max(point.x_low, 1e-6)) for point in points]
    x_axis = _Axis.logarithmic(
        min(point.x_low for point in shown), max(point.x_high for point in shown)
    )
    low, high = min(point.y_low for point in shown), max(point.y_high for point in shown)
    y_axis = _Axis.linear(low, high)
    best = on_frontier(points)
    marks = [
        Mark(
            point.href,
            point.shape,
            x_axis(point.x),
            y_axis(point.y),
            _whiskers(point, x_axis, y_axis),
            point.told,
            winner,
        )
        for point, winner in zip(shown, best, strict=True)
    ]
    steps = sorted((mark.x, mark.y) for mark in marks if mark.frontier)
    crossing = _levels(
        [(y_axis(value), text) for text, value in levels if y_axis.holds(value)], marks
    )
    return Scatter(
        x_axis.ticks,
        y_axis.ticks,
        sorted(marks, key=lambda mark: mark.frontier),  # the frontier lies above the others
        _labels([point.title for point in shown], marks, crossing),
        crossing,
        _stairs(steps),
    )


def _levels(lines: Sequence[tuple[float, str]], marks: Sequence[Mark]) -> list[Level]:
    """Lines with their names, where fewer points are; lines that nearly meet share a name."""
    found: list[Level] = []
    rest = sorted(lines)
    while rest:
        together = [line for line in rest if line[0] - rest[0][0] < _LINE]
        rest = rest[len(together) :]
        at, text = together[0][0], ", ".join(name for _, name in together)
        wide = len(text) * _LETTER
        left = (_LEFT, at - _LINE, _LEFT + wide + 8, at + 4)
        right = (WIDTH - _RIGHT - wide - 8, at - _LINE, WIDTH - _RIGHT, at + 4)
        beside = [sum(_overlap(_around(mark), box) for mark in marks) for box in (left, right)]
        x, anchor = (_LEFT + 6, "start") if beside[0] < beside[1] else (WIDTH - _RIGHT - 4, "end")
        found.append(Level(at, text, x, anchor))
        found += [Level(other, "", x, anchor) for other, _ in together[1:]]
    return found


def _around(mark: Mark) -> _Box:
    return mark.x - 6, mark.y - 6, mark.x + 6, mark.y + 6


def _stairs(steps: Sequence[tuple[float, float]]) -> str:
    """What the frontier reaches for so much: flat until the next point is affordable."""
    if not steps:
        return ""
    (x, y), *rest = steps
    path = f"M{_short(x)} {HEIGHT - _BOTTOM}V{_short(y)}"
    for x, y in rest:
        path += f"H{_short(x)}V{_short(y)}"
    return f"{path}H{WIDTH - _RIGHT}"


def _whiskers(point: Point, x_axis: _Axis, y_axis: _Axis) -> str:
    x, y = _short(x_axis(point.x)), _short(y_axis(point.y))
    path = f"M{x} {_short(y_axis(point.y_low))}V{_short(y_axis(point.y_high))}"
    if point.x_low < point.x_high:
        path += f"M{_short(x_axis(point.x_low))} {y}H{_short(x_axis(point.x_high))}"
    return path


def _short(value: float) -> str:
    """A coordinate to a tenth of a pixel, in few bytes."""
    return f"{value:.1f}".removesuffix(".0")


class _Axis(NamedTuple):
    """Where values lie, and which are named."""

    low: float
    high: float
    start: float
    end: float
    logarithmic_scale: bool
    ticks: list[Tick]

    def __call__(self, value: float) -> float:
        value = math.log10(value) if self.logarithmic_scale else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high

    @classmethod
    def logarithmic(cls, low: float, high: float) -> _Axis:
        first, last = math.log10(low), math.log10(high)
        # So wide that two ticks lie in it.
        room = max(0.04 * (last - first), (0.9 - last + first) / 2)
        axis = cls(first - room, last + room, _LEFT, WIDTH - _RIGHT, True, [])
        wide = axis.high - axis.low > 3
        for decade in range(math.floor(axis.low), math.ceil(axis.high) + 1):
            for factor in (1,) if wide else (1, 2, 5):
                value = factor * 10.0**decade
                if axis.low <= math.log10(value) <= axis.high:
                    axis.ticks.append(Tick(axis(value), f"{value:,.6g}"))
        return axis

    @classmethod
    def linear(cls, low: float, high: float) -> _Axis:
        room = max(0.04 * (high - low), 0.005)
        low, high = max(low - room, 0.0), high + room
        axis = cls(low, high, HEIGHT - _BOTTOM, _TOP, False, [])
        step = next(
            size * 10.0**power
            for power in range(-5, 2)
            for size in (1, 2, 5)
            if (high - low) / (size * 10.0**power) <= 7
        )
        for number in range(math.ceil(low / step), math.floor(high / step) + 1):
            value = number * step
            axis.ticks.append(Tick(axis(value), f"{value:.3f}".rstrip("0").rstrip(".") or "0"))
        return axis


_Box = tuple[float, float, float, float]


def _labels(titles: Sequence[str], marks: Sequence[Mark], levels: Sequence[Level]) -> list[Label]:
    """Names beside as many points as they fit beside, those of the frontier first.

    What has none is named when it is pointed at, and in the table.
    """
    taken = [_around(mark) for mark in marks]
    for by in levels:
        wide = len(by.text) * _LETTER
        left = by.x if by.anchor == "start" else by.x - wide
        taken.append((left, by.at - _LINE, left + wide, by.at + 2))
    labels = []
    order = sorted(range(len(marks)), key=lambda n: (not marks[n].frontier, marks[n].y))
    for number in order:
        mark = marks[number]
        title = titles[number] if len(titles[number]) <= 30 else titles[number][:29] + "…"
        for anchor, x, y in _places(mark):
            width = len(title) * _LETTER
            left = {"start": x, "end": x - width, "middle": x - width / 2}[anchor]
            box = (left, y - _LINE + 2, left + width, y + 2)
            inside = (
                box[0] >= _LEFT
                and box[2] <= WIDTH - 2
                and box[1] >= 0
                and box[3] < HEIGHT - _BOTTOM
            )
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                labels.append(Label(x, y, anchor, title, mark.frontier))
                break
    return labels


def _places(mark: Mark) -> list[tuple[str, float, float]]:
    """Where a label may stand, the best place first."""
    x, y = mark.x, mark.y
    return [
        ("start", x + 9, y + 4),
        ("end", x - 9, y + 4),
        ("start", x + 7, y - 7),
        ("end", x - 7, y - 7),
        ("start", x + 7, y + 15),
        ("end", x - 7, y + 15),
        ("middle", x, y - 10),
        ("middle", x, y + 19),
    ]


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
