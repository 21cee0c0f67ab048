"""Funding rates on bars, and what of them is missing, by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.funding import FundingError, missing, on_bars


def rates(*times: str, rate: float = 0.0001) -> pd.Series:
    return pd.Series(rate, index=pd.DatetimeIndex(times, tz="UTC"), dtype="float64")


def every(hours: int, start: str, periods: int) -> pd.Series:
    index = pd.date_range(start, periods=periods, freq=f"{hours}h", tz="UTC")
    return pd.Series(np.arange(1, periods + 1) * 1e-4, index=index)


def bars(start: str, periods: int, length: str) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=periods, freq=length, tz="UTC")


def test_a_payment_is_due_at_the_start_of_its_bar() -> None:
    index = bars("2024-01-01", 96, "15min")
    due = on_bars(every(8, "2024-01-01", 4), index)
    assert due[due != 0].to_dict() == {
        pd.Timestamp("2024-01-01 00:00", tz="UTC"): 1e-4,
        pd.Timestamp("2024-01-01 08:00", tz="UTC"): 2e-4,
        pd.Timestamp("2024-01-01 16:00", tz="UTC"): pytest.approx(3e-4),
    }


def test_milliseconds_of_delay_do_not_count_and_a_payment_within_a_bar_is_due_at_the_next() -> None:
    index = bars("2024-01-01", 4, "4h")
    assert on_bars(rates("2024-01-01 08:00:00.007"), index).tolist() == [0, 0, 0.0001, 0]
    assert on_bars(rates("2024-01-01 06:00"), index).tolist() == [0, 0, 0.0001, 0]


def test_payments_of_a_day_add_up_on_daily_bars() -> None:
    due = on_bars(every(8, "2024-01-01", 6), bars("2024-01-01", 3, "1D"))
    # 00:00 of the first day; 08:00, 16:00 and 00:00 for the second; the rest for the third
    np.testing.assert_allclose(due, [1e-4, 9e-4, 11e-4])


def test_a_payment_in_a_gap_is_due_after_it_and_those_outside_are_left_out() -> None:
    index = bars("2024-01-01 04:00", 2, "1h").append(bars("2024-01-01 10:00", 2, "1h"))
    assert on_bars(rates("2024-01-01 00:00", "2024-01-01 08:00", "2024-01-01 16:00"), index).tolist() == [
        0,
        0,
        0.0001,
        0,
    ]


@given(st.lists(st.integers(0, 2_000), unique=True, max_size=40), st.integers(1, 300))
def test_every_payment_between_the_bars_is_charged_once(minutes: list[int], length: int) -> None:
    index = bars("2024-01-01", 6, f"{length}min")
    times = index[0] + pd.to_timedelta(sorted(minutes), unit="min")
    given_rates = pd.Series(np.linspace(0.1, 0.2, len(times)), index=pd.DatetimeIndex(times, tz="UTC"))
    inside = given_rates[given_rates.index <= index[-1]]
    assert on_bars(given_rates, index).sum() == pytest.approx(inside.sum())


def test_nothing_is_missing_where_all_payments_are_there() -> None:
    full = every(8, "2024-01-01", 30)
    assert missing(full, pd.Timestamp("2024-01-02", tz="UTC"), pd.Timestamp("2024-01-09", tz="UTC")) == (0, 21, None)
    assert missing(full, pd.Timestamp("2024-01-02 03:15", tz="UTC"), pd.Timestamp("2024-01-09", tz="UTC"))[0] == 0


@pytest.mark.parametrize(("dropped", "first"), [(slice(3, 5), "2024-01-02 00:00"), (slice(0, 4), "2024-01-01 00:00")])
def test_missing_payments_are_counted_and_the_first_is_named(dropped: slice, first: str) -> None:
    full = every(8, "2024-01-01", 12)
    known = full.drop(full.index[dropped])
    found = missing(known, full.index[0], full.index[-1] + pd.Timedelta(minutes=1))
    count = dropped.stop - dropped.start
    assert found == (count, 12, pd.Timestamp(first, tz="UTC"))


def test_the_end_may_lack_payments_too() -> None:
    known = every(4, "2024-01-01", 6)
    found = missing(known, known.index[0], pd.Timestamp("2024-01-03", tz="UTC"))
    assert found == (6, 12, pd.Timestamp("2024-01-02", tz="UTC"))


def test_without_any_rate_all_of_eight_hours_are_missing() -> None:
    start, end = pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-01-03", tz="UTC")
    assert missing(rates(), start, end) == (6, 6, start)


def test_an_asset_may_change_from_eight_hours_to_four() -> None:
    changed = pd.concat([every(8, "2024-01-01", 9), every(4, "2024-01-04", 40)])
    assert missing(changed, changed.index[0], changed.index[-1]).payments == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rates_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(FundingError, match=r"2024-01-01 00:00.* is not a finite number"):
        on_bars(rates("2024-01-01", rate=bad), bars("2024-01-01", 3, "1h"))


def test_rates_out_of_order_are_refused() -> None:
    with pytest.raises(FundingError, match="in order of time"):
        missing(rates("2024-01-02", "2024-01-01"), *bars("2024-01-01", 2, "1D"))
