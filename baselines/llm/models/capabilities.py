"""What a chat server does, found out by what it answers.

Servers take fields that they know nothing of without a word: that one accepts `logprobs` or
`response_format` says nothing. Each property below asks tiny questions, once, whose answers tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal

import msgspec

from baselines.llm.models.chat_format import Choice, Completion, held_to
from baselines.llm.models.given_texts import chat_tokens, logprobs, prompts, text_tokens, tokenised

Ask = Callable[[str, Mapping[str, Any]], object]
"""Posts a body to a path of the server: the JSON that it answers, None where it refuses."""

Turn = Literal["by itself", "by extra fields", "not at all"]

TURN_FIELDS: dict[Turn, dict[str, bool]] = {
    "by itself": {},
    "by extra fields": {"continue_final_message": True, "add_generation_prompt": False},
}
"""What a server must be told to let the assistant's turn go on: llama.cpp's does so by itself,
vLLM's and SGLang's where these fields say so."""

CHAT = "/chat/completions"
_FEWER = (500, 100, 20, 5)
_KIWI = {
    "type": "object",
    "properties": {"kiwi": {"type": "string", "enum": ["zeppelin"]}},
    "required": ["kiwi"],
    "additionalProperties": False,
}
_BEGUN = "red green blue red green blue red green blue red"


class Capabilities:
    """Raises what `ask` raises, where the server cannot be asked at all."""

    def __init__(self, ask: Ask, most: int, limit: str = "max_tokens") -> None:
        """`most` is how many of the likeliest tokens are wanted, `limit` the server's word for
        the most tokens of an answer."""
        self.ask = ask
        self.most = most
        self.limit = limit

    @cached_property
    def top_logprobs(self) -> int:
        """How many of the likeliest first tokens are told with their log-probabilities.

        As many as are wanted, or of several smaller numbers the first that is not refused:
        OpenAI's and vLLM's servers refuse more than 20.
        """
        for number in [self.most, *(fewer for fewer in _FEWER if fewer < self.most)]:
            said = self._said("Say one letter.", 1, logprobs=True, top_logprobs=number)
            if said is not None:
                return len(said.logprobs.first) if said.logprobs else 0
        return 0

    @cached_property
    def schema(self) -> bool:
        """Whether an answer is held to a JSON Schema: to a word that nobody would say."""
        said = self._said("Say hello.", 64, **held_to(_KIWI))
        try:
            found = msgspec.json.decode((said and said.message.content) or "")
        except msgspec.MsgspecError:
            return False
        return bool(found == {"kiwi": "zeppelin"})

    @cached_property
    def seed(self) -> bool:
        """Whether a seed decides what is drawn: the same again, and another with another."""
        first, again, *others = [
            self._said("Write ten words at random.", 12, temperature=1.0, seed=seed)
            for seed in (1, 1, 2, 3)
        ]
        if first is None or again is None or first.message != again.message:
            return False
        return any(other is not None and other.message != first.message for other in others)

    @cached_property
    def turn(self) -> Turn:
        """How a turn of the assistant goes on that a conversation ends with.

        What goes on begins with a blank, and no new turn does.
        """
        for how, fields in TURN_FIELDS.items():
            if self._gone_on(fields).removeprefix(_BEGUN).startswith(" green"):
                return how
        return "not at all"

    @cached_property
    def repeats(self) -> bool:
        """Whether an answer that goes on has the beginning before it, as llama.cpp's has."""
        fields = TURN_FIELDS.get(self.turn)
        return fields is not None and self._gone_on(fields).startswith(_BEGUN)

    @cached_property
    def tokeniser(self) -> bool:
        """Whether the server turns texts into tokens."""
        return bool(tokenised(self.ask(*text_tokens("Hello, you there."))))

    @cached_property
    def given_texts(self) -> bool:
        """Whether it is told how likely each token of a chat is."""
        chat = tokenised(self.ask(*chat_tokens([{"role": "user", "content": "Say hello."}])))
        if not chat:
            return False
        return logprobs(self.ask(*prompts([chat, chat])), [chat, chat], 1) is not None

    def summary(self) -> str:
        """All of it in one line."""
        held = {True: "held to", False: "not held to"}
        return (
            f"log-probabilities of {self.top_logprobs or 'no'} first tokens"
            f"{', of given texts' if self.given_texts else ''}; "
            f"JSON Schemas are {held[self.schema]}, seeds {held[self.seed]}; "
            f"a turn begun goes on {self.turn}"
        )

    def _said(self, question: str, tokens: int, **fields: object) -> Choice | None:
        """The answer to a question, in so many tokens; None where there is none."""
        return self._answer([{"role": "user", "content": question}], tokens, fields)

    def _gone_on(self, fields: Mapping[str, bool]) -> str:
        turns = [
            {"role": "user", "content": "Repeat many times: red green blue"},
            {"role": "assistant", "content": _BEGUN},
        ]
        said = self._answer(turns, 6, fields)
        return (said and said.message.content) or ""

    def _answer(
        self, messages: list[dict[str, str]], tokens: int, fields: Mapping[str, object]
    ) -> Choice | None:
        body = {"messages": messages, self.limit: tokens, "temperature": 0.0, **fields}
        try:
            return msgspec.convert(self.ask(CHAT, body), Completion).first
        except (msgspec.ValidationError, ValueError):
            return None
