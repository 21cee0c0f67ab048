"""How often the shortlist is fooled where there is nothing to find.

    .venv/bin/python -m benchmarks.null_market --seeds 100

Each seed is a market of twenty random walks (`tests/jobs/null_market.py`): signals by a logistic regression on the fit
part, 200 trials a ticker, free trading, the default rules. Prints how many shortlists were empty, and how many of the
tickers were candidates.
"""

import argparse
import logging
import multiprocessing
import tempfile
import time
from pathlib import Path

from tests.jobs.null_market import TICKERS, shortlisted


def judge(seed: int) -> tuple[int, int, int]:
    """Seed, entries of the shortlist and candidates."""
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        entries, candidates = shortlisted(seed, Path(folder))
    return seed, len(entries), candidates


def main() -> None:
    """Run all markets and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool() as pool:
        rows = []
        for row in pool.imap_unordered(judge, seeds):
            rows.append(row)
            if row[1]:
                print(f"seed {row[0]}: {row[1]} of {TICKERS} shortlisted", flush=True)
    empty = sum(entries == 0 for _, entries, _ in rows)
    candidates = sum(found for *_, found in rows)
    print(
        f"empty in {empty} of {len(rows)} markets; {candidates} of {len(rows) * TICKERS} tickers were candidates, "
        f"{sum(entries for _, entries, _ in rows)} shortlisted; {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
