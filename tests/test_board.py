"""The board on a terminal and as data: what is shown and left out, and strangers' text inert."""

# ruff: noqa: F811 - a fixture of another module is imported

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from llm4rec_bench import Score, UsageError
from llm4rec_bench.cli import board as shown
from llm4rec_bench.leaderboard import (
    BoardRecord,
    Repetition,
    Reproduced,
    board_csv,
    board_json,
    read_changes,
    record,
    save_reproduced,
    tables,
)
from llm4rec_bench.leaderboard.data import _FORMULA, _inert
from llm4rec_bench.scoring import Alarm, Latency, Tokens
from llm4rec_bench.statistics import Interval, Percentile
from llm4rec_bench.submission import read_card
from tests.conftest import ROOT
from tests.test_leaderboard import HOSTILE, base, entry, submission  # noqa: F401

PRICES = {"prompt": 1.0, "completion": 2.0, "date": "2026-11-22", "currency": "USD",
          "source": "https://prices.example"}  # fmt: skip


@pytest.fixture
def printed(capfd, monkeypatch) -> Callable[..., list[str]]:
    """The lines of a table of some entries, as wide a terminal as said."""

    def lines(*entries, width: int | None = None, **of_board) -> list[str]:
        if width is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(width))
        shown.print_tables(tables(entries, **of_board))
        return capfd.readouterr().out.splitlines()

    return lines


def plain(found: Score, value: float = 0.5) -> Score:
    """A score whose every cell is known."""
    metrics = dict.fromkeys(found.metrics, Interval(0.25, 0.2, 0.3))
    first = next(iter(metrics))
    return msgspec.structs.replace(
        found,
        metrics=metrics | {first: Interval(value, round(value - 0.05, 4), round(value + 0.05, 4))},
        latency=Latency(300, 5.0, {"p50": Percentile(1.5, 1.0, 2.0),
                                   "p95": Percentile(1234.5, 1.0, 2.0)}, 200.0),
        tokens={"prompt": Tokens(300, 1000.0), "completion": Tokens(300, 30.0)},
        alarms=[],
    )  # fmt: skip


FULL = {"prices": PRICES, "exposure": "possible", "reads": ["title"]}


def test_a_table_by_hand(base, printed) -> None:
    ranking = msgspec.structs.replace(
        plain(base["ranking"], 0.9), order=msgspec.structs.replace(base["ranking"].order, p=1e-9)
    )
    first, second, *rows = [
        line.rstrip() for line in printed(entry(ranking, **FULL))
    ]  # fmt: skip
    places = [by.value for by in ranking.order.by_place.values()]
    assert first == "toy-v1 ranking (1 entry, 300 requests)"
    assert re.split(r"  +", second) == [
        "rank", "system", "ndcg@10", "95 % interval", "recall@1", "recall@5", "recall@10",
        "mrr@10", "valid", "order", "p50 ms", "p95 ms", "tokens", "cost", "exposure", "reads",
    ]  # fmt: skip
    (row,) = [line for line in rows if "A title" in line]
    assert re.split(r"  +", row.strip()) == [
        "1", "A title", "0.9000", "0.8500–0.9500", *["0.2500"] * 4,
        f"{ranking.validity.valid_share:.1%}", f"{min(places):.3f}–{max(places):.3f}*", "1.50",
        "1,234.50", "1,030", "1.06 USD (2026-11-22)", "possible", "title",
    ]  # fmt: skip
    assert not any("left out" in line for line in rows)
    assert any(line.startswith("*: the place at which") for line in rows)
    assert "sampled metric: comparable only inside this task version" in rows


def test_floors_and_ceiling_stand_in_their_places_without_a_rank(base, printed) -> None:
    found = plain(base["ranking"], 0.45)
    floors = found.floors
    expected = sorted(
        [("ceiling", floors.ceiling), ("popularity", floors.popularity), ("random", floors.random),
         ("as given", floors.as_given)], key=lambda floor: -floor[1]["ndcg@10"],
    )  # fmt: skip
    lines = [re.split(r"  +", line.strip()) for line in printed(entry(found))]
    names = {name for name, _ in expected}
    assert [(line[0], line[1]) for line in lines if line[0] in names] == [
        (name, f"{values['ndcg@10']:.4f}") for name, values in expected
    ]
    start = next(place for place, line in enumerate(lines) if line[0] == "rank") + 2
    values = [float(line[1 if line[0] in names else 2]) for line in lines[start : start + 5]]
    assert values == sorted(values, reverse=True)


IMPORTANCE = ["rank", "system", "ndcg@10", "95 % interval", "valid", "recall@1", "recall@5",
              "recall@10", "mrr@10", "order", "cost", "tokens", "p95 ms", "p50 ms", "exposure",
              "reads"]  # fmt: skip


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 150, 200])
@pytest.mark.parametrize("title", ["Short", "A title that is too long for most terminals " * 4,
                                   "電影推薦系統" * 20])  # fmt: skip
def test_a_narrow_terminal_leaves_out_the_least_important_columns(
    base, printed, width: int, title: str
) -> None:  # fmt: skip
    _, head, *rest = printed(entry(plain(base["ranking"]), title=title, **FULL), width=width)
    assert max(map(cell_len, [head, *rest])) <= width
    there = [name for name in IMPORTANCE if re.search(rf"(^|  ){name}( |$)", head)]
    assert there == IMPORTANCE[: len(there)]
    assert len(there) >= 3
    told = " ".join(rest)
    missing = [name for name in IMPORTANCE if name not in there]
    assert ("left out for want of room" in told) == bool(missing)
    for name in missing:
        assert name in re.sub(r"\s+", " ", told.partition("left out for want of room: ")[2])
    (row,) = [line for line in rest if re.match(r" *1 ", line)]
    assert "0.5000" in row  # numbers are whole
    assert ("0.4500–0.5500" in row) == ("95 % interval" in there)


@pytest.mark.parametrize("text", [*HOSTILE, "[red]markup[/red]", "[/]", ":smile:"])
def test_a_hostile_title_prints_as_one_harmless_cell(base, printed, text: str) -> None:
    lines = printed(entry(plain(base["ranking"]), title=text, **FULL))
    (row,) = [line for line in lines if re.match(r" *1 ", line)]
    assert len(lines) == len(printed(entry(plain(base["ranking"]), **FULL)))
    harmless = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    assert harmless[:20] in row
    for line in lines:
        assert not any(unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} for char in line)


def test_strangers_in_alarms_and_currencies_are_escaped(base, printed) -> None:
    found = msgspec.structs.replace(
        plain(base["ranking"]), alarms=[Alarm("no-such-code\x1b", "look\x1b[2J \u202eback")]
    )
    prices = PRICES | {"currency": "U\u202eSD"}
    text = "\n".join(printed(entry(found, title="\u202etitle", prices=prices)))
    assert r"warning[unknown]: \u202etitle: look\x1b[2J \u202eback" in text
    assert r"U\u202eSD" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_run_that_was_made_again_is_marked(base, printed) -> None:
    found = plain(base["ranking"])
    again = Repetition(found.run_digest, "run", 1.0, 0.0, 0.0, 0.0, datetime.date(2026, 11, 22),
                       card=entry(found).card.fingerprint("toy-v1", "ranking"))  # fmt: skip
    made = Reproduced(runs={"a-name/toy-v1.ranking": again})
    lines = printed(entry(found, title="Long " * 20), reproduced=made, width=60)
    (row,) = [line for line in lines if re.match(r" *1 ", line)]
    assert "… ✓  0.5000" in row
    assert any(line.startswith("✓: made again by the maintainers") for line in lines)


def test_colours_are_only_for_terminals_that_want_them(base, capfd, monkeypatch) -> None:
    found = tables([entry(plain(base["ranking"]))])
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    shown.print_tables(found)
    assert "\x1b" not in capfd.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    shown.print_tables(found)
    assert "\x1b[2;3mrandom" in capfd.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    shown.print_tables(found)
    colours = re.findall(r"\x1b\[([\d;]*)m", capfd.readouterr().out)
    assert {part for code in colours for part in code.split(";")} <= {"0", "1", "2", "3"}


# As data


def test_the_document_holds_every_value_as_it_is(base) -> None:
    found = plain(base["ranking"], 0.9)
    again = Repetition(found.run_digest, "replay", 0.5, 0.1, 0.05, 0.2, datetime.date(2026, 1, 2),
                       card=entry(found, **FULL).card.fingerprint("toy-v1", "ranking"))  # fmt: skip
    made = tables(
        [entry(found, **FULL, models=[{"name": "a/b", "revision": "1"}]),
         entry(plain(base["retrieval"]), title="Other")],
        Reproduced(runs={"a-name/toy-v1.ranking": again}),
    )  # fmt: skip
    text = board_json(made, read_changes(ROOT / "tests"))
    board = msgspec.json.decode(text, type=BoardRecord)
    assert board == record(made, read_changes(ROOT / "tests"))
    assert [(table.task, table.track) for table in board.tables] == [
        ("toy-v1", "retrieval"), ("toy-v1", "ranking"),
    ]  # fmt: skip
    (row,) = json.loads(text)["tables"][1]["entries"]
    assert row["rank"] == 1
    assert row["metrics"]["ndcg@10"] == {
        "value": 0.9, "low": 0.85, "high": 0.95, "std_between_runs": None,
    }  # fmt: skip
    assert row["cost"]["per_1000_requests"] == 1.06
    assert row["run_digest"] == found.run_digest
    assert row["repetition"]["how"] == "replay"
    assert row["confirmed"] is False
    assert row["models"][0]["name"] == "a/b"
    assert board.tables[1].references == {
        name: dict(values) for name, values in made[1].references.items()
    }


def test_the_table_of_csv_has_a_row_for_each_entry(base) -> None:
    rows = [
        entry(plain(base["ranking"], 0.9), name="one", title='a "quoted", title', **FULL),
        entry(plain(base["ranking"], 0.5), name="two", authors=["Ada", "Bob"]),
        entry(plain(base["retrieval"], 0.5), name="one"),
    ]
    text = board_csv(tables(rows))
    assert text.count("\r\n") == text.count("\n") == 4
    assert '"a ""quoted"", title"' in text
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["track"], row["name"]) for row in found] == [
        ("retrieval", "one"), ("ranking", "one"), ("ranking", "two"),
    ]  # fmt: skip
    assert found[1]["title"] == 'a "quoted", title'
    assert found[2]["authors"] == "Ada; Bob"
    assert [found[1][f"ndcg@10{part}"] for part in ("", " low", " high", " std between runs")] == [
        "0.9", "0.85", "0.95", "",
    ]  # fmt: skip
    assert found[0]["mrr@10"] == ""  # retrieval has none
    assert found[1]["cost of 1000 requests"] == "1.06"
    assert found[2]["cost of 1000 requests"] == found[2]["currency"] == ""
    assert None not in found[0]
    assert board_csv([]) == "task,track,rank\r\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_of_a_stranger_is_a_formula(base, text: str) -> None:
    made = tables([entry(plain(base["ranking"]), title=text, hardware=text, authors=[text, text])])
    (row,) = csv.DictReader(io.StringIO(board_csv(made), newline=""))
    for name in ("title", "hardware"):
        assert row[name] in (text, f"'{text}")
        assert (row[name] != text) == (text[0] in "=+-@")
    assert not any(cell[:1] in set("=+@\t\r") for cell in row.values())


@given(st.text(), st.sampled_from(["", *_FORMULA]))
def test_what_begins_like_a_formula_gets_an_apostrophe_and_nothing_else(text, start) -> None:
    cell = start + text
    made = _inert(cell)
    assert made in (cell, "'" + cell)
    assert not str(made).startswith(_FORMULA)
    assert _inert(-1.5) == -1.5


# The command


@pytest.fixture
def submissions(base, tmp_path) -> Path:
    """Two entries on two tracks of the toy task."""
    folder = tmp_path / "submissions"
    scores = [base["ranking"], base["retrieval"]]
    submission(folder, scores, "first", title="First")
    submission(folder, scores, "second", title="=1+1")
    return folder


def test_a_task_prints_all_its_tracks_and_a_track_one(bench, submissions, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ["leaderboard", "--submissions", submissions, "--task", "toy-v1"]
    code, out, err = bench(*words)
    assert (code, err) == (0, "")
    heads = [line for line in out.splitlines() if line.startswith("toy-v1 ")]
    assert heads == [f"toy-v1 {track} (2 entries, 300 requests)"
                     for track in ("retrieval", "ranking")]  # fmt: skip
    assert max(map(cell_len, out.splitlines())) <= 80
    assert out.count("warning[same-rankings]") == 4
    code, out, _ = bench(*words, "--track", "ranking")
    assert code == 0
    assert "toy-v1 retrieval" not in out
    assert not Path("leaderboard.md").exists()


def test_json_is_one_document_of_what_was_asked_for(bench, submissions) -> None:
    words = ["leaderboard", "--submissions", submissions, "--json"]
    whole = msgspec.json.decode(bench(*words)[1], type=BoardRecord, strict=True)
    assert [len(table.entries) for table in whole.tables] == [2, 2]
    code, out, _ = bench(*words, "--task", "toy-v1", "--track", "ranking")
    assert code == 0
    assert msgspec.json.decode(out, type=BoardRecord).tables == whole.tables[1:]
    assert not list(Path().iterdir())


def test_what_is_not_on_the_board_is_a_usage_error_with_the_nearest_name(
    bench, submissions
) -> None:
    words = ["leaderboard", "--submissions", submissions]
    code, out, err = bench(*words, "--task", "toy-v2")
    assert (code, out) == (2, "")
    assert err == (
        'error: --task: "toy-v2" is not on the board; expected one of toy-v1; nearest: "toy-v1"\n'
    )
    code, _, err = bench(*words, "--task", "toy-v1", "--track", "rankin\x1b")
    assert code == 2
    assert r'"rankin\x1b" is not on the board; expected one of ranking, retrieval' in err
    shutil.rmtree(submissions / "first")
    shutil.rmtree(submissions / "second")
    assert "there is no entry at all" in bench(*words, "--task", "toy-v1")[2]
    assert bench(*words, "--json")[0] == 0


@pytest.mark.parametrize(
    "words",
    [["--task", "toy-v1", "--check"], ["--task", "toy-v1", "--out", "x.md"],
     ["--task", "toy-v1", "--format", "csv"], ["--json", "--out", "x.json"], ["--json", "--check"],
     ["--track", "ranking"], ["--format", "xml"]],
)  # fmt: skip
def test_printing_and_writing_do_not_go_together(bench, submissions, words: list[str]) -> None:
    code, out, err = bench("leaderboard", "--submissions", submissions, *words)
    assert (code, out) == (2, "")
    assert "--" in err


@pytest.mark.parametrize("form", ["csv", "json"])
def test_the_board_is_written_as_data_and_checked(bench, submissions, form: str) -> None:
    words = ["leaderboard", "--submissions", submissions, "--format", form]
    name = f"leaderboard.{form}"
    assert bench(*words, "--check")[0] == 1
    assert bench(*words) == (0, f"{name}\n", "")
    assert bench(*words, "--check")[0] == 0
    if form == "json":
        assert bench("leaderboard", "--submissions", submissions, "--json")[1] == Path(
            name
        ).read_text("utf-8")
    else:
        assert b"'=1+1,Somebody,0." in Path(name).read_bytes()
    assert bench(*words, "--out", "there")[0] == 0
    assert Path("there").read_bytes() == Path(name).read_bytes()
    Path(name).write_text("edited")
    code, _, err = bench(*words, "--check")
    assert code == 1
    assert f"run: llm4rec-bench leaderboard --format {form}" in err


def test_the_mark_of_a_repeated_run_reaches_the_command(bench, submissions, base) -> None:
    card = read_card(submissions / "first").fingerprint("toy-v1", "ranking")
    again = Repetition(base["ranking"].run_digest, "run", 1.0, 0.0, 0.0, 0.0,
                       datetime.date(2026, 11, 22), card)  # fmt: skip
    save_reproduced(submissions, Reproduced(runs={"first/toy-v1.ranking": again}))
    out = bench("leaderboard", "--submissions", submissions, "--task", "toy-v1")[1]
    assert re.search(r"1  First ✓ ", out)
    assert "=1+1 ✓" not in out


def test_only_entries_on_test_are_chosen(base) -> None:
    validated = entry(msgspec.structs.replace(base["ranking"], split="validation"))
    with pytest.raises(UsageError, match="there is no entry at all"):
        shown.chosen([validated], "toy-v1", None)
