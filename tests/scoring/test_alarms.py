"""Alarms, from made-up values: most of them no sound scorer gives."""

from __future__ import annotations

from llm4rec_bench.run import Tally
from llm4rec_bench.scoring.alarms import CODES, Compared, alarms

NDCG = Compared("ndcg@10", 0.25, 0.2, 0.8)
RECALL = Compared("recall@1", 0.25, 0.2, 1.0)


def codes(
    ndcg: Compared = NDCG,
    recall: Compared = RECALL,
    mrr: float | None = 0.25,
    as_given: int = 0,
    few_candidates: bool = False,
) -> list[str]:
    tally = Tally(rows=1000, of_candidates=100, as_given=as_given)
    found = alarms([ndcg, recall], mrr, tally, few_candidates)
    assert {alarm.code for alarm in found} <= CODES.keys()
    return [alarm.code for alarm in found]


def test_what_is_possible_raises_none() -> None:
    assert codes() == []
    assert codes(as_given=50) == []
    assert codes(ndcg=NDCG._replace(value=0.38)) == []
    assert codes(ndcg=NDCG._replace(value=0.8), few_candidates=True) == ["too-good"]
    assert codes(ndcg=NDCG._replace(value=0.68), few_candidates=True) == []


def test_each_impossible_result_raises_its_own() -> None:
    assert codes(recall=RECALL._replace(ceiling=0.24)) == ["above-ceiling", "too-good"]
    assert codes(mrr=0.26) == ["recall-not-mrr"]
    assert codes(as_given=51) == ["order-as-given"]
    assert codes(ndcg=NDCG._replace(value=0.39)) == ["too-good"]
    assert codes(recall=RECALL._replace(value=0.45), mrr=0.45) == ["too-good"]


def test_one_that_is_too_good_is_told_once() -> None:
    assert codes(NDCG._replace(value=0.7), RECALL._replace(value=0.7), 0.7) == ["too-good"]


def test_with_several_targets_recall_and_mrr_may_differ() -> None:
    assert codes(mrr=None) == []
