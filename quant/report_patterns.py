"""The page of patterns: which windows run alike, what followed them, and every one of them to look at.

It is a page of its own (``render``) and a section of the report of a run (``section``). Like the report it makes no
request and runs no script but its own. The plane is therefore drawn by our own few lines of WebGL: the plot library's
WebGL traces compile code while they run, which the policy forbids.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant import report_pattern_words as pattern_words
from quant import report_words as words
from quant.clusters import ALL, NOISE
from quant.report_assets import ReportError, asset, environment, require, shell
from quant.report_figures import Cell, Record, plain_columns, value_of
from quant.report_pattern_data import (
    BAR_COLUMNS,
    MAXIMUM_POINTS,
    Bars,
    packed_bars,
    packed_points,
    rounded,
    seen,
    thinned,
)
from quant.report_pattern_words import FIGURES, PARTS, SHUFFLED

RATE = 0.1
PROTOCOLS = ("honest", "seed")
SIDES = ("long", "short")
QUANTILES = ("q10", "q25", "q50", "q75", "q90")
POINT_COLUMNS = ("ticker", "time", "x", "y", "cluster", "outcome", "hit")
PROFILE_COLUMNS = ("cluster", "feature", "step", "mean", *QUANTILES)
OUTCOME_COLUMNS = (
    "part", "cluster", "windows", "episodes", "days",
    "hit_rate", "base_rate", "hit_difference", "hit_low", "hit_high", "hit_p_value", "hit_q_value",
    "mean_return", "base_return", "return_difference", "return_low", "return_high", "return_p_value", "return_q_value",
)  # fmt: skip
HISTOGRAM_COLUMNS = ("cluster", "low", "high", "windows")
COUNT_COLUMNS = ("count", "stability", "stability_error", "silhouette")

OUTCOME_HEADERS = (
    ("Cluster", "", "ascending", "name"),
    ("Windows", "window", "descending", "number"),
    ("Outcome followed", "base_rate", "descending", "number"),
    ("Difference, 95% interval", "difference", "descending", "number"),
    ("q-value", "q_value", "ascending", "number"),
    ("Mean return", "forward_return", "descending", "number"),
    ("Difference, 95% interval", "difference", "descending", "number"),
    ("q-value", "q_value", "ascending", "number"),
)


@dataclass(frozen=True, kw_only=True)
class PatternContent:
    """Everything that the page of patterns shows.

    Parameters
    ----------
    run, created
        Name of the run, and when the page was made, as shown.
    protocol
        "honest": clusters of windows taken without regard to what followed, tested on later days; "seed": the
        clustering notebook step for step, of windows before a rise only.
    settings
        Name → value, in words.
    bar, length, horizon
        Length of a bar ("1h"), bars of a window, bars looked ahead for the outcome.
    outcome
        The outcome in words, as in "best close of the next 4 bars at least 5 % above this close".
    units
        Feature → unit, in the order shown.
    points
        A row a window of the plane: ticker, time of its last bar (UTC), x, y, cluster (−1: noise), outcome (fraction,
        NaN where unknown) and hit (bool, null where unknown). Beyond 30,000 a seeded sample is shown.
    profiles
        Mean and quantiles of a feature over the windows of a cluster (−2: all windows, optional) in the feature's
        unit: cluster, feature, step (−length + 1 … 0), mean, q10, q25, q50, q75, q90.
    outcomes
        Outcomes of the windows of a cluster against those of all, by part (fit, validate, choose): counts (windows,
        episodes, days), shares with outcome (hit_rate, base_rate) and mean returns (mean_return, base_return) as
        fractions, their differences with 95 % interval (low, high), p- and q-value. Nulls allowed; may be empty.
    histograms
        Windows of a cluster (−2: all windows) with an outcome in [low, high), in fractions; every cluster has the
        same bins. May be empty.
    counts
        How the number of clusters was chosen: count, stability, stability_error, silhouette; None where it was given.
    figures
        Figures of the run by their names in ``report_pattern_words.FIGURES`` and ``SHUFFLED``; those that are None or
        missing are left out.
    sides
        Cluster → "long" or "short" where it is traded as a signal.
    bars
        Ticker → bars by time (UTC): open, high, low, close, volume, bb_lower, bb_middle, bb_upper, bb_width, rsi. Only
        windows of these tickers can be viewed. Rows without a price are gaps.
    rate
        Largest q-value at which a cluster is said to differ from the base rate.
    """

    run: str
    created: str
    protocol: str
    settings: Mapping[str, str]
    bar: str
    length: int
    horizon: int
    outcome: str
    units: Mapping[str, str]
    points: pd.DataFrame
    profiles: pd.DataFrame
    outcomes: pd.DataFrame
    histograms: pd.DataFrame
    counts: pd.DataFrame | None
    figures: Mapping[str, float | None]
    sides: Mapping[int, str]
    bars: Mapping[str, pd.DataFrame]
    rate: float = RATE


def render(content: PatternContent) -> str:
    """Return the page of patterns as one HTML page of about 3 MB plus 32 kB for each ticker of 3,000 bars to view.

    Raises
    ------
    ReportError
        If a frame lacks a column or holds what it may not, or a figure, part, protocol or side is unknown.
    """
    made = section(content)
    template = environment().get_template("patterns.html.jinja")
    return template.render(
        content=content,
        words=words,
        glossary=pattern_words.GLOSSARY,
        patterns=made,
        data={"patterns": made["data"]},
        **shell(*page()),
    )


def page() -> tuple[str, str]:
    """Style and script of a page that shows patterns."""
    return asset("page.css") + asset("patterns.css"), asset("page.js") + asset("patterns.js")


def section(content: PatternContent) -> dict[str, Any]:
    """Return all that the template writes of the patterns, with ``data`` for the script and ``bars`` to be viewed.

    Raises
    ------
    ReportError
        As ``render``.
    """
    _check(content)
    shown = thinned(content.points)
    clusters = [int(cluster) for cluster in sorted(content.points["cluster"].unique())]
    sizes = content.points["cluster"].value_counts()
    viewable, bars = _viewed(content, shown)
    return {
        "found": pattern_words.found(
            content.outcomes, [cluster for cluster in clusters if cluster != NOISE], content.protocol, content.rate
        ),
        "caveats": pattern_words.caveats(content.protocol, content.figures),
        "figures": pattern_words.figure_cards(content.figures),
        "clusters": [
            {
                "number": cluster,
                "name": pattern_words.name(cluster),
                "windows": words.count(sizes[cluster]),
                "side": content.sides.get(cluster, ""),
            }
            for cluster in clusters
        ],
        "features": [{"name": feature, "unit": unit} for feature, unit in content.units.items()],
        "path": "log_return" in content.units,
        "outcome": content.outcome,
        "protocol": content.protocol,
        "shown": words.count(len(shown)),
        "windows": words.count(len(content.points)),
        "sampled": len(content.points) > MAXIMUM_POINTS,
        "viewable": int(viewable.sum()),
        "headers": [
            {"label": label, "tip": pattern_words.GLOSSARY.get(tip, ("", ""))[1], "first": first, "kind": kind}
            for label, tip, first, kind in OUTCOME_HEADERS
        ],
        "parts": _parts(content),
        "histograms": bool(len(content.histograms)),
        "counts": None if content.counts is None else _counts(content.counts, clusters),
        "data": _data(content, shown, viewable, clusters),
        "bars": bars,
    }


def _check(content: PatternContent) -> None:
    _one_of("protocol", content.protocol, PROTOCOLS)
    try:
        length_of_bar = pd.Timedelta(content.bar)
    except ValueError:
        length_of_bar = pd.Timedelta(0)
    if not length_of_bar > pd.Timedelta(0):
        raise ReportError(f"bar is {content.bar!r}; allowed: a length of time such as '15m' or '1h'")
    for name in ("length", "horizon"):
        if getattr(content, name) < 1:
            raise ReportError(f"{name} is {getattr(content, name)}; allowed: 1 or more bars")
    for name, columns in (
        ("points", POINT_COLUMNS),
        ("profiles", PROFILE_COLUMNS),
        ("outcomes", OUTCOME_COLUMNS),
        ("histograms", HISTOGRAM_COLUMNS),
        ("counts", COUNT_COLUMNS),
    ):
        frame = getattr(content, name)
        # a table of nothing needs no columns
        if frame is not None and (len(frame) or name in ("points", "profiles")):
            require(name, frame, columns)
    _check_points(content.points)
    clusters = {int(cluster) for cluster in content.points["cluster"].unique()}
    _check_profiles(content, clusters)
    for part in content.outcomes["part"].unique() if len(content.outcomes) else ():
        _one_of("part of outcomes", part, tuple(PARTS))
    if len(content.histograms):
        _check_histograms(content.histograms)
    for figure in content.figures:
        _one_of("figure", figure, (*FIGURES, *SHUFFLED))
    for cluster, side in content.sides.items():
        _one_of(f"side of cluster {cluster}", side, SIDES)
    for ticker, frame in content.bars.items():
        require(f"bars of {ticker!r}", frame, BAR_COLUMNS)
        _check_times(f"bars of {ticker!r}", frame.index)
        if not (frame.index.is_monotonic_increasing and frame.index.is_unique):
            raise ReportError(f"bars of {ticker!r} are not in order of time; allowed: increasing times, each once")


def _check_points(points: pd.DataFrame) -> None:
    if points.empty:
        raise ReportError("points holds no window; allowed: at least one")
    _check_times("points", pd.Index(points["time"]))
    for axis in ("x", "y"):
        if not np.isfinite(points[axis].to_numpy(float)).all():
            raise ReportError(f"points holds a place that is not finite in {axis}; allowed: finite numbers")
    if points["cluster"].isna().any() or points["cluster"].min() < NOISE:
        raise ReportError(f"points holds the cluster {points['cluster'].min()}; allowed: {NOISE} (noise), 0, 1, …")


def _check_profiles(content: PatternContent, clusters: set[int]) -> None:
    profiles, steps = content.profiles, list(range(1 - content.length, 1))
    for feature in profiles["feature"].unique():
        _one_of("feature of profiles", feature, tuple(content.units))
    for (cluster, feature), rows in profiles.groupby(["cluster", "feature"], sort=False):
        if sorted(rows["step"]) != steps:
            raise ReportError(
                f"profiles of {feature!r} in cluster {cluster!r} have other steps than {steps[0]} … 0; "
                f"allowed: each of these {content.length} once"
            )
    known = set(zip(profiles["cluster"], profiles["feature"], strict=True))
    missing = [(cluster, feature) for cluster in sorted(clusters) for feature in content.units
               if cluster != NOISE and (cluster, feature) not in known]  # fmt: skip
    if missing:
        raise ReportError(
            f"profiles lacks {missing[0][1]!r} of cluster {missing[0][0]}; allowed: every feature of each"
        )


def _check_histograms(histograms: pd.DataFrame) -> None:
    edges = histograms[["low", "high"]].to_numpy(float)
    if not (np.isfinite(edges).all() and (edges[:, 0] < edges[:, 1]).all()):
        raise ReportError("histograms holds a bin that is none; allowed: finite numbers, low below high")
    bins = {cluster: tuple(sorted(zip(rows["low"], rows["high"], strict=True)))
            for cluster, rows in histograms.groupby("cluster")}  # fmt: skip
    if ALL not in bins:
        raise ReportError(f"histograms lacks the cluster {ALL}; allowed: all windows beside every cluster")
    for cluster, own in bins.items():
        if own != bins[ALL]:
            raise ReportError(f"histograms of cluster {cluster!r} has other bins than all windows; allowed: the same")


def _check_times(name: str, times: pd.Index) -> None:
    if not isinstance(times, pd.DatetimeIndex) or times.tz is None:
        raise ReportError(f"{name} has times of the type {times.dtype}; allowed: times with a time zone, in UTC")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ReportError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def _viewed(content: PatternContent, shown: pd.DataFrame) -> tuple[np.ndarray[Any, Any], dict[str, Bars]]:
    """Which of the points can be viewed, and the bars to view them by ticker."""
    viewable, bars = np.zeros(len(shown), bool), {}
    for ticker, places in shown.groupby("ticker", sort=True).indices.items():
        if ticker not in content.bars:
            continue
        times = pd.DatetimeIndex(shown["time"].iloc[places])
        mask, needed = seen(content.bars[str(ticker)], times, content.length, content.horizon)
        viewable[places] = mask
        if len(needed):
            bars[str(ticker)] = packed_bars(needed)
    return viewable, bars


def _parts(content: PatternContent) -> list[dict[str, Any]]:
    """Outcomes by part, the one to trust first: what the part is, its base rate, and a row of cells a cluster."""
    if content.outcomes.empty:
        return []
    parts = []
    for part, meaning in reversed(PARTS.items()):
        table = content.outcomes[content.outcomes["part"] == part].sort_values("cluster")
        if table.empty:
            continue
        first = table.iloc[0].to_dict()
        parts.append(
            {
                "name": part,
                "meaning": meaning,
                "base_rate": words.percent(value_of(first, "base_rate")),
                "base_return": words.percent(value_of(first, "base_return"), signed=True, digits=2),
                "rows": [
                    {
                        "number": int(record["cluster"]),
                        "name": pattern_words.name(int(record["cluster"])),
                        "side": content.sides.get(int(record["cluster"]), ""),
                        "cells": _cells(record, content.rate),
                    }
                    for record in table.to_dict("records")
                ],
            }
        )
    return parts


def _cells(record: Record, rate: float) -> list[Cell]:
    def mean(value: float | None) -> str:
        return words.percent(value, signed=True, digits=2)

    windows, episodes, days = (words.count(value_of(record, name)) for name in ("windows", "episodes", "days"))
    return [
        Cell(windows, value_of(record, "windows"), note=f"{episodes} episodes, {days} days"),
        Cell(words.percent(value_of(record, "hit_rate")), value_of(record, "hit_rate")),
        *_difference(record, "hit", pattern_words.points, rate),
        Cell(mean(value_of(record, "mean_return")), value_of(record, "mean_return")),
        *_difference(record, "return", mean, rate),
    ]


def _difference(record: Record, kind: str, form: Callable[[float | None], str], rate: float) -> tuple[Cell, Cell]:
    """A difference from all windows with its interval, and its q-value; coloured where it holds after correction."""
    value, low, high, q_value = (
        value_of(record, f"{kind}_{name}") for name in ("difference", "low", "high", "q_value")
    )
    differs = q_value is not None and q_value <= rate and value
    style = "" if not differs else "gain" if differs > 0 else "loss"
    return (
        Cell(form(value), value, note=pattern_words.between(low, high, form), style=style),
        Cell(words.probability(q_value), q_value, style=style),
    )


def _counts(counts: pd.DataFrame, clusters: list[int]) -> dict[str, Any]:
    """How stable and how well apart so many clusters are, and how many there are."""
    table, chosen = counts.sort_values("count"), sum(cluster != NOISE for cluster in clusters)
    return {
        "chosen": chosen,
        "headers": [pattern_words.GLOSSARY[name] for name in ("stability", "silhouette")],
        "rows": [
            {
                "count": int(record["count"]),
                "chosen": int(record["count"]) == chosen,
                "stability": words.decimal(value_of(record, "stability")),
                "error": words.decimal(value_of(record, "stability_error")),
                "silhouette": words.decimal(value_of(record, "silhouette")),
            }
            for record in table.to_dict("records")
        ],
    }


def _data(
    content: PatternContent, shown: pd.DataFrame, viewable: np.ndarray[Any, Any], clusters: list[int]
) -> dict[str, Any]:
    """What the script draws; the points are packed and the bars are apart."""
    tickers = sorted(str(ticker) for ticker in shown["ticker"].unique())
    numbers = {ticker: number for number, ticker in enumerate(tickers)}
    return {
        "bar": int(pd.Timedelta(content.bar) / pd.Timedelta(milliseconds=1)),
        "length": content.length,
        "horizon": content.horizon,
        "clusters": [
            {"number": cluster, "name": pattern_words.name(cluster), "side": content.sides.get(cluster, "")}
            for cluster in clusters
        ],
        "units": dict(content.units),
        "tickers": tickers,
        "points": packed_points(shown, numbers, viewable),
        "profiles": _profiles(content.profiles),
        "histograms": _histograms(content.histograms),
        "counts": None if content.counts is None else plain_columns(content.counts.sort_values("count")),
    }


def _profiles(profiles: pd.DataFrame) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """Cluster → feature → mean and quantiles, oldest step first."""
    found: dict[str, dict[str, dict[str, list[float | None]]]] = {}
    for (cluster, feature), rows in profiles.sort_values("step").groupby(["cluster", "feature"], sort=False):
        found.setdefault(str(cluster), {})[str(feature)] = {name: rounded(rows[name]) for name in ("mean", *QUANTILES)}
    return found


def _histograms(histograms: pd.DataFrame) -> dict[str, Any] | None:
    """The bins, and by cluster the share of its windows in each; None where there are none."""
    if histograms.empty:
        return None
    ordered = histograms.sort_values("low")
    bins = ordered[ordered["cluster"] == ALL]
    shares: dict[Hashable, list[float | None]] = {
        str(cluster): rounded(rows["windows"] / max(rows["windows"].sum(), 1))
        for cluster, rows in ordered.groupby("cluster")
    }
    return {"low": rounded(bins["low"]), "high": rounded(bins["high"]), "shares": shares}
