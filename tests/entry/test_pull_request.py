"""Pull requests as strangers may open them, judged by the command that CI runs."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import zlib
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from llm4rec_bench.entry.pull_request import changed
from llm4rec_bench.leaderboard import read_submission, save_scores
from tests.entry.conftest import CARD, RUN, git, rows, write_entry


def halves(items: list[str]) -> list[str]:
    return items[::2] + items[1::2]


def entered(checkout: Path, toy, **how) -> Path:
    return write_entry(checkout / "submissions" / "ada--mine", rows(halves, toy), **how)


def test_a_good_entry_is_accepted_and_shown_between_its_neighbours(judged, toy) -> None:
    code, said, summary = judged(lambda checkout: entered(checkout, toy))
    assert (code, said.splitlines()[-1]) == (0, "ada--mine: can be accepted")
    assert summary.startswith("## ada--mine: can be accepted\n")
    for title in ("**Mine**", "Ours", "His"):
        assert title in summary
    assert "random 0." in summary
    assert "ceiling 1.0000" in summary


def test_a_change_of_ones_own_entry_is_accepted(judged, repository, toy) -> None:
    entered(repository, toy)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Entered")

    def change(checkout: Path) -> None:
        entered(checkout, toy, title="Better title")

    code, said, summary = judged(change)
    assert code == 0, said
    assert "Better title" in summary


def test_a_pull_request_that_enters_nothing_is_left_to_its_reviewers(judged) -> None:
    code, said, summary = judged(lambda checkout: (checkout / "README.md").write_text("Hello"))
    assert code == 0
    assert "no entry" in said
    assert summary == ""


def test_a_maintainer_may_do_more_than_an_entrant(judged) -> None:
    def change(checkout: Path) -> None:
        (checkout / "leaderboard.md").write_text("new")
        (checkout / "submissions" / "changes.toml").write_text("x")

    assert judged(change, association="MEMBER")[0] == 0
    assert judged(change, association="CONTRIBUTOR")[0] == 1


def forged(checkout: Path, toy) -> None:
    path = entered(checkout, toy) / "scores.json"
    found = json.loads(path.read_text())
    found["scores"][0]["metrics"]["ndcg@10"]["value"] = 0.999
    path.write_text(json.dumps(found))


def forged_slice(checkout: Path, toy) -> None:
    path = entered(checkout, toy) / "scores.json"
    found = json.loads(path.read_text())
    slices = found["scores"][0]["slices"]
    slices["cold users"] = next(iter(slices.values()))
    path.write_text(json.dumps(found))


def twice_in_scores(checkout: Path, toy) -> None:
    """What one reader takes for the last of two, another for the first."""
    path = entered(checkout, toy) / "scores.json"
    path.write_text(path.read_text().replace('"value": 0.', '"value": 0.999, "value": 0.'))


def commands_in_scores(checkout: Path, toy) -> None:
    path = entered(checkout, toy) / "scores.json"
    path.write_text(json.dumps({"\n::error::x\u202e": 1} | json.loads(path.read_text())))


def nested_scores(checkout: Path, toy) -> None:
    path = entered(checkout, toy) / "scores.json"
    path.write_text('{"format": "llm4rec-bench/1", "scores": [{"x": ' + "[" * 1_000_000)


def ranks_without_end(checkout: Path, toy) -> None:
    """Three gigabytes of ranks, of which the file says that there are none."""
    path = entered(checkout, toy) / "scores.json"
    found = json.loads(path.read_text())
    packer = zlib.compressobj()
    first, again = (
        packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    packed = first + 2999 * again
    found["scores"][0] |= {"requests": 0, "ranks": base64.b64encode(packed).decode()}
    path.write_text(json.dumps(found))


def recording_of_no_run(checkout: Path, toy) -> None:
    folder = entered(checkout, toy)
    (folder / "toy-v1.retrieval.recording.jsonl.gz").write_bytes(b"a film, in parts")


def elsewhere_without_end(checkout: Path, toy) -> None:
    """Files that would be fetched one after the other, of tasks that there are not."""
    there = 'repository = "a/b"\ncommit = "{0}"\nfile = "x"\ndigest = "sha256:{1}"\n'
    there = there.format("0" * 40, "0" * 64)
    entered(checkout, toy, card=CARD + f'[elsewhere."none-v1.ranking"]\n{there}')


def title_of_another(checkout: Path, toy) -> None:
    entered(checkout, toy, title="Οurs\u200b")


def marked_as_verified(checkout: Path, toy) -> None:
    entered(checkout, toy, card=CARD.replace("a machine", "1 H100 \U0001f5f8"))


def paid_in_nothing(checkout: Path, toy) -> None:
    prices = 'date = 2026-01-01\ncurrency = "gold bars"\nsource = "x"\nprompt = 0\ncompletion = 0\n'
    entered(checkout, toy, card=f"{CARD}[prices]\n{prices}")


def many_digits(checkout: Path, toy) -> None:
    entered(checkout, toy)
    card = checkout / "submissions" / "ada--mine" / "submission.toml"
    card.write_text(card.read_text() + f"seed = {'1' * 5000}\n")


def many_parts(checkout: Path, toy) -> None:
    """A key for which the reader of TOML would need gigabytes."""
    entered(checkout, toy)
    card = checkout / "submissions" / "ada--mine" / "submission.toml"
    card.write_text(card.read_text() + f"{'a.' * 60_000}a = 1\n")


def of_another_run(checkout: Path, toy) -> None:
    folder = entered(checkout, toy)
    (folder / RUN).write_bytes(gzip.compress(rows(sorted, toy), mtime=0))


def with_a_link(checkout: Path, toy) -> None:
    (entered(checkout, toy) / "tuning.json").symlink_to("/etc/passwd")


def with_a_linked_folder(checkout: Path, toy) -> None:
    entered(checkout, toy)
    (checkout / "submissions" / "ada--mine" / "toy-v1.retrieval.jsonl.gz").symlink_to("../ours")


def executable(checkout: Path, toy) -> None:
    (entered(checkout, toy) / "submission.toml").chmod(0o755)


def with_a_submodule(checkout: Path, toy) -> None:
    inner = entered(checkout, toy) / "tuning.json"
    git(checkout, "init", "-q", str(inner))
    git(inner, "commit", "-qm", "x", "--allow-empty")


def bomb(checkout: Path, toy) -> None:
    """Three gigabytes of one line in three megabytes."""
    folder = entered(checkout, toy)
    packed = gzip.compress(b"x" * (1 << 25), 1, mtime=0)
    (folder / RUN).write_bytes(gzip.compress(rows(sorted, toy), mtime=0) + packed * 20)


def too_large(checkout: Path, toy) -> None:
    (entered(checkout, toy) / "toy-v1.retrieval.jsonl.gz").write_bytes(os.urandom(5_000_001))


def outside(checkout: Path, toy) -> None:
    entered(checkout, toy)
    (checkout / "llm4rec_bench").mkdir()
    (checkout / "llm4rec_bench" / "metrics.py").write_text("raise SystemExit")


def the_board(checkout: Path, toy) -> None:
    entered(checkout, toy)
    (checkout / "leaderboard.md").write_text("I am first")


def somebody_elses(checkout: Path, toy) -> None:
    write_entry(checkout / "submissions" / "bob--his", rows(halves, toy), "Worse")


def of_the_project(checkout: Path, toy) -> None:
    write_entry(checkout / "submissions" / "ours", rows(halves, toy), "Worse")


def without_owner(checkout: Path, toy) -> None:
    write_entry(checkout / "submissions" / "mine", rows(halves, toy))


def somebody_elses_moved(checkout: Path, toy) -> None:
    place = checkout / "submissions"
    (place / "ada--mine").mkdir()
    for path in (place / "bob--his").iterdir():
        path.rename(place / "ada--mine" / path.name)


def withdrawn(checkout: Path, toy) -> None:
    for path in (checkout / "submissions" / "bob--his").iterdir():
        path.unlink()


def in_capitals(checkout: Path, toy) -> None:
    folder = write_entry(checkout / "submissions" / "ada--mine", rows(halves, toy))
    folder.rename(folder.with_name("Ada--Mine"))


def two_entries(checkout: Path, toy) -> None:
    entered(checkout, toy)
    write_entry(checkout / "submissions" / "ada--other", rows(lambda items: items[1:], toy))


def copied(checkout: Path, toy) -> None:
    write_entry(checkout / "submissions" / "ada--mine", rows(sorted, toy))


def mark_of_the_maintainers(checkout: Path, toy) -> None:
    entered(checkout, toy)
    (checkout / "submissions" / "reproduced.json").write_text('{"format":"llm4rec-bench/1"}')


def other_files(checkout: Path, toy) -> None:
    (entered(checkout, toy) / "setup.py").write_text("raise SystemExit")


def nested(checkout: Path, toy) -> None:
    folder = entered(checkout, toy) / "deep"
    folder.mkdir()
    (folder / "submission.toml").write_text("x")


def attributes(checkout: Path, toy) -> None:
    (entered(checkout, toy) / ".gitattributes").write_text("* filter=evil")


def no_scores(checkout: Path, toy) -> None:
    (entered(checkout, toy) / "scores.json").unlink()


def fewer_requests(checkout: Path, toy) -> None:
    folder = entered(checkout, toy)
    lines = gzip.decompress((folder / RUN).read_bytes()).splitlines(keepends=True)
    (folder / RUN).write_bytes(gzip.compress(b"".join(lines[:-3]), mtime=0))


def another_name(checkout: Path, toy) -> None:
    path = entered(checkout, toy) / "submission.toml"
    path.write_text(path.read_text().replace("ada--mine", "ada--theirs"))


def unknown_model(checkout: Path, toy) -> None:
    entered(checkout, toy, card=CARD + 'params = {{ model = "gpt" }}\n')


def not_of_its_card(checkout: Path, toy) -> None:
    entered(checkout, toy, card=CARD + 'system = "baselines.classical.popularity:Popularity"\n')


def strange_names(checkout: Path, toy) -> None:
    entered(checkout, toy)
    (checkout / "submissions" / "ada--mine" / "::error::x\n\x1b[31m‮").write_text("x")


@pytest.mark.parametrize(
    ("forgery", "told"),
    [
        (forged, "ndcg@10 is 0.9990 there, and the run file gives 0."),
        (forged_slice, "slices there is not what the run file gives"),
        (twice_in_scores, "scores.json: error: is not written as the scorer writes it"),
        (commands_in_scores, "scores.json: error: Object contains unknown field `\\n::error::x"),
        (nested_scores, "scores.json: error:"),
        (ranks_without_end, "its saved ranks cannot be read"),
        (recording_of_no_run, "retrieval.recording.jsonl.gz: error: is the recording of no run"),
        (elsewhere_without_end, "is of no known task, or no track of it; nothing is fetched"),
        (title_of_another, "title: reads as that of ours; choose one that tells them apart"),
        (marked_as_verified, "hardware: bears a check mark, which the board uses"),
        (paid_in_nothing, "prices.currency: expected a code such as USD, found 'gold bars'"),
        (many_digits, "submission.toml: error: Exceeds the limit"),
        (many_parts, "submission.toml: error: a line holds more than 500 dots"),
        (of_another_run, "belongs to no run file in the folder"),
        (with_a_link, "tuning.json: is a symbolic link; expected a regular file"),
        (with_a_linked_folder, "toy-v1.retrieval.jsonl.gz: is a symbolic link"),
        (executable, "submission.toml: is executable"),
        (with_a_submodule, "tuning.json: is a submodule"),
        (bomb, "line-too-long"),
        (too_large, "5,000,000 at most, and longer runs lie in a dataset of the Hub"),
        (outside, "llm4rec_bench/metrics.py: lies outside an entry's folder"),
        (the_board, "leaderboard.md: is made anew after merging"),
        (somebody_elses, "bob--his/scores.json and 2 more: only bob may change it; yours begins"),
        (of_the_project, "ours/scores.json and 2 more: only a maintainer may change it"),
        (without_owner, "mine/scores.json and 2 more: only a maintainer may change it"),
        (somebody_elses_moved, "and 2 more: only bob may change it"),
        (withdrawn, "and 2 more: only bob may change it"),
        (in_capitals, "is none of an entry: its name is in lower case"),
        (two_entries, "ada--mine, ada--other: one entry a pull request"),
        (copied, "the same first ten items as bob--his for every request; an entry must differ"),
        (mark_of_the_maintainers, "reproduced.json: lies outside an entry's folder"),
        (other_files, "setup.py: is no file of an entry"),
        (nested, "deep/submission.toml: lies outside an entry's folder"),
        (attributes, ".gitattributes: is no file of an entry"),
        (no_scores, "scores.json: error: is missing; run: llm4rec-bench score"),
        (fewer_requests, "missing-request"),
        (another_name, "name 'ada--theirs' is not the folder's name"),
        (unknown_model, "params name a pre-trained model; say which in [[models]]"),
        (not_of_its_card, "was not made with the system, parameters, seed"),
        (strange_names, "is no file of an entry"),
    ],
)  # fmt: skip
def test_what_must_not_enter_is_told_in_words_a_contributor_understands(
    judged, toy, forgery, told: str
) -> None:
    code, said, summary = judged(lambda checkout: forgery(checkout, toy))
    assert code == 1
    assert told in said
    assert "can be accepted" not in summary
    assert summary
    inert(said, summary)


def inert(said: str, summary: str) -> None:
    """Nothing that a runner takes for a command, a terminal for one, or GitHub for markup."""
    assert not re.search(r"^\s*(::|##\[)", said, re.MULTILINE)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said + summary)
    tokens = MarkdownIt("commonmark").enable("table").parse(summary)
    inline = [child for token in tokens for child in token.children or []]
    assert not [one for one in [*tokens, *inline] if one.type.startswith("html")]
    assert not [one for one in inline if one.type in ("link_open", "image")]


@pytest.mark.parametrize(
    "title",
    [
        "a | b || c", "](https://evil.example) [x](https://evil.example)", "<img src=x onerror=a>",
        "::error::x", "##[error]x", "=1+1|cmd", "\u202eright to left\u202c", "${{ x }} `code` @all",
    ],
)  # fmt: skip
def test_names_of_strangers_are_inert_wherever_they_are_shown(judged, toy, title: str) -> None:
    code, said, summary = judged(lambda checkout: entered(checkout, toy, title=title))
    assert code == 0, said
    inert(said, summary)
    kinds = [token.type for token in MarkdownIt("commonmark").enable("table").parse(summary)]
    assert kinds.count("tr_open") == 1 + 3  # the head, the entry and two neighbours


def test_a_system_of_a_stranger_is_never_imported(judged, toy, tmp_path: Path) -> None:
    proof = tmp_path / "proof"

    def change(checkout: Path) -> None:
        card = CARD + 'system = "pathlib:Path"\nparams = {{ }}\n'
        folder = entered(checkout, toy, card=card)
        (folder / "toy-v1.ranking.recording.jsonl.gz").write_bytes(
            gzip.compress(b'{"format": "llm4rec-bench-recording/1"}\n')
        )
        (checkout / "evil.py").write_text(f"open({str(proof)!r}, 'w')")

    code, said, _ = judged(change)
    assert code == 1
    assert "evil.py: lies outside an entry's folder" in said
    assert not proof.exists()


@pytest.mark.parametrize("options", [("--base", "nowhere"), ("--head", "--output=/tmp/x")])
def test_commits_that_are_not_there_are_a_usage_error(repository, bench, options) -> None:
    given = {"--base": "HEAD", "--head": "HEAD"} | dict([options])
    words = [word for pair in given.items() for word in pair]
    code, _, err = bench("pull-request", repository, *words, "--author", "ada",
                         "--submissions", repository / "submissions")  # fmt: skip
    assert code == 2
    assert "git" in err


def test_a_history_that_meets_the_board_twice_is_refused(repository, bench, toy) -> None:
    """What Git takes for the change then leaves out what merging would put back."""
    fork = repository.parent / "fork"
    git(repository.parent, "clone", "-q", str(repository), str(fork))
    begun = git(repository, "rev-parse", "HEAD")
    write_entry(repository / "submissions" / "bob--his", rows(halves, toy), "His, mended")
    git(repository, "commit", "-qam", "Bob's second try")
    entered(fork, toy)
    git(fork, "add", "-A")
    git(fork, "commit", "-qm", "An entry", "--date", "2030-01-01T00:00:00Z")
    git(fork, "fetch", "-q", str(repository), "main")  # before the entry is merged
    git(repository, "pull", "-q", "--no-rebase", "--no-edit", str(fork), "HEAD")
    git(fork, "merge", "-q", "--no-commit", "-s", "ours", "FETCH_HEAD")
    entered(fork, toy, title="Better title")
    git(fork, "add", "-A")
    git(fork, "commit", "-qm", "A better title")
    head = git(fork, "rev-parse", "HEAD")
    git(repository, "fetch", "-q", str(fork), "HEAD")
    said = git(repository, "diff", "--name-only", begun, head)
    assert "bob--his" not in said
    git(repository, "merge", "-q", "--no-edit", head)
    merged = repository / "submissions" / "bob--his" / "submission.toml"
    assert '"His"' in merged.read_text()  # what Bob mended is gone, and Ada never touched it
    base = git(repository, "rev-parse", "HEAD^1")
    code, out, err = bench(
        "pull-request", repository, "--base", base, "--head", head, "--author", "ada",
        "--submissions", repository / "submissions",
    )  # fmt: skip
    assert code == 1
    assert "meets that of the main branch in 2 commits" in out + err


def test_a_repository_cannot_have_a_program_started(repository, bench, tmp_path: Path) -> None:
    """One that says to lack objects names a program that would fetch them."""
    proof = tmp_path / "proof"
    head = git(repository, "rev-parse", "HEAD")
    tree = git(repository, "rev-parse", "HEAD:submissions")
    for name, value in {
        "core.repositoryformatversion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(tmp_path),
        "remote.origin.uploadpack": f"touch {proof}; false",
    }.items():
        git(repository, "config", name, value)
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    empty = git(repository, "hash-object", "-t", "tree", "-w", "/dev/null")
    base = git(repository, "commit-tree", empty, "-p", head, "-m", "x")
    code, _, err = bench(
        "pull-request", repository, "--base", head, "--head", base, "--author", "ada",
        "--submissions", repository / "submissions",
    )  # fmt: skip
    assert code == 2
    assert "git diff fails" in err
    assert not proof.exists()


def test_maintainers_withdraw_an_entry(judged) -> None:
    code, said, _ = judged(lambda checkout: withdrawn(checkout, None), association="MEMBER")
    assert code == 0, said


def test_a_ranking_that_is_nearly_anothers_calls_for_a_look(judged, toy) -> None:
    def change(checkout: Path) -> None:
        lines = rows(sorted, toy).splitlines(keepends=True)
        last = json.loads(lines[-1])
        lines[-1] = json.dumps(last | {"items": last["items"][::-1]}).encode() + b"\n"
        write_entry(checkout / "submissions" / "ada--mine", b"".join(lines))

    code, said, _ = judged(change)
    assert code == 0
    assert re.search(
        r"ranking: warning: ranks (99\.\d|100\.0)% of the targets where bob--his", said
    )


def test_what_leaves_the_board_or_takes_anothers_place_is_told(judged, repository, toy) -> None:
    folder = entered(repository, toy)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Entered")

    def better(checkout: Path) -> None:
        write_entry(checkout / "submissions" / "ada--mine", rows(lambda items: items[1:], toy))

    code, said, summary = judged(better)
    assert code == 0, said
    assert re.search(r"toy-v1 ranking: warning: puts one with 0\.\d+ in the place of a run", said)
    assert "test" in summary

    def without(checkout: Path) -> None:
        mine = checkout / "submissions" / folder.name
        (mine / RUN).unlink()
        save_scores(mine, [])

    code, said, _ = judged(without)
    assert code == 1
    assert "ada--mine: error: holds no run" in said
    (told,) = changed(read_submission(folder), [])
    assert re.fullmatch(r"takes a run with ndcg@10 0\.\d{4} off the board; say why", told.what)
    assert not told.refused
