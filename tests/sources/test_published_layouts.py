"""The layouts of three publishers: invented files in them, and what the real ones amount to."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
import pytest

from llm4rec_bench import TaskDataError
from llm4rec_bench.freeze import freeze
from llm4rec_bench.interactions import in_core, in_order
from llm4rec_bench.sources import RawData, raw_data
from llm4rec_bench.split import GlobalTime
from llm4rec_bench.task import Recipe
from llm4rec_bench.task.source import Source
from tests.conftest import ROOT

SHARED = ROOT.parent / "shared" / "data"

RECIPE = msgspec.convert(
    {
        "id": "small-v1", "title": "Small", "description": "", "domain": "films",
        "salt": "small", "lifecycle": "draft", "source": {"reader": "movietweetings"},
        "split": {"rule": "leave-one-out"},
        "licence": {"name": "none", "url": "https://example.org", "redistribute": False},
        "tracks": {"retrieval": {"metrics": ["ndcg@10"]}},
    },
    Recipe,
)  # fmt: skip


def recipe(reader: Any, **more: Any) -> Recipe:
    return msgspec.structs.replace(RECIPE, source=Source(reader), **more)


def read(reader: str, folder: Path, files: dict[str, str | bytes]) -> RawData:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return raw_data(recipe(reader), folder)


def refused(reader: str, folder: Path, files: dict[str, str | bytes]) -> str:
    with pytest.raises(TaskDataError) as error:
        read(reader, folder, files)
    assert str(error.value).startswith(f"{folder}: ")
    return str(error.value)


def rows(data: RawData) -> list[tuple[Any, ...]]:
    """User, item, time and rating of every event."""
    return [tuple(row.values()) for row in data.log.to_pylist()]


def film(item_id: str, title: str, year: int | None, *categories: str) -> dict[str, Any]:
    return {
        "item_id": item_id, "title": title, "year": year, "categories": list(categories),
        "creators": [],
    }  # fmt: skip


TWEETED: dict[str, str | bytes] = {
    "ratings.dat": "1::0000007::9::1365029107\n1::0012345::0::1365029108\n2::0000007::10::7\n",
    "movies.dat": (
        '0000007::Été : l\'otter, "encore" | 2: fin (1999)::Comedy|Short\n'
        "0012345::Øl (2013)::\n"
        "1234567::Otter (and) Son (2001)::Drama\n"
    ),
}

LENT: dict[str, str | bytes] = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,7,4.0,964982703\n2,193,0.5,1537799250\n",
    "movies.csv": (
        "movieId,title,genres\n"
        '7,"Long Rain, The (1995)",Drama|Film-Noir\n'
        '193,"Otter ""Ollie"" (a.k.a. Été) (2006) ",Comedy\n'
        "21,Babble Six,(no genres listed)\n"
        "22,Otters: The Series (2006–2007),Sci-Fi\n"
    ),
    "links.csv": "movieId,imdbId,tmdbId\n7,0000042,862\n193,1234567,\n21,,9\n22,0100000,1\n",
    "tags.csv": "this is, never read\n\xff",
}


def loans(*dated: tuple[str, str]) -> str:
    """The events derived from the Project's: 208 without dates go before the others."""
    undated = "".join(f"ghost-{n % 9},lost-book-{n}\n" for n in range(208))
    return "member_id,item_id\n" + undated + "".join(f"{m},{b}\n" for m, b in dated)


BOOKS = "SCoData_books_v1.2_2022-01.csv"
GENRES = "SCoData_books_genre.csv"
_PAGE = "https://shakespeareandco.princeton.edu/books"

SHELF = [
    ("ash-otters", "Otters, or: “Ash”", "Ash, Ann; Birch, Bo", "1920", "Book", "a\nsecret"),
    ("untitled", "", "", "", "", ""),
    ("quarterly", 'The "Quarterly"', "Cedar, C.", "-720", "Periodical", "note"),
]
"""Id, title, authors, year, format, notes; invented."""

BORROWED: dict[str, str | bytes] = {
    "interactions.csv": loans(
        ("member-b", "quarterly"), ("member-a", "ash-otters"), ("member-b", "gone-lost-book")
    ),
    BOOKS: "\ufeffuri,title,author,editor,translator,introduction,illustrator,photographer,year,"
    "format,uncertain,ebook_url,volumes_issues,notes,event_count,borrow_count,purchase_count,"
    "circulation_years,updated\n"
    + "".join(
        f'{_PAGE}/{book}/,"{title.replace(chr(34), chr(34) * 2)}","{author}",,,,,,{year},{kind},'
        f'False,,,"{notes}",1,1,0,1920;1921,2021-11-14T13:57:51.282365+00:00\n'
        for book, title, author, year, kind, notes in SHELF
    ),
    GENRES: "item_id,term,type,source\n"
    "ash-otters,Fiction,genre,loc\nash-otters,fiction.,genre,oclc\n"
    "ash-otters,Otters,subject,loc\nash-otters,Animal stories,genre,loc\n"
    "elsewhere,Poetry,genre,loc\n",
}

LAYOUTS = {
    "movietweetings": TWEETED,
    "movielens-csv": LENT,
    "shakespeare-and-company": BORROWED,
}


def test_tweeted_ratings_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = read("movietweetings", tmp_path, TWEETED)
    assert rows(found) == [
        ("1", "0000007", 1365029107, 9.0),
        ("1", "0012345", 1365029108, 0.0),
        ("2", "0000007", 7, 10.0),
    ]
    assert found.items.to_pylist() == [
        film("0000007", 'Été : l\'otter, "encore" | 2: fin', 1999, "Comedy", "Short"),
        film("0012345", "Øl", 2013),
        film("1234567", "Otter (and) Son", 2001, "Drama"),
    ]
    assert found.imdb == {"0000007": "7", "0012345": "12345", "1234567": "1234567"}
    assert not found.in_row_order


def test_movielens_since_2015_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = read("movielens-csv", tmp_path, LENT)
    assert rows(found) == [("1", "7", 964982703, 4.0), ("2", "193", 1537799250, 0.5)]
    assert found.items.to_pylist() == [
        film("7", "Long Rain, The", 1995, "Drama", "Film-Noir"),
        film("193", 'Otter "Ollie" (a.k.a. Été)', 2006, "Comedy"),
        film("21", "Babble Six", None),
        film("22", "Otters: The Series (2006–2007)", None, "Sci-Fi"),
    ]
    assert found.imdb == {"7": "42", "193": "1234567", "22": "100000"}


def test_loans_are_read_in_their_order_without_the_undated(tmp_path: Path) -> None:
    found = read("shakespeare-and-company", tmp_path, BORROWED)
    assert found.in_row_order
    assert rows(found) == [
        ("member-b", "quarterly", None, None),
        ("member-a", "ash-otters", None, None),
        ("member-b", "gone-lost-book", None, None),
    ]


def test_books_are_read_with_authors_formats_and_genres(tmp_path: Path) -> None:
    found = read("shakespeare-and-company", tmp_path, BORROWED)
    books = {book["item_id"]: book for book in found.items.to_pylist()}
    assert books["ash-otters"]["title"] == "Otters, or: “Ash”"
    assert books["ash-otters"]["year"] == 1920
    assert books["ash-otters"]["creators"] == ["Ash, Ann", "Birch, Bo"]
    assert books["ash-otters"]["categories"] == ["Book", "Animal stories", "Fiction"]
    assert books["quarterly"]["year"] == -720
    assert books["quarterly"]["title"] == 'The "Quarterly"'
    assert books["untitled"] == film("untitled", "untitled", None)


def test_a_book_that_only_loans_name_goes_by_the_words_of_its_id(tmp_path: Path) -> None:
    found = read("shakespeare-and-company", tmp_path, BORROWED)
    (lost,) = [book for book in found.items.to_pylist() if book["item_id"] == "gone-lost-book"]
    assert lost == film("gone-lost-book", "gone lost book", None)


def test_notes_on_members_and_undated_loans_reach_nothing(tmp_path: Path) -> None:
    found = read("shakespeare-and-company", tmp_path, BORROWED)
    everything = f"{found.log.to_pylist()} {found.items.to_pylist()}"
    assert found.descriptions is None
    for word in ("secret", "note", "ghost", "lost-book-1"):
        assert word not in everything


@pytest.mark.parametrize("reader", LAYOUTS)
def test_a_zip_is_read_like_a_folder(tmp_path: Path, reader: str) -> None:
    folder = read(reader, tmp_path / "a", LAYOUTS[reader])
    with zipfile.ZipFile(tmp_path / "copy.zip", "w") as archive:
        for name, content in LAYOUTS[reader].items():
            archive.writestr(f"inside/{name}", content)
    packed = raw_data(recipe(reader), tmp_path / "copy.zip")
    assert (folder.log, folder.items) == (packed.log, packed.items)
    assert folder.imdb == packed.imdb


@pytest.mark.parametrize("reader", LAYOUTS)
def test_files_may_lie_apart(tmp_path: Path, reader: str) -> None:
    together = read(reader, tmp_path, LAYOUTS[reader])
    paths = [tmp_path / name for name in LAYOUTS[reader]]
    apart = raw_data(recipe(reader), *reversed(paths))
    assert (apart.log, apart.items) == (together.log, together.items)


@pytest.mark.parametrize("reader", LAYOUTS)
def test_windows_line_ends_are_read_alike(tmp_path: Path, reader: str) -> None:
    files = {
        name: content.replace("\n", "\r\n")
        for name, content in LAYOUTS[reader].items()
        if isinstance(content, str)
    }
    plain = read(reader, tmp_path / "a", LAYOUTS[reader])
    found = read(reader, tmp_path / "b", files)
    assert (found.log, found.items) == (plain.log, plain.items)


@pytest.mark.parametrize(
    ("reader", "lost"),
    [(reader, name) for reader, files in LAYOUTS.items() for name in files if name != "tags.csv"],
)
def test_what_is_missing_is_named(tmp_path: Path, reader: str, lost: str) -> None:
    files = {name: content for name, content in LAYOUTS[reader].items() if name != lost}
    assert lost in refused(reader, tmp_path, files)


@pytest.mark.parametrize(
    ("reader", "name", "more"),
    [
        ("movietweetings", "ratings.dat", "1::0000007::9\n"),
        ("movietweetings", "ratings.dat", "1::0000007::9::noon\n"),
        ("movietweetings", "ratings.dat", "1::0000007::good::7\n"),
        ("movietweetings", "movies.dat", "0000008::A::B (1999)::Drama\n"),
        ("movielens-csv", "ratings.csv", "1,7,4.0\n"),
        ("movielens-csv", "ratings.csv", "1,7,4.0,noon\n"),
        ("movielens-csv", "movies.csv", "9,Otter, The (1999),Drama\n"),
        ("movielens-csv", "links.csv", "9\n"),
        ("shakespeare-and-company", "interactions.csv", "member-a\n"),
        ("shakespeare-and-company", BOOKS, "one,two\n"),
        ("shakespeare-and-company", GENRES, "one,two\n"),
    ],
)
def test_a_broken_row_is_refused_and_the_file_named(
    tmp_path: Path, reader: str, name: str, more: str
) -> None:
    broken = LAYOUTS[reader] | {name: f"{LAYOUTS[reader][name]}{more}"}
    assert name in refused(reader, tmp_path, broken)


@pytest.mark.parametrize(
    ("cell", "year"),
    [
        ("c. 1920", 1920), ("[1920]", 1920), ("1920s", 1920), ("1920-1925", 1920), ("-720", -720),
        ("", None), ("undated", None),
    ],
)  # fmt: skip
def test_a_year_of_a_book_is_the_one_its_cell_names_first(
    tmp_path: Path, cell: str, year: int | None
) -> None:
    books = str(BORROWED[BOOKS])
    assert ",1920,Book" in books
    books = books.replace(",1920,Book", f",{cell},Book")
    found = read("shakespeare-and-company", tmp_path, BORROWED | {BOOKS: books}).items
    was = read("shakespeare-and-company", tmp_path, BORROWED).items
    expected = [year if one == 1920 else one for one in was["year"].to_pylist()]
    assert found["year"].to_pylist() == expected


def test_a_rating_of_a_film_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    more = {"ratings.dat": f"{TWEETED['ratings.dat']}1::9999999::5::8\n"}
    assert '"9999999"' in refused("movietweetings", tmp_path, TWEETED | more)


def test_a_number_that_links_do_not_give_is_none(tmp_path: Path) -> None:
    links = "movieId,imdbId,tmdbId\n7,0000042,862\n"
    assert read("movielens-csv", tmp_path, LENT | {"links.csv": links}).imdb == {"7": "42"}


# The real files.


def real(reader: str, folder: str) -> RawData:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"the publisher's files are not in {SHARED / folder}")
    return raw_data(recipe(reader), SHARED / folder)


def counted(data: RawData) -> dict[str, int]:
    log, items = data.log, data.items
    lists = {name: sum(map(len, items[name].to_pylist())) for name in ("categories", "creators")}
    return {
        "events": len(log),
        "users": len(pc.unique(log["user_id"])),
        "consumed": len(pc.unique(log["item_id"])),
        "items": len(items),
        "with year": len(items) - items["year"].null_count,
        "years": pc.sum(items["year"].cast("int64")).as_py(),
        **lists,
    }


@pytest.fixture(scope="module")
def tweeted() -> RawData:
    return real("movietweetings", "movietweetings-100k")


@pytest.fixture(scope="module")
def latest() -> RawData:
    return real("movielens-csv", "ml-latest-small-2018-09")


@pytest.fixture(scope="module")
def borrowed() -> RawData:
    return real("shakespeare-and-company", "shakespeare-and-company")


def test_movietweetings_amounts_to_what_was_counted_by_other_means(tweeted: RawData) -> None:
    assert counted(tweeted) == {
        "events": 100_000, "users": 16_554, "consumed": 10_506, "items": 10_506,
        "with year": 10_506, "years": 20_981_871, "categories": 25_833, "creators": 0,
    }  # fmt: skip
    times, ratings = tweeted.log["timestamp"], tweeted.log["rating"]
    assert pc.min_max(times).as_py() == {"min": 1_362_062_307, "max": 1_378_067_265}
    assert pc.sum(ratings).as_py() == 732_482.0
    assert pc.min_max(ratings).as_py() == {"min": 0.0, "max": 10.0}
    assert pc.min_max(tweeted.items["year"]).as_py() == {"min": 1898, "max": 2013}
    assert {len(item) for item in tweeted.items["item_id"].to_pylist()} == {7}


def test_movietweetings_knows_every_film_s_imdb_number(tweeted: RawData) -> None:
    assert tweeted.imdb is not None
    assert len(tweeted.imdb) == 10_506
    assert sum(map(int, tweeted.imdb.values())) == 8_396_372_625
    assert not any(number.startswith("0") for number in tweeted.imdb.values())


def test_the_core_of_movietweetings_is_the_one_found_by_other_means(tweeted: RawData) -> None:
    log = in_order(tweeted.log, "salt")
    core = in_core(log, 5, np.ones(len(log), bool))
    assert (len(np.unique(log.user[core])), len(np.unique(log.item[core]))) == (4_333, 2_414)
    assert core.sum() == 68_055


def test_the_cut_of_movietweetings_is_the_one_found_by_other_means(tweeted: RawData) -> None:
    rule = recipe("movietweetings", split=GlobalTime(test_from=0.8, min_history=5))
    _, counts = freeze(rule, tweeted)
    assert counts["cut_test"] == 1_375_229_568  # 80,000 ratings lie before it
    assert counts["requests_test"] + counts["test_targets_outside_catalogue"] == 2_367


def test_movielens_latest_amounts_to_what_was_counted_by_other_means(latest: RawData) -> None:
    assert counted(latest) == {
        "events": 100_836, "users": 610, "consumed": 9_724, "items": 9_742,
        "with year": 9_729, "years": 19_405_596, "categories": 22_050, "creators": 0,
    }  # fmt: skip
    times, ratings = latest.log["timestamp"], latest.log["rating"]
    assert pc.min_max(times).as_py() == {"min": 828_124_615, "max": 1_537_799_250}
    assert pc.sum(ratings).as_py() == 353_083.0
    genres = pc.list_value_length(latest.items["categories"])
    assert pc.sum(pc.equal(genres, 0)).as_py() == 34


def test_movielens_latest_knows_every_film_s_imdb_number(latest: RawData) -> None:
    assert latest.imdb is not None
    assert len(latest.imdb) == 9_742
    assert sum(map(int, latest.imdb.values())) == 6_597_125_536
    assert not any(number.startswith("0") for number in latest.imdb.values())


def test_the_lending_library_amounts_to_what_was_counted_by_other_means(
    borrowed: RawData,
) -> None:
    found = counted(borrowed)
    assert found == {
        "events": 18_894 - 208, "users": 575, "consumed": 5_586, "items": 6_020 + 118,
        "with year": 5_300, "years": 10_165_199, "categories": 5_610 + 5_744, "creators": 5_543,
    }  # fmt: skip
    assert borrowed.in_row_order
    assert borrowed.log["timestamp"].null_count == borrowed.log["rating"].null_count == 18_686


def test_no_note_of_the_lending_library_is_kept(borrowed: RawData) -> None:
    assert borrowed.descriptions is None
    assert borrowed.items.column_names == ["item_id", "title", "year", "categories", "creators"]
