"""The layouts in which publishers put out the data sets that the tasks are made of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from llm4rec_bench.interactions import LOG_SCHEMA
from llm4rec_bench.sources.raw import Layouts, RawCopy, RawData, as_log, delimited
from llm4rec_bench.task import tables

_TEXT = pa.string()


def _log(
    copy: RawCopy, name: str, delimiter: str, time: pa.DataType, *, skip_rows: int = 0
) -> pa.Table:
    """A log kept as user, item, rating and time."""
    columns = {"user_id": _TEXT, "item_id": _TEXT, "rating": pa.float32(), "timestamp": time}
    return as_log(copy, name, delimited(copy, name, delimiter, columns, skip_rows=skip_rows))


_TITLE_AND_YEAR = re.compile(r"(?P<title>.*?)\s*\((?P<year>[0-9]{4})\)(?:\s*\(V\))?\s*")
"""A film's title: the year in brackets, and "(V)" after it for one not shown in cinemas."""


def _films(ids: Sequence[str], titles: Sequence[str], genres: Sequence[list[str]]) -> pa.Table:
    """The catalogue of films whose titles end with their years."""
    matches = [_TITLE_AND_YEAR.fullmatch(title) for title in titles]
    columns = {
        "item_id": ids,
        "title": [m["title"] if m else t for m, t in zip(matches, titles, strict=True)],
        "year": [int(m["year"]) if m else None for m in matches],
        "categories": genres,
        "creators": [[] for _ in ids],
    }
    return pa.table(columns, schema=tables.SCHEMAS[tables.ITEMS])


def _split(names: str) -> list[str]:
    return [] if names in {"", "(no genres listed)"} else names.split("|")


# MovieLens 100K.

_GENRES = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
]  # fmt: skip


def _grouplens_100k(copy: RawCopy) -> RawData:
    """GroupLens's own layout: tab-separated `u.data`, and `u.item` in Latin-1 split by bars."""
    columns = ["id", "title", "released", "video", "imdb", *_GENRES]
    films = delimited(copy, "u.item", "|", dict.fromkeys(columns, _TEXT), encoding="latin-1")
    flags = [films[genre].to_pylist() for genre in _GENRES]
    genres = [
        [genre for genre, flag in zip(_GENRES, row, strict=True) if flag == "1"]
        for row in zip(*flags, strict=True)
    ]
    return RawData(
        _log(copy, "u.data", "\t", pa.int64()),
        _films(films["id"].to_pylist(), films["title"].to_pylist(), genres),
    )


def _recbole_100k(copy: RawCopy) -> RawData:
    """RecBole's atomic files, which split GroupLens's titles at their last bracket.

    Joining the two parts again gives GroupLens's title, and one parser serves both. The
    one film without a title is misspelt there, in both parts.
    """
    text = dict.fromkeys(["id", "title", "year", "genres"], _TEXT)
    films = delimited(copy, "ml-100k.item", "\t", text, skip_rows=1)
    titles = [
        "unknown" if title == year == "unkonwn" else f"{title} ({year})"
        for title, year in zip(films["title"].to_pylist(), films["year"].to_pylist(), strict=True)
    ]
    genres = [names.split() for names in films["genres"].to_pylist()]
    return RawData(
        _log(copy, "ml-100k.inter", "\t", pa.float64(), skip_rows=1),
        _films(films["id"].to_pylist(), titles, genres),
    )


# MovieLens since 2015: the "latest" sets, 20M, 25M and 32M.


def _movielens_csv(copy: RawCopy) -> RawData:
    """`ratings.csv`, `movies.csv` and `links.csv`, which names IMDb numbers."""
    films = _with_header(copy, "movies.csv", ["movieId", "title", "genres"])
    links = _with_header(copy, "links.csv", ["movieId", "imdbId"])
    numbers = zip(links["movieId"].to_pylist(), links["imdbId"].to_pylist(), strict=True)
    genres = [_split(names) for names in films["genres"].to_pylist()]
    return RawData(
        _log(copy, "ratings.csv", ",", pa.int64(), skip_rows=1),
        _films(films["movieId"].to_pylist(), films["title"].to_pylist(), genres),
        imdb={film: number.lstrip("0") for film, number in numbers if number},
    )


def _with_header(copy: RawCopy, name: str, columns: Sequence[str]) -> pa.Table:
    """Some columns, as text, of a comma-separated file with a header and quotes."""
    return delimited(copy, name, ",", dict.fromkeys(columns, _TEXT), quoted=True, header=True)


# MovieTweetings.

_UNIT = "\x1f"
"""Stands for the "::" between fields, which no reader of delimited files takes."""


def _movietweetings(copy: RawCopy) -> RawData:
    """`ratings.dat` and `movies.dat`: fields split by "::", ids are IMDb's in seven digits."""

    def fields(name: str, columns: dict[str, pa.DataType]) -> pa.Table:
        data = copy.read(name).replace(b"::", _UNIT.encode())
        return delimited(copy, name, _UNIT, columns, data=data)

    kinds = {"user_id": _TEXT, "item_id": _TEXT, "rating": pa.float32(), "timestamp": pa.int64()}
    films = fields("movies.dat", dict.fromkeys(["id", "title", "genres"], _TEXT))
    ids = films["id"].to_pylist()
    genres = [_split(names) for names in films["genres"].to_pylist()]
    return RawData(
        as_log(copy, "ratings.dat", fields("ratings.dat", kinds)),
        _films(ids, films["title"].to_pylist(), genres),
        imdb={film: film.lstrip("0") for film in ids},
    )


# Shakespeare and Company.

_UNDATED = 208
"""Rows at the head of `interactions.csv` whose loans have no known date."""

_BOOK = re.compile(r".*/books/(?P<id>[^/]+)/")


def _shakespeare(copy: RawCopy) -> RawData:
    """The Project's books, and the loans derived from its events: in order, without dates.

    A book that was given another id between the two releases keeps the id of the loan, and
    the words of that id for a title. Notes on books are left out: they name members and
    what they borrowed.
    """
    loans = _with_header(copy, "interactions.csv", ["member_id", "item_id"]).slice(_UNDATED)
    columns = ["uri", "title", "author", "year", "format"]
    books = _with_header(copy, _BOOKS, columns)
    known = [
        {**book, "item_id": found["id"]}
        for book in books.to_pylist()
        if (found := _BOOK.fullmatch(book["uri"]))
    ]
    missing = sorted(set(loans["item_id"].to_pylist()) - {book["item_id"] for book in known})
    log = pa.table(
        [loans["member_id"], loans["item_id"], pa.nulls(len(loans)), pa.nulls(len(loans))],
        names=LOG_SCHEMA.names,
    )
    items = _books(known, missing, _genres_of(copy))
    return RawData(as_log(copy, "interactions.csv", log), items, in_row_order=True)


_BOOKS = "SCoData_books_v1.2_2022-01.csv"
_BOOK_GENRES = "SCoData_books_genre.csv"


def _genres_of(copy: RawCopy) -> dict[str, list[str]]:
    """The genres of each book, each once: libraries write one with a full stop and without."""
    terms = _with_header(copy, _BOOK_GENRES, ["item_id", "term", "type"])
    genres: dict[str, dict[str, None]] = defaultdict(dict)
    for term in terms.filter(pc.equal(terms["type"], "genre")).to_pylist():
        genres[term["item_id"]][term["term"].strip().rstrip(".").capitalize()] = None
    return {book: sorted(names) for book, names in genres.items()}


def _year(cell: str) -> int | None:
    """A year, or the one at the head of a guess such as "1920s"."""
    found = re.search(r"-?[0-9]{3,4}", cell)
    return int(found[0]) if found else None


def _books(
    known: Sequence[dict[str, str]], missing: Sequence[str], genres: dict[str, list[str]]
) -> pa.Table:
    rows = [
        {
            "item_id": book["item_id"],
            "title": book["title"] or book["item_id"].replace("-", " "),
            "year": _year(book["year"]),
            "categories": [*filter(None, [book["format"]]), *genres.get(book["item_id"], [])],
            "creators": [name.strip() for name in book["author"].split(";") if name.strip()],
        }
        for book in known
    ]
    rows += [
        {"item_id": book, "title": book.replace("-", " "), "categories": [], "creators": []}
        for book in missing
    ]
    return pa.Table.from_pylist(rows, schema=tables.SCHEMAS[tables.ITEMS])


LAYOUTS: dict[str, Layouts] = {
    "movielens-100k": {
        ("u.data", "u.item"): _grouplens_100k,
        ("ml-100k.inter", "ml-100k.item"): _recbole_100k,
    },
    "movielens-csv": {("ratings.csv", "movies.csv", "links.csv"): _movielens_csv},
    "movietweetings": {("ratings.dat", "movies.dat"): _movietweetings},
    "shakespeare-and-company": {("interactions.csv", _BOOKS, _BOOK_GENRES): _shakespeare},
}
"""By the name of the reader in a recipe."""
