"""Walk-forward folds: choose on a stretch of the calendar, judge on the next one, and move on.

Like the parts of ``quant.splits``, folds are cut at the same instants for every ticker.
"""

from datetime import datetime

import numpy as np
import pandas as pd

from quant.parameters import is_number
from quant.splits import Part, SplitError, bar_openings, utc


def walk_forward(
    start: datetime | str,
    end: datetime | str,
    bar: pd.Timedelta | pd.DatetimeIndex,
    folds: int,
    *,
    tune: float = 0.5,
    anchored: bool = True,
    purge: int = 0,
    embargo: int = 0,
) -> list[tuple[Part, Part]]:
    """Cut the bars of a span into folds, each a part to tune on and the part to test on that follows it.

    The test parts are equally long (to a bar), follow one another without a gap and end with the span, so that their
    results join into one record in which no bar was tuned on. Purge and embargo are therefore both taken off the end
    of the tune part, where ``quant.splits`` takes the embargo off the start of the later one.

    Parameters
    ----------
    start, end
        The span: bars that open at ``start`` or later, and before ``end``. Without a zone they are UTC.
    bar
        Length of a bar, or the sessions of the market.
    folds
        Number of folds, 1 or more.
    tune
        Share of the bars before the first test part, above 0 and below 1.
    anchored
        Whether every tune part begins with the span, and so grows; if not, all are as long as the first.
    purge
        Bars between the parts whose labels or open trades reach into the test part: at least their horizon.
    embargo
        Bars between the parts in addition, whose prices the features of the test part still remember.

    Returns
    -------
    Pairs of parts named ``tune_1`` and ``test_1``, ``tune_2`` and so on, in time order. The rows between the two parts
    of a fold are ``purge + embargo`` bars.

    Raises
    ------
    SplitError
        If the span, the number of folds, the share, the purge or the embargo makes no sense, or there are too few
        bars for a row in every part.
    """
    for what, value, least in (("folds", folds, 1), ("purge", purge, 0), ("embargo", embargo, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise SplitError(f"{what} is {value!r}; allowed are whole numbers from {least}")
    if not is_number(tune) or not 0 < tune < 1:
        raise SplitError(f"tune is {tune!r}; allowed are shares above 0 and below 1")
    grid = bar_openings(utc(start), utc(end), bar)
    bars, gap = len(grid) - 1, int(purge) + int(embargo)
    # Rounded before flooring, so that 0.29 of a hundred bars are 29 of them.
    first = int(np.floor(np.round(tune * bars, 6)))
    if first <= gap or bars - first < folds:
        raise SplitError(
            f"there are {bars} bars, {first} of them before the first test part: too few for {folds} test parts after "
            f"a purge of {purge} and an embargo of {embargo}; give fewer folds, another share or a longer span"
        )
    borders = [first + number * (bars - first) // folds for number in range(folds + 1)]
    pairs = []
    for number in range(folds):
        border, following = borders[number], borders[number + 1]
        beginning = 0 if anchored else border - first
        pairs.append(
            (
                Part(f"tune_{number + 1}", grid[beginning], grid[border - gap]),
                Part(f"test_{number + 1}", grid[border], grid[following]),
            )
        )
    return pairs
