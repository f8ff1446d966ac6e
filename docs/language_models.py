"""What the small language model reaches: writes the table of docs/language-models.md.

python -m docs.language_models
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import msgspec

from baselines.llm.hybrid import RANKERS, Hybrid
from baselines.llm.models.endpoint import Endpoint
from baselines.llm.models.langchain import LangChain
from baselines.llm.models.local import Local
from baselines.llm.prompts import FOLDER, Template
from baselines.llm.ranker import Ranker
from baselines.llm.select import SelectK
from baselines.llm.sliding import SlidingWindow
from docs.baselines import score_of, with_parts
from llm4rec_bench import CardRefused
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


def models() -> str:
    """A row for each kind of model: the fields of its table."""
    rows = ["| `kind` | fields, and what they are unless the card says otherwise |", "|---|---|"]
    for kind in (Endpoint, Local, LangChain):
        fields = msgspec.structs.fields(kind)
        known = (_field(one.encode_name, _default(one)) for one in fields)
        rows.append(f"| `{kind.__struct_config__.tag}` | {', '.join(known)} |")
    return "\n".join(rows) + "\n"


def _default(field: msgspec.structs.FieldInfo) -> object:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def rankers() -> str:
    """A row for each ranker: its parameters, its slots, our prompts for it."""
    rows = ["| ranker | parameters | slots | prompts that fit |", "|---|---|---|---|"]
    shared = {field.name for field in dataclasses.fields(Ranker)} - {"model"}
    of_all = [_field(one.name, one.default) for one in dataclasses.fields(Ranker)
              if one.name in shared]  # fmt: skip
    rows.append(f"| all but `Hybrid` | {', '.join(of_all)} | | |")
    kinds: list[type[Ranker]] = [*RANKERS.values(), SelectK, SlidingWindow]
    for kind in kinds:
        own = [field for field in dataclasses.fields(kind) if field.name not in shared | {"model"}]
        params = ", ".join(_field(field.name, field.default) for field in own)
        slots = ", ".join(f"`{slot}`" for slot in kind.slots)
        rows.append(f"| `{kind.__name__}` | {params} | {slots} | {_prompts(kind)} |")
    rows.append(f"| `{Hybrid.__name__}` | `parts`: tables with `ranker` ({', '.join(RANKERS)}), "
                "`weight`, and that ranker's parameters | | |")  # fmt: skip
    return "\n".join(rows) + "\n"


def _field(name: str, default: object) -> str:
    if default in (dataclasses.MISSING, msgspec.NODEFAULT):
        return f"`{name}`"
    return f"`{name}` {default!r}" if isinstance(default, int | float | str) else f"`{name}`"


def _prompts(kind: type[Ranker]) -> str:
    """Our prompts that it takes."""
    fit = []
    for folder in sorted(FOLDER.iterdir()):
        name = f"{folder.name}@{Template(folder).digest}"
        try:
            kind(model={}, prompt=name)
        except CardRefused:
            continue
        fit.append(f"`{name}`")
    return ", ".join(fit)


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


def parts() -> dict[str, str]:
    """What is generated of the page, by name."""
    return {"smollm2": table(), "models": models(), "rankers": rankers()}


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    PAGE.write_text(with_parts(page, parts()), "utf-8")
