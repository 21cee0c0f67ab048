"""Fixtures shared by all tests."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def market_data() -> Path:
    """Directory of real market data; absent outside the workshop, so a missing one fails only in CI."""
    directory = Path(os.environ.get("ASSAY_MARKET_DATA", ROOT.parent / "shared" / "data"))
    if not directory.is_dir():
        message = f"real market data not found at {directory}; set ASSAY_MARKET_DATA to its directory"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return directory


def random_walk(rows: int, seed: int = 0, volatility: float = 0.004, price: float = 100.0) -> pd.DataFrame:
    """Bars of a random walk with consistent OHLC, 15 minutes apart, from 2024-01-01 UTC."""
    generator = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(generator.standard_normal(rows) * volatility))
    opening = np.concatenate([[price], close[:-1]])
    wick = np.abs(generator.standard_normal((2, rows))) * volatility * close / 2
    return pd.DataFrame(
        {
            "open": opening,
            "high": np.maximum(opening, close) + wick[0],
            "low": np.minimum(opening, close) - wick[1],
            "close": close,
            "volume": generator.lognormal(5.0, 1.0, rows),
        },
        index=pd.date_range("2024-01-01", periods=rows, freq="15min", tz="UTC", unit="us", name="time"),
    )


@pytest.fixture
def bars() -> pd.DataFrame:
    """3,000 bars of a seeded random walk."""
    return random_walk(3_000)


# Files that take a minute and more, the longest first.
LONGEST = (
    "test_known_answers.py", "test_ray_train.py", "test_tune.py", "test_pipeline.py", "test_known_oracle.py",
    "test_real_perpetuals.py", "test_protocols.py", "test_patterns.py", "test_lost_node.py", "test_every.py",
    "test_s3_faults.py", "test_submit.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first: files are handed out one by one, and a long one at the end would be waited for."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))
