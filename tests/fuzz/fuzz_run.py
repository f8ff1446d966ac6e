"""A fuzz target: whatever the bytes of a run file, it is scored or refused.

    pip install -e '.[dev,fuzz]'
    python -m tests.fuzz.fuzz_run [FOLDER] [-max_total_time=600 …]

FOLDER keeps the inputs that reach new code; what breaks the promise is left as ``crash-…``
in the working folder. Without atheris, tests/run/test_fuzz.py holds the same promise to
mutated copies of the files in tests/runs.
"""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm4rec_bench import Task

RUNS = Path(__file__).parent.parent / "runs"

TOKENS = [
    b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\r\n", b"\0", b"\xff",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 30, b"true",
    b"null", b"\\ud800", b"\\u0000", b"\\u0022", b'"items":', b'"items":[],', b'"run":99,',
    b'"run":1,', b'"request_id":"u001",', b'"status":"timeout",', b'"scores":[1,0],',
    b'"latency_ms":1,', b'"dropped":{"seen":1},', b'"explanation":"', b'"w37"', b',"w37"', b'"01"',
    b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1",
]  # fmt: skip
"""What mutations put into a file."""


@cache
def toy() -> Task:
    """The task that runs are scored on, read once."""
    from llm4rec_bench import load_task

    return load_task("toy-v1")


def scored_or_refused(data: bytes, path: Path) -> bool:
    """Whether a run file of these bytes is scored; `path` is where it is written.

    What is refused is checked for being fit to print.
    """
    from llm4rec_bench import RunRefused, read_run, score

    path.write_bytes(data)
    try:
        score(read_run(path, toy()))
    except RunRefused as refusal:
        assert refusal.total >= len(refusal.problems) > 0
        assert all(line.isprintable() for line in str(refusal).splitlines())
        return False
    return True


def main() -> None:
    """Fuzz until stopped."""
    import atheris

    with atheris.instrument_imports(include=["llm4rec_bench"]):
        import llm4rec_bench.run
        import llm4rec_bench.scoring  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "tokens.dict"
        lines = ["".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS]
        words.write_text("".join(f'"{line}"\n' for line in lines))
        given = sys.argv[1:]
        kept = [word for word in given if not word.startswith("-")] or [str(Path(folder) / "kept")]
        Path(kept[0]).mkdir(parents=True, exist_ok=True)
        options = [f"-dict={words}", *(word for word in given if word.startswith("-"))]
        path = Path(folder) / "run.jsonl"
        seeds = [str(RUNS / "valid"), str(RUNS / "invalid")]

        def one(data: bytes) -> None:
            scored_or_refused(data, path)

        atheris.Setup([sys.argv[0], *options, *kept, *seeds], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
