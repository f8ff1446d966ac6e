"""Run files: their format, reading and checking them, and making one with a method."""

from llm4rec_bench.run.check import Checked, check_run
from llm4rec_bench.run.execute import Method, execute, load_method
from llm4rec_bench.run.format import Dropped, Header, Ranking
from llm4rec_bench.run.read import Run, parse_run, read_run

__all__ = [
    "Checked",
    "Dropped",
    "Header",
    "Method",
    "Ranking",
    "Run",
    "check_run",
    "execute",
    "load_method",
    "parse_run",
    "read_run",
]
