from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.splits import NAMES, Part, SplitError, split, split_at

BAR = pd.Timedelta(minutes=15)
START = pd.Timestamp("2024-01-01", tz="UTC")
SHARES = {"fit": 0.4, "validate": 0.1, "choose": 0.3, "judge": 0.2}


def test_four_parts_with_purge_and_embargo() -> None:
    parts = split(START, START + 1_000 * BAR, BAR, SHARES, purge=5, embargo=2)
    assert tuple(parts) == NAMES
    found = {name: ((part.start - START) // BAR, (part.end - START) // BAR) for name, part in parts.items()}
    assert found == {"fit": (0, 395), "validate": (402, 495), "choose": (502, 795), "judge": (802, 1_000)}


def test_rows_of_a_part_are_half_open_in_any_zone_and_unit() -> None:
    part = Part("fit", START + BAR, START + 3 * BAR)
    index = pd.date_range(START, periods=5, freq=BAR)
    for given_index in (index, index.tz_localize(None), index.tz_convert("Asia/Seoul"), index.as_unit("s")):
        rows = part.rows(given_index)
        assert rows.tolist() == [False, True, True, False, False]
        assert isinstance(rows, np.ndarray)


def test_shares_that_meet_a_bar_exactly_are_not_cut_short() -> None:
    parts = split(START, START + 10 * BAR, BAR, {"a": 0.1, "b": 0.2, "c": 0.7}, purge=0)
    assert [(part.end - part.start) // BAR for part in parts.values()] == [1, 2, 7]


def test_sessions_are_counted_rather_than_days() -> None:
    sessions = pd.bdate_range("2024-01-01", periods=20, tz="UTC")
    parts = split("2024-01-01", "2024-02-01", sessions, {"fit": 0.5, "judge": 0.5}, purge=2, embargo=1)
    assert sessions[parts["fit"].rows(sessions)].equals(sessions[:8])
    assert sessions[parts["judge"].rows(sessions)].equals(sessions[11:])


def test_parts_at_given_dates() -> None:
    starts = {"fit": "2024-01-01", "choose": "2024-02-01T00:07Z", "judge": "2024-03-01T09:00+09:00"}
    parts = split_at(starts, "2024-04-01", BAR, purge=4, embargo=1)
    assert parts["fit"] == Part("fit", START, pd.Timestamp("2024-01-31T23:15Z"))
    assert parts["choose"] == Part("choose", pd.Timestamp("2024-02-01T00:30Z"), pd.Timestamp("2024-02-29T23:00Z"))
    assert parts["judge"] == Part("judge", pd.Timestamp("2024-03-01T00:15Z"), pd.Timestamp("2024-04-01T00:00Z"))


@given(
    bars=st.integers(1, 400),
    spare=st.integers(0, 14),
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    purge=st.integers(0, 9),
    embargo=st.integers(0, 9),
)
@settings(deadline=None)
def test_no_label_of_a_part_reaches_the_next(
    bars: int, spare: int, weights: list[int], purge: int, embargo: int
) -> None:
    end = START + bars * BAR + pd.Timedelta(minutes=spare)
    shares = {f"part{number}": weight / sum(weights) for number, weight in enumerate(weights)}
    try:
        parts = list(split(START, end, BAR, shares, purge, embargo).values())
    except SplitError as error:
        assert "none is left" in str(error)
        return
    index = pd.date_range(START, end, freq=BAR, inclusive="left")
    rows = [np.flatnonzero(part.rows(index)) for part in parts]
    assert rows[0][0] == 0
    assert rows[-1][-1] == len(index) - 1
    for part, own in zip(parts, rows, strict=True):
        assert START <= part.start < part.end <= end
        assert len(own)
        assert np.diff(own).tolist() == [1] * (len(own) - 1)
    for earlier, later in pairwise(rows):
        dropped = later[0] - earlier[-1] - 1
        assert dropped == purge + embargo
        assert earlier[-1] + purge < later[0]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"fractions": {"fit": 0.5, "judge": 0.6}}, "fit, judge add up to 1.1"),
        ({"fractions": {"fit": 1.2, "judge": -0.2}}, "'judge' is -0.2"),
        ({"fractions": {"fit": float("nan")}}, "'fit' is nan"),
        ({"fractions": {}}, "no parts add up to 0"),
        ({"end": START}, "must end later"),
        ({"end": "soon"}, "'soon' is no instant"),
        ({"bar": pd.Timedelta(0)}, "must be positive"),
        ({"purge": -1}, "purge is -1"),
        ({"purge": 1.5}, "purge is 1.5"),
        ({"embargo": True}, "embargo is True"),
        ({"purge": 60, "embargo": 45}, "'validate' has 100 bars of 1000, and none is left after a purge of 60"),
        ({"bar": pd.bdate_range("2030", periods=9)}, "'fit' has 0 bars of 0"),
    ],
)
def test_senseless_splits_are_refused(changed: dict[str, object], named: str) -> None:
    given_parameters = {"start": START, "end": START + 1_000 * BAR, "bar": BAR, "fractions": SHARES, "purge": 5}
    with pytest.raises(SplitError, match=named):
        split(**{**given_parameters, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("starts", "named"),
    [
        ({}, "no parts"),
        ({"fit": "2024-02-01", "judge": "2024-01-01"}, "'judge' starts at 2024-01-01 .*not after part 'fit'"),
        ({"fit": "2024-01-01", "judge": "2025-01-01"}, "'judge' starts at 2025-01-01 .*not before the end"),
        ({"fit": "2025-01-01"}, "'fit' starts at 2025-01-01"),
        ({"fit": "2024-01-01", "judge": "2024-05-31T23:59"}, "'judge' has 0 bars"),
    ],
)
def test_senseless_dates_are_refused(starts: dict[str, str], named: str) -> None:
    with pytest.raises(SplitError, match=named):
        split_at(starts, "2024-06-01", BAR, purge=0)
