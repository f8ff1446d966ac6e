"""Reading, checking and scoring a run beside peers that check nothing.

Bounds leave room for the noise of a busy machine; what is promised is held by the committed
results, see the last test.
"""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from tests.benchmarks import scoring

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100,000 requests."""
    made = tmp_path_factory.mktemp("scoring")
    for requests in (scoring.SIZES[0], 100_000):  # the small one is for warming up
        scoring.generate(made / str(requests), requests)
    return made / "100000"


@pytest.fixture(scope="module")
def large(folder: Path):
    """1,000,000 requests."""
    made = folder.parent / "1000000"
    scoring.generate(made, 1_000_000, trec=False)
    yield made
    shutil.rmtree(made)


def own(folder: Path, *more: str) -> dict:
    """The better of two: a busy machine gets in the way, and once in ten times of the allocator.

    Which of its threads an array fell to decides how much memory can be given back.
    """
    tries = [scoring.measured("ours", folder, *more) for _ in range(2)]
    peak = min(found["peak_mb"] for found in tries)
    return min(tries, key=lambda found: found["cpu"][-1]) | {"peak_mb": peak}


@pytest.mark.parametrize(("peer", "times"), [("pytrec_eval", 6), ("ir_measures", 6), ("ranx", 12)])
def test_a_hundred_thousand_requests_cost_a_fraction_of_what_peers_take(
    benchmark, folder: Path, peer: str, times: int
) -> None:
    pytest.importorskip(peer, reason=f"{peer} is not installed; pip install -e '.[peers]'")
    ours = benchmark.pedantic(own, args=(folder,), rounds=1)
    theirs = scoring.measured(peer, folder)
    assert {name: theirs["values"][name] for name in ours["values"]} == pytest.approx(
        ours["values"], abs=1e-6
    )
    ratio = theirs["cpu"][-1] / ours["cpu"][-1]
    benchmark.extra_info["the peer takes times as long"] = round(ratio, 1)
    assert ratio > times


def test_a_million_requests_cost_little_more_than_parsing_them(benchmark, large: Path) -> None:
    ours = benchmark.pedantic(own, args=(large,), rounds=1)
    parsed = scoring.measured("bare", large)
    ratio = ours["cpu"][-1] / parsed["cpu"][-1]
    benchmark.extra_info.update(ratio=round(ratio, 2), peak_mb=ours["peak_mb"])
    assert ratio < 4
    assert ours["peak_mb"] < 450


def test_memory_does_not_grow_with_the_file(benchmark, large: Path) -> None:
    with (large / "run.jsonl").open("rb") as plain, (large / "two.jsonl").open("wb") as file:
        shutil.copyfileobj(plain, file)
        plain.seek(0)
        next(plain)
        file.writelines(b'{"run": 1, ' + line[1:] for line in plain)
    once = scoring.measured("ours", large)["peak_mb"]
    twice = benchmark.pedantic(own, args=(large, "two.jsonl"), rounds=1)["peak_mb"]
    benchmark.extra_info.update(once=once, twice=twice)
    assert twice < once * 1.15  # what is kept of a second run: ranks, first ten items, latency


def test_a_packed_file_costs_its_unpacking_and_no_more(benchmark, folder: Path) -> None:
    packed = folder / "run.jsonl.gz"
    with (folder / "run.jsonl").open("rb") as plain, gzip.open(packed, "wb", 1) as file:
        shutil.copyfileobj(plain, file)
    kinds = {"plain": ("ours",), "unpacking": ("unpacking",), "packed": ("ours", packed.name)}
    took = dict.fromkeys(kinds, 0.0)

    def one_round() -> None:
        for kind, (what, *more) in kinds.items():
            took[kind] += scoring.measured(what, folder, *more)["cpu"][-1]

    # In turns and added up: what slows the machine for some seconds slows all three.
    benchmark.pedantic(one_round, rounds=4)
    benchmark.extra_info.update(took)
    assert took["packed"] < 1.2 * (took["plain"] + took["unpacking"])


def test_the_table_in_the_readme_is_that_of_the_results() -> None:
    results = json.loads(scoring.RESULTS.read_text())
    assert scoring.table(results) in scoring.README.read_text("utf-8")


def test_the_results_are_such_as_are_promised() -> None:
    """What is committed was measured by a program that holds what the tests above ask for."""
    sizes = json.loads(scoring.RESULTS.read_text())["sizes"]
    seconds = {
        requests: {name: by["cpu"][-1] for name, by in found.items()}
        for requests, found in sizes.items()
    }
    of_ours = seconds["100000"]["ours"]
    assert seconds["100000"]["pytrec_eval"] > 10 * of_ours
    assert seconds["100000"]["ranx"] > 25 * of_ours
    assert seconds["1000000"]["ours"] < 2.5 * seconds["1000000"]["bare"]
    assert sizes["1000000"]["ours"]["peak_mb"] < 450
