"""A language model behind a server that speaks OpenAI's chat API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from baselines.llm.model import Answer, Call, Chat, Likelihoods, Message, ModelUnavailable
from baselines.llm.models.at_once import Ask, Streak, at_once
from baselines.llm.models.capabilities import CHAT, TURN_FIELDS, Capabilities
from baselines.llm.models.chat_format import Completion, ended, held_to
from baselines.llm.models.failures import NO_CHAT, failed, hopeless
from baselines.llm.models.first_token import logprobs, missing, surely_one_each, untold
from baselines.llm.models.given_texts import TOKENIZE, chat_tokens, prompts, text_tokens, tokenised
from baselines.llm.models.given_texts import logprobs as given_logprobs
from baselines.llm.models.served_names import LONGEST, among, listed, lists_others, nearest
from baselines.openai_client import check_url, cut, key_of, library, told, without
from llm4rec_bench import CardRefused

if TYPE_CHECKING:
    import ssl

    from openai import APIStatusError, AsyncOpenAI, OpenAI, OpenAIError

_OURS = frozenset(
    "model messages max_tokens max_completion_tokens temperature top_p seed response_format "
    "logprobs top_logprobs stream n prompt echo".split()
)
_REFUSALS = frozenset({400, 401, 403, 404, 405, 413, 415, 422, 500, 501})
"""By which servers say that they do not know a field or a path. Others may pass."""

_LONGEST_WAIT = 120
"""Seconds that the client waits between two tries, at most."""


class Endpoint(
    msgspec.Struct, tag_field="kind", tag="openai", forbid_unknown_fields=True, dict=True
):
    """A chat model of OpenAI, or of a server that speaks its language: llama.cpp, vLLM, SGLang, …

    { kind = "openai", model = "name", base_url = "http://127.0.0.1:8080/v1", concurrency = 8 }

    What `extra` holds is sent with each question: top_k = 1, say, or chat_template_kwargs. Of
    what neither it nor the call says, the server's own settings decide.

    The client tries again what may pass, timeouts, lost connections and the statuses 408, 409, 429
    and from 500 on, as often as `retries` says: after the seconds that the server asks for if they
    are at most 120 (beyond that it does not try again), else after half a second, then twice as
    long each time, up to 8.

    `Likelihoods` are read off the first token where each continuation is one; where the server
    has a tokeniser that decides, else `first_token.surely_one_each`. Longer ones are asked of
    completions that repeat their prompt. What a server can do is found out by `Capabilities` the
    first time it matters; a JSON Schema is left out where the server would not keep to it. An
    answer to a conversation that ends with the assistant's turn is how that turn goes on.
    """

    model: Annotated[str, msgspec.Meta(min_length=1)]
    revision: str | None = None
    """What the server has loaded, in the words of whoever runs it: a commit, a number format."""
    base_url: str = "http://127.0.0.1:8080/v1"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 8
    retries: Annotated[int, msgspec.Meta(ge=0)] = 5
    timeout: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    """Seconds without a sign of the server until one try is given up."""
    api_key_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_]*API_KEY\Z")] = "OPENAI_API_KEY"
    """The environment variable that holds the key. A server on this machine needs none; for one
    elsewhere that asks for none, let it hold `none`."""
    extra: dict[str, Any] = {}
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the server calls the most tokens of an answer; OpenAI's newer models use the latter."""
    top_logprobs: Annotated[int, msgspec.Meta(ge=1)] = 500
    """The likeliest tokens to be told, at most: see `Capabilities.top_logprobs`."""
    count_tokens: Literal["estimate", "server"] = "estimate"
    """How prompts are measured; where the server does it, it is needed for a replay, too."""

    def __post_init__(self) -> None:
        check_url(self.base_url)
        if fixed := sorted(_OURS & self.extra.keys()):
            raise ValueError(f"extra: {', '.join(fixed)}: the call decides that, not the card")

    @property
    def identity(self) -> list[object]:
        """The model, its revision, or where none is declared the address; and what is sent along.

        Nobody can see from outside what a server has loaded: a revision is its operator's word,
        and good wherever the model is served.
        """
        where = self.base_url.rstrip("/") if self.revision is None else self.revision
        return ["openai", self.model, where, self.extra, self.top_logprobs]

    def answers(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        """Several calls at a time. Failed ones say why; after ten in a row the run is stopped."""
        if calls:
            self._check(calls)
        yield from at_once(self._connection, calls, self.concurrency, self._streak)

    def tokens(self, text: str) -> int:
        """A quarter of the bytes in UTF-8, or with count_tokens = "server" what it counts.

        The estimate is of English; it is the same with no server, so that a recorded run can be
        replayed without one.
        """
        if self.count_tokens == "estimate":
            return -(-len(text.encode()) // 4)
        self._meet()
        tokens = tokenised(self._ask(*text_tokens(text)))
        if tokens is None:
            raise CardRefused(f"{self._name}: counts no tokens; leave out count_tokens")
        return len(tokens)

    def prompts(self, call: Likelihoods) -> int:
        """Once where the first token says it all, else once for each continuation.

        Told from the continuations alone, so that nobody is asked for it.
        """
        return 1 if surely_one_each(call.continuations) else len(call.continuations)

    def longest(self, call: Call) -> tuple[int, int]:
        """By the server's own tokeniser, where it has one."""
        if isinstance(call, Chat):
            return 1, call.sampling.max_tokens
        times = 1 if self._one_each(call.continuations) else len(call.continuations)
        return times, times

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the server does, found out by asking it."""
        self._meet()
        return Capabilities(self._ask, self.top_logprobs, self.limit)

    def summary(self) -> str:
        """The model and what its server does, in one line."""
        return f"{self._name}: {self.capabilities.summary()}"

    # What cannot be asked

    def _check(self, calls: Sequence[Call]) -> None:
        """Find out what the server does as far as it matters, before the calls are on their way.

        Raises CardRefused where it cannot do what is asked.
        """
        able = self.capabilities
        if any(_begun(call.messages) for call in calls):
            if able.turn not in TURN_FIELDS:
                raise CardRefused(
                    f"{self._name}: does not go on with a turn of the assistant that is begun; "
                    "take a prompt that ends with the user, or a model with kind = "
                    '"transformers"'
                )
            _ = able.repeats
        if any(isinstance(call, Chat) and call.sampling.schema is not None for call in calls):
            _ = able.schema
        wanted = {call.continuations for call in calls if isinstance(call, Likelihoods)}
        longer = [some for some in wanted if not self._one_each(some)]
        if longer and not able.given_texts:
            raise CardRefused(
                f"{self._name}: tells log-probabilities of what the model says, not of given "
                f"texts such as {max(longer[0], key=len)[:80]!r}; a model with kind = "
                '"transformers" tells them'
            )
        if len(longer) < len(wanted) and not able.top_logprobs:
            raise CardRefused(
                f"{self._name}: tells no log-probabilities; take a prompt that is answered in "
                'words, or a model with kind = "transformers"'
            )

    def _one_each(self, continuations: Sequence[str]) -> bool:
        """Whether continuations are tokens, each another."""
        if not self.capabilities.tokeniser:
            return surely_one_each(continuations)
        if not all(len(self._tokens_of(one)) == 1 for one in continuations):
            return False
        return len({self._tokens_of(one)[0] for one in continuations}) == len(continuations)

    def _tokens_of(self, text: str) -> list[int]:
        """As the server tokenises a word; none of several words, which are several tokens."""
        if len(text) > 40 or len(text.split()) > 1:
            return []
        if text not in self._words:
            self._words[text] = tokenised(self._ask(*text_tokens(text))) or []
        return self._words[text]

    @cached_property
    def _words(self) -> dict[str, list[int]]:
        return {}

    # One call

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Ask]:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        # Made anew each time, since it belongs to one event loop.
        client = AsyncOpenAI(
            http_client=DefaultAsyncHttpxClient(verify=self._trust), **self._settings
        )
        async with client:

            async def ask(call: Call) -> Answer:
                start = time.perf_counter()
                answer = await self._answer(client, call)
                spent = round(1000 * (time.perf_counter() - start), 3)
                reason = without(self._settings["api_key"], answer.reason)
                return msgspec.structs.replace(answer, latency_ms=spent, reason=reason)

            yield ask

    async def _answer(self, client: AsyncOpenAI, call: Call) -> Answer:
        from openai import OpenAIError

        try:
            # A server that sends a sign now and then, and never an end, is given up as well.
            async with asyncio.timeout((self.retries + 1) * (self.timeout + _LONGEST_WAIT)):
                return await self._asked(client, call)
        except TimeoutError:
            return Answer(status="timeout", reason="no end of the answer came")
        except OpenAIError as error:
            return self._failed(error)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return Answer(status="api_error", reason=f"answered what is no chat: {cut(error)}")

    async def _asked(self, client: AsyncOpenAI, call: Call) -> Answer:
        if isinstance(call, Likelihoods) and not self._one_each(call.continuations):
            return await self._weighed(client, call)
        messages = [msgspec.to_builtins(message) for message in call.messages]
        body = self._body({"messages": messages, **self._fields(call)})
        # As bytes: the client's typed way there and back costs a third of all the work.
        found = await client.post(CHAT, body=body, cast_to=bytes)
        return self._read(call, msgspec.json.decode(found, type=Completion))

    def _fields(self, call: Call) -> dict[str, Any]:
        fields: dict[str, Any] = dict(self._turn(call))
        if isinstance(call, Likelihoods):
            # At temperature 1 no server scales what it tells; what it draws is of no concern.
            told = {"logprobs": True, "top_logprobs": self.capabilities.top_logprobs}
            return fields | told | {self.limit: 1, "temperature": 1.0, "top_p": 1.0}
        sampling = call.sampling
        fields |= {self.limit: sampling.max_tokens}
        fields |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.seed is not None:
            fields["seed"] = sampling.seed
        if sampling.schema is not None and self.capabilities.schema:
            fields |= held_to(sampling.schema)
        return fields

    def _turn(self, call: Call) -> Mapping[str, bool]:
        return TURN_FIELDS[self.capabilities.turn] if _begun(call.messages) else {}

    def _read(self, call: Call, found: Completion) -> Answer:
        try:
            choice = found.first
        except ValueError as error:
            return Answer(status="api_error", reason=str(error), usage=found.took)
        if isinstance(call, Likelihoods):
            if not choice.logprobs or not (first := choice.logprobs.first):
                reason = "answered without log-probabilities"
                return Answer(status="api_error", reason=reason, usage=found.took)
            if why := untold(first, call.continuations):
                return Answer(status="api_error", reason=why, of_itself=True, usage=found.took)
            told = logprobs(first, call.continuations)
            left = missing(first, call.continuations)
            return Answer(logprobs=told, untold=left, usage=found.took)
        said, begun = choice.message, _begun(call.messages)
        text = said.content
        if text and begun and self.capabilities.repeats:
            text = text.removeprefix(begun)
        return ended(text, choice.finish_reason, said.refusal, found.took)

    async def _weighed(self, client: AsyncOpenAI, call: Likelihoods) -> Answer:
        """The answer for continuations of more than one token."""

        async def post(path: str, body: Mapping[str, Any]) -> object:
            url, body = self._url(path), self._body(body)
            return msgspec.json.decode(await client.post(url, body=body, cast_to=bytes))

        messages = [msgspec.to_builtins(message) for message in call.messages]
        chat = tokenised(await post(*chat_tokens(messages, self._turn(call))))
        texts = [tokenised(await post(*text_tokens(one))) for one in call.continuations]
        if not chat or None in texts:
            return Answer(status="api_error", reason="answered without tokens")
        asked = [[*chat, *(text or [])] for text in texts]
        found = await post(*prompts(asked))
        weights = given_logprobs(found, asked, len(chat))
        if weights is None:
            return Answer(status="api_error", reason="answered without log-probabilities")
        return Answer(logprobs=weights, usage=msgspec.convert(found, Completion).took)

    def _failed(self, error: OpenAIError) -> Answer:
        """What a call came to that the client has given up."""
        from openai import APIStatusError

        if isinstance(error, APIStatusError):
            self._stop_if_hopeless(error)
        return failed(error, self._told(error))

    def _stop_if_hopeless(self, error: APIStatusError) -> None:
        """Raise ModelUnavailable, with what to do, where no other call can succeed either."""
        there = nearest(self.model, self._models) if error.status_code == 404 else ""
        if hint := hopeless(error, self.api_key_env, there, self._streak.answered):
            raise ModelUnavailable(f"{self._name}: {hint}; the server says: {self._told(error)}")

    def _told(self, error: OpenAIError) -> str:
        return told(error, self._settings["api_key"])

    # The server

    def _meet(self) -> None:
        """See that somebody is there, and has the model, before many calls wait for it.

        Raises CardRefused where the server lists its models and this is none of them: it might
        answer all the same, and the run would bear the name of a model that never saw it.
        """
        names = self._models
        if not names or among(self.model, names) or lists_others(self.base_url):
            return
        if self._told_of(self.model) is None:
            raise CardRefused(
                f"model: {cut(self.model)!r} is none of those at {self.base_url}; nearest: "
                f"{nearest(self.model, names)}; name on the card what the server calls it"
            )

    @cached_property
    def _models(self) -> list[str]:
        """The models that the server says it has; empty where it does not say."""
        return listed(self._told_of() or b"")

    def _told_of(self, model: str | None = None) -> bytes | None:
        """What the server tells of a model, or of all; None where it does not, or for too long.

        Raises ModelUnavailable where nobody answers, or it wants another key.
        """
        client = self._client
        from httpx2 import HTTPError
        from openai import APIConnectionError, APIStatusError, OpenAIError

        end = time.monotonic() + self.timeout
        models = client.with_options(
            max_retries=min(self.retries, 1)
        ).models.with_streaming_response
        try:
            with models.list() if model is None else models.retrieve(model) as told_of:
                data = b""
                for part in told_of.iter_bytes():
                    data += part
                    if len(data) > LONGEST or time.monotonic() > end:
                        return None
                return data
        except APIConnectionError as error:
            raise ModelUnavailable(
                f"{self._name}: nobody answers ({cut(error.__cause__ or error)}); start the "
                "server, or set base_url to where it is. python -m baselines.llm.serve starts one "
                "with a small model"
            ) from None
        except APIStatusError as error:
            if error.status_code == 401:
                self._stop_if_hopeless(error)
            return None
        except (OpenAIError, HTTPError, ValueError):
            return None  # it need not tell, nor in a way that is understood

    def _ask(self, path: str, body: Mapping[str, Any]) -> object:
        """What the server answers to one question; None where it refuses it.

        Raises ModelUnavailable where it cannot be asked.
        """
        from openai import APIStatusError, OpenAIError

        try:
            url = self._url(path)
            found = self._client.post(url, body=self._body(body), cast_to=bytes)
            return msgspec.json.decode(found)
        except APIStatusError as error:
            if error.status_code == 400 and error.param == "temperature" and error.param in body:
                # A model with one temperature only: calls have theirs from the card, and this
                # question does without.
                return self._ask(path, {name: body[name] for name in body if name != error.param})
            if path == CHAT and error.status_code not in NO_CHAT:  # for one field, perhaps
                self._stop_if_hopeless(error)
            if error.status_code in _REFUSALS:
                return None
            said = self._told(error)
        except OpenAIError as error:
            said = self._told(error)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        raise ModelUnavailable(f"{self._name}: cannot be asked what it does: {said}; try later")

    def _url(self, path: str) -> str:
        """Where a path is; the client takes those under base_url as they are."""
        base = self.base_url.rstrip("/").removesuffix("/v1")
        return base + path if path == TOKENIZE else path

    def _body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self.model, **body, **self.extra}

    @cached_property
    def _client(self) -> OpenAI:
        """For single questions; calls have clients of their own."""
        with library("openai", "llm"):
            from openai import OpenAI
        return OpenAI(**self._settings)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return {
            "api_key": key_of(self.api_key_env, self.base_url, self._name),
            "base_url": self.base_url,
            "max_retries": self.retries,
            "timeout": self.timeout,
        }

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """The certificates that are trusted, which take 20 ms to read."""
        from httpx2 import create_ssl_context

        return create_ssl_context()

    @cached_property
    def _streak(self) -> Streak:
        return Streak(self._name)

    @property
    def _name(self) -> str:
        return f"{self.model} at {self.base_url}"


def _begun(messages: Sequence[Message]) -> str:
    """What the assistant's turn has begun with already."""
    last = messages[-1] if messages else None
    return last.content if last is not None and last.role == "assistant" else ""
