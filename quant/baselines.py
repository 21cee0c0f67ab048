"""What a network has to beat: the shares of the classes, a logistic regression, and boosted trees.

Each is fitted on labelled windows and returns a function from windows to probabilities. Windows stay positions in the
rows beneath them, as in ``quant.training``: the last bar is read from its row, and whole windows are cut in batches.
Equal windows, seeds and numbers of threads give equal probabilities.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from quant.decision import CLASSES
from quant.training import Windows, balanced_weights
from quant.windows import Positions, cut

Rows = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float64]
Predictor = Callable[[Rows, Positions], Floats]
"""From rows (n_rows × features) and the positions of the windows' last rows (n) to probabilities (n × 3)."""

View = Literal["summary", "flat"]
VIEWS: tuple[View, ...] = get_args(View)

_BATCH = 8_192
_STREAM = 1958
_ITERATIONS = 2_000


class BaselineError(ValueError):
    """Windows or settings that no baseline can be fitted with or applied to."""


def majority(labels: npt.NDArray[np.integer[Any]]) -> Predictor:
    """Return what gives every window the classes' shares among these labels, so that the commonest is the likeliest.

    Raises
    ------
    BaselineError
        If there is no label, or one is not 0, 1 or 2.
    """
    _check_labels(labels, least=1)
    return partial(_shares, np.bincount(labels, minlength=len(CLASSES)) / len(labels))


def logistic_last_bar(
    fit: Windows,
    *,
    most: int = 100_000,
    penalty: float = 1.0,
    class_weights: bool = True,
    seed: int = 0,
    threads: int = 1,
) -> Predictor:
    """Fit a multinomial logistic regression on the features of the last bar of each window.

    The features are centred and scaled by their mean and deviation over the windows fitted on, so that the penalty
    weighs them alike; a feature without spread is left out of account. A mean is drawn by outliers: rows are expected
    to be scaled and clipped already, by statistics of the fit part (``quant.scaling``).

    Parameters
    ----------
    fit
        Windows of the fit part alone; at least two classes. A class that does not occur gets the probability 0.
    most
        Most windows to fit on; of more, as many are drawn without replacement.
    penalty
        Weight of half the squared coefficients, against the sum of the windows' log-losses; above 0.
    class_weights
        Whether rare classes count more, so that all weigh the same in sum, as `quant.training` does. The probabilities
        then are those of classes equally common, and their log-loss is above that of the shares.
    seed
        Of the windows drawn.
    threads
        That fitting and predicting may use.

    Raises
    ------
    BaselineError
        If windows are not finite, or labels or settings are not as described; also from the function returned, if the
        windows given to it do not fit.
    """
    # here, since it takes a second that most processes can do without
    from sklearn.linear_model import LogisticRegression

    if not (np.isfinite(penalty) and penalty > 0):
        raise BaselineError(f"penalty is {penalty}; allowed: finite numbers above 0")
    _check_whole("threads", threads, 1)
    ends, labels = _drawn(fit, 1, most, seed)
    values = _last_bars(fit.rows, ends).astype(np.float64)
    center, scale = values.mean(axis=0), values.std(axis=0)
    # what rounding leaves of a constant is no spread
    scale[scale <= 1e-9 * np.abs(values).max(axis=0)] = np.inf
    model = LogisticRegression(C=1.0 / penalty, max_iter=_ITERATIONS)
    with threadpool_limits(threads):
        model.fit((values - center) / scale, labels, sample_weight=_weights(labels, class_weights))
    return partial(_predict, model, threads, partial(_standardised, center, scale), fit.rows.shape[1], 1)


def gradient_boosting(
    fit: Windows,
    steps: int,
    *,
    view: View = "summary",
    most: int = 100_000,
    trees: int = 100,
    learning_rate: float = 0.1,
    early_stopping: bool = False,
    class_weights: bool = True,
    seed: int = 0,
    threads: int = 1,
) -> Predictor:
    """Fit boosted trees on histograms of the features (scikit-learn's ``HistGradientBoostingClassifier``).

    Trees do not ask for a scale; that of the rows is as good as any, as long as it is the same when predicting.

    Parameters
    ----------
    fit
        Windows of the fit part alone; at least two classes. A class that does not occur gets the probability 0.
    steps
        Rows of a window.
    view
        ``summary``: the features of the last bar and their means over the window, 2 × features numbers a window.
        ``flat``: all rows of the window side by side, steps × features numbers, of which scikit-learn makes a copy in
        double precision: at 15 × 193, 100,000 windows take 3.5 GB.
    most
        Most windows to fit on; of more, as many are drawn without replacement.
    trees
        Rounds, of one tree a class; with early stopping the most of them.
    learning_rate
        Share of each tree that is added.
    early_stopping
        Whether to end once a tenth of the windows fitted on, drawn at random, gain no more for 10 rounds. These overlap
        with the windows learned from, so it ends late; the validate part is never looked at.
    class_weights
        As for :func:`logistic_last_bar`.
    seed
        Of the windows drawn, and of those held out for early stopping.
    threads
        That fitting and predicting may use: more than there are idle cores make it many times slower.

    Raises
    ------
    BaselineError
        If windows are not finite or begin before the first row, or labels or settings are not as described; also from
        the function returned, if the windows given to it do not fit.
    """
    # here, since it takes a second that most processes can do without
    from sklearn.ensemble import HistGradientBoostingClassifier

    if view not in VIEWS:
        raise BaselineError(f"view is {view!r}; allowed: {', '.join(VIEWS)}")
    _check_whole("steps", steps, 1)
    _check_whole("trees", trees, 1)
    if not 0 < learning_rate <= 1:
        raise BaselineError(f"learning rate is {learning_rate}; allowed: above 0, up to 1")
    _check_whole("threads", threads, 1)
    ends, labels = _drawn(fit, steps, most, seed)
    look = partial(_summaries if view == "summary" else _flattened, steps)
    width = fit.rows.shape[1] * (2 if view == "summary" else steps)
    values = np.empty((len(ends), width), dtype=np.float32)
    for piece in _pieces(len(ends)):
        values[piece] = look(fit.rows, ends[piece])
    model = HistGradientBoostingClassifier(
        max_iter=trees,
        learning_rate=learning_rate,
        early_stopping=early_stopping,
        random_state=seed,
    )
    with threadpool_limits(threads):
        model.fit(values, labels, sample_weight=_weights(labels, class_weights))
    return partial(_predict, model, threads, look, fit.rows.shape[1], steps)


def _shares(shares: Floats, rows: Rows, ends: Positions) -> Floats:
    return np.tile(shares, (len(ends), 1))


def _predict(
    model: Any,
    threads: int,
    look: Callable[[Rows, Positions], Rows],
    features: int,
    steps: int,
    rows: Rows,
    ends: Positions,
) -> Floats:
    if rows.ndim != 2 or rows.shape[1] != features:
        raise BaselineError(f"rows have the shape {rows.shape}; allowed: (n, {features}), as those fitted on")
    _check_ends(rows, ends, steps)
    probabilities = np.zeros((len(ends), len(CLASSES)))
    with threadpool_limits(threads):
        for piece in _pieces(len(ends)):
            probabilities[piece, model.classes_] = model.predict_proba(look(rows, ends[piece]))
    return probabilities


def _last_bars(rows: Rows, ends: Positions) -> Rows:
    return _finite(rows[ends])


def _standardised(center: Floats, scale: Floats, rows: Rows, ends: Positions) -> Floats:
    standard: Floats = (_last_bars(rows, ends) - center) / scale
    return standard


def _summaries(steps: int, rows: Rows, ends: Positions) -> Rows:
    windows = _finite(cut(rows, ends, steps))
    return np.concatenate([windows[:, -1], windows.mean(axis=1)], axis=1)


def _flattened(steps: int, rows: Rows, ends: Positions) -> Rows:
    return _finite(cut(rows, ends, steps)).reshape(len(ends), -1)


def _pieces(count: int) -> Iterator[slice]:
    for start in range(0, count, _BATCH):
        yield slice(start, start + _BATCH)


def _drawn(fit: Windows, steps: int, most: int, seed: int) -> tuple[Positions, npt.NDArray[np.int64]]:
    """Return ends and labels of the windows to fit on, in their order."""
    _check_whole("most", most, 1)
    _check_whole("seed", seed, 0)
    if fit.rows.ndim != 2:
        raise BaselineError(f"rows have the shape {fit.rows.shape}; allowed: rows × features")
    _check_ends(fit.rows, fit.ends, steps)
    chosen = np.arange(len(fit.ends))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng([seed, _STREAM]).choice(len(chosen), most, replace=False))
    labels = fit.labels[chosen]
    _check_labels(labels, least=2)
    return fit.ends[chosen].astype(np.intp), labels.astype(np.int64)


def _weights(labels: npt.NDArray[np.int64], balanced: bool) -> Floats:
    return balanced_weights(labels.astype(np.int8))[labels] if balanced else np.ones(len(labels))


def _finite(values: Rows) -> Rows:
    if not np.isfinite(values).all():
        raise BaselineError("a window holds a value that is not finite; allowed: windows of finite numbers")
    return values


def _check_ends(rows: Rows, ends: Positions, steps: int) -> None:
    if len(ends) and (ends.min() < steps - 1 or ends.max() >= len(rows)):
        raise BaselineError(
            f"windows end at rows {ends.min()} to {ends.max()}; allowed: {steps - 1} to {len(rows) - 1}, as they have "
            f"{steps} of {len(rows)} rows"
        )


def _check_labels(labels: npt.NDArray[np.integer[Any]], least: int) -> None:
    found = np.unique(labels)
    if len(found) < least or not np.isin(found, range(len(CLASSES))).all():
        raise BaselineError(
            f"labels of {len(labels)} windows hold {found[:5].tolist()}; allowed: 0, 1 and 2, at least {least} of them"
        )


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise BaselineError(f"{name} is {value!r}; allowed: whole numbers from {least}")
