"""The fusion of two entries: the same as fusing their run files, by another implementation."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from baselines.fusion import Fusion
from llm4rec_bench import CardRefused, Ranking, TaskView
from llm4rec_bench.exchange import fuse
from tests.baselines.small_tasks import asked, view
from tests.conftest import ROOT


@pytest.mark.parametrize("weight", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("track", ["retrieval", "ranking"])
def test_it_is_the_fusion_of_the_two_run_files(toy, track: str, weight: float, tmp_path) -> None:
    from llm4rec_bench.exchange.rankings import read_rankings
    from llm4rec_bench.run import read_run

    parts = ["sequential-knn", "tf-idf"]
    files = [ROOT / "submissions" / name / f"toy-v1.{track}.jsonl.gz" for name in parts]
    out = tmp_path / "fused.jsonl"
    fuse(files, out, "fused", weights=[1.0, weight])
    expected = read_rankings(out, read_run(out, toy)).items

    method = Fusion(*parts, weight=weight)
    method.fit(toy.view(track, "test", 0, ["title", "metadata"]))
    requests = list(toy.requests("test", track))
    found = [toy.items.rows(ranking.items).tolist() for ranking in method.rank(requests)]
    assert found == [[item for item in row if item >= 0] for row in expected.tolist()]


def test_what_no_ranking_holds_is_not_ranked() -> None:
    class Fixed:
        def __init__(self, items: list[str]) -> None:
            self.items = items

        def rank(self, requests):
            return [Ranking(self.items) for _ in requests]

    method = Fusion("a", "b", weight=0.5, k=0)
    method.task = view([[0, 1], [2, 3]])
    method.methods = [(Fixed(["i5", "i6"]), 1.0), (Fixed(["i6", "i4"]), 0.5)]
    # i5: 1; i6: 1/2 + 1/2 = 1, a tie that goes by row; i4: 1/4.
    assert [ranking.items for ranking in method.rank([asked([0])])] == [["i5", "i6", "i4"]]


def test_a_part_that_reads_more_than_the_card_says_is_refused(toy) -> None:
    with pytest.raises(CardRefused, match=r"tf-idf reads metadata, title, .*add it to `reads`"):
        Fusion("sequential-knn", "tf-idf").fit(toy.view("retrieval", "test", 0, []))


class Spy:
    """Keeps what it was handed."""

    seen: ClassVar[dict[str, TaskView]] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    def fit(self, task: TaskView) -> None:
        self.seen[self.name] = task

    def rank(self, requests):
        return [Ranking([]) for _ in requests]


CARD = """
name = "{name}"
title = "Spy"
authors = ["nobody"]
licence = "MIT"
description = ""
hardware = "none"
command = "none"
system = "{system}:Spy"
params = {{ name = "{name}" }}
{more}
"""


def test_a_part_is_fitted_on_what_its_own_card_reads_and_with_its_own_seed(
    toy, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("baselines.entries.CARDS", tmp_path)
    for name, more in (("titles", 'reads = ["title"]\nseed = 5'), ("ids", "")):
        (tmp_path / name).mkdir()
        text = CARD.format(name=name, system=__name__, more=more)
        (tmp_path / name / "submission.toml").write_text(text)
    fusion = Fusion("titles", "ids")
    fusion.fit(toy.view("retrieval", "validation", 3, ["title", "metadata"], tmp_path))
    titles, ids = Spy.seen.pop("titles"), Spy.seen.pop("ids")
    assert (titles.reads, titles.seed) == (("title",), 5)
    assert titles.texts() == toy.view("retrieval", reads=["title"]).texts()
    assert not any(any(cell) for cell in titles.items.table["categories"].to_pylist())
    assert (ids.reads, ids.seed, ids.texts()) == ((), 0, [""] * len(toy.items))
    for part in (titles, ids):
        assert (part.track, part.split, part.workspace) == ("retrieval", "validation", tmp_path)
    assert (fusion.task.reads, fusion.task.seed) == (("title", "metadata"), 3)


def test_one_entry_twice_is_refused() -> None:
    with pytest.raises(CardRefused, match="first and second are both 'als'; name two entries"):
        Fusion("als", "als")


def test_an_entry_that_is_not_there_is_named(toy, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("baselines.entries.CARDS", tmp_path)
    with pytest.raises(CardRefused, match="nobody"):
        Fusion("nobody", "nothing").fit(toy.view("retrieval", "test", 0, []))
