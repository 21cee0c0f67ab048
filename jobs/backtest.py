"""Replay the chosen parameters of every ticker on the judge part: the one look at it.

python -m jobs.backtest --config run.toml --store URL --run NAME
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from jobs import compiled, market
from jobs.config import RunConfig
from jobs.market import Stretch
from jobs.rates import Rate, share
from jobs.search import costs, tested
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, require, run_stage
from quant import engine, metrics, portfolio, selection, statistics
from quant.parameters import BracketParameters, from_row
from quant.schemas import EQUITY, FIGURES, METRICS, TRADES, frame
from quant.splits import Part
from quant.statistics import Floats
from storage.manifest import Manifest

STAGE = Stage("backtest", 2, ("ingest", "predict", "search"), (TRADES, METRICS, EQUITY), prepare=compiled.ready)
BOOTSTRAP_SEED = 7


class MismatchError(RuntimeError):
    """The engine and backtesting.py disagree about a run."""


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the judged backtests of the run up to date."""
    part = market.parts(context, market.of(context))["judge"]
    searched, predicted = require(context, "search"), require(context, "predict")
    return run_stage(
        context,
        stage(context.config),
        [
            Item(ticker, payload=info["chosen"], rows=float(predicted.tickers[ticker]["rows"]))
            for ticker, info in sorted(searched.tickers.items())
        ],
        produce,
        settings={
            "policy": context.config.search.policy,
            "costs": context.config.costs.model_dump(),
            "trend_filter": context.config.search.trend_filter,
            "part": [str(part.start), str(part.end)],
        },
        extra=part,
        fan_out=fan_out,
    )


def stage(config: RunConfig) -> Stage:
    """The stage with its cost, nearly all of which is backtesting.py's own run."""
    return replace(
        STAGE,
        rate=Rate(
            ticker=0.032,
            row=2e-7 + share(config, "judge") * 6e-6,
            requests=5,
            read_row=50,
            written=9_000,
            written_row=2,
            memory_row=370,
        ),
    )


def produce(context: Context, item: Item, part: Part) -> Produced:
    """Trades, figures and daily equity of one ticker on the judge part.

    A ticker without a chosen set, or without bars in the part, is not traded.
    """
    stretch = market.stretch(context, item.ticker, part)
    row: dict[str, Any] | None = item.payload
    rows = [] if row is None else [{"part": "choose", **{name: row[name] for name in NAMES}, **NOT_JUDGED}]
    if not stretch:
        return Produced(
            {TRADES: frame(TRADES, []), EQUITY: frame(EQUITY, []), METRICS: frame(METRICS, rows)},
            {"rows": len(stretch.bars), "trades": 0, "metrics": rows},
        )
    chosen = None if row is None else from_row(row)
    if chosen is None:
        stretch = stretch._replace(signal=stretch.signal * 0)
    trades, equity = confirmed(context, item.ticker, stretch, chosen or BracketParameters())
    figures, returns = tested(context, chosen, stretch)
    held = metrics.buy_and_hold(stretch.bars, context.config.costs.commission)
    paid = {
        "funding": None if stretch.funding is None else float(trades["funding"].sum()),
        "funding_missing": 0 if stretch.missing is None else stretch.missing.payments,
        "capacity": portfolio.capacity(trades, stretch.bars, context.config.costs.cash),
    }
    rows.append({"part": "judge", **figures, **paid, **evidence(returns, held)})
    return Produced(
        {
            TRADES: metrics.trades_frame(trades, pd.DatetimeIndex(stretch.bars.index)),
            METRICS: frame(METRICS, rows),
            EQUITY: pd.DataFrame({"strategy": metrics.daily_equity(equity), "buy_and_hold": held}),
        },
        {"rows": len(stretch.bars), "trades": len(trades), "metrics": rows},
    )


def confirmed(context: Context, ticker: str, stretch: Stretch, chosen: BracketParameters) -> engine.Replay:
    """The judged run by the engine, once backtesting.py itself has made the same trades of it.

    What backtesting.py does not know (slippage, lots, funding, liquidation) is left out of the comparison.

    Raises
    ------
    MismatchError
        If a trade or a bar of equity differs in a single bit.
    """
    from quant import bracket  # half a second to import, for backtesting.py comes with its plots

    wanted, policy = costs(context), context.config.search.policy
    plain = replace(engine.Costs(), commission=wanted.commission, cash=wanted.cash)
    bars, signal = stretch.bars, stretch.signal
    stats = bracket.reference(bars, signal, chosen, plain, policy, close_at_end=True)
    ours = engine.replay(bars, signal, chosen, plain, policy, close_at_end=True)
    theirs = in_order(stats["_trades"][list(LIBRARY_NAMES)])
    mine = in_order(ours.trades[list(engine.TRADES)])
    if not np.array_equal(theirs, mine) or not np.array_equal(
        stats["_equity_curve"]["Equity"].to_numpy(), ours.equity.to_numpy()
    ):
        raise MismatchError(
            f"the engine and backtesting.py disagree about {ticker} with {chosen}: {len(mine)} and {len(theirs)} "
            "trades. This is a fault of Assay; please report it with the bars and the signals."
        )
    if not wanted.beyond_reference() and stretch.funding is None:
        return ours
    return engine.replay(bars, signal, chosen, wanted, policy, funding=stretch.funding, close_at_end=True)


def in_order(trades: pd.DataFrame) -> Floats:
    """Rows ordered by all of their columns, since trades that end together have no order of their own."""
    rows = trades.to_numpy(dtype=np.float64)
    return rows[np.lexsort(rows.T)]


# backtesting.py's columns, in the order of the engine's
LIBRARY_NAMES = ("Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL", "Commission")
NAMES = tuple(column.name for column in FIGURES)
NOT_JUDGED: dict[str, Any] = {
    "funding": None,
    "funding_missing": 0,
    "capacity": None,
    "buy_and_hold_return": None,
    "buy_and_hold_sharpe": None,
    "days": 0,
    "sharpe_error": None,
    "probabilistic_sharpe": None,
    "sharpe_low": None,
    "sharpe_high": None,
}


def evidence(returns: Floats, held: pd.Series) -> dict[str, Any]:
    """What says how sure one can be of the daily returns: baseline, probability and interval."""
    interval = selection.stationary_bootstrap_interval(returns, seed=BOOTSTRAP_SEED)
    return {
        "buy_and_hold_return": float(held.iloc[-1] - 1),
        "buy_and_hold_sharpe": statistics.sharpe(metrics.daily_returns(held).to_numpy()),
        "days": len(returns),
        "sharpe_error": statistics.sharpe_error(returns),
        "probabilistic_sharpe": statistics.probabilistic_sharpe(returns),
        "sharpe_low": interval.low,
        "sharpe_high": interval.high,
    }


if __name__ == "__main__":
    from jobs.runner import main

    main("backtest")
