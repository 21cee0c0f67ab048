"""A market in which there is nothing to find: what every shortlist must stay empty on."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jobs import backtest, ingest, placebo, predict, search, shortlist
from jobs.stage import require
from quant.features import compute
from tests.conftest import random_walk
from tests.jobs.conftest import make_context, serially

TICKERS = 20
ROWS = 12_000
LEARNED_FROM = 3_800  # rows, which the fit part's 32 % hold
SHARE = 0.2  # of the bars that have a signal: those of which the model is most sure
SETTINGS = {
    "run": "null",
    "search": {
        "sampler": "sobol",
        "trials": 200,
        "stop_loss": {"low": 0.005, "high": 0.05},
        "take_profit": {"low": 0.005, "high": 0.05},
        "leverage": {"low": 1.0, "high": 3.0},
        "minimum_profit": ((),),
    },
    # trading is free, so that luck has every chance: half of the tickers become candidates
    "costs": {"commission": 0.0},
}


def shortlisted(seed: int, folder: Path) -> tuple[list[str], int]:
    """The shortlist of twenty random walks with a logistic regression's signals, and how many were candidates."""
    market = folder / "market"
    market.mkdir()
    signals = []
    for number in range(TICKERS):
        bars = random_walk(ROWS, seed=1_000 * seed + number)
        bars.index = pd.date_range("2022-01-01", periods=ROWS, freq="h", tz="UTC", unit="us", name="time")
        bars.reset_index().to_parquet(market / f"WALK{number:02}USDT.parquet")
        signals.append(pd.DataFrame({"ticker": f"WALK{number:02}USDT", "time": bars.index, "signal": learned(bars)}))
    pd.concat(signals).to_parquet(folder / "signals.parquet")
    context = make_context(folder / "store", source=str(market), signals=str(folder / "signals.parquet"), **SETTINGS)
    for job in (ingest, predict, search, placebo, backtest):
        job.run(context, fan_out=serially)
    details = shortlist.run(context, fan_out=serially).details
    assert require(context, "backtest").rows["trades"] > TICKERS
    return details["shortlisted"], details["candidates"]


def learned(bars: pd.DataFrame) -> npt.NDArray[np.int8]:
    """Signals by a logistic regression of the next bar's direction, learned on the fit part."""
    features = compute(bars, "pattern8_relative").replace([np.inf, -np.inf], np.nan).fillna(0.0).to_numpy(np.float64)
    rises = (bars["close"].shift(-1) > bars["close"]).to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(features[:LEARNED_FROM], rises[:LEARNED_FROM])
    surplus = model.predict_proba(features)[:, 1] - 0.5
    sure = np.abs(surplus) > np.quantile(np.abs(surplus[:LEARNED_FROM]), 1 - SHARE)
    return np.where(sure, np.where(surplus > 0, 1, 2), 0).astype(np.int8)
