"""Where tasks live on this machine.

Recipes and manifests travel with the package. Tables of the embedded task do too; those
of every other task lie in the store, ``<home>/tasks/<task-id>/data``, where `download`
puts them; a task of one's own lies there as a whole. Raw copies fetched on the way stay in
``<home>/raw``.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from llm4rec_bench.errors import TaskDataError, UsageError, nearest_hint
from llm4rec_bench.task import Task, open_task
from llm4rec_bench.task.recipe import is_task_id

HOME = "LLM4REC_BENCH_HOME"
"""Environment variable that names another place for the store."""

_HERE = Path(__file__).parent


def default_home() -> Path:
    """The store's folder: what LLM4REC_BENCH_HOME names, or the user's cache folder."""
    named = os.environ.get(HOME)
    return Path(named).expanduser() if named else platformdirs.user_cache_path("llm4rec-bench")


def recipes_folder() -> Path:
    """The folder of recipes: beside the package in a wheel's copy, else the checkout's."""
    packaged = _HERE / "tasks"
    return packaged if packaged.is_dir() else _HERE.parent / "tasks"


def own_folder(task_id: str, home: Path) -> Path:
    """The folder of the store in which a task's tables belong, and one's own task as a whole."""
    return home / "tasks" / task_id


def workspace(home: Path) -> Path:
    """Where methods may keep what is dear to compute again."""
    return home / "methods"


def known_tasks(home: Path | None = None) -> list[str]:
    """Ids of the tasks of this package, then of those that were frozen into the store."""
    packaged, own = (
        sorted(path.parent.name for path in folder.glob("*/task.toml"))
        for folder in (recipes_folder(), (home or default_home()) / "tasks")
    )
    return packaged + [task for task in own if task not in packaged]


def is_packaged(task_id: str) -> bool:
    """Whether this version of the package has a task's recipe."""
    return (recipes_folder() / task_id / "task.toml").exists()


def recipe_folder(task_id: str, home: Path | None = None) -> Path:
    """The folder of a known task's recipe; raises UsageError naming the nearest id."""
    known = known_tasks(home)
    if task_id not in known:
        hint = nearest_hint(task_id, known)
        raise UsageError(f"no task is called {task_id!r}; expected one of {', '.join(known)}{hint}")
    if is_packaged(task_id):
        return recipes_folder() / task_id
    return own_folder(task_id, home or default_home())


def is_embedded(task_id: str) -> bool:
    """Whether the tables of a task travel with the package."""
    return (recipes_folder() / task_id / "data").is_dir()


def data_folder(task_id: str, home: Path) -> Path:
    """The folder under which a known task's tables belong."""
    return recipes_folder() / task_id if is_embedded(task_id) else own_folder(task_id, home)


def is_downloaded(task_id: str, home: Path) -> bool:
    """Whether a task's tables are there; says nothing of whether they are sound."""
    return (data_folder(task_id, home) / "data").is_dir()


def load_task(name: str | Path, home: Path | None = None) -> Task:
    """A frozen task, by id or by the path of a folder that holds one with its tables.

    Nothing is downloaded; every table is checked against its digest when it is first
    used. Raises UsageError for an unknown id and TaskDataError where the tables are
    missing, saying which command brings them.
    """
    task_id = str(name)
    if isinstance(name, Path) or (not is_task_id(task_id) and Path(name).is_dir()):
        return open_task(Path(name))
    home = home or default_home()
    folder = recipe_folder(task_id, home)
    if not (folder / "manifest.json").exists():
        raise TaskDataError(f"task {task_id} is not frozen yet: it has a recipe but no manifest")
    if not is_downloaded(task_id, home):
        raise TaskDataError(
            f"task {task_id} is not in {home}; run: llm4rec-bench download {task_id}"
        )
    return open_task(folder, data_folder(task_id, home))
