"""What perpetuals cost, from the configuration to the judged trades, as a plain loop on a small market."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from jobs import backtest, compiled, ingest, placebo, predict, search, shortlist
from jobs import market as of_the_run
from jobs.rows import RowsError
from jobs.stage import Context, require
from quant import engine
from quant.bracket_input import trend_filter
from quant.engine import Costs
from quant.funding import on_bars
from quant.parameters import from_row
from quant.schemas import FUNDING, METRICS, SHORTLIST, TRADES
from storage.tables import read_table
from tests.jobs.conftest import TICKERS, make_context, serially, write_signals

TICKER = "local-um:AAAUSDT"
PERPETUAL = {
    "commission": 0.0005,
    "maker_commission": 0.0002,
    "slippage": 0.0003,
    "lot_size": 0.001,
    "minimum_notional": 5.0,
    "maintenance_margin": 0.01,
    "liquidation_fee": 0.005,
    "cash": 10_000.0,
}


def judged(folder: Path, source: Path, signals: Path, funding: Path | None = None, **costs: Any) -> Context:
    """A run up to the judged backtests, on perpetuals with a leverage of 5."""
    context = make_context(
        folder,
        source=str(source),
        signals=str(signals),
        run="first",
        ingest={"funding": str(funding)} if funding else {},
        search={"trials": 4, "folds": 0, "leverage": (5.0,), "minimum_trades": 1, "minimum_profit": (((30, -1.0),),)},
        costs=PERPETUAL | costs,
    )
    for job in (ingest, predict, search, backtest):
        job.run(context, fan_out=serially)
    return context


@pytest.fixture
def funding(market: Path, tmp_path: Path) -> Path:
    """A rate every eight hours for all tickers but the last."""
    frames = []
    for ticker in TICKERS[:-1]:
        times = pd.read_parquet(market / f"{ticker}.parquet")["time"]
        due = times[(times.dt.hour % 8 == 0) & (times.dt.minute == 0)]
        frames.append(pd.DataFrame({"ticker": ticker, "time": due, "rate": 0.0001}))
    path = tmp_path / "funding.parquet"
    pd.concat(frames).to_parquet(path)
    return path


def judge_row(context: Context, ticker: str = TICKER) -> pd.Series:
    return read_table(context.store, context.run, METRICS, ticker).set_index("part").loc["judge"]


def test_judged_trades_are_the_engines_with_all_costs(market: Path, signals: Path, funding: Path, tmp_path: Path):
    context = judged(tmp_path / "store", market, signals, funding, missing_funding="zero")
    part = of_the_run.parts(context, of_the_run.of(context))["judge"]
    bars, signal, *_ = of_the_run.stretch(context, TICKER, part)
    rates = read_table(context.store, context.run, FUNDING, TICKER)["rate"]
    chosen = from_row(require(context, "search").tickers[TICKER]["chosen"])
    expected, equity = engine.replay(
        bars, signal, chosen, Costs(**PERPETUAL), funding=on_bars(rates, bars.index), close_at_end=True
    )
    trades = read_table(context.store, context.run, TRADES, TICKER)
    assert trades["pnl"].tolist() == expected["pnl"].tolist()
    assert trades["exit"].tolist() == expected["exit"].tolist()
    assert trades["funding"].abs().sum() > 0
    row = judge_row(context)
    assert row["funding"] == pytest.approx(expected["funding"].sum())
    assert row["total_return"] == pytest.approx(equity.iloc[-1] / 10_000 - 1)
    assert row["funding_missing"] == 0


def test_payments_that_nobody_gave_are_a_failure_of_their_ticker(
    market: Path, signals: Path, funding: Path, tmp_path: Path
):
    context = judged(tmp_path / "store", market, signals, funding)
    failures = require(context, "search").failures
    assert [failure.ticker for failure in failures] == ["local-um:DDDUSDT"]
    assert "funding.parquet lacks 17 of the 17 payments of local-um:DDDUSDT on the choose part" in failures[0].message
    assert "--costs.missing_funding zero" in failures[0].message
    assert sorted(require(context, "backtest").tickers) == [f"local-um:{name}" for name in TICKERS[:-1]]


def test_or_they_count_as_0_and_are_reported(market: Path, signals: Path, funding: Path, tmp_path: Path):
    context = judged(tmp_path / "store", market, signals, funding, missing_funding="zero")
    assert require(context, "backtest").failures == []
    row = judge_row(context, "local-um:DDDUSDT")
    assert row["funding"] == 0
    assert row["funding_missing"] > 30


def test_without_rates_funding_is_not_charged_and_not_claimed(market: Path, signals: Path, tmp_path: Path):
    row = judge_row(judged(tmp_path, market, signals))
    assert pd.isna(row["funding"])
    assert row["funding_missing"] == 0


def test_rates_that_are_none_are_refused_before_any_ticker(market: Path, signals: Path, tmp_path: Path):
    path = tmp_path / "funding.csv"
    path.write_text("ticker,time,rate\nAAAUSDT,2024-01-01T00:00Z,high\n")
    with pytest.raises(RowsError, match=r"funding.csv, row 0: rate 'high' of AAAUSDT; allowed: finite numbers"):
        judged(tmp_path / "store", market, signals, path)


def test_a_judged_run_that_backtesting_would_not_make_is_a_failure(
    market: Path, signals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sound = engine.replay

    last = float(pd.read_parquet(market / "AAAUSDT.parquet")["close"].iloc[-1])

    def wrong_by_a_bit(bars: pd.DataFrame, *arguments: Any, **options: Any) -> engine.Replay:
        trades, equity = sound(bars, *arguments, **options)
        if bars["close"].iloc[-1] == last:
            trades = trades.assign(pnl=np.nextafter(trades["pnl"], np.inf))
        return engine.Replay(trades, equity)

    monkeypatch.setattr(engine, "replay", wrong_by_a_bit)
    context = judged(tmp_path, market, signals, commission=0.0)
    failures = require(context, "backtest").failures
    assert [failure.ticker for failure in failures] == [TICKER]
    assert "the engine and backtesting.py disagree about local-um:AAAUSDT" in failures[0].message
    assert require(context, "search").tickers[TICKER]["chosen"]["total_return"] > 0  # a candidate, were it judged
    # it costs no other ticker its verdict
    placebo.run(context, fan_out=serially)
    shortlist.run(context, fan_out=serially)
    verdicts = read_table(context.store, context.run, SHORTLIST).set_index("ticker")
    assert len(verdicts) == len(TICKERS)
    assert not verdicts.loc[TICKER, "shortlisted"]


def test_a_ticker_named_in_two_ways_is_refused_and_loses_nothing(market: Path, signals: Path, tmp_path: Path):
    path = tmp_path / "funding.csv"
    path.write_text("ticker,time,rate\nAAAUSDT,2024-01-01T00:00Z,0.1\nlocal-um:AAAUSDT,2024-01-01T08:00Z,0.1\n")
    with pytest.raises(RowsError, match=r"funding.csv names local-um:AAAUSDT also as"):
        judged(tmp_path / "store", market, signals, path)


def test_the_trend_filter_knows_what_came_before_the_part(market: Path, tmp_path: Path):
    signals = write_signals(tmp_path / "signals.parquet", market, every=4)
    plain = judged(tmp_path / "plain", market, signals)
    context = plain.config.model_copy(update={"search": plain.config.search.model_copy(update={"trend_filter": True})})
    filtered = Context(context, plain.store, plain.workers)
    part = of_the_run.parts(plain, of_the_run.of(plain))["judge"]
    history = of_the_run.bars(plain, TICKER)
    whole = of_the_run.stretch(plain, TICKER, part).signal.reindex(history.index).fillna(0)
    expected = trend_filter(history, whole)[part.rows(history.index)]
    found = of_the_run.stretch(filtered, TICKER, part).signal
    assert found.tolist() == expected.tolist()
    assert 0 < (found != 0).sum() < (whole != 0).sum()
    # by the bars of the part alone, its first 107 would have no average to be measured by
    alone = trend_filter(history[part.rows(history.index)], whole[part.rows(history.index)])
    assert found.tolist() != alone.tolist()


def test_without_the_lock_each_process_compiles_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compiled.ready.cache_clear()
    warmed: list[bool] = []
    monkeypatch.setattr(engine, "warm_up", lambda: warmed.append(True))
    monkeypatch.setattr(compiled, "PATIENCE", 0.1)
    blocked = tmp_path / "compile.lock"
    monkeypatch.setattr(compiled, "lock", lambda: blocked)
    with FileLock(blocked):
        compiled.ready()
    assert warmed == [True]
    compiled.ready.cache_clear()
