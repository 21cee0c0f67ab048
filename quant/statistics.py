"""How sure one can be of a performance: Sharpe ratios, their sampling error, and many of them at once.

Returns are simple returns of equal periods, days unless said otherwise. Figures that the data cannot support are NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

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
    ratio, error = sharpe(returns, periods), sharpe_error(returns, periods)
    return float(ndtr((ratio - benchmark) / error))


def sharpe_error(returns: ArrayLike, periods: int = DAYS) -> float:
    """Return the standard error of the annualised Sharpe ratio, for the skewness and tails that the returns show.

    Source: as :func:`probabilistic_sharpe`, which is the normal distribution's value at the ratio's distance from the
    benchmark in these units. NaN where that is.

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
    return float(np.sqrt(variance * periods / (len(values) - 1))) if variance > 0 else float("nan")


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
