"""The evaluation of a model beside simple ones on the same windows, as rows of the run's tables."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import evaluation

CNN = "cnn"
MODELS = (CNN, "majority", "logistic", "boosting")

AT_SHARES = "log_loss_at_shares"
STATISTICS = (
    *("accuracy", "macro_f1", "log_loss", AT_SHARES, "direction_auc"),
    *("roc_auc_long", "roc_auc_short", "average_precision_long", "average_precision_short"),
)
_POINTS = 100  # of a curve: enough for a picture
_LEAST = 50  # windows of a group for a figure

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Judged:
    """Windows that no weight was fitted on, and what each model says of them.

    Parameters
    ----------
    labels
        Classes (n) of 0 neutral, 1 long and 2 short.
    times
        Of each window (n), UTC.
    models
        Probabilities (n × 3) by name of the model, that of the CNN among them.
    training_counts
        Windows of each class (3) in the fit part.
    weighted
        Whether the models learned with class weights.
    """

    labels: npt.NDArray[np.integer[Any]]
    times: pd.DatetimeIndex
    models: Mapping[str, npt.NDArray[np.floating[Any]]]
    training_counts: tuple[int, ...]
    weighted: bool = True

    def at_shares(self) -> dict[str, npt.NDArray[np.floating[Any]]]:
        """Probabilities of all models as of classes as common as in the fit part; those of the majority are so."""
        if not self.weighted:
            return dict(self.models)
        return {
            name: given if name == "majority" else evaluation.at_shares(given, self.training_counts)
            for name, given in self.models.items()
        }


def probabilities(long: npt.NDArray[Any], short: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The three classes' probabilities (n × 3) from those of two; neutral is what is left of 1."""
    sides = np.column_stack([long, short]).astype(np.float64)
    return np.column_stack([np.clip(1.0 - sides.sum(axis=1), 0.0, 1.0), sides])


def statistic_rows(statistic: str, judged: Judged, *, resamples: int, block: int, seed: int) -> list[Row]:
    """One of `STATISTICS` of every model, with how much the CNN has more; rows of ``schemas.EVALUATION``."""
    shared = statistic == AT_SHARES
    found = evaluation.compared(
        "log_loss" if shared else statistic,
        judged.labels,
        judged.at_shares() if shared else judged.models,
        judged.times,
        CNN,
        resamples=resamples,
        block=block,
        seed=seed,
    )
    return [
        {
            "model": name,
            "statistic": statistic,
            "estimate": alone.estimate,
            "low": alone.low,
            "high": alone.high,
            "difference": None if less is None else less.estimate,
            "difference_low": None if less is None else less.low,
            "difference_high": None if less is None else less.high,
            "windows": len(judged.labels),
            "days": alone.days,
            "block": alone.block,
        }
        for name, (alone, less) in found.items()
    ]


def curve_rows(judged: Judged) -> list[Row]:
    """ROC, precision-recall and calibration of every model and side; rows of ``schemas.EVALUATION_CURVES``."""
    rows: list[Row] = []
    scaled = judged.at_shares()
    for model, given in judged.models.items():
        found = evaluation.curves(judged.labels, given, _POINTS)
        calibrated = evaluation.calibration(judged.labels, scaled[model])
        for side, curve in found.items():
            bins = calibrated[side]
            drawn = {
                "roc": (curve.false_positive_rate, curve.true_positive_rate, None),
                "precision_recall": (curve.recall, curve.precision, None),
                "calibration": (bins.predicted, bins.observed, bins.count),
            }
            for kind, (x, y, count) in drawn.items():
                rows += [
                    {
                        "model": model,
                        "side": side,
                        "curve": kind,
                        "point": point,
                        "x": float(x[point]),
                        "y": float(y[point]),
                        "windows": None if count is None else int(count[point]),
                    }
                    for point in range(len(x))
                ]
    return rows


def month_rows(judged: Judged) -> list[Row]:
    """Every model in every month; rows of ``schemas.EVALUATION_GROUPS``."""
    months = pd.Index(evaluation.months(judged.times).strftime("%Y-%m"))
    rows: list[Row] = []
    for model, given in judged.models.items():
        table = evaluation.by(months, judged.labels, given, least=_LEAST)
        rows += [
            _group("month", str(month), model, True, figures)
            for month, figures in zip(table.index, table.to_dict("records"), strict=True)
        ]
    return rows


def ticker_row(ticker: str, judged: Judged, learned: bool, *, resamples: int, block: int, seed: int) -> Row:
    """The CNN on one ticker; a row of ``schemas.EVALUATION_GROUPS``, without figures where there are few windows."""
    if not len(judged.labels):
        return _group("ticker", ticker, CNN, learned, {"count": 0, "directional": 0})
    given = judged.models[CNN]
    names = np.zeros(len(judged.labels), dtype=np.int8)
    figures = evaluation.by(names, judged.labels, given, least=_LEAST).to_dict("records")[0]
    if math.isnan(figures["direction_auc"]):
        return _group("ticker", ticker, CNN, learned, figures)
    found = evaluation.interval(
        "direction_auc", judged.labels, given, judged.times, resamples=resamples, block=block, seed=seed
    )
    return _group("ticker", ticker, CNN, learned, {**figures, "low": found.low, "high": found.high})


def confusions(judged: Judged) -> dict[str, list[list[int]]]:
    """Confusion matrix of each model: rows the true class, columns the likeliest."""
    return {
        name: evaluation.classification(judged.labels, given).confusion.tolist()
        for name, given in judged.models.items()
    }


def block_days(days: int, span_days: float) -> int:
    """Days of a block for the bootstrap: the cube root of their number, but no fewer than a window and its horizon."""
    return max(1, round(float(np.cbrt(days))), math.ceil(span_days))


def _group(kind: str, group: str, model: str, learned: bool, figures: Mapping[Any, Any]) -> Row:
    return {
        "kind": kind,
        "group": group,
        "model": model,
        "learned": learned,
        "windows": int(figures["count"]),
        "directional": int(figures["directional"]),
        **{name: figures.get(name) for name in ("macro_f1", "direction_auc", "low", "high")},
    }
