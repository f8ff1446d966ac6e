"""How likely the model finds each candidate's title after the history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.checks import truth
from baselines.llm.asking import Conversation
from baselines.llm.model import weighed
from baselines.llm.ranker import About, Ranker, failure


@dataclass(kw_only=True, eq=False)
class TitleLikelihood(Ranker):
    """Query likelihood: candidates by the probability of their title as the answer.

    As Sachan et al. (EMNLP 2022) score a passage by the question, but with the history for the
    passage and the title for the question. The logarithm is a mean over the title's tokens with
    `per_token` (behind a server over their estimated number, its bytes by four, unless it counts
    them), else their sum, which favours short titles. `prior` takes off the logarithm
    without a history, so that a title that is likely anywhere is not ahead for that.
    """

    slots = ("things", "history", "latest")

    per_token: bool = True
    prior: bool = False

    def __post_init__(self) -> None:
        """Raises CardRefused where parameters make no sense."""
        super().__post_init__()
        truth(per_token=self.per_token, prior=self.prior)

    def asked(self, about: About) -> Conversation:
        """All titles in one call, and in another without the history."""
        titles = tuple(about.titles)
        calls = [weighed(about.messages(), titles)]
        if self.prior:
            calls.append(weighed(about.messages(history=[], latest=""), titles))
        answers = yield list(calls)
        if failed := failure(answers[:1]):
            return failed
        lengths = np.array(
            [
                self.asked_model.tokens(title) if self.per_token else 1
                for title in calls[0].continuations
            ]
        )
        logprobs = np.asarray(answers[0].logprobs)
        if self.prior and answers[1].logprobs is not None:
            logprobs = logprobs - np.asarray(answers[1].logprobs)
        return about.ranked(logprobs / np.maximum(1, lengths), answers)
