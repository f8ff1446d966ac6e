"""Some of the candidates, chosen by name."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.checks import whole
from baselines.llm.listwise import Listwise
from baselines.llm.model import Chat
from baselines.llm.parsing import Form
from baselines.llm.ranker import About


@dataclass(kw_only=True, eq=False)
class SelectK(Listwise):
    """The best `k` of the candidates, by title, as PALR asks for them (Yang et al., 2023).

    The paper narrows the catalogue by a first stage and tunes the model; here the candidates are
    the task's and the model is asked as it is. What is not chosen is left out, unless
    `left_out = "given"`.
    """

    answer: Form = "titles"
    k: int = 10

    def __post_init__(self) -> None:
        """Raises CardRefused where parameters make no sense."""
        super().__post_init__()
        whole(k=self.k)

    def call(self, about: About, order: list[int]) -> Chat:  # type: ignore[override]
        """The question; its `count` is how many are asked for."""
        candidates = [about.titles[place] for place in order]
        messages = about.messages(candidates=candidates, count=min(self.k, len(order)))
        chat = super().call(about, order)
        return Chat(messages, chat.sampling)
