"""Paired comparisons, against scipy and by hand."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llm4rec_bench import BenchError, compare_runs, read_run, score, statistics
from llm4rec_bench.compare import (
    compare_scores,
    shared_ranks,
    table_by_request,
    values_by_request,
)
from llm4rec_bench.scoring import packed_ranks, unpacked_ranks
from llm4rec_bench.scoring.scorer import MOST_TARGETS
from llm4rec_bench.statistics import FLIPS, holm, randomisation_test
from tests.conftest import ROOT


def entry(name: str, track: str = "ranking") -> Path:
    return ROOT / "submissions" / name / f"toy-v1.{track}.jsonl.gz"


@pytest.fixture(scope="module")
def runs():
    return [read_run(entry(name)) for name in ("als", "item-knn", "popularity")]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shift", [0.0, 0.03, 0.1])
def test_p_values_are_those_of_scipys_permutation_test(seed: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    values = random.choice([0.0, 0.25, 0.5, 1.0], (2, 200))
    first, second = values[0] + shift, values[1]
    theirs = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples",
        n_resamples=FLIPS, rng=seed,
    ).pvalue  # fmt: skip
    spread = 5 * np.sqrt(theirs * (1 - theirs) / FLIPS) + 2 / FLIPS
    assert randomisation_test(first - second) == pytest.approx(theirs, abs=spread)


@pytest.mark.parametrize("differences", [[1, 1, 1, 1, -1], [0.5, 1, 0, 0, -0.5, 2], [3, 1, 2]])
def test_small_cases_agree_with_all_sign_flips(differences) -> None:
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(differences))).reshape(len(differences), -1)
    sums = np.abs(np.array(differences, float) @ signs)
    exact = (sums >= abs(sum(differences)) - 1e-9).mean()
    found = randomisation_test(np.array(differences, float))
    assert found == pytest.approx(exact, abs=5 * np.sqrt(0.25 / FLIPS) + 1 / FLIPS)


def test_equal_runs_have_p_one_and_no_test_gives_zero() -> None:
    assert randomisation_test(np.zeros(50)) == 1.0
    assert 0 < randomisation_test(np.ones(5000)) < 1e-300


@pytest.mark.parametrize("losses", range(0, 40, 4))
def test_p_values_below_what_flips_can_tell_are_bounds_of_the_exact_one(losses: int) -> None:
    found = randomisation_test(np.array([1.0] * (120 - losses) + [-1.0] * losses))
    exact = stats.binomtest(losses, 120).pvalue
    if found < 1 / (FLIPS + 1):
        assert exact <= found
    else:
        assert found == pytest.approx(exact, abs=5 * np.sqrt(exact / FLIPS) + 2 / FLIPS)


@settings(max_examples=20)
@given(coins=st.integers(1, 700), first=st.integers(0, 300))
def test_coins_fall_as_a_binomial(coins: int, first: int) -> None:
    heads, after = statistics._heads(coins, first)
    assert after > first and heads.shape == (FLIPS,)
    assert abs(heads.mean() - coins / 2) < 6 * np.sqrt(coins / 4 / FLIPS)
    assert heads.var() == pytest.approx(coins / 4, rel=0.12)
    other, _ = statistics._heads(coins, after)
    assert abs(np.corrcoef(heads, other)[0, 1]) < 0.06


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=40))
def test_a_p_value_does_not_depend_on_order_or_sign(differences) -> None:
    array = np.array(differences)
    found = randomisation_test(array)
    assert 0 < found <= 1
    assert found == randomisation_test(array[::-1]) == randomisation_test(-array)


def test_under_no_difference_p_values_are_uniform() -> None:
    random = np.random.default_rng(3)
    found = [randomisation_test(random.choice([-1.0, -0.3, 0.3, 1.0], 60)) for _ in range(400)]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == [0.2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


def test_a_pair_says_what_numpy_and_scipy_say(runs, toy) -> None:
    found = compare_runs(runs)
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("ALS (implicit)", "Item-kNN"),
        ("ALS (implicit)", "Popularity"),
        ("Item-kNN", "Popularity"),
    ]
    values = [values_by_request(run) for run in runs]
    metrics = toy.track("ranking").metrics
    for pair, (a, b) in zip(found.pairs, [(0, 1), (0, 2), (1, 2)], strict=True):
        for m, metric in enumerate(metrics):
            by = pair.metrics[metric]
            difference = values[a][:, m] - values[b][:, m]
            assert by.first - by.second == pytest.approx(by.difference.value, abs=1e-9)
            assert by.difference.value == pytest.approx(difference.mean(), abs=1e-9)
            assert by.wins == (difference > 1e-9).sum()
            assert by.losses == (difference < -1e-9).sum()
            assert by.wins + by.ties + by.losses == found.requests == 300
            theirs = stats.bootstrap(
                (difference,), np.mean, method="percentile", n_resamples=4000, rng=1
            ).confidence_interval
            wide = theirs.high - theirs.low
            assert by.difference.low == pytest.approx(theirs.low, abs=0.15 * wide)
            assert by.difference.high == pytest.approx(theirs.high, abs=0.15 * wide)
        adjusted = holm([p.metrics["ndcg@10"].p for p in found.pairs])
        assert [p.metrics["ndcg@10"].p_holm for p in found.pairs] == pytest.approx(adjusted)


def test_slices_part_the_difference(runs, toy) -> None:
    pair = compare_runs(runs[:2]).pairs[0]
    tied = toy.targets("test").tied
    shares = {"tied": tied.mean(), "not tied": 1 - tied.mean()}
    whole = sum(pair.slices[name]["ndcg@10"].value * share for name, share in shares.items())
    assert whole == pytest.approx(pair.metrics["ndcg@10"].difference.value, abs=1e-9)


def test_a_run_against_itself_ties_everywhere(runs, toy) -> None:
    pair = compare_runs([runs[0], runs[0]]).pairs[0]
    for by in pair.metrics.values():
        assert (by.wins, by.ties, by.losses, by.p) == (0, 300, 0, 1.0)
        assert (by.difference.low, by.difference.value, by.difference.high) == (0, 0, 0)


def test_runs_of_other_tracks_are_refused(toy) -> None:
    with pytest.raises(BenchError, match="only runs on the same requests can be compared"):
        compare_runs([read_run(entry("als")), read_run(entry("als", "retrieval"))])


@pytest.mark.movielens
def test_als_beats_popularity_on_movielens_and_scipy_agrees(movielens) -> None:
    folder = ROOT / "submissions"
    pair_of_runs = [
        read_run(folder / name / "ml-100k-v1.retrieval.jsonl.gz") for name in ("als", "popularity")
    ]
    by = compare_runs(pair_of_runs).pairs[0].metrics["ndcg@10"]
    values = [values_by_request(run)[:, 0] for run in pair_of_runs]
    theirs = stats.permutation_test(
        tuple(values), lambda a, b: np.mean(a - b), permutation_type="samples",
        n_resamples=FLIPS, rng=1,
    ).pvalue  # fmt: skip
    assert by.difference.low > 0
    assert by.p == pytest.approx(theirs, abs=2e-3)


def test_the_command_prints_a_table_a_pair_and_json(bench) -> None:
    files = [entry("als"), entry("popularity")]
    code, out, err = bench("compare", *files)
    assert (code, err) == (0, "")
    assert out.startswith("ALS (implicit) minus Popularity on toy-v1 ranking (300 requests)")
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    code, out, _ = bench("compare", *files, "--json")
    assert json.loads(out)["pairs"][0]["metrics"]["ndcg@10"]["difference"]["value"] > 0


def test_the_command_tells_equal_names_apart_and_refuses_one_file(bench) -> None:
    out = bench("compare", entry("als"), entry("als"), "--json")[1]
    assert json.loads(out)["pairs"][0]["first"] == str(entry("als"))
    assert bench("compare", entry("als"))[0] == 2
    assert bench("compare", entry("als"), entry("als", "retrieval"))[0] == 1


def test_values_of_each_request_are_written(bench, toy, tmp_path) -> None:
    files = [entry("als"), entry("popularity")]
    assert bench("compare", *files, "--per-request", tmp_path / "out.parquet")[0] == 0
    table = pq.read_table(tmp_path / "out.parquet")
    runs = [read_run(path) for path in files]
    expected = table_by_request(runs, ["ALS (implicit)", "Popularity"])
    assert table.equals(expected)
    assert table.column_names == ["run", "request_id", *toy.track("ranking").metrics]
    assert table.num_rows == 600


def scored(names: list[str], toy, track: str = "ranking"):
    from llm4rec_bench import score

    return [score(read_run(entry(name, track), toy)) for name in names]


@pytest.mark.parametrize("track", ["ranking", "ranking-popular"])
def test_ranks_are_shared_where_no_difference_is_shown(toy, track: str) -> None:
    names = ["random", "als", "popularity", "item-knn"]
    scores = scored(names, toy, track)
    found = dict(zip(names, shared_ranks(scores), strict=True))
    runs = [read_run(entry(name, track)) for name in names]
    better = dict.fromkeys(names, 0)
    for pair, (a, b) in zip(compare_runs(runs, names).pairs, combinations(names, 2), strict=True):
        by = pair.metrics["ndcg@10"]
        if by.p_holm < 0.05:
            better[b if by.difference.value > 0 else a] += 1
    assert found == {name: 1 + count for name, count in better.items()}
    assert found["als"] == 1 < found["popularity"]


def test_one_score_and_equal_scores_rank_first(toy) -> None:
    (one,) = scored(["als"], toy)
    assert shared_ranks([one]) == [1]
    assert shared_ranks([one, one, one]) == [1, 1, 1]


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 4), st.randoms(use_true_random=False))
def test_packed_ranks_come_back(runs: int, requests: int, targets: int, random) -> None:
    values = [random.choice([-1, 0, 1, 7, 100]) for _ in range(runs * requests * targets)]
    ranks = np.array(values, np.int64).reshape(runs, requests, targets)
    np.testing.assert_array_equal(unpacked_ranks(packed_ranks(ranks), runs, requests), ranks)


def test_a_bomb_in_saved_ranks_is_not_unpacked() -> None:
    bomb = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()
    tracemalloc.start()
    assert unpacked_ranks(bomb, 1, 7).shape == (1, 7, MOST_TARGETS)  # and no byte beyond
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_saved_scores_compare_as_their_runs_do(runs) -> None:
    compared = compare_runs(runs).pairs
    expected = [pair.metrics["ndcg@10"] for pair in compared]
    assert compare_scores([score(run) for run in runs]) == expected
