"""Embeddings that are made once: vectors of texts, kept by the content of the text.

A vector is found by two digests: one of all that decides it beside the text (the encoder's
identity and its prompt), which names a SQLite file of the workspace, and one of the text. So
tasks that share texts share their vectors, and nothing stale is ever found. Each chunk is
committed once it is encoded: a run that is killed keeps what is done, and several may work at
once. A damaged file is made anew; a damaged row is encoded again.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeVar
from zlib import crc32

import msgspec
import numpy as np
from filelock import FileLock

from baselines.text.encoders import Encoder, Vectors, encoded
from llm4rec_bench import BenchError

_CHUNK = 512
"""Texts that are encoded between two commits: half a minute of long ones on one core."""

_FORMAT = 1
"""Raised whenever what is kept means something else."""

_CELL = "<f4"

# Not WITHOUT ROWID: rows as long as vectors are would each take a page of an index.
_TABLE = (
    "CREATE TABLE IF NOT EXISTS vectors "
    "(text BLOB PRIMARY KEY, vector BLOB NOT NULL, crc INTEGER NOT NULL)"
)

T = TypeVar("T")

_PATIENCE = 60.0
"""Seconds for which another process may be writing."""


class Embeddings:
    """The vectors that an encoder gives to texts.

    They are kept under ``embeddings`` in `workspace`, or without one for as long as this object
    lives. `report` is told how far a long encoding has come.
    """

    def __init__(
        self,
        encoder: Encoder,
        workspace: Path | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.encoder = encoder
        self.report = report
        self._folder = None if workspace is None else workspace / "embeddings"
        self._shelves: dict[str, _Shelf] = {}

    def passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of what is searched: shape (texts, dimensions)."""
        return self._vectors(texts, self.encoder.passage_prompt)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of what is searched with: shape (texts, dimensions)."""
        return self._vectors(texts, self.encoder.query_prompt)

    def _vectors(self, texts: Sequence[str], prompt: str) -> Vectors:
        keys = [sha256(text.encode()).digest() for text in texts]
        # Texts of a length side by side, so that little is padded.
        by_length = sorted(zip(keys, texts, strict=True), key=lambda pair: len(pair[1]))
        distinct = list(dict(by_length).items())
        shelf = self._shelf(prompt)
        vectors: dict[bytes, bytes] = {}
        for start in range(0, len(distinct), _CHUNK):
            vectors |= self._had_or_made(shelf, dict(distinct[start : start + _CHUNK]), prompt)
            if len(distinct) > _CHUNK:
                self.report(f"{len(vectors):,} of {len(distinct):,} texts embedded")
        if len(set(map(len, vectors.values()))) > 1:
            raise BenchError(
                f"{self.encoder.model}: gave vectors of different lengths at different times; "
                f"the model is not the one it was; remove what is kept: {shelf}"
            )
        cells = np.frombuffer(b"".join([vectors[key] for key in keys]), _CELL)
        return cells.reshape(len(keys), -1)

    def _had_or_made(
        self, shelf: _Shelf, texts: Mapping[bytes, str], prompt: str
    ) -> dict[bytes, bytes]:
        vectors = shelf.read(list(texts))
        missing = [key for key in texts if key not in vectors]
        if missing:
            made = encoded(self.encoder, [texts[key] for key in missing], prompt).astype(_CELL)
            new = {key: row.tobytes() for key, row in zip(missing, made, strict=True)}
            shelf.write(new)
            vectors |= new
        return vectors

    def _shelf(self, prompt: str) -> _Shelf:
        if prompt not in self._shelves:
            self._shelves[prompt] = _InMemory()
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._shelves[prompt] = _InFile(self._folder / self._file_name(prompt))
        return self._shelves[prompt]

    def _file_name(self, prompt: str) -> str:
        """The digest of what decides a vector, after a name for people who tidy up."""
        model = re.sub(r"[^A-Za-z0-9]+", "-", Path(self.encoder.model).name)[:40].strip("-")
        decides = msgspec.json.encode([_FORMAT, self.encoder.identity, prompt])
        return f"{model}-{sha256(decides).hexdigest()[:32]}.sqlite"


class _Shelf(Protocol):
    """Where vectors lie, as bytes, by the digests of their texts."""

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those that are there."""

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keep some more."""


class _InMemory(dict[bytes, bytes]):
    def __str__(self) -> str:
        return "by starting anew"

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return {key: self[key] for key in keys if key in self}

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        self.update(vectors)


class _InFile:
    """A SQLite file, opened for each use, so that nothing of it outlives one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        marks = ",".join("?" * len(keys))
        asked = f"SELECT text, vector, crc FROM vectors WHERE text IN ({marks})"  # noqa: S608 - marks
        rows = self._used(lambda file: file.execute(asked, keys).fetchall())
        return {key: vector for key, vector, crc in rows if crc32(vector) == crc}

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        rows = [(key, vector, crc32(vector)) for key, vector in vectors.items()]
        self._used(lambda file: file.executemany("REPLACE INTO vectors VALUES (?, ?, ?)", rows))

    def _used(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """What `use` makes of the file, which is made anew first where it proves broken."""
        try:
            try:
                return self._opened(use)
            except sqlite3.DatabaseError as error:
                if not _tells_of_damage(error):
                    raise
                self._remove_if_broken()
                return self._opened(use)
        except sqlite3.Error as error:
            raise BenchError(
                f"{self.path}: embeddings cannot be kept there: {error}; make room, or remove it"
            ) from None

    def _opened(self, use: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as file, file:
            file.execute(_TABLE)
            return use(file)

    def _remove_if_broken(self) -> None:
        # One at a time: two that find the same damage must not remove each other's new file.
        with FileLock(f"{self.path}.lock"):
            try:
                found = self._opened(lambda file: file.execute("PRAGMA integrity_check").fetchone())
            except sqlite3.DatabaseError:
                found = None
            if found != ("ok",):
                for suffix in ("-journal", ""):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def _tells_of_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether a file is no sound database, or was removed by another process as such."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    moved = code == sqlite3.SQLITE_READONLY_DBMOVED
    return moved or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
