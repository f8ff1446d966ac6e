"""Run files: their format, reading and checking them; `execute` makes one with a method."""

from llm4rec_bench.run.check import Checked, check_run
from llm4rec_bench.run.format import Dropped, Header, Ranking
from llm4rec_bench.run.read import Run, parse_run, read_run

__all__ = [
    "Checked",
    "Dropped",
    "Header",
    "Ranking",
    "Run",
    "check_run",
    "parse_run",
    "read_run",
]
