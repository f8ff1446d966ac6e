"""What the order among equal time stamps is worth: MovieLens 100K with ties drawn anew.

    python -m docs.ties [--draws 40]

Each draw shuffles the events of a user that bear the same time, holds out the last event as the
target, as the split of ml-100k-v1 does, and ranks the whole catalogue less what was seen by the
counts of all that stays: recall@10 of popularity, its mean, deviation and range over the draws.
"""

from __future__ import annotations

import argparse

import click
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from llm4rec_bench import Task, load_task

TASK = "ml-100k-v1"

Codes = npt.NDArray[np.int64]


def recall(users: Codes, items: Codes, times: Codes, seed: int) -> float:
    """recall@10 of popularity with ties among times, and among counts, drawn from a seed."""
    random = np.random.default_rng(seed)
    order = np.lexsort((random.random(len(users)), times, users))
    users, items = users[order], items[order]
    last = np.append(users[1:] != users[:-1], True)
    counts = np.bincount(items[~last], minlength=items.max() + 1) + random.random(items.max() + 1)
    scores = np.tile(counts, (users[-1] + 1, 1))
    scores[users[~last], items[~last]] = -np.inf
    targets = items[last]
    reached = scores[np.arange(len(targets)), targets]
    return float(((scores > reached[:, None]).sum(1) < 10).mean())


def events(task: Task) -> tuple[Codes, Codes, Codes]:
    """User, item and time of every event, the test's targets among them."""
    log, requests = task.table("interactions"), task.table("requests")
    test = requests.filter(pc.equal(requests["split"], "test"))
    last = task.targets("test").items[:, 0]
    users = [*log["user_id"].to_pylist(), *test["user_id"].to_pylist()]
    items = [*log["item_id"].to_pylist(), *(task.items.ids[row] for row in last)]
    times = [*log["timestamp"].to_pylist(), *test["timestamp"].to_pylist()]
    codes = (np.unique(ids, return_inverse=True)[1] for ids in (users, items))
    return (*codes, np.array(times))  # type: ignore[return-value]


def main() -> None:
    """Print what the draws came to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=40)
    draws = parser.parse_args().draws
    users, items, times = events(load_task(TASK))
    found = np.array([recall(users, items, times, seed) for seed in range(draws)])
    click.echo(
        f"recall@10 of popularity over {draws} draws: {found.mean():.4f} ± "
        f"{found.std(ddof=1):.4f}, {found.min():.4f} to {found.max():.4f}"
    )


if __name__ == "__main__":
    main()
