"""GRU4Rec: a recurrent network over the items of a history."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from baselines.checks import below_one, share, whole
from baselines.sequential import losses
from baselines.sequential.causal import Causal
from baselines.sequential.neural import NeuralRanker
from baselines.sequential.training import Network
from llm4rec_bench import TaskView


@dataclass
class GRU4Rec(NeuralRanker):
    """Predicts the next item at every place of a sequence from the state of a gated unit.

    Hidasi et al. (2016), departing from it as later work found better: the softmax over the
    whole catalogue instead of a pairwise loss over the others of a batch (cf. Hidasi and
    Karatzoglou, 2018; Petrov and Macdonald, 2022), or the calibrated sampled loss of gSASRec;
    one set of item vectors for input and output, the state being brought to their width by a
    linear layer; dropout on what goes in; and a sequence is all that a user has consumed.
    """

    dimension: int = 64
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.3
    loss: losses.Name = "softmax"
    negatives: int = 256
    """Items that `gbce` draws a step."""
    calibration: float = 0.75
    """`t` of `gbce`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(
            dimension=self.dimension,
            hidden=self.hidden,
            layers=self.layers,
            negatives=self.negatives,
        )
        below_one(dropout=self.dropout)
        share(calibration=self.calibration)

    def network(self, task: TaskView) -> Network:
        """A new recurrent network."""
        layers = _Recurrent(self.dimension, self.hidden, self.layers, self.dropout)
        loss = losses.named(self.loss, self.negatives, self.calibration)
        return Causal(len(task.items), self.dimension, layers, loss)


class _Recurrent(nn.Module):
    def __init__(self, dimension: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gates = nn.GRU(dimension, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, dimension)

    def forward(self, vectors: Tensor) -> Tensor:
        """States after each item; what is filled up on the right comes after all that counts."""
        states, _ = self.gates(self.dropout(vectors))
        out: Tensor = self.out(states)
        return out
