"""Any chat model of LangChain."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from baselines.llm.model import Answer, Call, Chat, Likelihoods, ModelUnavailable, Usage, counted
from baselines.llm.models.at_once import Ask, Streak, at_once
from baselines.llm.models.chat_format import Logprobs, ended
from baselines.llm.models.first_token import logprobs, missing, surely_one_each, untold
from baselines.openai_client import cut, library
from llm4rec_bench import CardRefused

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage


class LangChain(
    msgspec.Struct, tag_field="kind", tag="langchain", forbid_unknown_fields=True, dict=True
):
    """A chat model that LangChain knows, made by `system` from `params`.

    { kind = "langchain", system = "langchain_ollama:ChatOllama", params = { model = "name" } }

    `system` is a class or a function that gives a BaseChatModel. Keys do not belong on a card:
    these classes find them in the environment. How often a call is tried again, and for how long,
    is a parameter of the model (max_retries, timeout).

    With each call go LangChain's standard parameters, temperature and max_tokens, and top_p and
    seed where the call has them; where a model takes them only when it is made, `per_call = false`
    leaves them to `params`. `Sampling.schema` is not enforced here. `Likelihoods` are answered
    where the model tells OpenAI's `logprobs` of the first token, for continuations that
    `first_token.surely_one_each` allows. LangChain does not say whether a model would go on with
    a turn of the assistant, so conversations end with the user here.
    """

    system: Annotated[str, msgspec.Meta(pattern=r"^[\w.]+:\w+\Z")]
    params: dict[str, Any] = {}
    revision: str | None = None
    """What runs behind the name, in the words of whoever runs it."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 8
    per_call: bool = True
    top_logprobs: Annotated[int, msgspec.Meta(ge=1)] = 20
    """The likeliest tokens to be told, OpenAI's most."""

    @property
    def identity(self) -> list[object]:
        """What makes the model, of what, and its revision."""
        made = [self.system, self.params, self.revision]
        return ["langchain", *made, self.per_call, self.top_logprobs]

    def answers(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        """Several calls at a time. Failed ones say why; after ten in a row the run is stopped."""
        for call in calls:
            self._check(call)
        if calls:
            _ = self._model  # made before many calls wait for it
        yield from at_once(self._connection, calls, self.concurrency, self._streak)

    def tokens(self, text: str) -> int:
        """A quarter of the bytes in UTF-8, which is about right for English.

        LangChain's own count needs a tokeniser from a model hub.
        """
        return -(-len(text.encode()) // 4)

    def prompts(self, call: Likelihoods) -> int:
        """Once: the first token says it all."""
        return 1

    def longest(self, call: Call) -> tuple[int, int]:
        """Raises CardRefused where `params` decide how long answers are, which nobody can read."""
        if not self.per_call:
            raise CardRefused(
                f"{self.system}: with per_call = false nothing says how long answers may be, so "
                "no limit on spending holds; leave out --spend, or per_call"
            )
        return 1, call.sampling.max_tokens if isinstance(call, Chat) else 1

    def _check(self, call: Call) -> None:
        if call.messages and call.messages[-1].role == "assistant":
            raise CardRefused(
                f"{self.system}: LangChain does not say whether a model goes on with a turn that "
                'is begun; take a prompt that ends with the user, or kind = "openai"'
            )
        if isinstance(call, Likelihoods) and not surely_one_each(call.continuations):
            raise CardRefused(
                f"{self.system}: tells log-probabilities of what the model says, not of given "
                f"texts such as {max(call.continuations, key=len)[:80]!r}; a model with kind = "
                '"transformers" tells them'
            )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Ask]:
        async def ask(call: Call) -> Answer:
            start = time.perf_counter()
            answer = await self._answer(call)
            spent = round(1000 * (time.perf_counter() - start), 3)
            reason = _without_keys(answer.reason)
            return msgspec.structs.replace(answer, latency_ms=spent, reason=reason)

        yield ask

    async def _answer(self, call: Call) -> Answer:
        messages = [(message.role, message.content) for message in call.messages]
        try:
            said = await self._model.ainvoke(messages, **self._fields(call))
        except Exception as error:  # each provider's library has failures of its own
            return self._failed(error)
        return self._read(call, said)

    def _fields(self, call: Call) -> dict[str, Any]:
        if isinstance(call, Likelihoods):
            told: dict[str, Any] = {"logprobs": True, "top_logprobs": self.top_logprobs}
            return told | ({"max_tokens": 1, "temperature": 1.0} if self.per_call else {})
        if not self.per_call:
            return {}
        sampling = call.sampling
        fields = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens}
        more = {"top_p": sampling.top_p if sampling.top_p < 1 else None, "seed": sampling.seed}
        return fields | {name: value for name, value in more.items() if value is not None}

    def _read(self, call: Call, said: AIMessage) -> Answer:
        metadata = said.response_metadata
        usage = _took(said)
        if isinstance(call, Chat):
            reasons = ("finish_reason", "stop_reason", "done_reason")
            how = next((metadata[name] for name in reasons if metadata.get(name)), None)
            refusal = said.additional_kwargs.get("refusal")
            return ended(said.text, how and str(how), refusal and str(refusal), usage)
        try:
            first = msgspec.convert(metadata.get("logprobs"), Logprobs).first
        except msgspec.ValidationError:
            first = []
        if not first and self._streak.answered:  # filtered, say: others have told
            reason = "answered without log-probabilities"
            return Answer(status="api_error", reason=reason, of_itself=True, usage=usage)
        if not first:
            raise CardRefused(
                f"{self.system}: tells no log-probabilities; take a prompt that is answered in "
                'words, or a model with kind = "openai" or "transformers"'
            )
        if why := untold(first, call.continuations):
            return Answer(status="api_error", reason=why, of_itself=True, usage=usage)
        told = logprobs(first, call.continuations)
        return Answer(logprobs=told, untold=missing(first, call.continuations), usage=usage)

    def _failed(self, error: Exception) -> Answer:
        """What a call came to; raises ModelUnavailable where all others will."""
        said = cut(_without_keys(f"{type(error).__name__}: {error}"))
        response = getattr(error, "response", None)
        status = getattr(error, "status_code", getattr(response, "status_code", None))
        if status in (401, 402, 403, 404):
            raise ModelUnavailable(
                f"{self.system}: the model's name, address, key or account is refused: {said}; "
                "correct params on the card, or the key in the environment"
            )
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return Answer(status="timeout", reason=said)
        if getattr(error, "code", None) == "content_filter":
            return Answer(status="refusal", reason=said)
        return Answer(status="api_error", reason=said)

    @cached_property
    def _model(self) -> BaseChatModel:
        with library("langchain_core", "langchain"):
            from langchain_core.language_models import BaseChatModel
        module, _, name = self.system.partition(":")
        try:
            factory = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise CardRefused(
                f"model: system: {self.system} cannot be loaded: {cut(error)}; expected "
                "module:name of what makes a chat model, its package installed"
            ) from None
        try:
            made = factory(**self.params)
        except Exception as error:  # whatever somebody else's class thinks of its parameters
            said = cut(_without_keys(f"{type(error).__name__}: {error}"))
            raise CardRefused(f"model: params: {self.system} refuses them: {said}") from None
        if not isinstance(made, BaseChatModel):
            raise CardRefused(
                f"model: system: {self.system} gives a {type(made).__name__}, expected a chat "
                "model of LangChain"
            )
        return made

    @cached_property
    def _streak(self) -> Streak:
        return Streak(self.system)


def _took(said: AIMessage) -> Usage:
    counts: Mapping[str, Any] = said.usage_metadata or {}
    details: Mapping[str, Any] = counts.get("input_token_details") or {}
    cached = details.get("cache_read")
    return counted(counts.get("input_tokens"), counts.get("output_tokens"), cached)


def _without_keys(text: str) -> str:
    """A text without the keys in the environment, should a server repeat one."""
    for name, value in os.environ.items():
        if name.endswith(("_KEY", "_TOKEN")) and len(value) >= 8:
            text = text.replace(value, "…")
    return text
