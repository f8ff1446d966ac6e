"""What README and CONTRIBUTING promise: commands that run, references that are current."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from llm4rec_bench.cli import cli
from llm4rec_bench.cli.reference import with_references
from llm4rec_bench.run.format import CODES, STATUSES, Dropped, Header, Row
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_generated_parts_are_current() -> None:
    assert with_references(README) == README


def test_the_first_two_commands_are_set_up_and_tests() -> None:
    go, tests = blocks("bash")[:2]
    first, second = go.splitlines()
    main_job = first.partition("pip install -q -c constraints.txt -e '.[classical]' && ")[2]
    assert main_job
    assert second == main_job.replace("toy-v1", "ml-100k-v1")
    assert tests.splitlines() == [
        "pip install -q -c constraints.txt -e '.[dev]'",
        "python -m pytest -n auto",
    ]
    assert "\npython -m pytest -n auto\n" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_main_job_ends_with_a_score_table(tmp_path) -> None:
    line = blocks("bash")[0].splitlines()[0].partition("'.[classical]' && ")[2]
    for name in ("submissions", "baselines"):
        (tmp_path / name).symlink_to(ROOT / name)
    scripts = f"{sys.prefix}/bin"
    done = subprocess.run(
        ["bash", "-c", f'export PATH="{scripts}:$PATH"; {line}'],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ALS (implicit) on toy-v1 retrieval (300 requests)" in done.stdout
    assert "ndcg@10" in done.stdout


def test_the_python_example_makes_a_run_that_scores(tmp_path) -> None:
    example, _ = blocks("python")
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True)
    done = subprocess.run(
        [f"{sys.prefix}/bin/llm4rec-bench", "score", "run.jsonl", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    score = json.loads(done.stdout)
    assert score["metrics"]["ndcg@10"]["value"] > 0
    assert score["validity"]["items_per_row"] == 20


def test_the_method_and_card_of_the_example_run(tmp_path) -> None:
    _, method = blocks("python")
    card = blocks("toml")[0]
    (tmp_path / "my_methods.py").write_text(method, "utf-8")
    (tmp_path / "submission.toml").write_text(card, "utf-8")
    command = f"{sys.prefix}/bin/llm4rec-bench"
    subprocess.run([command, "run", "submission.toml"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [command, "score", "runs/alphabetical", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [json.loads(line)["track"] for line in done.stdout.splitlines()] == [
        "retrieval", "ranking", "ranking-popular", "reranking",
    ]  # fmt: skip


def test_the_example_of_ones_own_data_is_frozen_run_and_scored(tmp_path) -> None:
    recipe = blocks("toml")[1]
    (commands,) = (made.splitlines() for made in blocks("bash") if "freeze my-books" in made)
    (tmp_path / "my-books.toml").write_text(recipe, "utf-8")
    (tmp_path / "loans.csv").write_text("member,isbn,day\n" + "".join(
        f"{member:03},{(member * 31 + step * step * 17 + step * member) % 300:04},"
        f"2020-01-{step + 1:02}\n"
        for member in range(400) for step in range(15)
    ))  # fmt: skip
    (tmp_path / "books.csv").write_text("isbn,title,year,authors,blurb\n" + "".join(
        f"{book:04},Book {book},19{book % 100:02},Ann;Bob,About {book}.\n" for book in range(300)
    ))  # fmt: skip
    for name in ("submissions", "baselines"):
        (tmp_path / name).symlink_to(ROOT / name)
    scripts = f"export PATH={sys.prefix}/bin:$PATH LLM4REC_BENCH_HOME={tmp_path}/store; "
    dry = commands[2].partition("#")[0] + "--dry-run"
    done = subprocess.run(
        ["bash", "-c", scripts + " && ".join([*commands[:2], dry])],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "bytes would go to my-org/my-books, tagged v1" in done.stdout
    assert "Item-kNN on my-books-v1 retrieval" in done.stdout
    assert "Item-kNN on my-books-v1 reranking" in done.stdout


def test_every_command_code_status_and_field_is_documented() -> None:
    for name in cli.commands:
        assert f"Usage: llm4rec-bench {name} " in README
    for word in (*CODES, *STATUSES, *Row.__struct_fields__, *Dropped.__struct_fields__,
                 *Header.__struct_fields__):  # fmt: skip
        assert f"`{word}`" in README or f'"{word}"' in README, word


def test_the_card_in_contributing_is_a_card(tmp_path) -> None:
    from llm4rec_bench.submission import read_card

    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (card,) = blocks("toml", text.replace("\n   ", "\n"))
    path = tmp_path / "submission.toml"
    path.write_text(card, "utf-8")
    assert read_card(path).name == "ada--my-ranker"
    path.write_text(card.replace("# system", "system").replace("# params", "params"), "utf-8")


def test_contributing_shows_the_order_of_modules_that_is_held() -> None:
    from tests.test_house import ORDER

    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert re.findall(r"\w+", re.search(r"`(errors .*?)`", text)[1]) == ORDER


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text("utf-8")
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert target.startswith("http") or (ROOT / target).exists(), target
