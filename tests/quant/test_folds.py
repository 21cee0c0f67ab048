"""Walk-forward folds: what is tuned on never reaches what is tested on, and every bar is tested on once."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.folds import walk_forward
from quant.splits import Part, SplitError

BAR = pd.Timedelta(minutes=15)
START = pd.Timestamp("2024-01-01", tz="UTC")


def places(pairs: list[tuple[Part, Part]]) -> list[tuple[int, int, int, int]]:
    """First bar and the bar after the last, of the tune and of the test part."""
    return [
        tuple((instant - START) // BAR for part in pair for instant in (part.start, part.end))  # type: ignore[misc]
        for pair in pairs
    ]


def test_anchored_folds_grow() -> None:
    pairs = walk_forward(START, START + 100 * BAR, BAR, 3, tune=0.4, purge=4, embargo=2)
    assert places(pairs) == [(0, 34, 40, 60), (0, 54, 60, 80), (0, 74, 80, 100)]
    assert [part.name for pair in pairs for part in pair] == [
        "tune_1",
        "test_1",
        "tune_2",
        "test_2",
        "tune_3",
        "test_3",
    ]


def test_rolling_folds_move_on() -> None:
    pairs = walk_forward(START, START + 100 * BAR, BAR, 3, tune=0.4, purge=4, embargo=2, anchored=False)
    assert places(pairs) == [(0, 34, 40, 60), (20, 54, 60, 80), (40, 74, 80, 100)]


def test_what_does_not_divide_is_spread_over_the_test_parts() -> None:
    pairs = walk_forward(START, START + 100 * BAR, BAR, 4, tune=0.29)
    assert places(pairs) == [(0, 29, 29, 46), (0, 46, 46, 64), (0, 64, 64, 82), (0, 82, 82, 100)]


def test_sessions_are_counted_rather_than_days() -> None:
    sessions = pd.bdate_range("2024-01-01", periods=20, tz="UTC")
    ((tune, test),) = walk_forward("2024-01-01", "2024-02-01", sessions, 1, purge=3)
    assert sessions[tune.rows(sessions)].equals(sessions[:7])
    assert sessions[test.rows(sessions)].equals(sessions[10:])
    assert test.end == pd.Timestamp("2024-02-01", tz="UTC")


@given(
    bars=st.integers(1, 400),
    spare=st.integers(0, 14),
    folds=st.integers(1, 12),
    tune=st.floats(0.01, 0.99),
    anchored=st.booleans(),
    purge=st.integers(0, 9),
    embargo=st.integers(0, 9),
)
@settings(deadline=None)
def test_folds_of_any_span(
    bars: int, spare: int, folds: int, tune: float, anchored: bool, purge: int, embargo: int
) -> None:
    end = START + bars * BAR + pd.Timedelta(minutes=spare)
    index = pd.date_range(START, end, freq=BAR, inclusive="left")
    before = int(tune * len(index) + 1e-6)
    options: dict[str, Any] = {"tune": tune, "anchored": anchored, "purge": purge, "embargo": embargo}
    if before <= purge + embargo or len(index) - before < folds:
        with pytest.raises(SplitError, match="too few"):
            walk_forward(START, end, BAR, folds, **options)
        return
    pairs = walk_forward(START, end, BAR, folds, **options)
    assert len(pairs) == folds
    rows = [tuple(np.flatnonzero(part.rows(index)) for part in pair) for pair in pairs]
    for tuned, tested in rows:
        assert len(tuned)
        assert tested[0] - tuned[-1] - 1 == purge + embargo  # so the labels of the last row tuned on end before
        assert anchored or len(tuned) == len(rows[0][0])
        assert not anchored or tuned[0] == 0
    joined = np.concatenate([tested for _, tested in rows])
    assert joined.tolist() == list(range(before, len(index)))
    for (_, earlier), (_, later) in pairwise(pairs):
        assert earlier.end == later.start
    assert pairs[-1][1].end == end
    lengths = [len(tested) for _, tested in rows]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"folds": 0}, "folds is 0; allowed are whole numbers from 1"),
        ({"folds": 2.0}, "folds is 2.0"),
        ({"folds": True}, "folds is True"),
        ({"purge": -1}, "purge is -1; allowed are whole numbers from 0"),
        ({"embargo": 1.5}, "embargo is 1.5"),
        ({"tune": 1.0}, "tune is 1.0; allowed are shares above 0 and below 1"),
        ({"tune": 0}, "tune is 0;"),
        ({"tune": float("nan")}, "tune is nan"),
        ({"end": START}, "must end later"),
        ({"end": "soon"}, "'soon' is no instant"),
        ({"bar": -BAR}, "must be positive"),
        ({"purge": 30, "embargo": 20}, "100 bars, 50 of them before .* for 3 test parts after a purge of 30 and an em"),
        ({"folds": 51}, "too few for 51 test parts"),
        ({"bar": pd.bdate_range("2030", periods=9)}, "there are 0 bars"),
    ],
)
def test_senseless_folds_are_refused(changed: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"start": START, "end": START + 100 * BAR, "bar": BAR, "folds": 3}
    with pytest.raises(SplitError, match=message):
        walk_forward(**(values | changed))
