"""What the report says of the data, gathered from a real ingest of flawed files."""

from pathlib import Path

import pandas as pd
import pytest

from jobs import ingest, report, report_tickers
from jobs.stage import Context, require
from quant import quality, report_quality
from quant.schemas import QUALITY, QUARANTINE
from storage.tables import read_table
from tests.conftest import random_walk
from tests.jobs.conftest import make_context, serially

FIRST, SECOND = "local-um:AAAUSDT", "local-um:BBBUSDT"


@pytest.fixture
def flawed(tmp_path: Path) -> Context:
    """Three rows set aside of the first ticker, one of the second, in which bars are missing; the third is sound."""
    folder = tmp_path / "market"
    folder.mkdir()
    for seed, name in enumerate(("AAAUSDT", "BBBUSDT", "CCCUSDT")):
        rows = random_walk(600, seed=seed).reset_index()
        if seed == 0:
            rows.loc[5, "high"] = rows.loc[5, "low"] / 2
            rows = pd.concat([rows, rows.iloc[[9, 9]]])
        if seed == 1:
            rows.loc[7, "volume"] = -1.0
            rows = rows.drop(index=range(100, 120)).drop(index=range(300, 303))
        rows.to_parquet(folder / f"{name}.parquet")
    context = make_context(tmp_path / "store", source=str(folder), run="first", ingest={"bar": "15m"})
    ingest.run(context, fan_out=serially)
    return context


def test_rows_set_aside_are_counted_by_reason(flawed: Context) -> None:
    found = report.reasons(flawed, require(flawed, "ingest"), serially)
    tables = [read_table(flawed.store, flawed.run, QUARANTINE, ticker)["reason"] for ticker in (FIRST, SECOND)]
    assert found.set_index("reason")["rows"].to_dict() == pd.concat(tables).value_counts().to_dict()
    assert found["rows"].sum() == 4
    assert found["tickers"].tolist() == [1, 1, 1]


def test_flags_of_every_ticker_are_there_by_kind_and_drawn_from_their_table(flawed: Context) -> None:
    found = report.quality_frame(require(flawed, "ingest")).set_index("ticker")
    assert set(quality.KINDS) <= set(found.columns)
    # where a row was set aside a bar is missing, too
    assert found["gap"].to_dict() == {FIRST: 1, SECOND: 3, "local-um:CCCUSDT": 0}
    assert found["quarantined"].tolist() == [3, 1, 0]
    names = report_quality.worst(found.reset_index())
    assert names == [SECOND, FIRST]
    drawn = report.flags_of(flawed, names, serially)
    assert list(drawn) == names
    for ticker in names:
        table = read_table(flawed.store, flawed.run, QUALITY, ticker)
        pd.testing.assert_frame_equal(drawn[ticker], table[["kind", "start", "end"]])
        assert len(table) == found.loc[ticker, list(quality.KINDS)].sum()


def test_candles_are_of_the_shortlisted_and_the_best_of_the_others() -> None:
    verdicts = pd.DataFrame({"ticker": [f"T{rank}" for rank in range(1, 401)], "rank": range(1, 401)})
    few, many = (verdicts.assign(shortlisted=verdicts["rank"] <= passed)[::-1] for passed in (3, 300))
    assert report_tickers.pictured(few) == {f"T{rank}" for rank in range(1, 14)}
    assert report_tickers.pictured(many) == {f"T{rank}" for rank in [*range(1, 251), *range(301, 311)]}
