"""The run files beside this one: sound runs on toy-v1, and copies with one thing broken.

    python -m tests.runs.make

writes them all, and into ``invalid/expected.json`` what the command line says of each
broken one. The messages are pinned there: read the difference before committing it.
A broken file is named for the rule it breaks, ``<code>[-<variant>].jsonl``.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llm4rec_bench import load_task
from llm4rec_bench.cli import _exit_code

HERE = Path(__file__).parent
EXPECTED = HERE / "invalid" / "expected.json"
TASK = load_task("toy-v1")

AT = 8
"""The line that most of the broken files break. It answers request u007."""
VICTIM = TASK.requests()[AT - 2]
POOL = TASK.requests("test", "ranking")[AT - 2].candidates or []

Row = dict[str, Any]


def header(track: str = "ranking", **more: Any) -> Row:
    return {
        "format": "llm4rec-bench/1",
        "task": TASK.id,
        "track": track,
        "digest": TASK.digest(track),
        "name": "made by hand",
        **more,
    }


def rows(track: str = "ranking", split: str = "test", depth: int = 1) -> list[Row]:
    """A line for each request, with the first `depth` items that it may rank."""
    return [
        {
            "request_id": request.request_id,
            "items": [
                item for item in request.candidates or TASK.items.ids if item not in request.history
            ][:depth],
        }
        for request in TASK.requests(split, track)
    ]


def joined(lines: Iterable[Row | str | bytes]) -> bytes:
    """Lines as a file's bytes; records become JSON, text and bytes stay as they are."""
    return b"".join(_encoded(line) + b"\n" for line in lines)


def _encoded(line: Row | str | bytes) -> bytes:
    if isinstance(line, bytes):
        return line
    text = line if isinstance(line, str) else json.dumps(line, separators=(",", ":"))
    return text.encode()


def whole(track: str = "ranking") -> list[Row | str | bytes]:
    """The lines of a sound run."""
    return [header(track), *rows(track)]


def broken(line: Row | str | bytes, track: str = "ranking") -> bytes:
    """A sound run with another line in place of line `AT`."""
    return joined([*whole(track)[: AT - 1], line, *whole(track)[AT:]])


def victim(items: list[str] = POOL[:1], **more: Any) -> Row:
    """A line that answers the request of line `AT`."""
    return {"request_id": VICTIM.request_id, "items": items, **more}


def gzipped(data: bytes) -> bytes:
    """A gzip archive of stored blocks: the same bytes whatever library is installed."""
    pieces = [data[start : start + 0xFFFF] for start in range(0, len(data), 0xFFFF)]
    body = b"".join(
        struct.pack("<BHH", number == len(pieces), len(piece), len(piece) ^ 0xFFFF) + piece
        for number, piece in enumerate(pieces, 1)
    )
    trailer = struct.pack("<II", zlib.crc32(data), len(data))
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + trailer


def zstandard(*pieces: bytes | int, filler: bytes = b"x") -> bytes:
    """A zstd frame of raw blocks, and of blocks of so many fillers where a number is given."""
    blocks: list[tuple[int, int, bytes]] = []
    for piece in pieces:
        data, left = (filler, piece) if isinstance(piece, int) else (piece, len(piece))
        for start in range(0, left, _BLOCK):
            size = min(_BLOCK, left - start)
            repeated = isinstance(piece, int)
            blocks.append((repeated, size, data if repeated else data[start : start + size]))
    body = b"".join(
        (last | repeated << 1 | size << 3).to_bytes(3, "little") + data
        for last, (repeated, size, data) in zip([*[0] * (len(blocks) - 1), 1], blocks, strict=True)
    )
    return b"\x28\xb5\x2f\xfd\x00\x50" + body


_BLOCK = 1 << 17


def valid() -> dict[str, bytes]:
    """Sound run files by name."""
    plain = joined(whole())
    every = [
        {
            "request_id": row["request_id"],
            "run": 0,
            "items": row["items"],
            "scores": [0.5, 0.5, -1.25],
            "status": "ok",
            "latency_ms": 12.5,
            "prompt_tokens": 1903,
            "completion_tokens": 71,
            "cached_tokens": 0,
            "dropped": {"invented": 1, "duplicate": 2, "seen": 0, "out_of_pool": 3},
            "explanation": "été, 東京, \u0007 and \U0001f600",
        }
        for row in rows(depth=3)
    ]
    failed = [
        {**row, "items": [], "status": status} if number % 10 == 0 else row
        for number, row in enumerate(rows())
        for status in [FAILURES[number // 10 % len(FAILURES)]]
    ]
    second = [{**row, "run": 1, "items": row["items"][::-1]} for row in rows(depth=3)]
    empty = [{**row, "items": []} for row in rows()]
    return {
        "minimal.jsonl": plain,
        "packed.jsonl.gz": gzipped(plain),
        "packed.jsonl.zst": zstandard(plain),
        "every-field.jsonl": joined([header(split="test", card="sha256:0"), *every]),
        "two-runs.jsonl": joined([header(), *rows(depth=3), *second]),
        "short-lists.jsonl": joined(
            [
                header("ranking-popular"),
                *(
                    {**row, "items": row["items"][: number % 21]}
                    for number, row in enumerate(rows("ranking-popular", depth=20))
                ),
            ]
        ),
        "empty-lists.jsonl": joined([header(), *empty]),
        "carriage-returns.jsonl": plain.replace(b"\n", b"\r\n"),
        "hostile-name.jsonl": joined([{**header(), "name": HOSTILE_NAME}, *rows()]),
        "failed-requests.jsonl": joined([header(), *failed]),
        "retrieval.jsonl": joined([header("retrieval"), *rows("retrieval", depth=10)]),
        "validation.jsonl": joined([header(split="validation"), *rows(split="validation")]),
    }


HOSTILE_NAME = "\x1b[2J\x1b]0;x\x07\u202e\n| [x](https://example.org) <b> ../../etc/passwd"
"""Text, and nothing but text: no escape, no Markdown, no path."""

FAILURES = ["parse_error", "refusal", "truncated", "timeout", "api_error", "fallback"]


def invalid() -> dict[str, bytes]:
    """Broken run files by name."""
    outside = next(item for item in TASK.items.ids if item not in POOL)
    text = json.dumps(victim(), separators=(",", ":"))

    def with_more(more: str) -> bytes:
        return broken(f"{text[:-1]},{more}}}")

    def with_header(**changed: Any) -> bytes:
        return joined([{**header(), **changed}, *rows()])

    head, answers = header(), rows()
    no_digest = {name: value for name, value in head.items() if name != "digest"}
    gap = [{**row, "run": run} for run in (0, 2) for row in rows()]
    before, after = joined(whole()[: AT - 1]), joined(whole()[AT:])
    lone = text.replace('["w', '["\\ud800w')
    look_alike = {  # of item w37
        "zeros": "0w37",
        "spaces": " w37 ",
        "full-width": "\uff57\uff13\uff17",
        "combining": "w\u030337",
        "homoglyph": "\u051d37",
        "right-to-left": "\u202ew37",
    }
    return {
        "bad-compression.jsonl.gz": gzipped(joined(whole()))[:-4],
        "bad-compression-tail.jsonl.gz": gzipped(joined(whole())) + b"more",
        "bad-compression-cut.jsonl.zst": zstandard(joined(whole()))[:-100],
        "bad-compression-window.jsonl.zst": b"\x28\xb5\x2f\xfd\x00\xf8" + zstandard(before)[6:],
        "too-large.jsonl.zst": zstandard(10_100_000, filler=b"\n"),
        "not-utf8-utf16.jsonl": b"\xff\xfe" + _encoded(head).decode().encode("utf-16-le"),
        "not-utf8-surrogate.jsonl": broken(text.encode().replace(b'["w', b'["\xed\xa0\x80w')),
        "not-utf8.jsonl": broken(text.encode().replace(b'["w', b'["\xe9')),
        "not-utf8-mark.jsonl": b"\xef\xbb\xbf" + joined(whole()),
        "line-too-long.jsonl.zst": zstandard(
            before, f'{text[:-1]},"explanation":"'.encode(), 1 << 20, b'"}\n' + after
        ),
        "bad-json.jsonl": broken(text[:-1]),
        "bad-json-two-objects.jsonl": broken(text + text),
        "bad-json-surrogate.jsonl": broken(victim(["\ud800\ud800"])),
        "bad-json-surrogate-lone.jsonl": broken(lone),
        "bad-json-utf16-unmarked.jsonl": _encoded(head).decode().encode("utf-16-be"),
        "bad-json-nul.jsonl": broken(text.encode().replace(b'["w', b'["\0w')),
        "bad-json-nul-line.jsonl": broken(bytes(40)),
        "bad-json-comma.jsonl": broken(text + ","),
        "bad-json-carriage-returns.jsonl": joined(whole()).replace(b"\n", b"\r"),
        "repeated-key.jsonl": with_more('"items":[]'),
        "repeated-key-escaped.jsonl": with_more('"\\u0069tems":[]'),
        "repeated-key-dropped.jsonl": with_more('"dropped":{"seen":1,"seen":0}'),
        "repeated-key-header.jsonl": joined([_encoded(head)[:-1] + b',"name":"x"}', *answers]),
        "missing-header.jsonl": joined(answers),
        "missing-header-empty.jsonl": b"",
        "unexpected-header.jsonl": joined([*whole()[: AT - 1], head, *whole()[AT - 1 :]]),
        "unexpected-header-doubled.jsonl": joined([head, *whole()]),
        "wrong-format.jsonl": with_header(format="llm4rec-bench/2"),
        "wrong-task.jsonl": with_header(task="toy-v2"),
        "wrong-task-path.jsonl": with_header(task="../tasks/toy-v1"),
        "wrong-track.jsonl": with_header(track="Ranking"),
        "wrong-track-control.jsonl": with_header(track="\x1b[2J\nranking"),
        "wrong-split.jsonl": with_header(split="train"),
        "wrong-digest.jsonl": with_header(digest=TASK.digest("retrieval")),
        "wrong-digest-version.jsonl": with_header(digest=f"sha256:{'0' * 64}"),
        "wrong-digest-text.jsonl": with_header(digest="\x1b[2Jlatest"),
        "unknown-field-control.jsonl": with_more('"\\u001b[2J\\n":1'),
        "unknown-field.jsonl": with_more('"latency":1.5'),
        "unknown-field-dropped.jsonl": with_more('"dropped":{"out-of-pool":1}'),
        "unknown-field-header.jsonl": with_header(model="none"),
        "missing-field.jsonl": broken({"request_id": VICTIM.request_id}),
        "missing-field-header.jsonl": joined([no_digest, *answers]),
        "wrong-type.jsonl": broken(victim([7])),
        "wrong-type-boolean.jsonl": with_more('"latency_ms":true'),
        "wrong-type-empty-id.jsonl": broken(victim([""])),
        "wrong-type-boolean-run.jsonl": with_more('"run":true'),
        "wrong-type-boolean-item.jsonl": broken(victim([True])),  # type: ignore[list-item]
        "wrong-type-request.jsonl": broken({"request_id": 7, "items": []}),
        "wrong-type-long-id.jsonl": broken(victim(["x" * 513])),
        "wrong-type-long-name.jsonl": with_header(name="x" * 201),
        "wrong-type-nested.jsonl": broken("[" * 10_000),
        "wrong-type-nested-field.jsonl": with_more(f'"explanation":{"[" * 9000}{"]" * 9000}'),
        "bad-number.jsonl": with_more('"latency_ms":-0.5'),
        "bad-number-nan.jsonl": with_more('"latency_ms":NaN'),
        "bad-number-infinite.jsonl": with_more('"latency_ms":1e999'),
        "bad-number-run.jsonl": with_more('"run":100'),
        "bad-number-minus-infinity.jsonl": with_more('"latency_ms":-Infinity'),
        "bad-number-huge.jsonl": with_more(f'"prompt_tokens":{"9" * 5000}'),
        "bad-number-huge-latency.jsonl": with_more(f'"latency_ms":{"9" * 400}'),
        "bad-number-dropped.jsonl": with_more('"dropped":{"seen":-1}'),
        "unknown-status-control.jsonl": with_more('"status":"\\u001b[2J\\nok"'),
        "unknown-status.jsonl": with_more('"status":"parse-error"'),
        "too-many-items.jsonl": broken(victim(POOL * 5 + POOL[:1])),
        "not-json-lines.jsonl": b"PAR1" + bytes(16),
        "failed-with-items.jsonl": with_more('"status":"timeout"'),
        "bad-scores.jsonl": with_more('"scores":[2.0,1.0]'),
        "bad-scores-increasing.jsonl": broken(victim(POOL[:2], scores=[1.0, 2.0])),
        "unknown-request.jsonl": joined(
            [*whole(), {"request_id": "U007", "items": []}],
        ),
        "unknown-request-control.jsonl": joined(
            [*whole(), {"request_id": "\x1b]0;x\x07", "items": []}],
        ),
        "repeated-request.jsonl": joined([*whole()[:AT], victim(), *whole()[AT:]]),
        "missing-request.jsonl": joined([*whole()[: AT - 1], *whole()[AT:]]),
        "missing-run.jsonl": joined([head, *gap]),
        "repeated-item.jsonl": broken(victim([POOL[0], POOL[1], POOL[0]])),
        "unknown-item.jsonl": broken(victim([POOL[0].upper()])),
        "unknown-item-control.jsonl": broken(victim(["\x1b[2J\nrun.jsonl: fine\0"])),
        **{
            f"unknown-item-{what}.jsonl": broken(victim([found]))
            for what, found in look_alike.items()
        },
        "item-not-in-pool.jsonl": broken(victim([POOL[0], outside])),
        "item-already-seen.jsonl": broken(victim(VICTIM.history[:1]), "retrieval"),
    }


def said_of(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call of the command line."""
    out, err = io.StringIO(), io.StringIO()
    given = ["llm4rec-bench", *map(str, arguments)]
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", given):
        code = _exit_code()
    return code, out.getvalue(), err.getvalue()


def main() -> None:
    made: list[tuple[str, Callable[[], dict[str, bytes]]]] = [
        ("valid", valid),
        ("invalid", invalid),
    ]
    for folder, files in made:
        (HERE / folder).mkdir(exist_ok=True)
        for old in (HERE / folder).glob("*.jsonl*"):
            old.unlink()
        for name, data in files().items():
            (HERE / folder / name).write_bytes(data)
    said = {name: said_of("check", HERE / "invalid" / name)[2].splitlines() for name in invalid()}
    EXPECTED.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
