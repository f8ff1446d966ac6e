"""From run files to an entry that is accepted, by the commands that CONTRIBUTING names."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from llm4rec_bench.entry import elsewhere, submit
from llm4rec_bench.submission import read_card
from tests.entry.conftest import RUN, rows, write_entry

SAID = [
    "--title", "Mine | ours", "--author", "Ada Lovelace", "--author", "Bob", "--licence", "MIT",
    "--description", 'With "quotes"\nand lines', "--hardware", "a machine", "--command", "make",
]  # fmt: skip


def halves(items: list[str]) -> list[str]:
    return items[::2] + items[1::2]


@pytest.fixture
def run(tmp_path: Path, toy) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(rows(halves, toy))
    return path


@pytest.fixture
def enter(bench, run, repository):
    """`submit` into the repository: (code, output)."""

    def call(*words: object, login: str = "Ada", files: tuple[object, ...] = (run,)):
        given = ["--login", login, "--name", "mine", "--submissions", repository / "submissions"]
        code, out, err = bench("submit", *files, *given, *words)
        return code, out + err

    return call


def test_a_newcomer_goes_from_a_run_file_to_an_accepted_pull_request(
    enter, repository, judged
) -> None:
    code, said = enter(*SAID)
    assert code == 0, said
    folder = repository / "submissions" / "ada--mine"
    assert "git add" in said
    assert sorted(path.name for path in folder.iterdir()) == ["scores.json", "submission.toml", RUN]
    text = (folder / "submission.toml").read_text("utf-8")
    assert text.startswith("#:schema ../submission.schema.json\n")
    card = tomllib.loads(text)
    assert next(iter(card)) == "name"
    assert card["authors"] == ["Ada Lovelace", "Bob"]
    assert (card["tasks"], card["tracks"]) == (["toy-v1"], ["ranking"])
    made = repository.parent / "made"
    folder.rename(made)
    code, said, summary = judged(lambda fork: shutil.copytree(made, fork / "submissions/ada--mine"))
    assert code == 0, said
    assert "can be accepted" in summary


def test_what_is_missing_is_named_where_nobody_can_be_asked(enter, repository) -> None:
    code, said = enter(*SAID[2:])
    assert code == 2
    assert "--title is missing: The system, as the board shows it" in said
    assert not (repository / "submissions" / "ada--mine").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "Qwen"], "expected NAME@REVISION"),
        (["--model", "Qwen@1"], "ada--mine/submission.toml: exposure: is missing"),
        (["--link", "http://x"], "link: expected an address that begins with https://"),
        (["--exposure", "perhaps"], "expected no, possible or yes"),
        (["--reads", "plot"], "reads"),
        (["--name", "bob--mine"], "--login ada: is not whose entry bob--mine is"),
        (["--card", "none.toml"], "none.toml: no such card"),
        (["--edit"], "no such entry; without --edit a new one is made"),
    ],
)
def test_what_does_not_belong_on_a_card_is_told_and_nothing_is_written(
    enter, repository, words: list[str], told: str
) -> None:
    code, said = enter(*SAID, *words)
    assert code in (1, 2)
    assert told in said
    there = sorted(path.name for path in (repository / "submissions").iterdir())
    assert there == ["bob--his", "ours"]


def test_a_run_that_the_scorer_refuses_is_not_entered(enter, repository, run) -> None:
    run.write_bytes(run.read_bytes().rsplit(b"\n", 2)[0] + b"\n")
    code, said = enter(*SAID)
    assert code == 1
    assert "missing-request" in said
    assert not (repository / "submissions" / "ada--mine").exists()


def test_two_runs_of_one_track_are_refused(enter, run) -> None:
    other = run.with_name("other.jsonl")
    shutil.copy(run, other)
    code, said = enter(*SAID, files=(run, other))
    assert code == 2
    assert "is a second run on toy-v1 ranking" in said


def test_a_login_is_the_folder_in_lower_case_and_nothing_else(enter) -> None:
    code, said = enter(*SAID, login="../Ada")
    assert code == 2
    assert '"../ada--mine" cannot be an entry\'s name' in said


def test_an_entry_is_changed_and_the_rest_of_its_card_stays(enter, repository, run, toy) -> None:
    enter(*SAID)
    folder = repository / "submissions" / "ada--mine"
    card = folder / "submission.toml"
    card.write_text(card.read_text("utf-8") + "# a remark of mine\n", "utf-8")
    before = (folder / "scores.json").read_text()
    run.write_bytes(rows(lambda items: items[3:] + items[:3], toy))
    code, said = enter("--edit", "--title", "Better", "--test-looks", "3")
    assert code == 0, said
    assert "# a remark of mine" in card.read_text("utf-8")
    made = read_card(folder)
    assert (made.title, made.test_looks, made.licence) == ("Better", 3, "MIT")
    assert (folder / "scores.json").read_text() != before
    assert gzip.decompress((folder / RUN).read_bytes()) == run.read_bytes()


def test_a_card_and_the_recording_beside_a_run_come_along(enter, repository, run, tmp_path) -> None:
    card = tmp_path / "my.toml"
    enter(*SAID)
    made = repository / "submissions" / "ada--mine" / "submission.toml"
    card.write_text(made.read_text("utf-8") + "seed = 7\n", "utf-8")
    shutil.rmtree(made.parent)
    run.with_name("mine.recording.jsonl").write_text('{"format":"llm4rec-bench-recording/1"}\n')
    code, said = enter("--card", card)
    assert code == 0, said
    assert read_card(made).seed == 7
    assert (made.parent / "toy-v1.ranking.recording.jsonl.gz").exists()
    assert "is not replayed" in said


def test_a_run_too_large_for_the_folder_goes_to_the_hub(
    enter, repository, hub, monkeypatch, run, bench, tmp_path
) -> None:
    monkeypatch.setattr(submit, "LARGEST_FILE", 1000)
    code, said = enter(*SAID)
    assert code == 2
    assert "with --hub ORG/NAME it is uploaded" in said
    code, said = enter(*SAID, "--hub", "ada/my-runs")
    assert code == 0, said
    folder = repository / "submissions" / "ada--mine"
    assert sorted(path.name for path in folder.iterdir()) == ["scores.json", "submission.toml"]
    (there,) = read_card(folder).elsewhere.values()
    assert (there.repository, there.file) == ("ada/my-runs", RUN)
    beginning = tmp_path / "begin.toml"
    beginning.write_text((folder / "submission.toml").read_text("utf-8").split("[elsewhere")[0])
    recorded = folder / "toy-v1.ranking.recording.jsonl.gz"
    recorded.write_bytes(gzip.compress(b'{"format":"llm4rec-bench-recording/1"}\n'))
    code, said = enter("--edit", "--card", beginning, "--title", "Better", files=())
    assert code == 0, said
    assert read_card(folder).elsewhere == {"toy-v1.ranking": there}
    assert f"{recorded.name}: warning: is not replayed" in said
    recorded.unlink()
    shutil.rmtree(tmp_path / "store" / "entered")  # what the author has kept, others fetch
    code, _, err = bench("verify", folder, "--submissions", repository / "submissions")
    assert code == 0, err
    card = folder / "submission.toml"
    shutil.rmtree(tmp_path / "store" / "entered")
    card.write_text(card.read_text().replace(there.digest, "sha256:" + "0" * 64), "utf-8")
    code, _, err = bench("verify", folder, "--submissions", repository / "submissions")
    assert code == 1
    assert f"ada/my-runs holds {there.digest}" in err
    monkeypatch.setattr(elsewhere, "LARGEST", 10)
    *_, err = bench("verify", folder, "--submissions", repository / "submissions")
    assert "10 are allowed" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "org/name@main", "--exposure", "no"], "org/name at main, which moves; name"),
        (["--exposure", "possible"], "exposure: is said of no model; name them in [[models]]"),
    ],
)
def test_what_a_card_says_of_models_is_exact(enter, repository, words, told) -> None:
    code, said = enter(*SAID, *words)
    assert code == 1
    assert told in said
    assert "holds the entry as it is: mend" in said


def test_what_the_card_says_of_texts_and_models_is_shown_where_nobody_is_asked(enter, run) -> None:
    _, said = enter(*SAID, "--reads", "title", files=(run.parent / "mine.jsonl",))
    assert "the card says: reads title; pre-trained models: none" in said
    assert "git push -u origin ada--mine" in said


def test_a_folder_of_runs_is_entered(enter, repository, run) -> None:
    (run.parent / "runs").mkdir()
    shutil.move(run, run.parent / "runs" / "toy-v1.ranking.jsonl")
    code, said = enter(*SAID, files=(run.parent / "runs",))
    assert code == 0, said
    assert (repository / "submissions" / "ada--mine" / RUN).exists()


def test_what_is_not_given_is_asked_for_at_a_terminal(enter, repository, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter(["My title", "Ada", "MIT", "It is", "a machine", "make", "title, metadata",
                    "a/b@1234567", "possible"])  # fmt: skip
    monkeypatch.setattr("click.prompt", lambda text, **how: next(answers))
    code, said = enter()
    assert code == 0, said
    card = read_card(repository / "submissions" / "ada--mine")
    assert (card.title, card.reads, card.exposure) == (
        "My title",
        ["title", "metadata"],
        "possible",
    )
    assert (card.models[0].name, card.models[0].revision) == ("a/b", "1234567")


def test_outside_a_checkout_it_says_so(bench, run) -> None:
    code, _, err = bench("submit", run)
    assert code == 2
    assert "no such folder; run it in a checkout of the repository" in err


def test_all_entries_are_verified_and_each_is_told_of(bench, repository) -> None:
    submissions = repository / "submissions"
    code, out, err = bench("verify", "--submissions", submissions)
    assert (code, err) == (0, "")
    assert out.count(": fine") == 2
    (submissions / "ours" / "notes.txt").write_text("x")
    code, out, err = bench("verify", "--submissions", submissions)
    assert code == 1
    assert "bob--his: fine" in out
    assert "ours: refused, 1 problem" in out
    assert "notes.txt: error: does not belong into an entry" in err
    code, _, err = bench("verify", "our", "--submissions", submissions)
    assert code == 2
    assert 'nearest: "ours"' in err


def test_scoring_again_shows_what_moves(bench, repository, toy) -> None:
    submissions = repository / "submissions"
    code, out, _ = bench("rescore", "--all", "--check", "--submissions", submissions)
    assert (code, out) == (0, "2 submissions scored, 0 entries moved\n")
    path = submissions / "ours" / "scores.json"
    saved = json.loads(path.read_text())
    value = saved["scores"][0]["metrics"]["ndcg@10"]["value"]
    saved["scores"][0]["metrics"]["ndcg@10"]["value"] = 0.5
    saved["scores"][0]["scorer"] = "0"
    path.write_text(json.dumps(saved))
    for words, code in (("--check", 1), ((), 0)):
        found, out, _ = bench(
            "rescore", "--all", *([words] if words else []), "--submissions", submissions
        )
        assert found == code
        assert f"ours toy-v1 ranking: ndcg@10 0.5000, rank 1 -> ndcg@10 {value:.4f}, rank 1" in out
    code, out, _ = bench("rescore", "ours", "--submissions", submissions)
    assert out == "1 submissions scored, 0 entries moved\n"
    code, _, err = bench("rescore", "--submissions", submissions)
    assert code == 2
    assert "name entries, or say --all" in err


def test_an_entry_is_made_again_and_marked_for_as_long_as_its_run_is_the_same(
    bench, repository, monkeypatch, tmp_path
) -> None:
    from tests.conftest import ROOT

    submissions = repository / "submissions"
    shutil.copytree(ROOT / "submissions" / "markov", submissions / "markov")
    for path in (submissions / "markov").glob("*.jsonl.gz"):
        if not path.name.startswith("toy-v1.ranking."):
            path.unlink()
    bench("score", submissions / "markov", "--save")
    words = ["markov", "--submissions", submissions, "--out", tmp_path / "again", "--save"]
    code, out, err = bench("reproduce", *words)
    assert code == 0, err
    assert "100.0% of rankings the same, difference +0.0000" in out
    assert out.rstrip().endswith("by run: confirmed")
    noted = json.loads((submissions / "reproduced.json").read_text())
    assert noted["runs"]["markov/toy-v1.ranking"]["same"] == 1.0
    board = tmp_path / "board.md"
    bench("leaderboard", "--submissions", submissions, "--out", board)
    assert "(submissions/markov) ✓ |" in board.read_text("utf-8")
    card = submissions / "markov" / "submission.toml"
    stated = card.read_text("utf-8")
    card.write_text(re.sub(r"(?m)^system = .*$", "", stated), "utf-8")
    bench("leaderboard", "--submissions", submissions, "--out", board)
    assert "✓ |" not in board.read_text("utf-8")  # the card says another thing of the same run
    card.write_text(stated.replace('title = "', 'title = "New '), "utf-8")
    code, _, err = bench("reproduce", *words)
    assert code == 1
    assert "--overwrite replaces it" in err
    code, out, err = bench("reproduce", *words, "--overwrite")
    assert code == 0, err
    path = submissions / "markov" / "toy-v1.ranking.jsonl.gz"
    path.write_bytes(
        gzip.compress(gzip.decompress(path.read_bytes()).replace(b"Markov", b"Markow"))
    )
    bench("score", submissions / "markov", "--save")
    bench("leaderboard", "--submissions", submissions, "--out", board)
    assert "✓ |" not in board.read_text("utf-8")


def test_a_run_that_comes_out_worse_is_not_confirmed(bench, repository, tmp_path, toy) -> None:
    """An entry that claims a method of ours, and enters another ranking."""
    folder = repository / "submissions" / "ada--claims"
    write_entry(folder, rows(halves, toy))
    card = folder / "submission.toml"
    text = card.read_text("utf-8") + 'system = "baselines.classical.popularity:Popularity"\n'
    card.write_text(text, "utf-8")
    words = [
        "ada--claims",
        "--submissions",
        repository / "submissions",
        "--out",
        tmp_path / "again",
    ]
    code, out, _ = bench("reproduce", *words)
    assert code == 1
    assert out.rstrip().endswith("by run: not confirmed")
    card.write_text(text.split("system")[0], "utf-8")
    code, _, err = bench("reproduce", *words)
    assert code == 1
    assert "names no system of this repository" in err
    code, _, err = bench("reproduce", *words, "--task", "ml-100k-v1")
    assert code == 2
