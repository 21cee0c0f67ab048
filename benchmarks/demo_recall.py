"""How often the pipeline finds what is planted in the demo market, and how often it is fooled.

    .venv/bin/python -m benchmarks.demo_recall --seeds 20 --edges 1.0 0.5
    .venv/bin/python -m benchmarks.demo_recall --seeds 20 --edges 1.0 --schedule constant

Each seed is a market of its own, judged by the whole pipeline with the demo's configuration. Prints a line a market
and, for each strength of the planted edge, the recall over all planted tickers and the false entries a market.
"""

import argparse
import logging
import tempfile
import time

from actors.connect import connect
from jobs import pipeline
from jobs.config import RunConfig
from jobs.config_model import Train
from jobs.stage import Context, require
from storage.store import open_store


def judge(seed: int, edge: float, schedule: str, workers: int) -> tuple[set[str], set[str]]:
    """Planted and shortlisted tickers of one market."""
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig.model_validate(
            {
                "store": folder,
                "ingest": {"demo_seed": seed, "demo_edge": edge},
                "train": {"schedule": schedule},
                "evaluate": {"enabled": False},  # it decides nothing
            }
        )
        context = Context(config, open_store(folder), workers=workers)
        pipeline.run(context)
        planted = set(require(context, "ingest").details["planted"])
        return planted, set(require(context, "shortlist").details["shortlisted"])


def main() -> None:
    """Run all markets and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--edges", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--schedule", default=Train().schedule, help="of the learning rate: constant or cosine")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    with connect(None, None) as cluster:
        for edge in arguments.edges:
            found = planted_count = false = complete = 0
            for seed in range(arguments.first, arguments.first + arguments.seeds):
                started = time.perf_counter()
                planted, listed = judge(seed, edge, arguments.schedule, int(cluster.cpus))
                found += len(planted & listed)
                planted_count += len(planted)
                false += len(listed - planted)
                complete += planted <= listed
                print(
                    f"edge {edge:g} seed {seed:>2}: {len(planted & listed)} of {len(planted)} planted found, "
                    f"{len(listed - planted)} other, {time.perf_counter() - started:.0f} s",
                    flush=True,
                )
            print(
                f"edge {edge:g}: recall {found / planted_count:.1%} over {planted_count} planted tickers, "
                f"{false / arguments.seeds:.2f} false entries a market, all found in {complete} of {arguments.seeds}",
                flush=True,
            )


if __name__ == "__main__":
    main()
