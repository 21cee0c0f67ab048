"""What is exported, and what freqtrade could not trade."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jobs import exports, ingest
from quant.parameters import BracketParameters
from tests.jobs.conftest import make_context, serially

TICKER = "local-um:AAAUSDT"
VERDICTS = pd.DataFrame({"ticker": [TICKER], "shortlisted": [True], "rank": [1]})
PARAMETERS = {TICKER: BracketParameters(0.01, 0.02, minimum_profit=((4, 0.0),))}


def exported(folder: Path, market: Path, **settings: Any) -> dict[str, bytes]:
    context = make_context(folder, source=str(market), run="first", **settings)
    ingest.run(context, fan_out=serially)
    return exports.freqtrade(context, VERDICTS, PARAMETERS)


def test_freqtrade_gets_pairs_parameters_and_the_strategy(market: Path, tmp_path: Path):
    files = exported(tmp_path, market)
    assert sorted(files) == [
        f"freqtrade/{name}" for name in ("AssayBracket.py", "assay_parameters.json", "pair_list.json")
    ]
    (parameters,) = json.loads(files["freqtrade/assay_parameters.json"]).values()
    assert parameters["time_table"] == [[60, 0.0]]  # four bars of a quarter of an hour
    assert b'"15m"' in files["freqtrade/AssayBracket.py"]


@pytest.mark.parametrize("policy", ["exclusive", "stack"])
def test_policies_that_freqtrade_cannot_follow_are_not_exported(market: Path, tmp_path: Path, policy: str):
    assert exported(tmp_path, market, search={"policy": policy}) == {}


def test_bars_that_freqtrade_does_not_have_are_not_exported(market: Path, tmp_path: Path):
    folder = tmp_path / "market"
    folder.mkdir()
    bars = pd.read_parquet(market / "AAAUSDT.parquet").iloc[:500]
    bars["time"] = pd.date_range("2024-01-01", periods=len(bars), freq="10min", tz="UTC", unit="us")
    bars.to_parquet(folder / "AAAUSDT.parquet")
    assert exported(tmp_path / "store", folder) == {}
