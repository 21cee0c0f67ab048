"""The engine against vectorbt, turn by turn in one process on one core.

vectorbt is no dependency: give it an environment of its own.

    python3.11 -m venv /tmp/vectorbt && /tmp/vectorbt/bin/pip install vectorbt==1.2.0 backtesting==0.6.6 TA-Lib==0.8.2
    /tmp/vectorbt/bin/python -m benchmarks.vectorbt

The market, the signals and the 200 sets of stops and targets are those of `benchmarks.engine`. vectorbt is given the
same entries at the next open and the same stops as fractions; it measures them from the entry price and fills at the
close of rules of its own, so its trades are like ours and not the same. Both sides compute the figures that vectorbt
has; a second row leaves vectorbt's figures out.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
import vectorbt as vbt

from benchmarks.engine import BARS, BOTH, COSTS, SETS, market, signals, timed
from quant import engine


def simulate(bars: pd.DataFrame, signal: np.ndarray) -> vbt.Portfolio:
    """All sets by vectorbt, a column each."""
    entered = np.r_[0, signal[:-1]]  # decided at a close, entered at the next open
    stops, targets = (np.array(values) for values in zip(*BOTH, strict=True))
    return vbt.Portfolio.from_signals(
        bars["close"],
        entries=pd.Series(entered == 1, index=bars.index),
        short_entries=pd.Series(entered == 2, index=bars.index),
        price=bars["open"],
        open=bars["open"],
        high=bars["high"],
        low=bars["low"],
        sl_stop=np.broadcast_to(stops, (len(bars), len(stops))),
        tp_stop=np.broadcast_to(targets, (len(bars), len(targets))),
        fees=COSTS.commission,
        init_cash=COSTS.cash,
        upon_opposite_entry="reverse",
        freq="15min",
    )


def figures(bars: pd.DataFrame, signal: np.ndarray) -> list[pd.Series]:
    """All sets by vectorbt, with its figures."""
    done = simulate(bars, signal)
    trades, drawdowns = done.trades, done.drawdowns
    return [
        *(done.total_return(), done.annualized_return(), done.annualized_volatility(), done.sharpe_ratio()),
        *(done.sortino_ratio(), done.calmar_ratio(), done.max_drawdown(), drawdowns.avg_drawdown()),
        *(drawdowns.max_duration(), drawdowns.avg_duration(), done.position_coverage(), trades.count()),
        *(trades.win_rate(), trades.profit_factor(), trades.expectancy(), trades.sqn()),
        *(trades.returns.max(), trades.returns.min(), trades.duration.max(), trades.duration.mean()),
    ]


def compare(share: float, turns: int) -> None:
    """Print one row: both sides turn by turn, and the ratio with its spread."""
    bars, signal, sets = market(), signals(share), SETS["stop and target"]
    simulate(bars, signal)
    figures(bars, signal)
    engine.sweep(bars, signal, sets, COSTS, "reverse")
    theirs, bare, ours = [], [], []
    for _ in range(turns):
        theirs.append(timed(figures, bars, signal))
        bare.append(timed(simulate, bars, signal))
        ours.append(float(np.median([timed(engine.sweep, bars, signal, sets, COSTS, "reverse") for _ in range(5)])))
    for name, slow in (("with its figures", theirs), ("without figures", bare)):
        ratios = [one / other for one, other in zip(slow, ours, strict=True)]
        print(
            f"{share:>4.0%}  vectorbt {name:<16} {np.median(slow) / BARS / len(sets) * 1e9:7.1f} ns a bar and set, "
            f"engine {np.median(ours) / BARS / len(sets) * 1e9:6.3f}, "
            f"ratio {np.median(ratios):,.0f} ({min(ratios):,.0f} to {max(ratios):,.0f})",
            flush=True,
        )
    trades = simulate(bars, signal).trades.count().sum(), engine.sweep(bars, signal, sets, COSTS)["# Trades"].sum()
    print(f"{share:>4.0%}  trades of all sets: vectorbt {trades[0]:,}, engine {trades[1]:,}")


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    warnings.simplefilter("ignore")
    for share in (0.1, 0.01):
        compare(share, turns)


if __name__ == "__main__":
    main()
