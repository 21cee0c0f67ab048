"""From class probabilities to signals, and how good the probabilities are.

Signals and labels share one code: 0 none or neutral, 1 long, 2 short. A signal is decided at the close of a bar
and traded at the next bar's open.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = ("neutral", "long", "short")

NEVER = 2.0
"""A threshold that no probability reaches: the answer where no threshold earns its costs."""

QUANTILES = (0.0, 0.25, 0.5, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.997, 0.998, 0.999, 0.9995)
"""Where among the probabilities of the favoured side the candidate thresholds lie: dense at the rare, sure ones."""

_SMALLEST = float(np.finfo(np.float32).tiny)


class DecisionError(ValueError):
    """Probabilities, labels or outcomes that do not fit together."""


def signals(probabilities: npt.NDArray[np.floating[Any]], threshold: float) -> npt.NDArray[np.int8]:
    """Turn probabilities into signals.

    Parameters
    ----------
    probabilities
        Array (n × 3) of the classes neutral, long and short. A row with NaN gives no signal.
    threshold
        Least probability of the favoured side; above 1 (`NEVER`) there is no signal at all.

    Returns
    -------
    Array (n) of 1 where long is likelier than short and reaches the threshold, 2 for the mirror image, else 0.

    Raises
    ------
    DecisionError
        Where the probabilities are not of shape (n, 3).
    """
    long, short = _sides(probabilities)
    chosen = np.zeros(len(long), dtype=np.int8)
    chosen[(long > short) & (long >= threshold)] = 1
    chosen[(short > long) & (short >= threshold)] = 2
    return chosen


def choose_threshold(
    probabilities: npt.NDArray[np.floating[Any]],
    outcome: npt.NDArray[np.floating[Any]],
    cost: float,
    *,
    groups: npt.NDArray[Any] | None = None,
    quantiles: Sequence[float] = QUANTILES,
    minimum_signals: int = 50,
    minimum_t: float = 1.0,
) -> float:
    """Choose the threshold down to which signals earn their costs.

    Of the candidates whose signed outcomes, less the cost, are positive beyond chance (``minimum_t``), the one with
    the largest sum wins, and among equals the highest, which trades least. The largest t-statistic would pick the few
    surest signals, on which luck is greatest, and leave most of what can be earned.

    Parameters
    ----------
    probabilities
        Array (n × 3), of the validate part.
    outcome
        Array (n) of returns, as fractions, from the next open to the horizon's close; NaN where unknown: such rows
        count neither as signals nor as candidates.
    cost
        Cost of a round trip, as a fraction of the position.
    groups
        Array (n) of anything that names the block of time of a row, such as its day. Outcomes of neighbouring bars
        overlap and tickers move together; with groups the standard error is that of the groups' sums (Liang and
        Zeger 1986), without them every signal counts as independent, which flatters.
    quantiles
        Where the candidates lie among the probabilities of the favoured side.
    minimum_signals
        Fewest signals with a known outcome that a candidate needs.
    minimum_t
        The t-statistic that a candidate must exceed.

    Returns
    -------
    The threshold, or `NEVER` where no candidate qualifies.

    Raises
    ------
    DecisionError
        Where the arrays differ in length or the probabilities are not of shape (n, 3).
    """
    long, short = _sides(probabilities)
    blocks = np.arange(len(long)) if groups is None else np.asarray(groups)
    if not len(long) == len(outcome) == len(blocks):
        raise DecisionError(
            f"a threshold is chosen from as many outcomes and groups as probabilities: there are {len(long)} rows of "
            f"probabilities, {len(outcome)} outcomes and {len(blocks)} groups"
        )
    usable = np.isfinite(outcome) & (long != short) & np.isfinite(long) & np.isfinite(short)
    if not usable.any():
        return NEVER
    favoured = np.maximum(long, short)[usable]
    direction = np.where(long > short, 1.0, -1.0)[usable]
    net = direction * np.asarray(outcome, dtype=np.float64)[usable] - cost
    codes = np.unique(blocks[usable], return_inverse=True)[1]
    best_threshold, best_sum = NEVER, 0.0
    # descending, so that a tie keeps the higher threshold
    for candidate in np.unique(np.quantile(favoured, quantiles, method="higher"))[::-1]:
        signalled = favoured >= candidate
        if signalled.sum() < minimum_signals or not _t_statistic(net[signalled], codes[signalled]) > minimum_t:
            continue
        if net[signalled].sum() > best_sum:
            best_threshold, best_sum = float(candidate), float(net[signalled].sum())
    return best_threshold


def confusion(labels: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Count predictions by true class.

    Returns
    -------
    Array (3 × 3): row the true class, column the predicted one.

    Raises
    ------
    DecisionError
        Where the arrays differ in length or hold anything but 0, 1 and 2.
    """
    if len(labels) != len(predicted):
        raise DecisionError(f"{len(labels)} labels do not match {len(predicted)} predictions")
    for name, values in (("labels", labels), ("predictions", predicted)):
        strange = np.setdiff1d(values, range(len(CLASSES)))
        if len(strange):
            raise DecisionError(f"{name} hold {strange[:5].tolist()}; only 0, 1 and 2 are allowed")
    cells = np.asarray(labels, dtype=np.int64) * len(CLASSES) + predicted
    return np.bincount(cells, minlength=len(CLASSES) ** 2).reshape(len(CLASSES), len(CLASSES))


def macro_f1(matrix: npt.NDArray[np.integer[Any]]) -> float:
    """Mean of the classes' F1 scores, from a confusion matrix (3 × 3, rows true); 0 where the matrix is empty.

    A class that is neither true nor predicted anywhere is left out, as in scikit-learn's `f1_score`.
    """
    right = np.diag(matrix).astype(np.float64)
    either = (matrix.sum(axis=0) + matrix.sum(axis=1)).astype(np.float64)
    present = either > 0
    return float(np.mean(2.0 * right[present] / either[present])) if present.any() else 0.0


def log_loss(labels: npt.NDArray[np.integer[Any]], probabilities: npt.NDArray[np.floating[Any]]) -> float:
    """Mean of −log p(true class), natural logarithm; probabilities of 0 count as the smallest float32."""
    return float(np.mean(cross_entropy(labels, probabilities)))


def cross_entropy(
    labels: npt.NDArray[np.integer[Any]], probabilities: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """−log p(true class) of each row of probabilities (n × 3), natural logarithm."""
    chosen = probabilities[np.arange(len(labels)), np.asarray(labels, dtype=np.int64)]
    return -np.log(np.maximum(chosen.astype(np.float64), _SMALLEST))


def figures(
    labels: npt.NDArray[np.integer[Any]], probabilities: npt.NDArray[np.floating[Any]]
) -> dict[str, float | int | list[list[int]] | dict[str, dict[str, float | int | None]]]:
    """Describe how well probabilities classify, with the most likely class as the prediction.

    Parameters
    ----------
    labels
        Array (n) of 0, 1 and 2, at least one.
    probabilities
        Array (n × 3), finite.

    Returns
    -------
    A mapping that JSON can hold: `count`, `accuracy`, `majority_accuracy` (of always naming the commonest class),
    `balanced_accuracy` (mean recall of the classes that occur), `macro_f1`, `majority_macro_f1`, `log_loss`,
    `prior_log_loss` (of always giving the classes' shares), `confusion` (rows true, columns predicted) and
    `classes` (of each name: `count`, `share`, `precision`, `recall`, `f1`; None where nothing defines it).

    Raises
    ------
    DecisionError
        Where there are no rows, or the shapes do not fit, or a probability is not finite.
    """
    _sides(probabilities)
    if not len(labels) or not np.isfinite(probabilities).all():
        raise DecisionError(f"figures need finite probabilities of at least one window; there are {len(labels)} labels")
    matrix = confusion(labels, probabilities.argmax(axis=1))
    true, predicted, right = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    shares = true / len(labels)
    majority = np.zeros_like(matrix)
    majority[:, int(true.argmax())] = true
    return {
        "count": len(labels),
        "accuracy": float(right.sum() / len(labels)),
        "majority_accuracy": float(shares.max()),
        "balanced_accuracy": float(np.mean(right[true > 0] / true[true > 0])),
        "macro_f1": macro_f1(matrix),
        "majority_macro_f1": macro_f1(majority),
        "log_loss": log_loss(labels, probabilities),
        "prior_log_loss": float(-np.sum(shares[true > 0] * np.log(shares[true > 0]))),
        "confusion": matrix.tolist(),
        "classes": {
            name: {
                "count": int(true[index]),
                "share": float(shares[index]),
                "precision": _ratio(right[index], predicted[index]),
                "recall": _ratio(right[index], true[index]),
                "f1": _ratio(2 * right[index], true[index] + predicted[index]),
            }
            for index, name in enumerate(CLASSES)
        },
    }


def _sides(probabilities: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if probabilities.ndim != 2 or probabilities.shape[1] != len(CLASSES):
        raise DecisionError(
            f"probabilities need the shape (n, 3) of neutral, long and short, not {probabilities.shape}"
        )
    # float64, because a Python threshold against float32 would be rounded to float32 first
    return probabilities[:, 1].astype(np.float64), probabilities[:, 2].astype(np.float64)


def _t_statistic(net: npt.NDArray[np.float64], codes: npt.NDArray[np.integer[Any]]) -> float:
    """Mean over its standard error, clustered by code; −∞ where there are fewer than two groups or no spread."""
    groups = np.unique(codes, return_inverse=True)[1]
    count = int(groups.max()) + 1
    if count < 2:
        return -np.inf
    sums = np.bincount(groups, weights=net - net.mean(), minlength=count)
    spread = float(np.sqrt(np.sum(sums**2) * count / (count - 1)))
    return float(net.sum() / spread) if spread > 0 else -np.inf


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
