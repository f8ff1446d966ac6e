"""The leaderboard: entries, their places, and the page that shows them."""

from llm4rec_bench.leaderboard import cells
from llm4rec_bench.leaderboard.board import REFERENCES, Row, Table, board, rank_alike, tables
from llm4rec_bench.leaderboard.changes import Changes, read_changes
from llm4rec_bench.leaderboard.data import BoardRecord, board_csv, board_json, record
from llm4rec_bench.leaderboard.entries import (
    SCORES,
    Entry,
    SavedScores,
    card_of,
    read_entries,
    read_submission,
    save_scores,
    scores_text,
)
from llm4rec_bench.leaderboard.hub import RESULTS, EvalResults, eval_results
from llm4rec_bench.leaderboard.markdown import escaped, leaderboard
from llm4rec_bench.leaderboard.reproduced import (
    REPRODUCED,
    Repetition,
    Reproduced,
    read_reproduced,
    save_reproduced,
)

__all__ = [
    "REFERENCES",
    "REPRODUCED",
    "RESULTS",
    "SCORES",
    "BoardRecord",
    "Changes",
    "Entry",
    "EvalResults",
    "Repetition",
    "Reproduced",
    "Row",
    "SavedScores",
    "Table",
    "board",
    "board_csv",
    "board_json",
    "card_of",
    "cells",
    "escaped",
    "eval_results",
    "leaderboard",
    "rank_alike",
    "read_changes",
    "read_entries",
    "read_reproduced",
    "read_submission",
    "record",
    "save_reproduced",
    "save_scores",
    "scores_text",
    "tables",
]
