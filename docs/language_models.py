"""What the small language model reaches: writes the table of docs/language-models.md.

python -m docs.language_models
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from docs.baselines import score_of, with_parts
from llm4rec_bench.scoring import Score
from llm4rec_bench.submission import read_card

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).with_name("language-models.md")
TRACK, METRICS = "ranking", ("ndcg@10", "recall@1")
BESIDE = ("als", "sequential-knn", "minilm-metadata")
"""Entries to measure it by, besides chance and popularity."""


def table(submissions: Path = ROOT / "submissions") -> str:
    """Rows for each task on which the small model is entered, beside chance and baselines."""
    return "\n".join(_rows(submissions)) + "\n"


def _rows(submissions: Path) -> Iterator[str]:
    yield "| task | system | ndcg@10 | recall@1 | valid | p50 ms | p95 ms | prompt tokens |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    cards = {path.name: read_card(path) for path in sorted(submissions.glob("smollm2-*"))}
    for task in dict.fromkeys(task for card in cards.values() for task in card.tasks):
        entered = [name for name, card in cards.items() if task in card.tasks]
        yield from _floors(task, score_of(submissions / entered[0], task, TRACK))
        for name in (*entered, *BESIDE):
            title = f"[{read_card(submissions / name).title}](../submissions/{name})"
            score = score_of(submissions / name, task, TRACK)
            cells = [_interval(score, metric) for metric in METRICS]
            if name in entered:
                cells += _cost(score)
            yield _row(task, title, *cells)


def _floors(task: str, score: Score) -> Iterator[str]:
    for floor in ("random", "popularity"):
        values = (score.references(metric)[floor] for metric in METRICS)
        yield _row(task, f"*{floor}*", *(f"{value:.3f}" for value in values))


def _row(*cells: str) -> str:
    return "| " + " | ".join([*cells, *[""] * (8 - len(cells))]) + " |"


def _interval(score: Score, metric: str) -> str:
    found = score.metrics[metric]
    return f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"


def _cost(score: Score) -> Iterator[str]:
    yield f"{score.validity.valid_share:.1%}"
    percentiles = score.latency.percentiles if score.latency else {}
    for name in ("p50", "p95"):
        found = percentiles.get(name)
        yield f"{found.value:,.0f}" if found else ""
    tokens = score.tokens.get("prompt")
    yield f"{tokens.mean:,.0f}" if tokens else ""


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    PAGE.write_text(with_parts(page, {"smollm2": table()}), "utf-8")
