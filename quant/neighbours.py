"""Exact nearest neighbours by Euclidean distance, the same at any number of threads.

Rows are turned so that their first few coordinates hold most of what tells them apart. A product of matrices over
these, in single precision, and the length of the rest bound every distance from below; the rows that the bound leaves
are measured in double precision. So the neighbours are those of the definition, and whatever is chosen for speed cannot
change them.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

_ROWS_AT_ONCE = 256
_BLOCK = 64  # rows that are passed over together where none of them can be near
_SAMPLE = (2_000, 32)  # rows and queries that the number of coordinates is chosen by
_STEP = 8
_MEASURING = 200.0  # a distance costs so many times what its columns cost in the product: it waits for memory

Rows = npt.NDArray[np.float32]


class NeighboursError(ValueError):
    """Rows whose neighbours cannot be found."""


class Neighbours(NamedTuple):
    """The nearest rows to each of m: their numbers and distances, both m × count, nearest first.

    Rows at the same distance come in the order of their numbers.
    """

    indices: npt.NDArray[np.int32]
    distances: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Index:
    """Rows to search among, prepared once.

    Parameters
    ----------
    rows
        n × dimensions, C-contiguous.
    center
        Of the rows; errors of the product grow with the distance from it.
    axes
        Dimensions × kept: the directions of the coordinates that the product is over.
    factors
        (Kept + 2) × n: the rows' coordinates along these, the length of what they leave, and half of what a row takes
        from every product at least, its squared length.
    """

    rows: Rows
    center: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    factors: Rows


def index(rows: npt.NDArray[Any], usual: int = 30) -> Index:
    """Prepare rows to be searched.

    Parameters
    ----------
    rows
        n × dimensions, of numbers that single precision holds.
    usual
        Neighbours that will mostly be asked for; decides how fast it is, and nothing else.

    Raises
    ------
    NeighboursError
        If the rows are no matrix, or a value is not finite.
    """
    given = _checked("rows", rows)
    center = np.median(given, axis=0).astype(np.float64)
    with threadpool_limits(1):
        moved = given - center
        _, axes = np.linalg.eigh(moved.T @ moved)
        turned = moved @ axes[:, ::-1]
    kept = _kept(turned, min(usual, len(given)))
    squared = turned**2
    rest = np.sqrt(squared[:, kept:].sum(axis=1))
    taken = squared.sum(axis=1) * (1 - _error(kept)) / 2
    factors = np.concatenate([turned[:, :kept].T, rest[np.newaxis], -taken[np.newaxis]])
    return Index(
        given,
        center,
        np.ascontiguousarray(axes[:, ::-1][:, :kept]),
        np.ascontiguousarray(factors, dtype=np.float32),
    )


def nearest(rows: npt.NDArray[Any] | Index, queries: npt.NDArray[Any], count: int, *, threads: int = 1) -> Neighbours:
    """Return the ``count`` rows nearest to each query; a query that is itself one of the rows finds itself.

    Parameters
    ----------
    rows
        n × dimensions, or prepared by ``index``.
    queries
        m × dimensions; memory beyond the result is about 1 kB × n a thread, at any m.
    threads
        Cores to use; they never change the result.

    Raises
    ------
    NeighboursError
        If there are fewer rows than wanted, the dimensions differ, or a value is not finite.
    """
    known = rows if isinstance(rows, Index) else index(rows, count)
    asked = _checked("queries", queries)
    if known.rows.shape[1] != asked.shape[1]:
        raise NeighboursError(
            f"rows of shape {known.rows.shape} and queries of {asked.shape} do not have the same columns"
        )
    if not 1 <= count <= len(known.rows):
        raise NeighboursError(f"{count} neighbours of {len(known.rows)} rows are asked for; allowed: 1 to the rows")
    found = Neighbours(np.empty((len(asked), count), np.int32), np.empty((len(asked), count), np.float32))

    def search(piece: slice) -> None:
        moved = asked[piece] - known.center
        turned = moved @ known.axes
        lengths = (moved**2).sum(axis=1)
        rest = np.sqrt(np.maximum(lengths - (turned**2).sum(axis=1), 0))
        factors = np.column_stack([turned, rest, np.ones(len(moved))]).astype(np.float32)
        # half of what a squared distance is at least is the one less the other of these
        taken = lengths * (1 - _error(len(known.axes.T))) / 2
        _select(factors @ known.factors, taken, known.rows, asked[piece], found.indices[piece], found.distances[piece])

    # the library behind @ must not split the work by itself: its sums would hang on the number of threads
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(search, _pieces(len(asked))):
            pass
    return found


def _error(kept: int) -> float:
    """Share of the squared lengths that a product in single precision may be off by, and both roundings before it."""
    return float((kept + 20) * 2.0**-23)


def _checked(name: str, given: npt.NDArray[Any]) -> Rows:
    values = np.ascontiguousarray(given, dtype=np.float32)
    if values.ndim != 2 or not values.shape[1]:
        raise NeighboursError(f"{name} have the shape {values.shape}; allowed: rows × columns")
    if not np.isfinite(values).all():
        wrong = np.argwhere(~np.isfinite(values))[0]
        raise NeighboursError(f"{name}[{wrong[0]}, {wrong[1]}] is {values[tuple(wrong)]}; allowed: finite numbers")
    return values


def _pieces(count: int) -> Iterator[slice]:
    return (slice(first, first + _ROWS_AT_ONCE) for first in range(0, count, _ROWS_AT_ONCE))


def _kept(turned: npt.NDArray[np.float64], usual: int) -> int:
    """How many coordinates make the search of some rows cheapest: the product, and what it leaves to be measured."""
    count, dimensions = turned.shape
    rows, queries = (turned[:: -(-count // most)] for most in _SAMPLE)
    near = max(1, round(usual * len(rows) / count))
    bound = np.zeros((len(queries), len(rows)))
    rest = np.maximum(np.cumsum((rows**2)[:, ::-1], axis=1)[:, ::-1], 0)
    query_rest = np.maximum(np.cumsum((queries**2)[:, ::-1], axis=1)[:, ::-1], 0)
    bounds = []
    for column in range(dimensions):
        bound += (queries[:, [column]] - rows[:, column]) ** 2
        if (column + 1) % _STEP == 0 and column + 1 < dimensions:
            left = np.sqrt(query_rest[:, [column + 1]]) - np.sqrt(rest[:, column + 1])
            bounds.append((column + 1, bound + left**2))
    farthest = np.partition(bound, near - 1, axis=1)[:, [near - 1]]
    costs = [(kept + _MEASURING * dimensions * float((lower <= farthest).mean()), kept) for kept, lower in bounds]
    return int(min([*costs, (float(dimensions), dimensions)])[1])


@numba.njit(cache=True, nogil=True)
def _distance(one, other):  # type: ignore[no-untyped-def]
    """Squared distance in double precision; four sums side by side, as one alone waits for each addition."""
    first = second = third = fourth = 0.0
    whole = len(one) // 4 * 4
    for column in range(0, whole, 4):
        a = np.float64(one[column]) - np.float64(other[column])
        b = np.float64(one[column + 1]) - np.float64(other[column + 1])
        c = np.float64(one[column + 2]) - np.float64(other[column + 2])
        d = np.float64(one[column + 3]) - np.float64(other[column + 3])
        first += a * a
        second += b * b
        third += c * c
        fourth += d * d
    for column in range(whole, len(one)):
        a = np.float64(one[column]) - np.float64(other[column])
        first += a * a
    return (first + second) + (third + fourth)


@numba.njit(cache=True, nogil=True, fastmath=True)  # so that it compares several at once; nothing is rounded
def _largest(values):  # type: ignore[no-untyped-def]
    largest = values[0]
    for value in values:
        largest = max(largest, value)
    return largest


@numba.njit(cache=True, nogil=True)
def _insert(keys, rows, filled, key, row):  # type: ignore[no-untyped-def]
    """Put a row among the first ``filled``, sorted by key and then by number; of a full list the last goes."""
    place = filled
    if place == len(keys):
        place -= 1
        if keys[place] < key or (keys[place] == key and rows[place] < row):
            return
    while place > 0 and (keys[place - 1] > key or (keys[place - 1] == key and rows[place - 1] > row)):
        keys[place], rows[place] = keys[place - 1], rows[place - 1]
        place -= 1
    keys[place], rows[place] = key, row


@numba.njit(cache=True, nogil=True)
def _select(products, taken, rows, queries, indices, distances):  # type: ignore[no-untyped-def]
    """The nearest rows to each query, which has a product with every row: the larger it is the nearer they may be."""
    count = indices.shape[1]
    highest = np.empty(-(-len(rows) // _BLOCK), np.float32)
    best = np.empty(count, np.int64)
    squared, numbers = np.empty(count, np.float64), np.empty(count, np.int64)
    for query in range(len(queries)):
        near = products[query]
        for block in range(len(highest)):
            highest[block] = _largest(near[block * _BLOCK : (block + 1) * _BLOCK])
        # the rows of the largest products, the smallest of them at the top of a heap
        filled = 0
        for block in range(len(highest)):
            if filled == count and highest[block] <= near[best[0]]:
                continue
            for row in range(block * _BLOCK, min((block + 1) * _BLOCK, len(rows))):
                product = near[row]
                if filled < count:
                    place = filled
                    filled += 1
                    while place > 0 and near[best[(place - 1) // 2]] > product:
                        best[place] = best[(place - 1) // 2]
                        place = (place - 1) // 2
                    best[place] = row
                elif product > near[best[0]]:
                    place = 0
                    while True:
                        child = 2 * place + 1
                        if child >= count:
                            break
                        if child + 1 < count and near[best[child + 1]] < near[best[child]]:
                            child += 1
                        if near[best[child]] >= product:
                            break
                        best[place] = best[child]
                        place = child
                    best[place] = row
        for place in range(count):
            _insert(squared, numbers, place, _distance(queries[query], rows[best[place]]), best[place])
        near[best] = -np.inf  # measured
        # a row of a smaller product is farther away than all of these, whatever its coordinates leave
        least = taken[query] - squared[-1] / 2
        for block in range(len(highest)):
            if highest[block] >= least:
                for row in range(block * _BLOCK, min((block + 1) * _BLOCK, len(rows))):
                    if near[row] >= least:
                        _insert(squared, numbers, count, _distance(queries[query], rows[row]), row)
        for place in range(count):
            indices[query, place] = numbers[place]
            distances[query, place] = np.sqrt(squared[place])
