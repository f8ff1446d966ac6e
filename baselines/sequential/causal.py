"""What SASRec and GRU4Rec have in common: a state after each item, from which the next is told."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.sequential.losses import Loss
from baselines.sequential.training import Network


class Causal(Network):
    """Item vectors, layers that turn them into states, and the loss at every place.

    `layers` maps vectors of shape (batch, length, dimension) to states of the same shape, the
    state at a place depending on nothing after it. Item vectors are both input and output.
    """

    def __init__(self, items: int, dimension: int, layers: nn.Module, loss: Loss) -> None:
        super().__init__(items)
        self.vectors = nn.Embedding(items + 1, dimension, padding_idx=items)
        nn.init.normal_(self.vectors.weight, std=0.02)
        self.layers = layers
        self.measure = loss

    def states(self, items: Tensor) -> Tensor:
        """A state after each item of windows, shape (batch, length, dimension)."""
        states: Tensor = self.layers(self.vectors(items) * self.vectors.embedding_dim**0.5)
        return states

    def loss(self, windows: Tensor) -> Tensor:
        """The mean loss over all places whose next item is known."""
        targets = windows[:, 1:]
        known = targets != self.padding
        states = self.states(windows[:, :-1])[known]
        return self.measure(states, self.item_vectors(), targets[known])

    def users(self, histories: Tensor) -> Tensor:
        """The state after the last item; the vector of a user without one is zero."""
        lengths = (histories != self.padding).sum(1)
        users = torch.arange(len(histories), device=histories.device)
        return self.states(histories)[users, lengths.clamp(min=1) - 1] * (lengths > 0)[:, None]

    def item_vectors(self) -> Tensor:
        """The vectors by which items are read, too."""
        return self.vectors.weight[:-1]
