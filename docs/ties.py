"""What the order among equal time stamps is worth: MovieLens 100K with ties drawn anew.

    python -m docs.ties [--draws 40]

Each draw shuffles the events of a user that bear the same time, holds out the last event as the
target, as the split of ml-100k-v1 does, and ranks the whole catalogue less what was seen by the
counts of all that stays: recall@10 of popularity, its mean, deviation and range over the draws.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from llm4rec_bench import load_task

TASK = "ml-100k-v1"

Codes = npt.NDArray[np.int64]


def recall(users: Codes, items: Codes, times: Codes, seed: int) -> float:
    """recall@10 of popularity with ties among times, and among counts, drawn from a seed."""
    random = np.random.default_rng(seed)
    order = np.lexsort((random.random(len(users)), times, users))
    users, items = users[order], items[order]
    last = np.append(users[1:] != users[:-1], True)
    counts = np.bincount(items[~last], minlength=items.max() + 1) + 0.5 * random.random()
    counts = counts + random.random(len(counts)) * 0.5
    scores = np.tile(counts, (users[-1] + 1, 1))
    scores[users[~last], items[~last]] = -np.inf
    targets = items[last]
    reached = scores[np.arange(len(targets)), targets]
    return float(((scores > reached[:, None]).sum(1) < 10).mean())


def main() -> None:
    """Print what the draws came to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=40)
    draws = parser.parse_args().draws
    users, items, times = events()
    found = np.array([recall(users, items, times, seed) for seed in range(draws)])
    print(
        f"recall@10 of popularity over {draws} draws: {found.mean():.4f} ± {found.std(ddof=1):.4f}, "
        f"{found.min():.4f} to {found.max():.4f}"
    )


if __name__ == "__main__":
    main()
