"""Shard functions of these tests; they import next to nothing, so that a worker is at them at once."""

import os
import time
from pathlib import Path

import ray

PIECE, MOST = 32 * 10**6, 6 * 10**9  # bytes


def note(directory: Path, shard: object) -> None:
    """Appends a line to the file of a shard: the node and the process at which it is."""
    with (directory / f"{shard}.at").open("a") as file:
        file.write(f"{ray.get_runtime_context().get_node_id()} {os.getpid()}\n")


def wait_for_leave(shard: int, directory: Path) -> int:
    """Shard 0 waits until it is allowed to end; the others do not."""
    note(directory, shard)
    while shard == 0 and not (directory / "leave").exists():
        time.sleep(0.02)
    return shard * shard


class Waiter:
    """What a pool loads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        note(directory, "load")

    def __call__(self, shard: int) -> int:
        return wait_for_leave(shard, self.directory)


def hungry_with_poison(shard: list[int], directory: Path) -> list[int]:
    """A shard with 5 in it takes 640 MB more each second until it is killed, which the machine need not fear."""
    note(directory, "-".join(map(str, shard)))
    taken: list[bytes] = []
    while 5 in shard:
        if len(taken) * PIECE < MOST:
            taken.append(b"\1" * PIECE)
        time.sleep(0.05)
    return [item * item for item in shard]


def twice(shard: bytes) -> bytes:
    """Returns twice as much as it got."""
    return shard + shard
