"""What is printed to be cited: BibTeX that any name survives, and the citation file beside it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llm4rec_bench import TaskDataError, __version__, cite
from llm4rec_bench.cli.reference import files
from llm4rec_bench.freeze import dataset_card, manifest_of
from llm4rec_bench.store import known_tasks, recipe_folder
from llm4rec_bench.submission import Card
from llm4rec_bench.task import read_recipe
from tests.conftest import ROOT
from tests.test_leaderboard import CARD, HOSTILE

FIELD = re.compile(r"^  (\w+) += \{(.*)\},$")


def entries(text: str) -> list[dict[str, str]]:
    """The entries of BibTeX whose fields have a line each; braces must be balanced."""
    found: list[dict[str, str]] = []
    for part in text.split("\n\n"):
        head, *lines, end = part.strip().split("\n")
        kind, key = re.fullmatch(r"@(\w+)\{([\w-]+),", head).groups()
        assert end == "}"
        fields = {"type": kind, "key": key}
        for line in lines:
            name, value = FIELD.fullmatch(line).groups()
            assert name not in fields
            assert balanced(value), value
            fields[name] = value
        found.append(fields)
    return found


def balanced(text: str) -> bool:
    """Whether braces are, as BibTeX counts them: escaped ones, too."""
    depth = 0
    for char in text:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth < 0:
            return False
    return depth == 0


NAMED = {
    "textbackslash": "\\", "textbraceleft": "{", "textbraceright": "}", "textasciitilde": "~",
    "textasciicircum": "^", "textless": "<", "textgreater": ">", "textbar": "|",
    "textquotedbl": '"',
}  # fmt: skip


def typeset(latex: str) -> str:
    """What LaTeX makes of text of ours."""
    named = re.sub(r"\\(text\w+)\{\}|\\([$&#_%])", lambda m: NAMED.get(m[1], m[2] or ""), latex)
    assert not re.search(r"\\text\w+(?!\{\})\{", latex)
    return named


def card(**changed: Any) -> Card:
    return msgspec.convert(CARD | changed, Card)


def test_the_benchmark_by_hand() -> None:
    assert cite.benchmark("1.2.3") == (
        "@misc{llm4rec_bench,\n"
        "  author       = {{The llm4rec-bench authors}},\n"
        "  title        = {{llm4rec-bench: Frozen tasks, one scorer and a leaderboard for "
        "comparing LLM-based recommenders with classical ones}},\n"
        "  year         = {2026},\n"
        "  version      = {1.2.3},\n"
        "  url          = {https://github.com/llm4rec-bench/llm4rec-bench},\n"
        "}\n"
    )


def test_an_entry_by_hand() -> None:
    found = card(
        name="ada--my-ranker",
        title="100% {LLM} & more_of~it",
        authors=["Ada Lovelace", "Hopper, Grace", "Bell and Sons", "The Lab", "Andy Sandler"],
        link="https://paper.example/a{b}?x=%20#y_z",
        code="https://code.example/\\",
    )
    assert entries(cite.submission(found, "1.2.3"))[1] == {
        "type": "misc",
        "key": "llm4rec_bench_ada__my_ranker",
        "author": "Ada Lovelace and {Hopper, Grace} and {Bell and Sons} and {The Lab} "
        "and Andy Sandler",
        "title": r"{100\% \textbraceleft{}LLM\textbraceright{} \& more\_of\textasciitilde{}it}",
        "year": "2026",
        "howpublished": "Entry ada--my-ranker of llm4rec-bench 1.2.3",
        "url": "https://paper.example/a%7Bb%7D?x=%20#y_z",
        "note": r"Code: \url{https://code.example/%5C}",
    }


def test_an_entry_without_addresses_is_found_in_the_repository() -> None:
    (_, made) = entries(cite.submission(card(), "1"))
    assert made["url"] == f"{cite.REPOSITORY}/tree/main/submissions/a-name"
    assert "note" not in made
    (_, made) = entries(cite.submission(card(code="https://code.example"), "1"))
    assert made["url"] == "https://code.example"
    assert "note" not in made


@given(st.text())
def test_any_text_is_typeset_as_itself(text: str) -> None:
    made = cite.escaped(text)
    assert balanced(made)
    assert not re.search(r"(?<!\\)[$&#_%]|[~^<>|\"]", made)
    shown = "".join(char for char in " ".join(text.split()) if char.isprintable())
    assert typeset(made) == shown


@pytest.mark.parametrize("text", [*HOSTILE, "}, note = {", "\\input{x}", "{{{", '"', "%"])
def test_hostile_names_break_out_of_no_field(text: str) -> None:
    harmless = entries(cite.submission(card(), "1"))
    made = entries(cite.submission(card(title=text, authors=[text, "Ada"]), "1"))
    assert [list(one) for one in made] == [list(one) for one in harmless]
    assert made[1]["author"].endswith(" and Ada")


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200))
def test_any_address_stays_in_its_braces(rest: str) -> None:
    (_, made) = entries(cite.submission(card(link=f"https://{rest}", code=f"https://{rest}"), "1"))
    assert not set(made["url"]) & set("\\{}")


# Of tasks


def papers(task_id: str) -> list[dict[str, str]]:
    return [
        {name: re.sub(r"[{}]", "", value) for name, value in re.findall(r"(\w+) += \{(.*)\}", one)}
        for one in read_recipe(recipe_folder(task_id)).citation
    ]


@pytest.mark.parametrize(
    ("task_id", "identified"),
    [("ml-100k-v1", ["10.1145/2827872"]), ("ml-latest-small-v1", ["10.1145/2827872"]),
     ("movietweetings-v1", ["https://github.com/sidooms/MovieTweetings"]),
     ("goodbooks-v1", ["http://fastml.com/goodbooks-10k"]),
     ("shakespeare-v1", ["10.34770/dtqa-2981", "10.22148/001c.116926"]), ("toy-v1", [])],
)  # fmt: skip
def test_the_papers_on_the_data_are_those_of_its_publishers(task_id, identified) -> None:
    found = papers(task_id)
    assert [one.get("doi") or one["url"] for one in found] == identified
    for one in found:
        assert {"author", "title", "year"} <= one.keys()
        surname = one["author"].partition(",")[0]
        notice = read_recipe(recipe_folder(task_id)).licence.notice + " Rebecca Sutton Koeser"
        assert surname in notice


@pytest.mark.parametrize("task_id", known_tasks())
def test_a_citation_is_on_the_card_of_its_task(task_id: str) -> None:
    page = (recipe_folder(task_id) / "README.md").read_text("utf-8")
    citations = read_recipe(recipe_folder(task_id)).citation
    assert ("## Citation" in page) == bool(citations)
    for one in citations:
        assert one.strip() in page
        assert balanced(one)


def test_a_citation_changes_no_digest(toy) -> None:
    cited = msgspec.structs.replace(toy.recipe, citation=["@misc{a, title = {b}}"])
    frozen = {name: toy.table(name) for name in toy.manifest.tables}
    assert manifest_of(cited, frozen, toy.manifest.counts) == toy.manifest
    assert dataset_card(cited, toy.manifest) != dataset_card(toy.recipe, toy.manifest)


@pytest.mark.parametrize("text", ["no BibTeX", "@misc{a}", "@misc{a, b", "@misc{a, \x1b}", ""])
def test_what_is_no_bibtex_is_refused_as_a_citation(tmp_path, text: str) -> None:
    recipe = (ROOT / "tasks" / "toy-v1" / "task.toml").read_text("utf-8")
    quoted = msgspec.json.encode(text).decode()
    path = tmp_path / "task.toml"
    path.write_text(f"citation = [{quoted}]\n{recipe}", "utf-8")
    with pytest.raises(TaskDataError, match="citation"):
        read_recipe(path)


# The citation file


def test_the_citation_file_says_what_is_printed() -> None:
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert text == files()["CITATION.cff"] == cite.citation_file(__version__)
    found = yaml.safe_load(text)
    (made,) = entries(cite.benchmark(__version__))
    assert made["title"] == f"{{{found['title']}}}"
    assert made["author"] == " and ".join(f"{{{by['name']}}}" for by in found["authors"])
    assert made["version"] == found["version"] == __version__
    assert made["url"] == found["repository-code"]


def test_the_citation_file_is_one_of_version_1_2_0() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert found["cff-version"] == "1.2.0"
    assert found.keys() >= {"authors", "cff-version", "message", "title"}  # what it requires
    assert found.keys() <= {
        "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi",
        "identifiers", "keywords", "license", "license-url", "message", "preferred-citation",
        "references", "repository", "repository-artifact", "repository-code", "title", "type",
        "url", "version",
    }  # fmt: skip
    assert found["type"] in {"software", "dataset"}
    assert found["license"] == "Apache-2.0"
    assert all(isinstance(found[name], str) for name in ("message", "title", "version"))
    assert len(set(found["keywords"])) == len(found["keywords"])


# The command


def test_cite_prints_the_benchmark_and_what_is_named(bench) -> None:
    code, out, err = bench("cite")
    assert (code, err) == (0, "")
    assert out == cite.benchmark(__version__)
    code, out, _ = bench("cite", "ml-100k-v1")
    assert code == 0
    assert out.startswith(cite.benchmark(__version__) + "\n@article{harper2015movielens,\n")
    assert out.endswith("}\n")


def test_cite_takes_an_entry_by_name_or_folder(bench, tmp_path) -> None:
    code, out, _ = bench("cite", "als", "--submissions", ROOT / "submissions")
    assert code == 0
    assert "@misc{llm4rec_bench_als,\n" in out
    assert bench("cite", ROOT / "submissions" / "als")[1] == out


def test_cite_escapes_what_does_not_print(bench, tmp_path) -> None:
    from tests.test_leaderboard import submission

    submission(tmp_path, [], "mine", title="\u202eback\u202c 🎬")
    code, out, _ = bench("cite", tmp_path / "mine")
    assert code == 0
    assert "{{back 🎬}}" in out


def test_what_is_neither_task_nor_entry_is_a_usage_error(bench) -> None:
    code, out, err = bench("cite", "alss", "--submissions", ROOT / "submissions")
    assert (code, out) == (2, "")
    assert '"alss" is neither a task nor an entry' in err
    assert 'nearest: "als"' in err
    code, _, err = bench("cite", "toy-v2\x1b")
    assert code == 2
    assert "\x1b" not in err
    assert 'nearest: "toy-v1"' in bench("cite", "toy-v2")[2]
    assert bench("cite", "x" * 5000)[0] == 2
