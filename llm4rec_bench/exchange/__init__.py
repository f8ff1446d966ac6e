"""Exchange with other tools: tasks and runs out, their predictions in, runs fused with runs."""

from llm4rec_bench.exchange.fuse import fuse
from llm4rec_bench.exchange.predictions import Imported, import_predictions
from llm4rec_bench.exchange.recbole import export_recbole
from llm4rec_bench.exchange.trec import export_qrels, export_run

__all__ = [
    "Imported",
    "export_qrels",
    "export_recbole",
    "export_run",
    "fuse",
    "import_predictions",
]
