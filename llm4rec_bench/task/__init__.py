"""Frozen tasks: the recipe, the tables with their digests, and reading them back."""

from llm4rec_bench.task.frozen import Histories, Task, TaskView, open_task
from llm4rec_bench.task.manifest import FORMAT, Manifest, read_manifest
from llm4rec_bench.task.recipe import Recipe, read_recipe
from llm4rec_bench.task.records import Items, Request, Requests

__all__ = [
    "FORMAT",
    "Histories",
    "Items",
    "Manifest",
    "Recipe",
    "Request",
    "Requests",
    "Task",
    "TaskView",
    "open_task",
    "read_manifest",
    "read_recipe",
]
