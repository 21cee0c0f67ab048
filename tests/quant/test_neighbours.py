"""Exact neighbours: those of the definition, whatever the scale of the rows, and at any number of threads."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import neighbours
from quant.neighbours import NeighboursError, index, nearest


def by_definition(rows: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], count: int) -> tuple:
    """All distances in double precision, sorted so that equal ones stay in the order of the rows."""
    wide = rows.astype(np.float64)
    squared = np.array([((wide - query) ** 2).sum(axis=1) for query in queries.astype(np.float64)])
    order = np.argsort(squared, axis=1, kind="stable")[:, :count]
    return order, np.sqrt(np.take_along_axis(squared, order, axis=1))


def heavy_tailed(seed: int, count: int, dimensions: int) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return (generator.standard_t(1, size=(count, dimensions)) * 10 ** generator.uniform(-2, 3, dimensions)).astype(
        np.float32
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 600),
    dimensions=st.integers(1, 40),
    shift=st.sampled_from([0.0, 1e3, -1e6]),
)
def test_they_are_those_of_the_definition(seed: int, count: int, dimensions: int, shift: float):
    rows = heavy_tailed(seed, count, dimensions) + np.float32(shift)
    queries = np.concatenate([rows[: count // 2], heavy_tailed(seed + 1, 20, dimensions) + np.float32(shift)])
    asked = min(count, 1 + seed % 35)
    found = nearest(rows, queries, asked)
    order, distances = by_definition(rows, queries, asked)
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)


def test_equal_rows_come_in_their_order():
    rows = np.repeat(heavy_tailed(0, 5, 8), 4, axis=0)
    found = nearest(rows, rows, 4)
    np.testing.assert_array_equal(found.indices, np.repeat(np.arange(20).reshape(5, 4), 4, axis=0))
    assert not found.distances.any()


def test_rows_that_stand_still_are_searched_as_fast():
    """As windows of a market without trade: all at one distance, of which the first are wanted."""
    rows = np.concatenate([heavy_tailed(0, 50, 12), np.zeros((30_000, 12), np.float32)])
    found = nearest(rows, rows[[7, 60, 20_000]], 20)
    np.testing.assert_array_equal(found.indices[1:], [np.arange(50, 70)] * 2)
    assert found.indices[0, 0] == 7


def test_a_prepared_index_finds_the_same():
    rows, queries = heavy_tailed(6, 700, 40), heavy_tailed(7, 90, 40)
    once, twice = nearest(rows, queries, 9), nearest(index(rows, 30), queries, 9)
    np.testing.assert_array_equal(once.indices, twice.indices)
    np.testing.assert_array_equal(once.distances, twice.distances)


@pytest.mark.parametrize("kept", [1, 5, 20])
def test_how_many_coordinates_are_kept_changes_nothing(kept: int, monkeypatch: pytest.MonkeyPatch):
    rows = heavy_tailed(8, 400, 20)
    expected = by_definition(rows, rows, 10)[0]
    monkeypatch.setattr(neighbours, "_kept", lambda *_: kept)
    assert index(rows).axes.shape[1] == kept
    np.testing.assert_array_equal(nearest(rows, rows, 10).indices, expected)


def test_outliers_far_from_all_others_keep_their_neighbours():
    """A product in single precision alone takes rows a million away from 0 for equal."""
    rows = heavy_tailed(0, 300, 20) * np.float32(1e-3)
    rows[:100] += np.float32(1e6)
    found = nearest(rows, rows[:100], 10)
    np.testing.assert_array_equal(found.indices, by_definition(rows, rows[:100], 10)[0])


def test_threads_do_not_matter():
    rows = heavy_tailed(3, 2_000, 30)
    one, two = (nearest(rows, rows, 15, threads=threads) for threads in (1, 2))
    assert one.indices.tobytes() == two.indices.tobytes()
    assert one.distances.tobytes() == two.distances.tobytes()


def test_a_query_does_not_hang_on_its_batch():
    rows = heavy_tailed(4, 900, 25)
    queries = heavy_tailed(5, 300, 25)
    whole, alone = nearest(rows, queries, 12), nearest(rows, queries[271:272], 12)
    np.testing.assert_array_equal(whole.indices[271], alone.indices[0])
    np.testing.assert_array_equal(whole.distances[271], alone.distances[0])


@pytest.mark.parametrize(
    ("rows", "queries", "count", "named"),
    [
        (np.zeros((3, 2)), np.zeros((1, 2)), 4, "4 neighbours of 3 rows"),
        (np.zeros((3, 2)), np.zeros((1, 2)), 0, "0 neighbours"),
        (np.zeros((3, 2)), np.zeros((1, 3)), 1, r"\(3, 2\) and queries of \(1, 3\)"),
        (np.zeros((3, 2)), np.array([[0.0, np.nan]]), 1, r"queries\[0, 1\] is nan"),
        (np.array([[0.0], [np.inf]]), np.zeros((1, 1)), 1, r"rows\[1, 0\] is inf"),
    ],
)
def test_what_cannot_be_searched_is_named(rows: npt.NDArray, queries: npt.NDArray, count: int, named: str):
    with pytest.raises(NeighboursError, match=named):
        nearest(rows, queries, count)
