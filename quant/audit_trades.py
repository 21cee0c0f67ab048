"""Whether trades could have been made: after the decision, at prices of their bars, and with what they cost."""

import numpy as np
import pandas as pd

from quant.audit import Finding, Mask, not_applicable
from quant.splits import Part

ROUNDING = 1e-9
FUNDING_INTERVAL = pd.Timedelta(hours=8)
SIDES = {"long": 1, "short": 2}


def fills(
    trades: pd.DataFrame, bars: pd.DataFrame, signal: pd.Series, part: Part, *, slippage: float = 0.0, resting: int = 1
) -> Finding:
    """Ask of every trade whether it was entered after its signal, at prices within its bars, and within the part.

    Parameters
    ----------
    trades
        As the dataset ``trades``.
    bars
        All bars of the ticker.
    signal
        0, 1 long or 2 short, decided at the close of its bar; where there is none it is 0.
    slippage
        Fraction by which a fill may lie beyond its bar.
    resting
        Bars within which an entry may be filled after its signal.
    """
    if trades.empty:
        return not_applicable("fills", "there are no trades")
    index = pd.DatetimeIndex(bars.index)
    inside = part.rows(index)
    places = {name: index.get_indexer(pd.DatetimeIndex(trades[f"{name}_time"])) for name in ("entry", "exit")}
    codes = signal.reindex(index).fillna(0).to_numpy(np.int8)
    wanted = trades["side"].map(SIDES).to_numpy(np.int8)
    known = (places["entry"] >= 0) & (places["exit"] >= 0)
    # a bar of an entry that is none is found as such below; here it may stand for any
    entry, leaving = (np.where(known, places[name], resting) for name in ("entry", "exit"))
    decided = np.zeros(len(trades), dtype=bool)
    for back in range(1, resting + 1):
        before = entry - back
        decided |= (before >= 0) & (codes[np.maximum(before, 0)] == wanted) & inside[np.maximum(before, 0)]
    low, high = bars["low"].to_numpy(np.float64), bars["high"].to_numpy(np.float64)

    def beyond(column: str, rows: np.ndarray) -> Mask:
        price, room = trades[column].to_numpy(np.float64), slippage + ROUNDING
        return np.asarray((price < low[rows] * (1 - room)) | (price > high[rows] * (1 + room)))

    wrong: dict[str, tuple[Mask, str]] = {
        "entry_time": (~known, "lie on no bar of the ticker, as before its listing"),
        "signal": (known & ~decided, f"were entered without a signal of their side on the {_bars(resting)} before"),
        "exit_time": (known & (leaving < entry), "ended before they began"),
        "entry_price": (known & beyond("entry_price", entry), "were entered at a price outside the bar"),
        "exit_price": (known & beyond("exit_price", leaving), "were left at a price outside the bar"),
        "part": (known & ~(inside[entry] & inside[leaving]), f"lie outside {part.name}"),
    }
    for column, (mask, what) in wrong.items():
        if mask.any():
            first = trades["entry_time"].to_numpy()[mask][0] if column != "exit_price" else None
            moment = pd.Timestamp(trades["exit_time"][mask].iloc[0]) if first is None else pd.Timestamp(first)
            moment = moment if moment.tzinfo else moment.tz_localize("UTC")
            told = f"{int(mask.sum())} of {len(trades)} trades {what}"
            return Finding("fills", "leak", told, column, moment, float(mask.sum()), "trades")
    return Finding("fills", "passed", f"{len(trades)} trades")


def funding(ticker: str, trades: pd.DataFrame, *, charged: bool, missing: int) -> Finding:
    """Ask whether funding is charged where a perpetual was traded.

    Parameters
    ----------
    ticker
        ``venue-market:SYMBOL``; perpetuals are of the market ``um``.
    charged
        Whether the run charges funding.
    missing
        Payments without a rate, which counted as 0.
    """
    if not ticker.partition(":")[0].endswith("-um"):
        return not_applicable("funding", "it is no perpetual")
    if charged:
        if not missing:
            return Finding("funding", "passed", "")
        return Finding(
            "funding", "warning", f"{missing} payments have no rate and count as 0", "rate", None, missing, "payments"
        )
    if trades.empty:
        return not_applicable("funding", "nothing was traded")
    entered, left = (pd.DatetimeIndex(trades[name]).as_unit("s").asi8 for name in ("entry_time", "exit_time"))
    step = int(FUNDING_INTERVAL.total_seconds())
    due = int((left // step - entered // step).sum())
    if not due:
        return Finding("funding", "passed", "no payment fell due while it was held")
    return Finding(
        "funding",
        "warning",
        f"a perpetual is charged no funding: {due} payments fell due while it was held (at the usual eight hours; "
        "0.01 % each is 11 % a year). Give rates by ingest.funding",
        "rate",
        pd.Timestamp(trades["entry_time"].iloc[0]),
        float(due),
        "payments",
    )


def _bars(count: int) -> str:
    return "bar" if count == 1 else f"{count} bars"
