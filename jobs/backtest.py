"""Replay the chosen parameters of every ticker on the judge part: the one look at it.

python -m jobs.backtest --config run.toml --store URL --run NAME
"""

from typing import Any

import pandas as pd

from jobs import market
from jobs.search import FEWEST_BARS, bars_and_signal, costs
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, require, run_stage
from quant import bracket, metrics, statistics
from quant.parameters import BracketParameters, from_row
from quant.schemas import EQUITY, FIGURES, METRICS, TRADES, frame
from quant.splits import Part
from storage.manifest import Manifest

STAGE = Stage("backtest", 1, ("ingest", "predict", "search"), (TRADES, METRICS, EQUITY), seconds_per_row=2e-5)
BOOTSTRAP_SEED = 7


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the judged backtests of the run up to date."""
    part = market.parts(context, market.of(context))["judge"]
    searched = require(context, "search")
    return run_stage(
        context,
        STAGE,
        [
            Item(ticker, payload=info["chosen"], weight=float(info["rows"]))
            for ticker, info in sorted(searched.tickers.items())
        ],
        produce,
        settings={
            "policy": context.config.search.policy,
            "costs": context.config.costs.model_dump(),
            "part": [str(part.start), str(part.end)],
        },
        extra=part,
        fan_out=fan_out,
    )


def produce(context: Context, item: Item, part: Part) -> Produced:
    """Trades, figures and daily equity of one ticker on the judge part.

    A ticker without a chosen set, or without bars in the part, is not traded.
    """
    bars, signal = bars_and_signal(context, item.ticker, part)
    chosen: dict[str, Any] | None = item.payload
    rows = [] if chosen is None else [{"part": "choose", **{name: chosen[name] for name in NAMES}, **NOT_JUDGED}]
    if len(bars) < FEWEST_BARS:
        return Produced(
            {TRADES: frame(TRADES, []), EQUITY: frame(EQUITY, []), METRICS: frame(METRICS, rows)},
            {"rows": len(bars), "trades": 0, "metrics": rows},
        )
    if chosen is None:
        signal = signal * 0
    # one run a ticker: backtesting.py itself has the last word
    stats = bracket.reference(
        bars,
        signal,
        BracketParameters() if chosen is None else from_row(chosen),
        costs(context),
        context.config.search.policy,
        close_at_end=True,
    )
    strategy = metrics.daily_equity(stats)
    held = metrics.buy_and_hold(bars, context.config.costs.commission)
    rows.append({"part": "judge", **judged(metrics.figures(stats), strategy, held)})
    trades = metrics.trades_frame(stats)
    return Produced(
        {
            TRADES: trades,
            METRICS: frame(METRICS, rows),
            EQUITY: pd.DataFrame({"strategy": strategy, "buy_and_hold": held}),
        },
        {"rows": len(bars), "trades": len(trades), "metrics": rows},
    )


NAMES = tuple(column.name for column in FIGURES)
NOT_JUDGED: dict[str, Any] = {
    "buy_and_hold_return": None,
    "buy_and_hold_sharpe": None,
    "days": 0,
    "probabilistic_sharpe": None,
    "sharpe_low": None,
    "sharpe_high": None,
}


def judged(figures: dict[str, Any], strategy: pd.Series, held: pd.Series) -> dict[str, Any]:
    """Figures of the judge part with the evidence beside them: baseline, probability and interval."""
    returns, baseline = metrics.daily_returns(strategy).to_numpy(), metrics.daily_returns(held).to_numpy()
    low, high = statistics.bootstrap_sharpe(returns, seed=BOOTSTRAP_SEED)
    return {
        **figures,
        "buy_and_hold_return": float(held.iloc[-1] - 1),
        "buy_and_hold_sharpe": statistics.sharpe(baseline),
        "days": len(returns),
        "probabilistic_sharpe": statistics.probabilistic_sharpe(returns),
        "sharpe_low": low,
        "sharpe_high": high,
    }


if __name__ == "__main__":
    from jobs.runner import main

    main("backtest")
