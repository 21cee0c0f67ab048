"""The evaluation of the model as the report shows it: sentences, tables and points of curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant import report_words as words
from quant.evaluation_tables import CNN, MODELS, STATISTICS
from quant.report_figures import Cell, Record, plain_columns, value_of

NAMES = {
    CNN: "the CNN",
    "majority": "the majority class",
    "logistic": "logistic regression",
    "boosting": "boosted trees",
}
LESS_IS_BETTER = ("log_loss", "log_loss_at_shares")
_TIPS = {f"{name}_{side}": (name, side) for name in ("roc_auc", "average_precision") for side in ("long", "short")}
_TOLD = ("macro_f1", "direction_auc", "log_loss_at_shares")
VARIANTS = {
    "as_configured": "As configured",
    "fewest_steps": "Fewest bars",
    "shuffled_features": "Features in another order",
    "other_scale": "Features of the other scale",
    "other_alignment": "Labels of the other alignment",
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The model beside simple ones on windows that it never saw.

    Parameters
    ----------
    statistics, curves, groups
        ``schemas.EVALUATION``, ``schemas.EVALUATION_CURVES`` and ``schemas.EVALUATION_GROUPS``; empty where there is
        nothing to compare.
    confusions
        3 × 3 counts by model: row the true class, column the likeliest.
    left_out
        Simple models that are missing, and why.
    ablations
        ``schemas.ABLATIONS``; None where the model was not tried with one thing changed.
    reason
        Why there is nothing to compare; None where there is.
    """

    statistics: pd.DataFrame
    curves: pd.DataFrame
    groups: pd.DataFrame
    confusions: Mapping[str, Any]
    left_out: Mapping[str, str]
    ablations: pd.DataFrame | None = None
    reason: str | None = None

    def matrix(self) -> np.ndarray[Any, Any] | None:
        """Confusion matrix of the model on these windows, where there is one."""
        found = self.confusions.get(CNN)
        return None if found is None else np.array(found)


def summary(comparison: Comparison, planted: frozenset[str]) -> dict[str, Any]:
    """Everything that the page writes of a comparison."""
    statistics = comparison.statistics
    models = _present(statistics)
    first = statistics.iloc[0] if len(statistics) else None
    return {
        "reason": comparison.reason,
        "models": [(name, NAMES[name].removeprefix("the ").capitalize().replace("Cnn", "CNN")) for name in models],
        "sentences": [said for name in _TOLD if (said := sentence(statistics, name))],
        "rows": rows(statistics),
        "windows": "" if first is None else words.count(first["windows"]),
        "days": "" if first is None else words.count(first["days"]),
        "block": "" if first is None else words.count(first["block"]),
        "left_out": [f"{NAMES.get(name, name)}: {why}" for name, why in comparison.left_out.items()],
        "tickers": tickers(comparison.groups, planted),
        "ablations": [] if comparison.ablations is None else variants(comparison.ablations),
    }


def sentence(statistics: pd.DataFrame, statistic: str) -> str:
    """Whether the CNN beats the simple models by one statistic, in plain words; empty where it is not known."""
    table = statistics[statistics["statistic"] == statistic].set_index("model")
    if CNN not in table.index or value_of(table.loc[CNN].to_dict(), "estimate") is None:
        return ""
    sign = -1.0 if statistic in LESS_IS_BETTER else 1.0
    groups: dict[str, list[str]] = {"beats": [], "cannot be told from": [], "is worse than": []}
    for name in _present(statistics)[1:]:
        record = table.loc[name].to_dict()
        low, high = (value_of(record, column) for column in ("difference_low", "difference_high"))
        if low is None or high is None:
            continue
        outcome = "beats" if min(sign * low, sign * high) > 0 else "is worse than"
        if low <= 0 <= high:
            outcome = "cannot be told from"
        text = f"{NAMES[name]} ({_signed(value_of(record, 'difference'))}, {_interval(low, high, _signed)})"
        groups[outcome].append(text)
    parts = [f"{verb} {_and(names)}" for verb, names in groups.items() if names]
    label = words.GLOSSARY[statistic][0]
    if not parts:
        return f"{label}: there are too few days to compare the CNN with anything."
    return f"{label}: the CNN {'; it '.join(parts)}."


def rows(statistics: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a statistic: what it is called, whether less is better, and a cell a model."""
    models = _present(statistics)
    known = {(row["model"], row["statistic"]): row for row in statistics.to_dict("records")}
    return [
        {
            "label": _label(name),
            "tip": words.GLOSSARY[_TIPS.get(name, (name, ""))[0]][1],
            "less": name in LESS_IS_BETTER,
            "cells": [_cell(known[model, name], name) for model in models],
        }
        for name in STATISTICS
        if (CNN, name) in known
    ]


def tickers(groups: pd.DataFrame, planted: frozenset[str]) -> list[dict[str, Any]]:
    """The CNN on every ticker, the one whose directions it tells apart best first."""
    table = groups[(groups["kind"] == "ticker") & (groups["model"] == CNN)]
    return [
        {
            "ticker": record["group"],
            "planted": record["group"] in planted,
            "cells": [
                Cell(_figure(value_of(record, "direction_auc")), value_of(record, "direction_auc"),
                     note=_interval(value_of(record, "low"), value_of(record, "high"))),
                Cell(_figure(value_of(record, "macro_f1")), value_of(record, "macro_f1")),
                Cell(words.count(record["windows"]), float(record["windows"])),
                Cell("yes" if record["learned"] else "no", "yes" if record["learned"] else "no", style="text"),
            ],
        }
        for record in table.sort_values("direction_auc", ascending=False, kind="stable").to_dict("records")
    ]  # fmt: skip


def variants(ablations: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a variant: what was changed, and the statistics of the CNN beside those of a simple model."""
    known = {(row["variant"], row["model"], row["statistic"]): row for row in ablations.to_dict("records")}
    return [
        {
            "label": label,
            "setting": known[variant, CNN, "macro_f1"]["setting"],
            "cells": [
                {
                    "text": _figure(value_of(record, "estimate")),
                    "interval": _interval(value_of(record, "low"), value_of(record, "high")),
                    "simple": _figure(value_of(simple, "estimate")) if simple else "",
                }
                for record, simple in (
                    (known[variant, CNN, name], known.get((variant, "logistic", name))) for name in _TOLD
                )
            ],
        }
        for variant, label in VARIANTS.items()
        if (variant, CNN, "macro_f1") in known
    ]


def trials(tuning: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a configuration that was tried, the best macro-F1 first and failed ones last."""
    table = tuning.sort_values(["chosen", "macro_f1"], ascending=False, kind="stable", na_position="last")
    return [
        {
            "number": record["number"],
            "chosen": record["chosen"],
            "cells": [
                Cell(f"{record[name]:g}", float(record[name]))
                for name in ("filters", "dense", "dropout", "learning_rate", "epochs")
            ]
            + [Cell(_figure(value_of(record, name)), value_of(record, name)) for name in ("macro_f1", "log_loss")]
            + [Cell(record["status"], record["status"], style="text")],
        }
        for record in table.to_dict("records")
    ]


def data(comparison: Comparison) -> dict[str, Any]:
    """What the script draws: the points of each curve, and each model by month."""
    order = {name: place for place, name in enumerate(MODELS)}
    curves = [
        {
            "model": model,
            "side": side,
            "curve": curve,
            **plain_columns(points.sort_values("point")[["x", "y"]].round(4)),
        }
        for (model, side, curve), points in comparison.curves.groupby(["model", "side", "curve"], sort=True)
    ]
    months = comparison.groups[comparison.groups["kind"] == "month"]
    return {
        "names": {name: NAMES[name].removeprefix("the ") for name in MODELS},
        "ablations": [] if comparison.ablations is None else _drawn(comparison.ablations),
        "curves": sorted(curves, key=lambda one: -order[one["model"]]),
        "months": [
            {
                "model": model,
                "month": table["group"].tolist(),
                **plain_columns(table[["macro_f1", "direction_auc"]].astype(float).round(4)),
            }
            for model in reversed(MODELS)
            if len(table := months[months["model"] == model].sort_values("group"))
        ],
    }


def _drawn(ablations: pd.DataFrame) -> list[dict[str, Any]]:
    """Direction AUC of every model in every variant, with its interval."""
    table = ablations[(ablations["statistic"] == "direction_auc") & (ablations["model"] != "majority")]
    return [
        {
            "model": model,
            "variant": [VARIANTS[name] for name in found.index],
            **plain_columns(found[["estimate", "low", "high"]].astype(float).round(4)),
        }
        for model in MODELS
        if len(found := table[table["model"] == model].set_index("variant").reindex(list(VARIANTS)).dropna(how="all"))
    ]


def _present(statistics: pd.DataFrame) -> list[str]:
    found = set(statistics["model"])
    return [name for name in MODELS if name in found]


def _label(statistic: str) -> str:
    name, side = _TIPS.get(statistic, (statistic, ""))
    return f"{words.GLOSSARY[name][0]}{f', {side}' if side else ''}"


def _cell(record: Record, statistic: str) -> dict[str, str]:
    low, high = value_of(record, "difference_low"), value_of(record, "difference_high")
    less = value_of(record, "difference")
    better = 0 if low is None or high is None or low <= 0 <= high else 1 if low > 0 else -1
    if statistic in LESS_IS_BETTER:
        better = -better
    return {
        "text": _figure(value_of(record, "estimate")),
        "interval": _interval(value_of(record, "low"), value_of(record, "high")),
        "difference": "" if less is None else f"CNN {_signed(less)}",
        "style": {1: "gain", -1: "loss", 0: ""}[better],
        "difference_interval": _interval(low, high, _signed),
    }


def _figure(value: float | None) -> str:
    return words.MISSING if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return words.MISSING if value is None else f"{value:+.3f}".replace("-", "−")


def _interval(low: float | None, high: float | None, form: Any = _figure) -> str:
    return "" if low is None or high is None else f"{form(low)} to {form(high)}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
