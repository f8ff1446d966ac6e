"""From a publisher's files to a log and a catalogue."""

from llm4rec_bench.sources.origin import fetch_mirror, fetch_origin
from llm4rec_bench.sources.raw import RawCopy, RawData
from llm4rec_bench.sources.read import raw_data
from llm4rec_bench.sources.texts import Collection, collections_of, missing_texts
from llm4rec_bench.sources.toy import generate_toy

__all__ = [
    "Collection",
    "RawCopy",
    "RawData",
    "collections_of",
    "fetch_mirror",
    "fetch_origin",
    "generate_toy",
    "missing_texts",
    "raw_data",
]
