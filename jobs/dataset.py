"""Labelled windows of the tickers that a model learns from, as positions in the rows beneath them.

A window is cut when a batch is fed. The rows of all tickers are held where they fit into the memory allowed; of more,
a group of tickers is held while the next is read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs import market
from jobs.stage import Context
from quant import scaling, windows
from quant.bars import segments
from quant.features import columns
from quant.prefetch import prefetched
from quant.scaling import Scaler
from quant.schemas import FEATURES, LABELS
from quant.splits import Part
from quant.training import Windows
from storage.tables import read_table

_BYTES = np.dtype(np.float32).itemsize


class NoWindowsError(ValueError):
    """A part of the calendar without a single window to learn from."""


@dataclass(frozen=True)
class TickerWindows:
    """Labelled windows of one ticker in one part of the calendar.

    Parameters
    ----------
    rows
        How many rows its windows lie in: those of the part, and what the first window reaches back to.
    ends, labels
        Of each window: the position of its last row, and its label.
    outcomes, days
        Of each window: the return that followed, and the UTC day as a number since 1970.
    """

    ticker: str
    rows: slice
    ends: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int8]
    outcomes: npt.NDArray[np.float64]
    days: npt.NDArray[np.int64]

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.rows.stop - self.rows.start)


@dataclass(frozen=True)
class Stream:
    """The windows of a part, of which no more rows are held than the memory allows: a feed as `quant.training` asks.

    Parameters
    ----------
    read
        Gives the scaled rows (rows × features) that the windows of a ticker lie in.
    features
        Number of features.
    memory
        Bytes of rows to hold at most; a single ticker is held in any case.
    """

    read: Callable[[TickerWindows], npt.NDArray[np.float32]]
    members: tuple[TickerWindows, ...]
    features: int
    memory: float

    @cached_property
    def labels(self) -> npt.NDArray[np.int8]:
        """Labels of all windows, one ticker after another."""
        return np.concatenate([member.labels for member in self.members])

    @cached_property
    def outcomes(self) -> npt.NDArray[np.float64]:
        """The return that followed each window, in the order of the labels."""
        return np.concatenate([member.outcomes for member in self.members])

    @cached_property
    def days(self) -> npt.NDArray[np.int64]:
        """UTC day of each window as a number since 1970, in the order of the labels."""
        return np.concatenate([member.days for member in self.members])

    def groups(self, generator: np.random.Generator | None = None) -> Iterator[Windows]:
        """Yield all windows, a group of tickers at a time; groups are drawn anew with each generator."""
        if sum(map(self._bytes, self.members)) <= self.memory:
            yield self._whole
            return
        order = np.arange(len(self.members)) if generator is None else generator.permutation(len(self.members))
        parted = self._parted([self.members[position] for position in order])
        yield from prefetched(map(self._group, parted))

    @cached_property
    def _whole(self) -> Windows:
        return self._group(self.members)

    def _parted(self, members: Sequence[TickerWindows]) -> Iterator[list[TickerWindows]]:
        """Cut tickers into groups, of which two at a time are in memory."""
        group: list[TickerWindows] = []
        for member in members:
            if group and sum(map(self._bytes, [*group, member])) > self.memory / 2:
                yield group
                group = []
            group.append(member)
        yield group

    def _group(self, members: Sequence[TickerWindows]) -> Windows:
        offsets = np.cumsum([0, *(member.height for member in members)])
        rows = np.empty((int(offsets[-1]), self.features), dtype=np.float32)
        for member, first, last in zip(members, offsets[:-1], offsets[1:], strict=True):
            rows[first:last] = self.read(member)
        ends = [member.ends + offset for member, offset in zip(members, offsets[:-1], strict=True)]
        return Windows(rows, np.concatenate(ends), np.concatenate([member.labels for member in members]))

    def _bytes(self, member: TickerWindows) -> int:
        return member.height * self.features * _BYTES


@dataclass(frozen=True)
class TrainingData:
    """Windows of the parts asked for and what time they span, by name, scaled by statistics of the fit part."""

    parts: dict[str, Stream]
    spans: dict[str, Part]
    scaler: Scaler

    @property
    def fit(self) -> Stream:
        """What the weights are fitted on."""
        return self.parts["fit"]

    @property
    def validate(self) -> Stream:
        """What training is watched on."""
        return self.parts["validate"]


def load(context: Context, tickers: Sequence[str], names: Sequence[str] = ("fit", "validate")) -> TrainingData:
    """Find the labelled windows of parts of the calendar and fit the scaler; rows are read when windows are fed.

    Parameters
    ----------
    names
        Of the parts. What comes after the last of them is never held.

    Raises
    ------
    NoWindowsError
        If a part has no complete, labelled window.
    """
    ingested = market.of(context)
    every, calendar = market.parts(context, ingested), market.calendar(context, ingested)
    parts = {name: every[name] for name in names}
    steps, features = context.config.train.steps, features_in_order(context)
    memory = context.config.train.memory * 1e9
    complete = {ticker: _complete(context, ticker) for ticker in tickers}
    found = [_windows(context, rows, parts, calendar, steps) for rows in complete.items()]
    scaled_by = {
        ticker: rows.to_numpy() & (every["fit"].rows(rows.index) if context.config.train.scaler_rows == "fit" else True)
        for ticker, rows in complete.items()
    }
    scaler = _scaler(context, features, scaled_by, memory)

    def read(member: TickerWindows) -> npt.NDArray[np.float32]:
        table = read_table(context.store, context.run, FEATURES, member.ticker, features)
        return scaler.transform(table.iloc[member.rows].to_numpy(dtype=np.float32))

    streams = {}
    for name, part in parts.items():
        members = tuple(windows[name] for windows in found if len(windows[name].ends))
        if not members:
            raise NoWindowsError(
                f"The {name} part ({part.start} to {part.end}) holds no labelled window of {steps} bars in "
                f"{', '.join(tickers[:5])}. Train on tickers with bars there, or move the parts by [split]."
            )
        # fit and validate are held side by side where both fit into the memory
        streams[name] = Stream(read, members, len(features), memory / len(parts))
    return TrainingData(streams, parts, scaler)


def features_in_order(context: Context) -> tuple[str, ...]:
    """Names of the features in the order that the network sees them in."""
    names, seed = columns(context.config.features.set), context.config.train.shuffle_features
    if seed is None:
        return tuple(names)
    return tuple(names[position] for position in np.random.default_rng(seed).permutation(len(names)))


def _complete(context: Context, ticker: str) -> pd.Series:
    """Whether each row of a ticker has all its features; indexed by time."""
    features = read_table(context.store, context.run, FEATURES, ticker, columns(context.config.features.set))
    return pd.Series(~np.isnan(features.to_numpy(dtype=np.float32)).any(axis=1), index=features.index)


def _windows(
    context: Context,
    rows: tuple[str, pd.Series],
    parts: dict[str, Part],
    calendar: market.Calendar,
    steps: int,
) -> dict[str, TickerWindows]:
    ticker, complete = rows
    times = pd.DatetimeIndex(complete.index)
    labels = read_table(context.store, context.run, LABELS, ticker).reindex(times)
    ends = windows.ends(complete.to_numpy(), segments(times, calendar), steps)
    label = labels["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    ends = ends[~np.isnan(label[ends])]
    outcomes = labels["outcome"].to_numpy(dtype=np.float64, na_value=np.nan)
    days = times.as_unit("s").asi8 // 86_400
    found = {}
    for name, part in parts.items():
        mine = ends[part.rows(times)[ends]]
        first, last = (int(mine[0]) - steps + 1, int(mine[-1]) + 1) if len(mine) else (0, 0)
        found[name] = TickerWindows(
            ticker,
            slice(first, last),
            (mine - first).astype(np.int64),
            label[mine].astype(np.int8),
            outcomes[mine],
            days[mine],
        )
    return found


def _scaler(
    context: Context, features: tuple[str, ...], scaled_by: dict[str, npt.NDArray[np.bool_]], memory: float
) -> Scaler:
    """Fit the scaler on rows of each ticker, as many features at a time as the memory allows."""
    kind, clip = context.config.train.scaler, context.config.train.clip
    count = sum(int(mask.sum()) for mask in scaled_by.values())
    at_once = int(np.clip(memory // (_BYTES * max(1, count)), 1, len(features)))
    scalers = []
    for first in range(0, len(features), at_once):
        names = features[first : first + at_once]
        rows, filled = np.empty((count, len(names)), dtype=np.float32), 0
        for ticker, mask in scaled_by.items():
            mine = read_table(context.store, context.run, FEATURES, ticker, names).to_numpy(dtype=np.float32)[mask]
            rows[filled : filled + len(mine)] = mine
            filled += len(mine)
        scalers.append(scaling.fit(kind, rows, names, clip=clip))
    center, scale = (tuple(value for each in scalers for value in getattr(each, name)) for name in ("center", "scale"))
    return Scaler(kind, features, center, scale, clip)
