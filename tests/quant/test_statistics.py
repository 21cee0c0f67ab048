"""Statistics against closed forms, simulations and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, kstest, norm

from quant.statistics import (
    StatisticsError,
    benjamini_hochberg,
    max_drawdown,
    probabilistic_sharpe,
    sharpe,
    sharpe_error,
)


def draws(count: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count) * 0.01 + mean


def test_sharpe_by_hand() -> None:
    # mean 0.01, deviation (ddof 1) 0.02
    assert sharpe([-0.01, 0.01, 0.03], periods=4) == pytest.approx(0.5 * 2)
    assert sharpe([-0.01, 0.01, 0.03]) == pytest.approx(0.5 * np.sqrt(365))


def test_sharpe_ignores_scale_and_turns_with_the_sign() -> None:
    returns = draws(200, 0.001)
    assert sharpe(returns * 7) == pytest.approx(sharpe(returns))
    assert sharpe(-returns) == pytest.approx(-sharpe(returns))


@pytest.mark.parametrize("returns", [[], [0.01], [0.01, 0.02], [0.0] * 10, [0.1] * 10, [-1e-9] * 50])
def test_too_little_to_tell_is_nan(returns: list[float]) -> None:
    assert np.isnan(sharpe(returns))
    assert np.isnan(probabilistic_sharpe(returns))
    assert np.isnan(sharpe_error(returns))


@pytest.mark.parametrize("function", [sharpe, probabilistic_sharpe, sharpe_error, max_drawdown])
@pytest.mark.parametrize("series", [[0.1, np.nan, 0.2, 0.3], [0.1, np.inf, 0.2, 0.3], [[0.1, 0.2], [0.3, 0.4]]])
def test_series_that_are_none_are_refused(function, series) -> None:
    with pytest.raises(StatisticsError, match="one-dimensional and finite"):
        function(series)


def test_probabilistic_sharpe_by_hand() -> None:
    # standardised: skewness 0, kurtosis 1.5, so that the variance is 1 + 0.125 ratio²
    returns = np.array([-1.0, 0.0, 1.0] * 10) + 0.2
    ratio = 0.2 / np.std(returns, ddof=1)
    expected = norm.cdf(ratio * np.sqrt(29) / np.sqrt(1 + 0.125 * ratio**2))
    assert probabilistic_sharpe(returns) == pytest.approx(expected, rel=1e-12)


def test_probabilistic_sharpe_of_the_observed_ratio_is_a_half() -> None:
    returns = draws(300, 0.001)
    assert probabilistic_sharpe(returns, benchmark=sharpe(returns)) == pytest.approx(0.5)
    assert probabilistic_sharpe(returns, benchmark=-1) > probabilistic_sharpe(returns) > 0.5


def test_sharpe_error_by_hand() -> None:
    # standardised: skewness 0, kurtosis 1.5, so that the variance is 1 + 0.125 ratio²
    even = np.array([-1.0, 0.0, 1.0] * 10) + 0.2
    ratio = 0.2 / np.std(even, ddof=1)
    assert sharpe_error(even, periods=7) == pytest.approx(np.sqrt((1 + 0.125 * ratio**2) * 7 / 29), rel=1e-12)
    # mean 0.5 and variance 0.75, or 1 with ddof 1; third moment 0.75, fourth 1.3125
    skewed = [0.0, 2.0, 0.0, 0.0]
    variance = 1 - 0.75 / 0.75**1.5 * 0.5 + (1.3125 / 0.75**2 - 1) / 4 * 0.5**2
    assert sharpe_error(skewed) == pytest.approx(np.sqrt(variance * 365 / 3), rel=1e-12)


@pytest.mark.parametrize("kind", ["normal", "long losses", "long gains"])
def test_sharpe_error_is_the_deviation_over_many_samples(kind: str) -> None:
    generator = np.random.default_rng(5)
    # at 0.25 a day a skewness of ±2 makes the error 0.78 or 1.25 of that of normal returns
    shape = (3_000, 500)
    samples = generator.standard_normal(shape) if kind == "normal" else generator.exponential(size=shape) - 1
    samples = (-samples if kind == "long losses" else samples) + 0.25
    deviation = np.std([sharpe(returns) for returns in samples])
    assert np.median([sharpe_error(returns) for returns in samples]) == pytest.approx(deviation, rel=0.1)


@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=40), st.floats(-3, 3), st.sampled_from([1, 252, 365]))
def test_probabilistic_sharpe_is_normal_in_standard_errors(
    returns: list[float], benchmark: float, periods: int
) -> None:
    expected = norm.cdf((sharpe(returns, periods) - benchmark) / sharpe_error(returns, periods))
    assert probabilistic_sharpe(returns, benchmark, periods) == pytest.approx(expected, nan_ok=True)


def test_losses_with_a_long_tail_count_against_a_strategy() -> None:
    skewed = -np.random.default_rng(1).exponential(0.01, 500)
    mirrored = -skewed
    centred = [values - values.mean() + 0.0008 for values in (skewed, mirrored)]
    assert probabilistic_sharpe(centred[0]) < probabilistic_sharpe(centred[1])


def test_p_values_of_nothing_are_uniform() -> None:
    generator = np.random.default_rng(2)
    p_values = [1 - probabilistic_sharpe(generator.standard_t(5, 400)) for _ in range(800)]
    assert kstest(p_values, "uniform").pvalue > 0.01
    # a wrong sign, a missing root or an annualised ratio would spread or gather them
    shifted = [1 - probabilistic_sharpe(generator.standard_t(5, 400) + 0.1) for _ in range(200)]
    assert kstest(shifted, "uniform").pvalue < 1e-6


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_q_values_equal_scipy(p_values: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p_values), false_discovery_control(p_values), rtol=1e-12)


def test_q_values_by_hand() -> None:
    np.testing.assert_allclose(benjamini_hochberg([0.04, 0.01, 0.03, 0.9]), [4 / 75, 0.04, 4 / 75, 0.9])
    assert benjamini_hochberg([]).shape == (0,)


@pytest.mark.parametrize("p_values", [[0.1, np.nan], [1.1], [-0.1], [[0.1]]])
def test_p_values_that_are_none_are_refused(p_values) -> None:
    with pytest.raises(StatisticsError, match="within 0 … 1"):
        benjamini_hochberg(p_values)


def test_max_drawdown_by_hand() -> None:
    assert max_drawdown([1.0, 2.0, 1.5, 3.0, 1.2, 2.0]) == pytest.approx(-0.6)
    assert max_drawdown([1.0, 1.0, 2.0]) == 0.0


@pytest.mark.parametrize("equity", [[], [0.0, 1.0], [-1.0, 2.0]])
def test_max_drawdown_needs_equity(equity: list[float]) -> None:
    with pytest.raises(StatisticsError, match="start above 0"):
        max_drawdown(equity)
