"""The scale-free twin of the CNN article's feature set: ``ta193_relative``.

Every column is the same for prices times a constant and volumes times another, stays finite, and forgets what lies
further back than its declared start: levels become fractions of the close, running totals become shares of a window's
volume, and where TA-Lib carries a sum along each window is summed afresh. A column that was free of scale already
keeps its name.

To add a feature, write a function here under the set's ``feature`` decorator; its column, its docs row and its generic
tests follow.
"""

import numpy as np
import talib

from quant import talib_features
from quant.feature_registry import Candles, Values, feature_set, finite
from quant.indicators import log_volume_ratio, ratio, strength_index, window_bands, window_sum
from quant.talib_features import LONG_EXTRA, PERIODS, RETURN_BARS, SHORT_EXTRA

FLOW_WINDOW = 20
RANGE_WINDOW, SMOOTHING = 5, 3
DISTANCE = "fraction of close"

ta193_relative = feature_set(
    "ta193_relative",
    "The CNN article's indicators without price and volume units, so that tickers can be compared",
    missing="refuse",
)


def _distance(level: Values, candles: Candles) -> Values:
    return level / candles.close - 1


@ta193_relative.feature(
    {
        "open_relative": (DISTANCE, "open over close, less 1"),
        "high_relative": (DISTANCE, "high over close, less 1"),
        "low_relative": (DISTANCE, "low over close, less 1"),
    },
    start=finite(0),
)
def relative_prices(candles: Candles) -> tuple[Values, ...]:
    """The bar's prices against its close."""
    return _distance(candles.open, candles), _distance(candles.high, candles), _distance(candles.low, candles)


@ta193_relative.feature({"close_relative": ("fraction", "close over the close before, less 1")}, start=finite(1))
def relative_close(candles: Candles) -> Values:
    """Return of one bar."""
    return candles.close / candles.previous_close - 1


@ta193_relative.feature(
    {"volume_relative": ("logarithm", f"volume over the mean of {FLOW_WINDOW} bars before, cut to 1/1000 … 1000")},
    start=finite(FLOW_WINDOW),
)
def relative_volume(candles: Candles) -> Values:
    """Log of volume against its recent mean."""
    return log_volume_ratio(candles.volume, FLOW_WINDOW)


@ta193_relative.feature(
    {"atr_{period}_relative": (DISTANCE, "atr_{period} over close")},
    periods=PERIODS,
    start=talib_features.range_start,
)
def relative_range(candles: Candles, period: int) -> Values:
    """ATR(p) over close."""
    return talib_features.average_true_range(candles, period) / candles.close


@ta193_relative.feature(
    {"ema_{period}_relative": (DISTANCE, "ema_{period} over close, less 1")},
    periods=PERIODS,
    start=talib_features.mean_start,
)
def relative_exponential_mean(candles: Candles, period: int) -> Values:
    """EMA(2p) against close."""
    return _distance(talib_features.exponential_mean(candles, period), candles)


@ta193_relative.feature(
    {"rsi_{period}_relative": ("points", "rsi_{period}, but 50 where the close has long stood still")},
    periods=PERIODS,
    start=talib_features.strength_start,
)
def relative_strength(candles: Candles, period: int) -> Values:
    """RSI(p / 2)."""
    return strength_index(candles.close, period // 2)


@ta193_relative.feature(
    {"vwap_{period}_relative": (DISTANCE, "vwap_{period} over close, less 1; 0 without volume")},
    periods=PERIODS,
    start=lambda period: finite(period - 1),
)
def relative_volume_weighted_price(candles: Candles, period: int) -> Values:
    """VWAP(p) against close."""
    volume = window_sum(candles.volume, period)
    price = ratio(window_sum(candles.turnover, period), volume, np.nan)
    return np.where(volume == 0, 0.0, _distance(price, candles))


ta193_relative.feature(talib_features.CHANGE, periods=PERIODS, start=finite)(talib_features.rate_of_change)


@ta193_relative.feature(
    {
        "ema_high_{period}_relative": (DISTANCE, "ema_high_{period} over close, less 1"),
        "ema_low_{period}_relative": (DISTANCE, "ema_low_{period} over close, less 1"),
    },
    periods=PERIODS,
    start=talib_features.mean_start,
)
def relative_exponential_channel(candles: Candles, period: int) -> tuple[Values, ...]:
    """EMA(2p) of high and of low against close."""
    return tuple(_distance(level, candles) for level in talib_features.exponential_channel(candles, period))


@ta193_relative.feature(
    {
        "donchian_upper_{period}_relative": (DISTANCE, "donchian_upper_{period} over close, less 1"),
        "donchian_lower_{period}_relative": (DISTANCE, "donchian_lower_{period} over close, less 1"),
    },
    periods=PERIODS,
    start=lambda period: finite(period - 1),
)
def relative_donchian_channel(candles: Candles, period: int) -> tuple[Values, ...]:
    """Rolling extremes against close."""
    return tuple(_distance(level, candles) for level in talib_features.donchian_channel(candles, period))


@ta193_relative.feature(
    {
        "macd_{period}_relative": (DISTANCE, "macd_{period} over close"),
        "macd_signal_{period}_relative": (DISTANCE, "macd_signal_{period} over close"),
    },
    periods=PERIODS,
    start=talib_features.macd_start,
)
def relative_macd(candles: Candles, period: int) -> tuple[Values, ...]:
    """MACD line and signal over close."""
    return tuple(level / candles.close for level in talib_features.macd(candles, period))


@ta193_relative.feature(
    {
        "bollinger_upper_{period}_relative": (DISTANCE, "bollinger_upper_{period} over close, less 1"),
        "bollinger_middle_{period}_relative": (DISTANCE, "bollinger_middle_{period} over close, less 1"),
        "bollinger_lower_{period}_relative": (DISTANCE, "bollinger_lower_{period} over close, less 1"),
    },
    periods=PERIODS,
    start=lambda period: finite(period // 2 - 1),
)
def relative_bollinger(candles: Candles, period: int) -> tuple[Values, ...]:
    """Bollinger bands (p / 2, 2) against close, with TA-Lib's ddof 0."""
    middle, deviation = window_bands(candles.close, period // 2, 0)
    return tuple(_distance(level, candles) for level in (middle + 2 * deviation, middle, middle - 2 * deviation))


@ta193_relative.feature(
    {"ewo_{period}_relative": (DISTANCE, "ewo_{period} over close")},
    periods=PERIODS,
    start=lambda period: finite(period + LONG_EXTRA - 1),
)
def relative_wave_oscillator(candles: Candles, period: int) -> Values:
    """SMA(p + 5) − SMA(p + 35) over close."""
    short, long = period + SHORT_EXTRA, period + LONG_EXTRA
    return (window_sum(candles.close, short) / short - window_sum(candles.close, long) / long) / candles.close


ta193_relative.feature(talib_features.RETURNS, start=finite(RETURN_BARS))(talib_features.returns)
ta193_relative.feature(talib_features.RANGE, start=finite(0))(talib_features.high_over_low)
ta193_relative.feature(talib_features.VOLATILITY, start=finite(RETURN_BARS + 1))(talib_features.volatility)


@ta193_relative.feature(
    {"obv_relative": ("share", f"volume of rising less falling closes over all, {FLOW_WINDOW} bars; 0 without volume")},
    start=finite(FLOW_WINDOW),
)
def relative_balance(candles: Candles) -> Values:
    """On-balance volume gained over a window as a share of its volume, −1 to 1."""
    flow = np.sign(candles.close - candles.previous_close) * candles.volume
    return ratio(window_sum(flow, FLOW_WINDOW), window_sum(candles.volume, FLOW_WINDOW), 0.0)


@ta193_relative.feature(
    {"adl_relative": ("share", f"Chaikin money flow, {FLOW_WINDOW} bars; 0 without volume")},
    start=finite(FLOW_WINDOW - 1),
)
def relative_money_flow(candles: Candles) -> Values:
    """Accumulation/distribution gained over a window as a share of its volume, −1 to 1."""
    place = ratio(2 * candles.close - candles.low - candles.high, candles.high - candles.low, 0.0)
    flow = window_sum(place * candles.volume, FLOW_WINDOW)
    return ratio(flow, window_sum(candles.volume, FLOW_WINDOW), 0.0)


@ta193_relative.feature(
    {"stochastic_k_relative": ("percent", "stochastic_k, but a bar counts as 50 where the price has not moved")},
    start=finite(RANGE_WINDOW + SMOOTHING - 2),
)
def relative_stochastic(candles: Candles) -> Values:
    """Slow stochastic %K (5, 3)."""
    lowest = talib.MIN(candles.low, RANGE_WINDOW)
    place = ratio(candles.close - lowest, talib.MAX(candles.high, RANGE_WINDOW) - lowest, 0.5)
    return 100 * window_sum(place, SMOOTHING) / SMOOTHING


@ta193_relative.feature({"psar_relative": (DISTANCE, "psar over close, less 1")}, start=talib_features.REVERSAL_START)
def relative_parabolic(candles: Candles) -> Values:
    """Parabolic SAR against close."""
    return _distance(talib_features.parabolic(candles), candles)
