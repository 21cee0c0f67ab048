"""The strategy ``bracket``, run by backtesting.py: entry by a signal, exit by stop, target, trailing stop or time.

Everything is decided at the close of a bar and acts from the next bar on, so a result never depends on
what comes after the bar that it was decided on:

- **Entry** at the next open, or by a limit at close × (1 ± limit): a buy limit above the close and a sell
  limit below it, so that the order fills like one at market unless the price has run away. What is not
  filled within ``limit_bars`` bars is cancelled.
- **Stop and target** at close × (1 ∓ stop loss) and close × (1 ± take profit) of the deciding close.
- **Trailing**: at every close at which the price is ``trailing_activation`` or more in favour, the stop
  follows to ``trailing_distance`` from that close; it never goes back.
- **Time table**: at a close, with the largest ``bars`` of the pairs (bars, fraction) that the trade has
  been held for, a move of at least ``fraction`` closes it at the next open. The bar of the entry is the
  first bar held, so (4, −1.0) is a plain exit after four bars: in at the open of bar 10, out at the open of 14.

Moves are those of the price against the entry, before leverage and costs. Fills, sizes, commissions and
the order of events inside a bar are backtesting.py's: whole units, all free equity, a stop before a target,
gaps filled at the open.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import backtesting.backtesting as library
import numpy as np
import pandas as pd

from quant.bracket_input import POLICIES, Policy, check_policy, prices, signals
from quant.costs import Costs
from quant.parameters import BracketError, BracketParameters

__all__ = ["POLICIES", "BracketError", "BracketParameters", "Costs", "Policy", "reference"]

PRICES = ["Open", "High", "Low", "Close"]

# What backtesting.py says about single orders (the trades and the equity show their effect), and what pandas
# says about backtesting.py.
EXPECTED_WARNINGS = (
    r"Some prices are larger than initial cash value",
    r"Some trades remain open at the end of backtest",
    r"time=\d+: Broker canceled the ",
    r"\(.*\) A contingent SL/TP order would execute in the same bar",
    r"DatetimeIndex.dayofweek is deprecated",
)


class Bracket(library.Strategy):  # type: ignore[misc]
    """The strategy as backtesting.py runs it; :func:`reference` sets the class attributes for a run."""

    parameters: BracketParameters = BracketParameters()
    signals: Sequence[int] = ()
    closes: Sequence[float] = ()
    policy: Policy = "reverse"
    limit_bars: int = 1
    border: int | None = None

    def init(self) -> None:
        """Start before the first bar."""
        # Counting is several times cheaper than len(self.data); backtesting.py's first call is at bar 1.
        self.bar = 0
        self.waiting: list[tuple[int, Any]] = []
        self.table = tuple(reversed(self.parameters.minimum_profit or ()))
        self.manages = bool(self.table) or self.parameters.trailing_activation is not None

    def next(self) -> None:
        """Decide at the close of the bar that has just ended."""
        self.bar += 1
        if self.waiting:
            self._cancel_waiting()
        if self.bar == self.border:
            self.position.close()
            return
        signal = self.signals[self.bar]
        if signal and self._enter(is_long=signal == 1) and self.policy != "stack":
            return  # the old trade closes at the next open whatever its stop and its time table say
        if self.manages:
            for trade in self.trades:
                self._manage(trade)

    def _enter(self, is_long: bool) -> bool:
        """Order an entry and return True, or return False where the policy ignores the signal."""
        if self.policy == "reverse" and any(trade.is_long == is_long for trade in self.trades):
            return False
        chosen, close, side = self.parameters, self.closes[self.bar], 1 if is_long else -1
        stop = chosen.stop_loss_long if is_long else chosen.stop_loss_short
        target = chosen.take_profit_long if is_long else chosen.take_profit_short
        limit = chosen.limit_long if is_long else chosen.limit_short
        order = (self.buy if is_long else self.sell)(
            sl=None if stop is None else close * (1 - side * stop),
            tp=None if target is None else close * (1 + side * target),
            limit=None if limit is None else close * (1 + side * limit),
        )
        if limit is not None:
            self.waiting.append((self.bar + self.limit_bars, order))
        return True

    def _cancel_waiting(self) -> None:
        open_orders = self.orders
        self.waiting = [(until, order) for until, order in self.waiting if order in open_orders]
        expired = [order for until, order in self.waiting if until <= self.bar or self.bar == self.border]
        for order in expired:
            order.cancel()

    def _manage(self, trade: Any) -> None:
        """Close the trade by the time table, or let its stop follow the price."""
        close, side = self.closes[self.bar], 1 if trade.is_long else -1
        move = side * (close / trade.entry_price - 1)
        held = self.bar - trade.entry_bar + 1
        least = next((fraction for bars, fraction in self.table if bars <= held), math.inf)
        if move >= least:
            trade.close()
            return
        activation, distance = self.parameters.trailing_activation, self.parameters.trailing_distance
        if activation is None or distance is None or move < activation:
            return
        stop = close * (1 - side * distance)
        # A later close below the highest one gives a lower stop, so no state of "activated" is needed.
        if trade.sl is None or side * (stop - trade.sl) > 0:
            trade.sl = stop


def reference(
    bars: pd.DataFrame,
    signal: pd.Series | np.ndarray[Any, Any],
    parameters: BracketParameters,
    costs: Costs,
    policy: Policy = "reverse",
    *,
    limit_bars: int = 1,
    close_at_end: bool = False,
) -> pd.Series:
    """Run the strategy with backtesting.py and return its ``stats``.

    backtesting.py starts at the second bar: the signal of the first is never seen. A signal on the last
    bar has no bar to act on. One run at a time in a process: Python's warning filters, which
    are narrowed for the run, belong to all its threads.

    Parameters
    ----------
    bars
        Prices in quote currency, columns open, high, low, close (volume is not used), indexed by strictly
        increasing times.
    signal
        0 none, 1 long, 2 short, decided at the close of the same row; a series on the index of ``bars``
        or an array of their length.
    policy
        ``reverse`` ignores a signal in the direction of the open position and closes and reverses on an
        opposite one; ``exclusive`` and ``stack`` hand every signal to backtesting.py with its
        ``exclusive_orders`` True and False.
    limit_bars
        Bars after which an unfilled limit entry is cancelled.
    close_at_end
        Nothing crosses the end: a position is closed at the open of the last bar, as decided at the close
        before, and pays its commission there; the signals of the last two bars open nothing. Otherwise an
        open last trade is marked in the equity and not listed. (backtesting.py's own ``finalize_trades``
        fills at the open of the bar whose close it has seen, entries included.)

    Returns
    -------
    stats
        What ``Backtest.run`` returns, ``_trades`` and ``_equity_curve`` included.

    Raises
    ------
    BracketError
        If bars, signal, policy or ``limit_bars`` are not as above, or the costs hold what backtesting.py does not know.
    """
    check_policy(policy, limit_bars)
    if unknown := costs.beyond_reference():
        raise BracketError(
            f"{unknown[0]} is {getattr(costs, unknown[0])!r}, which backtesting.py does not know; allowed: "
            "its default, or quant.engine.replay in place of the reference"
        )
    candles = pd.DataFrame(dict(zip(PRICES, prices(bars), strict=True)), index=bars.index)
    wanted = signals(bars, signal)
    with quietly():
        backtest = library.Backtest(
            candles,
            Bracket,
            cash=costs.cash,
            commission=costs.commission,
            margin=1 / parameters.leverage,
            exclusive_orders=policy != "stack",
        )
        stats: pd.Series = backtest.run(
            parameters=parameters,
            signals=wanted.tolist(),
            closes=candles["Close"].tolist(),
            policy=policy,
            limit_bars=limit_bars,
            border=len(bars) - 2 if close_at_end else None,
        )
    return stats


def _plain(iterable: Iterator[int], **_: object) -> Iterator[int]:
    return iterable


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what backtesting.py says on every run out of a worker's log: known warnings and its progress bar."""
    progress = library._tqdm
    with warnings.catch_warnings(), np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        library._tqdm = _plain
        try:
            yield
        finally:
            library._tqdm = progress
