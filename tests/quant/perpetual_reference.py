"""Trading of one perpetual future, one bar after the other: the definition that the compiled engine must equal.

Slow and plain on purpose, and independent of the engine. ``docs/perpetual-rules.md`` says the same in words. With
costs at their defaults and no funding it is backtesting.py, float for float; the order of the operations inside an
expression is therefore part of the definition.

At most one position is open and one entry order waits. ``side`` is 1 for a long and −1 for a short, and
``side * a <= side * b`` reads "a is at or beyond b, against the position".
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from quant.costs import Costs
from quant.parameters import BracketParameters

Policy = Literal["reverse", "exclusive"]
Reason = Literal["close", "stop", "target", "liquidation", "ruin"]

FREE_SHARE = 1 - sys.float_info.epsilon  # share of the free equity that an entry asks for: backtesting.py's default


@dataclass(frozen=True)
class Trade:
    """A closed position.

    ``size`` is in units, negative for a short. ``commission`` is the fees of entry and exit, ``pnl`` the profit after
    them, ``funding`` the payments made while it was held (negative: received), which ``pnl`` does not hold.
    """

    size: float
    entry_bar: int
    exit_bar: int
    entry_price: float
    exit_price: float
    pnl: float
    commission: float
    funding: float
    reason: Reason


@dataclass(frozen=True)
class Result:
    """Closed trades in order, and the equity at the close of every bar; an open last position is marked there only."""

    trades: list[Trade]
    equity: list[float]


class Candle(NamedTuple):
    """Prices of one bar."""

    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True)
class Order:
    """An entry that waits: at market for the next open, or at ``limit`` up to and with the bar ``until``."""

    side: int
    limit: float | None
    stop: float | None
    target: float | None
    until: int


@dataclass
class Position:
    """What is held. ``liquidation`` is None without a maintenance margin; at ``bankruptcy`` the margin is gone."""

    side: int
    size: float
    entry_bar: int
    entry_price: float
    entry_fee: float
    by_limit: bool
    stop: float | None
    target: float | None
    liquidation: float | None
    bankruptcy: float
    margin: float
    funding: float = 0.0


def simulate(
    bars: pd.DataFrame,
    signal: Sequence[int] | np.ndarray[Any, Any] | pd.Series,
    parameters: BracketParameters,
    costs: Costs,
    policy: Policy,
    *,
    funding: Sequence[float] | np.ndarray[Any, Any] | None = None,
    limit_bars: int = 1,
    close_at_end: bool = False,
) -> Result:
    """Trade the signal over the bars.

    Parameters
    ----------
    bars
        Columns open, high, low, close; two rows or more.
    signal
        0 none, 1 long, 2 short, decided at the close of the same bar.
    costs
        :class:`PerpetualCosts`, or anything with its attributes.
    funding
        Rate due at the start of each bar, 0 where none is; None: no funding at all.
    limit_bars, close_at_end
        As in :func:`quant.bracket.reference`.

    Raises
    ------
    ValueError
        If the policy is another, a length differs, a funding rate is not finite, or the maintenance margin
        is not below the initial one (1 / leverage): such a position would be liquidated as it is opened.
    """
    if policy not in ("reverse", "exclusive"):
        raise ValueError(f"policy is {policy!r}; allowed: reverse, exclusive")
    if not 0 <= costs.maintenance_margin < 1 / parameters.leverage:
        raise ValueError(
            f"maintenance_margin is {costs.maintenance_margin} at leverage {parameters.leverage}; "
            f"allowed: from 0 to below {1 / parameters.leverage}"
        )
    rates = [0.0] * len(bars) if funding is None else [float(rate) for rate in funding]
    if not len(rates) == len(signal) == len(bars) >= 2 or not all(math.isfinite(rate) for rate in rates):
        raise ValueError("bars, signal and funding need the same length, 2 or more, and finite funding rates")
    candles = [Candle(*map(float, row)) for row in bars[["open", "high", "low", "close"]].to_numpy()]
    signals = [int(value) for value in signal]
    border = len(bars) - 2 if close_at_end else None
    return Simulation(candles, signals, rates, parameters, costs, policy, limit_bars, border).run()


@dataclass
class Simulation:
    """One run: what it is given, and its state. The steps of a bar stand in the order in which they happen."""

    candles: list[Candle]
    signals: list[int]
    rates: list[float]
    parameters: BracketParameters
    costs: Costs
    policy: Policy
    limit_bars: int
    border: int | None

    cash: float = 0.0
    position: Position | None = None
    order: Order | None = None
    closes_at_open: bool = False
    trades: list[Trade] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)

    def run(self) -> Result:
        """Take every bar from the second; the signal of the first is never seen."""
        self.cash = self.costs.cash
        for bar in range(1, len(self.candles)):
            self.pay_funding(bar)
            self.liquidate_at_open(bar)
            self.close_at_open(bar)
            self.enter(bar)
            self.exit_inside_bar(bar)
            self.equity.append(self.marked(bar))
            if self.equity[-1] <= 0:
                self.end_in_ruin(bar)
                break
            self.decide(bar)
        return Result(self.trades, [self.equity[0], *self.equity])

    # The bar opens -------------------------------------------------------------------------------------------------

    def pay_funding(self, bar: int) -> None:
        """Step 0: whoever holds a position as the bar starts pays the rate on its value at the open."""
        if self.position is not None and self.rates[bar] != 0:
            payment = self.position.size * self.candles[bar].open * self.rates[bar]
            self.cash -= payment
            self.position.funding += payment

    def liquidate_at_open(self, bar: int) -> None:
        """Step 1: a gap at or beyond the liquidation price leaves no time for any order."""
        position, opened = self.position, self.candles[bar].open
        if position is None or position.liquidation is None:
            return
        if position.side * opened <= position.side * position.liquidation:
            self.liquidate(bar)

    def close_at_open(self, bar: int) -> None:
        """Step 2: what was decided at the close before (a reversal, the time table, the border) fills at market."""
        position = self.position
        if position is not None and self.closes_at_open:
            self.settle(bar, self.slipped(self.candles[bar].open, -position.side), "close", self.costs.commission)
        self.closes_at_open = False

    def enter(self, bar: int) -> None:
        """Step 3: the waiting entry fills, is cancelled for want of money, or goes on waiting."""
        order = self.order
        if order is None:
            return
        fill = self.entry_fill(order, self.candles[bar])
        if fill is None:
            return
        self.order = None
        price, rate = fill
        units = self.affordable_units(price, rate)
        if units == 0 or units * price < self.costs.minimum_notional:
            return
        fee = units * price * rate
        self.cash -= fee
        self.position = self.opened(order, bar, price, units, fee)

    def entry_fill(self, order: Order, candle: Candle) -> tuple[float, float] | None:
        """Return price and fee rate of an entry on this bar, or None where its limit is not touched."""
        taker, maker = self.costs.commission, self.costs.maker_commission
        at_market = self.slipped(candle.open, order.side)
        if order.limit is None:
            return at_market, taker
        if order.side * against(order.side, candle) > order.side * order.limit:
            return None
        if order.side * candle.open <= order.side * order.limit:
            return worse(order.side, at_market, order.limit), taker
        return order.limit, taker if maker is None else maker

    def affordable_units(self, price: float, rate: float) -> float:
        """Return whole lots for all free money, the fee of the entry included; 0 where the money is short of them."""
        leverage, lot = self.leverage, self.costs.lot_size
        free = max(0, self.cash)
        per_unit = price + (FREE_SHARE * price * rate) / FREE_SHARE
        lots = int((free * leverage * FREE_SHARE) // (per_unit * lot))
        units: float = lots * lot
        # backtesting.py's second look at the money; only the rounding of a lot could make it fail.
        return 0 if units * per_unit > free * leverage else units

    def opened(self, order: Order, bar: int, price: float, units: float, fee: float) -> Position:
        """Return the new position with its levels; those of the margin are settled here once and for all."""
        side, share, maintenance = order.side, 1 / self.leverage, self.costs.maintenance_margin
        bankruptcy = price * (1 - side * share)
        return Position(
            side=side,
            size=side * units,
            entry_bar=bar,
            entry_price=price,
            entry_fee=fee,
            by_limit=order.limit is not None,
            stop=order.stop,
            target=order.target,
            liquidation=bankruptcy / (1 - side * maintenance) if maintenance > 0 else None,
            bankruptcy=bankruptcy,
            margin=units * price / self.leverage,
        )

    # Inside the bar ------------------------------------------------------------------------------------------------

    def exit_inside_bar(self, bar: int) -> None:
        """Step 4: a loss before a gain; of stop and liquidation, the one that the price meets first."""
        position = self.position
        if position is None:
            return
        side, candle = position.side, self.candles[bar]
        stop, target, liquidation = position.stop, position.target, position.liquidation
        if position.by_limit and position.entry_bar == bar:
            stop = target = None  # what the price did before and after the fill is not known
        lowest, highest = side * against(side, candle), side * in_favour(side, candle)
        stop_is_nearer = stop is not None and (liquidation is None or side * stop >= side * liquidation)
        if stop is not None and stop_is_nearer and lowest <= side * stop:
            price = self.slipped(worse(side, candle.open, stop), -side)
            self.settle(bar, price, "stop", self.costs.commission)
        elif liquidation is not None and lowest <= side * liquidation:
            self.liquidate(bar)
        elif target is not None and highest >= side * target:
            maker = self.costs.maker_commission
            rate = self.costs.commission if maker is None else maker
            self.settle(bar, better(side, candle.open, target), "target", rate)

    # Leaving -------------------------------------------------------------------------------------------------------

    def settle(self, bar: int, price: float, reason: Reason, rate: float) -> None:
        """Step 5: settle the position at this price."""
        position = self.position
        assert position is not None
        gross = position.size * (price - position.entry_price)
        fee = abs(position.size) * price * rate
        self.cash += gross - fee
        self.record(bar, price, reason, gross, fee)

    def liquidate(self, bar: int) -> None:
        """Step 5 for a liquidation: at its price or the gap's, never worse than bankruptcy, nor dearer than the margin.

        The exchange's insurance bears the rest of a gap; fees take at most what is left of the margin.
        """
        position = self.position
        assert position is not None
        assert position.liquidation is not None
        side = position.side
        reached = worse(side, self.candles[bar].open, position.liquidation)
        price = better(side, reached, position.bankruptcy)
        value = abs(position.size) * price
        gross = position.size * (price - position.entry_price)
        fee = value * self.costs.commission + value * self.costs.liquidation_fee
        if gross - fee < -position.margin:
            fee = max(0.0, position.margin + gross)
            self.cash += -position.margin
        else:
            self.cash += gross - fee
        self.record(bar, price, "liquidation", gross, fee)

    def record(self, bar: int, price: float, reason: Reason, gross: float, exit_fee: float) -> None:
        """List the trade and hold nothing."""
        position = self.position
        assert position is not None
        commission = exit_fee + position.entry_fee
        self.trades.append(
            Trade(
                size=position.size,
                entry_bar=position.entry_bar,
                exit_bar=bar,
                entry_price=position.entry_price,
                exit_price=price,
                pnl=gross - commission,
                commission=commission,
                funding=position.funding,
                reason=reason,
            )
        )
        self.position = None

    # The bar closes ------------------------------------------------------------------------------------------------

    def marked(self, bar: int) -> float:
        """Step 6: cash and the open profit at the close, before any fee of leaving."""
        if self.position is None:
            return self.cash
        size = self.position.size
        return self.cash + (self.candles[bar].close * size - (0 + size * self.position.entry_price))

    def end_in_ruin(self, bar: int) -> None:
        """Step 6 without equity left: close at the close, and nothing is left for the rest of the bars."""
        if self.position is not None:
            self.settle(bar, self.candles[bar].close, "ruin", self.costs.commission)
        self.cash = 0.0
        self.equity[-1:] = [0.0] * (len(self.candles) - bar)

    def decide(self, bar: int) -> None:
        """Step 7: what acts from the next bar on."""
        if self.order is not None and (self.order.until <= bar or bar == self.border):
            self.order = None
        if bar == self.border:
            self.closes_at_open = self.position is not None
            return
        if self.signals[bar] and self.orders_entry(bar, side=1 if self.signals[bar] == 1 else -1):
            return
        if self.position is not None:
            self.manage(bar, self.position)

    def orders_entry(self, bar: int, side: int) -> bool:
        """Place an entry, which replaces one that waits and closes what is held; False if the policy ignores it."""
        if self.policy == "reverse" and self.position is not None and self.position.side == side:
            return False
        chosen, close = self.parameters, self.candles[bar].close
        stop = chosen.stop_loss_long if side == 1 else chosen.stop_loss_short
        target = chosen.take_profit_long if side == 1 else chosen.take_profit_short
        limit = chosen.limit_long if side == 1 else chosen.limit_short
        self.order = Order(
            side=side,
            limit=None if limit is None else close * (1 + side * limit),
            stop=None if stop is None else close * (1 - side * stop),
            target=None if target is None else close * (1 + side * target),
            until=bar + self.limit_bars,
        )
        self.closes_at_open = self.position is not None
        return True

    def manage(self, bar: int, position: Position) -> None:
        """Close by the time table, or let the stop follow the price."""
        close, side = self.candles[bar].close, position.side
        move = side * (close / position.entry_price - 1)
        held = bar - position.entry_bar + 1
        reached = [fraction for bars, fraction in self.parameters.minimum_profit or () if bars <= held]
        if reached and move >= reached[-1]:
            self.closes_at_open = True
            return
        activation, distance = self.parameters.trailing_activation, self.parameters.trailing_distance
        if activation is None or distance is None or move < activation:
            return
        stop = close * (1 - side * distance)
        if position.stop is None or side * (stop - position.stop) > 0:
            position.stop = stop

    # Prices --------------------------------------------------------------------------------------------------------

    @property
    def leverage(self) -> float:
        """Leverage as backtesting.py has it, which is given a margin."""
        return 1 / (1 / self.parameters.leverage)

    def slipped(self, price: float, direction: int) -> float:
        """Price of a market order: higher for a buyer (direction 1), lower for a seller (−1)."""
        return price * (1 + direction * self.costs.slippage)


def against(side: int, candle: Candle) -> float:
    """Price of the bar that is worst for whoever holds the position."""
    return candle.low if side == 1 else candle.high


def in_favour(side: int, candle: Candle) -> float:
    """Price of the bar that is best for whoever holds the position."""
    return candle.high if side == 1 else candle.low


def worse(side: int, first: float, second: float) -> float:
    """Return the lower of two prices for a long, the higher for a short."""
    return min(first, second) if side == 1 else max(first, second)


def better(side: int, first: float, second: float) -> float:
    """Return the higher of two prices for a long, the lower for a short."""
    return max(first, second) if side == 1 else min(first, second)
