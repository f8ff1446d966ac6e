"""Some of the candidates, chosen by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from baselines.checks import whole
from baselines.llm.listwise import Listwise
from baselines.llm.model import Chat
from baselines.llm.parsing import Form
from baselines.llm.ranker import About


@dataclass(kw_only=True, eq=False)
class SelectK(Listwise):
    """The best `k` of the candidates, by title, as PALR asks for them (Yang et al., 2023).

    The paper narrows the catalogue by a first stage, has the model write a profile of the user
    from the history, and tunes it; here the candidates are the task's, the history stands for
    itself and the model is asked as it is. What is not chosen is left out, unless
    `left_out = "given"`.
    """

    slots = ("things", "history", "latest", "earlier", "candidates", "k")

    answer: Form = "titles"
    k: int = 10

    def __post_init__(self) -> None:
        """Raises CardRefused where parameters make no sense."""
        super().__post_init__()
        whole(k=self.k)

    def wanted(self, shown: int) -> int:
        """No more than there are."""
        return min(self.k, shown)

    def call(self, about: About, order: Sequence[int]) -> Chat:
        """The question, by titles and nothing else."""
        candidates = [about.titles[place] for place in order]
        messages = about.messages(candidates=candidates, k=self.wanted(len(order)))
        return Chat(messages, self.sampling(len(order)))
