"""From a card's table to a model."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import msgspec

from baselines.llm.model import LanguageModel
from baselines.openai_client import cut
from llm4rec_bench import CardRefused, nearest_hint

_KINDS = {
    "openai": ("baselines.llm.models.endpoint", "Endpoint"),
    "transformers": ("baselines.llm.models.local", "Local"),
    "langchain": ("baselines.llm.models.langchain", "LangChain"),
}


def model_of(params: Mapping[str, Any]) -> LanguageModel:
    """The model that a table of a card describes; raises CardRefused naming the field.

    { kind = "openai", model = "name", base_url = "http://127.0.0.1:8080/v1", concurrency = 8 }
    { kind = "transformers", model = "org/name", revision = "<commit>" }
    { kind = "langchain", system = "module:factory" }
    """
    kind = params.get("kind")
    if kind not in _KINDS:
        raise CardRefused(f"model: kind: expected {', '.join(_KINDS)}, found {kind!r}")
    module, name = _KINDS[kind]
    described = getattr(import_module(module), name)
    fields = ("kind", *described.__struct_fields__)
    if unknown := sorted(params.keys() - fields):
        near = nearest_hint(unknown[0], fields) or f"; it has {', '.join(fields)}"
        raise CardRefused(
            f"model: {cut(unknown[0])!r} is not a field of a model of kind {kind}{near}"
        )
    try:
        made: LanguageModel = msgspec.convert(dict(params), described)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        field = place.removeprefix(".").rstrip("`")
        raise CardRefused(f"model: {field + ': ' if field else ''}{message}") from None
    return made
