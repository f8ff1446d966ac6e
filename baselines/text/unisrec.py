"""UniSRec: a sequence model that knows items by their texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from baselines.checks import positive, whole
from baselines.sequential import losses
from baselines.sequential.neural import NeuralRanker
from baselines.sequential.training import Network
from baselines.sequential.transformer import Transformer, expect_shape
from baselines.text.encoders import MINILM, Vectors, encoder_of
from baselines.text.kept import Embeddings
from baselines.text.lacking import no_text
from llm4rec_bench import TaskView


@dataclass
class UniSRec(NeuralRanker):
    """Adapts frozen vectors of items' texts and reads histories of them with a transformer.

    Hou et al. (2022): each of several experts whitens the text's vector by a shift and a linear
    map that are learnt, a noisy gate weighs the experts, and next items are told by cosine
    similarity at a temperature. As there in the inductive setting no item has a vector of its
    own, so one that nobody has consumed yet is ranked like any other. In departure from the
    paper nothing is trained beforehand on other domains, and the softmax runs over the whole
    catalogue instead of the other items of a batch. Items without a text are all alike: what
    the adaptor, which is trained, makes of a vector of zeros is the vector of each.
    """

    dimension: int = 64
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2
    experts: int = 8
    temperature: float = 0.07
    encoder: Mapping[str, Any] = field(default_factory=lambda: dict(MINILM))
    """What makes the vectors of texts, see `encoder_of`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_shape(self)
        whole(experts=self.experts)
        positive(temperature=self.temperature)

    def fit(self, task: TaskView) -> None:
        """Embed the texts, then train."""
        texts = [text.strip() for text in task.texts()]
        there = np.array([bool(text) for text in texts])
        if not there.any():
            raise no_text(task)
        embeddings = Embeddings(encoder_of(self.encoder), task.workspace)
        found = embeddings.passages([text for text in texts if text])
        self.vectors: Vectors = np.zeros((len(texts), found.shape[1]), np.float32)
        self.vectors[there] = found
        super().fit(task)

    def inputs(self) -> bytes:
        """The vectors of the texts."""
        return self.vectors.tobytes()

    def network(self, task: TaskView) -> Network:
        """A new adaptor and transformer."""
        shape = (self.length, self.dimension, self.blocks, self.heads, self.dropout)
        adaptor = _Adaptor(self.vectors.shape[1], self.dimension, self.experts, self.dropout)
        layers = Transformer(*shape, causal=True)
        return _Inductive(torch.from_numpy(self.vectors), adaptor, layers, self.temperature)


class _Adaptor(nn.Module):
    """Parametric whitening by a mixture of experts: (items, width) to (items, dimension)."""

    def __init__(self, width: int, dimension: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.experts = experts
        self.dropout = nn.Dropout(dropout)
        self.shift = nn.Parameter(torch.zeros(experts, width))
        self.map = nn.Parameter(nn.init.normal_(torch.empty(width, experts * dimension), std=0.02))
        self.gate = nn.Parameter(torch.zeros(width, experts))
        self.noise = nn.Parameter(torch.zeros(width, experts))

    def forward(self, vectors: Tensor) -> Tensor:
        """Adapted vectors."""
        weights = vectors @ self.gate
        if self.training:
            weights = weights + torch.randn_like(weights) * f.softplus(vectors @ self.noise)
        # (x - shift) @ map, the shift taken out of the product so that items are mapped once.
        maps = self.map.view(len(self.map), self.experts, -1)
        shifts = torch.einsum("ew,wed->ed", self.shift, maps)
        mapped = (self.dropout(vectors) @ self.map).view(len(vectors), self.experts, -1) - shifts
        return torch.einsum("ne,ned->nd", weights.softmax(1), mapped)


class _Inductive(Network):
    texts: Tensor

    def __init__(
        self, texts: Tensor, adaptor: nn.Module, layers: nn.Module, temperature: float
    ) -> None:
        super().__init__(len(texts))
        self.register_buffer("texts", texts, persistent=False)
        self.adaptor, self.layers, self.temperature = adaptor, layers, temperature
        self.adapted: Tensor | None = None

    def train(self, mode: bool = True) -> Self:
        """Also forgets the adapted vectors, which training changes."""
        self.adapted = None
        return super().train(mode)

    def loss(self, windows: Tensor) -> Tensor:
        """The mean loss over all places whose next item is known."""
        items = self.adaptor(self.texts)
        targets = windows[:, 1:]
        known = targets != self.padding
        states = self._states(windows[:, :-1], items)[known]
        return losses.softmax(states, f.normalize(items, dim=1), targets[known])

    def users(self, histories: Tensor) -> Tensor:
        """The state after the last item; the vector of a user without one is zero."""
        lengths = (histories != self.padding).sum(1)
        users = torch.arange(len(histories), device=histories.device)
        states = self._states(histories, self._ready())
        return states[users, lengths.clamp(min=1) - 1] * (lengths > 0)[:, None]

    def item_vectors(self) -> Tensor:
        """The adapted vectors of all texts, of length one."""
        return f.normalize(self._ready(), dim=1)

    def _ready(self) -> Tensor:
        """The adapted vectors, worked out once for all requests."""
        if self.adapted is None:
            self.adapted = self.adaptor(self.texts)
        return self.adapted

    def _states(self, windows: Tensor, items: Tensor) -> Tensor:
        """States over the temperature, so that their products with unit vectors are scores."""
        filled = f.pad(items, (0, 0, 0, 1))  # a row of zeros for what is filled up
        states = self.layers(filled[windows])
        return f.normalize(states, dim=-1) / self.temperature
