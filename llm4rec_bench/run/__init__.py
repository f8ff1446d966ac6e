"""Run files: their format, reading and checking them; `execute` makes one with a method."""

from llm4rec_bench.run.format import Dropped, Header, Ranking
from llm4rec_bench.run.read import Run, read_run
from llm4rec_bench.run.tally import Tally

__all__ = ["Dropped", "Header", "Ranking", "Run", "Tally", "read_run"]
