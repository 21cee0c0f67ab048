"""The pipeline as a program whose shards are single tickers: `python -m tests.jobs.driving FLAGS`."""

from actors import sharding
from jobs.runner import main

if __name__ == "__main__":
    sharding.SHORTEST_SHARD_SECONDS = 1e-9
    main("pipeline")
