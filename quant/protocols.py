"""The article's protocol and the honest one, and the steps between them: one trap removed at a time.

A step is the set of traps that are still in place: all of them at step 0, which is the article, none at the last, which
is the run itself. What is written of each trap here is what a report says of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import bracket_input, decision, features, metrics
from quant.splits import Part

Floats = npt.NDArray[np.floating[Any]]


class Trap(NamedTuple):
    """What the article does, and what is done in its place once the trap is removed; the label is its name in words."""

    name: str
    label: str
    seed: str
    honest: str


TRAPS = (
    Trap(
        "seen_bars",
        "bars it learned from",
        "the bars that the model learned from are traded along with the others",
        "only bars after those that the model learned from are traded",
    ),
    Trap(
        "whole_numbers",
        "whole numbers",
        "prices and features are cut to whole numbers, which leaves nothing of returns and volatility",
        "prices and features keep their decimals",
    ),
    Trap(
        "label",
        "label of the same bar",
        "the label is shifted, so that its trade begins at the open of the very bar whose close the model sees",
        "the label begins at the next open",
    ),
    Trap(
        "delay",
        "one bar of delay",
        "predictions wait for one bar more, and are traded when what was labelled is nearly over",
        "a prediction is traded at the next open",
    ),
    Trap(
        "scaler",
        "scaler of all bars",
        "features are scaled by statistics of all bars, later ones too, of each asset by its own",
        "features are scaled by statistics of the bars that the model was fitted on",
    ),
    Trap(
        "window",
        "window of one bar",
        "the network sees one bar, and nothing makes up for most labels being neutral",
        "the network and its classes' weights are the run's, and so are its windows, which span no gap",
    ),
    Trap(
        "price_levels",
        "price levels",
        "features are prices and volumes, which no two assets share",
        "features are the run's",
    ),
    Trap(
        "likeliest_class",
        "likeliest class",
        "every bar whose likeliest class is long or short is a signal",
        "a signal needs the confidence that earned its fees on the validate part",
    ),
    Trap(
        "same_bars",
        "chosen and shown on the same bars",
        "parameters and assets are chosen on the very bars whose figures are shown",
        "they are chosen on the choose part, and the figures are those of the judge part",
    ),
    Trap(
        "orders",
        "the article's orders",
        "opposite signals are dropped for lack of margin, and a second block of entries passes the filter by",
        "orders, parameters and costs are the run's: by default an opposite signal closes and reverses",
    ),
    Trap(
        "luck",
        "luck of many",
        "an asset is listed by its own figures, however many were tried",
        "an asset is listed by the run's rules, which count what was tried and what placebos reach",
    ),
)
NAMES = tuple(trap.name for trap in TRAPS)
OF_THE_MODEL = ("whole_numbers", "label", "scaler", "window", "price_levels")
"""Traps that make another model; the others are about what is done with its probabilities."""
STEPS = len(TRAPS) + 1
FIRST = "none: the article"
"""Label of step 0, at which no trap is removed."""

ENTRIES, TESTED, LABEL, ASSET = "all_bars", "test_part", "label", "asset"
"""The article's backtests: its third, second and first, of the ticker learned from; and its fourth, of every asset."""
BACKTESTS = {
    LABEL: "the label itself traded",
    TESTED: "predictions of the test part",
    ENTRIES: "predictions of all bars, both entry blocks",
    ASSET: "an asset by its own parameters",
}
ALL = "all assets"
"""Scope of what is said of every asset together."""


def remaining(step: int) -> frozenset[str]:
    """Traps that are still in place at a step, 0 to ``STEPS`` − 1."""
    return frozenset(NAMES[step:])


def models() -> list[frozenset[str]]:
    """The traps in each model that the steps need, the article's first; the run's own has none and is left out."""
    each = [remaining(step) & frozenset(OF_THE_MODEL) for step in range(STEPS)]
    return [traps for traps in dict.fromkeys(each) if traps]


def signal(probabilities: Floats, threshold: float, traps: frozenset[str]) -> npt.NDArray[np.int8]:
    """What is decided at the close of each bar.

    Parameters
    ----------
    probabilities
        Array (bars × 3) of neutral, long and short; NaN where there is no window.
    threshold
        Least probability of a signal, where the likeliest class does not do.
    traps
        Those in place.

    Returns
    -------
    Array (bars) of 0 none, 1 long, 2 short.
    """
    if "likeliest_class" in traps:
        known = np.isfinite(probabilities).all(axis=1)
        wanted = np.where(known, np.nan_to_num(probabilities).argmax(axis=1), 0).astype(np.int8)
    else:
        wanted = decision.signals(probabilities, threshold)
    return np.concatenate([np.zeros(1, np.int8), wanted[:-1]]) if "delay" in traps else wanted


class Criteria(NamedTuple):
    """What an asset needs to be listed by the article, which states no thresholds of its own; fractions."""

    minimum_return: float
    minimum_win_rate: float
    minimum_expectancy: float
    minimum_sharpe: float

    def met(self, figures: Mapping[str, Any]) -> bool:
        """Whether figures of ``schemas.FIGURES`` reach all of them; an undefined one reaches nothing."""
        return all(
            figures[name] is not None and bool(figures[name] >= least)
            for name, least in (
                ("total_return", self.minimum_return),
                ("win_rate", self.minimum_win_rate),
                ("expectancy", self.minimum_expectancy),
                ("sharpe", self.minimum_sharpe),
            )
        )


def backtests(
    bars: pd.DataFrame, wanted: pd.Series, label: pd.Series, later: Part, traps: frozenset[str]
) -> dict[str, dict[str, Any]]:
    """The article's first three backtests of a ticker that the model learned from, with the traps in place.

    Parameters
    ----------
    bars, wanted, label
        The whole history, the signal and the label of every bar of it.
    later
        The bars that count once ``seen_bars`` is removed, and for ``TESTED`` before that, too.

    Returns
    -------
    dict
        Of ``LABEL``, ``TESTED`` and ``ENTRIES``: start, end, and the columns ``schemas.FIGURES``.
    """
    from quant import article  # half a second to import, for backtesting.py comes with its plots

    cut = features.in_whole_numbers(bars)
    # with prices of 0 the article could not have traded at all
    traded = cut if "whole_numbers" in traps and article.can_be_traded(cut) else bars
    trending = bracket_input.trend_filter(traded, wanted)
    after = later.rows(pd.DatetimeIndex(bars.index))
    span = np.ones(len(bars), bool) if "seen_bars" in traps else after
    return {
        LABEL: described(bars[span], metrics.figures(article.of_the_label(traded[span], label[span]))),
        TESTED: described(bars[after], metrics.figures(article.of_the_test_part(traded[after], wanted[after]))),
        ENTRIES: described(
            bars[span], metrics.figures(article.of_all_bars(traded[span], wanted[span], trending[span]))
        ),
    }


def described(bars: pd.DataFrame, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a backtest with its first and last bar, and what holding over them would have made."""
    close = bars["close"]
    held = float(close.iloc[-1] / close.iloc[0]) - 1
    return {"start": bars.index[0], "end": bars.index[-1], "held": held, **figures}


def waterfall(rows: pd.DataFrame, learned: Sequence[str]) -> pd.DataFrame:
    """What each step comes to: for each ticker that the model learned from, and for all assets together.

    Parameters
    ----------
    rows
        ``schemas.PROTOCOLS`` of all tickers with a column ``ticker``.
    learned
        Those that the model learned from, whose figure is that of the article's full backtest as long as its orders
        are in place.

    Returns
    -------
    DataFrame
        ``schemas.PROTOCOL_STEPS``, ordered by scope and step.
    """
    of_assets = rows[rows["strategy"] == ASSET]
    found = [_summary(ALL, step, of_assets[of_assets["step"] == step]) for step in range(STEPS)]
    for ticker in learned:
        mine = rows[rows["ticker"] == ticker]
        for step in range(STEPS):
            strategy = ENTRIES if "orders" in remaining(step) else ASSET
            found.append(_summary(ticker, step, mine[(mine["step"] == step) & (mine["strategy"] == strategy)]))
    return pd.DataFrame(found).sort_values(["scope", "step"], ignore_index=True)


def _summary(scope: str, step: int, rows: pd.DataFrame) -> dict[str, Any]:
    total = float(rows["total_return"].mean()) if len(rows) else np.nan
    years = (rows["end"].max() - rows["start"].min()) / pd.Timedelta(days=metrics.DAYS_A_YEAR) if len(rows) else np.nan
    listed = rows[rows["listed"]]
    return {
        "scope": scope,
        "step": step,
        "trap": NAMES[step - 1] if step else "",
        "meaning": TRAPS[step - 1].honest if step else "everything as the article does it",
        "tickers": len(rows),
        "total_return": total,
        # a mean of yearly returns would be that of the few that went through the roof
        "annual_return": max(1 + total, 0.0) ** (1 / years) - 1 if years > 0 else np.nan,
        "sharpe": float(rows["sharpe"].median()),
        "trades": int(rows["trades"].sum()),
        "held": float(rows["held"].mean()),
        "listed": len(listed),
        "listed_return": float(listed["total_return"].mean()),
    }
