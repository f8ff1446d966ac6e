"""One question a candidate: would the user like it, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from baselines.llm.asking import Conversation
from baselines.llm.model import Answer, weighed
from baselines.llm.ranker import About, Ranker, failure, one_of

_OPTIONS = {"yes-no": ("Yes", "No"), "rating": ("1", "2", "3", "4", "5")}


@dataclass(kw_only=True, eq=False)
class Pointwise(Ranker):
    """Candidates one by one, by the probabilities of the answers that the prompt allows.

    With `answer = "yes-no"` by the log-odds of Yes, as TALLRec does (Bao et al., RecSys 2023),
    but without its tuning, and from one list of what the user took up where the paper has two, of
    what was liked and what was not. With `"rating"` by the expected rating from 1 to 5 in the
    manner of RecRanker (Luo et al., 2023), which generates one, and whose prompts tell a
    conventional recommender's opinion as well. The candidate stands at the end of the
    prompt, so that all else is computed once where the model keeps what it has read.
    """

    slots = ("things", "history", "latest", "candidate")

    answer: Literal["yes-no", "rating"] = "yes-no"

    def __post_init__(self) -> None:
        """Raises CardRefused where parameters make no sense."""
        super().__post_init__()
        one_of("answer", self.answer, _OPTIONS)

    def asked(self, about: About) -> Conversation:
        """All candidates at once."""
        options = _OPTIONS[self.answer]
        answers = yield [
            weighed(about.messages(candidate=text), options) for text in about.candidates
        ]
        return failure(answers) or about.ranked(
            [self._score(answer) for answer in answers], answers
        )

    def _score(self, answer: Answer) -> float:
        if answer.logprobs is None:
            return np.nan
        logprobs = np.asarray(answer.logprobs)
        if self.answer == "yes-no":
            return float(logprobs[0] - logprobs[1])
        share = np.exp(logprobs - logprobs.max())
        return float(share @ np.arange(1, len(share) + 1) / share.sum())
