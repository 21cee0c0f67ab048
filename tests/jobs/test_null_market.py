"""On random walks nothing is shortlisted."""

from pathlib import Path

import pytest

from tests.jobs.null_market import TICKERS, shortlisted

MARKETS = 5


@pytest.mark.timeout(600)
def test_the_shortlist_of_random_walks_is_empty(tmp_path: Path):
    """One market may be fooled: the promise is five in a hundred, which `benchmarks.null_market` measures."""
    fooled = candidates = 0
    for seed in range(MARKETS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        entries, found = shortlisted(seed, folder)
        fooled += bool(entries)
        candidates += found
    assert fooled <= 1
    # without candidates it would be no test
    assert candidates > MARKETS * TICKERS / 4
