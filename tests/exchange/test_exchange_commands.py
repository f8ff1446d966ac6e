"""The commands export, import and fuse as a person meets them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.conftest import ROOT

ENTRY = ROOT / "submissions"
ALS = ENTRY / "als" / "toy-v1.retrieval.jsonl.gz"
KNN = ENTRY / "item-knn" / "toy-v1.retrieval.jsonl.gz"
PREDICTED = ROOT / "tests" / "exchange" / "recbole" / "sasrec.tsv.gz"
WHERE = ["--task", "toy-v1", "--track", "retrieval", "--name", "x", "--out", "run.jsonl"]


def test_an_export_for_recbole_names_its_configurations(bench) -> None:
    code, out, err = bench("export", "toy-v1", "--format", "recbole", "--out", "data")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "data/toy-v1/toy-v1.general.yaml", "data/toy-v1/toy-v1.sequential.yaml",
    ]  # fmt: skip
    assert all(Path(line).exists() for line in out.splitlines())
    words = ["--split", "validation", "--max-length", "2", "--out", "data"]
    assert bench("export", "toy-v1", "--format", "recbole", *words)[0] == 0
    config = Path("data/toy-v1-validation/toy-v1-validation.sequential.yaml").read_text()
    assert "MAX_ITEM_LIST_LENGTH: 2\n" in config


def test_a_task_may_be_named_by_its_folder(bench) -> None:
    folder = ROOT / "tasks" / "toy-v1"
    assert bench("export", folder, "--format", "trec", "--out", "a.qrels")[0] == 0
    assert bench("export", "toy-v1", "--format", "trec", "--out", "b.qrels")[0] == 0
    assert Path("a.qrels").read_bytes() == Path("b.qrels").read_bytes()


def test_a_run_goes_out_and_comes_back(bench) -> None:
    code, out, err = bench("export", ALS, "--format", "trec", "--out", "als.trec")
    assert (code, out, err) == (0, "als.trec\n", "")
    code, out, err = bench("import", "als.trec", *WHERE)
    assert (code, out, err) == (0, "run.jsonl: 300 requests\n", "")
    assert bench("check", "run.jsonl")[0] == 0
    code, out, _ = bench("compare", "run.jsonl", ALS)
    assert "0/300/0" in out


def test_an_import_says_what_became_of_the_predictions(bench, tmp_path) -> None:
    lines = gzip.decompress(PREDICTED.read_bytes()).decode().splitlines(keepends=True)
    Path("some.tsv").write_text("".join(line for line in lines if not line.startswith("u007\t")))
    code, out, err = bench("import", "some.tsv", *WHERE)
    assert (code, out) == (1, "")
    assert err == (
        'some.tsv: error[missing-request] holds no line for request "u007"; add them, or take them '
        "for failed with --allow-missing\n"
    )
    assert not Path("run.jsonl").exists()
    code, out, _ = bench("import", "some.tsv", *WHERE, "--allow-missing")
    assert code == 0
    assert out.startswith("run.jsonl: 300 requests, 1 of them unanswered, ")
    assert out.endswith(" seen dropped\n")
    assert "status: ok 299, api_error 1" in bench("score", "run.jsonl")[1]


def test_an_import_for_validation_is_scored_as_one(bench) -> None:
    words = ["export", "toy-v1", "--format", "trec", "--split", "validation", "--out", "best.qrels"]
    assert bench(*words)[0] == 0
    rows = [line.split() for line in Path("best.qrels").read_text().splitlines()]
    Path("best.trec").write_text("".join(f"{q} Q0 {item} 1 1 x\n" for q, _, item, _ in rows))
    assert bench("import", "best.trec", *WHERE, "--split", "validation")[0] == 0
    assert "ndcg@10   1.0000" in bench("score", "run.jsonl")[1]


def test_a_fusion_is_scored_like_any_run(bench) -> None:
    code, out, err = bench("fuse", ALS, KNN, "--name", "Both", "--out", "both.jsonl.gz")
    assert (code, out, err) == (0, "both.jsonl.gz\n", "")
    assert bench("score", "both.jsonl.gz")[1].startswith("Both on toy-v1 retrieval (300 requests)")
    weighted = ["--weights", "1,1e-9", "--k", "0", "--name", "One", "--out", "one.jsonl"]
    assert bench("fuse", ALS, KNN, *weighted)[0] == 0
    assert "0/300/0" in bench("compare", "one.jsonl", ALS)[1]


FUSE = ["fuse", ALS, KNN, "--name", "x", "--out"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["export", "toy-v1", "--out", "x"], "--format"),
        (["export", "toy-v1", "--format", "csv", "--out", "x"], "csv"),
        (["export", "toy-v1", "--format", "trec"], "--out"),
        (["export", "toy-v2", "--format", "trec", "--out", "x"], "no task is called 'toy-v2'"),
        (["export", "toy", "--format", "trec", "--out", "x"], "no task is called 'toy'"),
        (["export", "toy-v1", "--format", "trec", "--run", "1", "--out", "x"], "--run does not go"),
        (
            ["export", "toy-v1", "--format", "trec", "--max-length", "1", "--out", "x"],
            "not go with",
        ),
        (
            ["export", ALS, "--format", "trec", "--split", "test", "--out", "x"],
            "--split does not go",
        ),
        (["export", ALS, "--format", "recbole", "--out", "x"], "RecBole takes tasks"),
        (["export", ALS, "--format", "trec", "--run", "1", "--out", "x"], "but no run 1"),
        (["import", "als.trec", *WHERE[2:]], "--task"),
        (["import", "als.trec", *WHERE[:-1], "run.trec"], "a run file is called"),
        (["import", "als.trec", *WHERE, "--track", "rank"], "has no track 'rank'"),
        (["import", "als.trec", *WHERE, "--name", ""], "a run's name"),
        ([*FUSE, "x.jsonl", "--weights", "1"], "1 weights for 2"),
        ([*FUSE, "x.jsonl", "--weights", "a,b"], "numbers parted by commas"),
        ([*FUSE, "x.jsonl", "--k", "-1"], "--k"),
        ([*FUSE, "x.csv"], "a run file is called"),
        (["fuse", ALS, "--name", "x", "--out", "x.jsonl"], "two run files or more"),
    ],
)
def test_wrong_usage_says_what_is_expected(words, told: str, bench) -> None:
    Path("als.trec").write_text("u001 Q0 w01 1 1 x\n")
    code, out, err = bench(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert [path.name for path in Path().iterdir()] == ["als.trec"]


@pytest.mark.parametrize(
    "words",
    [
        ["export", "gone.jsonl", "--format", "trec", "--out", "x"],
        ["import", "gone.trec", *WHERE],
        ["fuse", "gone.jsonl", ALS, "--name", "x", "--out", "x.jsonl"],
        ["fuse", ALS, ENTRY / "als" / "toy-v1.ranking.jsonl.gz", "--name", "x", "--out", "x.jsonl"],
    ],
)
def test_what_cannot_be_taken_is_refused(words, bench) -> None:
    code, out, err = bench(*words)
    assert (code, out) == (1, "")
    assert "gone" in err or "only runs on the same requests can be fused" in err
