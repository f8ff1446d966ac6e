"""The transformer that SASRec, BERT4Rec and UniSRec are made of."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as f

from baselines.checks import below_one, whole
from llm4rec_bench import CardRefused


class Shape(Protocol):
    """The params of a card that shape a transformer."""

    dimension: int
    blocks: int
    heads: int
    dropout: float


class Transformer(nn.Module):
    """Pre-norm self-attention over vectors with learnt positions: (batch, length, dimension)."""

    def __init__(
        self, length: int, dimension: int, blocks: int, heads: int, dropout: float, causal: bool
    ) -> None:
        super().__init__()
        self.positions = nn.Parameter(nn.init.normal_(Tensor(length, dimension), std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dimension, heads, dropout, causal) for _ in range(blocks))
        self.norm = nn.LayerNorm(dimension)
        self.apply(_small)

    def forward(self, vectors: Tensor, there: Tensor | None = None) -> Tensor:
        """A state for each place. `there`, (batch, length), says which places hold something.

        A causal model does not need to know, since sequences are filled up on the right.
        """
        mask = None if there is None else there[:, None, None, :]
        states = self.dropout(vectors + self.positions[: vectors.shape[1]])
        for block in self.blocks:
            states = block(states, mask)
        normed: Tensor = self.norm(states)
        return normed


def expect_shape(params: Shape) -> None:
    """Raises CardRefused where no transformer is of the shape that a card asks for."""
    whole(dimension=params.dimension, blocks=params.blocks, heads=params.heads)
    below_one(dropout=params.dropout)
    if params.dimension % params.heads:
        raise CardRefused(
            f"dimension: expected a multiple of the {params.heads} heads, found {params.dimension}"
        )


class Block(nn.Module):
    """Attention, then a feed-forward layer four times as wide, each added to what came in.

    Dropout is applied to what is added, and not within either.
    """

    def __init__(self, dimension: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.before_attention = nn.LayerNorm(dimension)
        self.projections = nn.Linear(dimension, 3 * dimension)
        self.together = nn.Linear(dimension, dimension)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dimension),
            nn.Linear(dimension, 4 * dimension),
            nn.GELU(),
            nn.Linear(4 * dimension, dimension),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """The states after attention and feed-forward."""
        states = states + self.dropout(self.together(self._attended(states, mask)))
        after: Tensor = states + self.feed_forward(states)
        return after

    def _attended(self, states: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, dimension = states.shape
        parts = self.projections(self.before_attention(states))
        parts = parts.view(batch, length, 3, self.heads, dimension // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = f.scaled_dot_product_attention(query, key, value, mask, is_causal=self.causal)
        return attended.transpose(1, 2).reshape(batch, length, dimension)


def _small(module: nn.Module) -> None:
    """Small weights to begin with, as is usual for transformers."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
