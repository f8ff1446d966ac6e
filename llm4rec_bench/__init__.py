"""llm4rec-bench: frozen tasks, one scorer and a leaderboard for LLM-based recommenders.

    from llm4rec_bench import load_task, read_run, score

    load_task("toy-v1").requests("test")[0]
    score(read_run("run.jsonl")).to_pandas()

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm4rec_bench.compare import compare_runs as compare_runs
    from llm4rec_bench.errors import BenchError as BenchError
    from llm4rec_bench.errors import CardRefused as CardRefused
    from llm4rec_bench.errors import RunRefused as RunRefused
    from llm4rec_bench.errors import TaskDataError as TaskDataError
    from llm4rec_bench.errors import UsageError as UsageError
    from llm4rec_bench.errors import nearest_hint as nearest_hint
    from llm4rec_bench.interactions import Log as Log
    from llm4rec_bench.recording import Recording as Recording
    from llm4rec_bench.run import Dropped as Dropped
    from llm4rec_bench.run import Ranking as Ranking
    from llm4rec_bench.run import Run as Run
    from llm4rec_bench.run import read_run as read_run
    from llm4rec_bench.run.execute import Method as Method
    from llm4rec_bench.run.execute import Plan as Plan
    from llm4rec_bench.run.execute import load_method as load_method
    from llm4rec_bench.scoring import Score as Score
    from llm4rec_bench.scoring import score as score
    from llm4rec_bench.store import load_task as load_task
    from llm4rec_bench.submission import read_card as read_card
    from llm4rec_bench.task import Items as Items
    from llm4rec_bench.task import Request as Request
    from llm4rec_bench.task import Requests as Requests
    from llm4rec_bench.task import Task as Task
    from llm4rec_bench.task import TaskView as TaskView

__version__ = "0.1.0"

_MODULE_OF = {
    "compare_runs": "compare",
    "BenchError": "errors",
    "CardRefused": "errors",
    "RunRefused": "errors",
    "TaskDataError": "errors",
    "UsageError": "errors",
    "nearest_hint": "errors",
    "Log": "interactions",
    "Dropped": "run",
    "Recording": "recording",
    "Method": "run.execute",
    "Plan": "run.execute",
    "Ranking": "run",
    "Run": "run",
    "read_card": "submission",
    "read_run": "run",
    "Score": "scoring",
    "score": "scoring",
    "load_method": "run.execute",
    "load_task": "store",
    "Items": "task",
    "Request": "task",
    "Requests": "task",
    "Task": "task",
    "TaskView": "task",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
