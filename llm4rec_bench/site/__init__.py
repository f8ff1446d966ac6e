"""The static site: the board, its entries and tasks as pages that need no server and no network."""

from llm4rec_bench.site.build import build_site

__all__ = ["build_site"]
