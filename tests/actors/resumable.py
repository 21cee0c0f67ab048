"""A driver that writes one file a shard and skips what is there: `python -m tests.actors.resumable DIRECTORY`."""

import sys
import time
from pathlib import Path

from actors.connect import connect
from actors.fan_out import fan_out
from tests.actors import resumable

SHARDS = 24


def write(shard: int, directory: Path) -> int:
    time.sleep(0.2)
    partial = directory / f"{shard}.partial"
    partial.write_text(str(shard * shard))
    partial.rename(directory / f"{shard}.done")
    return shard


def done(directory: Path) -> set[int]:
    return {int(path.stem) for path in directory.glob("*.done")}


def main() -> None:
    directory = Path(sys.argv[1])
    missing = sorted(set(range(SHARDS)) - done(directory))
    with connect("local", 2):
        print("missing", *missing, flush=True)  # noqa: T201 - read by the test
        for outcome in fan_out(resumable.write, missing, name="resumable", shared=directory):
            print("done", outcome.shard, flush=True)  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
