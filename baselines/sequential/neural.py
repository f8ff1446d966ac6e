"""What all neural rankers share: trained on the log, asked for a user's vector, kept for reuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch

from baselines.catalogue import Scores, ranked
from baselines.sequential import sequences as data
from baselines.sequential.training import Network, Plan, device, train
from llm4rec_bench import Ranking, Request, TaskView


@dataclass
class NeuralRanker(Plan):
    """Trains the network that a subclass makes and ranks by inner products.

    Its fields are the params of a card. Trained weights are kept in the task's workspace under
    a digest of the fields, the seed, the visible events and the code, so that the tracks of a
    task, which show the same events, are trained for once.
    """

    def network(self, task: TaskView) -> Network:
        """A new network, its weights drawn from torch's generator."""
        raise NotImplementedError

    def inputs(self) -> bytes:
        """Whatever else than visible events the network is made from."""
        return b""

    def fit(self, task: TaskView) -> None:
        """Train, or take the weights that were kept."""
        self.task = task
        sequences = data.sequences(task.log)
        self.model = train(
            lambda: self.network(task),
            sequences,
            self,
            task.seed,
            self._kept(task, sequences),
            task.report,
        )
        with torch.inference_mode():
            self.item_vectors = self.model.item_vectors().float().T.contiguous()

    def rank(self, requests: Sequence[Request]) -> list[Ranking]:
        """The items whose vectors have the largest inner products with the user's."""
        return ranked(requests, self.task, self.scores)

    def scores(self, requests: Sequence[Request]) -> Scores:
        """A score for every item of the catalogue: shape (requests, items)."""
        rows = [self.task.items.rows(request.history) for request in requests]
        windows = data.latest(rows, self.length, self.model.padding)
        with torch.inference_mode():
            users = self.model.users(torch.from_numpy(windows).to(device()))
            scores: Scores = (users.float() @ self.item_vectors).cpu().numpy()
        return scores

    def _kept(self, task: TaskView, sequences: data.Sequences) -> Path | None:
        if task.workspace is None:
            return None
        name = type(self).__name__.lower()
        own = Path(sys.modules[type(self).__module__].__file__ or "")
        code = [file.read_bytes() for file in (*sorted(Path(__file__).parent.glob("*.py")), own)]
        decides = [name, asdict(self), task.seed, len(task.items), device().type, torch.__version__]
        digest = sha256(json.dumps(decides).encode())
        events = sequences.items.tobytes(), sequences.offsets.tobytes()
        for part in (*code, self.inputs(), *events):
            digest.update(part)
        return task.workspace / "trained" / f"{name}-{digest.hexdigest()[:24]}.pt"
