"""What is said where a method that knows items by their texts has none to read."""

from __future__ import annotations

from llm4rec_bench import CardRefused, TaskView


def no_text(task: TaskView) -> CardRefused:
    """The error for a task that has no text of what the card reads."""
    return CardRefused(
        f"no item of {task.task} has a text of what the card reads "
        f"({', '.join(task.reads) or 'nothing'}); name what there is in `reads`"
    )
