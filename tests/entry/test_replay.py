"""Recorded answers of strangers: what their cards name is looked at before anything is made."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from baselines import entries
from baselines.llm.prompts import FOLDER, Template
from llm4rec_bench.leaderboard import save_scores
from llm4rec_bench.run import read_run
from llm4rec_bench.scoring import score
from llm4rec_bench.submission import read_card
from tests.entry.conftest import CARD, RUN, git, rows, write_entry

LETTERS = """\
system = "baselines.llm.letters:Letters"
reads = ["title"]
exposure = "no"

[[models]]
name = "x"
revision = "y"

[params]
prompt = "letters@{digest}"
{more}
"""


def letters(more: str) -> str:
    return LETTERS.format(digest=Template(FOLDER / "letters").digest, more=more)


def recorded(checkout: Path, toy, more: str) -> Path:
    """An entry of which all is well, but that its recording holds nothing."""
    card = CARD + more.replace("{", "{{").replace("}", "}}")
    folder = write_entry(
        checkout / "submissions" / "ada--mine",
        rows(lambda items: items[1:] + items[:1], toy),
        card=card,
    )
    first, rest = rows(lambda items: items[1:] + items[:1], toy).split(b"\n", 1)
    made_by = read_card(folder).fingerprint("toy-v1", "ranking")
    header = json.dumps(json.loads(first) | {"card": made_by}).encode()
    (folder / RUN).write_bytes(gzip.compress(header + b"\n" + rest, mtime=0))
    save_scores(folder, [score(read_run(folder / RUN))])
    (folder / "toy-v1.ranking.recording.jsonl.gz").write_bytes(
        gzip.compress(b'{"format":"llm4rec-bench-recording/1"}\n')
    )
    return folder


def test_an_entry_that_is_named_as_a_hint_runs_no_code_of_its_author(
    judged, repository, toy, tmp_path: Path, monkeypatch
) -> None:
    """Entered before, where it was data; a replay would have made its method."""
    proof = tmp_path / "proof"
    monkeypatch.setattr(entries, "CARDS", repository / "submissions")
    system = f'system = "shutil:copy"\nparams = {{{{ src = "/etc/hostname", dst = "{proof}" }}}}\n'
    write_entry(
        repository / "submissions" / "eve--one",
        rows(lambda items: items[2:], toy),
        title="One",
        card=CARD + system,
    )
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Entered")
    more = letters('hint = "eve--one"\nmodel = { kind = "openai", model = "x" }')
    code, said, _ = judged(lambda checkout: recorded(checkout, toy, more))
    assert code == 1
    assert "'eve--one' is no entry of the project" in said
    assert not proof.exists()


def test_what_a_module_imports_is_none_of_its_methods(judged, toy, monkeypatch) -> None:
    monkeypatch.setenv("BROWSER", "true")
    more = 'system = "baselines.llm.serve:import_module"\nparams = { name = "antigravity" }\n'
    code, said, _ = judged(lambda checkout: recorded(checkout, toy, more))
    assert code == 1
    assert "is no method of baselines.llm; expected a class that is defined there" in said
    assert "antigravity" not in sys.modules


def test_a_replay_asks_no_server_even_how_many_tokens_a_text_has(judged, toy, monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "baselines.llm.models.endpoint.Endpoint._meet", lambda self: asked.append(self.base_url)
    )
    model = 'kind = "openai", model = "x", count_tokens = "server"'
    more = letters(f"context = 200\nmodel = {{ {model} }}")
    code, said, _ = judged(lambda checkout: recorded(checkout, toy, more))
    assert code == 1
    assert "count_tokens: a replay asks no server" in said
    assert asked == []


@pytest.mark.parametrize("system", ["shutil:copy", "baselines.checks:whole"])
def test_nothing_but_a_method_of_the_repository_is_made_again(
    bench, repository, toy, tmp_path: Path, system: str
) -> None:
    proof = tmp_path / "proof"
    params = f'params = {{ src = "/etc/hostname", dst = "{proof}" }}\n'
    recorded(repository, toy, f'system = "{system}"\n{params}')
    code, _, err = bench(
        "reproduce", "ada--mine", "--submissions", repository / "submissions", "--out", tmp_path
    )
    assert code == 1
    assert "is no method of baselines; expected a class that is defined there" in err
    assert not proof.exists()
