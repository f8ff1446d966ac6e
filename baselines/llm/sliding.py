"""Lists that are too long for one prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from baselines.checks import whole
from baselines.llm.asking import Conversation, Told
from baselines.llm.listwise import Listwise, total
from baselines.llm.ranker import About, ended
from llm4rec_bench import CardRefused


@dataclass(kw_only=True, eq=False)
class SlidingWindow(Listwise):
    """RankGPT's way with long lists (Sun et al., EMNLP 2023): from the end of the list to its
    beginning, `window` candidates at a time are put in order, `step` further each time.

    So the best of the whole list rise to its top in one pass. In a window, candidates that an
    answer does not name keep their order behind those that it does, and where an answer says
    nothing the window stays as it is: the list as it was given is always the base. `dropped`
    counts what answers invented and repeated; a request of which some window was not put in order
    by the model alone has the status `fallback`.
    """

    left_out: Literal["leave", "given"] = "given"
    window: int = 20
    step: int = 10

    def __post_init__(self) -> None:
        """Raises CardRefused where parameters make no sense."""
        super().__post_init__()
        whole(step=self.step)
        if not self.step <= self.window or self.window < 2:
            raise CardRefused(
                f"window: expected 2 or more, and no less than the step, found {self.window} and "
                f"a step of {self.step}"
            )

    def asked(self, about: About) -> Conversation:
        """One window after the other."""
        ranking = list(range(len(about)))
        place = {item: number for number, item in enumerate(about.ids)}
        told: list[Told] = []
        for start in windows(len(ranking), self.window, self.step):
            some = slice(start, start + self.window)
            (answer,) = yield [self.call(about, ranking[some])]
            told.append(self.read(about, ranking[some], answer))
            if told[-1].items:
                ranking[some] = [place[item] for item in told[-1].items]
        dropped = total(one.dropped for one in told)
        if not any(one.items for one in told):
            return told[0]._replace(status=ended([one.status for one in told]), dropped=dropped)
        ordered = all(one.status == "ok" for one in told)
        return about.told(ranking, "ok" if ordered else "fallback", dropped)


def windows(count: int, window: int, step: int) -> list[int]:
    """Where the windows over a list begin, the last one first; the first is at its top."""
    starts = list(range(max(0, count - window), 0, -step))
    return [*starts, 0]
