"""Files of rows that a quant brings along: every ticker gets its own, and what cannot be used is named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.rows import RowsError, fetch, parse

TIMES = pd.date_range("2024-01-01", periods=50, freq="h", tz="UTC", unit="us", name="time")


@pytest.fixture
def frame() -> pd.DataFrame:
    """Rows of three tickers, in no order."""
    parts = [pd.DataFrame({"ticker": name, "time": TIMES, "signal": np.arange(50) % 3}) for name in ("B", "A", "C/X")]
    return pd.concat(parts).sample(frac=1, random_state=0).astype({"signal": "int8"})


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_every_ticker_gets_its_rows_in_order(frame: pd.DataFrame, tmp_path: Path, form: str):
    path = tmp_path / f"rows.{form}"
    frame.to_parquet(path) if form == "parquet" else frame.to_csv(path, index=False)
    found = parse(fetch(str(path)), "signal")
    assert list(found.by_ticker) == ["A", "B", "C/X"]
    for name, rows in found.by_ticker.items():
        own = frame[frame["ticker"] == name].sort_values("time").set_index("time")["signal"]
        pd.testing.assert_series_equal(rows, own, check_dtype=form == "parquet")
    assert sorted(found.named(["local-um:A"])) == ["B", "C/X", "local-um:A"]


def test_rows_that_cannot_be_used_are_named(frame: pd.DataFrame, tmp_path: Path):
    path = tmp_path / "rows.parquet"
    for wrong, complaint in (
        (pd.concat([frame, frame.iloc[[7]]]), rf"two rows for {frame['ticker'].iloc[7]} at {frame['time'].iloc[7]}"),
        (frame.drop(columns="time"), r"lacks the column time; it needs ticker, time, signal"),
        (frame.assign(signal=np.nan), r"row 0: signal .*nan.* of .*allowed: finite numbers"),
        (frame.assign(time="soon"), r"row 0: time 'soon' cannot be read; give UTC times"),
    ):
        wrong.to_parquet(path)
        with pytest.raises(RowsError, match=complaint.replace("+", r"\+")):
            parse(fetch(str(path)), "signal")


def test_a_ticker_by_two_names_is_refused(frame: pd.DataFrame, tmp_path: Path):
    path = tmp_path / "rows.parquet"
    pd.concat([frame, frame[frame["ticker"] == "A"].assign(ticker="local-um:A")]).to_parquet(path)
    with pytest.raises(RowsError, match="names local-um:A also as"):
        parse(fetch(str(path)), "signal").named(["local-um:A"])
