"""The dataset card of a frozen task, made from its recipe and manifest."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from llm4rec_bench.pools import LAST, WINDOW
from llm4rec_bench.sources import collections_of
from llm4rec_bench.split import LeaveOneOut
from llm4rec_bench.task import Manifest, Recipe, tables
from llm4rec_bench.task.recipe import Track
from llm4rec_bench.task.source import Origin

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
            _facts(manifest),
            _examples(manifest),
            _protocol(recipe),
            _tracks(recipe, manifest),
            _descriptions(recipe, manifest),
            _pitfalls(recipe),
            _licence(recipe),
            *_citation(recipe),
            _sources(recipe),
        ]
    )


def draft_card(recipe: Recipe) -> str:
    """The same of a recipe that nobody has frozen yet."""
    return "\n".join(
        [
            f"# {recipe.title}\n",
            "**Not frozen yet.** This is a recipe without a manifest: it has no digests, so no run "
            "can be scored on it, until someone who can reach the files freezes it with "
            f"`llm4rec-bench freeze tasks/{recipe.id} --raw FOLDER`.\n",
            f"{recipe.description.strip()}\n",
            _protocol(recipe),
            _pitfalls(recipe),
            _licence(recipe),
            *_citation(recipe),
            _sources(recipe),
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
        f"{_licence_metadata(recipe)}"
        f"{_language(recipe)}"
        "task_categories: [text-ranking]\n"
        f"size_categories: [{_size(manifest)}]\n"
        "tags: [recommendation, recommender-systems, benchmark, llm4rec-bench]\n"
        f"configs:\n{configs}"
        "---\n\n"
        "<!-- Generated from task.toml and manifest.json by `llm4rec-bench freeze`. -->\n"
    )


def _language(recipe: Recipe) -> str:
    """Known of the texts that this package joins, and of nobody else's."""
    return "language: en\n" if recipe.descriptions is not None else ""


_LICENCES = {
    "MIT": "mit",
    "Apache-2.0": "apache-2.0",
    "CC BY 4.0": "cc-by-4.0",
    "CC BY-SA 4.0": "cc-by-sa-4.0",
    "CC0 1.0": "cc0-1.0",
}
"""The Hub's names of licences that it knows."""


def _licence_metadata(recipe: Recipe) -> str:
    name = recipe.licence.name
    texts = ["cc-by-sa-4.0"] if recipe.descriptions is not None else []
    if name in _LICENCES:
        return f"license: [{', '.join(dict.fromkeys([_LICENCES[name], *texts]))}]\n"
    slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
    return (
        f"license: [{', '.join(['other', *texts])}]\n"
        f"license_name: {_quoted(slug)}\n"
        f"license_link: {_quoted(recipe.licence.url)}\n"
    )


_SIZES = {"n<1K": 1_000, "1K<n<10K": 10_000, "10K<n<100K": 100_000, "100K<n<1M": 1_000_000,
          "1M<n<10M": 10_000_000, "10M<n<100M": 100_000_000}  # fmt: skip


def _size(manifest: Manifest) -> str:
    rows = manifest.tables[tables.INTERACTIONS].rows
    return next((name for name, most in _SIZES.items() if rows < most), "100M<n<1B")


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
    counted = [f"* {what}: {count}" for what, count in counted_while_freezing(manifest)]
    return (
        "## Contents\n\n"
        "| table | rows | columns |\n|---|---:|---|\n" + "\n".join(rows) + "\n\n"
        "All ids are strings, as in the source. `timestamp` is in seconds since 1970, UTC, or null "
        "where only the order of events is known. `split` "
        "is `validation` or `test`; a request_id is one of its split. `part` is `train`, visible "
        "always, or `validation`, visible only when testing; test events are in no table but "
        "`targets`. `history` is the user's items before the request, oldest first. Candidates "
        "have one row for each `permutation`: run r of a method sees permutation r mod 3, a single "
        "run permutation 0. Items are in hash order, which carries no information; interactions "
        "are in time order.\n\n"
        "Counted while freezing:\n\n" + "\n".join(counted) + "\n"
    )


def counted_while_freezing(manifest: Manifest) -> list[tuple[str, str]]:
    """What was counted while freezing: its name, and how much it is, or which moment."""
    return [
        (name.replace("_", " "), _moment(count) if name.startswith("cut_") else f"{count:,}")
        for name, count in manifest.counts.items()
    ]


_LAST_MOMENT = 253_402_300_799
"""The last second of the year 9999."""

_SPREADS = {
    "history_length": "items in the history of a test request",
    "events_per_item": "visible events of an item that has any",
}

_SHARES = {
    "density": "cells of users × items that hold an event",
    "events_on_most_popular_percent_of_items": "events on the most popular 1 % of the items",
    "events_on_most_popular_tenth_of_items": "events on the most popular 10 % of the items",
    "items_described": "items with a description",
    "events_on_described_items": "events on items with a description",
    "test_targets_described": "test targets with a description",
    "test_targets_tied": "test targets that share their second with another event of the user",
    "test_targets_without_visible_event": "test targets that no visible event holds",
    "test_targets_with_id_after_that_of_the_last_item": "test targets whose id is the next one "
    "after that of the last item in the history",
    "test_targets_in_reranking_pool": "test targets in their pool for `reranking`, its ceiling",
}


def _facts(manifest: Manifest) -> str:
    rows = [f"| {what} | {value} |" for what, value in in_numbers(manifest)]
    return (
        "## In numbers\n\nVisible events are those of `interactions`.\n\n| | |\n|---|---:|\n"
        + "\n".join(rows)
        + "\n"
    )


def in_numbers(manifest: Manifest) -> list[tuple[str, str]]:
    """What a frozen task amounts to: what is counted or measured, and how much it is."""
    facts, counts = manifest.facts, manifest.counts
    rows = [(name, f"{counts[name]:,}") for name in ("users", "items", "interactions")]
    rows += [
        (f"{name} requests", f"{counts[f'requests_{name}']:,}") for name in ("validation", "test")
    ]
    for name, meaning in _SPREADS.items():
        of = {key.removeprefix(f"{name}_"): value for key, value in facts.items() if name in key}
        rows.append(
            (
                meaning,
                f"{of['least']:,.0f} to {of['most']:,.0f}, median {of['median']:,.1f}, "
                f"mean {of['mean']:,.1f}, 90 % at most {of['90_percent_at_most']:,.0f}",
            )
        )
    rows += [(what, _percent(facts[name])) for name, what in _SHARES.items() if name in facts]
    rows.append(("Gini coefficient of events per item", f"{facts['gini_of_events_per_item']:.3f}"))
    if words := facts.get("words_in_a_description_mean"):
        rows.append(("words in a description, mean", f"{words:,.0f}"))
    return rows


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return f"{100 * share:.2g}%"
    return "99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def _examples(manifest: Manifest) -> str:
    lines = []
    for example in manifest.examples:
        earlier = "… " if example.history_length > len(example.last) else ""
        moment = ""
        if example.seconds_since_last is not None:
            moment = f", {_duration(example.seconds_since_last)} after the last of them"
        tied = ", in the same second as another event" if example.tied else ""
        times = {0: "never", 1: "once"}.get(
            example.target_events, f"{example.target_events:,} times"
        )
        lines.append(
            f"* `{example.request_id}`: {example.history_length} items, "
            f"{earlier}{' '.join(f'`{item}`' for item in example.last)}{moment}; the target is "
            f"`{example.target}`, visible {times}{tied}."
        )
    how = "With titles: `llm4rec-bench tasks " + manifest.task + "`, once the task is downloaded."
    return (
        "## Requests to look at\n\nOf the validation split, by ids. "
        + how
        + "\n\n"
        + ("\n".join(lines) + "\n")
    )


def _duration(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds >= length:
            number = seconds // length
            return f"{number:,} {unit}{'s' * (number > 1)}"
    return "not a second"


def _moment(seconds: int) -> str:
    if not 0 <= seconds <= _LAST_MOMENT:
        return f"{seconds:,}"
    return f"{datetime.fromtimestamp(seconds, UTC):%d %B %Y, %H:%M:%S} UTC ({seconds})"


def _columns(table: str) -> str:
    kinds = [(field.name, str(field.type)) for field in tables.schema(table)]
    return ", ".join(f"{name} ({_TYPES.get(kind, kind)})" for name, kind in kinds)


_TYPES = {"float": "float32", "list<item: string>": "list of strings"}
"""Arrow types whose own names say too little or too much."""


def _protocol(recipe: Recipe) -> str:
    return "## Protocol\n\n" + "\n\n".join(protocol(recipe)) + "\n"


def protocol(recipe: Recipe) -> list[str]:
    """How a task is split, in paragraphs."""
    if isinstance(recipe.split, LeaveOneOut):
        rule = (
            "Leave-one-out: each user's last event is the test target, the one before it the "
            "validation target. A method is fitted on `train` when validating and on `train` and "
            "`validation` when testing; the test request's history includes the validation event."
        )
        if not recipe.split.unseen_targets:
            rule += (
                " Requests whose target no visible event holds are dropped and counted: an item "
                "that is in the catalogue without an event would be known to be a target."
            )
    else:
        rule = (
            "Global time: everything before one moment is visible, each user's first event after "
            "it is asked for, if the user has "
            f"{recipe.split.min_history} visible events or more. The catalogue is what was seen "
            "before that moment; requests whose target is not in it are dropped and counted."
        )
    if recipe.filters.k_core > 1:
        rule += (
            f" Of what comes before, only users and items with {recipe.filters.k_core} events each "
            "are kept, repeated until it is so (a k-core)."
        )
    return [
        rule,
        "Simultaneous events of a user, where events have times, are ordered by SHA-256 of salt, "
        "user and item; targets that share their timestamp with another event of the user are "
        "marked `tied`. Only the "
        "first event of a user with an item counts. Items in the history are never candidates.",
    ]


def _tracks(recipe: Recipe, manifest: Manifest) -> str:
    lines = [
        f"* `{name}`: ranks {pool_of(track)}. Metrics: {', '.join(track.metrics)}. "
        f"`{manifest.tracks[name]}`"
        for name, track in recipe.tracks.items()
    ]
    rule = (
        "A run on one track may use the requests and candidates of that track and split, the "
        "interactions visible to it, the items and the descriptions. `targets`, and the candidates "
        "of other tracks, are not inputs: pools drawn for the same request share its target.\n"
    )
    return "## Tracks\n\n" + "\n".join(lines) + f"\n\n{rule}"


def pool_of(track: Track) -> str:
    """What a track ranks."""
    if track.first_stage is not None:
        return (
            f"the {track.first_stage.size} items that a first stage retrieves from the visible "
            "events, in its order; the target is among them or not (comparable only inside this "
            "task version). The first stage counts which items stand within "
            f"{WINDOW} events of each other, the nearer the more, and adds up the neighbours of "
            f"the last {LAST} items of the history, in whole numbers"
        )
    if track.negatives is None:
        return "the whole catalogue less the history"
    drawn = {
        "uniform": "unseen items drawn uniformly",
        "popularity": "unseen items drawn in proportion to one plus their visible events",
    }[track.negatives.draw]
    return (
        f"the target and {track.negatives.size - 1} {drawn}, in three frozen orders (a "
        "sampled metric: comparable only inside this task version)"
    )


_BY_SA = "https://creativecommons.org/licenses/by-sa/4.0/"

_CHECKED = """
How far the join is right was checked on MovieLens latest-small and MovieTweetings, joined by title
and year alone. Of 9,855 joins that an independent map from IMDb numbers to pages knows, 9,028 lead
to the page of the map, 799 to one of the same name but for its bracket (pages are renamed), and 28
to one of another name; looked at one by one, two of these were wrong, and are ruled out now. The
map was made by titles and years in its turn, so this is the precision where it is easy.
"""

_MIT = """
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def _descriptions(recipe: Recipe, manifest: Manifest) -> str:
    if recipe.descriptions is None:
        return ""
    cut = (
        " Sentences that name a year after the last test request are left out, since they tell "
        "what nobody could know; that is a change to the texts in the sense of their licence. A "
        "text may still tell of what came later without naming a year."
        if "descriptions_without_sentences_of_the_future" in manifest.counts
        else ""
    )
    checked = _CHECKED if recipe.descriptions.texts else ""
    return (
        "## Descriptions\n\n"
        "`descriptions` holds what the English Wikipedia says of an item first, where a page about "
        "it could be told by its IMDb number, or by its title and year: `match` says by which. "
        "Items without a text are part of the task, and the score has a slice of requests whose "
        f"target has one.{cut} The texts are under [CC BY-SA 4.0]({_BY_SA}), each by the authors "
        f"of the page that its `url` leads to.\n{checked}"
    )


_LEAKS = {
    "consecutive-ids": "Ids of items follow the order of events: a method that compares them "
    "knows something of what comes next.",
}
"""What is said of what a task gives away for a reason."""


def _pitfalls(recipe: Recipe) -> str:
    text = "\n\n".join(pitfalls(recipe))
    return f"## What the numbers can and cannot show\n\n{text}\n"


def pitfalls(recipe: Recipe) -> list[str]:
    """What a task's numbers can and cannot show, in paragraphs."""
    told = [recipe.pitfalls.strip(), *(_LEAKS[leak] for leak in recipe.known_leaks)]
    return list(filter(None, told))


def _licence(recipe: Recipe) -> str:
    may = (
        "These terms allow the frozen tables to be published again."
        if recipe.licence.redistribute
        else "The frozen tables may not be published again: the project holds the recipe and "
        "digests only, and `download` rebuilds the tables from the publisher's files or your own "
        "copy."
    )
    notice = f"\n\n{recipe.licence.notice.strip()}" if recipe.licence.notice else ""
    return f"## Licence\n\n[{recipe.licence.name}]({recipe.licence.url}). {may}{notice}\n"


def _citation(recipe: Recipe) -> list[str]:
    """How the publishers of the data want it cited, where the recipe knows."""
    if not recipe.citation:
        return []
    entries = "\n".join(f"{entry.strip()}\n" for entry in recipe.citation)
    return [
        "## Citation\n\nOf the data; "
        f"`llm4rec-bench cite {recipe.id}` adds that of the benchmark.\n\n"
        f"```bibtex\n{entries}```\n"
    ]


def _sources(recipe: Recipe) -> str:
    origins = recipe.source.origin
    lines = [f"* <{origin.url}>{_pinned(origin)}" for origin in origins]
    if mirror := recipe.source.mirror:
        lines.append(
            f"* the same rows in the package `{mirror.package}` {mirror.version}, SHA-256 "
            f"`{mirror.sha256}`"
        )
    if recipe.descriptions is not None:
        lines += [
            f"* descriptions: [{collection.title}]({collection.url}), {collection.licence}. "
            + " ".join(collection.notice.split())
            for collection in collections_of(recipe.descriptions).values()
        ]
        lines.append(
            "\nThe licence of a text and the address of its page stand beside it in "
            "`descriptions`; they are not those of the interactions."
        )
    terms = _mit(recipe)
    return "## Sources\n\n" + "\n".join(lines) + f"\n{terms}" if lines else ""


def _mit(recipe: Recipe) -> str:
    """The permission that must go with everything under this licence."""
    parts = {} if recipe.descriptions is None else collections_of(recipe.descriptions)
    under = [recipe.licence.name, *(part.licence for part in parts.values())]
    if not any("MIT" in name for name in under):
        return ""
    return f"\nWhat is under the MIT licence, with the copyright lines above:\n{_MIT}"


def _pinned(origin: Origin) -> str:
    return f", SHA-256 `{origin.sha256}`" if origin.sha256 else ""
