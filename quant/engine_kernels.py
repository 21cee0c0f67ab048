"""The compiled loops of the engine: array in, array out. `quant.engine` is their front, and says what they mean.

All of them are in this one file, because numba's cache does not notice an edited function in another file. Every
formula keeps the order of operations of backtesting.py (0.6.6), so that results are equal to the last bit; the tests
ask for ``==``. No fast-math anywhere: it would let the compiler reorder sums and contract a × b + c.

Arrays
------
Prices are float64, one a bar. ``set_`` is one row of `quant.engine.ParameterSets.matrix`, NaN for a part that is off.
Trades are written into ``trades``, columns as `TRADE_COLUMNS`, in order of their exit, and equity into ``equity``.
"""

import math

import numba
import numpy as np

# without the error model of NumPy every division tests for 0, and no loop with one in it becomes vectors; without the
# lock of the interpreter, threads replay several assets at the same time
_compiled = numba.njit(cache=True, error_model="numpy", nogil=True)

# columns of a parameter row
STOP_LONG, TAKE_LONG, LIMIT_LONG, STOP_SHORT, TAKE_SHORT, LIMIT_SHORT, LEVERAGE, ACTIVATION, DISTANCE = range(9)

# columns of a cost row
CASH, TAKER, MAKER, SLIPPAGE, LOT, LEAST_NOTIONAL, MAINTENANCE, LIQUIDATION_FEE = range(8)

TRADE_COLUMNS = ("size", "entry_bar", "exit_bar", "entry_price", "exit_price", "pnl", "commission", "funding", "exit")
SIZE, ENTRY_BAR, EXIT_BAR, ENTRY_PRICE, EXIT_PRICE, PNL, COMMISSION, FUNDING, EXIT = range(9)

# how a trade ended
BY_ORDER, BY_STOP, BY_TARGET, BY_LIQUIDATION, BY_RUIN = range(5)

REVERSE, EXCLUSIVE, STACK = range(3)

# columns of a row of sums, from which `quant.engine_figures` makes the figures
SUMS = (
    "equity_final",
    "equity_peak",
    "max_drawdown",
    "last_drawdown",
    "drawdown_sum",
    "drawdown_count",
    "drawdown_duration_sum",
    "drawdown_duration_max",
    "trades",
    "wins",
    "losses",
    "pnl_mean",
    "pnl_squares",
    "pnl_won",
    "pnl_lost",
    "return_sum",
    "return_won",
    "return_lost",
    "return_best",
    "return_worst",
    "return_log",
    "duration_sum",
    "duration_max",
    "bars_held",
    "commission",
    "day_changes",
    "day_mean",
    "day_log",
    "day_variance",
    "day_downside",
)
(
    EQUITY_FINAL,
    EQUITY_PEAK,
    MAX_DRAWDOWN,
    LAST_DRAWDOWN,
    DRAWDOWN_SUM,
    DRAWDOWN_COUNT,
    DRAWDOWN_DURATION_SUM,
    DRAWDOWN_DURATION_MAX,
    TRADES,
    WINS,
    LOSSES,
    PNL_MEAN,
    PNL_SQUARES,
    PNL_WON,
    PNL_LOST,
    RETURN_SUM,
    RETURN_WON,
    RETURN_LOST,
    RETURN_BEST,
    RETURN_WORST,
    RETURN_LOG,
    DURATION_SUM,
    DURATION_MAX,
    BARS_HELD,
    COMMISSION_SUM,
    DAY_CHANGES,
    DAY_MEAN,
    DAY_LOG,
    DAY_VARIANCE,
    DAY_DOWNSIDE,
) = range(len(SUMS))

# bars of a stretch at most, and of its parts where it has to be looked at
LONGEST_STRETCH = 16
SHORTER_STRETCH = 4

# open trades that `stack` has room for; 23 is the most that was seen
MOST_OPEN = 256

# backtesting.py's default size of an order, as a fraction of what is free
FRACTION = 1.0 - np.finfo(np.float64).eps


@_compiled
def _whole(value, unit):
    """Python's ``value // unit`` for positive floats: the exact floor, by a division where that is certain."""
    quotient = value / unit
    below = np.floor(quotient)  # a float, since the lots of a cheap coin may be more than an integer holds
    rest = quotient - below
    if quotient < 4.0e15 and 1e-9 * (1.0 + quotient * 1e-6) < rest < 1.0 - 1e-9 * (1.0 + quotient * 1e-6):
        return below
    remainder = value % unit
    divided = (value - remainder) / unit
    below = np.floor(divided)
    return below + 1.0 if divided - below > 0.5 else below


@_compiled
def _fee(size, price, rate):
    return abs(size) * price * rate


@_compiled
def single(open_, high, low, close, signal, funding, set_, table, costs, policy, limit_bars, border, trades, equity):
    """Replay one parameter set under ``reverse`` or ``exclusive``, where at most one trade is open; count the trades.

    ``funding`` is empty, or the rate due at the start of each bar. ``table`` holds the pairs (bars, fraction) of the
    time table by falling bars. ``border`` is the bar at whose close all is closed, -1 for none.
    """
    count = 0
    bars = len(close)
    cash = costs[CASH]
    lot, slippage, maintenance = costs[LOT], costs[SLIPPAGE], costs[MAINTENANCE]
    leverage = 1.0 / (1.0 / set_[LEVERAGE])
    activation, distance = set_[ACTIVATION], set_[DISTANCE]
    trails, has_table, pays_funding = not math.isnan(activation), len(table) > 0, len(funding) > 0
    size = entry = stop = target = liquidation = bankruptcy = paid = entry_fee = 0.0
    entry_bar = 0
    closing = False
    side = 0  # of the waiting entry, 0 for none
    limit = order_stop = order_target = math.nan
    until = 0
    equity[0] = cash
    bar = 0
    while bar < bars - 1:
        bar += 1
        opened, highest, lowest, closed = open_[bar], high[bar], low[bar], close[bar]
        checks = size != 0.0
        out = -1
        exit_price = 0.0
        if size != 0.0:
            if pays_funding and funding[bar] != 0.0:
                payment = size * opened * funding[bar]
                cash -= payment
                paid += payment
            if liquidation > 0.0 and (opened <= liquidation if size > 0.0 else opened >= liquidation):
                out = BY_LIQUIDATION
                exit_price = max(opened, bankruptcy) if size > 0.0 else min(opened, bankruptcy)
            elif closing:
                out = BY_ORDER
                exit_price = opened * (1.0 - slippage) if size > 0.0 else opened * (1.0 + slippage)
            if out >= 0:
                cash = _close(
                    trades, count, cash, size, entry_bar, bar, entry, exit_price, costs, entry_fee, paid, out, leverage
                )
                count += 1
                size, checks = 0.0, False
        closing = False
        if side != 0 and (math.isnan(limit) or (lowest <= limit if side > 0 else highest >= limit)):
            at_market = math.isnan(limit)
            price = opened * (1.0 + side * slippage)
            rate = costs[TAKER]
            if not at_market:
                if side > 0:
                    rate = rate if opened <= limit else costs[MAKER]
                    price = min(price, limit)
                else:
                    rate = rate if opened >= limit else costs[MAKER]
                    price = max(price, limit)
            unit_cost = price + _fee(FRACTION, price, rate) / FRACTION
            free = max(0.0, cash)
            budget = free * leverage * FRACTION
            units = _whole(budget, unit_cost) if lot == 1.0 else _whole(budget, unit_cost * lot) * lot
            if units > 0.0 and units * price >= costs[LEAST_NOTIONAL] and not units * unit_cost > free * leverage:
                size, entry, entry_bar, paid = side * units, price, bar, 0.0
                entry_fee = _fee(size, price, rate)
                cash -= entry_fee
                stop, target = order_stop, order_target
                bankruptcy = entry * (1.0 - side * (1.0 / leverage))
                liquidation = bankruptcy / (1.0 - side * maintenance) if maintenance > 0.0 else 0.0
                checks = at_market
            side = 0
        if size != 0.0:
            out = -1
            if size > 0.0:
                stopped = checks and lowest <= stop
                if liquidation > 0.0 and lowest <= liquidation and not (checks and stop >= liquidation):
                    out, exit_price = BY_LIQUIDATION, max(min(opened, liquidation), bankruptcy)
                elif stopped:
                    out, exit_price = BY_STOP, min(opened, stop) * (1.0 - slippage)
                elif checks and highest >= target:
                    out, exit_price = BY_TARGET, max(opened, target)
            else:
                stopped = checks and highest >= stop
                if liquidation > 0.0 and highest >= liquidation and not (checks and stop <= liquidation):
                    out, exit_price = BY_LIQUIDATION, min(max(opened, liquidation), bankruptcy)
                elif stopped:
                    out, exit_price = BY_STOP, max(opened, stop) * (1.0 + slippage)
                elif checks and lowest <= target:
                    out, exit_price = BY_TARGET, min(opened, target)
            if out >= 0:
                cash = _close(
                    trades, count, cash, size, entry_bar, bar, entry, exit_price, costs, entry_fee, paid, out, leverage
                )
                count += 1
                size = 0.0
        worth = cash + (closed * size - size * entry)
        equity[bar] = worth
        if worth <= 0.0:
            if size != 0.0:
                how = BY_RUIN
                _close(trades, count, cash, size, entry_bar, bar, entry, closed, costs, entry_fee, paid, how, leverage)
                count += 1
            equity[bar:] = 0.0
            break
        # the strategy, at the close
        if side != 0 and (until <= bar or bar == border):
            side = 0
        if bar == border:
            closing = size != 0.0
            continue
        wanted = 0
        if signal[bar] == 1:
            wanted = 1
        elif signal[bar] == 2:
            wanted = -1
        if wanted != 0 and not (policy == REVERSE and size * wanted > 0.0):
            side = wanted
            first = STOP_LONG if wanted > 0 else STOP_SHORT
            order_stop = closed * (1.0 - wanted * set_[first])
            order_target = closed * (1.0 + wanted * set_[first + 1])
            limit = closed * (1.0 + wanted * set_[first + 2])
            until = bar + limit_bars
            closing = size != 0.0
        elif size != 0.0 and (trails or has_table):
            direction = 1 if size > 0.0 else -1
            move = direction * (closed / entry - 1.0)
            if has_table and move >= _least(table, bar - entry_bar + 1):
                closing = True
            elif trails and move >= activation:
                raised = closed * (1.0 - direction * distance)
                if math.isnan(stop) or direction * (raised - stop) > 0.0:
                    stop = raised
        if side != 0 or closing:
            continue
        # Nothing is ordered: on over all bars on which nothing can happen. The bounds for a time table and a trailing
        # stop are as near as can be without the exact rounding of the rules above, which then decide.
        below, above, floor, ceiling = -math.inf, math.inf, -math.inf, math.inf
        last, quiet = bars - 1, 0
        if size != 0.0:
            direction = 1.0 if size > 0.0 else -1.0
            favourable = math.inf
            if has_table:
                held = bar + 2 - entry_bar
                favourable = _least(table, held)
                last = min(last, entry_bar - 2 + _next_step(table, held))
            if trails:
                favourable = min(favourable, _raises(activation, distance, entry, stop, direction))
            if policy == REVERSE:
                quiet = 1 if size > 0.0 else 2
            if size > 0.0:
                below, above = max(_or(stop, -math.inf), liquidation), _or(target, math.inf)
                ceiling = entry * (1.0 + favourable - 1e-9)
            else:
                below, above = _or(target, -math.inf), _or(stop, math.inf)
                above = min(above, liquidation) if liquidation > 0.0 else above
                floor = entry * (1.0 - favourable + 1e-9)
        basis = size * entry
        stopped_by_funding = pays_funding and size != 0.0
        if bar < border <= last:
            last = border - 1
        while bar < last:
            following = np.uint64(bar + 1)  # without a sign: no test for an index from the end
            closed, given = close[following], signal[following]
            worth = cash + (closed * size - basis)
            if (
                low[following] <= below
                or high[following] >= above
                or (given != 0 and given != quiet)
                or closed <= floor
                or closed >= ceiling
                or worth <= 0.0
                or (stopped_by_funding and funding[following] != 0.0)
            ):
                break
            equity[following] = worth
            bar += 1
    return count


@_compiled
def _or(level, otherwise):
    return otherwise if math.isnan(level) else level


@_compiled
def _raises(activation, distance, entry, stop, direction):
    """Least move in favour at a close from which a trailing stop may follow: active, and beyond the stop there is."""
    if math.isnan(stop):
        return activation
    level = stop / (1.0 - direction * distance)
    return max(activation, direction * (level / entry - 1.0))


@_compiled
def _next_step(table, held):
    """Bars held at which the time table's next step begins, or more than there are."""
    for row in range(len(table) - 1, -1, -1):
        if table[row, 0] > held:
            return int(table[row, 0])
    return 1 << 60


@_compiled
def _least(table, held):
    """Least move that closes a trade held for so many bars."""
    for row in range(len(table)):
        if table[row, 0] <= held:
            return table[row, 1]
    return math.inf


@_compiled
def _close(trades, row, cash, size, entry_bar, bar, entry, price, costs, entry_fee, paid, how, leverage):
    """Record a closed trade and return the cash after it."""
    gross = size * (price - entry)
    fee = _fee(size, price, costs[MAKER] if how == BY_TARGET else costs[TAKER])
    if how == BY_LIQUIDATION:
        fee += _fee(size, price, costs[LIQUIDATION_FEE])
    change = gross - fee
    if how == BY_LIQUIDATION:
        margin = abs(size) * entry / leverage  # isolated: no more than this is lost
        if change < -margin:
            change = -margin
            fee = max(0.0, margin + gross)
    trades[row, SIZE] = size
    trades[row, ENTRY_BAR] = entry_bar
    trades[row, EXIT_BAR] = bar
    trades[row, ENTRY_PRICE] = entry
    trades[row, EXIT_PRICE] = price
    trades[row, COMMISSION] = fee + entry_fee
    trades[row, PNL] = gross - trades[row, COMMISSION]
    trades[row, FUNDING] = paid
    trades[row, EXIT] = how
    return cash + change


# Stack: backtesting.py without exclusive orders, order by order ------------------------------------------------------

# columns of an order; the queue lists rows of this table in the order in which the library walks them
_SERIAL, _KIND, _SIDE, _LIMIT, _STOP, _TARGET, _TRADE, _UNTIL = range(8)
_ENTRY, _CLOSE, _STOP_LOSS, _TAKE_PROFIT = range(4)
# columns of an open trade; the last two are the rows of its orders, -1 for none
_UNITS, _PRICE, _BAR, _STOP_ORDER, _TARGET_ORDER = range(5)


@_compiled
def _sum(values, count, compensated):
    """Python's ``sum``: plain until 3.11, compensated (Neumaier) since."""
    total = rest = 0.0
    for place in range(count):
        value = values[place]
        raised = total + value
        if compensated:
            if abs(total) >= abs(value):
                rest += (total - raised) + value
            else:
                rest += (value - raised) + total
        total = raised
    return total + rest if compensated else total


@_compiled
def _unrealised(trades, listed, count, price, scratch, compensated):
    """Profit of the open trades at a price."""
    position = 0.0
    for place in range(count):
        position += trades[listed[place], _UNITS]
        scratch[place] = trades[listed[place], _UNITS] * trades[listed[place], _PRICE]
    return price * position - _sum(scratch, count, compensated)


@_compiled
def _margin_free(trades, listed, count, price, cash, leverage, scratch, compensated):
    """What the library calls margin available: at the close of the bar, even while it fills at its open."""
    equity = cash + _unrealised(trades, listed, count, price, scratch, compensated)
    for place in range(count):
        scratch[place] = abs(trades[listed[place], _UNITS]) * price / leverage
    return max(0.0, equity - _sum(scratch, count, compensated))


@_compiled
def _insert(rows, count, place, row):
    for later in range(count, place, -1):
        rows[later] = rows[later - 1]
    rows[place] = row
    return count + 1


@_compiled
def _remove(rows, count, row):
    """Take a row out of a list, keeping the order; return how many are left."""
    for place in range(count):
        if rows[place] == row:
            for later in range(place, count - 1):
                rows[later] = rows[later + 1]
            return count - 1
    return count


@_compiled
def _vacant(table, column):
    """First row of a table that is not in use, -1 where all are."""
    for row in range(len(table)):
        if table[row, column] == 0.0:
            return row
    return -1


@_compiled
def stack(open_, high, low, close, signal, set_, table, costs, limit_bars, border, compensated, trades, equity):
    """Replay one parameter set under ``stack``; return the number of trades, or minus one minus the bar without room.

    Room is for `len(trades)` closed trades (one entry can leave several) and for `MOST_OPEN` open at once.
    """
    count = 0
    bars = len(close)
    cash = costs[CASH]
    rate = costs[TAKER]
    leverage = 1.0 / (1.0 / set_[LEVERAGE])
    activation, distance = set_[ACTIVATION], set_[DISTANCE]
    trails, has_table = not math.isnan(activation), len(table) > 0
    orders = np.zeros((4 * MOST_OPEN, 8))
    queue = np.empty(4 * MOST_OPEN + 1, dtype=np.int64)
    walked = np.empty(4 * MOST_OPEN + 1, dtype=np.int64)
    serials = np.empty(4 * MOST_OPEN + 1)
    opened = np.zeros((MOST_OPEN, 5))
    listed = np.empty(MOST_OPEN + 1, dtype=np.int64)
    facing = np.empty(MOST_OPEN + 1, dtype=np.int64)
    scratch = np.empty(MOST_OPEN + 1)
    queued = trading = 0
    serial = 0.0
    equity[0] = cash
    for bar in range(1, bars):
        at_open, highest, lowest, closed = open_[bar], high[bar], low[bar], close[bar]
        again = queued > 0
        while again:
            again = False
            walking = queued
            for place in range(walking):
                walked[place] = queue[place]
                serials[place] = orders[queue[place], _SERIAL]
            for place in range(walking):
                row = walked[place]
                if orders[row, _SERIAL] != serials[place]:
                    continue  # gone with its trade, and its row perhaps in use again
                kind, side = orders[row, _KIND], orders[row, _SIDE]
                if kind != _ENTRY:
                    trade = int(orders[row, _TRADE])
                    price = at_open
                    if kind == _STOP_LOSS:
                        level = orders[row, _STOP]
                        if not (highest >= level if side > 0 else lowest <= level):
                            continue
                        price = max(at_open, level) if side > 0 else min(at_open, level)
                    elif kind == _TAKE_PROFIT:
                        level = orders[row, _LIMIT]
                        if not (lowest <= level if side > 0 else highest >= level):
                            continue
                        price = min(at_open, level) if side > 0 else max(at_open, level)
                    how = BY_STOP if kind == _STOP_LOSS else BY_TARGET if kind == _TAKE_PROFIT else BY_ORDER
                    if count == len(trades):
                        return -1 - bar
                    cash = _record(trades, count, cash, opened[trade, _UNITS], opened[trade], bar, price, costs, how)
                    count += 1
                    trading = _remove(listed, trading, trade)
                    queued = _drop(orders, queue, queued, opened, trade)
                    if kind == _CLOSE:
                        queued = _remove(queue, queued, row)
                        orders[row, _SERIAL] = 0.0
                    continue
                at_market = math.isnan(orders[row, _LIMIT])
                price = at_open
                if not at_market:
                    level = orders[row, _LIMIT]
                    if not (lowest <= level if side > 0 else highest >= level):
                        continue
                    price = min(at_open, level) if side > 0 else max(at_open, level)
                queued = _remove(queue, queued, row)
                orders[row, _SERIAL] = 0.0
                unit_cost = price + _fee(FRACTION, price, rate) / FRACTION
                free = _margin_free(opened, listed, trading, closed, cash, leverage, scratch, compensated)
                units = side * _whole(free * leverage * FRACTION, unit_cost)
                if units == 0.0:
                    continue
                against = 0
                for position in range(trading):
                    if opened[listed[position], _UNITS] * side < 0:
                        facing[against] = listed[position]
                        against += 1
                for position in range(against):
                    trade = facing[position]
                    if count == len(trades):
                        return -1 - bar
                    held = opened[trade, _UNITS]
                    if abs(units) >= abs(held):
                        cash = _record(trades, count, cash, held, opened[trade], bar, price, costs, BY_ORDER)
                        trading = _remove(listed, trading, trade)
                        queued = _drop(orders, queue, queued, opened, trade)
                        units += held
                    else:
                        opened[trade, _UNITS] = held + units
                        cash = _record(trades, count, cash, -units, opened[trade], bar, price, costs, BY_ORDER)
                        units = 0.0
                    count += 1
                    if units == 0.0:
                        break
                free = _margin_free(opened, listed, trading, closed, cash, leverage, scratch, compensated)
                if abs(units) * unit_cost > free * leverage or units == 0.0:
                    continue
                trade = _vacant(opened, _UNITS)
                if trade < 0:
                    return -1 - bar
                opened[trade, _UNITS], opened[trade, _PRICE], opened[trade, _BAR] = units, price, bar
                opened[trade, _STOP_ORDER] = opened[trade, _TARGET_ORDER] = -1.0
                trading = _insert(listed, trading, trading, trade)
                cash -= _fee(units, price, rate)
                stop, target = orders[row, _STOP], orders[row, _TARGET]
                for kind_of, level in ((_TAKE_PROFIT, target), (_STOP_LOSS, stop)):
                    if not math.isnan(level):
                        serial += 1.0
                        queued = _attach(orders, queue, queued, opened, trade, kind_of, level, serial)
                        again = again or at_market
        worth = cash + _unrealised(opened, listed, trading, closed, scratch, compensated)
        equity[bar] = worth
        if worth <= 0.0:
            # the library closes every other trade only: it changes the list that it walks
            place = 0
            while place < trading:
                trade = listed[place]
                if count == len(trades):
                    return -1 - bar
                cash = _record(trades, count, cash, opened[trade, _UNITS], opened[trade], bar, closed, costs, BY_RUIN)
                count += 1
                trading = _remove(listed, trading, trade)
                place += 1
            equity[bar:] = 0.0
            break
        # the strategy, at the close
        kept = 0
        for place in range(queued):
            row = queue[place]
            waits = orders[row, _KIND] == _ENTRY and not math.isnan(orders[row, _LIMIT])
            if waits and (orders[row, _UNTIL] <= bar or bar == border):
                orders[row, _SERIAL] = 0.0
            else:
                queue[kept] = row
                kept += 1
        queued = kept
        if bar == border:
            for place in range(trading):
                serial += 1.0
                queued = _order_close(orders, queue, queued, opened, listed[place], serial)
            continue
        if signal[bar] != 0:
            wanted = 1.0 if signal[bar] == 1 else -1.0
            first = STOP_LONG if wanted > 0 else STOP_SHORT
            row = _vacant(orders, _SERIAL)
            if row < 0:
                return -1 - bar
            serial += 1.0
            orders[row, _SERIAL], orders[row, _KIND], orders[row, _SIDE] = serial, _ENTRY, wanted
            orders[row, _STOP] = closed * (1.0 - wanted * set_[first])
            orders[row, _TARGET] = closed * (1.0 + wanted * set_[first + 1])
            orders[row, _LIMIT] = closed * (1.0 + wanted * set_[first + 2])
            orders[row, _UNTIL] = bar + limit_bars
            queued = _insert(queue, queued, queued, row)
        if trails or has_table:
            for place in range(trading):
                trade = listed[place]
                direction = 1 if opened[trade, _UNITS] > 0.0 else -1
                move = direction * (closed / opened[trade, _PRICE] - 1.0)
                if has_table and move >= _least(table, bar - opened[trade, _BAR] + 1):
                    serial += 1.0
                    queued = _order_close(orders, queue, queued, opened, trade, serial)
                elif trails and move >= activation:
                    raised = closed * (1.0 - direction * distance)
                    old = int(opened[trade, _STOP_ORDER])
                    if old < 0 or direction * (raised - orders[old, _STOP]) > 0.0:
                        if old >= 0:
                            queued = _remove(queue, queued, old)
                            orders[old, _SERIAL] = 0.0
                        serial += 1.0
                        queued = _attach(orders, queue, queued, opened, trade, _STOP_LOSS, raised, serial)
    return count


@_compiled
def _record(trades, row, cash, size, opened, bar, price, costs, how):
    entry = opened[_PRICE]
    paid = _fee(size, entry, costs[TAKER])
    return _close(trades, row, cash, size, int(opened[_BAR]), bar, entry, price, costs, paid, 0.0, how, 1.0)


@_compiled
def _attach(orders, queue, queued, opened, trade, kind, level, serial):
    """Give an open trade its stop, looked at before all others, or its target, after all others."""
    row = _vacant(orders, _SERIAL)
    orders[row, _SERIAL], orders[row, _KIND], orders[row, _TRADE] = serial, kind, trade
    orders[row, _SIDE] = -1.0 if opened[trade, _UNITS] > 0.0 else 1.0
    if kind == _STOP_LOSS:
        orders[row, _STOP] = level
        opened[trade, _STOP_ORDER] = row
        return _insert(queue, queued, 0, row)
    orders[row, _LIMIT] = level
    opened[trade, _TARGET_ORDER] = row
    return _insert(queue, queued, queued, row)


@_compiled
def _order_close(orders, queue, queued, opened, trade, serial):
    row = _vacant(orders, _SERIAL)
    orders[row, _SERIAL], orders[row, _KIND], orders[row, _TRADE] = serial, _CLOSE, trade
    orders[row, _SIDE] = -1.0 if opened[trade, _UNITS] > 0.0 else 1.0
    return _insert(queue, queued, 0, row)


@_compiled
def _drop(orders, queue, queued, opened, trade):
    """Forget a closed trade and its stop and target; return how many orders are left."""
    opened[trade, _UNITS] = 0.0
    for column in (_STOP_ORDER, _TARGET_ORDER):
        row = int(opened[trade, column])
        if row >= 0:
            orders[row, _SERIAL] = 0.0
            queued = _remove(queue, queued, row)
    return queued


# Sums of a run -------------------------------------------------------------------------------------------------------


@_compiled
def summarise(equity, trades, count, times, day_ends, overlaps, sums, returns):
    """Write the `SUMS` of one run: everything that its figures need; and the daily ``returns``, unless it is empty.

    ``times`` are those of the bars in units of their index, ``day_ends`` the last bar of each day, and ``overlaps``
    says whether trades may be open at the same time.
    """
    bars = len(equity)
    peak = trough = equity[0]
    at_peak = 0
    deepest = total = longest = spans = 0.0
    segments = bar = 0
    while bar < bars - 1:
        # four at a time while none of them is a peak, so that no minimum waits for the one before
        first = second = third = fourth = trough
        while bar + 5 < bars:
            following = np.uint64(bar + 1)
            one, two = equity[following], equity[following + np.uint64(1)]
            three, four = equity[following + np.uint64(2)], equity[following + np.uint64(3)]
            if one >= peak or two >= peak or three >= peak or four >= peak:
                break
            first, second = one if one < first else first, two if two < second else second
            third, fourth = three if three < third else third, four if four < fourth else fourth
            bar += 4
        trough = min(min(first, second), min(third, fourth))
        bar += 1
        worth = equity[bar]
        if worth >= peak or bar == bars - 1:
            last = 1.0 - worth / peak if worth < peak else 0.0
            trough = min(trough, worth)
            if bar > at_peak + 1:
                fall = 1.0 - trough / peak
                if fall > 0.0:
                    deepest = max(deepest, fall)
                total += fall
                segments += 1
                span = float(times[bar] - times[at_peak])
                spans += span
                longest = max(longest, span)
            deepest = max(deepest, last)
            at_peak = bar
            sums[LAST_DRAWDOWN] = last
            if worth >= peak:
                peak = worth
            trough = worth
        else:
            trough = min(trough, worth)
    sums[EQUITY_FINAL] = equity[bars - 1]
    sums[EQUITY_PEAK] = peak
    sums[MAX_DRAWDOWN] = deepest
    sums[DRAWDOWN_SUM] = total
    sums[DRAWDOWN_COUNT] = segments
    sums[DRAWDOWN_DURATION_SUM] = spans
    sums[DRAWDOWN_DURATION_MAX] = longest
    _summarise_days(equity, day_ends, sums, returns)
    _summarise_trades(trades, count, times, bars, overlaps, sums)


@_compiled
def _summarise_days(equity, day_ends, sums, returns):
    days = len(day_ends)
    returns[:] = 0.0
    product, logarithm, mean, below = 1.0, 0.0, 0.0, 0.0
    ruined = False
    for day in range(1, days):
        change = (
            equity[day_ends[day]] / equity[day_ends[day - 1]] - 1.0 if equity[day_ends[day - 1]] > 0.0 else math.nan
        )
        if math.isnan(change):  # 0 / 0 after ruin, which the library drops
            days = day
            break
        if len(returns) > 0:
            returns[day - 1] = change
        mean += change
        below += min(change, 0.0) ** 2
        ruined = ruined or change <= -1.0
        product *= 1.0 + change
        if not 1e-200 < product < 1e200 and product > 0.0:
            logarithm += math.log(product)
            product = 1.0
    changes = days - 1
    mean = mean / changes if changes > 0 else math.nan
    spread = 0.0
    for day in range(1, days):
        spread += (mean - (equity[day_ends[day]] / equity[day_ends[day - 1]] - 1.0)) ** 2
    sums[DAY_CHANGES], sums[DAY_MEAN] = changes, mean
    if changes < 1:
        sums[DAY_LOG] = sums[DAY_VARIANCE] = sums[DAY_DOWNSIDE] = math.nan
        return
    sums[DAY_LOG] = -math.inf if ruined else (logarithm + math.log(product)) / changes
    sums[DAY_VARIANCE] = spread / (changes - 1) if changes > 1 else math.nan
    sums[DAY_DOWNSIDE] = below / changes


@_compiled
def _summarise_trades(trades, count, times, bars, overlaps, sums):
    wins = losses = 0
    mean = squares = won = lost = 0.0
    returns = gained = shed = logarithm = commission = 0.0
    product = 1.0
    best, worst = -math.inf, math.inf
    ruined = False
    duration = longest = 0.0
    held = 0
    covered = -1  # last bar that counts as held
    for row in range(count):
        size, entry, price = trades[row, SIZE], trades[row, ENTRY_PRICE], trades[row, EXIT_PRICE]
        first, last = int(trades[row, ENTRY_BAR]), int(trades[row, EXIT_BAR])
        pnl, paid = trades[row, PNL], trades[row, COMMISSION]
        gross = price / entry - 1.0 if size > 0.0 else -(price / entry - 1.0)
        change = gross - paid / (abs(size) * entry)
        commission += paid
        offset = pnl - mean
        mean += offset / (row + 1)
        squares += offset * (pnl - mean)
        if pnl > 0.0:
            wins += 1
            won += pnl
        elif pnl < 0.0:
            losses += 1
            lost += pnl
        returns += change
        if change > 0.0:
            gained += change
        else:
            shed += change
        best, worst = max(best, change), min(worst, change)
        ruined = ruined or change <= -1.0
        product *= 1.0 + change
        if not 1e-200 < product < 1e200 and product > 0.0:
            logarithm += math.log(product)
            product = 1.0
        span = float(times[last] - times[first])
        duration += span
        longest = max(longest, span)
        if not overlaps:
            held += last - max(first, covered + 1) + 1
            covered = last
    if overlaps:
        marks = np.zeros(bars + 1, dtype=np.int64)
        for row in range(count):
            marks[int(trades[row, ENTRY_BAR])] += 1
            marks[int(trades[row, EXIT_BAR]) + 1] -= 1
        open_trades = 0
        for bar in range(bars):
            open_trades += marks[bar]
            held += 1 if open_trades > 0 else 0
    sums[TRADES], sums[WINS], sums[LOSSES] = count, wins, losses
    sums[PNL_MEAN], sums[PNL_SQUARES], sums[PNL_WON], sums[PNL_LOST] = mean, squares, won, lost
    sums[RETURN_SUM], sums[RETURN_WON], sums[RETURN_LOST] = returns, gained, shed
    sums[RETURN_BEST], sums[RETURN_WORST] = best, worst
    sums[RETURN_LOG] = -math.inf if ruined else logarithm + math.log(product)
    sums[DURATION_SUM], sums[DURATION_MAX] = duration, longest
    sums[BARS_HELD], sums[COMMISSION_SUM] = held, commission


@_compiled
def sweep_plain(
    open_,
    high,
    low,
    close,
    signal,
    funding,
    sets,
    tables,
    table_rows,
    costs,
    policy,
    limit_bars,
    border,
    compensated,
    times,
    day_ends,
    sums,
    returns,
):
    """Replay every parameter set on its own and write its `SUMS`; return the first that found no room, or -1.

    ``returns`` is sets × the changes from one day's end to the next, or sets × 0 where they are not asked for.
    """
    bars = len(close)
    trades = np.empty(((2 if policy == STACK else 1) * bars + 1, len(TRADE_COLUMNS)))
    equity = np.empty(bars)
    for row in range(len(sets)):
        table = tables[table_rows[row] : table_rows[row + 1]]
        if policy == STACK:
            count = stack(
                open_,
                high,
                low,
                close,
                signal,
                sets[row],
                table,
                costs,
                limit_bars,
                border,
                compensated,
                trades,
                equity,
            )
            if count < 0:
                return row
        else:
            count = single(
                open_,
                high,
                low,
                close,
                signal,
                funding,
                sets[row],
                table,
                costs,
                policy,
                limit_bars,
                border,
                trades,
                equity,
            )
        summarise(equity, trades, count, times, day_ends, policy == STACK, sums[row], returns[row])
    return -1


# Stops and targets alone: many sets at a time ------------------------------------------------------------------------
#
# All sets share the signal, so time is the outer loop and the sets are lanes of the inner one. The state of the lanes
# lies in one flat array, one row after another, indexed without a sign: so the compiler sees that rows never overlap
# and that no index wraps around, and uses vectors. Time is cut at the bars after a signal, at the ends of days and
# otherwise into short stretches; over a stretch, lanes whose stop and target lie outside its range, and whose equity
# stays below its peak, need nothing but their lowest equity. Lanes whose size is next to a whole number, that
# are ruined, or that lose all in a trade are marked and left to `single`, which is exact there, too.

LANES = 104  # an odd number of cache lines a row, so that the rows of a lane do not compete for the same places
_ROWS = (
    *("cash", "size", "entry", "basis", "entry_fee", "low", "high", "held_from", "entry_time"),
    *("peak", "trough", "peak_bar"),
    *("leverage", "long_low", "long_high", "short_low", "short_high"),
    *("trades", "wins", "losses", "pnl", "pnl_squares", "pnl_won"),
    *("returns", "won", "best", "worst", "product", "logarithm", "duration", "longest", "held"),
    *("commission", "deepest", "falls", "fall_count", "fall_time", "fall_longest", "redo"),
)
(
    _CASH,
    _SIZE,
    _ENTRY_PRICE,
    _BASIS,
    _ENTRY_FEE,
    _LOW,
    _HIGH,
    _HELD_FROM,
    _ENTRY_TIME,
    _PEAK,
    _TROUGH,
    _PEAK_BAR,
    _LEVERAGE,
    _LONG_LOW,
    _LONG_HIGH,
    _SHORT_LOW,
    _SHORT_HIGH,
    _TRADES,
    _WINS,
    _LOSSES,
    _PNL,
    _PNL_SQUARES,
    _PNL_WON,
    _RETURNS,
    _WON,
    _BEST,
    _WORST,
    _PRODUCT,
    _LOGARITHM,
    _DURATION,
    _LONGEST,
    _HELD,
    _COMMISSION,
    _DEEPEST,
    _FALLS,
    _FALL_COUNT,
    _FALL_TIME,
    _FALL_LONGEST,
    _REDO,
) = (np.uint64(LANES * row) for row in range(len(_ROWS)))


@numba.njit(inline="always", error_model="numpy")
def _book(state, lane, on, price, bar, time, rate):
    """Close the trade of a lane at a price, where ``on``."""
    size, entry = state[_SIZE + lane], state[_ENTRY_PRICE + lane]
    cash, sum_, squares = state[_CASH + lane], state[_PNL + lane], state[_PNL_SQUARES + lane]
    gross = size * (price - entry)
    fee = abs(size) * price * rate
    paid = fee + state[_ENTRY_FEE + lane]
    pnl = gross - paid
    move = price / entry
    change = (move - 1.0 if size > 0.0 else 1.0 - move) - rate * (move + 1.0)
    span = time - state[_ENTRY_TIME + lane]
    held = bar - state[_HELD_FROM + lane] + 1.0
    wins, loses, gains = on & (pnl > 0.0), on & (pnl < 0.0), on & (change > 0.0)
    best, worst, longest = state[_BEST + lane], state[_WORST + lane], state[_LONGEST + lane]
    product = state[_PRODUCT + lane]
    state[_CASH + lane] = cash + (gross - fee) if on else cash
    state[_TRADES + lane] += 1.0 if on else 0.0
    state[_WINS + lane] += 1.0 if wins else 0.0
    state[_LOSSES + lane] += 1.0 if loses else 0.0
    state[_PNL + lane] = sum_ + pnl if on else sum_
    state[_PNL_SQUARES + lane] = squares + pnl * pnl if on else squares
    state[_PNL_WON + lane] += pnl if wins else 0.0
    state[_RETURNS + lane] += change if on else 0.0
    state[_WON + lane] += change if gains else 0.0
    state[_BEST + lane] = change if on & (change > best) else best
    state[_WORST + lane] = change if on & (change < worst) else worst
    state[_PRODUCT + lane] = product * (1.0 + change) if on else product
    state[_DURATION + lane] += span if on else 0.0
    state[_LONGEST + lane] = span if on & (span > longest) else longest
    state[_HELD + lane] += held if on else 0.0
    state[_COMMISSION + lane] += paid if on else 0.0


@_compiled
def _trade(state, width, opened, before, wanted, every, bar, time, rate):
    """At an open: close what the order of the bar before closes, and enter; ``wanted`` is 0 for a close alone."""
    unit_cost = opened + (FRACTION * opened * rate) / FRACTION
    is_long = wanted > 0.0
    waits = wanted != 0.0
    for lane in range(width):
        size = state[_SIZE + lane]
        on = (every | (not size * wanted > 0.0)) & (size != 0.0)
        _book(state, lane, on, opened, bar, time, rate)
        # a bar on which one trade ends and the next begins counts as held once
        state[_HELD_FROM + lane] = bar + 1.0 if on else state[_HELD_FROM + lane]
    for lane in range(width):
        size, cash, leverage = state[_SIZE + lane], state[_CASH + lane], state[_LEVERAGE + lane]
        entry, basis, paid = state[_ENTRY_PRICE + lane], state[_BASIS + lane], state[_ENTRY_FEE + lane]
        held_from, entry_time, redo = state[_HELD_FROM + lane], state[_ENTRY_TIME + lane], state[_REDO + lane]
        low, high = state[_LOW + lane], state[_HIGH + lane]
        long_low, short_low = state[_LONG_LOW + lane], state[_SHORT_LOW + lane]
        long_high, short_high = state[_LONG_HIGH + lane], state[_SHORT_HIGH + lane]
        acts = every | (not size * wanted > 0.0)
        free = cash if cash > 0.0 else 0.0
        quotient = free * leverage * FRACTION / unit_cost
        units = np.floor(quotient)
        rest = quotient - units
        edge = 1e-9 + quotient * 1e-15
        unsure = (not ((rest > edge) & (rest < 1.0 - edge))) | (units * unit_cost > free * leverage)
        held = units * wanted
        fee = units * opened * rate
        flat = held == 0.0
        new_low = before * (long_low if is_long else short_low)
        new_high = before * (long_high if is_long else short_high)
        new_low = -np.inf if flat else new_low
        new_high = np.inf if flat else new_high
        state[_REDO + lane] = 1.0 if acts & waits & unsure & (quotient > edge) else redo
        state[_CASH + lane] = cash - fee if acts & waits else cash
        state[_SIZE + lane] = held if acts else size
        state[_ENTRY_PRICE + lane] = opened if acts else entry
        state[_BASIS + lane] = held * opened if acts else basis
        state[_ENTRY_FEE + lane] = fee if acts else paid
        state[_HELD_FROM + lane] = bar if acts & (held_from <= bar) else held_from
        state[_ENTRY_TIME + lane] = time if acts else entry_time
        state[_LOW + lane] = new_low if acts else low
        state[_HIGH + lane] = new_high if acts else high


@_compiled
def _recover(state, lane, bar, times):
    """End a drawdown of a lane at a new peak."""
    fall = 1.0 - state[_TROUGH + lane] / state[_PEAK + lane]
    span = float(times[int(bar)] - times[int(state[_PEAK_BAR + lane])])
    state[_DEEPEST + lane] = max(state[_DEEPEST + lane], fall)
    state[_FALLS + lane] += fall
    state[_FALL_COUNT + lane] += 1.0
    state[_FALL_TIME + lane] += span
    state[_FALL_LONGEST + lane] = max(state[_FALL_LONGEST + lane], span)


@_compiled
def _leave(state, lane, opened, highest, lowest, bar, time, rate):
    """Close the trade of a lane whose stop or target was touched."""
    low, high = state[_LOW + lane], state[_HIGH + lane]
    is_long, below, above = state[_SIZE + lane] > 0.0, lowest <= low, highest >= high
    at_low, at_high = low if low < opened else opened, high if high > opened else opened
    # the stop comes first: it is the lower level of a long and the higher one of a short
    lower = (is_long & below) | ((not is_long) & (not above))
    _book(state, lane, True, at_low if lower else at_high, bar, time, rate)
    state[_SIZE + lane] = state[_BASIS + lane] = 0.0
    state[_LOW + lane], state[_HIGH + lane] = -np.inf, np.inf


@_compiled
def _gather(flags, width, chosen):
    """List the lanes that are flagged, without a branch that nobody could predict; return how many there are."""
    count = np.uint64(0)
    for lane in range(width):
        chosen[count] = lane
        count += np.uint64(flags[lane])
    return int(count)


@_compiled
def _bar(state, width, flags, chosen, opened, highest, lowest, closed, bar, times, rate):
    """One bar of all lanes, after the orders at its open."""
    flagged = 0
    for lane in range(width):
        flag = 1 if (lowest <= state[_LOW + lane]) | (highest >= state[_HIGH + lane]) else 0
        flags[lane] = flag
        flagged |= flag
    if flagged:
        time = float(times[int(bar)])
        for place in range(_gather(flags, width, chosen)):
            _leave(state, np.uint64(chosen[place]), opened, highest, lowest, bar, time, rate)
    flagged = 0
    for lane in range(width):
        worth = state[_CASH + lane] + (closed * state[_SIZE + lane] - state[_BASIS + lane])
        peak, trough, peak_bar = state[_PEAK + lane], state[_TROUGH + lane], state[_PEAK_BAR + lane]
        new = worth >= peak
        # a lane that ends a drawdown is flagged, and keeps what `_recover` needs
        ends = new & (bar > peak_bar + 1.0)
        stays = new & (not ends)
        lower = worth if worth < trough else trough
        lower = trough if ends else lower
        state[_PEAK + lane] = worth if stays else peak
        state[_TROUGH + lane] = worth if stays else lower
        state[_PEAK_BAR + lane] = bar if stays else peak_bar
        flag = 1 if ends else 0
        flags[lane] = flag
        flagged |= flag
    if flagged:
        for lane in range(width):
            if flags[lane]:
                _recover(state, lane, bar, times)
                worth = state[_CASH + lane] + (closed * state[_SIZE + lane] - state[_BASIS + lane])
                state[_PEAK + lane] = state[_TROUGH + lane] = worth
                state[_PEAK_BAR + lane] = bar


@_compiled
def _stretch(state, width, highest, lowest, top, bottom, last):
    """A stretch of bars without orders; return whether a lane may leave its trade or make a new peak within it.

    Otherwise nothing but the lowest equity counts, and all bars are done. If so, every bar has to be taken; what this
    has noted until then does no harm.
    """
    flagged = 0
    for lane in range(width):
        cash, size, basis = state[_CASH + lane], state[_SIZE + lane], state[_BASIS + lane]
        peak, trough, low, high = state[_PEAK + lane], state[_TROUGH + lane], state[_LOW + lane], state[_HIGH + lane]
        peak_bar = state[_PEAK_BAR + lane]
        best = cash + ((top if size > 0.0 else bottom) * size - basis)
        worst = cash + ((bottom if size > 0.0 else top) * size - basis)
        rests = (size == 0.0) & (cash >= peak)
        looked = (lowest <= low) | (highest >= high) | ((best >= peak) & (not rests))
        lower = worst if worst < trough else trough
        state[_TROUGH + lane] = trough if looked else lower
        state[_PEAK_BAR + lane] = last if rests else peak_bar
        flagged |= 1 if looked else 0
    return flagged != 0


@_compiled
def plan(high, low, close, signal, border, day_ends, longest):
    """Cut the bars into stretches: one row (first, last, order, day) each, with their extremes.

    ``order`` is 1 or −1 where an entry waits for the open of the first bar, 2 where everything is to be closed there,
    0 where neither is the case; ``day`` is the number of the day that ends with the last bar, or −1.
    """
    bars = len(close)
    rows = np.empty((bars, 4), dtype=np.int64)
    extremes = np.empty((bars, 4))
    count = 0
    day = 0
    bar = 1
    while bar < bars:
        while day < len(day_ends) and day_ends[day] < bar:
            day += 1
        order = _order_at(signal, bar, border)
        last = bar
        if order == 0:
            while (
                last + 1 < bars
                and last + 1 < bar + longest
                and not (day < len(day_ends) and last == day_ends[day])
                and _order_at(signal, last + 1, border) == 0
            ):
                last += 1
        rows[count] = bar, last, order, day if day < len(day_ends) and last == day_ends[day] else -1
        extremes[count] = _extremes(high, low, close, bar, last)
        count += 1
        bar = last + 1
    return rows[:count], extremes[:count]


@_compiled
def _extremes(high, low, close, first, last):
    """Highest high, lowest low, highest and lowest close of the bars from first to last."""
    highest, lowest, top, bottom = high[first], low[first], close[first], close[first]
    for bar in range(first + 1, last + 1):
        highest, lowest = max(highest, high[bar]), min(lowest, low[bar])
        top, bottom = max(top, close[bar]), min(bottom, close[bar])
    return highest, lowest, top, bottom


@_compiled
def _order_at(signal, bar, border):
    """What was ordered at the close before a bar: 0 nothing, ±1 an entry, 2 the end of everything."""
    if bar < 2:
        return 0  # the first signal is never seen
    if border >= 0 and bar - 1 >= border:
        return 2 if bar - 1 == border else 0
    return 0 if signal[bar - 1] == 0 else 1 if signal[bar - 1] == 1 else -1


@_compiled
def sweep_lanes(
    open_, high, low, close, stretches, extremes, sets, costs, policy, times, day_ends, sums, returns, redo
):
    """Replay up to `LANES` parameter sets of stops and targets at once; mark in ``redo`` those left to `single`."""
    bars = len(close)
    count = len(sets)
    rate = costs[TAKER]
    state = np.zeros(len(_ROWS) * LANES)
    flags, gathered = np.zeros(LANES, dtype=np.int64), np.zeros(LANES + 1, dtype=np.int64)
    days = np.empty((len(day_ends), LANES))
    padded = min(LANES, (count + 7) // 8 * 8)  # a vector takes eight
    width = np.uint64(padded)
    for place in range(padded):
        lane = np.uint64(place)
        chosen = sets[min(place, count - 1)]
        state[_CASH + lane] = state[_PEAK + lane] = state[_TROUGH + lane] = costs[CASH]
        state[_LOW + lane], state[_HIGH + lane] = -np.inf, np.inf
        state[_LEVERAGE + lane] = 1.0 / (1.0 / chosen[LEVERAGE])
        state[_LONG_LOW + lane] = -np.inf if math.isnan(chosen[STOP_LONG]) else 1.0 - chosen[STOP_LONG]
        state[_LONG_HIGH + lane] = np.inf if math.isnan(chosen[TAKE_LONG]) else 1.0 + chosen[TAKE_LONG]
        state[_SHORT_LOW + lane] = -np.inf if math.isnan(chosen[TAKE_SHORT]) else 1.0 - chosen[TAKE_SHORT]
        state[_SHORT_HIGH + lane] = np.inf if math.isnan(chosen[STOP_SHORT]) else 1.0 + chosen[STOP_SHORT]
        state[_BEST + lane], state[_WORST + lane] = -np.inf, np.inf
        state[_PRODUCT + lane] = state[_ENTRY_PRICE + lane] = 1.0
    if day_ends[0] == 0:
        days[0, :] = costs[CASH]
    for row in range(len(stretches)):
        first, last, order, day = stretches[row]
        if order != 0:
            wanted = 0.0 if order == 2 else float(order)
            every = policy == EXCLUSIVE or order == 2
            _trade(state, width, open_[first], close[first - 1], wanted, every, float(first), float(times[first]), rate)
        highest, lowest, top, bottom = extremes[row]
        if first == last or _stretch(state, width, highest, lowest, top, bottom, float(last)):
            part = first
            while part <= last:
                end = min(part + SHORTER_STRETCH - 1, last)
                highest, lowest, top, bottom = _extremes(high, low, close, part, end)
                if part == end or _stretch(state, width, highest, lowest, top, bottom, float(end)):
                    for bar in range(part, end + 1):
                        _bar(
                            state,
                            width,
                            flags,
                            gathered,
                            open_[bar],
                            high[bar],
                            low[bar],
                            close[bar],
                            float(bar),
                            times,
                            rate,
                        )
                part = end + 1
        if day >= 0:
            closed = close[last]
            ends = days[day]
            for lane in range(width):
                worth = state[_CASH + lane] + (closed * state[_SIZE + lane] - state[_BASIS + lane])
                ends[lane] = worth
                product = state[_PRODUCT + lane]
                if not 1e-100 < product < 1e100 and product > 0.0:
                    state[_LOGARITHM + lane] += math.log(product)
                    state[_PRODUCT + lane] = 1.0
    for place in range(count):
        lane = np.uint64(place)
        redo[place] = _conclude(state, lane, close[bars - 1], bars - 1, times, sums[place])
    _summarise_lane_days(days, width, sums)
    for place in range(count):
        for day in range(returns.shape[1]):
            returns[place, day] = days[day + 1, place]


@_compiled
def _conclude(state, lane, closed, last, times, sums):
    """Write the `SUMS` of a lane, those of days apart; return whether it has to be done again by `single`."""
    worth = state[_CASH + lane] + (closed * state[_SIZE + lane] - state[_BASIS + lane])
    sums[LAST_DRAWDOWN] = 0.0
    if worth < state[_PEAK + lane]:
        sums[LAST_DRAWDOWN] = 1.0 - worth / state[_PEAK + lane]
        if last > state[_PEAK_BAR + lane] + 1.0:
            _recover(state, lane, last, times)
        state[_DEEPEST + lane] = max(state[_DEEPEST + lane], sums[LAST_DRAWDOWN])
    trades, pnl = state[_TRADES + lane], state[_PNL + lane]
    squares = state[_PNL_SQUARES + lane]
    spread = squares - pnl * pnl / trades if trades > 0.0 else 0.0
    blurred = trades > 1.0 and spread < 1e-6 * squares
    sums[EQUITY_FINAL], sums[EQUITY_PEAK] = worth, max(worth, state[_PEAK + lane])
    sums[MAX_DRAWDOWN] = state[_DEEPEST + lane]
    sums[DRAWDOWN_SUM], sums[DRAWDOWN_COUNT] = state[_FALLS + lane], state[_FALL_COUNT + lane]
    sums[DRAWDOWN_DURATION_SUM] = state[_FALL_TIME + lane]
    sums[DRAWDOWN_DURATION_MAX] = state[_FALL_LONGEST + lane]
    sums[TRADES], sums[WINS], sums[LOSSES] = trades, state[_WINS + lane], state[_LOSSES + lane]
    sums[PNL_MEAN] = pnl / trades if trades > 0.0 else 0.0
    sums[PNL_SQUARES] = spread
    sums[PNL_WON], sums[PNL_LOST] = state[_PNL_WON + lane], pnl - state[_PNL_WON + lane]
    sums[RETURN_SUM] = state[_RETURNS + lane]
    sums[RETURN_WON], sums[RETURN_LOST] = state[_WON + lane], state[_RETURNS + lane] - state[_WON + lane]
    sums[RETURN_BEST], sums[RETURN_WORST] = state[_BEST + lane], state[_WORST + lane]
    sums[RETURN_LOG] = state[_LOGARITHM + lane] + math.log(max(state[_PRODUCT + lane], 1e-300))
    sums[DURATION_SUM], sums[DURATION_MAX] = state[_DURATION + lane], state[_LONGEST + lane]
    sums[BARS_HELD], sums[COMMISSION_SUM] = state[_HELD + lane], state[_COMMISSION + lane]
    ruined = state[_DEEPEST + lane] >= 1.0 or state[_WORST + lane] <= -1.0
    return state[_REDO + lane] != 0.0 or blurred or ruined


@_compiled
def _summarise_lane_days(days, width, sums):
    """Do for all lanes what `_summarise_days` does for one; a ruined lane is done again anyway.

    The changes take the place of the equity at the end of their day.
    """
    changes = len(days) - 1
    if changes < 1:
        for place in range(len(sums)):
            sums[place, DAY_CHANGES] = changes
            sums[place, DAY_MEAN] = sums[place, DAY_LOG] = math.nan
            sums[place, DAY_VARIANCE] = sums[place, DAY_DOWNSIDE] = math.nan
        return
    moments = np.zeros(3 * LANES)
    mean, below, spread = moments[:LANES], moments[LANES : 2 * LANES], moments[2 * LANES :]
    for day in range(changes, 0, -1):  # backwards, so that a change can take the place of its equity
        now, before = days[day], days[day - 1]
        for lane in range(width):
            now[lane] = now[lane] / before[lane] - 1.0
    first = days[0]
    for day in range(1, changes + 1):
        now = days[day]
        for lane in range(width):
            fall = now[lane] if now[lane] < 0.0 else 0.0
            mean[lane] += now[lane]
            below[lane] += fall * fall
    for lane in range(width):
        mean[lane] /= changes
    for day in range(1, changes + 1):
        now = days[day]
        for lane in range(width):
            spread[lane] += (mean[lane] - now[lane]) * (mean[lane] - now[lane])
    for place in range(len(sums)):
        sums[place, DAY_CHANGES], sums[place, DAY_MEAN] = changes, mean[place]
        sums[place, DAY_LOG] = math.log(sums[place, EQUITY_FINAL] / first[place]) / changes
        sums[place, DAY_VARIANCE] = spread[place] / (changes - 1) if changes > 1 else math.nan
        sums[place, DAY_DOWNSIDE] = below[place] / changes
