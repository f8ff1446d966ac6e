"""The dataset card of a frozen task, made from its recipe and manifest."""

from __future__ import annotations

import msgspec

from llm4rec_bench.split import LeaveOneOut
from llm4rec_bench.task import Manifest, Recipe, tables

_CONFIG = """\
  - config_name: {name}
    data_files: data/{name}.parquet{default}
"""


def dataset_card(recipe: Recipe, manifest: Manifest) -> str:
    """The text of a task's README.md: Hugging Face metadata, then what people should know."""
    return "\n".join(
        [
            _metadata(recipe, manifest),
            f"# {recipe.title}\n",
            f"{recipe.description.strip()}\n",
            _how_to_use(recipe),
            _contents(manifest),
            _protocol(recipe),
            _tracks(recipe, manifest),
            _pitfalls(recipe),
            _licence(recipe),
        ]
    )


def _metadata(recipe: Recipe, manifest: Manifest) -> str:
    configs = "".join(
        _CONFIG.format(
            name=name, default="\n    default: true" if name == tables.INTERACTIONS else ""
        )
        for name in manifest.tables
    )
    return (
        "---\n"
        f"pretty_name: {_quoted(recipe.title)}\n"
        "license: other\n"
        f"license_name: {_quoted(recipe.licence.name)}\n"
        f"license_link: {recipe.licence.url}\n"
        "language: en\n"
        "tags: [recommendation, benchmark, llm4rec-bench]\n"
        f"configs:\n{configs}"
        "---\n\n"
        "<!-- Generated from task.toml and manifest.json by `llm4rec-bench freeze`. -->\n"
    )


def _quoted(text: str) -> str:
    """`text` as a double-quoted YAML scalar, which JSON's strings are too."""
    return msgspec.json.encode(text).decode()


def _how_to_use(recipe: Recipe) -> str:
    return (
        "## Use\n\n"
        "```bash\n"
        f"llm4rec-bench download {recipe.id}\n"
        "```\n\n"
        "```python\n"
        "from llm4rec_bench import load_task\n\n"
        f'task = load_task("{recipe.id}")\n'
        'task.requests("test")[0]\n'
        "```\n"
    )


def _contents(manifest: Manifest) -> str:
    rows = [
        f"| `{name}` | {entry.rows:,} | {_columns(name)} |"
        for name, entry in manifest.tables.items()
    ]
    counted = [f"* {name.replace('_', ' ')}: {count:,}" for name, count in manifest.counts.items()]
    return (
        "## Contents\n\n"
        "| table | rows | columns |\n|---|---:|---|\n" + "\n".join(rows) + "\n\n"
        "All ids are strings, as in the source. `timestamp` is in seconds since 1970, UTC. `split` "
        "is `validation` or `test`; a request_id is one of its split. `part` is `train`, visible "
        "always, or `validation`, visible only when testing; test events are in no table but "
        "`targets`. `history` is the user's items before the request, oldest first. Candidates "
        "have one row for each `permutation`: run r of a method sees permutation r mod 3, a single "
        "run permutation 0. Items are in hash order, which carries no information; interactions "
        "are in time order.\n\n"
        "Counted while freezing:\n\n" + "\n".join(counted) + "\n"
    )


def _columns(table: str) -> str:
    kinds = [(field.name, str(field.type)) for field in tables.schema(table)]
    return ", ".join(f"{name} ({_TYPES.get(kind, kind)})" for name, kind in kinds)


_TYPES = {"float": "float32", "list<item: string>": "list of strings"}
"""Arrow types whose own names say too little or too much."""


def _protocol(recipe: Recipe) -> str:
    if isinstance(recipe.split, LeaveOneOut):
        rule = (
            "Leave-one-out: each user's last event is the test target, the one before it the "
            "validation target. A method is fitted on `train` when validating and on `train` and "
            "`validation` when testing; the test request's history includes the validation event."
        )
    else:
        rule = (
            "Global time: everything before one moment is visible, each user's first event after "
            "it is asked for. The catalogue is what was seen before that moment."
        )
    return (
        f"## Protocol\n\n{rule}\n\n"
        "Simultaneous events of a user are ordered by SHA-256 of salt, user and item; targets "
        "that share their timestamp with another event of the user are marked `tied`. Only the "
        "first event of a user with an item counts. Items in the history are never candidates.\n"
    )


def _tracks(recipe: Recipe, manifest: Manifest) -> str:
    lines = []
    for name, track in recipe.tracks.items():
        if track.negatives is None:
            pool = "the whole catalogue less the history"
        else:
            drawn = {
                "uniform": "unseen items drawn uniformly",
                "popularity": "unseen items drawn in proportion to one plus their visible events",
            }[track.negatives.draw]
            pool = (
                f"the target and {track.negatives.size - 1} {drawn}, in three frozen orders (a "
                "sampled metric: comparable only inside this task version)"
            )
        metrics = ", ".join(track.metrics)
        lines.append(f"* `{name}`: ranks {pool}. Metrics: {metrics}. `{manifest.tracks[name]}`")
    rule = (
        "A run on one track may use the requests and candidates of that track and split, the "
        "interactions visible to it, the items and the descriptions. `targets`, and the candidates "
        "of other tracks, are not inputs: pools drawn for the same request share its target.\n"
    )
    return "## Tracks\n\n" + "\n".join(lines) + f"\n\n{rule}"


def _pitfalls(recipe: Recipe) -> str:
    return f"## What the numbers can and cannot show\n\n{recipe.pitfalls.strip()}\n"


def _licence(recipe: Recipe) -> str:
    may = (
        "These terms allow the frozen tables to be published again."
        if recipe.licence.redistribute
        else "These terms forbid redistribution: the project holds the recipe and digests only, "
        "and `download` rebuilds the tables from the publisher's file or your own copy."
    )
    notice = f"\n\n{recipe.licence.notice.strip()}" if recipe.licence.notice else ""
    return f"## Licence\n\n[{recipe.licence.name}]({recipe.licence.url}). {may}{notice}\n"
