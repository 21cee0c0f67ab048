"""Shard functions of the tests: in a module of their own, so that workers import them by name."""

import os
import signal
import time
import uuid
from pathlib import Path

import numpy as np

from actors.budget import Budget


def note(directory: Path, shard: object) -> int:
    """Leaves a trace of one execution of a shard; returns how many there are now."""
    (directory / f"{shard}.{uuid.uuid4().hex}").touch()
    return executions(directory, shard)


def executions(directory: Path, shard: object) -> int:
    return len(list(directory.glob(f"{shard}.*")))


def square(shard: int) -> int:
    return shard * shard


def square_unless_three(shard: int, directory: Path) -> int:
    note(directory, shard)
    if shard == 3:
        raise KeyError("no such ticker")
    return square(shard)


class UnpicklableError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")
        self.lock = Path.open(Path(os.devnull))


def raise_in_many_ways(shard: str) -> object:
    match shard:
        case "unpicklable error":
            raise UnpicklableError("one", "two")
        case "unpicklable result":
            return (number for number in range(3))
        case "exit":
            raise SystemExit(3)
    return shard


def die_the_first_time(shard: int, directory: Path) -> int:
    if note(directory, shard) == 1 and shard == 1:
        os._exit(1)
    return square(shard)


def die_of_poison(shard: list[int], directory: Path) -> list[int]:
    note(directory, "-".join(map(str, shard)))
    if 5 in shard:
        os.kill(os.getpid(), signal.SIGKILL)
    return [square(item) for item in shard]


def overlap(shard: int, directory: Path) -> int:
    """Returns how many shards ran while this one did, itself included."""
    mine = directory / f"running-{shard}"
    mine.touch()
    time.sleep(0.2)
    together = len(list(directory.glob("running-*")))
    mine.unlink()
    return together


def wait_unless_zero(shard: int, directory: Path) -> int:
    note(directory, shard)
    while shard:
        time.sleep(0.05)
    return shard


def describe_array(shard: int, shared: np.ndarray) -> tuple[bool, bool, float]:
    return shared.flags.writeable, shared.flags.owndata, float(shared.sum())


class Squarer:
    """What a pool loads: notes each load and each shard; ends its actor at 2 the first time and at 4 every time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        note(directory, f"load-{os.getpid()}")

    def __call__(self, shard: int) -> tuple[int, int]:
        first = note(self.directory, shard) == 1
        if (shard == 2 and first) or shard == 4:
            time.sleep(
                0.5
            )  # what was handled before has reached the driver; a result on its way is lost with the actor
            os._exit(1)
        if shard == 3:
            raise KeyError("no such ticker")
        return square(shard), os.getpid()


class PatientSquarer(Squarer):
    """Waits at each shard until two actors have loaded, so that neither does all the work."""

    def __call__(self, shard: int) -> tuple[int, int]:
        while len(list(self.directory.glob("load-*"))) < 2:
            time.sleep(0.01)
        return super().__call__(shard)


def failing_factory() -> Squarer:
    raise FileNotFoundError("no model at model.keras")


def dying_factory(directory: Path) -> Squarer:
    note(directory, "load")
    os._exit(1)


def take_times(count: int, budget: Budget) -> list[float]:
    """Takes so often from a shared budget and tells when each was granted."""
    moments = []
    for _ in range(count):
        budget.take()
        moments.append(time.monotonic())
    return moments
