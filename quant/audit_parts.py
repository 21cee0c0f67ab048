"""Whether a run kept its parts apart: the calendar's parts, the scaler's rows, and what of the market was left out."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import scaling
from quant.audit import Finding
from quant.scaling import Scaler
from quant.splits import Part, bar_openings

SCALER_TOLERANCE = 1e-5
"""Difference of a center or scale, in scales, that 32-bit rows and rounding explain."""
ENDED = pd.Timedelta(days=2)
"""How long before the end of the market a ticker's last bar must lie for it to have ended."""
FEWEST_TICKERS = 5
OUTSIDE = -1
"""Code of rows that are in no part."""


def apart(parts: Sequence[Part], bar: pd.Timedelta | pd.DatetimeIndex, horizon: int) -> Finding:
    """Ask whether each part ends a label's horizon before the next begins.

    Parameters
    ----------
    parts
        As they were used, in the order of use: fit, validate, choose, judge, or the last two.
    bar
        Calendar of the bars.
    horizon
        Bars that a label looks ahead; 0 where no labels are used.
    """
    found = []
    for before, after in pairwise(parts):
        # the last row's label ends with the last of the bars that begin before ``between`` bars have passed
        between = len(bar_openings(before.end, after.start, bar)) - 1 if before.end < after.start else 0
        overlap = horizon - between
        if before.end > after.start:
            overlap = horizon + len(bar_openings(after.start, before.end, bar)) - 1
        if overlap > 0:
            found.append((overlap, before, after))
    if not found:
        names = ", ".join(part.name for part in parts)
        return Finding("parts", "passed", f"{names} with a horizon of {horizon} bars")
    overlap, before, after = max(found, key=lambda one: one[0])
    return Finding(
        "parts",
        "leak",
        f"the labels at the end of {before.name} (to {before.end}) look {overlap} bars into {after.name} (from "
        f"{after.start}): purge at least {horizon} bars",
        f"{before.name} / {after.name}",
        after.start,
        float(overlap),
        "bars",
    )


def scaler(
    stored: Scaler,
    rows: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int8],
    parts: Sequence[Part],
    columns: Sequence[str],
) -> Finding:
    """Ask on which rows a scaler was fitted: those of the first part, or more.

    Parameters
    ----------
    rows
        Complete rows of the tickers that were learned from, n × ``columns``.
    codes
        Number of the part that each row is in; ``OUTSIDE`` where it is in none.
    parts
        In order; the first is the fit part.
    columns
        Some of the scaler's.
    """
    positions = [stored.columns.index(name) for name in columns]
    spans = {parts[0].name: codes == 0}
    for number in range(1, len(parts)):
        spans[" + ".join(part.name for part in parts[: number + 1])] = (codes >= 0) & (codes <= number)
    spans["all rows"] = np.ones(len(codes), dtype=bool)
    differences = {}
    for name, mask in spans.items():
        if not mask.any():
            continue
        other = scaling.fit(stored.kind, rows[mask], columns, clip=stored.clip)
        size = np.array(other.scale)
        center = np.abs(np.array(stored.center)[positions] - np.array(other.center)) / size
        differences[name] = np.maximum(center, np.abs(np.array(stored.scale)[positions] / size - 1))
    own = differences.get(parts[0].name)
    if own is None:
        return Finding("scaler", "not applicable", f"no ticker has a complete row in {parts[0].name}")
    if (own <= SCALER_TOLERANCE).all():
        return Finding("scaler", "passed", f"{len(columns)} of {len(stored.columns)} columns")
    worst = int(np.argmax(own))
    closest = min(differences, key=lambda name: float(differences[name].max()))
    fits = bool((differences[closest] <= SCALER_TOLERANCE).all())
    wide = parts[1].start if len(parts) > 1 else None
    detail = (
        f"it was fitted on {closest}, and not on {parts[0].name} alone"
        if fits
        else f"it fits no part of the calendar that was tried ({', '.join(differences)}); fit it again"
    )
    return Finding(
        "scaler", "leak", detail, columns[worst], wide if fits else None, float(own[worst]), "scales of the column"
    )


def universe(spans: Mapping[str, tuple[pd.Timestamp, pd.Timestamp]], start: pd.Timestamp, end: pd.Timestamp) -> Finding:
    """Ask whether tickers that ended are among those of the market.

    Parameters
    ----------
    spans
        First and last bar by ticker.
    start, end
        Of the calendar.
    """
    late = sum(first > start for first, _ in spans.values())
    ended = [ticker for ticker, (_, last) in spans.items() if last < end - ENDED]
    if ended or len(spans) < FEWEST_TICKERS:
        told = f"{len(ended)} of {len(spans)} tickers ended before {end:%Y-%m-%d}"
        return Finding("universe", "passed" if ended else "not applicable", told)
    return Finding(
        "universe",
        "warning",
        f"all {len(spans)} tickers are alive at the end ({end:%Y-%m-%d}) and none ended before; {late} began after the "
        "start. Those that were delisted are missing, so that what is found holds for survivors",
        "tickers",
        None,
        float(late),
        "tickers that began late",
    )
