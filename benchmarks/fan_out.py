"""What spreading work by `actors.fan_out` costs over the same work in plain processes, and what a second worker brings.

    .venv/bin/python -m benchmarks.fan_out
    .venv/bin/python -m benchmarks.fan_out --turns 1 --shards 50 --seconds 5

The work is a fixed number of hashes, so that a busy machine makes it longer and not less. Plain processes are a pool of
`multiprocessing`, spawned, that hands out one shard at a time. Every turn runs both, the one that begins in turn; all
processes are warm, and what starting them takes is told apart. Three questions: what a shard of 20 ms costs more, what
a run of a minute in shards of a second costs more, and how much faster two workers are than one.
"""

import argparse
import hashlib
import logging
import multiprocessing
import time
from collections.abc import Callable
from statistics import median

from actors.connect import connect
from actors.fan_out import fan_out

WORKERS = 2
SMALL = 0.02  # seconds of a small shard
LARGE = 1.0  # seconds of a shard as `actors.sharding` makes them
MOST_MILLISECONDS = 5.0
MOST_RATIO = 1.1
LEAST_SPEED_UP = 1.8

Run = Callable[[int, list[int]], tuple[float, float]]


def work(hashes: int, _shared: object = None) -> int:
    """A shard: so many hashes, one of the other."""
    digest = b""
    for _ in range(hashes):
        digest = hashlib.sha256(digest).digest()
    return digest[0]


def hashes_a_second() -> int:
    """How many hashes this machine makes a second, on one core."""
    count = 200_000
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        work(count)
        seconds.append(time.perf_counter() - started)
    return int(count / min(seconds))


def plainly(workers: int, shards: list[int]) -> tuple[float, float]:
    """Seconds of the work in plain processes, and of starting them."""
    begun = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(work, [1] * workers, chunksize=1)
        started = time.perf_counter()
        results = list(pool.imap_unordered(work, shards, chunksize=1))
        ended = time.perf_counter()
    assert len(results) == len(shards)  # noqa: S101
    return ended - started, started - begun


def through_ray(workers: int, shards: list[int]) -> tuple[float, float]:
    """Seconds of the work by the fan-out on a Ray of our own, and of starting that."""
    begun = time.perf_counter()
    with connect(None, workers):
        list(fan_out(work, [1] * workers * 4, name="warm"))
        started = time.perf_counter()
        outcomes = list(fan_out(work, shards, name="work"))
        ended = time.perf_counter()
    assert len(outcomes) == len(shards)  # noqa: S101
    assert not [outcome for outcome in outcomes if outcome.error]  # noqa: S101
    return ended - started, started - begun


def both(turn: int, workers: int, shards: list[int]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds and start of the plain processes and of the fan-out; another one begins every turn."""
    runs: list[Run] = [plainly, through_ray]
    found = {run: run(workers, shards) for run in (runs if turn % 2 else runs[::-1])}
    return found[plainly], found[through_ray]


def told(values: list[float], form: str) -> str:
    """Median and spread of the turns."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    """Print every turn, the ratios with their spread, and the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--shards", type=int, default=500, help="small shards of the first question")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the second question's run")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rate = hashes_a_second()
    small = [int(rate * SMALL)] * arguments.shards
    large = [int(rate * LARGE)] * round(arguments.seconds * WORKERS / LARGE)
    added, ratios, whole, speed_up, plain_speed_up = [], [], [], [], []
    for turn in range(arguments.turns):
        (plain, _), (ray, _) = both(turn, WORKERS, small)
        # what a shard keeps its worker longer: the wall time is shared by the workers
        added.append(1000 * (ray - plain) * WORKERS / len(small))
        print(f"turn {turn}: {len(small)} shards of {1000 * SMALL:.0f} ms: plain {plain:.2f} s, fan-out {ray:.2f} s")
        (plain, plain_start), (ray, ray_start) = both(turn, WORKERS, large)
        ratios.append(ray / plain)
        whole.append((ray + ray_start) / (plain + plain_start))
        print(
            f"turn {turn}: {len(large)} shards of {LARGE:.0f} s: plain {plain:.2f} s, fan-out {ray:.2f} s; started in "
            f"{plain_start:.1f} s and {ray_start:.1f} s",
            flush=True,
        )
        half = large[: 2 * max(1, len(large) // 4)]  # an even number, which two workers can share
        (plain_one, _), (one, _) = both(turn, 1, half)
        (plain_two, _), (two, _) = both(turn, WORKERS, half)
        speed_up.append(one / two)
        plain_speed_up.append(plain_one / plain_two)
        print(
            f"turn {turn}: {len(half)} shards: one worker {one:.2f} s, two {two:.2f} s; plain {plain_one:.2f} s, "
            f"{plain_two:.2f} s",
            flush=True,
        )
    print(f"\nthe run with the start of the processes and of Ray: {told(whole, '.3f')} times the plain one")
    print(f"two plain processes are {told(plain_speed_up, '.2f')} times as fast as one")
    print(f"added to a shard: {told(added, '.2f')} ms (at most {MOST_MILLISECONDS:g})")
    print(f"a run of {arguments.seconds:g} s: {told(ratios, '.3f')} times the plain one (at most {MOST_RATIO:g})")
    print(f"two workers: {told(speed_up, '.2f')} times as fast as one (at least {LEAST_SPEED_UP:g})")


if __name__ == "__main__":
    main()
