"""What docs/interchange.md promises: commands that run, and every reason for a refusal."""

from __future__ import annotations

import ast
import gzip
import re
import shlex
import subprocess
import sys
from pathlib import Path

from llm4rec_bench.exchange.columns import CODES
from tests.conftest import ROOT
from tests.test_readme import blocks

PAGE = (ROOT / "docs" / "interchange.md").read_text("utf-8")


def test_the_commands_run_one_after_the_other(bench) -> None:
    Path("submissions").symlink_to(ROOT / "submissions")
    predicted = ROOT / "tests" / "exchange" / "recbole" / "bpr.tsv.gz"
    Path("predictions.tsv").write_bytes(gzip.decompress(predicted.read_bytes()))
    said = ""
    for line in "".join(blocks("bash", PAGE)).splitlines():
        tool, *words = shlex.split(line, comments=True)
        if tool == "llm4rec-bench":
            code, out, err = bench(*words)
            assert (code, err) == (0, ""), line
            said += out
        else:
            said += subprocess.check_output([f"{sys.prefix}/bin/{tool}", *words], text=True)
    assert "BPR (RecBole) on toy-v1 retrieval (300 requests)" in said
    assert "ALS + Item-kNN on toy-v1 retrieval (300 requests)" in said
    assert "0/300/0" in said  # the run that went once around
    assert set(re.findall(r"^(nDCG@10|R@10)\t0[.][0-9]+$", said, re.M)) == {"nDCG@10", "R@10"}


def test_the_program_for_recbole_writes_what_import_reads() -> None:
    (program,) = blocks("python", PAGE)
    ast.parse(program)
    assert '"user_id:token", "item_id:token", "score:float", sep="\\t"' in program
    assert "recbole/toy-v1/toy-v1.general.yaml" in program


def test_every_reason_for_a_refusal_is_documented() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", PAGE, re.M)
    assert dict(rows) == CODES
