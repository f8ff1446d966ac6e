"""Making the pages. The same entries and tasks give the same bytes: no page says when it was made.

Pages work from a folder as from a server. A browser lets a page of a folder read no other file as
data and run no module of another file, so data stands in the page that shows it and scripts are
plain ones, which the policy's `'self'` takes from a folder too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm4rec_bench.errors import BenchError
from llm4rec_bench.leaderboard import Table, board, cells, read_changes
from llm4rec_bench.scoring import SCORER
from llm4rec_bench.site import boards, compared, entries, tasks
from llm4rec_bench.site.examples import Library, Load
from llm4rec_bench.site.folder import check_replaceable, write_site
from llm4rec_bench.site.text import check_installed, environment

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
"""What a page may load: scripts, styles and images of the site, and nothing written into a page."""

_ASSETS = ("site.css", "site.js", "compare.js", "icon.svg")


def build_site(out: Path, submissions: Path, load: Load | None) -> int:
    """Write the site of a folder of submissions to `out`; returns its bytes.

    `load` gives tasks for the titles of example rankings; where it is None, run files are not
    read and there are no examples. Raises UsageError where a library is missing or `out` holds
    something else, and CardRefused where an entry is unsound.
    """
    check_installed()
    check_replaceable(out)
    made = pages(board(submissions), submissions, load)
    write_site(out, made)
    return sum(map(len, made.values()))


def pages(tables: list[Table], submissions: Path, load: Load | None) -> dict[str, bytes]:
    """Every file of the site by its relative path."""
    library = None if load is None else Library(load)
    render = _renderer(environment(), submissions)
    by_task: dict[str, list[Table]] = {}
    for table in tables:
        by_task.setdefault(table.task, []).append(table)
    cards = {row.entry.card.name: row.entry.card for table in tables for row in table.rows}
    ids = list(dict.fromkeys([*by_task, *tasks.frozen_tasks()]))
    told = {task: tasks.shown(task) for task in ids}
    made = {
        "index.html": render(
            "index.html", up="", by_task=by_task, tasks=told, systems=_systems(tables)
        ),
        "compare.html": render(
            "compare.html", up="", data=compared.packed(tables), others=compared.OTHERS
        ),
    }
    for task, some in by_task.items():
        facets = boards.facets_of(some)
        shown = [boards.shown(table, facets) for table in some]
        made[f"boards/{task}.html"] = render(
            "board.html", up="../", task=told[task], tables=shown, facets=facets
        )
    for task in ids:
        tracks = [table.track for table in by_task.get(task, [])]
        made[f"tasks/{task}.html"] = render("task.html", up="../", task=told[task], on_board=tracks)
    for name in sorted(cards):
        entry = entries.shown(name, tables, submissions, library)
        made[f"entries/{name}.html"] = render("entry.html", up="../", entry=entry)
    return {name: text.encode() for name, text in made.items()} | _assets()


def _renderer(templates: Environment, submissions: Path) -> Any:  # noqa: ANN401
    changes = read_changes(submissions)
    always: Mapping[str, Any] = {
        "policy": POLICY,
        "changes": changes,
        "scorer": SCORER,
        "kinds": boards.KINDS,
    }

    def render(template: str, **values: Any) -> str:  # noqa: ANN401
        return templates.get_template(template).render(**always, **values)

    return render


def _systems(tables: list[Table]) -> list[dict[str, Any]]:
    """Every system with what it is and on how many tracks it stands, by title."""
    found: dict[str, dict[str, Any]] = {}
    for table in tables:
        for row in table.rows:
            card = row.entry.card
            system = found.setdefault(
                card.name,
                {
                    "card": card,
                    "kind": boards.KINDS[boards.kind_of(card)],
                    "reads": cells.reads(card),
                    "entries": 0,
                    "firsts": 0,
                },
            )
            system["entries"] += 1
            system["firsts"] += row.rank == 1
    return sorted(found.values(), key=lambda by: (by["card"].title.casefold(), by["card"].name))


def _assets() -> dict[str, bytes]:
    here = resources("llm4rec_bench.site") / "assets"
    found = {f"assets/{name}": (here / name).read_bytes() for name in _ASSETS}
    return found | {"assets/tables.js": _tables_script()}


_EXPORTS = re.compile(r"export\{([^}]*)\}")


def _tables_script() -> bytes:
    """DataTables with jQuery as a plain script, of the module that itables brings.

    Browsers run no module from a folder, so its exports become one global name.
    """
    text = (resources("itables") / "html" / "dt_bundle.js").read_text("utf-8")
    exports = _EXPORTS.findall(text)
    names = dict(re.findall(r"([\w$]+) as ([\w$]+)", exports[-1])) if exports else {}
    jquery = next((inner for inner, outer in names.items() if outer == "jQuery"), None)
    if len(exports) != 1 or jquery is None:
        raise BenchError(
            "the installed itables holds DataTables in another form than this version of the site "
            "knows; pip install 'itables==2.9.1'"
        )
    plain = _EXPORTS.sub(lambda _: f"window.jQuery={jquery};", text)
    return f'(()=>{{"use strict";{plain}\n}})();\n'.encode()
