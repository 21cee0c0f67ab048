"""Whether labels rest on the bars of their horizon alone: each is computed again where all other bars are replaced."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant.audit import Finding, Floats, Mask, not_applicable
from quant.bars import PRICES, Bar, segments

Label = Callable[[pd.DataFrame], pd.Series]
"""From bars to a label or an outcome on the index of the bars, null where what follows is missing."""

PAST = 6
"""Replaced bars before a label's own."""
TOLERANCE = 1e-9


def rests_on_its_horizon(
    bars: pd.DataFrame, stored: pd.Series, label: Label, horizon: int, *, keeps_close: bool, count: int, seed: int
) -> Finding:
    """Compute labels again from the bars t+1 … t+horizon, where all others around are replaced by strange ones.

    A label that uses the bar of its decision or earlier ones (the article's alignment does), or later ones than its
    horizon, comes out otherwise.

    Parameters
    ----------
    bars
        All bars of a ticker.
    stored
        A column of the run's labels, on their index.
    label
        Computes that column from bars.
    horizon
        Bars after t that it may use.
    keeps_close
        Whether it may use close[t] as its reference.
    count
        Labels that are looked at.
    seed
        Of these, and of what replaces the bars.
    """
    name = str(stored.name)
    values = stored.reindex(bars.index).to_numpy(np.float64, na_value=np.nan)
    wholly = label(bars).to_numpy(np.float64)
    stale = ~_same(values, wholly)
    generator = np.random.default_rng(seed)
    known = np.flatnonzero(~np.isnan(values))
    known = known[(known >= PAST) & (known < len(bars) - horizon - 1)]
    if not len(known):
        return not_applicable("labels", f"there is no {name} with {PAST} bars before it and {horizon + 1} after")
    # half of them of each kind: rare classes are those on which something rests
    chosen = np.sort(_drawn(known, values, count, generator))
    prices = {column: bars[column].to_numpy(np.float64) for column in (*PRICES, "volume")}
    again = np.array([_alone(bars.index, prices, label, int(row), horizon, keeps_close, generator) for row in chosen])
    wrong = ~_same(values[chosen], again)
    if wrong.any() and not stale[chosen[wrong]].all():
        first = bars.index[chosen[wrong][0]]
        share = float(wrong.mean())
        return Finding(
            "labels",
            "leak",
            f"{name} changed in {share:.0%} of {len(chosen)} places when the bars outside t+1 … t+{horizon} were "
            "replaced: it rests on the bar of the decision, on earlier ones or on later ones than its horizon",
            name,
            first,
            share,
            "share of labels",
        )
    if stale.any():
        return Finding(
            "labels",
            "leak",
            f"{int(stale.sum())} of {len(bars)} values of {name} are not what this code makes of the bars: the table "
            "was written by other code or settings, or from other bars",
            name,
            bars.index[int(np.flatnonzero(stale)[0])],
            float(stale.mean()),
            "share of labels",
        )
    return Finding("labels", "passed", f"{len(chosen)} places of {name}")


def across_gaps(index: pd.DatetimeIndex, stored: pd.Series, reach: int, bar: Bar) -> Finding:
    """Look for labels whose horizon spans a gap: ``reach`` bars ahead must lie right behind one another."""
    values = stored.reindex(index).to_numpy(np.float64, na_value=np.nan)
    number = segments(index, bar)
    crossing = np.zeros(len(index), dtype=bool)
    if 0 < reach < len(index):
        crossing[:-reach] = number[reach:] != number[:-reach]
        crossing[-reach:] = True
    wrong = crossing & ~np.isnan(values)
    if not wrong.any():
        return Finding("gaps", "passed", "")
    return Finding(
        "gaps",
        "leak",
        f"{int(wrong.sum())} labels look over a gap or past the end of the bars",
        str(stored.name),
        index[int(np.flatnonzero(wrong)[0])],
        float(wrong.sum()),
        "labels",
    )


def _alone(
    index: pd.Index,
    prices: dict[str, Floats],
    label: Label,
    row: int,
    horizon: int,
    keeps_close: bool,
    generator: np.random.Generator,
) -> float:
    """The label of a row where all bars but those of its horizon are far above or below what they were."""
    first, last = row - PAST, row + horizon + 2
    factors = np.exp(generator.choice([-1.0, 1.0], size=last - first) * generator.uniform(0.3, 0.8, size=last - first))
    factors[PAST + 1 : PAST + 1 + horizon] = 1.0
    frame = pd.DataFrame(
        {column: values[first:last] * (1.0 if column == "volume" else factors) for column, values in prices.items()},
        index=index[first:last],
    )
    if keeps_close:
        frame.loc[frame.index[PAST], "close"] = prices["close"][row]
    return float(label(frame).iloc[PAST])


def _drawn(
    known: npt.NDArray[np.intp], values: Floats, count: int, generator: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Draw so many rows; of few different values, of each about as many."""
    kinds = np.unique(values[known])
    if len(kinds) > 3:
        return generator.choice(known, min(count, len(known)), replace=False)
    each = -(-count // len(kinds))
    groups = [known[values[known] == kind] for kind in kinds]
    return np.concatenate([generator.choice(group, min(each, len(group)), replace=False) for group in groups])


def _same(one: Floats, other: Floats) -> Mask:
    close = np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)
    return np.asarray(close | (np.isnan(one) & np.isnan(other)))
