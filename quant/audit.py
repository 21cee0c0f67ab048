"""What an audit finds: checks by name, verdicts, and what is wrong first.

The checks themselves are in `quant.audit_features`, `quant.audit_labels`, `quant.audit_signals`, `quant.audit_parts`,
`quant.audit_trades` and `quant.audit_walk`. Each compares what a run has with what follows from its bars when the
future is cut off, the start is moved or the past is replaced; none fits or searches anything again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant.samplers import ticker_seed

Verdict = Literal["passed", "leak", "warning", "not applicable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
WORST_FIRST: tuple[Verdict, ...] = ("leak", "warning", "passed", "not applicable")
MARKET = "all"
"""In place of a ticker, where a check is of the run as a whole."""

CHECKS: dict[str, str] = {
    "features_future": "features stay the same when the future is cut off",
    "features_start": "features do not depend on where the bars start, but for the stated warm-up",
    "labels": "a label rests on the bars of its horizon, and on nothing else",
    "signals_future": "scaled windows, predictions and signals stay the same when the future is cut off",
    "gaps": "no window and no label spans a gap",
    "scaler": "the scaler was fitted on the fit part alone",
    "parts": "the parts of the calendar stay a label's horizon apart",
    "fills": "every trade is entered after its signal, at a price of its bar",
    "same_bar": "on a random walk a bar does not tell its own label",
    "own_signals": "signals of one's own do not know the bars to come",
    "other_ticker": "signals of one's own do not know another ticker's next bar",
    "universe": "tickers that ended are among those judged",
    "funding": "funding of perpetuals is charged",
}
"""Every check, in the order in which they are told, and what holds where it is passed."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class AuditError(ValueError):
    """Findings that are none: an unknown check or verdict."""


@dataclass(frozen=True)
class Finding:
    """What one check says of one ticker, or of the run as a whole.

    Parameters
    ----------
    column
        What it was found in: a feature, ``label``, ``signal``, a part; empty where there is nothing to name.
    first
        Open of the first bar that is wrong.
    effect, unit
        How large the effect is, and in what.
    detail
        The same in a sentence.

    Raises
    ------
    AuditError
        If there is no such check or verdict.
    """

    check: str
    verdict: Verdict
    detail: str
    column: str = ""
    first: pd.Timestamp | None = None
    effect: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        """Refuse what no reader would know."""
        if self.check not in CHECKS:
            raise AuditError(f"there is no check {self.check!r}; allowed: {', '.join(CHECKS)}")
        if self.verdict not in VERDICTS:
            raise AuditError(f"verdict of {self.check} is {self.verdict!r}; allowed: {', '.join(VERDICTS)}")

    def row(self) -> dict[str, Any]:
        """The finding as a row of the dataset ``audit``."""
        return {**asdict(self), "effect": None if self.effect is None else float(self.effect)}


def not_applicable(check: str, why: str) -> Finding:
    """What is said of a check that was not made."""
    return Finding(check, "not applicable", why)


def worst(findings: Iterable[Finding]) -> Finding:
    """Return the gravest of findings of one check, and of several the one with the largest effect.

    Raises
    ------
    ValueError
        If there is none.
    """
    return min(findings, key=lambda one: (WORST_FIRST.index(one.verdict), -(one.effect or 0.0)))


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """One finding a check, in the order of ``CHECKS``: the gravest of each."""
    by_check: dict[str, list[Finding]] = {}
    for one in findings:
        by_check.setdefault(one.check, []).append(one)
    return [worst(by_check[check]) for check in CHECKS if check in by_check]


def leaks(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of an audit that are leaks."""
    return table[table["verdict"] == "leak"]


def sample(rows: Mapping[str, float], count: int, always: Iterable[str] = ()) -> list[str]:
    """Choose the tickers that are audited: some spread evenly from the shortest history to the longest, and others.

    Parameters
    ----------
    rows
        Bars by ticker.
    count
        How many are spread.
    always
        Audited in any case, if they are there.

    Returns
    -------
    Names in the order of the alphabet; the same for the same market.
    """
    by_length = sorted(rows, key=lambda ticker: (rows[ticker], ticker))
    spread = np.unique(np.linspace(0, len(by_length) - 1, min(count, len(by_length))).round().astype(int))
    return sorted({*(by_length[position] for position in spread), *(one for one in always if one in rows)})


def cuts(
    bars: pd.DataFrame, borders: Sequence[tuple[pd.Timestamp, pd.Timestamp]], count: int, warm_up: int, seed: int
) -> list[int]:
    """Choose after how many bars the future is cut off.

    The first cut lies within the warm-up, where what is filled backwards shows; then one in each stretch of the
    calendar; then right after bars in which something is missing (no volume, no range, or a gap ahead), where values
    that are filled from later ones show; then anywhere.

    Parameters
    ----------
    bars
        Of a ticker, indexed by time.
    borders
        Start and end of each stretch that must hold a cut; one without bars holds none.
    count
        Cuts at most, 1 or more.
    warm_up
        Leading bars without a value.
    seed
        Equal seeds give equal cuts.

    Returns
    -------
    Positions from 1 to the number of bars less 1, increasing; fewer where there are too few bars.
    """
    if len(bars) < 2:
        return []
    generator = np.random.default_rng(seed)
    index = pd.DatetimeIndex(bars.index)
    found = [min(max(1, warm_up // 2 + 1), len(bars) - 1)]
    for start, end in borders:
        first, last = (int(place) for place in index.searchsorted(pd.DatetimeIndex([start, end]).as_unit(index.unit)))
        # not at the very start, of which little would be compared
        low, high = first + (last - first) // 4, min(last, len(bars) - 1)
        if high > max(low, 1):
            found.append(int(generator.integers(max(low, 1), high)))
    strange = np.flatnonzero(_strange(bars)) + 1
    strange = strange[(strange > warm_up) & (strange < len(bars))]
    if len(strange):
        found.append(int(generator.choice(strange)))
    # the last cut of all shows what rests on statistics of the whole
    found.extend(int(place) for place in generator.integers(len(bars) // 2, len(bars), size=count))
    chosen: list[int] = []
    for place in found:
        if 0 < place < len(bars) and place not in chosen and len(chosen) < count:
            chosen.append(place)
    return sorted(chosen)


def seed_of(base: int, ticker: str, what: str) -> int:
    """Seed of what is drawn for a ticker: the same at any number of workers."""
    return ticker_seed(base, f"audit {what} {ticker}")


def _strange(bars: pd.DataFrame) -> Mask:
    """Bars in which something is missing, and the last ones before a gap."""
    steps = np.diff(pd.DatetimeIndex(bars.index).asi8)
    before_gap = np.append(steps > np.median(steps), False) if len(steps) else np.zeros(len(bars), dtype=bool)
    still = (bars["high"] == bars["low"]).to_numpy() | (bars["volume"] == 0).to_numpy()
    return np.asarray(still | before_gap)
