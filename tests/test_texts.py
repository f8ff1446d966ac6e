"""What is shown of items: no more than is read, and nothing of the future."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from llm4rec_bench import Task, TaskDataError, read_run, score
from llm4rec_bench.freeze import freeze, manifest_of, write_tables
from llm4rec_bench.run.execute import execute
from llm4rec_bench.sources import RawData, generate_toy
from llm4rec_bench.store import recipes_folder
from llm4rec_bench.submission import Card
from llm4rec_bench.task import read_recipe, tables
from llm4rec_bench.task.source import Descriptions
from llm4rec_bench.texts import CONDITIONS, displayed, item_texts, until
from tests.scoring.test_score import write_run

RECIPE = read_recipe(recipes_folder() / "toy-v1")
RAW = generate_toy(RECIPE.source.seed)

# Sentences of the future.


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It is a film. It was restored in 2010.", "It is a film."),
        ("It was restored in 2010. It is a film.", "It is a film."),
        ("A film. A sequel came in 2003! Was it liked? Nobody knows.",
         "A film. Was it liked? Nobody knows."),
        ("It was made in 1997. It ran until 1998. It came back in 1999.",
         "It was made in 1997. It ran until 1998."),
        ("It was shot from 1996 to 2001.", ""),
        ("All is told in one sentence, in 2005", ""),
        ("It is a film (remade in 2004). It is liked.", "It is liked."),
        ("It ran in 1995–2001. It is liked.", "It is liked."),
        ("The 2010-11 season followed. It is liked.", "It is liked."),
        ("“In 2010 I wept,” she said. It is liked.", "It is liked."),
        ("It is liked. “In 2010 I wept,” she said.", "It is liked."),
        ('It is liked. "It is of 2010," she said. It is short.', "It is liked. It is short."),
        ("It is liked. 'It is of 2010,' she said. It is short.", "It is liked. It is short."),
        ("It is liked!\nIt was remade in 2010.", "It is liked!"),
    ],
)  # fmt: skip
def test_sentences_that_name_a_later_year_are_left_out(text: str, kept: str) -> None:
    assert until(text, 1998) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("She ran for the U.S. Senate in 2010. She lost.", "She lost."),
        ("It stars J. R. Smith, who died in 2010. It is liked.", "It is liked."),
        ("It stars Dr. Foo, who died in 2010. It is liked.", "It is liked."),
        ("Mr. Foo died in 2010. It is liked.", "It is liked."),
        ("Mrs. Foo died in 2010. It is liked.", "It is liked."),
        ("Foo Jr. Bar died in 2010. It is liked.", "It is liked."),
        ("It was shot in St. Louis in 2010. It is liked.", "It is liked."),
        ("Kramer vs. Kramer was restored in 2010. It is liked.", "It is liked."),
        *(
            (f"{title} Foo died in 2010. It is liked.", "It is liked.")
            for title in ("Ms.", "Sgt.", "Capt.", "Lt.", "Prof.", "Gen.", "Sr.")
        ),
    ],
)
def test_no_sentence_is_cut_after_an_abbreviation(text: str, kept: str) -> None:
    assert until(text, 1998) == kept


@pytest.mark.parametrize(
    "text",
    [
        "It was filmed in the U.S. Senate and by Dr. Foo in 1998.",
        "Set in 1492, told in 1898,  with two spaces.\tAnd a tab. “And more.”\n",
        "A million (2,010,000) came. It cost 12010 dollars, or 201 a day.",
        "",
        " ",
        "No full stop",
    ],
)
def test_a_text_of_the_past_is_kept_byte_for_byte(text: str) -> None:
    assert until(text, 1998) == text


def test_the_year_itself_is_no_future() -> None:
    assert until("Made in 1998. Shown in 1999.", 1998) == "Made in 1998."
    assert until("Made in 1998. Shown in 1999.", 1999) == "Made in 1998. Shown in 1999."
    assert until("Made in 1998. Shown in 1999.", 1997) == ""


@pytest.mark.parametrize(
    "later",
    [
        "the 2010s",
        "the early-2010s",
        "the 2010's",
        "FIFA2010",
        "2010AD",
        "film_2010_poster",
        "1080p2010",
    ],
)
def test_decades_and_years_glued_to_words_are_later_years(later: str) -> None:
    assert until(f"It is liked. It came back in {later} again. It is short.", 1998) == (
        "It is liked. It is short."
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It was made in 1990. 2015 saw a remake.", "It was made in 1990."),
        ('She sings “Go.” In 2010 it was a hit.', 'She sings “Go.”'),
        ('She sings "Go." In 2010 it was a hit.', 'She sings "Go."'),
        ("It is liked. (It was remade in 2010.) It is short.", "It is liked. It is short."),
        ("It is French. Élan remade it in 2010.", "It is French."),
        ("It is liked.[1] It was remade in 2010.", "It is liked.[1]"),
        ("It is liked. ‘In 2010 I wept,’ she said.", "It is liked."),
    ],
)  # fmt: skip
def test_no_sentence_of_the_past_goes_with_its_neighbour(text: str, kept: str) -> None:
    assert until(text, 1998) == kept


WORDS = st.sampled_from(
    [
        "1890", "1997", "1998", "1999", "2010", "2099", "2010.", "1997.", "(2010)", "2010–12",
        "Film", "film", "U.S.", "Senate", "Dr.", "Foo", "“Go", "Go.”", "end.", "End!", "Why?",
        "'tis", "…", "ß", "\n",
    ]
)  # fmt: skip
TEXTS = st.lists(WORDS, max_size=25).map(" ".join) | st.text(st.sampled_from('Aa. 1290?!"”(\n'))


@given(TEXTS, st.integers(1890, 2100))
@example("A. B.", 1998)
def test_what_is_kept_was_there_and_names_no_later_year(text: str, year: int) -> None:
    kept = until(text, year)
    assert all(int(named) <= year for named in re.findall(r"\b(?:1[89]|20)\d\d\b", kept, re.ASCII))
    assert until(kept, year) == kept
    rest = iter(text.split())
    assert all(word in rest for word in kept.split())  # in the same order, nothing added
    if all(int(named) <= year for named in re.findall(r"(?:1[89]|20)\d\d", text)):
        assert kept == text


@given(TEXTS, st.integers(1890, 2100), st.integers(0, 100))
def test_an_earlier_year_keeps_no_more(text: str, year: int, before: int) -> None:
    assert until(until(text, year), year - before) == until(text, year - before)


@given(st.text(), st.integers(1900, 2100))
def test_any_text_at_all_can_be_looked_at(text: str, year: int) -> None:
    assume(not re.search(r"\d{4}", text))
    assert until(text, year) == text


# Texts of items.


def catalogue(*rows: tuple[str, str, int | None, list[str], list[str]]) -> pa.Table:
    names = tables.SCHEMAS[tables.ITEMS].names
    dicts = [dict(zip(names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(dicts, schema=tables.SCHEMAS[tables.ITEMS])


ITEMS = catalogue(
    ("b", "All of It", 1995, ["Film", "Comedy"], ["A. Body", "B. Other"]),
    ("a", "No Year", None, ["Book"], []),
    ("d", "Bare", 2001, [], []),
    ("c", "By Somebody", None, [], ["C. Body"]),
)
TOLD = {"c": "About c.", "b": "About b,\nin two lines.", "x": "Of nothing."}

LADDER = {
    ("title",): ["All of It (1995)", "No Year", "Bare (2001)", "By Somebody"],
    ("title", "metadata"): [
        "All of It (1995)\nFilm, Comedy\nA. Body, B. Other",
        "No Year\nBook",
        "Bare (2001)",
        "By Somebody\nC. Body",
    ],
    ("title", "metadata", "wikipedia"): [
        "All of It (1995)\nFilm, Comedy\nA. Body, B. Other\nAbout b,\nin two lines.",
        "No Year\nBook",
        "Bare (2001)",
        "By Somebody\nC. Body\nAbout c.",
    ],
    ("title", "wikipedia"): [
        "All of It (1995)\nAbout b,\nin two lines.",
        "No Year",
        "Bare (2001)",
        "By Somebody\nAbout c.",
    ],
    ("metadata",): ["Film, Comedy\nA. Body, B. Other", "Book", "", "C. Body"],
    ("wikipedia",): ["About b,\nin two lines.", "", "", "About c."],
    (): ["", "", "", ""],
}


@pytest.mark.parametrize("reads", LADDER, ids=" ".join)
def test_an_item_has_a_text_of_what_is_read_and_no_more(reads: tuple) -> None:
    for order in permutations(reads):
        assert item_texts(ITEMS, TOLD, order) == LADDER[reads]
        assert item_texts(ITEMS, TOLD, set(order)) == LADDER[reads]


@pytest.mark.parametrize("reads", LADDER, ids=" ".join)
def test_texts_stand_in_the_order_of_the_rows(reads: tuple) -> None:
    backwards = ITEMS.take(pa.array([3, 2, 1, 0]))
    assert item_texts(backwards, TOLD, reads) == LADDER[reads][::-1]
    chunked = pa.concat_tables([ITEMS.slice(0, 1), ITEMS.slice(1, 0), ITEMS.slice(1)])
    assert item_texts(chunked, TOLD, reads) == LADDER[reads]
    assert item_texts(ITEMS.slice(0, 0), TOLD, reads) == []


def test_each_step_of_the_ladder_adds_to_the_one_before(toy: Task) -> None:
    described = dict(
        zip(*(toy.descriptions[name].to_pylist() for name in ("item_id", "text")), strict=True)
    )
    title, metadata, wikipedia = (
        item_texts(toy.items.table, described, CONDITIONS[: n + 1]) for n in range(3)
    )
    assert title == toy.items.texts
    for item, *texts in zip(toy.items.ids, title, metadata, wikipedia, strict=True):
        assert texts[1].startswith(texts[0] + "\n")
        assert texts[2] == f"{texts[1]}\n{described[item]}"


def test_titles_are_displayed_with_the_years_that_are_known() -> None:
    titles, years = pa.array(["A", "B", "", "Ü (x)"]), pa.array([1995, None, None, 800], pa.int32())
    expected = ["A (1995)", "B", "", "Ü (x) (800)"]
    assert displayed(titles, years).to_pylist() == expected
    assert displayed(pa.chunked_array([titles]), pa.chunked_array([years])).to_pylist() == expected
    assert displayed(titles.slice(0, 0), years.slice(0, 0)).to_pylist() == []
    assert displayed(titles, pa.nulls(4, pa.int32())).to_pylist() == titles.to_pylist()


# Descriptions in frozen tasks.


def frozen_with(texts: dict[str, str]) -> tuple[dict[str, str], dict[str, int]]:
    """The descriptions of the toy task frozen with some other texts, and the counts."""
    given = [texts.get(row["item_id"], row["text"]) for row in RAW.descriptions.to_pylist()]
    place = RAW.descriptions.schema.get_field_index("text")
    descriptions = RAW.descriptions.set_column(place, "text", pa.array(given))
    joined = msgspec.structs.replace(RECIPE, descriptions=Descriptions("wikipedia-movie-data"))
    frozen, counts = freeze(joined, RawData(RAW.log, RAW.items, descriptions))
    table = frozen["descriptions"]
    return dict(zip(table["item_id"].to_pylist(), table["text"].to_pylist(), strict=True)), counts


def test_descriptions_end_with_the_last_year_in_which_something_is_asked() -> None:
    last = pc.year(pc.max(RAW.log["timestamp"]).cast(pa.timestamp("s"))).as_py()
    found, counts = frozen_with(
        {
            "w01": f"Made in {last}. Remade in {last + 1}. Liked.",
            "w02": f"Only of {last + 2}.",
            "w03": f"Of {last}.",
        }
    )
    assert found["w01"] == f"Made in {last}. Liked."
    assert "w02" not in found
    assert found["w03"] == f"Of {last}."
    assert counts["descriptions_without_sentences_of_the_future"] == 2
    assert counts["described_items"] == len(found) == 47


def test_descriptions_stand_in_the_order_of_the_catalogue_and_of_nothing_else() -> None:
    some = RAW.descriptions.take(pa.array([5, 3, 40, 0]))
    stranger = some.slice(0, 1).set_column(0, "item_id", pa.array(["of no item"]))
    frozen, _ = freeze(RECIPE, RawData(RAW.log, RAW.items, pa.concat_tables([some, stranger])))
    ids = frozen["items"]["item_id"].to_pylist()
    found = frozen["descriptions"]["item_id"].to_pylist()
    assert found == sorted(found, key=ids.index)
    assert set(found) == {*some["item_id"].to_pylist()}


# Descriptions that are not on this machine.


@pytest.fixture
def without(tmp_path: Path) -> Task:
    """The toy task less its descriptions, which its manifest still names."""
    frozen, counts = freeze(RECIPE, RAW)
    write_tables(tmp_path / "task", frozen)
    tables.parquet_path(tmp_path / "task", tables.DESCRIPTIONS).unlink()
    return Task(RECIPE, manifest_of(RECIPE, frozen, counts), tmp_path / "task")


def test_a_task_without_its_descriptions_is_verified_and_says_so(without: Task, toy: Task) -> None:
    assert without.lacks_descriptions
    assert not toy.lacks_descriptions
    seen: list[str] = []
    without.verify(seen.append)
    assert {*seen} == {*without.manifest.tables} - {tables.DESCRIPTIONS}
    assert [without.digest(track) for track in RECIPE.tracks] == [
        toy.digest(track) for track in RECIPE.tracks
    ]


def test_other_tables_may_not_be_missing(without: Task) -> None:
    tables.parquet_path(without.folder, tables.ITEMS).unlink()
    with pytest.raises(TaskDataError, match="no such file"):
        without.verify()


def test_a_task_that_never_had_descriptions_lacks_none(tmp_path: Path) -> None:
    frozen, counts = freeze(RECIPE, RawData(RAW.log, RAW.items))
    write_tables(tmp_path, frozen)
    task = Task(RECIPE, manifest_of(RECIPE, frozen, counts), tmp_path)
    assert tables.DESCRIPTIONS not in frozen
    assert not task.lacks_descriptions
    assert task.descriptions.num_rows == 0
    assert task.view("ranking").descriptions == {}
    task.verify()


def test_what_reads_missing_descriptions_is_told_the_command(without: Task) -> None:
    with pytest.raises(
        TaskDataError, match=r"descriptions of toy-v1 .*: llm4rec-bench download toy-v1$"
    ):
        _ = without.descriptions


@pytest.mark.parametrize("track", ["retrieval", "reranking"])
def test_scores_without_descriptions_lack_their_slices_alone(
    without: Task, tmp_path: Path, track: str
) -> None:
    described = freeze(RECIPE, RawData(RAW.log, RAW.items, RAW.descriptions.slice(0, 20)))
    some = Task(RECIPE, manifest_of(RECIPE, *described), tmp_path / "some")
    write_tables(some.folder, described[0])
    found = []
    for task in (without, some):
        rows = [{"request_id": name, "items": []} for name in task.requests("test", track).ids]
        path = write_run(tmp_path / "run.jsonl", task, track, rows)
        found.append(score(read_run(path, task)))
    lacking, whole = found
    assert whole.slices.keys() - lacking.slices.keys() == {"described", "not described"}
    rest = {name: of for name, of in whole.slices.items() if name in lacking.slices}
    assert msgspec.structs.replace(whole, slices=rest) == lacking


def test_methods_that_read_no_descriptions_work_without_them(without: Task, tmp_path: Path) -> None:
    card = Card(
        name="popularity", title="Popularity", authors=["a"], licence="b", description="c",
        hardware="d", command="e", system="baselines.classical.popularity:Popularity",
    )  # fmt: skip
    execute(card, without, "retrieval", tmp_path / "run.jsonl")
    assert score(read_run(tmp_path / "run.jsonl", without)).metrics["ndcg@10"].value > 0


def test_texts_that_came_with_the_items_are_left_as_they_are() -> None:
    texts = pa.array(["It won in 2090."] * RAW.descriptions.num_rows)
    place = RAW.descriptions.schema.get_field_index("text")
    frozen, counts = freeze(
        RECIPE, RawData(RAW.log, RAW.items, RAW.descriptions.set_column(place, "text", texts))
    )
    assert set(frozen["descriptions"]["text"].to_pylist()) == {"It won in 2090."}
    assert "descriptions_without_sentences_of_the_future" not in counts
