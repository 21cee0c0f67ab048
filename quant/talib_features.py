"""The feature set of the CNN article: ``ta193``, by TA-Lib as the article computes it.

To add a feature, write a function here under the set's ``feature`` decorator; its column, its docs row and its generic
tests follow. The scale-free twin is in ``talib_relative_features.py``.

The number in a column's name is the article's ``period``, which is not always the indicator's own: ``ema_6`` spans 12
bars. Columns are in the article's order, since neighbours matter to a convolution.
"""

import numpy as np
import talib

from quant.feature_registry import Candles, Start, Values, cumulative, feature_set, finite, recursive, running, shifted

PERIODS = (6, 8, 10, 12, 14, 16, 18, 22, 26, 33, 44, 55)
FAST_EXTRA, SLOW_EXTRA, SIGNAL_EXTRA = 12, 26, 9
SHORT_EXTRA, LONG_EXTRA = 5, 35
RETURN_BARS = 2
ACCELERATION, LARGEST_ACCELERATION = 0.02, 0.2
PRICE = "quote currency"
CHANGE = {"roc_{period}": ("percent", "change of close over {period} bars")}
RETURNS = {"returns": ("fraction", f"return of close over {RETURN_BARS} bars")}
RANGE = {"range": ("fraction", "high over low, less 1")}
VOLATILITY = {"volatility": ("fraction", "standard deviation (ddof 1) of the last two values of returns")}

ta193 = feature_set(
    "ta193",
    "The CNN article's 187 TA-Lib indicators and six input columns, in price and volume units",
    missing="refuse",
)


def span_memory(span: int) -> float:
    """Weight of the past in one step of an exponential mean over ``span`` bars."""
    return 1 - 2 / (span + 1)


def range_start(period: int) -> Start:
    """Start of ATR(p)."""
    return recursive(period, 1 - 1 / period)


def mean_start(period: int) -> Start:
    """Start of EMA(2p)."""
    return recursive(2 * period - 1, span_memory(2 * period))


def macd_start(period: int) -> Start:
    """Start of MACD(p + 12, p + 26, p + 9), whose line TA-Lib withholds until it has the signal."""
    slow, signal = period + SLOW_EXTRA, period + SIGNAL_EXTRA
    return recursive(slow + signal - 2, span_memory(slow), span_memory(signal))


def strength_start(period: int) -> Start:
    """Start of RSI(p / 2)."""
    return recursive(period // 2, 1 - 1 / (period // 2))


# Two starts meet again once both have turned on the same bar; nothing bounds when. The longest of 3,720 pairs on real
# bars was 200 rows.
REVERSAL_START = Start("recursive", 1, 1000, 1e-6)


@ta193.feature(
    {
        "open": (PRICE, "first price of the bar"),
        "high": (PRICE, "highest price of the bar"),
        "low": (PRICE, "lowest price of the bar"),
        "adj_close": (PRICE, "close again: the article has it twice"),
        "volume": ("base currency", "volume of the bar"),
        "close": (PRICE, "last price of the bar"),
    },
    start=finite(0),
)
def inputs(candles: Candles) -> tuple[Values, ...]:
    """The article's input columns."""
    return candles.open, candles.high, candles.low, candles.close, candles.volume, candles.close


@ta193.feature({"atr_{period}": (PRICE, "average true range, {period} bars")}, periods=PERIODS, start=range_start)
def average_true_range(candles: Candles, period: int) -> Values:
    """ATR(p)."""
    result: Values = talib.ATR(candles.high, candles.low, candles.close, period)
    return result


@ta193.feature(
    {"ema_{period}": (PRICE, "exponential mean of close, 2 × {period} bars")}, periods=PERIODS, start=mean_start
)
def exponential_mean(candles: Candles, period: int) -> Values:
    """EMA(2p)."""
    result: Values = talib.EMA(candles.close, 2 * period)
    return result


@ta193.feature(
    {"rsi_{period}": ("points", "relative strength index, {period} / 2 bars, rounded down")},
    periods=PERIODS,
    start=strength_start,
)
def strength(candles: Candles, period: int) -> Values:
    """RSI(p / 2)."""
    result: Values = talib.RSI(candles.close, period // 2)
    return result


@ta193.feature(
    {"vwap_{period}": (PRICE, "typical price weighted by volume, {period} bars; NaN without volume")},
    periods=PERIODS,
    start=lambda period: running(period - 1),
)
def volume_weighted_price(candles: Candles, period: int) -> Values:
    """VWAP(p) of the typical price."""
    volume = talib.SUM(candles.volume, period)
    if not candles.volume.all():
        # Running sums leave a residue of rounding where every volume of the window is 0.
        volume[talib.MAX(candles.volume, period) == 0] = np.nan
    result: Values = talib.SUM(candles.turnover, period) / volume
    return result


@ta193.feature(CHANGE, periods=PERIODS, start=finite)
def rate_of_change(candles: Candles, period: int) -> Values:
    """ROC(p)."""
    result: Values = talib.ROC(candles.close, period)
    return result


@ta193.feature(
    {
        "ema_high_{period}": (PRICE, "exponential mean of high, 2 × {period} bars; the article's KC_upper"),
        "ema_low_{period}": (PRICE, "exponential mean of low, 2 × {period} bars; the article's KC_middle"),
    },
    periods=PERIODS,
    start=mean_start,
)
def exponential_channel(candles: Candles, period: int) -> tuple[Values, Values]:
    """EMA(2p) of high and of low."""
    return talib.EMA(candles.high, 2 * period), talib.EMA(candles.low, 2 * period)


@ta193.feature(
    {
        "donchian_upper_{period}": (PRICE, "highest high of {period} bars"),
        "donchian_lower_{period}": (PRICE, "lowest low of {period} bars"),
    },
    periods=PERIODS,
    start=lambda period: finite(period - 1),
)
def donchian_channel(candles: Candles, period: int) -> tuple[Values, Values]:
    """Rolling extremes over p bars."""
    return talib.MAX(candles.high, period), talib.MIN(candles.low, period)


@ta193.feature(
    {
        "macd_{period}": (PRICE, "MACD line ({period} + 12, {period} + 26)"),
        "macd_signal_{period}": (PRICE, "signal of macd_{period}, {period} + 9 bars"),
    },
    periods=PERIODS,
    start=macd_start,
)
def macd(candles: Candles, period: int) -> tuple[Values, Values]:
    """MACD(p + 12, p + 26, p + 9) line and signal."""
    line, signal, _ = talib.MACD(candles.close, period + FAST_EXTRA, period + SLOW_EXTRA, period + SIGNAL_EXTRA)
    return line, signal


@ta193.feature(
    {
        "bollinger_upper_{period}": (PRICE, "upper Bollinger band ({period} / 2 rounded down, 2)"),
        "bollinger_middle_{period}": (PRICE, "middle of the same"),
        "bollinger_lower_{period}": (PRICE, "lower Bollinger band of the same"),
    },
    periods=PERIODS,
    start=lambda period: running(period // 2 - 1),
)
def bollinger(candles: Candles, period: int) -> tuple[Values, Values, Values]:
    """Bollinger bands (p / 2, 2)."""
    upper, middle, lower = talib.BBANDS(candles.close, period // 2, 2.0, 2.0)
    return upper, middle, lower


@ta193.feature(
    {"ewo_{period}": (PRICE, "Elliott wave oscillator: means of close over {period} + 5 less {period} + 35 bars")},
    periods=PERIODS,
    start=lambda period: running(period + LONG_EXTRA - 1),
)
def wave_oscillator(candles: Candles, period: int) -> Values:
    """SMA(p + 5) − SMA(p + 35)."""
    difference: Values = talib.SMA(candles.close, period + SHORT_EXTRA) - talib.SMA(candles.close, period + LONG_EXTRA)
    return difference


@ta193.feature(RETURNS, start=finite(RETURN_BARS))
def returns(candles: Candles) -> Values:
    """Return over two bars."""
    return candles.close / shifted(candles.close, RETURN_BARS) - 1


@ta193.feature(RANGE, start=finite(0))
def high_over_low(candles: Candles) -> Values:
    """Range of the bar."""
    return candles.high / candles.low - 1


@ta193.feature(VOLATILITY, start=finite(RETURN_BARS + 1))
def volatility(candles: Candles) -> Values:
    """Standard deviation of two returns, which is their distance over √2."""
    values = returns(candles)
    result: Values = np.abs(values - shifted(values, 1)) / np.sqrt(2)
    return result


@ta193.feature({"obv": ("base currency", "on-balance volume since the first bar")}, start=cumulative(0))
def on_balance_volume(candles: Candles) -> Values:
    """OBV, which begins with the first bar's volume."""
    result: Values = talib.OBV(candles.close, candles.volume)
    return result


@ta193.feature({"adl": ("base currency", "accumulation/distribution line since the first bar")}, start=cumulative(0))
def accumulation_distribution(candles: Candles) -> Values:
    """Accumulation/distribution line."""
    result: Values = talib.AD(candles.high, candles.low, candles.close, candles.volume)
    return result


@ta193.feature(
    {"stochastic_k": ("percent", "slow stochastic %K (5, 3); 0 where the price has not moved")}, start=running(8)
)
def stochastic(candles: Candles) -> Values:
    """Slow %K of TA-Lib's STOCH(5, 3, 3), which withholds it until it has %D."""
    result: Values = talib.STOCH(candles.high, candles.low, candles.close)[0]
    return result


@ta193.feature(
    {"psar": (PRICE, f"parabolic stop and reverse ({ACCELERATION}, {LARGEST_ACCELERATION})")}, start=REVERSAL_START
)
def parabolic(candles: Candles) -> Values:
    """Parabolic SAR(0.02, 0.2)."""
    result: Values = talib.SAR(candles.high, candles.low, ACCELERATION, LARGEST_ACCELERATION)
    return result
