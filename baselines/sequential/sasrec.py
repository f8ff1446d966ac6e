"""SASRec: a causal transformer over the items of a history."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.checks import share, whole
from baselines.sequential import losses
from baselines.sequential.causal import Causal
from baselines.sequential.neural import NeuralRanker
from baselines.sequential.training import Network
from baselines.sequential.transformer import Transformer, expect_shape
from llm4rec_bench import TaskView


@dataclass
class SASRec(NeuralRanker):
    """Predicts the next item at every place of a sequence by self-attention over those before.

    Kang and McAuley (2018), departing from it as later work found better: as loss the softmax
    over the whole catalogue (Klenitskiy and Vasilev, 2023), or with ``loss = "gbce"`` the
    sampled one of gSASRec, whose calibration undoes the overconfidence that sampled negatives
    bring (Petrov and Macdonald, 2023). Item vectors are both input and output, as there.

    It departs in these points, too:

    * pre-norm blocks with GELU, whose feed-forward layer is four times as wide as the vectors;
    * no dropout on attention's weights or inside the feed-forward layer, only on what goes in
      and on what each adds;
    * AdamW, which is the paper's Adam where `weight_decay` is 0, as it is by default;
    * windows that begin anywhere in a sequence, so that the whole of a long history is learnt
      from, and places counted from a window's start instead of its end;
    * after the number of epochs is found, some more on all that is visible, see `finish`.
    """

    dimension: int = 64
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2
    loss: losses.Name = "softmax"
    negatives: int = 256
    """Items that `gbce` draws a step."""
    calibration: float = 0.75
    """`t` of `gbce`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_shape(self)
        whole(negatives=self.negatives)
        share(calibration=self.calibration)

    def network(self, task: TaskView) -> Network:
        """A new transformer."""
        shape = (self.length, self.dimension, self.blocks, self.heads, self.dropout)
        loss = losses.named(self.loss, self.negatives, self.calibration)
        return Causal(len(task.items), self.dimension, Transformer(*shape, causal=True), loss)
