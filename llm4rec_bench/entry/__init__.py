"""Entering the board: making an entry, checking it, and making its runs again."""
