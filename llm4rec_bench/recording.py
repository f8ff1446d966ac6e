"""What a model answered, kept so that it is paid for once, and a run can be made again without it.

A recording lies beside its run file: `<run>.recording.jsonl`, or `.jsonl.gz`. It is JSON Lines,

    {"format": "llm4rec-bench-recording/1"}
    {"key": "<64 hex digits>", "answer": {…}}

where a key is a digest of all that decides an answer, and what an answer holds is the method's
business. Where it holds `usage`, the tokens `prompt`, `completion` and `cached` of
that are what a budget counts. Until a run is whole, its new answers stand in `<recording>.partial`,
each written before it is used, so that a kill loses only what was under way.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from os import SEEK_END
from pathlib import Path
from typing import Annotated, BinaryIO, Self, cast

import msgspec

from llm4rec_bench.errors import BenchError, CardRefused
from llm4rec_bench.files import replacing

FORMAT = "llm4rec-bench-recording/1"
MARK = ".recording.jsonl"
"""What tells the name of a recording from that of a run file."""

LARGEST = 1 << 30
"""Bytes of a recording, unpacked, beyond which it is not read."""

_LONGEST_LINE = 1 << 22

Key = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: Key
    answer: msgspec.Raw


class _Usage(msgspec.Struct, frozen=True):
    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None


class _Counted(msgspec.Struct, frozen=True):
    usage: _Usage = _Usage()


class Budget:
    """How much may be spent on the answers of a command's run files, earlier ones included.

    Each recording that is opened with it is counted once, so whoever has several opens all of
    them before the first call.
    """

    def __init__(
        self, limit: float, price: Callable[[int, int, int], float], currency: str
    ) -> None:
        """`price` tells what prompt, completion and cached tokens cost."""
        self.limit = limit
        self.price = price
        self.currency = currency
        self.spent = 0.0
        self._counted: set[Path] = set()

    def count(self, path: Path, answers: Iterable[bytes]) -> None:
        """Count what the answers of a recording took that are there already."""
        if path in self._counted:
            return
        self._counted.add(path)
        for answer in answers:
            try:
                use = msgspec.json.decode(answer, type=_Counted).usage
            except msgspec.MsgspecError as error:
                raise CardRefused(f"{path}: tokens of an answer: {error}") from None
            self.spend(use.prompt or 0, use.completion or 0, use.cached or 0)

    def spend(self, prompt: int, completion: int, cached: int) -> None:
        """Count what an answer took."""
        self.spent += self.price(prompt, completion, cached)

    def allows(self, cost: float) -> bool:
        """Whether so much more can be spent."""
        return self.spent + cost <= self.limit

    def exhausted(self) -> BenchError:
        """What is said when a call is not made because it could cost more than is left."""
        return BenchError(
            f"{self.spent:.4f} {self.currency} spent, and the next call could pass the limit of "
            f"{self.limit:g}; what was answered is kept, and the same command with a higher "
            "--spend goes on"
        )


class Recording:
    """The answers of one run file."""

    def __init__(self, path: Path, replay: bool = False, budget: Budget | None = None) -> None:
        """Read what is there. With `replay` nothing may be asked anew.

        Raises CardRefused where a file is no recording, or where there is none to replay.
        """
        self.path = path
        self.replay = replay
        self.budget = budget
        self._partial = _partial_of(path)
        self._answers: dict[str, bytes] = {}
        self._file: BinaryIO | None = None
        if replay and not path.exists():
            raise CardRefused(f"{path}: there is no recording to replay; run without --replay")
        # A replay shows what this file holds; else what its twin has is not asked for again.
        for whole in (path,) if replay else (_other(path), path):
            if whole.exists():
                self._answers.update(_read(whole))
            if not replay:
                self._answers.update(_read(_partial_of(whole), unfinished=True))
        self._put: set[str] = set()
        self._rehearsed: dict[str, bytes] = {}
        if budget is not None and not replay:
            budget.count(path, self._answers.values())

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> bytes | None:
        """The answer kept under a key, as JSON; None where there is none.

        Raises BenchError where there is none and only what is there may be used.
        """
        found = self._rehearsed.get(key) or self._answers.get(key)
        if found is None and self.replay:
            raise BenchError(
                f"{self.path}: holds no answer to a call of this run: the card, its prompt or the "
                "task is not what was recorded; run without --replay to ask the model"
            )
        return found

    def is_new(self, key: str) -> bool:
        """Whether an answer was put here, and not read from a file."""
        return key in self._put

    def rehearse(self, key: str, answer: bytes) -> None:
        """Take an answer that nobody gave, so that a plan counts equal calls once; not written."""
        self._rehearsed[key] = answer

    def put(self, key: str, answer: bytes) -> None:
        """Keep an answer, JSON on one line, before anything is done with it."""
        if self._file is None:
            self._file = self._opened()
        self._answers[key] = answer
        self._put.add(key)
        self._file.write(msgspec.json.encode(_Line(key, msgspec.Raw(answer))) + b"\n")
        self._file.flush()

    def finish(self) -> None:
        """Give the recording its name, answers in the order of their keys: equal ones are equal."""
        self.close()
        same = not self._put and not self._partial.exists() and self.path.exists()
        if self.replay or same or not self._answers:
            return
        lines = [msgspec.json.encode(_Header(FORMAT))]
        lines += [
            msgspec.json.encode(_Line(key, msgspec.Raw(answer)))
            for key, answer in sorted(self._answers.items())
        ]
        data = b"\n".join([*lines, b""])
        packed = gzip.compress(data, 9, mtime=0) if self.path.suffix == ".gz" else data
        with replacing(self.path) as temporary:
            temporary.write_bytes(packed)
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file of new answers."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> BinaryIO:
        """The file of new answers, behind its last whole line: what was broken off has no end.

        Only who writes touches it; others, who plan beside a run, do but read.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self._partial.open("a+b")
        file.seek(0)
        file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))
        if file.seek(0, SEEK_END) == 0:
            file.write(msgspec.json.encode(_Header(FORMAT)) + b"\n")
        return file


def recording_of(run: Path) -> Path:
    """Where the recording of a run file lies."""
    for ending in (".jsonl.gz", ".jsonl"):
        if run.name.endswith(ending):
            return run.with_name(f"{run.name.removesuffix(ending)}{MARK}{ending[6:]}")
    raise ValueError(run.name)


def _other(path: Path) -> Path:
    """The same recording, packed where this one is plain, plain where it is packed."""
    name = path.name
    return path.with_name(name.removesuffix(".gz") if path.suffix == ".gz" else f"{name}.gz")


def _partial_of(path: Path) -> Path:
    """Where new answers stand; the packed and the plain file have each its own, since two runs
    that are written at once would else end each other's."""
    return path.with_name(f"{path.name}.partial")


def _read(path: Path, unfinished: bool = False) -> Iterator[tuple[str, bytes]]:
    """Keys and answers of a file; raises CardRefused naming the line.

    One that is `unfinished` need not be there, and may end within a line.
    """
    number = 0
    if unfinished and not path.exists():
        return
    try:
        with _unpacked(path) as file:
            for number, line in enumerate(_lines(file), 1):
                if unfinished and not line.endswith(b"\n"):
                    return
                if number == 1:
                    if msgspec.json.decode(line, type=_Header).format != FORMAT:
                        raise CardRefused(f"{path}: is not of the format {FORMAT}")
                    continue
                read = msgspec.json.decode(line, type=_Line)
                yield read.key, bytes(read.answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CardRefused(f"{path}: line {number}: {error}; the file is no recording") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CardRefused(f"{path}: cannot be read: {error}") from None
    except _TooLarge as error:
        raise CardRefused(f"{path}: {error}") from None


class _TooLarge(Exception):
    pass


def _unpacked(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    total = 0
    while line := file.readline(_LONGEST_LINE + 1):
        total += len(line)
        if len(line) > _LONGEST_LINE:
            raise _TooLarge(f"has a line of more than {_LONGEST_LINE >> 20} MiB")
        if total > LARGEST:
            raise _TooLarge(f"is larger than {LARGEST >> 30} GiB")
        yield line
