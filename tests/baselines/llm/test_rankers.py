"""The harness itself: models with known tastes must get exactly what these tastes are worth."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from baselines.llm.hybrid import Hybrid
from baselines.llm.letters import Letters
from baselines.llm.likelihood import TitleLikelihood
from baselines.llm.listwise import Listwise
from baselines.llm.model import Answer, Message, weighed
from baselines.llm.pairwise import Pairwise, bradley_terry, paired
from baselines.llm.pointwise import Pointwise
from baselines.llm.prompts import Template
from baselines.llm.ranker import Talking
from baselines.llm.select import SelectK
from baselines.llm.sliding import SlidingWindow
from llm4rec_bench import CardRefused, Ranking, Request
from llm4rec_bench.task import Items
from tests.baselines.llm.stubs import Stub, Taste, prompt

MODEL = {"kind": "openai", "model": "none"}
LISTWISE = prompt("listwise-sequential")

MAKERS: dict[str, Callable[[], Talking]] = {
    "letters": lambda: Letters(model=MODEL, prompt=prompt("letters")),
    "letters, three orders": lambda: Letters(
        model=MODEL, prompt=prompt("letters"), permutations=3, calibrate=True
    ),
    "listwise": lambda: Listwise(model=MODEL, prompt=LISTWISE),
    "recency": lambda: Listwise(model=MODEL, prompt=prompt("listwise-recency")),
    "example": lambda: Listwise(model=MODEL, prompt=prompt("listwise-example")),
    "bootstrapped": lambda: Listwise(model=MODEL, prompt=LISTWISE, shuffles=3),
    "pairwise": lambda: Pairwise(model=MODEL, prompt=prompt("pairwise")),
    "bradley-terry": lambda: Pairwise(
        model=MODEL, prompt=prompt("pairwise"), aggregate="bradley-terry"
    ),
    "yes-no": lambda: Pointwise(model=MODEL, prompt=prompt("yes-no")),
    "rating": lambda: Pointwise(model=MODEL, prompt=prompt("rating"), answer="rating"),
    "select": lambda: SelectK(model=MODEL, prompt=prompt("select"), k=20),
    "sliding": lambda: SlidingWindow(model=MODEL, prompt=LISTWISE),
    "likelihood": lambda: TitleLikelihood(
        model=MODEL, prompt=prompt("likelihood"), per_token=False
    ),
    "hybrid": lambda: Hybrid(
        model=MODEL,
        parts=[
            {"ranker": "pointwise", "prompt": prompt("rating"), "answer": "rating"},
            {"ranker": "pairwise", "prompt": prompt("pairwise"), "weight": 0.5},
            {"ranker": "listwise", "prompt": LISTWISE},
        ],
    ),
}
LIST_READERS = ["letters", "listwise", "recency", "example", "select", "sliding", "likelihood"]
"""Those whose model is shown all candidates at once, in one order."""


def asked(name: str, taste: Taste, toy, count: int = 300, track: str = "ranking", seed: int = 0):
    """Rankings by a ranker whose model has a taste, and what was asked of it."""
    ranker = MAKERS[name]()
    ranker.asked_model = stub = Stub(taste)
    ranker.fit(toy.view(track, "test", seed, ["title"]))
    requests = list(toy.requests("test", track))[:count]
    return ranker.rank(requests), requests, stub


def ranks(rankings: list[Ranking], toy, count: int) -> np.ndarray:
    """Of the targets, 1 the best; 0 where they are not ranked."""
    targets = toy.targets("test").items[:count, 0].tolist()
    rows = [toy.items.rows(ranking.items).tolist() for ranking in rankings]
    return np.array(
        [1 + row.index(target) if target in row else 0
         for row, target in zip(rows, targets, strict=True)]
    )  # fmt: skip


def by_title(toy, values: list[float]) -> Taste:
    """The taste that likes the items of the catalogue by these values."""
    liked = dict(zip(toy.items.texts, values, strict=True))
    return lambda title, place: liked.get(title, 0.0)


@pytest.mark.parametrize("name", MAKERS)
def test_a_model_that_knows_the_targets_is_perfect_and_its_reverse_the_opposite(
    toy, name: str
) -> None:
    targets = toy.targets("test").items[:6, 0]
    for row, request in enumerate(list(toy.requests("test", "ranking"))[:6]):
        wanted = [float(item == targets[row]) for item in range(len(toy.items))]
        for sign, place in ((1.0, 1), (-1.0, len(request.candidates))):
            ranker = MAKERS[name]()
            liked = by_title(toy, [sign * value for value in wanted])
            ranker.asked_model = Stub(liked)
            ranker.fit(toy.view("ranking", "test", 0, ["title"]))
            (found,) = ranker.rank([request])
            assert toy.items.rows(found.items).tolist().index(targets[row]) == place - 1
            assert sorted(found.items) == sorted(request.candidates)
            assert found.status == "ok"


@pytest.mark.parametrize("name", MAKERS)
def test_a_taste_that_is_one_order_of_all_items_ranks_every_pool_by_it(toy, name: str) -> None:
    values = np.random.default_rng(5).permutation(len(toy.items)) / 50
    found, requests, _ = asked(name, by_title(toy, values.tolist()), toy, count=8)
    for ranking, request in zip(found, requests, strict=True):
        rows = toy.items.rows(request.candidates)
        expected = [toy.items.ids[row] for row in sorted(rows, key=lambda row: -values[row])]
        assert ranking.items == expected


@pytest.mark.parametrize("name", LIST_READERS)
def test_a_model_that_takes_the_list_as_it_stands_gets_the_order_given(toy, name: str) -> None:
    found, requests, _ = asked(name, lambda title, place: -float(place), toy)
    assert [ranking.items for ranking in found] == [request.candidates for request in requests]
    # The places of targets are uniform by design, so the mean is that of chance, within its error.
    places = ranks(found, toy, 300)
    assert abs(places.mean() - 10.5) < 3 * math.sqrt((20**2 - 1) / 12 / 300)


@pytest.mark.parametrize("name", MAKERS)
def test_a_model_with_no_taste_ranks_by_hash_order_and_not_by_place(toy, name: str) -> None:
    """Equal preferences: only answers that are lists themselves must come in some order."""
    found, requests, _ = asked(name, lambda title, place: 0.0, toy, count=8)
    writes = name in {"listwise", "recency", "example", "select", "sliding"}
    for ranking, request in zip(found, requests, strict=True):
        by_row = sorted(request.candidates, key=lambda item: toy.items.row_of[item])
        if writes:
            assert ranking.items == request.candidates
        elif name in {"bootstrapped", "hybrid"}:
            assert sorted(ranking.items) == sorted(by_row)
        else:
            assert ranking.items == by_row


def test_a_random_model_is_within_the_interval_of_chance(toy) -> None:
    random = np.random.default_rng(1)
    found, _, _ = asked("letters", lambda title, place: random.normal(), toy)
    top = (ranks(found, toy, 300) == 1).mean()
    assert abs(top - 1 / 20) < 3 * math.sqrt(0.05 * 0.95 / 300)


def test_a_liking_for_the_first_place_cancels_between_the_orders_of_a_pair(toy) -> None:
    values = np.random.default_rng(2).permutation(len(toy.items)).tolist()
    liked = by_title(toy, values)
    found, requests, _ = asked(
        "bradley-terry", lambda title, place: liked(title, place) + 3.0 * (place == 0), toy, 10
    )
    for ranking, request in zip(found, requests, strict=True):
        rows = toy.items.rows(request.candidates)
        assert ranking.items == [
            toy.items.ids[row] for row in sorted(rows, key=lambda r: -values[r])
        ]


def test_a_liking_for_a_letter_is_taken_off_by_calibration(toy) -> None:
    """What the model prefers where nothing is shown, it prefers where something is."""
    values = np.random.default_rng(3).permutation(len(toy.items)).tolist()
    liked = by_title(toy, values)

    def biased(title: str, place: int) -> float:
        return liked(title, place) + 100.0 * math.sin(place)

    ranker = Letters(model=MODEL, prompt=prompt("letters"), calibrate=True)
    ranker.asked_model = stub = Stub(biased)
    ranker.fit(toy.view("ranking", "test", 0, ["title"]))
    requests = list(toy.requests("test", "ranking"))[:10]
    for ranking, request in zip(ranker.rank(requests), requests, strict=True):
        rows = toy.items.rows(request.candidates)
        assert ranking.items == [
            toy.items.ids[row] for row in sorted(rows, key=lambda r: -values[r])
        ]
    contents = Counter("N/A" in call.messages[1].content for call in stub.calls)
    assert contents == {False: 10, True: 1}  # without content, all requests ask the same


PARTLY: dict[str, Callable[[], Talking]] = {
    "orders": MAKERS["letters, three orders"],
    "calibration": lambda: Letters(model=MODEL, prompt=prompt("letters"), calibrate=True),
    "prior": lambda: TitleLikelihood(model=MODEL, prompt=prompt("likelihood"), prior=True),
    "pairs": MAKERS["pairwise"],
    "shuffles": MAKERS["bootstrapped"],
    "candidates": MAKERS["yes-no"],
}


@pytest.mark.parametrize("name", PARTLY)
def test_a_ranking_that_lacks_an_answer_says_so(toy, name: str) -> None:
    """Whichever it is of the answers about a request, so long as another has come."""

    class Once(Stub):
        fails = 0

        def answer(self, call):
            if len(self.calls) == self.fails:
                return Answer(status="timeout", reason="late")
            return super().answer(call)

    request = toy.requests("test", "ranking")[0]
    statuses = []
    for fails in range(3):
        ranker = PARTLY[name]()
        ranker.asked_model = stub = Once(lambda title, place: float(len(title)))
        stub.fails = fails
        ranker.fit(toy.view("ranking", "test", 0, ["title"]))
        (found,) = ranker.rank([request])
        statuses.append(found.status)
    # Of these, the other answer is all there is to rank by.
    last = "timeout" if name in ("calibration", "prior") else "fallback"
    assert statuses == ["ok", "fallback", last]


def test_long_lists_are_ranked_by_windows(toy) -> None:
    values = np.random.default_rng(4).permutation(len(toy.items)).tolist()
    ranker = MAKERS["sliding"]()
    ranker.asked_model = stub = Stub(by_title(toy, values))
    ranker.fit(toy.view("reranking", "test", 0, ["title"]))
    pool = toy.items.ids[:45]
    (found,) = ranker.rank([Request("r", "u", None, toy.items.ids[45:], pool)])
    best = [toy.items.ids[row] for row in sorted(range(45), key=lambda row: -values[row])]
    assert found.items[:10] == best[:10]  # what one pass is sure of: a step's worth
    assert sorted(found.items) == sorted(pool)
    shown = [call.messages[1].content.count("\n[") for call in stub.calls]
    assert shown == [20, 20, 20, 20]  # from 25, 15, 5 and 0 on
    assert found.latency_ms == 8.0  # one after the other


def test_tokens_and_latencies_are_those_of_all_calls(toy) -> None:
    found, _, stub = asked("yes-no", lambda title, place: 1.0, toy, count=1)
    assert len(stub.calls) == 20
    assert found[0].completion_tokens == 20
    assert found[0].prompt_tokens == sum(
        stub.tokens(call.messages[1].content) for call in stub.calls
    )
    assert found[0].latency_ms == 20 * 2.0 / 4  # on four lanes
    (one, *_), _, _ = asked("letters", lambda title, place: 1.0, toy, count=1)
    assert one.latency_ms == 2.0


def test_examples_are_the_users_own_earlier_steps(toy) -> None:
    _, requests, stub = asked("example", lambda title, place: 0.0, toy, count=40)
    shown = {call.messages[1].content for call in stub.calls}
    for request in requests:
        texts = [toy.items.texts[row] for row in toy.items.rows(request.history)]
        assert any(
            f"recommended to me is: {texts[-1]}\n" in text
            and all(f"- {earlier}" in text for earlier in texts[-20:-1])
            for text in shown
        )


def test_long_histories_are_cut_and_instructions_stay(toy) -> None:
    ranker = Listwise(model=MODEL, prompt=LISTWISE, context=230, history=50)
    ranker.asked_model = stub = Stub(lambda title, place: 0.0)
    ranker.fit(toy.view("ranking", "test", 0, ["title"]))
    requests = list(toy.requests("test", "ranking"))[:50]
    ranker.rank(requests)
    texts = {call.messages[1].content: call for call in stub.calls}
    for request in requests:
        history = [toy.items.texts[row] for row in toy.items.rows(request.history)]
        pool = [toy.items.texts[row] for row in toy.items.rows(request.candidates)]
        (text,) = [text for text in texts if all(f" {title}\n" in text for title in pool)]
        kept = text.split("last:\n")[1].split("\n\n")[0].splitlines()
        assert kept == [f"- {title}" for title in history[len(history) - len(kept) :]]
        assert "Rank all 20 of them" in text
        assert sum(stub.tokens(said.content) + 8 for said in texts[text].messages) <= 230
    with pytest.raises(CardRefused, match=r"needs more than 50 tokens .* raise context"):
        small = Listwise(model=MODEL, prompt=LISTWISE, context=50)
        small.asked_model = stub
        small.fit(toy.view("ranking", "test", 0, ["title"]))
        small.rank(requests)


def test_a_hint_is_the_order_in_which_candidates_are_shown(toy) -> None:
    ranker = Listwise(model=MODEL, prompt=LISTWISE, hint="popularity")
    ranker.asked_model = Stub(lambda title, place: -float(place))
    ranker.fit(toy.view("ranking", "test", 0, ["title"]))
    requests = list(toy.requests("test", "ranking"))[:20]
    from baselines.entries import fitted_entry

    popular = fitted_entry("popularity", toy.view("ranking", "test", 0, []))
    expected = [ranking.items for ranking in popular.rank(requests)]
    assert [ranking.items for ranking in ranker.rank(requests)] == expected


def test_what_cannot_be_ranked_is_refused(toy) -> None:
    ranker = MAKERS["letters"]()
    with pytest.raises(CardRefused, match="not a whole catalogue"):
        ranker.fit(toy.view("retrieval", "test", 0, ["title"]))
    with pytest.raises(CardRefused, match=r'reads = \["title"\]'):
        ranker.fit(toy.view("ranking", "test", 0, []))
    view = toy.view("ranking", "test", 0, ["title"])
    table = view.items.table
    named = table.set_column(table.schema.get_field_index("title"), "title", table["item_id"])
    named = named.set_column(
        table.schema.get_field_index("year"), "year", pa.nulls(len(table), table["year"].type)
    )
    with pytest.raises(CardRefused, match="its titles are its ids, which say nothing"):
        ranker.fit(dataclasses.replace(view, items=Items(named)))
    ranker.asked_model = Stub(lambda title, place: 0.0)
    ranker.fit(toy.view("reranking", "test", 0, ["title"]))
    with pytest.raises(CardRefused, match="more than there are letters"):
        ranker.rank([Request("r", "u", None, toy.items.ids[45:], toy.items.ids[:27])])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"ranker": "letter"}, "parts: ranker: expected letters, .*, found 'letter'"),
        (
            {"ranker": "letters", "promt": "letters"},
            "^parts: 'promt' is no parameter of letters; nearest: \"prompt\"$",
        ),
        ({"ranker": "letters", "weight": 0}, "parts: weight: expected a number above 0"),
        ({"ranker": "letters"}, "parts: letters: .*missing.*prompt"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(table, message) -> None:
    with pytest.raises(CardRefused, match=message):
        Hybrid(model=MODEL, parts=[table])


class NamesThree:
    """A model that ranks three of the candidates and forgets the others, or says what it is to."""

    identity = ("names three",)
    concurrency = 1

    def __init__(self, said: str | Answer = '{"ranking": [3, 1, 2]}') -> None:
        self.said = Answer(text=said) if isinstance(said, str) else said

    def answers(self, calls):
        yield from ((at, self.said) for at, _ in enumerate(calls))

    def tokens(self, text: str) -> int:
        return 1

    def prompts(self, call) -> int:
        return 1

    def longest(self, call) -> tuple[int, int]:
        return 1, call.sampling.max_tokens


@pytest.mark.parametrize(
    ("ranker", "count", "status"),
    [
        (lambda: Listwise(model={}, prompt=LISTWISE), 3, "ok"),
        (lambda: Listwise(model={}, prompt=LISTWISE, left_out="given"), 20, "fallback"),
        (lambda: SlidingWindow(model={}, prompt=LISTWISE), 20, "fallback"),
    ],
)
def test_a_ranking_that_was_completed_is_told_from_one_that_is_the_model_s(
    toy, ranker: Callable[[], Listwise], count: int, status: str
) -> None:
    ranker = ranker()
    ranker.asked_model = NamesThree()
    ranker.fit(toy.view("ranking", "test", 0, ["title"]))
    request = toy.requests("test", "ranking")[0]
    (found,) = ranker.rank([request])
    first = [request.candidates[place] for place in (2, 0, 1)]
    assert found.items == [*first, *request.candidates[3:]][:count]
    assert found.status == status


@pytest.mark.parametrize(
    "ranker",
    [
        lambda: Listwise(model={}, prompt=LISTWISE, left_out="given", shuffles=3),
        lambda: Hybrid(
            model=MODEL,
            parts=[{"ranker": "listwise", "prompt": LISTWISE, "left_out": "given"}],
        ),
    ],
)
def test_what_was_filled_in_and_dropped_is_told_of_several_rankings_too(toy, ranker) -> None:
    ranker = ranker()
    ranker.asked_model = NamesThree('{"ranking": [3, 1, 2, 2, 99]}')
    ranker.fit(toy.view("ranking", "test", 0, ["title"]))
    (found,) = ranker.rank([toy.requests("test", "ranking")[0]])
    calls = getattr(ranker, "shuffles", 1)
    assert found.status == "fallback"
    assert (found.dropped.duplicate, found.dropped.invented) == (calls, calls)


def test_letters_that_a_server_does_not_tell_of_are_not_the_models(toy) -> None:
    told = Answer(logprobs=[-1.0, -2.0, *[-3.0] * 18], untold=18)
    ranker = MAKERS["letters"]()
    ranker.asked_model = NamesThree(told)
    ranker.fit(toy.view("ranking", "test", 0, ["title"]))
    request = toy.requests("test", "ranking")[0]
    (found,) = ranker.rank([request])
    assert found.items[:2] == request.candidates[:2]
    assert found.status == "fallback"


def test_an_answer_is_weighed_as_models_write_it_where_their_turn_stands() -> None:
    """After "Answer:" the token of a word has its blank; at a turn's beginning it has none."""
    user = Message("user", "Which?")
    assert weighed((user,), ["A", "B"]).continuations == ("A", "B")
    begun = (user, Message("assistant", "Answer:"))
    assert weighed(begun, ["A", "B"]).continuations == (" A", " B")
    blank = (user, Message("assistant", "Answer: "))
    assert weighed(blank, ["A"]).continuations == ("A",)
    assert weighed((user, Message("assistant", "")), ["A"]).continuations == ("A",)


def test_a_pair_whose_orders_disagree_is_half_won(toy) -> None:
    """A model that always takes the first place tells nothing, however sure it is of some."""
    found, requests, _ = asked(
        "pairwise", lambda title, place: 5.0 * (place == 0) + len(title) / 100, toy, 10
    )
    for ranking, request in zip(found, requests, strict=True):
        rows = toy.items.rows(request.candidates)
        assert ranking.items == [toy.items.ids[row] for row in sorted(rows)]  # ties, all of them


def test_strengths_are_those_of_the_likeliest_model_although_few_pairs_met() -> None:
    random = np.random.default_rng(5)
    count = 60
    wins = np.full((count, count), np.nan)
    for one, other in paired(count, 150, random):
        wins[one, other] = random.random()
        wins[other, one] = 1 - wins[one, other]
    strengths = bradley_terry(wins)
    met = ~np.isnan(wins)
    chance = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    # Where the likelihood is greatest, each has won as often as its strength lets expect.
    won = np.where(met, np.nan_to_num(wins) + 0.05, 0).sum(axis=1)
    np.testing.assert_allclose(np.where(met, 1.1 * chance, 0).sum(axis=1), won, atol=1e-6)


@pytest.mark.parametrize("form", ["json", "titles"])
def test_so_many_are_asked_for_as_are_wanted(toy, tmp_path, form: str) -> None:
    """In words, and in the schema that a server holds the answer to."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "user.txt").write_text("After {history} choose the {k} best of\n{candidates}")
    marks = "numbered" if form == "json" else "list"
    (mine / "template.toml").write_text(
        f'description = "Mine."\n[slots]\nhistory = "list"\nk = "number"\ncandidates = "{marks}"\n'
    )
    named = f"{mine}@{Template(mine).digest}"
    ranker = SelectK(model=MODEL, prompt=named, answer=form, k=3)
    ranker.fit(toy.view("ranking", "test", 0, ["title"]))
    (about,) = ranker.abouts([toy.requests("test", "ranking")[0]])
    call = ranker.call(about, range(20))
    assert "choose the 3 best" in call.messages[-1].content
    if form == "titles":
        assert call.sampling.schema is None
        return
    numbers = call.sampling.schema["properties"]["ranking"]
    assert (numbers["minItems"], numbers["maxItems"]) == (3, 3)
    assert numbers["items"]["maximum"] == 20


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Letters(model={}, prompt=prompt("letters"), calibrate="False"), "calibrate: exp"),
        (lambda: TitleLikelihood(model={}, prompt=prompt("likelihood"), prior="off"), "prior: exp"),
        (lambda: TitleLikelihood(model={}, prompt=prompt("likelihood"), per_token=0), "per_token"),
        (lambda: Letters(model={}, prompt=5), "prompt: expected a name in quotation marks"),
        (lambda: Letters(model={}, prompt=prompt("letters"), hint=5), "hint: expected a name"),
    ],
)
def test_what_is_neither_true_nor_false_or_no_name_is_refused(make, said: str) -> None:
    with pytest.raises(CardRefused, match=said):
        make()
