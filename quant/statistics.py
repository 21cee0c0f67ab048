"""How sure one can be of a performance: Sharpe ratios, their sampling error, and many of them at once.

Returns are simple returns of equal periods, days unless said otherwise. Figures that the data cannot support are NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]

DAYS = 365
"""Periods a year of daily returns in a market that never closes."""

_LEAST_RETURNS = 3
_ROUNDING = 1e-12


class StatisticsError(ValueError):
    """Values from which no statistic can be computed."""


def sharpe(returns: ArrayLike, periods: int = DAYS) -> float:
    """Annualised Sharpe ratio: mean over standard deviation (ddof 1), times the root of the periods a year.

    The riskless rate counts as 0. NaN for fewer than three returns or for returns without spread.

    Raises
    ------
    StatisticsError
        If the returns are not one-dimensional or not finite.
    """
    values = _returns(returns)
    if not _usable(values):
        return float("nan")
    return float(values.mean() / values.std(ddof=1) * np.sqrt(periods))


def probabilistic_sharpe(returns: ArrayLike, benchmark: float = 0.0, periods: int = DAYS) -> float:
    """Probability that the true Sharpe ratio exceeds a benchmark, for the skewness and tails that the returns show.

    Source: Bailey and López de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15 (2012), equation 11.
    NaN for fewer than three returns, for returns without spread, and where the estimated variance of the Sharpe
    ratio is not positive.

    Parameters
    ----------
    benchmark
        Annualised Sharpe ratio.

    Raises
    ------
    StatisticsError
        If the returns are not one-dimensional or not finite.
    """
    values = _returns(returns)
    if not _usable(values):
        return float("nan")
    ratio = values.mean() / values.std(ddof=1)
    standard = (values - values.mean()) / values.std()
    variance = 1 - np.mean(standard**3) * ratio + (np.mean(standard**4) - 1) / 4 * ratio**2
    if not variance > 0:
        return float("nan")
    distance = (ratio - benchmark / np.sqrt(periods)) * np.sqrt(len(values) - 1)
    return float(norm.cdf(distance / np.sqrt(variance)))


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Smallest false discovery rates at which each hypothesis is rejected (q-values), in the order given.

    Source: Benjamini and Hochberg, "Controlling the False Discovery Rate", Journal of the Royal Statistical
    Society B 57 (1995), for independent or positively dependent tests.

    Raises
    ------
    StatisticsError
        If the p-values are not one-dimensional, or one is not within 0 … 1.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise StatisticsError(f"p-values must be a list of numbers within 0 … 1, not {_excerpt(values)}")
    count = len(values)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * count / np.arange(1, count + 1)
    rates = np.empty(count)
    rates[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return rates


def bootstrap_sharpe(
    returns: ArrayLike,
    *,
    block: int = 10,
    resamples: int = 1000,
    level: float = 0.90,
    seed: int = 0,
    periods: int = DAYS,
) -> tuple[float, float]:
    """Interval of the annualised Sharpe ratio by the circular block bootstrap.

    Blocks of neighbouring returns are drawn with replacement, so that what one day owes to the day before survives.
    Source: Politis and Romano, "A circular block-resampling procedure for stationary data" (1992); percentile interval.

    Parameters
    ----------
    block
        Returns a block; cut to the number of returns.
    level
        Share of the resamples within the interval: 0.90 gives the 5 % and the 95 % point.
    seed
        Equal seeds give equal intervals.

    Returns
    -------
    Lower and upper bound; NaN where the Sharpe ratio is NaN.

    Raises
    ------
    StatisticsError
        If the returns are not one-dimensional or not finite, or an option is out of range.
    """
    if block < 1 or resamples < 1 or not 0 < level < 1:
        raise StatisticsError(
            f"a bootstrap needs block ≥ 1, resamples ≥ 1 and 0 < level < 1, not {block}, {resamples} and {level}"
        )
    values = _returns(returns)
    if not _usable(values):
        return float("nan"), float("nan")
    drawn = _circular_blocks(values, min(block, len(values)), resamples, seed)
    deviation = drawn.std(axis=1, ddof=1)
    # a resample may hold nothing but one repeated value
    proper = deviation > _ROUNDING * np.abs(drawn).max(axis=1)
    ratios = drawn[proper].mean(axis=1) / deviation[proper] * np.sqrt(periods)
    if not len(ratios):
        return float("nan"), float("nan")
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def max_drawdown(equity: ArrayLike) -> float:
    """Largest fall of equity from an earlier peak, as a negative fraction; 0 where it never falls.

    Raises
    ------
    StatisticsError
        If the equity is empty, not one-dimensional, not finite, or does not start above 0.
    """
    values = _returns(equity)
    if not len(values) or not values[0] > 0:
        raise StatisticsError(f"equity must start above 0, not {_excerpt(values)}")
    return float((values / np.maximum.accumulate(values) - 1).min())


def _circular_blocks(values: Floats, block: int, resamples: int, seed: int) -> Floats:
    """Return resamples × len(values)."""
    count = len(values)
    blocks = -(-count // block)
    starts = np.random.default_rng(seed).integers(0, count, (resamples, blocks, 1))
    positions = (starts + np.arange(block)).reshape(resamples, -1)[:, :count] % count
    resampled: Floats = values[positions]
    return resampled


def _returns(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise StatisticsError(f"a series must be one-dimensional and finite, not {_excerpt(array)}")
    return array


def _usable(values: Floats) -> bool:
    # what rounding leaves of a constant is no spread
    return len(values) >= _LEAST_RETURNS and bool(values.std() > _ROUNDING * np.abs(values).max())


def _excerpt(values: Floats) -> str:
    return f"{np.array2string(values.ravel()[:5], precision=6)} … of shape {values.shape}"
