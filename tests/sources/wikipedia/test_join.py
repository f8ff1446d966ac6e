"""Films joined to pages: each rule by an invented example, and the figures on the real files."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec_bench import TaskDataError
from llm4rec_bench.sources import RawCopy
from llm4rec_bench.sources.layouts import LAYOUTS
from llm4rec_bench.sources.wikipedia import compilation as compiled
from llm4rec_bench.sources.wikipedia import describe
from llm4rec_bench.sources.wikipedia.compilation import page_name
from llm4rec_bench.sources.wikipedia.join import join
from llm4rec_bench.sources.wikipedia.names import normalised, stem
from llm4rec_bench.task import tables
from tests.conftest import ROOT, kept_raw_copies

ITEM = {"item_id": pa.string(), "title": pa.string(), "year": pa.int32()}


def items_of(*rows: tuple[str, str, int | None]) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(ITEM, row, strict=True)) for row in rows], schema=pa.schema(ITEM)
    )


def pages_of(*rows: tuple[str, str, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(compiled.PAGES.names, (*row, f"About {row[0]}."), strict=True)) for row in rows],
        schema=compiled.PAGES,
    )


def tier_of(title: str, year: int | None, page: str, page_title: str, page_year: int) -> str | None:
    match = join(items_of(("1", title, year)), pages_of((page, page_title, page_year)), {})
    return match["1"].tier if match else None


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Été à Québec", "ete a quebec"),
        ("Otter's Day", "otters day"),
        ("Otter’s Day", "otters day"),
        ("Salt & Pepper", "salt and pepper"),
        ("O.T.T.E.R.: Part-Two", "o t t e r part two"),
        ("Køge Straße", "koge strasse"),
        ("...", ""),
    ],
)
def test_spellings_of_a_title_are_one(title: str, expected: str) -> None:
    assert normalised(title) == expected


@pytest.mark.parametrize(
    ("title", "page_title"),
    [
        ("Otter, The", "The Otter"),
        ("Loutre, La", "La Loutre"),
        ("Eau, L'", "L'Eau"),
        ("Fischotter, Der", "Der Fischotter"),
        ("Lontre, Le", "Le Lontre"),
        ("Nutrias, Las", "Las Nutrias"),
        ("Lontra, A", "A Lontra"),
        ("Odder, Den", "Den Odder"),
        ("Otter, Het", "Het Otter"),
        ("Lontra, Um", "Um Lontra"),
    ],
)
def test_an_article_behind_a_title_is_put_before_it(title: str, page_title: str) -> None:
    assert tier_of(title, 1990, "Page", page_title, 1990) == "title and year"


@pytest.mark.parametrize(
    ("title", "year", "page", "page_title", "page_year", "tier"),
    [
        ("Long Rain", 1990, "Long_Rain_(film)", "Long Rain", 1990, "title and year"),
        ("Long Rain", 1990, "Long_Rain_(1990_film)", "Rain, Long", 1990, "title and year"),
        ("Long Rain", 1990, "Long_Rain_(1990_film)", "Long Rain", 1994, "title and year"),
        ("Rain (First Drop)", 1990, "Rain", "Rain (First Drop)", 1990, "title and year"),
        ("Wet (a.k.a. Long Rain)", 1990, "Long_Rain", "Long Rain", 1990, "other title and year"),
        ("Wet (Long Rain, The)", 1990, "X", "The Long Rain", 1990, "other title and year"),
        ("(12) Drops of Rain", 1990, "X", "(12) Drops of Rain", 1990, "title and year"),
        ("Long Rain", 1990, "Long_Rain", "Long Rain", 1991, "title and year ±1"),
        ("Long Rain", 1990, "Long_Rain", "Long Rain", 1989, "title and year ±1"),
        ("Long Rain", 1990, "Long_Rain", "Long Rain", 1992, None),
        ("Long Rain", None, "Long_Rain", "Long Rain", 1990, None),
        ("Rain: Vol. 2", 1990, "X", "Rain: Volume II", 1990, "similar title and year"),
        ("Twelve Otters", 1990, "X", "12 Otters", 1990, "similar title and year"),
        ("RainDay", 1990, "X", "Rain Day", 1990, "similar title and year"),
        ("RainDay", 1990, "X", "Rain Day", 1991, None),
        ("Ann Ott's Long Rain", 1990, "X", "Long Rain", 1990, "part of title and year"),
        ("Long Rain", 1990, "X", "Long Rain: A Fable", 1990, "part of title and year"),
        ("Wet: Long Rain", 1990, "X", "Long Rain", 1990, "part of title and year"),
        ("Wet: Long Rain", 1990, "X", "Wet II: Long Rain", 1990, "part of title and year"),
        ("Wet: Long Rain", 1990, "X", "Long Rain", 1991, "part of title and year ±1"),
        ("Wet: Rain", 1990, "X", "Rain", 1990, None),
        ("Wet: The Long Film", 1990, "X", "Dry: The Long Film", 1990, None),
        ("...", 1990, "X", "???", 1990, None),
    ],
)
def test_each_kind_of_evidence_has_its_name(
    title: str, year: int | None, page: str, page_title: str, page_year: int, tier: str | None
) -> None:
    assert tier_of(title, year, page, page_title, page_year) == tier


def test_a_link_goes_before_titles() -> None:
    items = items_of(("1", "Long Rain", 1990), ("2", "Ame", 1990))
    pages = pages_of(("Long_Rain", "Long Rain", 1990), ("Rain", "Rain", 1990))
    assert join(items, pages, {"2": "Long_Rain"}) == {"2": ("Long_Rain", "IMDb link")}
    assert join(items, pages, {"2": "Elsewhere"}) == {"1": ("Long_Rain", "title and year")}


def test_a_link_decides_between_two_films_of_one_name() -> None:
    items = items_of(("1", "Long Rain", 1990))
    pages = pages_of(("Rain_(film)", "Long Rain", 1990), ("Rain_(serial)", "Long Rain", 1990))
    assert join(items, pages, {}) == {}
    assert join(items, pages, {"1": "Rain_(serial)"})["1"].page == "Rain_(serial)"


def test_two_items_linked_to_one_page_are_told_apart_by_their_titles() -> None:
    items = items_of(("1", "Long Rain", 1990), ("2", "Dry Spell", 1990))
    pages = pages_of(("Dry_Spell", "Dry Spell", 1990))
    match = join(items, pages, {"1": "Dry_Spell", "2": "Dry_Spell"})
    assert match == {"2": ("Dry_Spell", "title and year")}


def test_a_link_elsewhere_overrules_the_weakest_evidence() -> None:
    items = items_of(("1", "Wet: Long Rain", 1990))
    for year, tier in ((1990, "part of title and year"), (1991, "part of title and year ±1")):
        pages = pages_of(("Long_Rain", "Long Rain", year))
        assert join(items, pages, {})["1"].tier == tier
        assert join(items, pages, {"1": "Wet:_Long_Rain"}) == {}


def test_a_page_that_two_items_could_have_goes_to_neither() -> None:
    items = items_of(("1", "Long Rain", 1989), ("2", "Long Rain", 1991))
    assert join(items, pages_of(("Long_Rain", "Long Rain", 1990)), {}) == {}


def test_an_item_that_two_pages_fit_gets_neither() -> None:
    pages = pages_of(("Rain_(1989_film)", "Rain", 1989), ("Rain_(1991_film)", "Rain", 1991))
    assert join(items_of(("1", "Rain", 1990)), pages, {}) == {}


def test_better_evidence_wins_whatever_the_ids() -> None:
    items = items_of(("1", "Ame (Long Rain)", 1990), ("2", "Long Rain", 1990))
    match = join(items, pages_of(("Long_Rain", "Long Rain", 1990)), {})
    assert match == {"2": ("Long_Rain", "title and year")}


def test_a_film_listed_twice_gets_its_page_once_at_its_first_number() -> None:
    items = items_of(("10", "Long Rain", 1990), ("9", "Long Rain", 1990))
    pages = pages_of(("Long_Rain", "Long Rain", 1990))
    assert join(items, pages, {}) == {"9": ("Long_Rain", "title and year")}
    assert join(items, pages, {"10": "Long_Rain"}) == {"10": ("Long_Rain", "IMDb link")}


def test_descriptions_say_where_they_are_from() -> None:
    items = items_of(("2", "Why? 50% / Été", 1990), ("10", "Long Rain", 1990))
    pages = pages_of(("Why?_50%_/_Été_(film)", "Why? 50% / Été", 1990), ("Rain", "Long Rain", 1990))
    found = describe(items, pages)
    assert found.schema == tables.SCHEMAS[tables.DESCRIPTIONS]
    assert found["item_id"].to_pylist() == ["10", "2"]
    assert found.to_pylist()[1] == {
        "item_id": "2",
        "text": "About Why?_50%_/_Été_(film).",
        "source": "Wikipedia",
        "url": "https://en.wikipedia.org/wiki/Why%3F_50%25_/_%C3%89t%C3%A9_(film)",
        "licence": "CC BY-SA 4.0",
        "match": "title and year",
    }
    assert describe(items, pages.slice(0, 0)).schema == found.schema


TITLES = st.sampled_from(
    ["Rain", "Rain, The", "The Rain", "Wet (Rain)", "Wet: The Rain II", "Ann's Old Rain", "Wet", ""]
)
YEARS = st.integers(1990, 1993)
CATALOGUES = st.lists(st.tuples(TITLES, st.none() | YEARS), max_size=12).map(
    lambda films: [(str(n), title, year) for n, (title, year) in enumerate(films, 7)]
)
PAGE_LISTS = st.lists(
    st.tuples(
        st.sampled_from(["Rain", "Rain_(film)", "Wet", "Wet_(1991_film)", "P"]), TITLES, YEARS
    ),
    max_size=5,
    unique_by=lambda row: row[0],
)
LINKS = st.dictionaries(st.sampled_from([*map(str, range(7, 19))]), st.sampled_from(["Rain", "Q"]))


@given(CATALOGUES, PAGE_LISTS, LINKS, st.randoms(use_true_random=False))
def test_no_page_is_given_twice_and_order_does_not_matter(rows, pages, links, random) -> None:
    found = describe(items_of(*rows), pages_of(*pages), links)
    urls = found["url"].to_pylist()
    assert len(set(urls)) == len(urls)
    assert found["item_id"].to_pylist() == sorted(set(found["item_id"].to_pylist()))
    random.shuffle(rows)
    random.shuffle(pages)
    assert describe(items_of(*rows), pages_of(*pages), links).equals(found)


def test_enormous_titles_take_no_longer_than_their_length() -> None:
    hostile = ["(" * 10**5, " " * 10**5 + "(" + " " * 10**5 + ")", "a" * 10**5, "a's " * 10**5]
    rows = [(str(n), title, 1990) for n, title in enumerate([*hostile, ": " * 10**5, " i" * 10**5])]
    assert join(items_of(*rows), pages_of(("Rain", "Rain", 1990)), {}) == {}


# The compilation's files.


def film(title: str, year: int, href: str | None, extract: str | None) -> dict[str, object]:
    return {"title": title, "year": year, "href": href, "extract": extract, "cast": ["Ann Ott"]}


@pytest.fixture
def compilation(tmp_path: Path):
    """Writes a compilation with these films in the 1990s, or these bytes, and none else."""

    def write(content: object) -> RawCopy:
        for name in compiled.PAGES_FILES:
            (tmp_path / name).write_bytes(b"[]")
        data = content if isinstance(content, bytes) else msgspec.json.encode(content)
        (tmp_path / "movies-1990s.json").write_bytes(data)
        return RawCopy(tmp_path)

    return write


def test_pages_are_read_in_the_order_of_their_names(compilation) -> None:
    films = [
        film("Wet", 1991, "Wet_%281991_film%29", "Wet is\n a 1991  film.\x00"),
        film("Rain", 1990, "Ann%27s_Rain", "Ann's Rain is a 1990 film."),
        film("No page", 1990, None, None),
        film("No text", 1990, "No_text", " \n"),
    ]
    assert compiled.read_pages(compilation(films)).to_pylist() == [
        {
            "page": "Ann's_Rain",
            "title": "Rain",
            "year": 1990,
            "text": "Ann's Rain is a 1990 film.",
        },
        {"page": "Wet_(1991_film)", "title": "Wet", "year": 1991, "text": "Wet is a 1991 film."},
    ]


def pages_read(copy: RawCopy) -> list[tuple[str, str, int]]:
    rows = compiled.read_pages(copy).to_pylist()
    return [(row["page"], row["title"], row["year"]) for row in rows]


def test_a_page_is_of_the_film_it_tells_the_year_of(compilation) -> None:
    text = "Rain is a 1990 film."
    films = [film("Rain 3D", 1999, "Rain", text), film("Rain", 1990, "Rain", text)]
    assert pages_read(compilation(films)) == [("Rain", "Rain", 1990)]
    assert pages_read(compilation(films[::-1])) == [("Rain", "Rain", 1990)]


def test_the_year_in_a_pages_name_goes_before_that_in_its_text(compilation) -> None:
    text = "Begun in 1989, Rain came out in 1991."
    films = [film("Rain", year, "Rain_(1991_film)", text) for year in (1989, 1990, 1991)]
    assert pages_read(compilation(films)) == [("Rain_(1991_film)", "Rain", 1991)]


def test_a_text_of_other_years_is_not_of_the_film(compilation) -> None:
    films = [
        film("Rain", 1990, "Rain", "Rain is a 1923 novel by Ann Ott."),
        film("Wet", 1992, "Wet", "Wet, shot in 1990, is after a 1923 novel."),
        film("Dry", 1990, "Dry", "Dry is a film."),
    ]
    assert [page for page, _, _ in pages_read(compilation(films))] == ["Dry", "Wet"]


def test_a_text_under_several_names_stays_with_the_one_it_begins_with(compilation) -> None:
    text = "Wet Otters is a 1991 film."
    films = [
        film("Ottery", 1991, "Ottery_(film)", text),
        film("Wet Otters", 1991, "Wet_Otters", text),
        film("Wet Otters", 1990, "Wet_Otters_(1990_film)", text),
        *(film(name, 1990, name, "A list of episodes of 1990.") for name in ("One", "Two")),
    ]
    assert pages_read(compilation(films)) == [("Wet_Otters", "Wet Otters", 1991)]


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("Ann%27s_Rain", "Ann's_Rain"),
        ("Ann's Rain_", "Ann's_Rain"),
        ("99%25_Rain", "99%_Rain"),
        ("Rain#Film", None),
        ("Rain%0AX-Header:_1", None),
        ("Rain\x1b[31m", None),
        ("Rain\u202egnp", None),
        ("Rain%FF", None),
        ("<script>", None),
        ("é" * 128, None),
        ("é" * 127, "é" * 127),
        ("_", None),
        ("", None),
    ],
)
def test_only_what_wikipedia_could_call_a_page_is_one(href: str, name: str | None) -> None:
    assert page_name(href) == name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[{", "truncated"),
        (b'\xff"', "malformed"),
        (b'{"title": "Rain"}', "Expected `array`"),
        ([{"title": 7, "year": 1990}], r"\$\[0\]\.title"),
        ([{"title": "Rain"}], "missing required field `year`"),
        ([{"title": "Rain", "year": "1990"}], r"\$\[0\]\.year"),
        ([{"title": "Rain", "year": 10**12}], r"\$\[0\]\.year"),
        ([{"title": "Rain", "year": 1990, "href": ["Rain"]}], r"\$\[0\]\.href"),
        ([{"title": "Rain", "year": 1990, "extract": 5}], r"\$\[0\]\.extract"),
        (b"[" * 100_000, ""),
        (b'[{"title": "\\ud800", "year": 1990}]', ""),
    ],
)
def test_a_broken_file_is_named_with_its_fault(compilation, content: object, said: str) -> None:
    with pytest.raises(TaskDataError, match=rf"movies-1990s\.json: .*{said}"):
        compiled.read_pages(compilation(content))


def test_a_missing_decade_is_named(compilation, tmp_path: Path) -> None:
    compilation([])
    (tmp_path / "movies-1940s.json").unlink()
    with pytest.raises(TaskDataError, match=r"holds no file called movies-1940s\.json"):
        compiled.read_pages(RawCopy(tmp_path))


# The links' file.

LINK_ROWS = """id;title;genre;uri;method;tc;yc;gc;updated
007;Rain (1990);Drama;http://dbpedia.org/resource/Ann%27s_Rain;perfect;1.0;1.0;1.0;2015
8;"Wet &amp; Dry (1990)";Drama;http://dbpedia.org/resource/Wet/Dry;perfect;1.0;1.0;1.0;2015
9;Dry (1990);Drama;http://dbpedia.org/resource/Dry;pattern;1.0;1.0;1.0;2015
10;Fog (1990);Drama;;;0.0;0.0;0.0;2015
11;Bad (1990);Drama;http://dbpedia.org/resource/Bad%0A;perfect;1.0;1.0;1.0;2015
"""


def test_only_the_surest_links_are_read(tmp_path: Path) -> None:
    (tmp_path / "mappings.csv").write_text(LINK_ROWS, "utf-8")
    assert compiled.read_links(RawCopy(tmp_path)) == {"7": "Ann's_Rain", "8": "Wet/Dry"}


@pytest.mark.parametrize(
    "content", [b"", b"id;title\n1;Rain\n", b"id;uri;method\n1;2\n", b"\xff;\n"]
)
def test_a_broken_file_of_links_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mappings.csv").write_bytes(content)
    with pytest.raises(TaskDataError, match=r"mappings\.csv"):
        compiled.read_links(RawCopy(tmp_path))


# The real files.

SHARED = ROOT.parent / "shared" / "data"
LATEST = SHARED / "ml-latest-small-2018-09" / "ml-latest-small"
TWEETS = SHARED / "movietweetings-100k"


@pytest.fixture(scope="module")
def published() -> tuple[pa.Table, dict[str, str]]:
    """The published pages and links; skips where they are not at hand."""
    if not SHARED.is_dir():
        pytest.skip("the published files are not beside this checkout, in shared/data")
    return (
        compiled.read_pages(RawCopy(SHARED / "wikipedia-movie-data")),
        compiled.read_links(RawCopy(SHARED / "links" / "MovieTweetingsMappings")),
    )


def films_of(titles: Mapping[str, str]) -> pa.Table:
    dated = {item: re.fullmatch(r"(.*?)\s*\((\d{4})\)\s*", title) for item, title in titles.items()}
    return items_of(
        *(
            (item, match[1], int(match[2])) if match else (item, titles[item], None)
            for item, match in dated.items()
        )
    )


def latest_small() -> tuple[pa.Table, Counter[str], dict[str, str]]:
    """Catalogue, ratings an item, and IMDb numbers."""
    with (LATEST / "movies.csv").open(encoding="utf-8", newline="") as file:
        titles = {row["movieId"]: row["title"] for row in csv.DictReader(file)}
    with (LATEST / "ratings.csv").open(encoding="utf-8", newline="") as file:
        ratings = Counter(row["movieId"] for row in csv.DictReader(file))
    with (LATEST / "links.csv").open(encoding="utf-8", newline="") as file:
        numbers = {row["movieId"]: row["imdbId"].lstrip("0") for row in csv.DictReader(file)}
    return films_of(titles), ratings, numbers


def tweets() -> tuple[pa.Table, Counter[str], dict[str, str]]:
    rows = (TWEETS / "movies.dat").read_text("utf-8").splitlines()
    titles = {row.split("::")[0]: row.split("::")[1] for row in rows}
    ratings = Counter(
        row.split("::")[1] for row in (TWEETS / "ratings.dat").read_text("utf-8").splitlines()
    )
    return films_of(titles), ratings, {item: item.lstrip("0") for item in titles}


def test_the_published_files_hold_what_they_held(published) -> None:
    pages, links = published
    assert (len(pages), len(links)) == (34_128, 15_041)


@pytest.mark.parametrize(
    ("read", "linked", "joined", "rated"),
    [
        (latest_small, False, 6_409, 89_536),
        (latest_small, True, 6_430, 89_500),
        (tweets, False, 5_004, 83_288),
        (tweets, True, 5_076, 84_322),
    ],
)
def test_coverage_of_published_catalogues(published, read, linked, joined, rated) -> None:
    pages, links = published
    items, ratings, numbers = read()
    given = {item: links[n] for item, n in numbers.items() if n in links} if linked else {}
    found = describe(items, pages, given)["item_id"].to_pylist()
    assert (len(found), sum(ratings[item] for item in found)) == (joined, rated)


@pytest.mark.movielens
def test_coverage_of_movielens_100k(published) -> None:
    kept = kept_raw_copies()
    if not kept:
        pytest.skip("the store holds no raw copy of MovieLens 100K")
    copy = RawCopy(kept[0])
    layouts = LAYOUTS["movielens-100k"].items()
    raw = next(read(copy) for names, read in layouts if all(map(copy.find, names)))
    found = describe(raw.items, published[0])["item_id"].to_pylist()
    ratings = Counter(raw.log["item_id"].to_pylist())
    assert (len(found), sum(ratings[item] for item in found)) == (1_214, 88_941)


def test_the_join_without_links_agrees_with_the_map_that_others_made(published) -> None:
    """The precision that dataset cards state: same page, same page under a later name, another."""
    pages, links = published
    agreed: Counter[str] = Counter()
    for read in (latest_small, tweets):
        items, _, numbers = read()
        for item, match in join(items, pages, {}).items():
            linked = links.get(numbers.get(item, ""))
            if linked is None:
                continue
            renamed = normalised(stem(linked)) == normalised(stem(match.page))
            agreed["same" if linked == match.page else "renamed" if renamed else "other"] += 1
    assert agreed == {"same": 9_028, "renamed": 799, "other": 28}
