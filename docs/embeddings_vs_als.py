"""Do text embeddings catch up with matrix factorisation? Measures, and writes the page.

    python -m docs.embeddings_vs_als            # the tables, from the ranks that were measured
    python -m docs.embeddings_vs_als --measure  # measure the ranks anew (ml-100k-v1, minutes)

Run files end at 100 items and are masked as the task says, so the ranks of the targets are
worked out here from the scores of the whole catalogue. Methods and their parameters are those
of the board: the cards under `submissions/`, fitted on what the test split may see.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from docs.baselines import score_of, with_parts
from llm4rec_bench import Request, Task, load_task
from llm4rec_bench.run.execute import load_method
from llm4rec_bench.scoring import unpacked_ranks
from llm4rec_bench.statistics import bootstrap
from llm4rec_bench.store import default_home, workspace
from llm4rec_bench.submission import read_card

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).with_name("embeddings-vs-als.md")
RANKS = Path(__file__).with_name("embeddings-vs-als.json")

TASK, TRACK = "ml-100k-v1", "retrieval"
CUTOFFS = (10, 20, 50, 100, 300)
TASKS = ("ml-100k-v1", "ml-latest-small-v1", "movietweetings-v1", "shakespeare-v1")
BOARD_CUTOFFS = (10, 20, 50, 100)
"""Those that run files reach."""
MASKS = {"all seen": None, "last ten": 10}
"""How many of the latest items of a history are never recommended; None for all."""
CARDS = (
    "popularity",
    "als",
    "minilm-metadata",
    "minilm-wikipedia",
    "sequential-knn",
)
BY_L2 = "als-by-l2"
"""ALS whose items are searched by Euclidean distance to the user instead."""

Rows = npt.NDArray[np.integer[Any]]
Scores = npt.NDArray[np.float32]


def measured(task: Task, cards: tuple[str, ...] = CARDS) -> dict[str, dict[str, list[int]]]:
    """The target's rank in the whole catalogue, by method, mask and request."""
    requests = list(task.requests("test", TRACK))
    found: dict[str, dict[str, list[int]]] = {}
    for name in cards:
        card = read_card(ROOT / "submissions" / name)
        method: Any = load_method(card, task.id, TRACK)
        method.fit(task.view(TRACK, "test", card.seed, card.reads, workspace(default_home())))
        found[name] = _by_mask(method.scores(requests), requests, task)
        if name == "als":
            found[BY_L2] = _by_mask(_by_distance(method, requests), requests, task)
    return found


def _by_distance(als: Any, requests: list[Request]) -> Scores:  # noqa: ANN401
    """Scores that fall with the distance between the factors of users and items."""
    users, items = als.users(requests), als.model.item_factors
    # |u - v|² = |u|² - 2 uv + |v|², and |u|² is the same for all items of a user.
    return 2 * users @ items.T - (items**2).sum(1)


def _by_mask(scores: Scores, requests: list[Request], task: Task) -> dict[str, list[int]]:
    targets = task.targets("test").items[:, 0]
    return {mask: _ranks(scores, requests, task, targets, last) for mask, last in MASKS.items()}


def _ranks(
    scores: Scores, requests: list[Request], task: Task, targets: Rows, last: int | None
) -> list[int]:
    scores = scores.copy()
    for row, request in zip(scores, requests, strict=True):
        masked = request.history if last is None else request.history[-last:]
        row[task.items.rows(masked)] = -np.inf
    reached = scores[np.arange(len(scores)), targets][:, None]
    earlier = np.arange(scores.shape[1]) < targets[:, None]  # ties go by row, as in a run
    ahead = (scores > reached) | ((scores == reached) & earlier)
    ranks: list[int] = (1 + ahead.sum(1)).tolist()
    return ranks


# The page


def tables(ranks: dict[str, dict[str, list[int]]]) -> dict[str, str]:
    """The generated parts of the page, by name."""
    parts = {mask: _lines(_recall_table(ranks, mask)) for mask in MASKS}
    parts["elsewhere"] = _lines(_elsewhere())
    return parts | {f"less ALS, {mask}": _lines(_difference_table(ranks, mask)) for mask in MASKS}


def _lines(rows: Iterator[str]) -> str:
    return "".join(f"{row}\n" for row in rows)


def _recall_table(ranks: dict[str, dict[str, list[int]]], mask: str) -> Iterator[str]:
    yield "| method | " + " | ".join(f"recall@{k}" for k in CUTOFFS) + " |"
    yield "|---|" + "---:|" * len(CUTOFFS)
    ordered = sorted(ranks, key=lambda name: _recall(ranks[name][mask], CUTOFFS[0]))
    for name in reversed(ordered):
        values = (f"{_recall(ranks[name][mask], k):.3f}" for k in CUTOFFS)
        yield f"| {_title(name)} | " + " | ".join(values) + " |"


def _difference_table(ranks: dict[str, dict[str, list[int]]], mask: str) -> Iterator[str]:
    yield "| less ALS | " + " | ".join(f"recall@{k}" for k in CUTOFFS) + " |"
    yield "|---|" + "---:|" * len(CUTOFFS)
    for name in ranks:
        if name != "als":
            cells = (_difference(ranks[name][mask], ranks["als"][mask], k) for k in CUTOFFS)
            yield f"| {_title(name)} | " + " | ".join(cells) + " |"


def _elsewhere() -> Iterator[str]:
    """MiniLM beside ALS on every real task, from the scores of their entries."""
    yield "| task | requests | | " + " | ".join(f"recall@{k}" for k in BOARD_CUTOFFS) + " |"
    yield "|---|---:|---|" + "---:|" * len(BOARD_CUTOFFS)
    for task in TASKS:
        embeddings, als = (_of_the_board(name, task) for name in ("minilm-metadata", "als"))
        for title, ranks in (("MiniLM", embeddings), ("ALS", als)):
            values = (f"{_recall(ranks, k):.3f}" for k in BOARD_CUTOFFS)
            yield f"| {task} | {len(ranks)} | {title} | " + " | ".join(values) + " |"
        cells = (_difference(embeddings, als, k) for k in BOARD_CUTOFFS)
        yield "| | | MiniLM less ALS | " + " | ".join(cells) + " |"


def _of_the_board(name: str, task: str) -> list[int]:
    """The targets' ranks in an entry's run; what was not retrieved is beyond all cut-offs."""
    score = score_of(ROOT / "submissions" / name, task, TRACK)
    ranks = unpacked_ranks(score.ranks, score.runs, score.requests)[0, :, 0]
    found: list[int] = np.where(ranks > 0, ranks, 1 << 30).tolist()
    return found


def _recall(ranks: list[int], k: int) -> float:
    return float(np.mean(np.array(ranks) <= k))


def _difference(ranks: list[int], others: list[int], k: int) -> str:
    """A paired difference with its 95 % bootstrap interval over requests."""
    hits = (np.array(ranks) <= k).astype(int) - (np.array(others) <= k)
    distinct, counts = np.unique(hits, return_counts=True)
    ((low, high),) = bootstrap(distinct[:, None].astype(float), counts)
    return f"{hits.mean():+.3f} ({low:+.3f} to {high:+.3f})".replace("-", "−")


def _title(name: str) -> str:
    if name == BY_L2:
        return "ALS, searched by L2 distance"
    return read_card(ROOT / "submissions" / name).title


def as_json(ranks: dict[str, dict[str, list[int]]]) -> str:
    """The ranks, a line for each method and mask."""
    lines = [
        f" {json.dumps(f'{name}, {mask}')}: {json.dumps(ranks[name][mask], separators=(',', ':'))}"
        for name in ranks
        for mask in MASKS
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def kept() -> dict[str, dict[str, list[int]]]:
    """The ranks that were measured."""
    found: dict[str, dict[str, list[int]]] = {}
    for key, ranks in json.loads(RANKS.read_text("utf-8")).items():
        name, _, mask = key.partition(", ")
        found.setdefault(name, {})[mask] = ranks
    return found


def main() -> None:
    """Measure if asked to, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure the ranks anew")
    if parser.parse_args().measure:
        RANKS.write_text(as_json(measured(load_task(TASK))), "utf-8")
    PAGE.write_text(with_parts(PAGE.read_text("utf-8"), tables(kept())), "utf-8")


if __name__ == "__main__":
    main()
