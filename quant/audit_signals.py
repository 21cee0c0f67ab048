"""Whether signals rest on the past alone: compared with those of cut features, and held against the bars to come."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betaincinv

from quant.audit import Finding, Floats, Mask, not_applicable
from quant.placebo import shuffled_signal

TOLERANCE = 1e-4
"""Difference of probabilities that batches and threads explain."""
COARSE = 5e-3
"""The same where a GPU or 16-bit arithmetic was at work."""
ALARM = 1e-6
"""Probability that an honest signal at a threshold's border is warned of, a test."""
HONEST = 0.6
"""Share of signals that agree with the bars ahead beyond which they are too good: fees apart, nobody is so sure."""
AHEAD = (1, 3, 12)
"""Over how many bars ahead signals are looked at."""
OWN_BAR = 0.85
"""Share of signals along their own bar beyond which they may have been meant for it."""
OWN_BAR_COVERAGE = 0.1
"""Share of bars with a signal below which that is a breakout and no sign of anything."""
FEWEST = 50
"""Signals below which nothing is said."""
LEADER_AGREEMENT = 0.55
LEADER_SCORE = 8.0
"""Standard deviations of shuffled signals."""
SHUFFLES = 40

Codes = npt.NDArray[np.int8]


def compared(stored: pd.DataFrame, again: pd.DataFrame, cut: pd.Timestamp, tolerance: float = TOLERANCE) -> Finding:
    """Compare the signals of a run with those of features that end at a cut.

    Parameters
    ----------
    stored
        The run's signals: signal, probability_long, probability_short.
    again
        The same columns for some bars before the cut; probabilities are null where nothing has any.
    cut
        First bar that was left out.
    tolerance
        Difference of probabilities that is none.
    """
    rows = stored.index.intersection(again.index)
    mine, theirs = again.loc[rows], stored.loc[rows]
    lost = len(again) - len(rows)
    if lost:
        first = again.index.difference(stored.index)[0]
        return Finding("signals_future", "leak", f"{lost} bars have no row in the table", "signal", first, lost, "bars")
    for column in ("probability_long", "probability_short"):
        one, other = (table[column].to_numpy(np.float64) for table in (theirs, mine))
        apart = np.abs(one - other)
        wrong = ~((apart <= tolerance) | (np.isnan(one) & np.isnan(other)))
        if wrong.any():
            effect = float(np.max(np.where(np.isfinite(apart), apart, 1.0)[wrong]))
            return _changed(rows[wrong], len(rows), cut, column, effect, "probability")
    # where both sides are alike to rounding, either decision is right
    unsure = np.abs((mine["probability_long"] - mine["probability_short"]).to_numpy(np.float64)) <= tolerance
    wrong = (theirs["signal"].to_numpy() != mine["signal"].to_numpy()) & ~unsure
    if wrong.any():
        return _changed(rows[wrong], len(rows), cut, "signal", float(wrong.sum()), "signals")
    return Finding("signals_future", "passed", f"{len(rows)} signals")


def decided(stored: pd.DataFrame, again: Codes) -> Finding:
    """Compare all signals of a run with what its own probabilities and its threshold say."""
    wrong = stored["signal"].to_numpy() != again
    if not wrong.any():
        return Finding("signals_future", "passed", "")
    return Finding(
        "signals_future",
        "leak",
        f"{int(wrong.sum())} signals are not what their probabilities and the threshold say",
        "signal",
        stored.index[int(np.flatnonzero(wrong)[0])],
        float(wrong.sum()),
        "signals",
    )


def across_gaps(
    places: npt.NDArray[np.int64], complete: Mask, used: Mask, steps: int, index: pd.DatetimeIndex
) -> Finding:
    """Look for windows that span a gap, or a row with a missing feature.

    Parameters
    ----------
    places
        Number of each row in the calendar: neighbours differ by 1.
    complete
        Whether each row has all its features.
    used
        Where the run has a prediction of the window that ends there.
    steps
        Rows of a window.
    """
    whole = np.zeros(len(places), dtype=bool)
    missing = np.concatenate([[0], np.cumsum(~complete)])
    if len(places) >= steps:
        whole[steps - 1 :] = places[steps - 1 :] - places[: len(places) - steps + 1] == steps - 1
        whole[steps - 1 :] &= missing[steps:] == missing[: len(missing) - steps]
    wrong = used & ~whole
    if not wrong.any():
        return Finding("gaps", "passed", f"{int(used.sum())} windows")
    return Finding(
        "gaps",
        "leak",
        f"{int(wrong.sum())} of {int(used.sum())} windows of {steps} bars span a gap or a bar without features",
        "signal",
        index[int(np.flatnonzero(wrong)[0])],
        float(wrong.sum()),
        "windows",
    )


def knows_the_bars(signal: pd.Series, bars: pd.DataFrame) -> Finding:
    """Ask whether signals from a file agree with bars to come, or with their own bar, more than is plausible.

    A warning where the share of signals that agree with the direction of the next 1, 3 or 12 bars is, at a confidence
    of 1 − ``ALARM``, above ``HONEST``; or where, on a tenth of the bars or more, it is above ``OWN_BAR`` for the
    signal's own bar, which was known at its close but not at its open.
    """
    side = _sides(signal.reindex(bars.index).fillna(0).to_numpy())
    if np.count_nonzero(side) < FEWEST:
        return not_applicable(
            "own_signals", f"{np.count_nonzero(side)} signals are too few to tell; {FEWEST} are needed"
        )
    opens, closes = (bars[name].to_numpy(np.float64) for name in ("open", "close"))
    for ahead in AHEAD:
        followed = np.full(len(bars), np.nan)
        followed[:-ahead] = closes[ahead:] - opens[1 : len(bars) - ahead + 1]
        share, count, least = _agreement(side, followed, ahead)
        if least > HONEST:
            return _warned(
                "own_signals",
                f"{share:.0%} of {count} signals foretell the direction of the {ahead} bars after them; no honest "
                "signal is so sure: see whether it was made from those bars",
                side,
                followed,
                share,
                bars.index,
            )
    own = closes - opens
    share, count, least = _agreement(side, own, 1)
    if least > OWN_BAR and np.count_nonzero(side) >= OWN_BAR_COVERAGE * len(bars):
        return _warned(
            "own_signals",
            f"{share:.0%} of {count} signals go the way of their own bar: they are traded from the next open here, and "
            "would know too much if their times were meant as those of the trade",
            side,
            own,
            share,
            bars.index,
        )
    return Finding("own_signals", "passed", f"{np.count_nonzero(side)} signals")


def knows_another(
    signal: pd.Series, bars: pd.DataFrame, others: Mapping[str, pd.Series], *, block: int, seed: int
) -> Finding:
    """Ask whether signals from a file go with another ticker's next bar more than with their own.

    A warning where the correlation with the other's next return is ``LEADER_SCORE`` standard deviations above that
    of block-shuffled signals and larger than that with the own next return by a quarter, and the share of signals that
    agree with it is, at a confidence of 1 − ``ALARM``, above ``LEADER_AGREEMENT``.

    Parameters
    ----------
    others
        Return of each bar (close over open, less 1) of other tickers, indexed by time.
    block
        Bars of a block of the shuffled signals.
    """
    side = _sides(signal.reindex(bars.index).fillna(0).to_numpy())
    if not others:
        return not_applicable("other_ticker", "the run has no other ticker")
    if np.count_nonzero(side) < FEWEST:
        return not_applicable("other_ticker", f"{np.count_nonzero(side)} signals are too few to tell")
    codes = pd.Series(np.where(side < 0, 2, side).astype(np.int8), index=bars.index)
    own = _correlation(side, _next(bars["close"] / bars["open"] - 1))
    for name in sorted(others):
        ahead = _next(others[name].reindex(bars.index))
        share, _, least = _agreement(side, ahead, 1)
        strength = _correlation(side, ahead)
        if least <= LEADER_AGREEMENT or strength <= 1.25 * max(own, 0.0):
            continue
        chance = np.array(
            [_correlation(_sides(shuffled_signal(codes, block, seed + k).to_numpy()), ahead) for k in range(SHUFFLES)]
        )
        if (strength - chance.mean()) / (chance.std(ddof=1) or 1e-12) > LEADER_SCORE:
            return _warned(
                "other_ticker",
                f"{share:.0%} of the signals foretell the next bar of {name} (correlation {strength:.2f}; with its own "
                f"next bar {own:.2f}): see whether they were made from it",
                side,
                ahead,
                share,
                bars.index,
            )
    return Finding("other_ticker", "passed", f"against {', '.join(sorted(others))}")


def _changed(rows: pd.Index, count: int, cut: pd.Timestamp, column: str, effect: float, unit: str) -> Finding:
    return Finding(
        "signals_future",
        "leak",
        f"{column} is otherwise in {len(rows)} of {count} places when it is made from the bars before {cut} alone",
        column,
        rows[0],
        effect,
        unit,
    )


def _warned(check: str, detail: str, side: Floats, move: Floats, share: float, index: pd.Index) -> Finding:
    agreeing = (side != 0) & (np.sign(move) == side)
    first = index[int(np.flatnonzero(agreeing)[0])]
    return Finding(check, "warning", detail, "signal", first, share, "share of signals")


def _sides(codes: npt.NDArray[np.generic]) -> Floats:
    """1 for long, −1 for short, 0 for none."""
    return np.array([0.0, 1.0, -1.0])[codes.astype(np.int64)]


def _next(values: pd.Series) -> Floats:
    return np.append(values.to_numpy(np.float64)[1:], np.nan)


def _agreement(side: Floats, move: Floats, overlap: int) -> tuple[float, int, float]:
    """Share of signals that a move agrees with, their number, and what the share is at least at a confidence.

    Signals that follow one another look at the same bars: only every ``overlap``-th counts as one of its own.
    """
    told = (side != 0) & np.isfinite(move) & (move != 0)
    count = int(told.sum())
    if count < FEWEST:
        return 0.0, count, 0.0
    share = float((np.sign(move[told]) == side[told]).mean())
    independent = max(1, count // overlap)
    agreeing = share * independent
    least = float(betaincinv(agreeing, independent - agreeing + 1, ALARM)) if agreeing else 0.0
    return share, count, least


def _correlation(side: Floats, move: Floats) -> float:
    known = np.isfinite(move)
    if not known.any() or side[known].std() == 0 or move[known].std() == 0:
        return 0.0
    return float(np.corrcoef(side[known], move[known])[0, 1])
