"""What a trial tries, as a function of what was tried before and of nothing else.

Each trial's draw is seeded by the sampler's seed and the trial's number, and the sampler is
told of all earlier trials anew. So a search that was killed and goes on gives the very trials
of one that was not, as long as the libraries are the same; and no parameters are tried twice.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from llm4rec_bench.errors import UsageError
from llm4rec_bench.submission import Dimension, Range, size_of
from llm4rec_bench.tuning.record import Params, Study, Trial
from llm4rec_bench.tuning.space import inside, tidy, values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_OWN_DRAWS = 8
"""Draws of a sampler that may all give what was tried before, after which chance decides."""

_DRAWS = 100
"""Draws after which what is left of a small space is taken in turn."""

_MOST_DRAWS = 10_000
"""Draws after which a space counts as tried; and a space with as many combinations is small."""


def next_params(study: Study, first: Mapping[str, Any]) -> Params | None:
    """What the next trial of a study tries; None where there is nothing left.

    The first trial tries the params `first`, if the space holds them all.
    """
    if not study.trials and (own := own_params(study, first)) is not None:
        return own
    if len(study.trials) == size_of(study.space):
        return None
    tried = {_key(trial.params) for trial in study.trials}
    drawn = _grid(study) if study.sampler == "grid" else _draws(study)
    return next((params for params in drawn if _key(params) not in tried), None)


def own_params(study: Study, params: Mapping[str, Any]) -> Params | None:
    """The part of a card's params that is tuned; None where it does not lie in the space."""
    missing = object()
    own = {name: params.get(name, missing) for name in study.space}
    fits = all(inside(own[name], dimension) for name, dimension in study.space.items())
    return own if fits else None


def optuna_version(study: Study) -> str | None:
    """The version of the library that draws the trials of a study; None where none does.

    Raises UsageError where it is needed and not installed.
    """
    if study.sampler == "grid":
        return None
    try:
        import optuna
    except ImportError:
        raise UsageError("optuna is not installed; pip install 'llm4rec-bench[tune]'") from None
    return optuna.__version__


def _key(params: Params) -> tuple[Any, ...]:
    return tuple(params[name] for name in sorted(params))


def _grid(study: Study) -> Iterator[Params]:
    """Every combination, in an order that the seed decides."""
    combinations = list(itertools.product(*map(values, study.space.values())))
    random.Random(study.seed).shuffle(combinations)  # noqa: S311 - not a secret
    return (dict(zip(study.space, made, strict=True)) for made in combinations)


def _draws(study: Study) -> Iterator[Params]:
    """What the sampler draws, and what chance draws where that was tried before."""
    small = (size_of(study.space) or _MOST_DRAWS + 1) <= _MOST_DRAWS
    for attempt in range(_DRAWS if small else _MOST_DRAWS):
        by_chance = study.sampler == "random" or attempt >= _OWN_DRAWS
        with _quiet():
            drawn = _draw(study, attempt, by_chance)
        yield {name: tidy(drawn[name], by) for name, by in study.space.items()}
    if small:
        yield from _grid(study)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what optuna logs and warns of to itself: none of it can be acted upon."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _draw(study: Study, attempt: int, by_chance: bool) -> dict[str, Any]:
    import optuna

    distributions = {name: _distribution(by) for name, by in study.space.items()}
    parts = [study.seed, len(study.trials), attempt]
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=seed)
    if not by_chance:
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
    search = optuna.create_study(sampler=sampler, direction="maximize")
    if not by_chance:
        search.add_trials([_told(trial, distributions) for trial in study.trials])
    return search.ask(distributions).params


def _told(trial: Trial, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial as optuna has it."""
    import optuna

    state = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=state.COMPLETE if trial.state == "ok" else state.FAIL,
        params=trial.params,
        distributions=distributions,
        value=trial.value,
    )


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(dimension, Range):
        return CategoricalDistribution(dimension)
    low, high, log, step = dimension.low, dimension.high, dimension.log, dimension.step
    if dimension.whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)
