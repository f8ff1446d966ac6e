"""One training loop for all neural models: seeded, stopped early, continued after a kill."""

from __future__ import annotations

import copy
import math
import os
import pickle
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.checks import not_negative, positive, whole
from baselines.sequential.sequences import FEWEST, HeldOut, Sequences, latest
from llm4rec_bench import CardRefused

Report = Callable[[str], None]


@dataclass
class Plan:
    """How a network is trained. Raises CardRefused where it cannot be trained so."""

    length: int = 50
    """Items that it reads at once."""
    epochs: int = 200
    """At most."""
    patience: int = 10
    """Epochs without a better ndcg@10 on what is held out after which training stops."""
    batch: int = 64
    """Windows of `length` items a step."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    held_out: int = 5_000
    """Users, at most, whose last visible item is held out to know when to stop."""
    finish: float = 0.2
    """Epochs on all that is visible at the end, as a share of those before."""

    def __post_init__(self) -> None:
        whole(
            length=self.length,
            epochs=self.epochs,
            patience=self.patience,
            batch=self.batch,
            held_out=self.held_out,
        )
        positive(learning_rate=self.learning_rate)
        not_negative(weight_decay=self.weight_decay, finish=self.finish)


class Network(nn.Module):
    """What the loop asks of a model. Items are their rows, and `padding` is no item."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.padding = items

    def loss(self, windows: Tensor) -> Tensor:
        """The loss on windows of item rows, shape (batch, length + 1), padded on the right."""
        raise NotImplementedError

    def users(self, histories: Tensor) -> Tensor:
        """A vector for each history, shape (batch, length), padded on the right."""
        raise NotImplementedError

    def item_vectors(self) -> Tensor:
        """A vector for each item of the catalogue; their inner products are the scores."""
        raise NotImplementedError


def device() -> torch.device:
    """The fastest kind of processor there is."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def mixed_precision(place: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where it pays, on CUDA; on the CPU float32, so that equal seeds agree."""
    return torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda")


def train(
    make: Callable[[], Network],
    data: Sequences,
    plan: Plan,
    seed: int,
    kept: Path | None,
    report: Report,
) -> Network:
    """A network trained on all sequences.

    The last item of each user is held out at first, and the weights are taken that rank these
    best, by ndcg@10 over the catalogue less the history. Then some epochs follow on everything,
    since a user's latest item tells most about the next. Nothing but `data`, which is what the
    split may see, is used. `kept` is a file for the state of the training, from which it is
    continued. Raises CardRefused where there is nobody to hold out or the training diverges.
    """
    rest, held_out = data.hold_out(plan.held_out, np.random.default_rng(seed))
    if not held_out.histories:
        raise CardRefused(
            f"expected users with {FEWEST} visible items or more, whose last one is held out to "
            f"know when to stop training, found none among {len(data)}; take another method for "
            "such short histories"
        )
    with torch.random.fork_rng():
        training = _Training(make, plan, seed, kept, report)
        training.search(rest, held_out)
        training.finish(data)
    return training.network.eval()


def ndcg(network: Network, held_out: HeldOut, length: int) -> float:
    """Mean ndcg@10 of the held-out items among all that are not in their histories.

    An item comes after all others that score no less: a network that has broken down, whose
    scores are equal or no numbers at all, must not be taken for a good one.
    """
    place, gains = device(), []
    with torch.inference_mode():
        items = network.item_vectors()
        for start in range(0, len(held_out.targets), 1024):
            histories = held_out.histories[start : start + 1024]
            windows = torch.from_numpy(latest(histories, length, network.padding)).to(place)
            scores = network.users(windows) @ items.T
            target = torch.from_numpy(held_out.targets[start : start + 1024]).to(place)[:, None]
            reached = scores.gather(1, target)
            for row, history in zip(scores, histories, strict=True):
                row[torch.from_numpy(history).to(place)] = -torch.inf
            scores.scatter_(1, target, reached)  # should it be in the history, too
            rank = len(items) - (scores < reached).sum(1)
            gains.append(torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0))
    return float(torch.cat(gains).mean())


class _Training:
    """A network on its way."""

    def __init__(
        self,
        make: Callable[[], Network],
        plan: Plan,
        seed: int,
        kept: Path | None,
        report: Report,
    ) -> None:
        self.plan, self.seed, self.kept, self.report = plan, seed, kept, report
        self.place = device()
        torch.manual_seed(seed)
        self.network = make().to(self.place)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay
        )
        self.epoch, self.best, self.best_epoch, self.found = 0, -1.0, 0, False
        self.best_state = self._state()
        self.kept_at = time.monotonic()
        self._restore()

    def search(self, data: Sequences, held_out: HeldOut) -> None:
        """Train until nothing better comes for a while; then go back to the best."""
        plan = self.plan
        while not self.found:
            loss = self._step_through(data)
            value = ndcg(self.network.eval(), held_out, plan.length)
            if value > self.best:
                self.best, self.best_epoch = value, self.epoch
                self.best_state = copy.deepcopy(self._state())
            self.report(
                f"epoch {self.epoch}: loss {loss:.3f}, ndcg@10 of held-out items {value:.4f}, "
                f"best {self.best:.4f} after {self.best_epoch}"
            )
            if self.epoch == plan.epochs or self.epoch - self.best_epoch == plan.patience:
                self._load(self.best_state)
                self.epoch, self.found = self.best_epoch, True
            self._keep(_SECONDS_BETWEEN)

    def finish(self, data: Sequences) -> None:
        """Train on everything for some more epochs."""
        last = self.best_epoch + math.ceil(self.best_epoch * self.plan.finish)
        while self.epoch < last:
            loss = self._step_through(data)
            self.report(f"epoch {self.epoch} of {last}, on all visible items: loss {loss:.3f}")
            self._keep(_SECONDS_BETWEEN if self.epoch < last else 0)

    def _step_through(self, data: Sequences) -> float:
        """One epoch; the mean loss. Each has seeds of its own, so a continued one is the same."""
        self.epoch += 1
        rng = np.random.default_rng([self.seed, self.epoch])
        torch.manual_seed(int(rng.integers(1 << 31)))
        network = self.network.train()
        windows = data.windows(self.plan.length, network.padding, rng)
        windows = windows[rng.permutation(len(windows))]
        losses = [torch.zeros((), device=self.place)]
        for start in range(0, len(windows), self.plan.batch):
            some = windows[start : start + self.plan.batch]
            longest = int((some != network.padding).sum(1).max())
            batch = torch.from_numpy(some[:, :longest]).to(self.place)
            with mixed_precision(self.place):
                loss = network.loss(batch)
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimizer.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).sum()) / max(1, len(losses) - 1)
        if not math.isfinite(mean):
            raise CardRefused(
                f"the training diverged: expected a finite loss, found {mean} in epoch "
                f"{self.epoch}; a learning_rate below {self.plan.learning_rate} may mend it"
            )
        return mean

    def _keep(self, seconds: float) -> None:
        """Put the state beside, unless that was done less than so many seconds ago."""
        if self.kept is None or time.monotonic() - self.kept_at < seconds:
            return
        self.kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.kept.with_name(f"{self.kept.name}.{os.getpid()}.tmp")
        counters = {name: getattr(self, name) for name in _COUNTERS}
        torch.save(counters | {"now": self._state(), "best_state": self.best_state}, temporary)
        temporary.replace(self.kept)
        self.kept_at = time.monotonic()

    def _restore(self) -> None:
        """Continue from what was kept; what cannot be read is trained anew."""
        if self.kept is None or not self.kept.exists():
            return
        try:
            kept = torch.load(self.kept, map_location=self.place, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
            return
        self._load(kept["now"])
        self.best_state = kept["best_state"]
        for name in _COUNTERS:
            setattr(self, name, kept[name])

    def _state(self) -> dict[str, Any]:
        return {part: getattr(self, part).state_dict() for part in ("network", "optimizer")}

    def _load(self, state: dict[str, Any]) -> None:
        for part, weights in state.items():
            getattr(self, part).load_state_dict(weights)


_COUNTERS = ("epoch", "best", "best_epoch", "found")
_SECONDS_BETWEEN = 20.0
"""Seconds of training that a kill may cost."""
