"""The real tasks from their publishers' files: the committed manifests, and what stands in them.

Splits, filters and coverage are worked out a second time here, in plain Python that knows
nothing of the package.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import tomllib
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from urllib.parse import unquote

import msgspec
import pyarrow as pa
import pytest

from llm4rec_bench.freeze import check_leaks, freeze, manifest_of
from llm4rec_bench.sources import RawData, raw_data
from llm4rec_bench.store import recipes_folder
from llm4rec_bench.task import Manifest, Recipe, Task, read_manifest, read_recipe
from tests.conftest import ROOT, kept_raw_copies

SHARED = ROOT.parent / "shared" / "data"

TWEETINGS, SMALL, SHAKESPEARE, HUNDRED = (
    "movietweetings-v1", "ml-latest-small-v1", "shakespeare-v1", "ml-100k-v1",
)  # fmt: skip

FOLDERS = {
    TWEETINGS: ["movietweetings-100k", "wikipedia-movie-data", "links"],
    SMALL: ["ml-latest-small-2018-09", "wikipedia-movie-data", "links"],
    SHAKESPEARE: ["shakespeare-and-company"],
    HUNDRED: ["wikipedia-movie-data"],
}

OF_HUNDRED = pytest.param(HUNDRED, marks=[pytest.mark.slow, pytest.mark.movielens])
TASKS = [TWEETINGS, SMALL, SHAKESPEARE, OF_HUNDRED]
DESCRIBED = [TWEETINGS, SMALL, OF_HUNDRED]

Event = tuple[str, str, int]
"""User, item, and when."""


def raw_copies(task: str) -> list[Path]:
    """Where the raw data of a task lie; skips where they do not."""
    folders = [SHARED / name for name in FOLDERS[task]]
    for folder in folders:
        if not folder.is_dir():
            pytest.skip(f"the raw data of {task} are not here: no folder {folder.name}")
    if task != HUNDRED:
        return folders
    kept = kept_raw_copies()
    if not kept:
        pytest.skip("the store holds no raw copy of MovieLens 100K")
    return [kept[0], *folders]


@dataclass(frozen=True)
class Real:
    """A task frozen from its raw data."""

    recipe: Recipe
    raw: RawData
    tables: dict[str, pa.Table]
    manifest: Manifest

    @property
    def task(self) -> Task:
        return Task(self.recipe, self.manifest, Path(), self.tables)

    def asked(self, split: str) -> dict[str, dict]:
        rows = self.tables["requests"].to_pylist()
        return {row["request_id"]: row for row in rows if row["split"] == split}

    def targets(self, split: str) -> dict[str, str]:
        rows = [row for row in self.tables["targets"].to_pylist() if row["split"] == split]
        assert all(len(row["items"]) == 1 for row in rows)
        return {row["request_id"]: row["items"][0] for row in rows}

    def tied(self, split: str) -> set[str]:
        rows = self.tables["targets"].to_pylist()
        return {row["request_id"] for row in rows if row["split"] == split and row["tied"]}

    def visible(self) -> dict[str, set[tuple[str, str]]]:
        found: dict[str, set[tuple[str, str]]] = {"train": set(), "validation": set()}
        for row in self.tables["interactions"].to_pylist():
            found[row["part"]].add((row["user_id"], row["item_id"]))
        return found


@cache
def frozen(task: str) -> Real:
    copies = raw_copies(task)
    recipe = read_recipe(recipes_folder() / task)
    raw = raw_data(recipe, *copies)
    tables, counts = freeze(recipe, raw)
    return Real(recipe, raw, tables, manifest_of(recipe, tables, counts))


def committed(task: str) -> Manifest:
    return read_manifest(ROOT / "tasks" / task)


def without_pin(manifest: Manifest) -> dict:
    return msgspec.to_builtins(msgspec.structs.replace(manifest, hub=None))


@pytest.mark.parametrize("task", TASKS)
def test_the_raw_data_freeze_to_the_committed_manifest(task: str) -> None:
    assert without_pin(frozen(task).manifest) == without_pin(committed(task))


def shuffled(table: pa.Table, seed: int) -> pa.Table:
    order = list(range(table.num_rows))
    Random(seed).shuffle(order)
    return table.take(pa.array(order))


@pytest.mark.parametrize(
    "task", [TWEETINGS, pytest.param(SMALL, marks=pytest.mark.slow), OF_HUNDRED]
)
def test_shuffled_rows_freeze_to_the_committed_manifest(task: str) -> None:
    real = frozen(task)
    raw = real.raw
    mixed = RawData(shuffled(raw.log, 3), shuffled(raw.items, 4), shuffled(raw.descriptions, 5))
    tables, counts = freeze(real.recipe, mixed)
    assert without_pin(manifest_of(real.recipe, tables, counts)) == without_pin(committed(task))


FILES = {
    TWEETINGS: [("movietweetings-100k/ratings.dat", 0), ("movietweetings-100k/movies.dat", 0)],
    SMALL: [
        ("ml-latest-small-2018-09/ml-latest-small/ratings.csv", 1),
        ("ml-latest-small-2018-09/ml-latest-small/movies.csv", 1),
        ("ml-latest-small-2018-09/ml-latest-small/links.csv", 1),
    ],
}
"""Files whose lines have no order, and how many stand at the head for ever."""


@pytest.mark.slow
@pytest.mark.parametrize("task", FILES)
def test_files_with_shuffled_lines_freeze_to_the_committed_manifest(task: str, tmp_path) -> None:
    copies = raw_copies(task)
    for name, heads in FILES[task]:
        lines = (SHARED / name).read_bytes().splitlines(keepends=True)
        body = lines[heads:]
        Random(name).shuffle(body)
        (tmp_path / Path(name).name).write_bytes(b"".join([*lines[:heads], *body]))
    recipe = read_recipe(recipes_folder() / task)
    tables, counts = freeze(recipe, raw_data(recipe, tmp_path, *copies[1:]))
    assert without_pin(manifest_of(recipe, tables, counts)) == without_pin(committed(task))


def test_the_order_of_the_loans_is_part_of_shakespeare() -> None:
    real = frozen(SHAKESPEARE)
    assert real.raw.in_row_order
    backwards = real.raw.log.take(pa.array(range(real.raw.log.num_rows - 1, -1, -1)))
    tables, _ = freeze(real.recipe, RawData(backwards, real.raw.items, in_row_order=True))
    assert not tables["targets"].equals(real.tables["targets"])
    # That of the books is not.
    mixed = RawData(real.raw.log, shuffled(real.raw.items, 6), in_row_order=True)
    tables, counts = freeze(real.recipe, mixed)
    expected = without_pin(committed(SHAKESPEARE))
    assert without_pin(manifest_of(real.recipe, tables, counts)) == expected


@pytest.mark.parametrize("task", TASKS)
def test_nothing_that_is_hidden_leaks(task: str) -> None:
    check_leaks(frozen(task).task)


# The same in plain Python


def read_lines(name: str) -> list[str]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {name} here")
    return path.read_text("utf-8").splitlines()


def tweets() -> list[Event]:
    rows = (line.split("::") for line in read_lines("movietweetings-100k/ratings.dat"))
    return [(user, film, int(when)) for user, film, _, when in rows]


def ratings_of_small() -> list[Event]:
    lines = read_lines("ml-latest-small-2018-09/ml-latest-small/ratings.csv")
    rows = csv.DictReader(lines)
    return [(row["userId"], row["movieId"], int(row["timestamp"])) for row in rows]


def loans() -> list[tuple[str, str]]:
    rows = csv.DictReader(read_lines("shakespeare-and-company/interactions.csv"))
    return [(row["member_id"], row["item_id"]) for row in rows]


def salt_of(task: str) -> str:
    return tomllib.loads((ROOT / "tasks" / task / "task.toml").read_text("utf-8"))["salt"]


def by_user(events: Iterable[Event], salt: str) -> dict[str, list[Event]]:
    """Each user's events, oldest first, ties by SHA-256 over salt NUL user NUL item."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event[0]].append(event)

    def key(event: Event) -> tuple[int, bytes]:
        return event[2], sha256(f"{salt}\0{event[0]}\0{event[1]}".encode()).digest()

    return {user: sorted(mine, key=key) for user, mine in found.items()}


def core(events: list[Event], k: int) -> list[Event]:
    """The k-core: users and items with fewer events leave, until none is left to leave."""
    while True:
        users = Counter(event[0] for event in events)
        items = Counter(event[1] for event in events)
        kept = [event for event in events if users[event[0]] >= k and items[event[1]] >= k]
        if len(kept) == len(events):
            return kept
        events = kept


def sizes(events: list[Event]) -> tuple[int, int, int]:
    return len({event[0] for event in events}), len({event[1] for event in events}), len(events)


# MovieTweetings: one moment for everybody


def cut_at(events: list[Event], share: float) -> int:
    return sorted(event[2] for event in events)[int(share * len(events))]


def test_movietweetings_has_the_counts_that_were_counted_independently() -> None:
    events = tweets()
    assert sizes(events)[0] == 16_554
    assert len(read_lines("movietweetings-100k/movies.dat")) == 10_506
    assert len(events) == len({event[:2] for event in events}) == 100_000
    assert sizes(core(events, 5)) == (4_333, 2_414, 68_055)


def test_the_cut_of_movietweetings_leaves_the_users_that_it_should() -> None:
    events = tweets()
    cut = cut_at(events, 0.8)
    last_before = max(event[2] for event in events if event[2] < cut)
    assert last_before == 1375229564
    assert committed(TWEETINGS).counts["cut_test"] == cut
    before = Counter(event[0] for event in events if event[2] < cut)
    after = {event[0] for event in events if event[2] >= cut}
    assert sum(before.values()) == 80_000
    assert sum(before[user] >= 5 for user in after) == 2_367


@dataclass(frozen=True)
class Split:
    """What a split rule makes of a log, worked out by hand."""

    train: set[tuple[str, str]]
    validation: set[tuple[str, str]]
    asked: dict[str, dict[str, tuple[list[str], str, int]]]
    """By split and user: history, target and when."""
    items: set[str]
    dropped: dict[str, int]


@cache
def tweets_by_time() -> Split:
    events = tweets()
    cuts = {"validation": cut_at(events, 0.7), "test": cut_at(events, 0.8)}
    past = [event for event in events if event[2] < cuts["test"]]
    visible = core(past, 5)
    dropped = {"interactions_outside_core": len(past) - len(visible)}
    train = [event for event in visible if event[2] < cuts["validation"]]
    held = [event for event in visible if event[2] >= cuts["validation"]]
    future = [event for event in events if event[2] >= cuts["test"]]
    asked: dict[str, dict[str, tuple[list[str], str, int]]] = {}
    for split, before, after in (("validation", train, held), ("test", visible, future)):
        histories = by_user(before, salt_of(TWEETINGS))
        catalogue = {film for film, n in Counter(event[1] for event in before).items() if n >= 5}
        asked[split], short, outside = {}, 0, 0
        for user, mine in by_user(after, salt_of(TWEETINGS)).items():
            _, film, when = mine[0]
            if len(histories.get(user, [])) < 5:
                short += 1
            elif film not in catalogue:
                outside += 1
            else:
                asked[split][user] = [event[1] for event in histories[user]], film, when
        dropped[f"{split}_requests_with_short_history"] = short
        dropped[f"{split}_targets_outside_catalogue"] = outside
    return Split(
        {event[:2] for event in train}, {event[:2] for event in held}, asked,
        {event[1] for event in visible}, dropped,
    )  # fmt: skip


# MovieLens latest-small and Shakespeare: the last event of everybody


def leave_one_out(users: Mapping[str, list[Event]]) -> Split:
    train = {event[:2] for mine in users.values() for event in mine}
    validation: set[tuple[str, str]] = set()
    few = 0
    last = {}
    for user, mine in users.items():
        if len(mine) < 3:
            few += 1
            continue
        last[user] = mine
        train -= {mine[-1][:2], mine[-2][:2]}
        validation.add(mine[-2][:2])
    dropped = {"users_with_too_few_events": few}
    known = {item for _, item in train}
    asked: dict[str, dict[str, tuple[list[str], str, int]]] = {}
    for split, back in (("validation", 2), ("test", 1)):
        asked[split] = {
            user: ([event[1] for event in mine[:-back]], mine[-back][1], mine[-back][2])
            for user, mine in last.items()
            if mine[-back][1] in known
        }
        dropped[f"{split}_targets_without_visible_event"] = len(last) - len(asked[split])
        known = known | {item for _, item in validation}
    return Split(train, validation, asked, known, dropped)


@cache
def small_by_user() -> Split:
    return leave_one_out(by_user(ratings_of_small(), salt_of(SMALL)))


@cache
def loans_by_member() -> Split:
    first: dict[tuple[str, str], int] = {}
    for place, loan in enumerate(loans()[208:]):
        first.setdefault(loan, place)
    events = [(user, book, place) for (user, book), place in first.items()]
    return leave_one_out(by_user(events, salt_of(SHAKESPEARE)))


BY_HAND: dict[str, Callable[[], Split]] = {
    TWEETINGS: tweets_by_time, SMALL: small_by_user, SHAKESPEARE: loans_by_member,
}  # fmt: skip


@pytest.mark.parametrize("task", BY_HAND)
def test_the_split_is_what_plain_code_makes_of_the_raw_rows(task: str) -> None:
    real, split = frozen(task), BY_HAND[task]()
    assert real.visible() == {"train": split.train, "validation": split.validation}
    assert set(real.tables["items"]["item_id"].to_pylist()) == split.items
    counts = committed(task).counts
    assert counts | split.dropped == counts
    users = {user for user, _ in split.train | split.validation}
    assert (counts["users"], counts["items"]) == (len(users), len(split.items))
    assert counts["interactions"] == len(split.train) + len(split.validation)
    for name in ("validation", "test"):
        asked, expected = real.asked(name), split.asked[name]
        assert len(asked) == len(expected) == counts[f"requests_{name}"]
        history = {user: (row["history"], target) for (user, row), target in
                   zip(asked.items(), real.targets(name).values(), strict=True)}  # fmt: skip
        assert real.targets(name).keys() == asked.keys()
        assert history == {user: found[:2] for user, found in expected.items()}
        when = {user: row["timestamp"] for user, row in asked.items()}
        timed = task != SHAKESPEARE
        assert when == {user: found[2] if timed else None for user, found in expected.items()}
        assert all(row["user_id"] == user for user, row in asked.items())


@pytest.mark.parametrize("task", [TWEETINGS, SMALL])
def test_tied_targets_are_those_that_share_their_second(task: str) -> None:
    events = tweets() if task == TWEETINGS else ratings_of_small()
    at = Counter((user, when) for user, _, when in events)
    real = frozen(task)
    for name, asked in BY_HAND[task]().asked.items():
        expected = {user for user, (*_, when) in asked.items() if at[user, when] > 1}
        assert real.tied(name) == expected
    assert len(real.tied("test")) == committed(task).counts["tied_test_targets"]


def test_movielens_latest_small_has_the_counts_that_are_published() -> None:
    events = ratings_of_small()
    films = read_lines("ml-latest-small-2018-09/ml-latest-small/movies.csv")
    assert (len(events), sizes(events)[0]) == (100_836, 610)
    assert len(list(csv.DictReader(films))) == 9_742
    assert min(Counter(event[0] for event in events).values()) >= 20


def test_shakespeare_drops_the_208_undated_loans_and_later_loans_of_a_book() -> None:
    every = loans()
    counts = committed(SHAKESPEARE).counts
    dated = every[208:]
    assert counts["raw_interactions"] == len(dated) == len(every) - 208
    assert counts["repeated_interactions"] == len(dated) - len(set(dated))
    split = loans_by_member()
    known = split.train | split.validation
    only_undated = {*every[:208]} - {*dated}
    assert only_undated
    assert not only_undated & known
    ids = {user for user, _ in every}
    assert set(frozen(SHAKESPEARE).tables["interactions"]["user_id"].to_pylist()) <= ids


@pytest.mark.slow
@pytest.mark.movielens
def test_movielens_100k_has_the_counts_that_were_counted_independently() -> None:
    wheel, *_ = raw_copies(HUNDRED)
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(("/u.data", "/ml-100k.inter"))]
        rows = list(csv.reader(io.StringIO(archive.read(name).decode()), delimiter="\t"))
    rows = rows[1:] if rows[0][0].startswith("user_id") else rows
    events = [(user, film, int(float(when))) for user, film, _, when in rows]
    assert sizes(events) == (943, 1_682, 100_000)
    assert sizes(core(events, 5)) == (943, 1_349, 99_287)
    at = Counter((user, when) for user, _, when in events)
    last = {user: max(e[2] for e in mine) for user, mine in by_user(events, "").items()}
    assert sum(at[user, when] > 1 for user, when in last.items()) == 415
    assert len(frozen(HUNDRED).tied("test")) == 415


# Ids and titles


@pytest.mark.parametrize("task", TASKS)
def test_ids_are_those_of_the_source_to_the_letter(task: str) -> None:
    real = frozen(task)
    ids = real.tables["items"]["item_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert set(ids) <= set(real.raw.log["item_id"].to_pylist())
    if task == TWEETINGS:
        assert all(len(item) >= 7 and item.isdecimal() for item in ids)
        assert any(item.startswith("0") for item in ids)


def test_titles_and_years_of_movietweetings_are_those_of_its_file() -> None:
    films = dict(line.split("::")[:2] for line in read_lines("movietweetings-100k/movies.dat"))
    for row in frozen(TWEETINGS).tables["items"].to_pylist():
        year = "" if row["year"] is None else f" ({row['year']})"
        assert films[row["item_id"]] == f"{row['title']}{year}"


def test_authors_of_shakespeare_are_names_and_nothing_else() -> None:
    """The Project's notes name members and what they borrowed; they are left out."""
    path = SHARED / "shakespeare-and-company" / "SCoData_books_v1.2_2022-01.csv"
    if not path.exists():
        pytest.skip("no books here")
    with path.open(encoding="utf-8-sig", newline="") as file:
        notes = {row["notes"].strip() for row in csv.DictReader(file)} - {""}
    cells = set()
    for row in frozen(SHAKESPEARE).tables["items"].to_pylist():
        cells |= {row["title"], *row["categories"], *row["creators"]}
    assert len(notes) > 100
    assert not {note for note in notes if len(note) > 20} & cells


# Descriptions


COVERED = {TWEETINGS: (0.48, 0.84), SMALL: (0.65, 0.87), HUNDRED: (0.72, 0.88)}
"""Shares of the raw catalogue and of all raw ratings, at least."""


@pytest.mark.parametrize("task", DESCRIBED)
def test_descriptions_cover_the_raw_catalogue_and_ratings(task: str) -> None:
    raw = frozen(task).raw
    described = set(raw.descriptions["item_id"].to_pylist())
    assert len(described) == raw.descriptions.num_rows
    items, rated = raw.items["item_id"].to_pylist(), raw.log["item_id"].to_pylist()
    if task == TWEETINGS:
        assert (len(items), len(rated)) == (10_506, 100_000)
    assert described <= set(items)
    least = COVERED[task]
    assert len(described) / len(items) >= least[0]
    assert sum(item in described for item in rated) / len(rated) >= least[1]


@pytest.mark.parametrize("task", DESCRIBED)
def test_every_description_links_to_its_page_and_names_its_licence(task: str) -> None:
    real = frozen(task)
    table = real.tables["descriptions"].to_pylist()
    known = pages()
    items = set(real.tables["items"]["item_id"].to_pylist())
    assert len({row["item_id"] for row in table}) == len(table) > 1_000
    for row in table:
        assert row["item_id"] in items
        assert row["licence"] == "CC BY-SA 4.0"
        assert row["source"] == "Wikipedia"
        assert row["url"].startswith("https://en.wikipedia.org/wiki/")
        assert " " not in row["url"]
        assert row["text"].strip() == row["text"] != ""
        assert row["match"]
        words = " ".join(row["text"].split())
        page = unquote(row["url"].partition("/wiki/")[2])
        assert any(words[:40] in text and words[-40:] in text for text in known[page])
    # One page tells of one film.
    assert len({row["url"] for row in table}) == len(table)


@cache
def films_with_texts() -> list[tuple[str | None, str]]:
    """The page and the text of every film of the collection that has a text."""
    return [
        (film.get("href"), " ".join(film["extract"].split()))
        for path in sorted((SHARED / "wikipedia-movie-data").glob("movies-*.json"))
        for film in json.loads(path.read_bytes())
        if film.get("extract")
    ]


@cache
def pages() -> dict[str, list[str]]:
    """The texts of the collection by the name of their page."""
    found: dict[str, list[str]] = defaultdict(list)
    for page, text in films_with_texts():
        if page:
            found[unquote(page)].append(text)
    return found


@pytest.mark.parametrize("task", DESCRIBED)
def test_no_description_tells_of_a_year_after_the_last_request(task: str) -> None:
    real = frozen(task)
    last = max(row["timestamp"] for row in real.asked("test").values())
    year = datetime.datetime.fromtimestamp(last, datetime.UTC).year
    for row in real.tables["descriptions"].to_pylist():
        named = [int(found) for found in re.findall(r"\b(?:1[89]|20)\d\d\b", row["text"])]
        assert max(named, default=0) <= year, row["item_id"]


# What is committed


def test_no_committed_task_but_the_toy_holds_more_than_recipe_manifest_and_card() -> None:
    for folder in (ROOT / "tasks").iterdir():
        if folder.name != "toy-v1":
            names = {path.name for path in folder.rglob("*")}
            assert names <= {"task.toml", "manifest.json", "README.md"}
            assert all(path.stat().st_size < 40_000 for path in folder.rglob("*"))


def test_no_text_of_the_raw_data_is_committed() -> None:
    committed_texts = [
        path.read_text("utf-8") for path in (ROOT / "tasks").glob("*/*")
        if path.is_file() and path.parent.name != "toy-v1"
    ]  # fmt: skip
    whole = " ".join(" ".join(committed_texts).split())
    assert len(whole) > 20_000
    ends = {
        end for _, text in films_with_texts() if len(text) >= 60 for end in (text[:60], text[-60:])
    }
    if not ends:
        pytest.skip("no raw texts here")
    assert len(ends) > 30_000
    assert not ends & {whole[start : start + 60] for start in range(len(whole))}
    titles = [line.split("::")[1] for line in read_lines("movietweetings-100k/movies.dat")]
    for name in ("movies.csv", "tags.csv"):
        lines = read_lines(f"ml-latest-small-2018-09/ml-latest-small/{name}")
        titles += [cell for row in csv.reader(lines) for cell in row]
    path = SHARED / "shakespeare-and-company" / "SCoData_books_v1.2_2022-01.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            titles += [row["title"], row["author"], row["notes"][:60]]
    long = {title for title in titles if len(title) >= 25}
    assert [text for text in sorted(long) if text in whole] == []
