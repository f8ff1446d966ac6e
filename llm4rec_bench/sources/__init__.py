"""From a publisher's files to a log and a catalogue."""

from llm4rec_bench.sources.layouts import RawData, read_raw
from llm4rec_bench.sources.origin import fetch_mirror, fetch_origin
from llm4rec_bench.sources.toy import generate_toy

__all__ = ["RawData", "fetch_mirror", "fetch_origin", "generate_toy", "read_raw"]
