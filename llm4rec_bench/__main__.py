"""`python -m llm4rec_bench`: the command line, from a checkout that is not installed."""

from llm4rec_bench.cli import main

if __name__ == "__main__":
    main()
