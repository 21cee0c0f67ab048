"""Labelled windows of the tickers that a model learns from, as positions in the rows beneath them.

The rows of a ticker are held once and scaled by statistics of the fit part; a window is cut when a batch is fed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs import market
from jobs.stage import Context
from quant import scaling, windows
from quant.bars import segments
from quant.features import columns
from quant.scaling import Scaler
from quant.schemas import FEATURES, LABELS
from quant.splits import Part
from quant.training import Windows
from storage.tables import read_table


class NoWindowsError(ValueError):
    """A part of the calendar without a single window to learn from."""


@dataclass(frozen=True)
class TrainingData:
    """Fit and validate windows over the same rows.

    Parameters
    ----------
    outcomes, days
        Of each validate window: the return that followed, and the UTC day as a number since 1970.
    """

    fit: Windows
    validate: Windows
    outcomes: npt.NDArray[np.float64]
    days: npt.NDArray[np.int64]
    scaler: Scaler


@dataclass(frozen=True)
class _Ticker:
    """Unscaled rows of one ticker up to the end of the validate part, and where its windows end."""

    rows: npt.NDArray[np.float32]
    fit_rows: npt.NDArray[np.bool_]
    ends: dict[str, npt.NDArray[np.intp]]
    labels: npt.NDArray[np.float64]
    outcomes: npt.NDArray[np.float64]
    times: pd.DatetimeIndex


def load(context: Context, tickers: list[str]) -> TrainingData:
    """Read, scale and index the windows of the fit and validate parts.

    Raises
    ------
    NoWindowsError
        If either part has no complete, labelled window.
    """
    ingested = market.of(context)
    parts, calendar = market.parts(context, ingested), market.calendar(context, ingested)
    settings = context.config.train
    names = columns(context.config.features.set)
    found = [_read(context, ticker, parts, calendar, settings.steps) for ticker in tickers]
    rows = np.concatenate([ticker.rows for ticker in found])
    fit_rows = np.concatenate([ticker.fit_rows for ticker in found])
    scaler = scaling.fit("robust", rows[fit_rows], names, clip=settings.clip)
    scaled = scaler.transform(rows)
    offsets = np.cumsum([0, *(len(ticker.rows) for ticker in found)])
    chosen = {}
    for name in ("fit", "validate"):
        ends = [ticker.ends[name] + offset for ticker, offset in zip(found, offsets[:-1], strict=True)]
        chosen[name] = np.concatenate(ends).astype(np.int64)
        if not len(chosen[name]):
            part = parts[name]
            raise NoWindowsError(
                f"The {name} part ({part.start} to {part.end}) holds no labelled window of {settings.steps} bars in "
                f"{', '.join(tickers[:5])}. Train on tickers with bars there, or move the parts by [split]."
            )
    labels = np.concatenate([ticker.labels for ticker in found])
    outcomes = np.concatenate([ticker.outcomes for ticker in found])
    days = np.concatenate([ticker.times.as_unit("s").asi8 // 86_400 for ticker in found])
    return TrainingData(
        Windows(scaled, chosen["fit"], labels[chosen["fit"]].astype(np.int8)),
        Windows(scaled, chosen["validate"], labels[chosen["validate"]].astype(np.int8)),
        outcomes[chosen["validate"]],
        days[chosen["validate"]],
        scaler,
    )


def _read(context: Context, ticker: str, parts: dict[str, Part], calendar: market.Calendar, steps: int) -> _Ticker:
    features = read_table(context.store, context.run, FEATURES, ticker)
    labels = read_table(context.store, context.run, LABELS, ticker).reindex(features.index)
    # what comes after the validate part is never even held while training
    known = features.index < parts["validate"].end
    features, labels = features[known], labels[known]
    rows = features[list(columns(context.config.features.set))].to_numpy(dtype=np.float32)
    complete = ~np.isnan(rows).any(axis=1)
    last = windows.ends(complete, segments(features.index, calendar), steps)
    label = labels["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    last = last[~np.isnan(label[last])]
    inside = {name: parts[name].rows(features.index) for name in ("fit", "validate")}
    return _Ticker(
        rows,
        inside["fit"] & complete,
        {name: last[mask[last]] for name, mask in inside.items()},
        label,
        labels["outcome"].to_numpy(dtype=np.float64, na_value=np.nan),
        features.index,
    )
