"""Choosing a card's parameters on the validation split, and holding the card to what was tried."""

from llm4rec_bench.tuning.follow import check_followed, trials_wanted
from llm4rec_bench.tuning.record import TUNING, Study, Trial, Tried, read_tried
from llm4rec_bench.tuning.space import at_edge
from llm4rec_bench.tuning.trials import Place, Watcher, places, tune

__all__ = [
    "TUNING",
    "Place",
    "Study",
    "Trial",
    "Tried",
    "Watcher",
    "at_edge",
    "check_followed",
    "places",
    "read_tried",
    "trials_wanted",
    "tune",
]
