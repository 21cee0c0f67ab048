"""How good three-class probabilities are on windows that no weight was fitted on, and how sure one can be of it.

Classes are 0 neutral, 1 long and 2 short. Probabilities are n × 3 with rows that sum to 1, labels are n. Windows of one
day depend on one another, across tickers too, so intervals draw whole days; see :func:`interval`. Figures that the data
cannot support are NaN. A single threshold and what it earns are the affair of ``quant.decision``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import decision
from quant.decision import CLASSES

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.integer[Any]]
Probabilities = npt.NDArray[np.floating[Any]]
Groups = npt.NDArray[Any] | pd.Series | pd.Index | Sequence[Any]

SIDES = {"long": 1, "short": 2}

_OF_A_CLASS = ("precision", "recall", "f1")
_OF_A_SIDE = ("roc_auc", "average_precision")

STATISTICS: tuple[str, ...] = (
    "accuracy",
    "macro_f1",
    "log_loss",
    "direction_auc",
    *(f"{name}_{side}" for name in _OF_A_SIDE for side in SIDES),
    *(f"{name}_{label}" for name in _OF_A_CLASS for label in CLASSES),
)
"""What :func:`interval` and :func:`difference_interval` know."""

_SUM_TOLERANCE = 1e-3  # of a row of probabilities from 1: what half precision leaves
_PHASES = 16
_FEWEST_POINTS = 20
_FEWEST_BLOCKS = 5
_SECONDS_OF_A_DAY = 86_400
_STREAM = 1992


class EvaluationError(ValueError):
    """Labels, probabilities, times or options from which nothing can be judged."""


@dataclass(frozen=True, eq=False)
class Classification:
    """How well the likeliest class of each window hits.

    Attributes
    ----------
    confusion
        3 × 3 counts: row the true class, column the likeliest.
    precision, recall, f1
        Of each class (3); NaN where nothing defines it: a class never named, never true, or neither.
    support
        Windows truly of each class (3).
    macro_f1
        Mean F1 of the classes that are true or named somewhere.
    log_loss
        Mean of −log p(true class), in nats; a probability of 0 counts as the smallest float32.
    accuracy
        Share of the windows whose likeliest class is the true one.
    """

    confusion: Integers
    precision: Floats
    recall: Floats
    f1: Floats
    support: Integers
    macro_f1: float
    log_loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Curves:
    """One class against the other two, as its threshold falls.

    Attributes
    ----------
    false_positive_rate, true_positive_rate
        The ROC curve from (0, 0) to (1, 1), to be joined by straight lines; empty where the class is absent or alone.
    recall, precision
        From (0, 1) to (1, share), to be drawn as steps: each precision holds from the recall before it on. Empty
        where the class is absent.
    roc_auc, average_precision
        Exact areas, of all windows; NaN where the curve is empty.
    share
        Of the class: what the precision would be without knowing anything.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    roc_auc: float
    recall: Floats
    precision: Floats
    average_precision: float
    share: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often a class is true where it is called so likely; one entry a bin, from unlikely to likely.

    Attributes
    ----------
    predicted, observed
        Mean probability of the class, and the share of the windows truly of it.
    count
        Windows of the bin.
    error
        Expected calibration error: mean over the windows of |predicted − observed| of their bin.
    """

    predicted: Floats
    observed: Floats
    count: Integers
    error: float


@dataclass(frozen=True)
class Interval:
    """Bootstrap interval of a statistic.

    Attributes
    ----------
    estimate
        The statistic of all windows, or the difference of two.
    low, high
        Ends of the interval; NaN where there are too few days for one.
    days
        Days that have windows.
    block
        Length of the blocks drawn, in such days.
    """

    estimate: float
    low: float
    high: float
    days: int
    block: int


def classification(labels: Labels, probabilities: Probabilities) -> Classification:
    """Judge the likeliest class of each window; of equally likely ones the first.

    ``quant.decision.figures`` is the same as plain numbers for a manifest, without the precision and recall as arrays.

    Raises
    ------
    EvaluationError
        If there is no window, or labels or probabilities are not as the module says.
    """
    truth, given = _checked(labels, probabilities)
    matrix = decision.confusion(truth, given.argmax(axis=1))
    precision, recall, f1 = (scores[0] for scores in _class_scores(matrix[None].astype(np.float64)))
    return Classification(
        confusion=matrix,
        precision=precision,
        recall=recall,
        f1=f1,
        support=matrix.sum(axis=1),
        macro_f1=decision.macro_f1(matrix),
        log_loss=decision.log_loss(truth, given),
        accuracy=float(np.trace(matrix) / len(truth)),
    )


def majority_classification(labels: Labels, training_counts: npt.ArrayLike) -> Classification:
    """Judge what knows nothing: the commonest class of the training windows everywhere, at their shares.

    Parameters
    ----------
    training_counts
        Windows of each class (3) that were trained on. They, not the labels judged, say which class is commonest. A
        class that they lack has probability 0, which the log-loss punishes where the class occurs after all.

    Raises
    ------
    EvaluationError
        If there is no window, a label is unknown, or the counts are not three whole numbers from 0, one of them more.
    """
    counts = _checked_counts(training_counts)
    return classification(labels, np.tile(counts / counts.sum(), (len(labels), 1)))


def curves(labels: Labels, probabilities: Probabilities, points: int = 200) -> dict[str, Curves]:
    """Return the ROC and the precision-recall curve of long and of short, each against the other two classes.

    The areas are exact. A curve of more than ``points`` vertices is thinned. The ROC curve is cut at equal distances
    along itself, begun where its area is kept best. The precision-recall curve is averaged within steps that are
    narrow where few windows are named, so that its area as steps stays what it was.

    Parameters
    ----------
    points
        Most points of a curve, at least 20; 200 keep the area of the ROC curve to 0.001.

    Returns
    -------
    A mapping of ``long`` and ``short``.

    Raises
    ------
    EvaluationError
        If ``points`` is out of bounds, there is no window, or labels or probabilities are not as the module says.
    """
    _check_whole("points", points, _FEWEST_POINTS)
    truth, given = _checked(labels, probabilities)
    return {side: _curves(truth == number, given[:, number], points) for side, number in SIDES.items()}


def calibration(labels: Labels, probabilities: Probabilities, bins: int = 10) -> dict[str, Calibration]:
    """Compare the probability of long and of short with how often each is true, in bins of about equally many windows.

    Equal probabilities share a bin, so constant ones have one bin only. The expected calibration error sums what chance
    leaves of each bin: a perfect model of n windows has one of about √(bins × share / n) instead of 0. It therefore is
    no statistic of :func:`interval`, which would add the chance a second time.

    Source of the error: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", AAAI (2015), here with quantile bins.

    Parameters
    ----------
    bins
        Most bins, at least 1.

    Returns
    -------
    A mapping of ``long`` and ``short``.

    Raises
    ------
    EvaluationError
        If ``bins`` is out of bounds, there is no window, or labels or probabilities are not as the module says.
    """
    _check_whole("bins", bins, 1)
    truth, given = _checked(labels, probabilities)
    return {
        side: _calibration(truth == number, given[:, number].astype(np.float64), bins) for side, number in SIDES.items()
    }


def at_shares(probabilities: Probabilities, training_counts: npt.ArrayLike) -> Floats:
    """Bring probabilities learned with class weights, of classes equally common, back to the shares of the classes.

    Weights that make the classes weigh the same in sum scale the odds by one factor a class, which this takes back.
    Source: Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI (2001), theorem 2, with three classes.

    Parameters
    ----------
    training_counts
        Windows of each class (3) that were trained on; a class without any gets the probability 0.

    Returns
    -------
    Probabilities (n × 3).

    Raises
    ------
    EvaluationError
        If the counts are not three whole numbers from 0, one of them more, or the probabilities are not n × 3.
    """
    counts = _checked_counts(training_counts)
    given = np.asarray(probabilities, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != len(CLASSES):
        raise EvaluationError(f"probabilities have the shape {given.shape}; allowed: (n, 3)")
    shares = counts / counts.sum()
    weighted = given * shares
    total = weighted.sum(axis=1, keepdims=True)
    # certain of a class that was never trained on: nothing is known
    scaled: Floats = np.where(total > 0, weighted / np.where(total > 0, total, 1.0), shares)
    return scaled


def direction_auc(labels: Labels, probabilities: Probabilities) -> float:
    """Return the probability that a window of class long looks more like long than one of class short does.

    The score is p(long) / (p(long) + p(short)), by which the two are told apart best if the probabilities are right;
    where both are 0 it is one half. Neutral windows do not count. On a random walk it is 0.5 but for chance: anything
    far above it there is a leak.

    Returns
    -------
    0 … 1, ties counting half; NaN without a window of each of the two classes.

    Raises
    ------
    EvaluationError
        If there is no window, or labels or probabilities are not as the module says.
    """
    truth, given = _checked(labels, probabilities)
    directional, score = _direction(truth, given)
    return _auc(score, truth[directional] == SIDES["long"])


def interval(
    statistic: str,
    labels: Labels,
    probabilities: Probabilities,
    times: pd.DatetimeIndex,
    *,
    level: float = 0.95,
    resamples: int = 500,
    block: int | None = None,
    seed: int,
) -> Interval:
    """Bootstrap interval of a statistic over blocks of days, percentile method.

    Windows overlap, and one factor moves all tickers, so windows of a day are far from independent: resampling them one
    by one gives intervals that are far too narrow. Here blocks of neighbouring days are drawn with replacement, around
    the end to the beginning, until there are as many days as before, and each day brings the windows of all tickers.
    Source: Politis and Romano, "A Circular Block-Resampling Procedure for Stationary Data", in Exploring the Limits of
    Bootstrap (1992).

    The fewer the blocks, the more often the interval misses: with 24 of them, one of 95 % held the truth of an AUC
    in 92 % of 600 simulated cases.

    Parameters
    ----------
    statistic
        One of `STATISTICS`. The names are those of :func:`classification`, :func:`curves` and :func:`direction_auc`,
        followed by the class where there are several.
    times
        Of each window, with a time zone; any order.
    level
        Share of the resamples within the interval: 0.95 gives the 2.5 % and the 97.5 % point.
    resamples
        Bootstrap samples.
    block
        Days of a block, longer than a window and its horizon together. By default the cube root of the number of days,
        rounded: the rate at which the error of the variance falls fastest (Künsch, Annals of Statistics 17, 1989; the
        constant depends on the data). Days without a window are no days: their neighbours count as neighbours.
    seed
        Equal seeds give equal draws of days.

    Returns
    -------
    The ends are NaN where the days do not fill five blocks, or the statistic is NaN. Resamples without any window of
    a class that the statistic needs are left out.

    Raises
    ------
    EvaluationError
        If the statistic is unknown, an option is out of bounds, there is no window, or labels, probabilities or times
        are not as described.
    """
    (drawn,), days, length = _resampled(statistic, labels, [probabilities], times, level, resamples, block, seed)
    return _as_interval(*drawn, days, length, level)


def difference_interval(
    statistic: str,
    labels: Labels,
    one: Probabilities,
    other: Probabilities,
    times: pd.DatetimeIndex,
    *,
    level: float = 0.95,
    resamples: int = 500,
    block: int | None = None,
    seed: int,
) -> Interval:
    """Bootstrap interval of the statistic of one model less that of another on the same windows.

    Both are computed on the same draws of days, so that what a day does to both cancels out. Otherwise as
    :func:`interval`, whose arguments these are; a resample counts where both models have the statistic.

    Raises
    ------
    EvaluationError
        As :func:`interval`.
    """
    both = [one, other]
    (first, second), days, length = _resampled(statistic, labels, both, times, level, resamples, block, seed)
    return _as_interval(*_less(first, second), days, length, level)


def compared(
    statistic: str,
    labels: Labels,
    models: Mapping[str, Probabilities],
    times: pd.DatetimeIndex,
    reference: str,
    *,
    level: float = 0.95,
    resamples: int = 500,
    block: int | None = None,
    seed: int,
) -> dict[str, tuple[Interval, Interval | None]]:
    """Bootstrap intervals of several models on the same windows, and of how far one of them is from each other one.

    The same as :func:`interval` of each and :func:`difference_interval` of each pair, with every model looked at once.

    Parameters
    ----------
    models
        Probabilities (n × 3) by name.
    reference
        Name of the model that the others are subtracted from.

    Returns
    -------
    By name, the interval of the model and that of the reference less it; None beside the reference itself.

    Raises
    ------
    EvaluationError
        As :func:`interval`, and if the reference is none of the models.
    """
    if reference not in models:
        raise EvaluationError(f"the reference is {reference!r}; allowed: {', '.join(models)}")
    given = list(models.values())
    found, days, length = _resampled(statistic, labels, given, times, level, resamples, block, seed)
    drawn = dict(zip(models, found, strict=True))
    return {
        name: (
            _as_interval(*each, days, length, level),
            None if name == reference else _as_interval(*_less(drawn[reference], each), days, length, level),
        )
        for name, each in drawn.items()
    }


def by(groups: Groups, labels: Labels, probabilities: Probabilities, *, least: int = 50) -> pd.DataFrame:
    """Judge each group of windows by itself, such as each ticker, or each month (:func:`months`).

    Parameters
    ----------
    groups
        Name of the group of each window (n), none missing.
    least
        Fewest windows for a figure; the direction AUC needs as many of the classes long and short.

    Returns
    -------
    A frame indexed by ``group``, sorted: ``count`` of windows, ``directional`` ones among them, ``macro_f1`` and
    ``direction_auc``; NaN for groups with too few windows.

    Raises
    ------
    EvaluationError
        If ``least`` is out of bounds, there is no window, a group is missing, or labels or probabilities are not as the
        module says.
    """
    _check_whole("least", least, 1)
    truth, given = _checked(labels, probabilities)
    codes, names = pd.factorize(pd.Index(groups), sort=True)
    if len(codes) != len(truth) or (codes < 0).any():
        raise EvaluationError(
            f"there are {len(codes)} groups, {int((codes < 0).sum())} of them missing, for {len(truth)} windows; "
            "allowed: one name a window"
        )
    size = len(names)
    count = np.bincount(codes, minlength=size)
    matrices = _confusions(truth, given, codes, size).reshape(size, len(CLASSES), len(CLASSES))
    directional, score = _direction(truth, given)
    long = truth[directional] == SIDES["long"]
    order, bounds = _grouped(codes[directional], size)
    aucs = [
        _auc(score[chosen], long[chosen]) if len(chosen) >= least else np.nan
        for chosen in (order[first:last] for first, last in pairwise(bounds))
    ]
    return pd.DataFrame(
        {
            "count": count,
            "directional": np.diff(bounds),
            "macro_f1": np.where(count >= least, _macro_f1s(matrices), np.nan),
            "direction_auc": np.array(aucs, dtype=np.float64),
        },
        index=pd.Index(names, name="group"),
    )


def months(times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return the first moment, in UTC, of the month of each time.

    Raises
    ------
    EvaluationError
        If the times have no time zone, or one is missing.
    """
    plain = np.asarray(_utc(times).tz_localize(None))
    return pd.DatetimeIndex(plain.astype("datetime64[M]").astype("datetime64[s]")).tz_localize("UTC")


Drawn = tuple[float, Floats]
"""A statistic of all windows, and of each resample."""


def _resampled(
    statistic: str,
    labels: Labels,
    models: Sequence[Probabilities],
    times: pd.DatetimeIndex,
    level: float,
    resamples: int,
    block: int | None,
    seed: int,
) -> tuple[list[Drawn], int, int]:
    """Return the statistic of each model on the same draws of days, how many days there are, and those of a block."""
    if statistic not in STATISTICS:
        raise EvaluationError(f"the statistic is {statistic!r}; allowed: {', '.join(STATISTICS)}")
    if not 0 < level < 1:
        raise EvaluationError(f"level is {level}; allowed: above 0 and below 1")
    _check_whole("resamples", resamples, 1)
    _check_whole("seed", seed, 0)
    if block is not None:
        _check_whole("block", block, 1)
    checked = [_checked(labels, probabilities) for probabilities in models]
    if len(times) != len(labels):
        raise EvaluationError(f"there are {len(times)} times for {len(labels)} windows; allowed: one a window")
    number = _utc(times).as_unit("s").asi8 // _SECONDS_OF_A_DAY
    present, codes = np.unique(number, return_inverse=True)
    days = len(present)
    length = round(days ** (1 / 3)) if block is None else block
    enough = days >= _FEWEST_BLOCKS * length
    weights = _draw_days(days, length, resamples, np.random.default_rng([seed, _STREAM])) if enough else None
    found = []
    for truth, given in checked:
        weighted = _weighted(statistic, truth, given, codes, days)
        estimate = float(weighted(np.ones((1, days)))[0])
        drawn = np.empty(0) if weights is None or np.isnan(estimate) else weighted(weights)
        found.append((estimate, drawn))
    return found, days, length


Weighted = Callable[[Floats], Floats]
"""From how often each day counts (resamples × days) to the statistic of each resample."""


def _less(one: Drawn, other: Drawn) -> Drawn:
    """Return the difference, draw by draw; without draws where either has none."""
    return one[0] - other[0], one[1] - other[1] if len(one[1]) and len(other[1]) else np.empty(0)


def _as_interval(estimate: float, drawn: Floats, days: int, length: int, level: float) -> Interval:
    values = drawn[~np.isnan(drawn)]
    if not len(values):
        return Interval(estimate, np.nan, np.nan, days, length)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), days, length)


def _draw_days(days: int, block: int, resamples: int, generator: np.random.Generator) -> Floats:
    """Return resamples × days: how often circular blocks of days drew each of them."""
    starts = generator.integers(0, days, (resamples, -(-days // block), 1))
    positions = (starts + np.arange(block)).reshape(resamples, -1)[:, :days] % days
    flat = positions + np.arange(resamples)[:, None] * days
    return np.bincount(flat.ravel(), minlength=resamples * days).reshape(resamples, days).astype(np.float64)


def _weighted(statistic: str, truth: Integers, given: Probabilities, codes: npt.NDArray[Any], days: int) -> Weighted:
    """Return the statistic as a function of the weights of the days, of which ``codes`` numbers each window's."""
    name, _, last = statistic.rpartition("_")
    if statistic == "direction_auc":
        directional, score = _direction(truth, given)
        return _weighted_auc(score, truth[directional] == SIDES["long"], codes[directional])
    if name == "roc_auc":
        return _weighted_auc(given[:, SIDES[last]], truth == SIDES[last], codes)
    if name == "average_precision":
        return _weighted_average_precision(given[:, SIDES[last]], truth == SIDES[last], codes)
    if statistic == "log_loss":
        losses = _sums(decision.cross_entropy(truth, given), codes, days)
        counts = _sums(np.ones(len(codes)), codes, days)
        return lambda weights: np.array([_dot(each, losses) / _dot(each, counts) for each in weights])
    tables = _confusions(truth, given, codes, days)
    return lambda weights: _of_confusions(statistic, (weights @ tables).reshape(-1, len(CLASSES), len(CLASSES)))


def _of_confusions(statistic: str, matrices: Floats) -> Floats:
    if statistic == "macro_f1":
        return _macro_f1s(matrices)
    if statistic == "accuracy":
        accuracy: Floats = np.trace(matrices, axis1=1, axis2=2) / matrices.sum(axis=(1, 2))
        return accuracy
    name, _, label = statistic.rpartition("_")
    scores: Floats = _class_scores(matrices)[_OF_A_CLASS.index(name)][:, CLASSES.index(label)]
    return scores


def _weighted_auc(score: npt.NDArray[np.floating[Any]], positive: npt.NDArray[np.bool_], codes: Integers) -> Weighted:
    """Mann and Whitney's statistic: sorting and ranking are done once, only the weights change."""
    high, low = (np.flatnonzero(chosen) for chosen in (positive, ~positive))
    high, low = (chosen[np.argsort(score[chosen])] for chosen in (high, low))
    below, up_to = (np.searchsorted(score[low], score[high], side) for side in ("left", "right"))
    high_days, low_days = codes[high], codes[low]
    # one set of arrays for all resamples: to allocate them anew takes as long as to fill them
    heavy, light, lost, won, tied = (np.zeros(size) for size in (len(high), len(low), len(low) + 1, *[len(high)] * 2))

    def one(weights: Floats) -> float:
        np.take(weights, high_days, out=heavy, mode="clip")
        np.cumsum(np.take(weights, low_days, out=light, mode="clip"), out=lost[1:])
        pairs = heavy.sum() * lost[-1]
        np.take(lost, below, out=won, mode="clip")
        np.take(lost, up_to, out=tied, mode="clip")
        return float((_dot(heavy, won) + _dot(heavy, tied)) / (2 * pairs)) if pairs > 0 else np.nan

    return lambda weights: np.array([one(each) for each in weights])


def _weighted_average_precision(
    score: npt.NDArray[np.floating[Any]], positive: npt.NDArray[np.bool_], codes: Integers
) -> Weighted:
    order, last = _descending(score)
    hits = np.flatnonzero(positive[order])
    # recall grows only where a run of equal scores holds a positive: all else is summed over
    run, first = np.unique(np.searchsorted(last, hits), return_index=True)
    ordered_days, hit_days, last = codes[order], codes[order][hits], last[run]
    heavy, right, named = np.zeros(len(order)), np.zeros(len(hits)), np.zeros(len(run))

    def one(weights: Floats) -> float:
        np.take(weights, hit_days, out=right, mode="clip")
        gain = np.add.reduceat(right, first) if len(first) else right
        total = gain.sum()
        if not total > 0:
            return np.nan
        np.take(weights, ordered_days, out=heavy, mode="clip")
        np.take(np.cumsum(heavy, out=heavy), last, out=named, mode="clip")
        # nothing is named yet where no window so far was drawn, and then none of it is right
        return _dot(gain, np.cumsum(gain) / np.maximum(named, 1.0)) / float(total)

    return lambda weights: np.array([one(each) for each in weights])


def _curves(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating[Any]], points: int) -> Curves:
    order, last = _descending(score)
    right = np.cumsum(positive[order].astype(np.int64))[last]
    wrong = last + 1 - right
    total, others = int(right[-1]), int(wrong[-1])
    empty = np.empty(0)
    rates = recalls = (empty, empty)
    roc_auc = average_precision = np.nan
    if total and others:
        x, y = _corners(np.append(0, wrong), np.append(0, right))
        rates = (x / others, y / total)
        roc_auc = _area(*rates)
        rates = _thinned(*rates, points)
    if total:
        precision, gain = right / (last + 1), np.diff(right, prepend=0) / total
        average_precision = float(gain @ precision)
        recalls = _averaged(right, precision, last + 1, points)
    return Curves(*rates, roc_auc, *recalls, average_precision, total / len(score))


def _corners(x: Integers, y: Integers) -> tuple[Integers, Integers]:
    """Leave out points on the straight line between their neighbours."""
    steps_x, steps_y = np.diff(x), np.diff(y)
    turns = steps_x[1:] * steps_y[:-1] != steps_x[:-1] * steps_y[1:]
    kept = np.concatenate([[True], turns, [True]])
    return x[kept], y[kept]


def _thinned(x: Floats, y: Floats, points: int) -> tuple[Floats, Floats]:
    """Return points of a rising curve from (0, 0) to (1, 1) at equal distances, and its ends.

    Chords that all cut corners of one kind lose area; begun elsewhere they cut the other kind. So of several beginnings
    the one with the least loss is taken.
    """
    if len(x) <= points:
        return x, y
    along, area = x + y, _area(x, y)
    places = np.arange(points - 2)
    candidates = []
    for phase in (np.arange(_PHASES) + 0.5) / _PHASES:
        at = np.concatenate([[0.0], (places + phase) * 2.0 / len(places), [2.0]])
        thinned = (np.interp(at, along, x), np.interp(at, along, y))
        candidates.append((abs(_area(*thinned) - area), thinned))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _averaged(right: Integers, precision: Floats, named: Integers, points: int) -> tuple[Floats, Floats]:
    """Return recall and precision from (0, 1) on, in at most so many steps, each of the mean precision within it."""
    total = int(right[-1])
    if len(right) < points:
        return np.append(0.0, right / total), np.append(1.0, precision)
    gain = np.diff(right, prepend=0)
    gaining = np.flatnonzero(gain)
    area, named = np.cumsum(gain * precision)[gaining], named[gaining]
    half, count = (points - 4) // 2, len(gaining)
    evenly = np.searchsorted(right[gaining], np.linspace(1, total, half))
    densely = np.searchsorted(named, np.geomspace(named[0], named[-1], half))
    # the first and the last step by themselves; the ends of geomspace may be a rounding beyond those of its arguments
    ends = np.unique(np.concatenate([evenly, densely, [0, count - 2, count - 1]]).clip(0, count - 1))
    reached = right[gaining][ends]
    steps = np.diff(area[ends], prepend=0.0) / np.diff(reached, prepend=0)
    # down to where everything is named, a step of no width
    return (
        np.concatenate([[0.0], reached / total, [1.0]]),
        np.concatenate([[1.0], steps, precision[-1:]]),
    )


def _calibration(positive: npt.NDArray[np.bool_], probability: Floats, bins: int) -> Calibration:
    inner = np.quantile(probability, np.linspace(0.0, 1.0, bins + 1))[1:-1]
    places = np.searchsorted(inner, probability)
    count = np.bincount(places, minlength=bins)
    filled, count = count > 0, count[count > 0]
    predicted = _sums(probability, places, bins)[filled] / count
    observed = _sums(positive, places, bins)[filled] / count
    error = float(count @ np.abs(predicted - observed) / len(probability))
    return Calibration(predicted, observed, count, error)


def _direction(truth: Integers, given: Probabilities) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return which windows are long or short, and how much each of these looks like long."""
    directional = np.flatnonzero(truth > 0)
    long, short = (given[directional, number].astype(np.float64) for number in SIDES.values())
    both = long + short
    shares: Floats = np.where(both > 0, long / np.where(both > 0, both, 1.0), 0.5)
    # what differs by rounding alone is a tie, from either side
    return directional, shares.round(12)


def _auc(score: Floats, positive: npt.NDArray[np.bool_]) -> float:
    high, low = score[positive], np.sort(score[~positive])
    if not len(high) or not len(low):
        return np.nan
    wins = np.searchsorted(low, high, "left").sum() + np.searchsorted(low, high, "right").sum()
    return float(wins / 2 / (len(high) * len(low)))


def _sums(values: npt.NDArray[Any], codes: npt.NDArray[Any], size: int) -> Floats:
    return np.bincount(codes, weights=values, minlength=size).astype(np.float64)


def _dot(one: Floats, other: Floats) -> float:
    """Return the sum of products on this thread: BLAS's threads round freely, and crawl on a busy machine."""
    return float(np.einsum("i,i->", one, other))


def _area(x: Floats, y: Floats) -> float:
    return float(np.trapezoid(y, x))


def _descending(score: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the order from high to low, and the position in it of the last of each run of equal scores."""
    order = np.argsort(-score)
    falls = np.flatnonzero(np.diff(score[order]))
    return order, np.append(falls, len(score) - 1)


def _grouped(codes: npt.NDArray[Any], size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return positions ordered by group, and where each group begins in them, with the end of the last."""
    return np.argsort(codes, kind="stable"), np.append(0, np.cumsum(np.bincount(codes, minlength=size)))


def _confusions(truth: Integers, given: Probabilities, codes: npt.NDArray[Any], size: int) -> Floats:
    """Return size × 9: the confusion matrix, row by row, of the windows of each code."""
    cells = (codes * len(CLASSES) + truth) * len(CLASSES) + given.argmax(axis=1)
    shape = (size, len(CLASSES) ** 2)
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _class_scores(matrices: Floats) -> tuple[Floats, Floats, Floats]:
    """Return precision, recall and F1, each matrices × classes, NaN where nothing defines it."""
    right = np.diagonal(matrices, axis1=1, axis2=2)
    named, true = matrices.sum(axis=1), matrices.sum(axis=2)
    return _ratio(right, named), _ratio(right, true), _ratio(2 * right, named + true)


def _macro_f1s(matrices: Floats) -> Floats:
    mean: Floats = np.nanmean(_class_scores(matrices)[2], axis=1)
    return mean


def _ratio(part: Floats, whole: Floats) -> Floats:
    ratio: Floats = np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)
    return ratio


def _checked(labels: Labels, probabilities: Probabilities) -> tuple[Integers, Probabilities]:
    truth, given = np.asarray(labels), np.asarray(probabilities)
    if truth.ndim != 1 or not len(truth) or given.shape != (len(truth), len(CLASSES)):
        raise EvaluationError(
            f"labels have the shape {truth.shape} and probabilities {given.shape}; allowed: (n,) and (n, 3), n from 1"
        )
    if given.dtype.kind != "f":
        raise EvaluationError(f"probabilities have the type {given.dtype}; allowed: float32 and float64")
    # not (all within), so that NaN is caught too
    wrong = np.flatnonzero(
        ~(((given >= 0) & (given <= 1)).all(axis=1) & (np.abs(given.sum(axis=1) - 1) <= _SUM_TOLERANCE))
    )
    if len(wrong):
        raise EvaluationError(
            f"probabilities of {len(wrong)} of {len(given)} windows are none, the first {given[wrong[0]].tolist()} of "
            f"window {wrong[0]}; allowed: finite numbers within 0 … 1 whose sum is 1"
        )
    strange = np.setdiff1d(truth, range(len(CLASSES)))
    if len(strange):
        raise EvaluationError(f"labels hold {strange[:5].tolist()}; allowed: 0 neutral, 1 long and 2 short")
    return truth.astype(np.int64), given


def _checked_counts(training_counts: npt.ArrayLike) -> Integers:
    counts = np.asarray(training_counts)
    if counts.shape != (len(CLASSES),) or counts.dtype.kind not in "iu" or (counts < 0).any() or not counts.any():
        raise EvaluationError(
            f"training counts are {counts.tolist()!r:.200}; allowed: three whole numbers from 0, at least one above 0"
        )
    return counts.astype(np.int64)


def _utc(times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    if not isinstance(times, pd.DatetimeIndex) or times.tz is None or bool(times.isna().any()):
        raise EvaluationError(
            f"times are {getattr(times, 'dtype', type(times).__name__)}, some maybe missing; allowed: a DatetimeIndex "
            "with a time zone and no missing time"
        )
    return times.tz_convert("UTC")


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise EvaluationError(f"{name} is {value!r}; allowed: whole numbers from {least}")
