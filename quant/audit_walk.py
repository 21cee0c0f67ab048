"""Whether a bar tells its own label: on a random walk of the ticker's own volatility, where nothing can be foretold.

Features and labels are computed on one walk, and the labels of others: walks of the same bars, whose moves are as large
and go their own ways. What volatility tells of a label is the same in all of them; what the walk's own direction tells
is not, and an honest label's cannot be known.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import stdtr

from quant import baselines, evaluation, scaling
from quant.audit import Finding, Floats, not_applicable
from quant.placebo import random_walk
from quant.training import Windows

BARS = 8_000
"""Bars of the walks, after the warm-up."""
WALKS = 24
ALARM = 1e-6
"""Probability of a false alarm, a ticker."""
LEAST = 0.03
"""Difference of AUC below which nothing is made of it."""
FEWEST = 40
"""Labels of each kind that a half must hold."""
CLIP = 10.0


def same_bar(
    bars: pd.DataFrame,
    compute: Callable[[pd.DataFrame], pd.DataFrame],
    label: Callable[[pd.DataFrame], pd.Series],
    warm_up: int,
    seed: int,
) -> Finding:
    """Hold the AUC of a walk's labels, from the features of the same bar, against that of other walks' labels.

    A logistic regression is fitted on the first half of a walk and judged on the second.

    Parameters
    ----------
    bars
        Of the ticker; the last are walked on.
    compute
        From bars to features.
    label
        From bars to 0, 1, 2 or null.
    """
    past = bars.iloc[-(BARS + warm_up) :]
    walk = random_walk(past, seed)
    rows = compute(walk).to_numpy(np.float32)
    truth = label(walk).to_numpy(np.float64)
    complete = np.isfinite(rows).all(axis=1)
    both = bool((truth == 2).any())
    middle = int(np.median(np.flatnonzero(complete))) if complete.any() else 0
    first, second = complete.copy(), complete.copy()
    first[middle:], second[:middle] = False, False
    learned, judged = (part & ~np.isnan(_sides(truth, both)) for part in (first, second))
    fewest = min(int((_sides(truth, both)[part] == side).sum()) for part in (learned, judged) for side in (1, 2))
    if fewest < FEWEST:
        return not_applicable(
            "same_bar", f"a walk of {len(past):,} bars has {fewest} labels of one kind in a half; {FEWEST} are needed"
        )
    names = [str(column) for column in range(rows.shape[1])]
    scaled = scaling.fit("robust", rows[learned], names, clip=CLIP).transform(rows)
    fit = Windows(scaled, np.flatnonzero(learned), _sides(truth, both)[learned].astype(np.int8))
    ends = np.flatnonzero(second)
    given = np.full((len(rows), 3), np.nan)
    given[ends] = baselines.logistic_last_bar(fit, most=4_000, seed=seed % 2**32)(scaled, ends)
    own = _auc(_sides(truth, both), given, second)
    others = np.array(
        [
            _auc(_sides(label(random_walk(past, (seed + number) % 2**63)).to_numpy(np.float64), both), given, second)
            for number in range(1, WALKS + 1)
        ]
    )
    others = others[np.isfinite(others)]
    if len(others) < WALKS // 2:
        return not_applicable("same_bar", "too few walks have labels of both kinds to be told apart")
    error = float(others.std(ddof=1)) * np.sqrt(1 + 1 / len(others))
    excess = own - float(others.mean())
    chance = float(stdtr(len(others) - 1, -excess / max(error, 1e-6)))
    told = f"AUC {own:.3f} where walks of the same volatility have {others.mean():.3f} ± {error:.3f}"
    if chance < ALARM and excess > LEAST:
        return Finding(
            "same_bar",
            "leak",
            f"the features of a bar tell its label on a random walk: {told}",
            "label",
            None,
            own,
            "AUC",
        )
    return Finding("same_bar", "passed", told, "label", None, own, "AUC")


def _sides(labels: Floats, both: bool) -> Floats:
    """1 for long and 2 for short, null for neither; where labels know one side only, 2 for the rest."""
    rest = np.nan if both else 2.0
    return np.select([labels == 1, labels == 2, labels == 0], [1.0, 2.0, rest], np.nan)


def _auc(sides: Floats, given: Floats, where: np.ndarray) -> float:
    chosen = where & ~np.isnan(sides)
    kinds = sides[chosen]
    if not ((kinds == 1).any() and (kinds == 2).any()):
        return float("nan")
    return evaluation.direction_auc(kinds.astype(np.int8), given[chosen])
