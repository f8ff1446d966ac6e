"""Our entries beside published figures: writes the table of docs/baselines.md from the scores.

python -m docs.baselines
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from llm4rec_bench.leaderboard import SCORES, SavedScores
from llm4rec_bench.scoring import Score

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).with_suffix(".md")

TASK, TRACK, METRICS = "ml-100k-v1", "retrieval", ("recall@10", "ndcg@10")

Reference = tuple[str, str, str]
REFERENCES: Mapping[str, list[Reference]] = {
    "popularity": [("all-time counts", ".086", ".045")],
    "item-knn": [
        ("implicit, BM25 weights", ".112", ".057"),
        ("RecBole, 20 neighbours", ".132", ".068"),
    ],
    "bpr": [("implicit and RecBole", ".112–.118", ".060")],
    "als": [("implicit, 32 factors, regularisation .1, α 1", ".145", ".076")],
    "ease": [("λ 100", ".149", ".072")],
    "ease-recent": [("EASE with recency-weighted input", ".200", ".103")],
    "markov": [("transition counts", ".145", ".079")],
    "sequential-knn": [("windowed sequential kNN", ".217", ".118")],
    "sasrec": [
        ("RecBole, length 20, dropout .2", ".210", ".115"),
        ("RecTools, length 50, dropout .5", ".205–.211", ".107–.109"),
    ],
    "gru4rec": [("RecBole", ".200", ".105")],
    "bert4rec": [("RecTools, under-trained", ".165", ".081")],
    "minilm-metadata": [("MiniLM with FAISS", ".056", ".032")],
    "random": [("chance", ".006", "")],
}
"""By entry: what others' implementations reached on the same protocol, with ties among
timestamps broken by the order of the publisher's file."""


def table(submissions: Path = ROOT / "submissions") -> str:
    """A row for each reference of an entry that is there."""
    return "\n".join(_rows(submissions)) + "\n"


def _rows(submissions: Path) -> Iterator[str]:
    yield "| entry | ours: recall@10 | ndcg@10 | reference | recall@10 | ndcg@10 |"
    yield "|---|---:|---:|---|---:|---:|"
    for name, references in REFERENCES.items():
        if (submissions / name / SCORES).exists():
            score = score_of(submissions / name, TASK, TRACK)
            ours = [f"`{name}`", *(_shown(score, metric) for metric in METRICS)]
            for reference in references:
                yield f"| {' | '.join([*ours, *reference])} |"
                ours = [""] * len(ours)


def score_of(folder: Path, task: str, track: str) -> Score:
    """What is saved of an entry's runs on a track."""
    saved = msgspec.json.decode((folder / SCORES).read_bytes(), type=SavedScores)
    return next(score for score in saved.scores if (score.task, score.track) == (task, track))


def _shown(score: Score, metric: str) -> str:
    """A value and the half of its interval, about two standard errors."""
    found = score.metrics[metric]
    return f"{found.value:.3f} ± {(found.high - found.low) / 2:.3f}".replace("0.", ".")


def with_parts(text: str, parts: Mapping[str, str]) -> str:
    """A page with its generated parts replaced; raises ValueError where one has no place."""
    for name, part in parts.items():
        begin, end = f"<!-- {name}: generated, do not edit -->\n", f"<!-- /{name} -->"
        if (text.count(begin), text.count(end)) != (1, 1):
            raise ValueError(f"expected {begin!r} and {end!r} once each")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{part}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    PAGE.write_text(with_parts(page, {"references": table()}), "utf-8")
