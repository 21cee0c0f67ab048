"""Compiled kernels behind the features: arrays in, arrays of the same length out.

Two families of kernels. ``pandas_*`` repeat the arithmetic of pandas 3.1 operation by operation (compensated running
sums, Welford updates), rounding included, because the reference of ``pattern8`` is computed with pandas and values next
to 0 amplify any other rounding. The others sum each window afresh, so that no value remembers more than its window.
Below them are the scale-free forms that both relative sets use.

All compiled functions stay in this file: the compiler's cache does not notice an edit of one that lives elsewhere.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from quant.feature_registry import Values, shifted

LARGEST_VOLUME_RATIO = 1000.0
NEGLIGIBLE = 1e-12
ILL_CONDITIONED = 1e3 * float(np.finfo(np.float64).eps)

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile on first use and keep the machine code on disk; the types of the function are those it declares."""
    return cast(Kernel, numba.njit(cache=True)(function))


@compiled
def _weight_of(alpha: float) -> float:
    """Weight of a new value; pandas turns alpha into a centre of mass and back, which moves the last bit."""
    return 1.0 / (1.0 + (1.0 - alpha) / alpha)


@compiled
def _advance(
    mean: float, old_weight: float, value: float, weight: float, new_weight: float, adjust: bool
) -> tuple[float, float]:
    """One step of pandas' exponential mean: the mean and the weight of the past."""
    if mean != mean:
        return value, old_weight
    old_weight *= 1.0 - weight
    if value == value:
        divisor = old_weight + new_weight
        if mean != value:
            mean = old_weight * mean + new_weight * value
            # Dividing by 1 changes nothing but takes most of the time.
            if divisor != 1.0:
                mean /= divisor
        old_weight = divisor if adjust else 1.0
    return mean, old_weight


@compiled
def pandas_wilder_mean(values: Values, window: int) -> Values:
    """``Series.ewm(alpha=1 / window, min_periods=window, adjust=False).mean()``: NaN repeats the mean and ages it.

    Not for a window of 2, where pandas weighs the value after a NaN differently.
    """
    result = np.full(len(values), np.nan)
    weight = _weight_of(1.0 / window)
    mean, old_weight, seen = np.nan, 1.0, 0
    for row in range(len(values)):
        mean, old_weight = _advance(mean, old_weight, values[row], weight, weight, False)
        seen += values[row] == values[row]
        if seen >= window:
            result[row] = mean
    return result


@compiled
def pandas_strength_index(close: Values, window: int) -> Values:
    """RSI of Wilder means of gains and losses; an unknown change counts as none, as does the first."""
    result = np.full(len(close), np.nan)
    weight = _weight_of(1.0 / window)
    gain, loss, gain_weight, loss_weight = np.nan, np.nan, 1.0, 1.0
    for row in range(len(close)):
        change = close[row] - close[row - 1] if row > 0 else 0.0
        gain, gain_weight = _advance(gain, gain_weight, change if change > 0 else 0.0, weight, weight, False)
        loss, loss_weight = _advance(loss, loss_weight, -change if change < 0 else 0.0, weight, weight, False)
        if row >= window - 1:
            # numba refuses x / 0 where NumPy gives infinity or NaN.
            result[row] = np.divide(gain, loss)
    return 100 - 100 / (1 + result)


@compiled
def pandas_macd_difference(close: Values, fast: int, slow: int, signal: int) -> Values:
    """MACD line less its signal, each mean a ``Series.ewm(span=…).mean()``."""
    result = np.empty(len(close))
    fast_weight, slow_weight = 1.0 / (1.0 + (fast - 1) / 2), 1.0 / (1.0 + (slow - 1) / 2)
    signal_weight = 1.0 / (1.0 + (signal - 1) / 2)
    fast_mean, slow_mean, signal_mean = np.nan, np.nan, np.nan
    fast_past, slow_past, signal_past = 1.0, 1.0, 1.0
    for row in range(len(close)):
        fast_mean, fast_past = _advance(fast_mean, fast_past, close[row], fast_weight, 1.0, True)
        slow_mean, slow_past = _advance(slow_mean, slow_past, close[row], slow_weight, 1.0, True)
        line = fast_mean - slow_mean
        signal_mean, signal_past = _advance(signal_mean, signal_past, line, signal_weight, 1.0, True)
        result[row] = line - signal_mean
    return result


@compiled
def pandas_rolling_sum(values: Values, window: int) -> Values:
    """``Series.rolling(window).sum()`` by Kahan's compensated addition and removal."""
    result = np.full(len(values), np.nan)
    total, added, removed, seen, repeated, last = 0.0, 0.0, 0.0, 0, 0, np.nan
    for row in range(len(values)):
        if row >= window:
            leaving = values[row - window]
            if leaving == leaving:
                seen -= 1
                change = -leaving - removed
                raised = total + change
                removed = raised - total - change
                total = raised
        value = values[row]
        if value == value:
            seen += 1
            change = value - added
            raised = total + change
            added = raised - total - change
            total = raised
            repeated = repeated + 1 if value == last else 1
            last = value
        if row >= window - 1 and seen >= window:
            result[row] = last * window if repeated >= window else total
    return result


@compiled
def pandas_rolling_mean(values: Values, window: int) -> Values:
    """``Series.rolling(window).mean()`` of values that are not negative."""
    sums = pandas_rolling_sum(values, window)
    result = np.full(len(values), np.nan)
    repeated = 0
    for row in range(len(values)):
        repeated = repeated + 1 if row > 0 and values[row] == values[row - 1] else 1
        if sums[row] == sums[row]:
            # Rounding may leave a sum of positive values below 0; pandas cuts it there.
            result[row] = values[row] if repeated >= window else max(sums[row] / window, 0.0)
    return result


@compiled
def pandas_rolling_deviation(values: Values, window: int) -> Values:
    """``Series.rolling(window).std()`` (ddof 1) by Welford's updates with compensated means.

    As in pandas, a window is summed afresh once dropping a value leaves less than 2e-13 of the squares.
    """
    result = np.full(len(values), np.nan)
    mean, squares, added, removed, seen = 0.0, 0.0, 0.0, 0.0, 0
    for row in range(len(values)):
        first_to_add = row
        leaving = values[row - window] if row >= window else np.nan
        if leaving == leaving:
            seen -= 1
            if seen > 0:
                squares_before, before = squares, mean - removed
                change = leaving - removed
                step = change - mean
                removed = step + mean - change
                mean -= step / seen
                squares -= (leaving - before) * (leaving - mean)
                if squares_before * ILL_CONDITIONED > squares:
                    mean, squares, added, removed, seen = 0.0, 0.0, 0.0, 0.0, 0
                    first_to_add = row - window + 1
            else:
                mean, squares = 0.0, 0.0
        for entering in range(first_to_add, row + 1):
            value = values[entering]
            if value == value:
                seen += 1
                before = mean - added
                change = value - added
                step = change - mean
                added = step + mean - change
                mean += step / seen
                squares += (value - before) * (value - mean)
        if row >= window - 1 and seen >= window:
            result[row] = np.sqrt(max(squares, 0.0) / (window - 1))
    return result


@compiled
def pandas_balance_slope(close: Values, volume: Values, window: int) -> Values:
    """Least-squares slope a bar of on-balance volume over ``window`` rows, from pandas' running sums."""
    balance = np.zeros(len(close))
    for row in range(1, len(close)):
        flow = np.sign(close[row] - close[row - 1]) * volume[row]
        balance[row] = balance[row - 1] + (flow if flow == flow else 0.0)
    sums = pandas_rolling_sum(balance, window)
    sum_x = window * (window - 1) / 2
    sum_x_squared = (window - 1) * window * (2 * window - 1) / 6
    denominator = window * sum_x_squared - sum_x**2
    result = np.full(len(close), np.nan)
    for row in range(window - 1, len(close)):
        sum_xy = 0.0
        for step in range(window):
            sum_xy += balance[row - window + 1 + step] * step
        result[row] = (window * sum_xy - sum_x * sums[row]) / denominator
    return result


@compiled
def weighted_window_sum(values: Values, weights: Values) -> Values:
    """Sum of the last ``len(weights)`` rows, each times the weight of its age; NaN until there are as many."""
    window = len(weights)
    result = np.full(len(values), np.nan)
    if len(values) < window:
        return result
    total = values[window - 1 :] * weights[0]
    for age in range(1, window):
        earlier = values[window - 1 - age : len(values) - age]
        for row in range(len(total)):
            total[row] += earlier[row] * weights[age]
    result[window - 1 :] = total
    return result


@compiled
def window_deviation(values: Values, mean: Values, window: int, lost_freedom: int) -> Values:
    """Standard deviation of the last ``window`` rows about their ``mean``, with ddof ``lost_freedom``.

    A spread below 1e-12 of the mean is rounding and becomes 0.
    """
    result = np.full(len(values), np.nan)
    for row in range(window - 1, len(values)):
        squares = 0.0
        for step in range(window):
            squares += (values[row - step] - mean[row]) ** 2
        deviation = np.sqrt(squares / (window - lost_freedom))
        result[row] = deviation if deviation > NEGLIGIBLE * abs(mean[row]) else 0.0
    return result


@compiled
def wilder_mean(values: Values, period: int, first: int) -> Values:
    """Wilder's mean: that of ``period`` rows from row ``first`` on, then 1 / ``period`` of each new value."""
    result = np.full(len(values), np.nan)
    mean = 0.0
    for row in range(first, len(values)):
        if row < first + period:
            mean += values[row] / period
        else:
            mean = (mean * (period - 1) + values[row]) / period
        if row >= first + period - 1:
            result[row] = mean
    return result


def ratio(numerator: Values, denominator: Values, otherwise: float) -> Values:
    """Quotient, and ``otherwise`` where the denominator is 0; NaN stays NaN."""
    result = np.where(np.isnan(numerator), np.nan, otherwise)
    return np.divide(numerator, denominator, out=result, where=denominator != 0)


def window_sum(values: Values, window: int) -> Values:
    """Sum of the last ``window`` rows; NaN in the first ``window - 1``."""
    return weighted_window_sum(values, np.ones(window))


def window_bands(values: Values, window: int, lost_freedom: int) -> tuple[Values, Values]:
    """Mean and standard deviation (ddof ``lost_freedom``) of the last ``window`` rows."""
    mean = window_sum(values, window) / window
    return mean, window_deviation(values, mean, window, lost_freedom)


def strength_index(close: Values, period: int) -> Values:
    """Wilder's RSI, 0 to 100; 50 where the smoothed moves have died away (below 1e-12 of the close)."""
    change = np.diff(close, prepend=close[:1])
    gain = wilder_mean(np.maximum(change, 0.0), period, 1)
    moves = gain + wilder_mean(np.maximum(-change, 0.0), period, 1)
    alive = np.isnan(moves) | (moves > NEGLIGIBLE * close)
    return np.where(alive, 100 * ratio(gain, moves, 0.5), 50.0)


def log_volume_ratio(volume: Values, window: int) -> Values:
    """Natural logarithm of volume over the mean of the ``window`` rows before, the ratio cut to 1/1000 … 1000.

    A bar without volume counts as 1/1000; one after ``window`` bars without volume as 1000, or as 1 if it has none.
    """
    mean = shifted(window_sum(volume, window) / window, 1)
    quotient = ratio(volume, mean, LARGEST_VOLUME_RATIO)
    quotient[(volume == 0) & (mean == 0)] = 1.0
    result: Values = np.log(np.clip(quotient, 1 / LARGEST_VOLUME_RATIO, LARGEST_VOLUME_RATIO))
    return result
