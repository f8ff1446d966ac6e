"""Slices, counted a second time from the tables without arrays."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from llm4rec_bench.scoring import slices_of
from llm4rec_bench.scoring.slices import HISTORY, PAUSE, POPULARITY

KINDS = [["tied", "not tied"], list(HISTORY), list(PAUSE), list(POPULARITY)]


@pytest.fixture(scope="module", params=["validation", "test"])
def split(request) -> str:
    return request.param


def counted(task, split: str) -> dict[str, list[bool]]:
    """Every slice by its definition, from the published tables."""
    events = [
        event
        for event in task.table("interactions").to_pylist()
        if split == "test" or event["part"] == "train"
    ]
    last = defaultdict(int)
    for event in events:
        last[event["user_id"]] = max(last[event["user_id"]], event["timestamp"])
    counts = Counter(event["item_id"] for event in events)
    order = sorted(task.items.ids, key=lambda item: -counts[item])  # ties in the task's order
    share, before = {}, 0
    for item in order:
        share[item] = before / len(events)
        before += counts[item]
    described = set()
    if not task.lacks_descriptions:
        described = {row["item_id"] for row in task.descriptions.to_pylist()}
    asked = [row for row in task.table("targets").to_pylist() if row["split"] == split]
    slices = defaultdict(list)
    for request, row in zip(task.requests(split), asked, strict=True):
        pause = request.timestamp - last[request.user_id]
        place = share[row["items"][0]]
        length = len(request.history)
        for name, inside in {
            "tied": row["tied"],
            "not tied": not row["tied"],
            "history 1–10": length <= 10,
            "history 11–50": 10 < length <= 50,
            "history 51–200": 50 < length <= 200,
            "history 201+": length > 200,
            "within a minute": pause <= 60,
            "within a day": 60 < pause <= 86_400,
            "after more than a day": pause > 86_400,
            "head target": place < 1 / 3,
            "middle target": 1 / 3 <= place < 2 / 3,
            "tail target": place >= 2 / 3,
            "described": row["items"][0] in described,
            "not described": row["items"][0] not in described,
        }.items():
            slices[name].append(inside)
    return slices


def test_slices_are_what_their_names_say(toy, split: str) -> None:
    expected = counted(toy, split)
    found = slices_of(toy, split)
    assert found.keys() == {name for name, m in expected.items() if any(m) and not all(m)}
    for name, inside in found.items():
        assert inside.tolist() == expected[name], name


@pytest.mark.movielens
def test_slices_of_movielens_are_what_their_names_say(movielens) -> None:
    expected = counted(movielens, "test")
    for name, inside in slices_of(movielens, "test").items():
        assert inside.tolist() == expected[name], name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
def test_each_kind_parts_the_requests(toy, split: str, kind: list[str]) -> None:
    found = slices_of(toy, split)
    inside = [found[name] for name in kind if name in found]
    assert (np.sum(inside, axis=0) == 1).all()


def test_items_without_a_description_have_a_slice(toy, monkeypatch) -> None:
    some = toy.descriptions.slice(0, 20)
    monkeypatch.setitem(toy.__dict__, "descriptions", some)
    found = slices_of(toy, "test")
    described = set(some["item_id"].to_pylist())
    ids = toy.items.ids
    first = toy.targets("test").items[:, 0]
    assert found["described"].tolist() == [ids[row] in described for row in first]
    assert found["not described"].tolist() == (~found["described"]).tolist()


def test_what_all_requests_share_is_no_slice(toy) -> None:
    assert "described" not in slices_of(toy, "test")
