"""BERT4Rec: a transformer that looks both ways and fills in items that are masked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.checks import between, share
from baselines.sequential import losses
from baselines.sequential.neural import NeuralRanker
from baselines.sequential.training import Network
from baselines.sequential.transformer import Transformer, expect_shape
from llm4rec_bench import TaskView


@dataclass
class BERT4Rec(NeuralRanker):
    """Learns to tell masked items from those on both sides; the next one is masked at the end.

    Sun et al. (2019), departing from it: pre-norm blocks, masked places are always shown as
    the mask, and items' vectors serve as output without a further layer. As there, a share of
    the windows has only its last item masked, which is what ranking asks for. It is trained
    until it gets no better, for under-trained it is far weaker (Petrov and Macdonald, 2022).
    """

    dimension: int = 64
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2
    masked: float = 0.2
    """Share of the places of a window that are masked."""
    last_only: float = 0.1
    """Share of the windows of which only the last item is masked."""
    patience: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_shape(self)
        between(masked=self.masked)
        share(last_only=self.last_only)

    def network(self, task: TaskView) -> Network:
        """A new transformer."""
        shape = (self.length + 1, self.dimension, self.blocks, self.heads, self.dropout)
        layers = Transformer(*shape, causal=False)
        return _Cloze(len(task.items), self.dimension, layers, self.masked, self.last_only)


class _Cloze(Network):
    def __init__(
        self, items: int, dimension: int, layers: nn.Module, masked: float, last_only: float
    ) -> None:
        super().__init__(items)
        self.mask = items + 1
        self.vectors = nn.Embedding(items + 2, dimension, padding_idx=items)
        nn.init.normal_(self.vectors.weight, std=0.02)
        self.layers = layers
        self.masked, self.last_only = masked, last_only

    def loss(self, windows: Tensor) -> Tensor:
        """Cross-entropy over the catalogue at masked places."""
        hidden = self._hidden(windows)
        shown = windows.masked_fill(hidden, self.mask)
        return losses.softmax(self._states(shown)[hidden], self.item_vectors(), windows[hidden])

    def users(self, histories: Tensor) -> Tensor:
        """The state at a mask put after the last item."""
        lengths = (histories != self.padding).sum(1)
        users = torch.arange(len(histories), device=histories.device)
        asked = torch.nn.functional.pad(histories, (0, 1), value=self.padding)
        asked[users, lengths] = self.mask
        return self._states(asked)[users, lengths]

    def item_vectors(self) -> Tensor:
        """The vectors by which items are read, too."""
        return self.vectors.weight[:-2]

    def _states(self, items: Tensor) -> Tensor:
        vectors = self.vectors(items) * self.vectors.embedding_dim**0.5
        states: Tensor = self.layers(vectors, items != self.padding)
        return states

    def _hidden(self, windows: Tensor) -> Tensor:
        """Which places to mask: at random, or the last one of a window; at least one of each."""
        there = windows != self.padding
        last = there.sum(1, keepdim=True) - 1
        at_end = torch.arange(windows.shape[1], device=windows.device) == last
        drawn = there & (torch.rand(windows.shape, device=windows.device) < self.masked)
        only = torch.rand((len(windows), 1), device=windows.device) < self.last_only
        return torch.where(only | ~drawn.any(1, keepdim=True), at_end, drawn)
