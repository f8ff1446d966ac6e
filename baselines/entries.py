"""Methods that are made of other entries: by the name of their card, as it stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llm4rec_bench import CardRefused, Method, TaskView, load_method, read_card

CARDS = Path(__file__).parents[1] / "submissions"


def fitted_entry(name: str, task: TaskView) -> Method:
    """The method of a card under submissions/, with its parameters on the task, fitted.

    It is the method that the board knows: it sees what its own card reads and is given its own
    card's seed, that of its first run, whatever the view of the method that it is a part of.

    Raises CardRefused where it reads what the view does not show, and for an entry that is not the
    project's own: a card names code, and that of strangers is not run for another card's sake.
    """
    card = read_card(CARDS / name)
    if card.name != name or card.owner is not None:
        raise CardRefused(
            f"{name!r} is no entry of the project; expected one without an owner, such as als"
        )
    if unread := set(card.reads) - set(task.reads):
        raise CardRefused(
            f"{name} reads {', '.join(sorted(unread))}, which the card that names it does not; "
            "add it to `reads`"
        )
    method = load_method(card, task.task, task.track)
    method.fit(replace(task.only(card.reads), seed=card.seed))
    return method
