"""Alarms that no sound scorer gives, from made-up values."""

from __future__ import annotations

from llm4rec_bench.run import Tally
from llm4rec_bench.scoring.alarms import CODES, AtOne, alarms
from llm4rec_bench.statistics import Interval

FINE = AtOne(recall=0.3, mrr=0.3, reference=0.2, ceiling=1.0)


def codes(value: float = 0.5, at_one: AtOne = FINE, as_given: int = 0) -> list[str]:
    metrics = {"ndcg@10": Interval(value, 0.4, 0.6)}
    found = alarms(metrics, {"ndcg@10": 0.8}, at_one, Tally(rows=100, as_given=as_given))
    assert {alarm.code for alarm in found} <= CODES.keys()
    return [alarm.code for alarm in found]


def test_what_is_possible_raises_none() -> None:
    assert codes() == []
    assert codes(value=0.8) == []
    assert codes(as_given=50) == []
    assert codes(at_one=FINE._replace(recall=0.6, mrr=0.6)) == []


def test_each_impossible_result_raises_its_own() -> None:
    assert codes(value=0.81) == ["above-ceiling"]
    assert codes(at_one=FINE._replace(mrr=0.31)) == ["recall-not-mrr"]
    assert codes(as_given=51) == ["order-as-given"]
    assert codes(at_one=FINE._replace(recall=0.61, mrr=0.61)) == ["too-good"]


def test_with_several_targets_recall_and_mrr_may_differ() -> None:
    assert codes(at_one=FINE._replace(mrr=None)) == []


def test_the_wire_lies_between_the_best_reference_and_the_ceiling() -> None:
    assert codes(at_one=AtOne(0.3, 0.3, 0.0, 0.5)) == ["too-good"]
    assert codes(at_one=AtOne(0.25, 0.25, 0.0, 0.5)) == []
