"""Descriptions from Wikipedia: a compilation of lead paragraphs, joined; the rest, fetched."""

from llm4rec_bench.sources.wikipedia.compilation import read_links, read_pages
from llm4rec_bench.sources.wikipedia.fetch import Page, Wanted, fetch_pages, parse_fetched
from llm4rec_bench.sources.wikipedia.join import describe

__all__ = [
    "Page",
    "Wanted",
    "describe",
    "fetch_pages",
    "parse_fetched",
    "read_links",
    "read_pages",
]
