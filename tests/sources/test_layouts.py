"""Raw copies as people have them: two layouts, folders and zips, some of them broken or hostile."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from llm4rec_bench import TaskDataError
from llm4rec_bench.freeze import freeze
from llm4rec_bench.sources import RawData, raw, raw_data
from llm4rec_bench.task import Recipe
from llm4rec_bench.task.source import Source

READER = "movielens-100k"

GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()


def read_raw(reader: str, *paths: Path) -> RawData:
    """What a reader makes of raw copies."""
    return raw_data(msgspec.structs.replace(RECIPE, source=Source(reader)), *paths)


class Film(NamedTuple):
    item_id: str
    title: str
    year: int | None
    genres: list[str]
    on_video: bool = False


FILMS = [
    Film("1", "Été à Québec", 1994, ["Drama", "Romance"]),
    Film("2", "Long Rain, The", 1995, ["Film-Noir"]),
    Film("3", "Señor Ñandú (Mr. Rhea)", 1989, ["Animation", "Children's", "Comedy"]),
    Film("04", '"Quoted" Otter, or: 2" & 2', 1991, ["Comedy"]),
    Film("5", "1984 Ways Home", 1984, ["Sci-Fi", "Thriller"]),
    Film("6", "Größer als Køge", 1997, ["War", "Western"]),
    Film("7", "Plain Film", 1990, ["unknown"]),
    Film("8", "M", 1931, ["Crime", "Mystery"]),
    Film("9", "...", 1996, ["Action"]),
    Film("10", "'Til Noon", 1992, ["Musical"]),
    Film("267", "unknown", None, ["unknown"]),
    Film("1412", "Otters on Parade III: The Long Swim", 1995, ["Animation"], on_video=True),
]
"""Invented; among them the two kinds of film whose rows RecBole mangles."""

EVENTS = [
    (user, film.item_id, 1 + (number * user) % 5, 880_000_000 + (number * user * 37) % 90)
    for user in range(1, 9)
    for number, film in enumerate(FILMS)
    if (number * 7 + user) % 3
]
"""User, item, stars, seconds; several in the same second."""


def grouplens_files() -> dict[str, bytes]:
    """The invented films in GroupLens's own layout."""
    films = []
    for film in FILMS:
        title = film.title if film.year is None else f"{film.title} ({film.year})"
        title += " (V)" if film.on_video else ""
        released = "" if film.year is None else f"01-Jan-{film.year}"
        flags = [str(int(genre in film.genres)) for genre in GENRES]
        films.append("|".join([film.item_id, title, released, "", "", *flags]))
    events = ["\t".join(map(str, event)) for event in EVENTS]
    return {
        "u.data": "".join(f"{line}\n" for line in events).encode(),
        "u.item": "".join(f"{line}\n" for line in films).encode("latin-1"),
    }


def recbole_files() -> dict[str, bytes]:
    """The same in RecBole's atomic files, mangled as RecBole mangles them."""
    films = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    for film in FILMS:
        title, year = film.title, str(film.year)
        if film.on_video:
            title, year = f"{film.title} ({film.year})", "V"
        if film.year is None:
            title = year = "unkonwn"
        films.append("\t".join([film.item_id, title, year, " ".join(film.genres)]))
    events = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    events += ["\t".join(map(str, event)) for event in EVENTS]
    return {
        "ml-100k.inter": "".join(f"{line}\n" for line in events).encode(),
        "ml-100k.item": "".join(f"{line}\n" for line in films).encode(),
    }


def write_folder(folder: Path, files: dict[str, bytes], inside: str = "") -> Path:
    for name, content in files.items():
        path = folder / inside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_zip(path: Path, files: dict[str, bytes], inside: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{inside}{name}", content)
    return path


RECIPE = msgspec.convert(
    {
        "id": "small-v1", "title": "Small", "description": "", "domain": "films",
        "salt": "small", "lifecycle": "draft", "source": {"reader": READER},
        "split": {"rule": "leave-one-out"},
        "licence": {"name": "none", "url": "https://example.org", "redistribute": False},
        "tracks": {
            "retrieval": {"metrics": ["ndcg@10"]},
            "ranking": {"metrics": ["ndcg@10"], "negatives": {"draw": "uniform", "size": 3}},
        },
    },
    Recipe,
)  # fmt: skip


def test_both_layouts_freeze_to_the_same_tables(tmp_path: Path) -> None:
    theirs = read_raw(READER, write_folder(tmp_path / "a", grouplens_files()))
    mirrored = read_raw(READER, write_folder(tmp_path / "b", recbole_files()))
    assert theirs.log.equals(mirrored.log)
    assert theirs.items.equals(mirrored.items)
    assert freeze(RECIPE, theirs) == freeze(RECIPE, mirrored)


@pytest.mark.parametrize("files", [grouplens_files, recbole_files])
def test_every_film_is_read_as_it_was_written(tmp_path: Path, files: Callable) -> None:
    found = read_raw(READER, write_folder(tmp_path, files())).items.to_pylist()
    assert found == [
        {
            "item_id": film.item_id, "title": film.title, "year": film.year,
            "categories": film.genres, "creators": [],
        }
        for film in FILMS
    ]  # fmt: skip


@pytest.mark.parametrize("files", [grouplens_files, recbole_files])
def test_every_event_is_read_as_it_was_written(tmp_path: Path, files: Callable) -> None:
    found = read_raw(READER, write_folder(tmp_path, files())).log
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (str(user), item, seconds, float(stars)) for user, item, stars, seconds in EVENTS
    ]


@pytest.mark.parametrize("files", [grouplens_files, recbole_files])
@pytest.mark.parametrize("inside", ["", "ml-100k/", "deep/er/ml-100k/"])
def test_folder_and_zip_are_read_alike_at_any_depth(
    tmp_path: Path, files: Callable, inside: str
) -> None:
    folder = read_raw(READER, write_folder(tmp_path / "folder", files(), inside))
    archive = read_raw(READER, write_zip(tmp_path / "copy.zip", files(), inside))
    assert folder.log.equals(archive.log)
    assert folder.items.equals(archive.items)


def test_of_several_files_with_a_name_the_shallowest_is_read(tmp_path: Path) -> None:
    write_folder(tmp_path, grouplens_files(), "ml-100k")
    write_folder(tmp_path, {"u.data": b"broken", "u.item": b"broken"}, "ml-100k/backup")
    assert len(read_raw(READER, tmp_path).log) == len(EVENTS)


def test_windows_line_ends_are_read_alike(tmp_path: Path) -> None:
    theirs = read_raw(READER, write_folder(tmp_path / "a", grouplens_files()))
    crlf = {name: data.replace(b"\n", b"\r\n") for name, data in grouplens_files().items()}
    assert theirs.log.equals(read_raw(READER, write_folder(tmp_path / "b", crlf)).log)
    assert theirs.items.equals(read_raw(READER, tmp_path / "b").items)


def refused(path: Path) -> str:
    with pytest.raises(TaskDataError) as error:
        read_raw(READER, path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


@pytest.mark.parametrize("lost", ["u.data", "u.item"])
def test_what_is_missing_is_named(tmp_path: Path, lost: str) -> None:
    files = grouplens_files()
    del files[lost]
    expected = "expected u.data and u.item or ml-100k.inter and ml-100k.item"
    assert expected in refused(write_folder(tmp_path / "folder", files))
    assert expected in refused(write_zip(tmp_path / "copy.zip", files))


def test_a_path_that_is_nothing_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in refused(tmp_path / "nothing")


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"u.item": grouplens_files()["u.item"]})
    (tmp_path / "u.data").mkdir()
    assert "u.data cannot be read" in refused(tmp_path)


WRONG_FILES: dict[str, tuple[Callable, str, Callable[[bytes], bytes], str]] = {
    "short row": (
        grouplens_files, "u.data", lambda data: data + b"1\t2\n", f"#{len(EVENTS) + 1}",
    ),
    "word for a time": (
        grouplens_files, "u.data", lambda data: data + b"1\t2\t3\tnoon\n", "noon",
    ),
    "no time": (grouplens_files, "u.data", lambda data: data + b"1\t2\t3\t\n", "u.data"),
    "no such time": (grouplens_files, "u.data", lambda data: data + b"1\t2\t3\tNaN\n", "u.data"),
    "time that is no number": (
        recbole_files, "ml-100k.inter", lambda data: data + b"1\t2\t3\tnan\n", "ml-100k.inter",
    ),
    "time between seconds": (
        recbole_files, "ml-100k.inter", lambda data: data + b"1\t2\t3\t8.5\n", "ml-100k.inter",
    ),
    "not UTF-8": (
        grouplens_files, "u.data", lambda data: data + b"\xff\t2\t3\t4\n", "u.data",
    ),
    "missing genre": (
        grouplens_files, "u.item", lambda data: data + b"99|A (1990)||||1|0\n", "u.item",
    ),
    "repeated film": (
        grouplens_files, "u.item", lambda data: data + data.splitlines()[0] + b"\n",
        "twice",
    ),
    "unknown film": (
        grouplens_files, "u.data", lambda data: data + b'1\t9"9\t3\t4\n',
        r'the log names item "9\"9", which the catalogue does not hold',
    ),
    "empty user": (grouplens_files, "u.data", lambda data: data + b"\t2\t3\t4\n", "user_id"),
    "empty film": (
        grouplens_files, "u.item", lambda data: data + b"|A (1990)|||" + b"|0" * 19 + b"\n",
        "item_id",
    ),
    "NUL in an id": (grouplens_files, "u.data", lambda data: data + b"1\0\t2\t3\t4\n", "user_id"),
    "nothing": (grouplens_files, "u.data", lambda data: b"", "u.data"),
    "missing column": (
        recbole_files, "ml-100k.item", lambda data: data + b"99\tA\t1990\n", "ml-100k.item",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", WRONG_FILES)
def test_a_broken_file_is_refused_and_the_place_named(tmp_path: Path, why: str) -> None:
    files, name, spoil, said = WRONG_FILES[why]
    spoiled = files() | {name: spoil(files()[name])}
    assert said in refused(write_folder(tmp_path, spoiled))


def test_what_strangers_wrote_does_not_reach_the_terminal(tmp_path: Path) -> None:
    files = grouplens_files()
    files["u.data"] += b"1\t2\t3\t\x1b[2Jgone\n"
    assert "\x1b" not in refused(write_folder(tmp_path, files))


def test_members_that_name_other_places_are_read_and_never_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "in" / "copy.zip"
    path.parent.mkdir()
    for elsewhere in ("../", "../../", "/"):
        write_zip(path, grouplens_files(), elsewhere)
        assert len(read_raw(READER, path).log) == len(EVENTS)
    assert [found.name for found in tmp_path.rglob("*")] == ["in", "copy.zip"]


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_zip: bool
) -> None:
    monkeypatch.setattr(raw, "LARGEST_FILE", 1 << 20)
    files = grouplens_files() | {"u.data": bytes(4 << 20)}
    write = write_zip if as_zip else write_folder
    path = write(tmp_path / "copy", files)
    if as_zip:
        assert path.stat().st_size < 1 << 16
    assert "u.data is larger than" in refused(path)


def test_a_file_of_exactly_the_limit_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = grouplens_files()
    monkeypatch.setattr(raw, "LARGEST_FILE", max(map(len, files.values())))
    assert len(read_raw(READER, write_zip(tmp_path / "copy.zip", files)).log) == len(EVENTS)


@pytest.mark.parametrize("content", [b"", b"<html>sign in</html>", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "copy.zip"
    path.write_bytes(content)
    assert "not a zip file" in refused(path)


def test_a_zip_cut_off_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "copy.zip", grouplens_files())
    path.write_bytes(path.read_bytes()[:-30])
    assert "not a zip file" in refused(path)


def _headers(data: bytes, number: int) -> tuple[int, int]:
    """Where the local and the central header of a member begin."""
    central = [n for n in range(len(data)) if data.startswith(b"PK\x01\x02", n)][number]
    (local,) = struct.unpack_from("<I", data, central + 42)
    return local, central


def _with_flag(data: bytes, flag: int) -> bytes:
    changed = bytearray(data)
    for start, at in zip(_headers(data, 0), (6, 8), strict=True):
        (flags,) = struct.unpack_from("<H", changed, start + at)
        struct.pack_into("<H", changed, start + at, flags | flag)
    return bytes(changed)


def _with_method(data: bytes, method: int) -> bytes:
    changed = bytearray(data)
    for start, at in zip(_headers(data, 0), (8, 10), strict=True):
        struct.pack_into("<H", changed, start + at, method)
    return bytes(changed)


def _with_size(data: bytes, size: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<I", changed, _headers(data, 0)[1] + 24, size)
    return bytes(changed)


def _with_byte(data: bytes, place: int, byte: int) -> bytes:
    return data[:place] + bytes([byte]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "encrypted": lambda data: _with_flag(data, 0x1),
    "unknown method": lambda data: _with_method(data, 99),
    "LZMA that is none": lambda data: _with_method(data, 14),
    "bzip2 that is none": lambda data: _with_method(data, 12),
    "stored that is none": lambda data: _with_method(data, 0),
    "size that lies": lambda data: _with_size(data, 10),
    "name that is not UTF-8": lambda data: _with_flag(
        data.replace(b"u.data", b"u.dat\xff").replace(b"u.item", b"u.data"), 0x800
    ),
    "local header gone": lambda data: b"XX" + data[2:],
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_or_locked_zip_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = write_zip(tmp_path / "copy.zip", grouplens_files())
    path.write_bytes(damage(path.read_bytes()))
    refused(path)


def test_no_flipped_byte_of_the_content_goes_unnoticed_or_crashes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "copy.zip", grouplens_files())
    whole = path.read_bytes()
    first = len("u.data") + 30
    for place in range(first, first + 60):
        path.write_bytes(_with_byte(whole, place, whole[place] ^ 0xFF))
        refused(path)
