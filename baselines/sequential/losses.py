"""Losses over the catalogue, shared by the neural models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as f

from llm4rec_bench import CardRefused

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of states (places, dimension), item vectors (items, dimension), and target rows (places,)."""


_CELLS = 1 << 18
"""Inner products that are held at once on the CPU."""


Name = Literal["softmax", "gbce"]


def named(name: str, negatives: int, calibration: float) -> Loss:
    """The loss a card names; raises CardRefused where there is no such loss."""
    if name == "softmax":
        return softmax
    if name == "gbce":
        return gbce(negatives, calibration)
    raise CardRefused(f"loss: expected softmax or gbce, found {name!r}")


def softmax(states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the softmax over the whole catalogue, the mean over places.

    The same as `torch.nn.functional.cross_entropy` of all inner products, but these are never
    there at once: gradients are worked out with the loss, for as many places at a time as stay
    in the cache. That bounds memory and takes about half the time.
    """
    with torch.autocast(states.device.type, enabled=False):
        loss: Tensor = _Softmax.apply(states.to(items.dtype), items, targets)  # type: ignore[no-untyped-call]
    return loss


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        places = len(states)
        by_states, by_items = torch.empty_like(states), torch.zeros_like(items)
        loss = states.new_zeros(())
        size = max(1, (_CELLS if states.device.type == "cpu" else _CELLS << 8) // len(items))
        for start in range(0, places, size):
            some, wanted = states[start : start + size], targets[start : start + size, None]
            likely = some @ items.T
            likely -= likely.amax(1, keepdim=True)
            reached = likely.gather(1, wanted)
            likely.exp_()
            total = likely.sum(1, keepdim=True)
            loss += (total.log() - reached).sum()
            likely /= total * places
            likely.scatter_add_(1, wanted, torch.full_like(total, -1 / places))
            by_states[start : start + size] = likely @ items
            by_items.addmm_(likely.T, some)
        ctx.save_for_backward(by_states, by_items)
        return loss / places

    @staticmethod
    def backward(ctx: FunctionCtx, outer: Tensor) -> tuple[Tensor, Tensor, None]:
        by_states, by_items = ctx.saved_tensors  # type: ignore[attr-defined]
        return by_states * outer, by_items * outer, None


def gbce(negatives: int, t: float) -> Loss:
    """The sampled loss of gSASRec (Petrov and Macdonald, 2023).

    Binary cross-entropy with `negatives` uniform draws a place, the positive's likelihood
    raised to a power that makes up for the share of the catalogue that is drawn: fully at
    `t` = 1, not at all at 0. In departure from the paper a step's places share their draws, and
    the log of `negatives` is taken from all scores. That changes no order, but without it the
    vectors, by which histories are read as well, must first all take on one large component to
    tell that most items are not the next, and training was found to stay at popularity's level.
    """
    usual = math.log(negatives)

    def loss(states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        drawn = torch.randint(len(items), (negatives,), device=states.device)
        rate = min(1.0, negatives / (len(items) - 1))
        power = rate * (t * (1 - 1 / rate) + 1 / rate)
        reached = (states * items[targets]).sum(1).float() - usual
        others = (states @ items[drawn].T).float() - usual
        others = others.masked_fill(drawn == targets[:, None], -math.inf)
        return (f.softplus(others).sum(1) - power * f.logsigmoid(reached)).mean()

    return loss
