"""The command line as a person meets it: what it prints, where, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm4rec_bench.leaderboard import board, leaderboard, read_changes
from tests.conftest import ROOT

ENTRY = ROOT / "submissions" / "popularity"


def test_tasks_says_where_each_task_is(bench) -> None:
    code, out, _ = bench("tasks")
    assert code == 0
    assert "embedded" in out
    assert "to download" in out


def test_tasks_prints_header_lines_that_can_be_copied(bench, toy) -> None:
    code, out, _ = bench("tasks", "toy-v1")
    headers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert code == 0
    assert {header["track"]: header["digest"] for header in headers} == toy.manifest.tracks


def test_an_unknown_task_is_a_usage_error_with_the_nearest_id(bench) -> None:
    code, _, err = bench("download", "toy-v2")
    assert code == 2
    assert err.startswith("error: no task is called 'toy-v2'")
    assert 'nearest: "toy-v1"' in err


def test_unknown_options_and_commands_are_usage_errors(bench) -> None:
    assert bench("score", "--jsno", "x")[0] == 2
    assert bench("scroe")[0] == 2
    assert bench("score")[0] == 2


def test_help_and_version_exit_well(bench) -> None:
    for words in (["--help"], ["-h"], ["--version"], ["run", "--help"]):
        code, out, err = bench(*words)
        assert (code, err) == (0, "")
        assert out


def test_scoring_against_a_task_that_is_not_here_says_what_to_run(bench) -> None:
    code, _, err = bench("score", ENTRY / "ml-100k-v1.ranking.jsonl.gz")
    assert code == 3
    assert "run: llm4rec-bench download ml-100k-v1" in err


def test_score_prints_a_table_with_interval_floors_and_ceiling(bench) -> None:
    code, out, err = bench("score", ENTRY / "toy-v1.ranking.jsonl.gz")
    assert (code, err) == (0, "")
    assert out.startswith("Popularity on toy-v1 ranking (300 requests)")
    for word in ("ndcg@10", "95 % interval", "random", "popular", "given", "ceiling", "latency"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80


def test_score_prints_one_json_object_a_file(bench) -> None:
    code, out, _ = bench("score", ENTRY / "toy-v1.ranking.jsonl.gz", "--json",
                         ROOT / "submissions/als/toy-v1.retrieval.jsonl.gz")  # fmt: skip
    scores = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [score["track"] for score in scores] == ["ranking", "retrieval"]


def test_a_refused_file_does_not_keep_others_from_being_scored(bench, tmp_path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    code, out, err = bench("score", bad, ENTRY / "toy-v1.ranking.jsonl.gz")
    assert code == 1
    assert "Popularity on toy-v1" in out
    assert err.splitlines()[-1] == "bad.jsonl: refused, 1 problem"


def test_check_says_fine_or_what_is_wrong(bench, tmp_path) -> None:
    assert bench("check", ENTRY / "toy-v1.ranking.jsonl.gz")[:2] == (
        0,
        f"{ENTRY / 'toy-v1.ranking.jsonl.gz'}: fine\n",
    )
    (tmp_path / "empty.jsonl").touch()
    assert bench("check", tmp_path / "empty.jsonl")[0] == 1


def test_a_folder_without_runs_is_a_usage_error(bench, tmp_path) -> None:
    code, _, err = bench("score", tmp_path)
    assert code == 2
    assert "holds no run files" in err


def test_a_name_cannot_reach_the_terminal_as_escapes_or_markup(bench, tmp_path, toy) -> None:
    lines = (tmp_path / "run.jsonl").open("w")
    header = {"format": "llm4rec-bench/1", "task": "toy-v1", "track": "ranking",
              "digest": toy.digest("ranking"), "name": "\x1b]0;x\x07[red]é[/]\nrow"}  # fmt: skip
    with lines as file:
        print(json.dumps(header), file=file)
        for request in toy.requests("test", "ranking"):
            print(json.dumps({"request_id": request.request_id, "items": []}), file=file)
    code, out, _ = bench("score", tmp_path / "run.jsonl")
    assert code == 0
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.splitlines()[0].startswith(r"\x1b]0;x\x07[red]é[/]\nrow on toy-v1 ranking")


@pytest.fixture
def card(tmp_path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "submission.toml").write_text(
        'name = "mine"\ntitle = "Mine"\nauthors = ["me"]\nlicence = "MIT"\ndescription = "x"\n'
        'hardware = "h"\ncommand = "c"\nsystem = "baselines.classical.chance:Chance"\n'
        'tasks = ["toy-v1"]\n'
    )
    return folder


def test_scores_are_not_saved_beside_a_card_of_another_name(bench, card, tmp_path) -> None:
    assert bench("run", card, "--track", "ranking", "--out", card)[0] == 0
    renamed = card.rename(tmp_path / "yours")
    code, _, err = bench("score", "--save", renamed)
    assert code == 1
    assert "is not the folder's name" in err
    assert not (renamed / "scores.json").exists()


def test_run_writes_a_file_for_each_track_and_keeps_finished_ones(bench, card) -> None:
    code, out, _ = bench("run", card)
    assert code == 0
    assert out.splitlines() == [
        f"runs/mine/toy-v1.{track}.jsonl"
        for track in ("retrieval", "ranking", "ranking-popular", "reranking")
    ]
    code, out, _ = bench("run", card, "--track", "ranking")
    assert (
        out
        == "runs/mine/toy-v1.ranking.jsonl (kept: finished, same card; --overwrite runs it again)\n"
    )
    assert bench("score", "runs/mine")[0] == 0


def test_a_changed_card_does_not_silently_keep_or_lose_a_run(bench, card) -> None:
    assert bench("run", card, "--track", "ranking")[0] == 0
    before = Path("runs/mine/toy-v1.ranking.jsonl").read_bytes()
    path = card / "submission.toml"
    path.write_text(path.read_text() + "seed = 5\n")
    code, _, err = bench("run", card, "--track", "ranking")
    assert code == 1
    assert "holds a run of another card" in err
    assert Path("runs/mine/toy-v1.ranking.jsonl").read_bytes() == before
    assert bench("run", card, "--track", "ranking", "--overwrite")[0] == 0
    assert Path("runs/mine/toy-v1.ranking.jsonl").read_bytes() != before


def test_validation_runs_are_files_of_their_own(bench, card) -> None:
    assert bench("run", card, "--track", "ranking", "--split", "validation")[0] == 0
    code, out, _ = bench("score", "runs/mine/toy-v1.ranking.validation.jsonl", "--json")
    assert code == 0
    assert json.loads(out)["split"] == "validation"


def test_params_can_be_overridden_and_bad_ones_are_refused(bench, tmp_path) -> None:
    entry = ROOT / "submissions" / "recent-popularity"
    words = ["run", entry, "--task", "toy-v1", "--track", "ranking"]
    assert bench(*words, "--param", "days=3.5")[0] == 0
    code, _, err = bench(*words, "--param", "weeks=3", "--out", tmp_path / "other")
    assert code == 1
    assert "params do not fit" in err
    assert bench(*words, "--param", "days")[0] == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "mine"', 'nmae = "mine"', '"nmae" is not a field of a card; nearest: "name"'),
        ('name = "mine"', 'name = "../mine"', "name: expected lower-case words"),
        ('name = "mine"', 'name = "mine\\n"', "name: expected lower-case words"),
        ('authors = ["me"]', "authors = []", "authors: expected one line"),
        ('licence = "MIT"', 'license = "MIT"', 'nearest: "licence"'),
        ('title = "Mine"', "", "title"),
        ('title = "Mine"', "title = 3", "title: Expected `str`, got `int`"),
        (":Chance", ".Chance", "system: expected module:Class"),
        ('tasks = ["toy-v1"]', 'tasks = ["toy"]', "tasks[0]: expected a task id"),
        ('system = "baselines.', 'system = "no_such_package.', "No module named 'no_such_package'"),
        (":Chance", ":Choice", "has no Choice"),
        ('title = "Mine"', 'title = "Mi', "submission.toml"),
        ('tasks = ["toy-v1"]', 'tasks = ["toy-v9"]', "no task is called 'toy-v9'"),
    ],
)
def test_a_bad_card_is_refused_with_the_place(bench, card, old: str, new: str, said: str) -> None:
    path = card / "submission.toml"
    path.write_text(path.read_text().replace(old, new))
    code, _, err = bench("run", card)
    assert code in (1, 2)
    assert said in err


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ('params = { api_key = "sk-hidden" }', "params.api_key"),
        ('[params.model]\nkind = "openai"\napi_key = "sk-hidden"', "params.model.api_key"),
        (
            '[params.model.params]\nopenai_api_key = "sk-hidden"',
            "params.model.params.openai_api_key",
        ),
        ('[[params.parts]]\nSECRET = "sk-hidden"', "params.parts.SECRET"),
        (
            '[on.toy-v1.params.model.extra]\napiKey = "sk-hidden"',
            "on.toy-v1.params.model.extra.apiKey",
        ),
        ('api_key = "sk-hidden"', "api_key"),
    ],
)
def test_a_key_on_a_card_is_refused_and_not_repeated(bench, card, lines: str, place: str) -> None:
    path = card / "submission.toml"
    path.write_text(f"{path.read_text()}\n{lines}\n")
    code, _, err = bench("run", card)
    assert code == 1
    assert f"submission.toml: {place}: a key never belongs on a card" in err
    assert "environment variable" in err
    assert "sk-hidden" not in err


def test_the_name_of_a_variable_that_holds_a_key_is_no_key(bench, card) -> None:
    path = card / "submission.toml"
    path.write_text(
        f'{path.read_text()}\nparams = {{ api_key_env = "X_API_KEY", key = "title" }}\n'
    )
    assert "params do not fit" in bench("run", card)[2]


def test_a_missing_card_is_refused(bench, tmp_path) -> None:
    code, _, err = bench("run", tmp_path / "nothing")
    assert code == 1
    assert "submission.toml" in err


def test_the_leaderboard_is_written_and_checked(bench, tmp_path) -> None:
    submissions = tmp_path / "submissions"
    submissions.mkdir()
    (submissions / "popularity").symlink_to(ROOT / "submissions" / "popularity")
    words = ["leaderboard", "--submissions", submissions, "--out", "board.md"]
    assert bench(*words, "--check")[0] == 1
    assert bench(*words)[0] == 0
    expected = leaderboard(board(submissions), read_changes(submissions))
    assert "[Popularity](submissions/popularity)" in expected
    assert Path("board.md").read_text("utf-8") == expected
    assert bench(*words, "--check")[0] == 0
    Path("board.md").write_text("edited")
    code, _, err = bench(*words, "--check")
    assert code == 1
    assert "run: llm4rec-bench leaderboard" in err


def test_freezing_again_gives_what_is_committed_and_never_changes_it_silently(
    bench, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("llm4rec_bench.store.recipes_folder", lambda: tmp_path / "tasks")
    folder = tmp_path / "tasks" / "toy-v1"
    folder.mkdir(parents=True)
    recipe = (ROOT / "tasks/toy-v1/task.toml").read_text("utf-8")
    (folder / "task.toml").write_text(recipe, "utf-8")
    assert bench("freeze", folder, "--out", folder)[0] == 0
    for name in ("manifest.json", "README.md"):
        assert (folder / name).read_bytes() == (ROOT / "tasks/toy-v1" / name).read_bytes()
    assert (folder / "task.toml").read_text("utf-8") == recipe
    (folder / "task.toml").write_text(recipe.replace("seed = 1", "seed = 2"), "utf-8")
    code, _, err = bench("freeze", folder, "--out", folder)
    assert code == 3
    assert "a frozen task never changes" in err
    for name in ("manifest.json", "README.md"):
        assert (folder / name).read_bytes() == (ROOT / "tasks/toy-v1" / name).read_bytes()
    assert bench("freeze", folder, "--out", folder, "--replace")[0] == 0


def test_freezing_without_raw_data_says_so(bench, tmp_path) -> None:
    code, _, err = bench("freeze", ROOT / "tasks" / "ml-100k-v1")
    assert code == 2
    assert "--raw PATH" in err


def test_a_bug_of_ours_is_not_blamed_on_the_file(bench, monkeypatch) -> None:
    from llm4rec_bench.scoring import scorer

    def broken(*arguments: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(scorer, "_validity", broken)
    code, _, err = bench("score", ENTRY / "toy-v1.ranking.jsonl.gz")
    assert code == 70
    assert "This is a bug of llm4rec-bench" in err
    kept = Path(err.split("report it with ")[1].split(" at ")[0])
    assert "KeyError: 'oops'" in kept.read_text()
    kept.unlink()


def test_a_closed_pipe_ends_without_a_word() -> None:
    command = f"{sys.prefix}/bin/llm4rec-bench"
    done = subprocess.run(
        ["bash", "-c", f"{command} score {ENTRY}/toy-v1.* --json | head -c 10"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert len(done.stdout) == 10


def test_ctrl_c_ends_with_one_line(card, tmp_path) -> None:
    slow = tmp_path / "slow_method.py"
    slow.write_text(
        "import time\nfrom baselines.classical.chance import Chance\n"
        "class Slow(Chance):\n"
        "    def rank(self, requests):\n"
        "        time.sleep(0.2)\n"
        "        return super().rank(requests)\n"
    )
    path = card / "submission.toml"
    text = path.read_text().replace("baselines.classical.chance:Chance", "slow_method:Slow")
    path.write_text(text)
    command = [f"{sys.prefix}/bin/llm4rec-bench", "run", str(card), "--track", "ranking"]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    partial = tmp_path / "runs/mine/toy-v1.ranking.jsonl.partial"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size > 500):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in err
    assert partial.exists()


def test_a_card_may_be_for_some_tracks_only(bench, card) -> None:
    path = card / "submission.toml"
    path.write_text(path.read_text() + 'tracks = ["ranking", "reranking"]\n')
    code, out, _ = bench("run", card)
    assert code == 0
    assert out.splitlines() == [f"runs/mine/toy-v1.{t}.jsonl" for t in ("ranking", "reranking")]
    path.write_text(path.read_text().replace('"reranking"', '"rerank"'))
    code, _, err = bench("run", card)
    assert code == 1
    assert "tracks[1]: expected retrieval, ranking, ranking-popular, reranking" in err


def test_a_method_that_asks_no_model_has_nothing_to_replay_or_plan(bench, card) -> None:
    for option, said in (
        ("--replay", "there is no recording to replay; run without --replay"),
        ("--dry-run", "cannot tell what it would ask of a model"),
    ):
        code, out, err = bench("run", card, "--track", "ranking", option)
        assert (code, out) == (1, "")
        assert said in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--replay", "--dry-run"], "nothing to plan"),
        (["--spend", "1"], "--spend needs --prices"),
        (["--model", "m"], "--model names a row of --prices"),
        (["--spend", "0", "--prices", "p"], "0.0 is not in the range x>0"),
        (["--spend", "nan", "--prices", "p"], "--spend takes an amount, not nan"),
        (["--show"], "--show needs --dry-run"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(bench, card, options, said) -> None:
    code, _, err = bench("run", card, *options)
    assert code == 2
    assert said in err
