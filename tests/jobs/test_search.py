"""The search as a plain loop: what each sampler tries on a small market, and what is chosen of it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jobs import backtest, ingest, predict, search
from jobs import market as of_the_run
from jobs.config import RunConfig
from jobs.runner import parse
from jobs.stage import Context, require
from quant import bracket, metrics, statistics
from quant.parameters import BracketParameters, from_row
from quant.schemas import FOLDS, TRADES, TRIALS
from quant.search import SearchError
from storage.tables import read_table
from tests.jobs.conftest import TICKERS, make_context, serially

SPACE: dict[str, Any] = {
    "stop_loss": {"low": 0.005, "high": 0.05},
    "take_profit": {"low": 0.005, "high": 0.1, "log": True},
    "leverage": (1.0, 2.0),
    "minimum_profit": (((4, -1.0),), ((8, -1.0),)),
    "minimum_trades": 5,
}


def searched(folder: Path, market: Path, signals: Path, **settings: Any) -> Context:
    """A run up to the search."""
    context = make_context(
        folder, source=str(market), signals=str(signals), run="first", search={**SPACE, "trials": 12, **settings}
    )
    for job in (ingest, predict, search):
        job.run(context, fan_out=serially)
    return context


def trials(context: Context, ticker: str) -> pd.DataFrame:
    return read_table(context.store, context.run, TRIALS, f"local-um:{ticker}")


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_every_trial_is_what_backtesting_says_and_the_best_is_chosen(
    sampler: str, market: Path, signals: Path, tmp_path: Path
):
    context = searched(tmp_path, market, signals, sampler=sampler)
    table = trials(context, "AAAUSDT")
    assert len(table) == 12
    assert table["stop_loss_long"].between(0.005, 0.05).all()
    assert table["stop_loss_long"].nunique() == 12
    assert (table["stop_loss_long"] == table["stop_loss_short"]).all()
    best = table.loc[table["chosen"]]
    assert best["score"].tolist() == [table["score"].max()]
    row = best.iloc[0]
    bars, signal, *_ = of_the_run.stretch(context, "local-um:AAAUSDT", choose_part(context))
    stats = bracket.reference(bars, signal, from_row(row), search.costs(context), close_at_end=True)
    for name, value in metrics.figures(stats).items():
        assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def choose_part(context: Context) -> Any:
    return of_the_run.parts(context, of_the_run.of(context))["choose"]


def test_sobol_tries_the_same_sets_for_every_ticker_and_tpe_learns_from_each(
    market: Path, signals: Path, tmp_path: Path
):
    names = ["stop_loss_long", "take_profit_long", "leverage", "minimum_profit"]
    sobol = searched(tmp_path / "sobol", market, signals, sampler="sobol")
    first, *others = (trials(sobol, ticker)[names] for ticker in TICKERS)
    for other in others:
        pd.testing.assert_frame_equal(first, other)
    tpe = searched(tmp_path / "tpe", market, signals, sampler="tpe")
    assert not trials(tpe, "AAAUSDT")[names].equals(trials(tpe, "BBBUSDT")[names])
    again = searched(tmp_path / "again", market, signals, sampler="tpe")
    assert require(again, "search").result_hash == require(tpe, "search").result_hash


def test_more_trials_keep_the_first_ones(market: Path, signals: Path, tmp_path: Path):
    few = trials(searched(tmp_path / "few", market, signals, sampler="sobol", trials=5), "CCCUSDT")
    many = trials(searched(tmp_path / "many", market, signals, sampler="sobol", trials=40), "CCCUSDT")
    pd.testing.assert_frame_equal(few.drop(columns="chosen"), many.head(5).drop(columns="chosen"))


def test_a_continuous_range_is_refused_by_the_grid_before_any_ticker(market: Path, signals: Path, tmp_path: Path):
    with pytest.raises(SearchError, match=r"stop_loss = Range.*allowed in a grid: a list, or a range with a step"):
        searched(tmp_path, market, signals, sampler="grid")


def test_the_judged_run_is_of_the_chosen_set(market: Path, signals: Path, tmp_path: Path):
    context = searched(tmp_path, market, signals, sampler="sobol")
    judged = backtest.run(context, fan_out=serially)
    assert judged.tickers["local-um:AAAUSDT"]["trades"] == len(
        read_table(context.store, context.run, TRADES, "local-um:AAAUSDT")
    )


def test_a_range_is_written_in_toml_and_as_a_flag(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('[search]\nsampler = "sobol"\nstop_loss = { low = 0.01, high = 0.06, step = 0.005 }\n')
    config = parse("search", "", ["--config", str(file), "--search.take_profit", '{"low": 0.01, "high": 0.1}'])
    assert isinstance(config, RunConfig)
    assert config.search.stop_loss.step == 0.005
    assert config.search.take_profit.high == 0.1
    assert config.search.limit == (None,)


def test_folds_walk_forward_through_the_choose_part(market: Path, signals: Path, tmp_path: Path):
    context = searched(tmp_path, market, signals, sampler="sobol", folds=3)
    part = choose_part(context)
    folds = read_table(context.store, context.run, FOLDS, "local-um:AAAUSDT")
    assert folds["fold"].tolist() == [1, 2, 3]
    assert (folds["tune_start"] == part.start).all() and folds["test_end"].iloc[-1] == part.end
    assert (folds["test_start"].iloc[1:].to_numpy() == folds["test_end"].iloc[:-1].to_numpy()).all()
    bars, signal, *_ = of_the_run.stretch(context, "local-um:AAAUSDT", part)
    sets = [from_row(row) for _, row in trials(context, "AAAUSDT").iterrows()]
    returns = []
    for _, fold in folds.iterrows():
        known, ahead = (
            bars.index < fold["test_start"],
            (bars.index >= fold["test_start"]) & (bars.index < fold["test_end"]),
        )
        tuned = [run(bars[known], signal[known], chosen, context) for chosen in sets]
        scored = pd.Series({n: one["sharpe"] for n, (one, _) in enumerate(tuned) if one["trades"] >= 5})
        assert fold["trial"] == scored.idxmax()
        figures, daily = run(bars[ahead], signal[ahead], sets[fold["trial"]], context)
        assert fold["total_return"] == pytest.approx(figures["total_return"], rel=1e-9)
        returns.append(daily)
    evidence = require(context, "search").tickers["local-um:AAAUSDT"]["evidence"]
    assert evidence["walk_forward_sharpe"] == pytest.approx(statistics.sharpe(pd.concat(returns)), rel=1e-9)


def run(bars: pd.DataFrame, signal: pd.Series, chosen: BracketParameters, context: Context) -> tuple[Any, pd.Series]:
    """Figures and daily returns by backtesting.py."""
    stats = bracket.reference(bars, signal, chosen, search.costs(context), close_at_end=True)
    return metrics.figures(stats), metrics.daily_returns(metrics.daily_equity(stats))


def test_without_folds_there_is_no_walk_forward(market: Path, signals: Path, tmp_path: Path):
    context = searched(tmp_path, market, signals, sampler="sobol", folds=0)
    assert read_table(context.store, context.run, FOLDS, "local-um:AAAUSDT").empty
    assert require(context, "search").tickers["local-um:AAAUSDT"]["evidence"]["walk_forward_sharpe"] is None


def test_the_evidence_counts_the_trials(market: Path, signals: Path, tmp_path: Path):
    few, many = (
        searched(tmp_path / str(count), market, signals, sampler="sobol", trials=count, folds=0) for count in (3, 48)
    )
    one, other = (require(context, "search").tickers["local-um:AAAUSDT"]["evidence"] for context in (few, many))
    assert 1 <= one["effective_trials"] < other["effective_trials"] <= 48
    assert 0 <= other["overfitting"] <= 1
    assert 0 < other["choose_deflated_sharpe"] < 1
