"""Statistics that count the search: what the best of many trials is worth once it is known how many there were.

A trial is one parameter set on one ticker. Matrices hold one row a trial and one column a period; returns are simple
returns of equal periods, days unless said otherwise. Figures that the data cannot support are NaN.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betainc, ndtri

from quant.statistics import DAYS, Floats, probabilistic_sharpe

Statistic = Literal["sharpe", "mean"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

_LEAST_RETURNS = 3
_LEAST_FOR_BLOCK_LENGTH = 20
_MOST_BLOCKS = 20
_ROUNDING = 1e-12
_STREAM = 2005
_CHUNK = 2**17  # numbers in one temporary array: 1 MiB, which a core keeps at hand


class SelectionError(ValueError):
    """Values or options from which no statistic of a selection can be computed."""


@dataclass(frozen=True, eq=False)
class Overfitting:
    """What :func:`probability_of_overfitting` finds.

    Attributes
    ----------
    probability
        Share of the splits whose best set in sample is no better than the median out of sample.
    probability_of_loss
        Share of the splits whose best set in sample has a negative Sharpe ratio out of sample.
    slope, intercept
        Least-squares line of ``out_of_sample`` over ``in_sample``: a slope below 0 says that the better a set looks
        in sample, the worse it does after.
    logits
        One a split, in the order of ``itertools.combinations`` over the blocks in sample: the logit of the relative
        rank out of sample of the best set in sample. NaN for splits in which no trial has a Sharpe ratio in sample.
    in_sample, out_of_sample
        Sharpe ratio a bar, not annualised, of the best set of each split; NaN where the logit is.
    candidates
        Trials compared: those with any spread in their returns.
    """

    probability: float
    probability_of_loss: float
    slope: float
    intercept: float
    logits: Floats
    in_sample: Floats
    out_of_sample: Floats
    candidates: int


@dataclass(frozen=True)
class SuperiorPredictiveAbility:
    """What :func:`superior_predictive_ability` finds.

    Attributes
    ----------
    statistic
        Largest studentised mean excess return over all candidates, at least 0.
    best
        Row of the candidate that has it.
    lower, consistent, upper
        P-values of the hypothesis that no candidate is better than the benchmark. ``consistent`` is the test's own;
        ``lower`` and ``upper`` bound it by leaving out poor candidates or keeping all of them.
    block_length
        Mean length of the blocks drawn.
    """

    statistic: float
    best: int
    lower: float
    consistent: float
    upper: float
    block_length: float


@dataclass(frozen=True)
class Interval:
    """Bootstrap interval, and the mean length of the blocks drawn for it."""

    low: float
    high: float
    block_length: float


@dataclass(frozen=True)
class ParameterStability:
    """How the neighbours of a chosen parameter set do.

    Attributes
    ----------
    score
        Of the chosen set.
    median, mean, worst
        Of the neighbours' scores; NaN without neighbours.
    ratio
        ``median`` over ``score``: about 1 on a plateau, low on a spike; NaN where the score is not above 0.
    neighbours
        How many sets were compared.
    """

    score: float
    median: float
    mean: float
    worst: float
    ratio: float
    neighbours: int


@dataclass(frozen=True)
class TuningDecay:
    """What is left out of sample of figures tuned in sample.

    Attributes
    ----------
    pairs
        Tickers with both figures.
    rank_correlation
        Spearman's: whether tickers that looked better in sample are better after.
    slope, intercept
        Least-squares line of the figures out of sample over those in sample.
    median_difference
        Median of out of sample − in sample.
    median_ratio
        Median of out of sample / in sample, over the pairs whose figure in sample is above 0.
    same_sign
        Share of the pairs that keep their sign, over those whose figure in sample is not 0.
    """

    pairs: int
    rank_correlation: float
    slope: float
    intercept: float
    median_difference: float
    median_ratio: float
    same_sign: float


def effective_trials(returns: ArrayLike, *, draws: int = 2000, seed: int = 0) -> float:
    """Return the number of independent trials whose best would owe as much to luck as the best of these.

    The returns of all trials, each centred and scaled, are multiplied by the same random weights of each period, which
    leaves no trial an edge but keeps the correlation of all of them, and the highest result is noted. The number
    returned is the size of a sample of independent series of the same length with the same expected highest result.

    Sources: Dudbridge and Gusnanto, "Estimation of significance thresholds for genomewide association scans", Genetic
    Epidemiology 32 (2008), for an effective number of tests read off the distribution of the most extreme of them;
    Chernozhukov, Chetverikov and Kato, "Gaussian approximations and multiplier bootstrap for maxima of sums of
    high-dimensional random vectors", Annals of Statistics 41 (2013), for drawing that extreme.

    Formulas from the average correlation or the eigenvalues do not answer for the maximum. For 10 groups of 100 copies
    the average correlation (Bailey and López de Prado 2014, appendix) gives 901 where 10 is right; for 100 trials
    correlated by 0.5, whose best is that of 16 independent ones, the participation ratio gives 4, Galwey (2009) 59 and
    Li and Ji (2005) 51.

    Independent series of few periods look correlated by chance. Since the comparison is with series of the same
    length, that cancels out, and more trials than periods are no obstacle; but the fewer the periods, the less the
    correlation of single pairs can be told, so daily returns are to be preferred to sums over 16 blocks.

    Parameters
    ----------
    returns
        Trials × periods, of all trials: a sample of them gives the number of the sample, which is smaller. Trials
        without spread (never traded) do not count.
    draws
        Random weightings. At 2,000 they leave the number a standard error of about 2 %.
    seed
        Equal seeds give equal numbers.

    Returns
    -------
    A number between 1 and the number of trials; NaN without any trial that has spread, or for fewer than three
    periods.

    Raises
    ------
    SelectionError
        If the returns are no matrix of finite numbers, or ``draws`` is below 1.
    """
    counted = EffectiveTrials(draws=draws, seed=seed)
    counted.add(returns)
    return counted.number()


class EffectiveTrials:
    """Counts :func:`effective_trials` batch by batch, so that the returns of all trials need not be kept.

    Parameters
    ----------
    draws, seed
        As for :func:`effective_trials`.
    """

    def __init__(self, *, draws: int = 2000, seed: int = 0) -> None:
        """Begin without any trial."""
        _at_least(1, draws=draws)
        self._draws, self._seed = draws, seed
        self._trials = self._periods = 0
        self._highest = np.full(draws, -np.inf)
        self._lowest = np.full(draws, np.inf)

    def add(self, returns: ArrayLike) -> None:
        """Take in some trials, trials × periods; the periods are the same for all batches.

        Raises
        ------
        SelectionError
            If the returns are no matrix of finite numbers, or of another number of periods than those before.
        """
        values = _matrix(returns, "returns")
        if self._periods not in (0, values.shape[1]):
            raise SelectionError(f"returns have {values.shape[1]} periods; allowed: {self._periods}, as those before")
        self._periods = values.shape[1]
        spread = _has_spread(values)
        values = values if spread.all() else values[spread]
        if self._periods < _LEAST_RETURNS:
            return
        self._trials += len(values)
        weights = _weights(self._periods, self._draws, self._seed)
        start = 0
        for size in _chunks(len(values), self._draws):
            results = _unit_rows(values[start : start + size]) @ weights.T
            np.maximum(self._highest, results.max(axis=0), out=self._highest)
            np.minimum(self._lowest, results.min(axis=0), out=self._lowest)
            start += size

    def number(self) -> float:
        """Return the effective number of the trials so far, as :func:`effective_trials`."""
        if not self._trials:
            return float("nan")
        # weights of the opposite sign are as likely, and turn the lowest into the highest
        expected = float((self._highest - self._lowest).mean()) / 2
        return _sample_size(expected, self._trials, self._periods - 1)


@lru_cache(maxsize=2)
def _weights(periods: int, draws: int, seed: int) -> Floats:
    """Return draws × periods: drawn once a process, since most assets have as many periods."""
    return _unit_rows(_generator(seed).standard_normal((draws, periods)))


def expected_maximum_sharpe(variance: float, trials: float) -> float:
    """Return the Sharpe ratio that the best of several independent trials without any edge is expected to show.

    Source: Bailey and López de Prado, "The Deflated Sharpe Ratio: Correcting for Selection Bias, Backtest Overfitting
    and Non-Normality", Journal of Portfolio Management 40 (2014), equation 1. Between one trial, where it is 0, and
    two, where the approximation begins to hold, it is interpolated.

    Parameters
    ----------
    variance
        Of the trials' Sharpe ratios.
    trials
        Number of independent trials, 1 or more; need not be whole.

    Returns
    -------
    In the units of the root of ``variance``: annualised if that is of annualised ratios.

    Raises
    ------
    SelectionError
        If the variance is negative or the number of trials below 1, or either is not finite.
    """
    if not (np.isfinite(variance) and variance >= 0):
        raise SelectionError(f"the variance of the trials' Sharpe ratios is {variance}; allowed: 0 or more")
    if not (np.isfinite(trials) and trials >= 1):
        raise SelectionError(f"the number of trials is {trials}; allowed: 1 or more")
    count = max(trials, 2.0)
    quantiles = ndtri(1 - 1 / count), ndtri(1 - 1 / (count * np.e))
    standard = (1 - np.euler_gamma) * quantiles[0] + np.euler_gamma * quantiles[1]
    return float(np.sqrt(variance) * standard * min(trials - 1, 1.0))


def deflated_sharpe(returns: ArrayLike, trials: float, *, variance: float | None = None, periods: int = DAYS) -> float:
    """Probability that the true Sharpe ratio of the best trial exceeds what the best of so many shows by luck.

    The probabilistic Sharpe ratio (:func:`quant.statistics.probabilistic_sharpe`) with
    :func:`expected_maximum_sharpe` as its benchmark. Source: Bailey and López de Prado, "The Deflated Sharpe Ratio",
    Journal of Portfolio Management 40 (2014), equation 2. NaN where the probabilistic Sharpe ratio is.

    Parameters
    ----------
    returns
        Of the trial that was selected.
    trials
        Number of trials it was selected from: all of them with ``variance`` given, or :func:`effective_trials`
        without.
    variance
        Of the annualised Sharpe ratios across all trials, as in the paper. By default ``periods / (len(returns) − 1)``,
        the sampling variance of one Sharpe ratio about 0: what :func:`effective_trials` counts in. Trials with an
        average correlation ρ spread by 1 − ρ of that only, so an effective number together with the variance across
        correlated trials counts the correlation twice and finds edges where there are none.
    periods
        Periods of ``returns`` a year.

    Raises
    ------
    SelectionError
        If the number of trials is below 1 or the variance negative, or either is not finite.
    StatisticsError
        If the returns are not one-dimensional or not finite.
    """
    count = np.size(returns)
    if variance is None:
        variance = periods / max(count - 1, 1)
    return probabilistic_sharpe(returns, expected_maximum_sharpe(variance, trials), periods)


def probability_of_overfitting(counts: ArrayLike, sums: ArrayLike, squares: ArrayLike) -> Overfitting:
    """Return how often the best set of one half of the blocks is no better than the median in the other half.

    Combinatorially symmetric cross-validation: every choice of half of the blocks is in sample once, the rest out of
    sample, and the measure is the Sharpe ratio of the bars of a half. It needs no more of a block than the three
    arguments, so bar returns need not be kept. Source: Bailey, Borwein, López de Prado and Zhu, "The Probability of
    Backtest Overfitting", Journal of Computational Finance 20 (2017).

    Trials whose returns have no spread (never traded) are left out: they would only lend the others a rank. A trial
    without spread in one half, or with fewer than three bars there, cannot be chosen on that half, and counts as a
    Sharpe ratio of 0 where it is judged on it. Of equally good sets in sample the first is chosen; equally good sets
    out of sample share the mean of their ranks. A chosen set exactly at the median counts as overfit.

    Memory grows by 12 KiB a trial at 16 blocks, and not with the number of splits times trials.

    Parameters
    ----------
    counts, sums, squares
        Trials × blocks: number, sum and sum of squares of the bar returns of consecutive stretches of time, which
        are the same for all trials. The number of blocks is even, 2 to 20; 16 make 12,870 splits.

    Returns
    -------
    Figures are NaN where fewer than two trials have spread.

    Raises
    ------
    SelectionError
        If the arguments are not matrices of one shape with finite numbers, no real numbers have such a count, sum and
        sum of squares, or the number of blocks is not allowed.
    """
    counts, sums, squares = _matrix(counts, "counts"), _matrix(sums, "sums"), _matrix(squares, "squares")
    moments = (counts, sums, squares)
    if not counts.shape == sums.shape == squares.shape:
        raise SelectionError(
            f"counts, sums and squares have shapes {counts.shape}, {sums.shape} and {squares.shape}; allowed: one shape"
        )
    blocks = counts.shape[1]
    if blocks % 2 or not 2 <= blocks <= _MOST_BLOCKS:
        raise SelectionError(f"the number of blocks is {blocks}; allowed: even, 2 to {_MOST_BLOCKS}")
    impossible = np.argwhere(~_possible(*moments))
    if len(impossible):
        trial, block = impossible[0]
        raise SelectionError(
            f"trial {trial} has count {counts[trial, block]}, sum {sums[trial, block]} and sum of squares "
            f"{squares[trial, block]} in block {block}; allowed: what real numbers can have"
        )
    traded = ~np.isnan(_sharpe_of_moments(*(values.sum(axis=1) for values in moments)))
    in_sample, out_of_sample, ranks = _splits(*(values[traded] for values in moments))
    candidates = int(traded.sum())
    found = ~np.isnan(ranks)
    if candidates < 2 or not found.any():
        nothing = np.full(len(ranks), np.nan)
        return Overfitting(np.nan, np.nan, np.nan, np.nan, nothing, nothing, nothing, candidates)
    logits = np.log(ranks / (candidates + 1 - ranks))
    slope, intercept = _line(in_sample[found], out_of_sample[found])
    return Overfitting(
        probability=float((logits[found] <= 0).mean()),
        probability_of_loss=float((out_of_sample[found] < 0).mean()),
        slope=slope,
        intercept=intercept,
        logits=logits,
        in_sample=in_sample,
        out_of_sample=out_of_sample,
        candidates=candidates,
    )


def superior_predictive_ability(
    returns: ArrayLike,
    benchmark: ArrayLike = 0.0,
    *,
    resamples: int = 1000,
    block_length: float | None = None,
    seed: int = 0,
) -> SuperiorPredictiveAbility:
    """Test whether the best of many candidates earns more than a benchmark, given that it is the best of many.

    Source: Hansen, "A Test for Superior Predictive Ability", Journal of Business and Economic Statistics 23 (2005),
    with the stationary bootstrap. All candidates are resampled together, so their correlation counts. P-values include
    the observed sample among the resamples, so they are never 0.

    ``arch.bootstrap.SPA`` (8.0) compares the means themselves, whatever its ``studentize`` says, so that the most
    volatile candidate sets the scale for all; here they are studentised, as in the paper.

    Parameters
    ----------
    returns
        Candidates × days. Candidates that differ from the benchmark by a constant only (never traded) are left out.
    benchmark
        One return a day, or 0 for not trading.
    resamples
        Bootstrap samples.
    block_length
        Mean length of the blocks in days, 1 or more; by default the median over the candidates of Politis' and
        White's automatic choice (see :func:`stationary_bootstrap_interval`).
    seed
        Equal seeds give equal p-values.

    Returns
    -------
    P-values are NaN, and ``best`` is −1, for fewer than three days or without any candidate that has spread.

    Raises
    ------
    SelectionError
        If the returns are no matrix of finite numbers, the benchmark does not fit it, or an option is out of range.
    """
    values = _matrix(returns, "returns")
    _at_least(1, resamples=resamples, block_length=1 if block_length is None else block_length)
    reference = np.asarray(benchmark, dtype=np.float64)
    if reference.shape not in ((), values.shape[1:]) or not np.isfinite(reference).all():
        raise SelectionError(
            f"the benchmark must be a finite number or {values.shape[1]} of them, not of shape {reference.shape}"
        )
    days = values.shape[1]
    excess = values - reference if reference.any() else values
    # what rounding leaves of a difference of equal series is no spread
    scales = np.maximum(values.max(axis=1, initial=0), -values.min(axis=1, initial=0))
    rows = np.flatnonzero((np.ptp(excess, axis=1) if days else 0) > _ROUNDING * scales)
    if not len(rows) or days < _LEAST_RETURNS:
        return SuperiorPredictiveAbility(np.nan, -1, np.nan, np.nan, np.nan, np.nan)
    # thousands of candidates over years are as many numbers as can be held a few times, so this copy is the only one
    scaled = excess[rows]
    length = _automatic_block_length(scaled) if block_length is None else float(block_length)
    scaled /= _bootstrap_deviation(scaled, length)[:, None]
    means = scaled.mean(axis=1)
    statistic = max(float(means.max()), 0.0)
    # the means that the resamples are centred on; a poor candidate is not centred, and so stays poor, in two of three
    consistent = np.where(means >= -np.sqrt(2 * np.log(np.log(days)) / days), means, 0.0)
    centres = (np.maximum(means, 0.0), consistent, means)
    reached = np.zeros(3)
    generator = _generator(seed)
    for size in _chunks(resamples, max(scaled.shape)):
        drawn = _draw_shares(days, length, size, generator) @ scaled.T
        for place, centre in enumerate(centres):
            reached[place] += (np.maximum((drawn - centre).max(axis=1), 0.0) >= statistic).sum()
    lower, middle, upper = (float(p) for p in (reached + 1) / (resamples + 1))
    best = int(rows[means.argmax()])
    return SuperiorPredictiveAbility(statistic * float(np.sqrt(days)), best, lower, middle, upper, length)


def stationary_bootstrap_interval(
    returns: ArrayLike,
    statistic: Statistic = "sharpe",
    *,
    level: float = 0.90,
    resamples: int = 1000,
    block_length: float | None = None,
    seed: int = 0,
    periods: int = DAYS,
) -> Interval:
    """Interval of a statistic by the stationary bootstrap, percentile method.

    Blocks of random, geometrically distributed length are drawn with replacement, so that what one day owes to the
    day before survives. Sources: Politis and Romano, "The Stationary Bootstrap", Journal of the American Statistical
    Association 89 (1994); the block length by Politis and White, "Automatic Block-Length Selection for the Dependent
    Bootstrap", Econometric Reviews 23 (2004), as corrected by Patton, Politis and White (2009).

    Parameters
    ----------
    returns
        One-dimensional.
    statistic
        ``sharpe``, annualised as in :func:`quant.statistics.sharpe`, or ``mean``, a period.
    level
        Share of the resamples within the interval: 0.90 gives the 5 % and the 95 % point.
    resamples
        Bootstrap samples.
    block_length
        Mean length of the blocks, 1 or more; automatic by default, which for fewer than 20 returns is 1.
    seed
        Equal seeds give equal intervals.
    periods
        Periods of ``returns`` a year.

    Returns
    -------
    NaN for fewer than three returns or for returns without spread.

    Raises
    ------
    SelectionError
        If the returns are not one-dimensional or not finite, or an option is out of range.
    """
    if statistic not in STATISTICS:
        raise SelectionError(f"statistic is {statistic!r}; allowed: {', '.join(STATISTICS)}")
    if not 0 < level < 1:
        raise SelectionError(f"level is {level}; allowed: above 0 and below 1")
    _at_least(1, resamples=resamples, block_length=1 if block_length is None else block_length)
    values = _series(returns, "returns")
    if len(values) < _LEAST_RETURNS or not _has_spread(values[None])[0]:
        return Interval(np.nan, np.nan, np.nan)
    length = _automatic_block_length(values[None]) if block_length is None else float(block_length)
    generator = _generator(seed)
    results = []
    for size in _chunks(resamples, len(values)):
        drawn = values[_draw_positions(len(values), length, size, generator)]
        if statistic == "sharpe":
            # a resample may hold nothing but one repeated value
            drawn = drawn[_has_spread(drawn)]
            results.append(drawn.mean(axis=1) / drawn.std(axis=1, ddof=1) * np.sqrt(periods))
        else:
            results.append(drawn.mean(axis=1))
    pooled = np.concatenate(results)
    if not len(pooled):
        return Interval(np.nan, np.nan, length)
    low, high = np.quantile(pooled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), length)


def parameter_stability(
    scores: ArrayLike,
    coordinates: ArrayLike,
    chosen: int,
    *,
    neighbours: int = 10,
    radius: float | None = None,
) -> ParameterStability:
    """Compare the score of the chosen parameter set with the scores of those next to it.

    An edge that vanishes with the next value of a stop was fitted to the noise. Sets with a NaN score and sets at the
    very place of the chosen one are left out.

    Parameters
    ----------
    scores
        One a set; higher is better.
    coordinates
        Sets × dimensions, each dimension scaled alike: 0 … 1 over its range, or its place in the list of values.
    chosen
        Row of the chosen set.
    neighbours
        How many of the nearest sets by Euclidean distance; all at the distance of the last one are taken, so that the
        order of the sets does not matter.
    radius
        All sets within this distance, in place of a number of them.

    Raises
    ------
    SelectionError
        If scores and coordinates do not fit each other, the coordinates are not finite, the chosen set does not exist
        or has no score, or an option is out of range.
    """
    places = _matrix(coordinates, "coordinates")
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != places.shape[:1]:
        raise SelectionError(
            f"scores have shape {values.shape} and coordinates {places.shape}; allowed: one score a row"
        )
    if not 0 <= chosen < len(values) or np.isnan(values[chosen]):
        raise SelectionError(f"the chosen set is {chosen}; allowed: one of the {len(values)} sets, with a score")
    _at_least(1, neighbours=neighbours)
    if radius is not None and not radius > 0:
        raise SelectionError(f"radius is {radius}; allowed: above 0")
    distances = np.sqrt(((places - places[chosen]) ** 2).sum(axis=1))
    eligible = (distances > _ROUNDING) & ~np.isnan(values)
    others, scored = distances[eligible], values[eligible]
    if radius is None and len(others):
        radius = float(np.partition(others, min(neighbours, len(others)) - 1)[min(neighbours, len(others)) - 1])
    # distances that are equal but for rounding are equal
    near = scored[others <= (radius or 0.0) * (1 + 1e-9)]
    score = float(values[chosen])
    if not len(near):
        return ParameterStability(score, np.nan, np.nan, np.nan, np.nan, 0)
    median = float(np.median(near))
    return ParameterStability(
        score=score,
        median=median,
        mean=float(near.mean()),
        worst=float(near.min()),
        ratio=median / score if score > 0 else np.nan,
        neighbours=len(near),
    )


def tuning_decay(in_sample: ArrayLike, out_of_sample: ArrayLike) -> TuningDecay:
    """Compare the figures that tickers were tuned to with the same figures on later data.

    Parameters
    ----------
    in_sample, out_of_sample
        One figure a ticker, in the same order: a Sharpe ratio, a return. Tickers with NaN in either are left out.

    Returns
    -------
    Figures that too few pairs, or pairs without spread, cannot support are NaN.

    Raises
    ------
    SelectionError
        If the two are not one-dimensional and equally long, or one is infinite.
    """
    before, after = (np.asarray(values, dtype=np.float64) for values in (in_sample, out_of_sample))
    if before.ndim != 1 or before.shape != after.shape:
        raise SelectionError(
            f"figures in and out of sample have shapes {before.shape} and {after.shape}; allowed: (n,)"
        )
    if np.isinf(before).any() or np.isinf(after).any():
        raise SelectionError("figures in and out of sample must be finite or NaN")
    both = ~np.isnan(before) & ~np.isnan(after)
    before, after = before[both], after[both]
    slope, intercept = _line(before, after)
    ranks: list[Floats] = [np.asarray(pd.Series(values).rank(), np.float64) for values in (before, after)]
    gained, signed = before > 0, before != 0
    return TuningDecay(
        pairs=len(before),
        rank_correlation=_correlation(*ranks),
        slope=slope,
        intercept=intercept,
        median_difference=float(np.median(after - before)) if len(before) else np.nan,
        median_ratio=float(np.median(after[gained] / before[gained])) if gained.any() else np.nan,
        same_sign=float((np.sign(after) == np.sign(before))[signed].mean()) if signed.any() else np.nan,
    )


def false_discovery_rate_by_placebo(
    real: ArrayLike, placebo: ArrayLike, threshold: float, *, correction: bool = True
) -> float:
    """Share of the entries over a threshold that would be there by luck, as the placebos tell.

    The mean number of placebo entries that pass in one repetition, over the number of real entries that pass, at most
    1. Since every real entry may be a true one, the estimate errs upwards. Source: Barber and Candès, "Controlling the
    false discovery rate via knockoffs", Annals of Statistics 43 (2015); for several repetitions Gimenez and Zou,
    "Improving the Stability of the Knockoff Procedure: Multiple Simultaneous Knockoffs and Entropy Maximization"
    (2019).

    Parameters
    ----------
    real
        Statistic of each entry, a ticker say; the higher, the better. NaN passes no threshold.
    placebo
        Repetitions × entries: the same statistic of the same search on data that hold nothing to be found. Where a
        repetition has more or fewer entries than ``real``, the numbers are scaled to as many.
    threshold
        Smallest statistic that passes.
    correction
        Count one placebo entry more than pass: without it the rate is not controlled where few pass.

    Returns
    -------
    NaN where no real entry passes: nothing is claimed, so nothing can be false.

    Raises
    ------
    SelectionError
        If the statistics have other dimensions, there are no placebos, or the threshold is NaN.
    """
    entries, placebos = _placebos(real, placebo)
    if np.isnan(threshold):
        raise SelectionError("threshold is nan; allowed: a number")
    return float(_placebo_rates(entries, placebos, np.array([threshold]), correction)[0])


def placebo_q_values(real: ArrayLike, placebo: ArrayLike, *, correction: bool = True) -> Floats:
    """Return the smallest false-discovery rate at which each real entry passes, in the order given.

    That of :func:`false_discovery_rate_by_placebo`, whose arguments these are, at the best threshold that the entry
    passes: a higher statistic never has a higher rate. NaN for entries that are NaN. With the correction, the expected
    share of false entries among those with q ≤ a level is at most the level, as long as a real entry without an edge
    and a placebo cannot be told apart (Barber and Candès 2015, the argument for knockoff+).

    Raises
    ------
    SelectionError
        If the statistics have other dimensions, or there are no placebos.
    """
    entries, placebos = _placebos(real, placebo)
    found = np.flatnonzero(~np.isnan(entries))
    ascending = found[np.argsort(entries[found], kind="stable")]
    rates = np.full(len(entries), np.nan)
    rates[ascending] = np.minimum.accumulate(_placebo_rates(entries, placebos, entries[ascending], correction))
    return rates


def _sample_size(highest: float, trials: int, dimensions: int) -> float:
    """Return how many random directions in space have this expected highest cosine with another one."""
    # the cosine's deviation is 1 / √dimensions; nothing happens beyond 40 of them
    edge = min(1.0, 40 / np.sqrt(dimensions))
    cosines = np.linspace(-edge, edge, 8001)
    shape = (dimensions - 1) / 2
    distribution = betainc(shape, shape, (1 + cosines) / 2)

    def excess(log_count: float) -> float:
        expected = edge - np.trapezoid(distribution ** np.exp(log_count), cosines)
        return float(expected) - highest

    if excess(0.0) >= 0:
        return 1.0
    if excess(np.log(trials)) <= 0:
        return float(trials)
    return float(np.exp(brentq(excess, 0.0, np.log(trials))))


def _splits(counts: Floats, sums: Floats, squares: Floats) -> tuple[Floats, Floats, Floats]:
    """Return of the best trial of each split its Sharpe ratio in and out of sample, and its rank out of sample.

    Every union of blocks is one of the first half of the blocks and one of the second, so the moments of all of them
    are sums of two numbers.
    """
    trials, blocks = counts.shape
    middle = blocks // 2
    # trials mostly have the same number of returns in a block, which then need not be counted for each of them
    same = counts[:1] if trials and (counts == counts[0]).all() else counts
    halves = [
        [_subset_sums(part) for part in (values[:, :middle], values[:, middle:])] for values in (same, sums, squares)
    ]
    chosen = np.array(list(combinations(range(blocks), middle)))
    unions = (1 << chosen).sum(axis=1)
    first, second = unions & (2**middle - 1), unions >> middle
    in_sample, out_of_sample, ranks = (np.full(len(unions), np.nan) for _ in range(3))
    if not trials:
        return in_sample, out_of_sample, ranks

    def ratios(places: NDArray[np.intp]) -> Floats:
        return _sharpe_of_moments(*(low[first[places]] + high[second[places]] for low, high in halves))

    start = 0
    for size in _chunks(len(unions) // 2, trials):
        # in lexicographic order the complement of a split is as far from the end
        places = np.arange(start, start + size)
        opposite = len(unions) - 1 - places
        one, other = ratios(places), ratios(opposite)
        for targets, inside, outside in ((places, one, other), (opposite, other, one)):
            in_sample[targets], out_of_sample[targets], ranks[targets] = _best(inside, outside)
        start += size
    return in_sample, out_of_sample, ranks


def _best(inside: Floats, outside: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the best ratio inside of each row, the same trial's outside, and its rank there from 1 on."""
    eligible = np.where(np.isnan(inside), -np.inf, inside)
    best = eligible.argmax(axis=1)[:, None]
    judged = np.where(np.isnan(outside), 0.0, outside)
    ratio = np.take_along_axis(eligible, best, axis=1)
    reached = np.take_along_axis(judged, best, axis=1)
    ranks = (judged < reached).sum(axis=1) + ((judged == reached).sum(axis=1) + 1) / 2
    found = np.isfinite(ratio[:, 0])
    return (
        np.where(found, ratio[:, 0], np.nan),
        np.where(found, reached[:, 0], np.nan),
        np.where(found, ranks, np.nan),
    )


def _subset_sums(values: Floats) -> Floats:
    """Return subsets × trials, the columns of a subset being the bits of its number.

    Plain sums, not a matrix product, whose rounding may differ between equal trials and so break their ties.
    """
    sums = np.zeros((1, len(values)))
    for column in values.T:
        sums = np.concatenate([sums, sums + column])
    return sums


def _possible(counts: Floats, sums: Floats, squares: Floats) -> NDArray[np.bool_]:
    # Cauchy and Schwarz, with room for rounding
    possible: NDArray[np.bool_] = (counts >= 0) & (squares >= 0) & (sums**2 <= counts * squares * (1 + 1e-9))
    return possible


def _sharpe_of_moments(counts: Floats, sums: Floats, squares: Floats) -> Floats:
    """Return mean over deviation (ddof 1), NaN without spread or with fewer than three returns."""
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / counts
        spread = squares - sums * means
        usable = (counts >= _LEAST_RETURNS) & (spread > _ROUNDING * squares)
        ratios: Floats = np.where(usable, means / np.sqrt(spread / (counts - 1)), np.nan)
    return ratios


def _automatic_block_length(values: Floats) -> float:
    """Return the median over the rows of the best mean block length of the stationary bootstrap, at least 1."""
    if values.shape[1] < _LEAST_FOR_BLOCK_LENGTH:
        return 1.0
    # here, since it takes a second that most processes can do without
    from arch.bootstrap import optimal_block_length

    lengths = np.asarray(optimal_block_length(values.T)["stationary"], dtype=np.float64)
    return max(float(np.median(lengths)), 1.0)


def _bootstrap_deviation(values: Floats, length: float) -> Floats:
    """Return √n times the deviation of the mean of each row under the stationary bootstrap (Hansen 2005)."""
    count = values.shape[1]
    lags = np.arange(1, count)
    stay = 1 - 1 / length
    weights = (1 - lags / count) * stay**lags + lags / count * stay ** (count - lags)
    deviations: Floats = np.empty(len(values))
    start = 0
    for size in _chunks(len(values), 2 * count):
        centred = values[start : start + size] - values[start : start + size].mean(axis=1, keepdims=True)
        spectrum = np.abs(np.fft.rfft(centred, 2 * count, axis=1)) ** 2
        covariances = np.fft.irfft(spectrum, 2 * count, axis=1)[:, :count] / count
        deviations[start : start + size] = np.sqrt(covariances[:, 0] + 2 * covariances[:, 1:] @ weights)
        start += size
    return deviations


def _draw_positions(count: int, length: float, resamples: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Return resamples × count positions of the stationary bootstrap."""
    fresh = generator.random((resamples, count)) < 1 / length
    fresh[:, 0] = True
    starts = generator.integers(0, count, (resamples, count))
    steps = np.arange(count)
    begun = np.maximum.accumulate(np.where(fresh, steps, 0), axis=1)
    positions: NDArray[np.intp] = (np.take_along_axis(starts, begun, axis=1) + steps - begun) % count
    return positions


def _draw_shares(count: int, length: float, resamples: int, generator: np.random.Generator) -> Floats:
    """Return resamples × count: how often each position was drawn, over how many were."""
    positions = _draw_positions(count, length, resamples, generator)
    flat = positions + np.arange(resamples)[:, None] * count
    drawn = np.bincount(flat.ravel(), minlength=resamples * count)
    return drawn.reshape(resamples, count) / count


def _placebos(real: ArrayLike, placebo: ArrayLike) -> tuple[Floats, Floats]:
    entries, placebos = np.asarray(real, dtype=np.float64), np.asarray(placebo, dtype=np.float64)
    if entries.ndim != 1 or placebos.ndim != 2 or not placebos.size:
        raise SelectionError(
            f"statistics have shapes {entries.shape} and, of the placebos, {placebos.shape}; "
            "allowed: (entries,) and (repetitions, entries), one or more of them"
        )
    return entries, placebos


def _placebo_rates(entries: Floats, placebos: Floats, thresholds: Floats, correction: bool) -> Floats:
    false = (_passing(placebos.ravel(), thresholds) + correction) / placebos.size * entries.size
    passing = _passing(entries, thresholds)
    rates: Floats = np.where(passing > 0, np.minimum(false / np.maximum(passing, 1), 1.0), np.nan)
    return rates


def _passing(values: Floats, thresholds: Floats) -> NDArray[np.intp]:
    known = np.sort(values[~np.isnan(values)])
    return len(known) - np.searchsorted(known, thresholds, side="left")


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line, NaN without spread in x."""
    if len(x) < 2 or not _has_spread(x[None])[0]:
        return np.nan, np.nan
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())


def _correlation(x: Floats, y: Floats) -> float:
    if len(x) < 2 or not _has_spread(np.stack([x, y])).all():
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def _has_spread(values: Floats) -> NDArray[np.bool_]:
    """Return for each row whether it holds more than one value and the rounding of it."""
    if not values.shape[1]:
        return np.zeros(len(values), dtype=np.bool_)
    spread: NDArray[np.bool_] = np.zeros(len(values), dtype=np.bool_)
    start = 0
    for size in _chunks(*values.shape):
        some = values[start : start + size]
        spread[start : start + size] = some.std(axis=1) > _ROUNDING * np.abs(some).max(axis=1)
        start += size
    return spread


def _unit_rows(values: Floats) -> Floats:
    centred = values - values.mean(axis=1, keepdims=True)
    unit: Floats = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit


def _generator(seed: int) -> np.random.Generator:
    """Return a stream of its own, so that draws are never those that simulated returns of the same seed came from."""
    return np.random.default_rng([seed, _STREAM])


def _chunks(total: int, width: int) -> Iterator[int]:
    """Yield sizes that add up to the total, each times the width being about one chunk."""
    size = max(_CHUNK // max(width, 1), 1)
    for start in range(0, total, size):
        yield min(size, total - start)


def _at_least(least: float, **options: float) -> None:
    for name, value in options.items():
        if not (np.isfinite(value) and value >= least):
            raise SelectionError(f"{name} is {value}; allowed: {least} or more")


def _matrix(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise SelectionError(f"{name} must be a matrix of finite numbers, not {_excerpt(array)}")
    return array


def _series(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise SelectionError(f"{name} must be one-dimensional and finite, not {_excerpt(array)}")
    return array


def _excerpt(values: Floats) -> str:
    return f"{np.array2string(values.ravel()[:5], precision=6)} … of shape {values.shape}"
