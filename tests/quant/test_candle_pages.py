import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.candle_pages import Page, PageError, Voids, by_month, forward, merged, page

STEP = 10
COARSE = 100 * STEP


def rows(times: list[int]) -> Page:
    return Page(np.array(times, np.int64), np.array(times, np.float64).reshape(-1, 1) * 2)


class Service:
    """Has rows at some times and counts what it is asked for; `kind` is what a page from a moment on holds."""

    def __init__(self, times: list[int], kind: str, limit: int) -> None:
        self.times, self.kind, self.limit = times, kind, limit
        self.asked: list[int] = []

    def ask(self, since: int) -> Page:
        self.asked.append(since)
        if self.kind == "first":
            return rows([time for time in self.times if time >= since][: self.limit])
        before = [time for time in self.times if time < since + self.limit * STEP]
        if self.kind == "window":
            return rows([time for time in before if time >= since][::-1])
        return rows(before[-self.limit :][::-1])  # like Upbit: also what is older, where there are holes

    def coarse(self, since: int) -> Page:
        self.asked.append(since)
        opens = sorted({time // COARSE * COARSE for time in self.times})
        return rows([each for each in opens if since <= each < since + 5 * COARSE])


@given(
    st.sets(st.integers(0, 3_000)),
    st.sampled_from(["first", "window", "before"]),
    st.integers(1, 40),
    st.integers(0, 1_000),
    st.integers(0, 40_000),
    st.booleans(),
)
def test_every_row_comes_once_and_in_order_from_any_service(
    places: set[int], kind: str, limit: int, start: int, length: int, leaps: bool
) -> None:
    times = sorted(place * STEP for place in places)
    service = Service(times, kind, limit)
    start, stop = start * STEP, start * STEP + length
    leap = {"leap": Voids(service.coarse, COARSE, 5 * COARSE, stop).leap} if leaps else {}
    found = list(forward(service.ask, start, stop, step=STEP, span=limit * STEP, **leap))
    given_times = np.concatenate([each.times for each in found]) if found else np.array([])
    assert given_times.tolist() == [time for time in times if start <= time < stop]
    assert all((each.values[:, 0] == each.times * 2).all() for each in found)
    assert all(len(each.times) for each in found)


def test_a_void_of_years_costs_a_few_pages() -> None:
    times = [*range(0, 50 * STEP, STEP), *range(500_003 * STEP, 500_050 * STEP, STEP)]
    service = Service(times, "window", 20)

    def coarse(since: int) -> Page:
        service.asked.append(since)
        return rows([each for each in (0, 500_000 * STEP) if since <= each < since + 2_000 * COARSE])

    days = Voids(service.coarse, COARSE, 5 * COARSE, 501_000 * STEP)
    voids = Voids(coarse, 50 * COARSE, 2_000 * COARSE, 501_000 * STEP, days)
    found = forward(service.ask, 0, 501_000 * STEP, step=STEP, span=20 * STEP, leap=voids.leap)
    assert np.concatenate([each.times for each in found]).tolist() == times
    assert len(service.asked) < 40  # of 25,000


def test_a_service_that_always_gives_the_same_or_nonsense_has_an_end() -> None:
    stuck = []

    def same(since: int) -> Page:
        stuck.append(since)
        return rows([50, 20, 20, 30])

    assert [each.times.tolist() for each in forward(same, 0, 1_000, step=STEP, span=100)] == [[20, 30, 50]]
    assert stuck == sorted(set(stuck))
    assert len(stuck) <= 11
    with pytest.raises(PageError, match=r"a page has a row of 2001-09-09.*long after 1970"):
        list(forward(lambda _: rows([10**12]), 0, 1_000, step=STEP, span=100))


def test_of_rows_with_one_time_the_last_counts_and_a_newer_answer_before_an_older() -> None:
    twice = Page(np.array([10, 20, 10]), np.array([[1.0], [2.0], [3.0]]))
    (found,) = forward(lambda since: twice if since < 30 else rows([]), 0, 40, step=STEP, span=100)
    assert found.values.ravel().tolist() == [3.0, 2.0]
    both = merged(found, Page(np.array([20, 5]), np.array([[7.0], [8.0]])))
    assert (both.times.tolist(), both.values.ravel().tolist()) == ([5, 10, 20], [8.0, 3.0, 7.0])


def test_values_that_are_no_numbers_are_nan_and_times_that_are_none_are_refused() -> None:
    found = page([[1_000, "1.5", None, "x", 10**400, [1]], (2_000.0, 1, 2, 3, 4, 5)], 5)
    assert found.times.tolist() == [1_000, 2_000]
    assert str(found.values[0].tolist()) == "[1.5, nan, nan, inf, nan]"
    for row in (
        None,
        3,
        "abcdef",
        [1],
        [None, 1],
        ["7", 1],
        [True, 1],
        [1.5, 1],
        [float("nan"), 1],
        [-1, 1],
        [2**54, 1],
    ):
        with pytest.raises(PageError, match="row 1 of a page"):
            page([[0, 1], row], 1)


def test_months_are_cut_in_utc() -> None:
    last = int(np.datetime64("2024-01-31T23:59:59.999", "ms").astype(int))
    cut = list(by_month(rows([last - 1, last, last + 1])))
    assert [(name, part.times.tolist()) for name, part in cut] == [
        ("2024-01", [last - 1, last]),
        ("2024-02", [last + 1]),
    ]
