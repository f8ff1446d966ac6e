"""MovieLens 100K from the raw ratings up, computed a second time without the package's code."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import tomllib
import zipfile
from collections import Counter, defaultdict
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from llm4rec_bench.download import download
from llm4rec_bench.freeze import freeze, manifest_of
from llm4rec_bench.sources import RawCopy, RawData, missing_texts, raw_data
from llm4rec_bench.store import default_home
from llm4rec_bench.submission import run_files
from llm4rec_bench.task import Manifest
from tests.conftest import ROOT, kept_raw_copies

pytestmark = pytest.mark.movielens

SALT = tomllib.loads((ROOT / "tasks/ml-100k-v1/task.toml").read_text("utf-8"))["salt"]
U_DATA_SHA256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"


@pytest.fixture(scope="module")
def raw_copy(movielens) -> Path:
    """The raw copy that the task was made of."""
    kept = kept_raw_copies()
    if not kept:
        pytest.skip("the store holds the frozen task but no raw copy of it")
    return kept[0]


@pytest.fixture(scope="module")
def ratings(raw_copy) -> list[tuple[str, str, int, int]]:
    """(user, item, rating, time) from whichever layout the raw copy has."""
    with zipfile.ZipFile(raw_copy) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(("/u.data", "/ml-100k.inter"))]
        rows = list(csv.reader(io.StringIO(archive.read(name).decode()), delimiter="\t"))
    rows = rows[1:] if rows[0][0].startswith("user_id") else rows
    return [(user, item, int(stars), int(float(when))) for user, item, stars, when in rows]


@pytest.fixture(scope="module")
def last_events(ratings) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Each user's last item, ties by SHA-256, and all the others."""
    by_user = defaultdict(list)
    for user, item, _, when in ratings:
        by_user[user].append((when, sha256(f"{SALT}\0{user}\0{item}".encode()).digest(), item))
    targets = {user: max(events)[2] for user, events in by_user.items()}
    seen = {
        user: {item for *_, item in events} - {targets[user]} for user, events in by_user.items()
    }
    return targets, seen


def test_the_raw_rows_are_the_publishers(ratings) -> None:
    rows = "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in ratings)
    assert sha256(rows.encode()).hexdigest() == U_DATA_SHA256


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in sorted((ROOT / "submissions").glob("*/"))
        for path in run_files(folder)
        if path.name.startswith("ml-100k-v1.")
    ],
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_scores_agree_with_an_independent_computation(path: Path, last_events) -> None:
    targets, seen = last_events
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header, *rows = map(json.loads, file)
    recall, ndcg = Counter(), Counter()
    for row in rows:
        user, items = row["request_id"], row["items"]
        assert not seen[user] & set(items)
        if targets[user] in items[:10]:
            place = items.index(targets[user]) + 1
            recall[row.get("run", 0)] += 1
            ndcg[row.get("run", 0)] += 1 / math.log2(place + 1)
    runs = max(row.get("run", 0) for row in rows) + 1
    assert len(rows) == runs * len(targets) == runs * 943
    saved = json.loads((path.parent / "scores.json").read_text("utf-8"))["scores"]
    (score,) = [s for s in saved if (s["task"], s["track"]) == (header["task"], header["track"])]
    for name, sums in (("recall@10", recall), ("ndcg@10", ndcg)):
        expected = sum(sums.values()) / runs / 943
        assert score["metrics"][name]["value"] == pytest.approx(expected, abs=1e-9)


def test_the_task_is_what_the_raw_rows_say(movielens, last_events) -> None:
    targets, seen = last_events
    requests = movielens.requests("test")
    assert {request.request_id: set(request.history) for request in requests} == seen
    rows = movielens.targets("test").items[:, 0]
    asked = [movielens.items.ids[row] for row in rows]
    assert dict(zip(requests.ids, asked, strict=True)) == targets
    assert int(movielens.targets("test").tied.sum()) == 415  # counted independently


@pytest.fixture(scope="module")
def texts(movielens) -> list[Path]:
    """The folder with the files that descriptions are made of, where it is at hand."""
    name = "wikipedia-movie-data"
    places = [default_home() / "raw" / name, ROOT.parent / "shared" / "data" / name]
    rule = movielens.recipe.descriptions
    return [
        place for place in places if place.is_dir() and not missing_texts(rule, RawCopy(place))
    ][:1]


OF_TEXTS = {
    "descriptions", "described_items", "descriptions_without_sentences_of_the_future",
    "items_described", "events_on_described_items", "test_targets_described",
    "words_in_a_description_mean",
}  # fmt: skip
"""What a manifest says of descriptions."""


def comparable(manifest: Manifest, texts: list[Path]) -> Manifest:
    """A manifest; without what it says of descriptions where these cannot be made."""
    if texts:
        return manifest
    parts = ("tables", "counts", "facts")
    less = {
        part: {name: of for name, of in getattr(manifest, part).items() if name not in OF_TEXTS}
        for part in parts
    }
    return msgspec.structs.replace(manifest, **less)


def test_the_committed_manifest_has_descriptions_and_every_track(movielens) -> None:
    manifest = movielens.manifest
    assert OF_TEXTS & {*manifest.tables, *manifest.counts, *manifest.facts} == OF_TEXTS
    assert list(manifest.tracks) == ["retrieval", "ranking", "ranking-popular", "reranking"]
    assert manifest.counts["requests_test"] == manifest.counts["requests_validation"] == 943
    assert manifest.tables["candidates-reranking"].rows == 2 * 943
    assert manifest.facts["test_targets_without_visible_event"] == pytest.approx(4 / 943)


@pytest.mark.parametrize("described", [False, True])
def test_shuffled_rows_freeze_to_the_committed_manifest(
    movielens, raw_copy, texts, described: bool
) -> None:
    import numpy as np
    import pyarrow as pa

    if described and not texts:
        pytest.skip("the files that descriptions are made of are not at hand")
    texts = texts if described else []
    raw = raw_data(movielens.recipe, raw_copy, *texts)
    parts = (raw.log, raw.items, raw.descriptions) if described else (raw.log, raw.items)
    shuffled = [
        table.take(pa.array(np.random.default_rng(seed).permutation(table.num_rows)))
        for seed, table in enumerate(parts, 7)
    ]
    frozen, counts = freeze(movielens.recipe, RawData(*shuffled))
    found = manifest_of(movielens.recipe, frozen, counts)
    assert comparable(found, texts) == comparable(movielens.manifest, texts)


def test_both_publishers_layouts_freeze_to_the_committed_manifest(
    movielens, raw_copy, texts, tmp_path
) -> None:
    """Writes the copy at hand in GroupLens's layout, mangled items restored, and freezes it."""
    with zipfile.ZipFile(raw_copy) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        if "u.item" in names:
            pytest.skip("the raw copy is GroupLens's own")
        events = archive.read(names["ml-100k.inter"]).decode().splitlines()[1:]
        films = archive.read(names["ml-100k.item"]).decode().splitlines()[1:]
    genres = (
        "unknown,Action,Adventure,Animation,Children's,Comedy,Crime,Documentary,Drama,Fantasy,"
        "Film-Noir,Horror,Musical,Mystery,Romance,Sci-Fi,Thriller,War,Western"
    ).split(",")
    lines = []
    for film in films:
        item, title, year, kinds = film.split("\t")
        whole = "unknown" if item == "267" else f"{title} ({year})"
        flags = ["1" if genre in kinds.split() else "0" for genre in genres]
        lines.append("|".join([item, whole, "01-Jan-1995", "", "http://x", *flags]))
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_text("".join(f"{event}\n" for event in events))
    (folder / "u.item").write_bytes("\n".join(lines).encode("latin-1") + b"\n")
    assert any(line.startswith("1412|") and line.count("(V)") for line in lines)
    # A table that is not the committed manifest's is refused.
    for number, copies in enumerate([[folder], [folder, *texts]]):
        brought = download("ml-100k-v1", tmp_path / f"store-{number}", raw=copies)
        assert brought.manifest == movielens.manifest
        assert brought.lacks_descriptions == (len(copies) == 1)


def test_one_edited_rating_is_noticed(movielens, raw_copy, tmp_path) -> None:
    from llm4rec_bench.errors import TaskDataError

    with zipfile.ZipFile(raw_copy) as archive, zipfile.ZipFile(tmp_path / "raw.zip", "w") as copy:
        for name in archive.namelist():
            base = Path(name).name
            if base in {"ml-100k.inter", "ml-100k.item", "u.data", "u.item"}:
                data = archive.read(name)
                if base in {"ml-100k.inter", "u.data"}:
                    data = data.replace(b"\t3\t", b"\t4\t", 1)
                copy.writestr(name, data)
    with pytest.raises(TaskDataError, match="table interactions differs"):
        download("ml-100k-v1", tmp_path / "store", raw=[tmp_path / "raw.zip"])
