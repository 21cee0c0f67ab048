"""The data as the report shows it: what was read, what was set aside and why, what is odd, and when."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import report_figures as figures
from quant import report_words as words
from quant.quality import KINDS
from quant.report_assets import ReportError, require

COLUMNS = ("ticker", "rows", "first", "last", "gaps", "quarantined")
REASON_COLUMNS = ("reason", "rows", "tickers")
FLAG_COLUMNS = ("kind", "start", "end")
WORST = 12
"""Tickers in the picture, and in the table that is open."""
ACROSS = 500
"""Columns of the picture: what lies closer together is one mark."""

MEANINGS = {
    "gap": "Bars are missing between two that are there. They stay missing: nothing is invented to fill them.",
    "redenomination": "Prices jump by a round factor and stay there: a split, or a coin with another unit.",
    "spike": "One bar reaches far beyond its neighbours and is undone by the next one: a bad print, or a real squeeze.",
    "stale": "The price did not move at all for a while: nobody traded, or the feed stood still.",
    "volume": "One bar's volume is a thousand usual ones or more.",
    "zero volume": "Nothing was traded for a while: an illiquid market, or an outage.",
}
GROUPS = {
    "missing": ("gap",),
    "jumps": ("redenomination", "spike", "volume"),
    "still": ("stale", "zero volume"),
}
"""Colours of the picture, with the kinds of flags that each stands for."""
GROUP_WORDS = {"missing": "bars missing", "jumps": "jumps of price or volume", "still": "nothing moves"}


class Span(NamedTuple):
    """The time that the picture shows, in microseconds since 1970."""

    start: int
    end: int

    def places(self, moments: "pd.Series[Any]") -> npt.NDArray[np.int64]:
        """Columns of the picture that moments lie in."""
        share = (_microseconds(moments) - self.start) / max(1, self.end - self.start)
        return np.clip((share * ACROSS).astype(np.int64), 0, ACROSS - 1)


def check(quality: pd.DataFrame, reasons: pd.DataFrame, flags: Mapping[str, pd.DataFrame]) -> None:
    """Raise ``ReportError`` where a frame lacks a column, or a kind of flag is not known."""
    require("quality", quality, COLUMNS)
    require("reasons", reasons, REASON_COLUMNS)
    for ticker, frame in flags.items():
        require(f"flags of {ticker}", frame, FLAG_COLUMNS)
        if unknown := set(frame["kind"]) - set(KINDS):
            raise ReportError(f"flags of {ticker} are of the kind {min(unknown)!r}; allowed: {', '.join(KINDS)}")


def section(
    quality: pd.DataFrame,
    reasons: pd.DataFrame,
    flags: Mapping[str, pd.DataFrame],
    parts: Mapping[str, tuple[pd.Timestamp, pd.Timestamp]],
    unread: int,
    detailed: int,
    assumed: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """What the section of the data shows.

    Parameters
    ----------
    quality
        A row a ticker: ticker, rows, first, last, gaps, quarantined, and a number for each kind of flag, which may be
        missing.
    reasons
        A row a reason of the quarantine: reason, rows, tickers.
    flags
        Ticker → ``schemas.QUALITY``, of the tickers that are drawn.
    parts
        Part → (start, end), half-open, in time order.
    unread
        Tickers that could not be read.
    detailed
        Tickers in the table of all.
    assumed
        What was assumed while reading → the tickers that it holds for.
    """
    counted = counted_flags(quality)
    odd = counted[list(KINDS)].sum()
    totals = totals_of(quality)
    kinds = [name for name in KINDS if odd[name]]
    return {
        "sentence": told(quality, unread),
        "totals": {name: words.count(value) for name, value in totals.items()},
        "flagged": words.count(int(odd.drop("gap").sum())),
        "tickers": len(quality),
        "reasons": [
            {
                "reason": row["reason"],
                "rows": words.count(row["rows"]),
                "tickers": words.count(row["tickers"]),
                "share": row["rows"] / reasons["rows"].sum(),
            }
            for row in reasons.sort_values(["rows", "reason"], ascending=[False, True]).to_dict("records")
        ],
        "kinds": [
            {
                "label": KINDS[name].label,
                "rule": KINDS[name].rule,
                "meaning": MEANINGS[name],
                "number": words.count(odd[name]),
                "tickers": words.count(int((counted[name] > 0).sum())),
                "share": odd[name] / odd.max(),
            }
            for name in sorted(kinds, key=lambda name: -odd[name])
        ],
        "assumed": [
            {"note": note[:1].upper() + note[1:], "tickers": words.count(len(tickers)), "example": tickers[0]}
            for note, tickers in assumed.items()
        ],
        "worst": _worst(counted, kinds),
        "picture": picture(quality, flags, parts) if totals["quarantined"] + int(odd.sum()) else None,
        "rows": _rows(counted, detailed),
    }


def totals_of(quality: pd.DataFrame) -> dict[str, int]:
    """Bars, gaps and rows set aside, of all tickers together."""
    return {name: int(quality[name].sum()) for name in ("rows", "gaps", "quarantined")}


def told(quality: pd.DataFrame, unread: int) -> str:
    """What was read and what was wrong with it, as ``section`` takes it."""
    flagged = counted_flags(quality)[list(KINDS)].sum().drop("gap").sum()
    return sentence(quality, totals_of(quality), int(flagged), unread)


def sentence(quality: pd.DataFrame, totals: Mapping[str, int], flagged: int, unread: int) -> str:
    """What was read and what was wrong with it, in a sentence or two."""
    if quality.empty:
        return "No ticker could be read; the failures below say why."
    read = (
        f"{words.quantity(len(quality), 'ticker', 'tickers')} gave {words.quantity(totals['rows'], 'bar', 'bars')}, "
        f"from {words.day(quality['first'].map(pd.Timestamp).min())} to "
        f"{words.day(quality['last'].map(pd.Timestamp).max())}."
    )
    if unread:
        read += f" {words.quantity(unread, 'ticker', 'tickers')} could not be read; the failures below say why."
    if not totals["quarantined"] + totals["gaps"] + flagged:
        return f"{read} Nothing is odd about them: no row was set aside, no bar is missing, and nothing was flagged."
    clauses = [
        words.quantity(number, one, many)
        for number, one, many in (
            (totals["quarantined"], "row was set aside", "rows were set aside"),
            (totals["gaps"], "gap stays a gap", "gaps stay gaps"),
            (flagged, "place is flagged", "places are flagged"),
        )
        if number
    ]
    found = f"{read} {', '.join(clauses[:-1])}{' and ' if clauses[1:] else ''}{clauses[-1]}."
    if flagged:
        found += " What is flagged was used as it came: a flag is a reason to look, not a verdict."
    return found


def picture(
    quality: pd.DataFrame, flags: Mapping[str, pd.DataFrame], parts: Mapping[str, tuple[pd.Timestamp, pd.Timestamp]]
) -> dict[str, Any]:
    """Strips over the time of the run, as paths of SVG ``ACROSS`` wide and 10 high: all tickers, and the worst ones."""
    first, last = (quality[name].map(pd.Timestamp) for name in ("first", "last"))
    kinds = {kind for frame in flags.values() for kind in frame["kind"]}
    span = Span(int(_microseconds(first).min()), int(_microseconds(last).max()))
    begins, ends = span.places(first), span.places(last)
    there = np.zeros(ACROSS + 1)
    np.add.at(there, begins, 1)
    np.add.at(there, ends + 1, -1)
    held = np.cumsum(there[:ACROSS]).astype(np.int64)
    place = {name: number for number, name in enumerate(quality["ticker"])}
    return {
        "across": ACROSS,
        "start": words.day(first.min()),
        "end": words.day(last.max()),
        "all": _area(held / max(1, held.max())),
        "most": words.count(int(held.max())),
        "groups": [(name, GROUP_WORDS[name]) for name in GROUPS if kinds & set(GROUPS[name])],
        "parts": [(name, *span.places(pd.Series([start, end])).tolist()) for name, (start, end) in parts.items()],
        "strips": [
            {
                "ticker": ticker,
                "bars": _runs(_stretch(begins[place[ticker]], ends[place[ticker]])),
                "marks": [(name, path) for name in GROUPS if (path := _marks(frame, GROUPS[name], span))],
                "label": f"{ticker}: {words.quantity(len(frame), 'flag', 'flags')}",
            }
            for ticker, frame in flags.items()
            if ticker in place
        ],
    }


def worst(quality: pd.DataFrame) -> list[str]:
    """Tickers with the most flags, those with none left out."""
    counted = counted_flags(quality)
    return [str(name) for name in counted.loc[counted["flags"] > 0, "ticker"].head(WORST)]


def counted_flags(quality: pd.DataFrame) -> pd.DataFrame:
    """The tickers with a number for every kind and their sum, those with the most that is odd first."""
    counted = quality.assign(**{name: quality.get(name, 0) for name in KINDS})
    counted[list(KINDS)] = counted[list(KINDS)].fillna(0).astype("int64")
    counted["flags"] = counted[list(KINDS)].sum(axis=1)
    return counted.sort_values(["flags", "quarantined", "gaps", "ticker"], ascending=[False, False, False, True])


def _worst(counted: pd.DataFrame, kinds: list[str]) -> dict[str, Any] | None:
    """The tickers with the most that is odd, with a column for each kind that there is."""
    some = counted[(counted["flags"] > 0) | (counted["quarantined"] > 0)]
    if some.empty:
        return None
    columns = (["quarantined"] if some["quarantined"].any() else []) + kinds
    return {
        "labels": ["Quarantined" if name == "quarantined" else KINDS[name].label for name in columns],
        "rows": [
            {
                "ticker": record["ticker"],
                "cells": [words.count(record[name]) if record[name] else "" for name in columns],
            }
            for record in some.head(WORST).to_dict("records")
        ],
        "others": len(some) - min(WORST, len(some)),
    }


def _rows(counted: pd.DataFrame, detailed: int) -> list[dict[str, Any]]:
    """Of so many tickers, the worst where there are more, a row each, by name."""
    some = counted.head(detailed).sort_index().to_dict("records")
    return [
        {
            "ticker": record["ticker"],
            "cells": [
                figures.Cell(words.count(record["rows"]), float(record["rows"])),
                figures.Cell(words.day(record["first"]), words.day(record["first"])),
                figures.Cell(words.day(record["last"]), words.day(record["last"])),
                figures.Cell(words.count(record["gaps"]), float(record["gaps"])),
                figures.Cell(words.count(record["quarantined"]), float(record["quarantined"])),
                figures.Cell(words.count(record["flags"] - record["gap"]), float(record["flags"] - record["gap"])),
            ],
        }
        for record in some
    ]


def _microseconds(moments: "pd.Series[Any]") -> npt.NDArray[np.int64]:
    return pd.DatetimeIndex(pd.to_datetime(moments, utc=True)).as_unit("us").asi8


def _stretch(begin: int, end: int) -> npt.NDArray[np.bool_]:
    columns = np.arange(ACROSS)
    return (columns >= begin) & (columns <= end)


def _marks(frame: pd.DataFrame, kinds: tuple[str, ...], span: Span) -> str:
    """What the flags of some kinds cover."""
    some = frame[frame["kind"].isin(kinds)]
    covered = np.zeros(ACROSS + 1, dtype=np.int64)
    np.add.at(covered, span.places(some["start"]), 1)
    np.add.at(covered, span.places(some["end"]) + 1, -1)
    return _runs(np.cumsum(covered[:ACROSS]) > 0)


def _runs(covered: npt.NDArray[np.bool_]) -> str:
    """A rectangle for each run of covered columns."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], covered, [False]]).astype(np.int8)))
    return "".join(f"M{begin} 0h{end - begin}v10h-{end - begin}z" for begin, end in edges.reshape(-1, 2).tolist())


def _area(shares: npt.NDArray[np.float64]) -> str:
    """The area below a stair of shares, one a column."""
    turns = np.flatnonzero(np.append(True, np.diff(shares) != 0)).tolist()
    steps = "".join(f"H{place}V{10 * (1 - shares[place]):.3g}" for place in turns)
    return f"M0 10{steps}H{ACROSS}V10z"
