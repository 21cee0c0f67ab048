"""The layout of UMAP: stochastic gradient descent over a neighbour graph, the same at any number of threads.

umap-learn's own layout moves both ends of an edge at once, so that threads write into each other's points: seeded, it
runs on one core. Here a point is moved by one thread alone. Points are dealt into ``GROUPS``; those of one group move
side by side against the places that all had before, each by all its edges and its own random numbers, which hang on
the seed, the epoch and the point. An edge is seen from both of its ends, so that forces are those of umap-learn in sum.

Source: McInnes, Healy, Melville, "UMAP: Uniform Manifold Approximation and Projection" (2018), and umap-learn 0.5.12
(``umap.layouts.optimize_layout_euclidean``), which is this module's oracle.
"""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

GROUPS = 4
NEGATIVES = 5
FARTHEST = 4.0  # that one force moves a point, as in umap-learn
_FEWEST = 500  # points of a group that are worth a thread
_PIECES = 2  # of a group for each thread, so that one that is held up holds up less

# Forces are looked up by the squared distance's own bits: its exponent and the first bits of its mantissa.
_BITS = 7
_LOWEST, _HIGHEST = -40, 20  # exponents of 2
_FIRST = np.int32((_LOWEST + 127) << _BITS)
_LAST = np.int32((_HIGHEST + 127) << _BITS)

Plane = npt.NDArray[np.float32]
Table = npt.NDArray[np.float32]


def layout(
    graph: sparse.csr_array, start: Plane, *, minimum_distance: float, epochs: int, seed: int, threads: int = 1
) -> Plane:
    """Return the places of points in the plane, n × 2, in which neighbours lie together and others apart.

    Parameters
    ----------
    graph
        n × n, symmetric: the strength, 0 to 1, of each pair of neighbours.
    start
        Places to begin with, n × 2, about 10 wide.
    minimum_distance
        How close neighbours come to lie at least; 0 packs them.
    epochs
        Passes over all edges; the strongest is drawn on in each, others in proportion to their strength.
    threads
        Cores to use; they never change the result.
    """
    attraction, repulsion = _forces(*curve(minimum_distance))
    strongest = graph.data.max(initial=0.0)
    places = np.ascontiguousarray(start, dtype=np.float32).copy()
    if not strongest:
        return places
    rates = (graph.data / strongest).astype(np.float32)
    rates[rates < 1 / epochs] = 0  # would not be drawn once
    edges = graph.indptr.astype(np.int64), graph.indices.astype(np.int32), rates
    moved = np.empty_like(places)
    size = -(-len(places) // GROUPS)
    threads = max(1, min(threads, size // _FEWEST))
    step = -(-size // (_PIECES * threads if threads > 1 else 1))
    # threads of Python's own, which give way: those of numba spin where cores are taken, and take several times as long
    with ThreadPoolExecutor(threads) as pool:
        run = pool.map if threads > 1 else map
        for epoch in range(epochs):
            for group in range(GROUPS):

                def move(first: int, epoch: int = epoch, group: int = group) -> None:
                    piece = first, first + step
                    _move(places, moved, group, *piece, *edges, attraction, repulsion, epoch, epochs, np.uint64(seed))

                for _ in run(move, range(0, size, step)):
                    pass
                places[group::GROUPS] = moved[group::GROUPS]
    return places


def curve(minimum_distance: float, spread: float = 1.0) -> tuple[float, float]:
    """Return a and b, by which 1 / (1 + a d^2b) comes nearest to the wanted strength at distance d, as umap-learn does.

    The wanted strength is 1 up to the minimum distance, and falls from there with the spread.
    """
    distances = np.linspace(0, spread * 3, 300)
    wanted = np.where(distances < minimum_distance, 1.0, np.exp(-(distances - minimum_distance) / spread))
    (a, b), _ = optimize.curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), distances, wanted)
    return float(a), float(b)


def _forces(a: float, b: float) -> tuple[Table, Table]:
    """Attraction of an edge, seen from both ends, and repulsion of two points, by the bits of the squared distance."""
    codes = np.arange(_FIRST, _LAST, dtype=np.int32) << (23 - _BITS)
    squared = (
        (codes + (1 << (22 - _BITS))).view(np.float32).astype(np.float64)
    )  # the middle of what the bits leave open
    power = a * squared**b
    attraction = -2 * a * b * squared ** (b - 1) / (1 + power)
    repulsion = 2 * b / ((0.001 + squared) * (1 + power))
    return attraction.astype(np.float32), repulsion.astype(np.float32)


@numba.njit(inline="always")
def _force(table, squared):  # type: ignore[no-untyped-def]
    code = (np.float32(squared).view(np.int32) >> (23 - _BITS)) - _FIRST
    return table[min(max(code, 0), len(table) - 1)]


@numba.njit(inline="always")
def _bounded(move):  # type: ignore[no-untyped-def]
    return min(max(move, np.float32(-FARTHEST)), np.float32(FARTHEST))


@numba.njit(inline="always")
def _mixed(bits):  # type: ignore[no-untyped-def]
    """Random bits from any: the finaliser of SplitMix64."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _move(  # type: ignore[no-untyped-def]
    places, moved, group, start, end, first, others, rates, attraction, repulsion, epoch, epochs, seed
):
    """Where some members of a group move to in an epoch, into ``moved``; nothing else is written."""
    count = len(places)
    step = np.float32(1.0 - epoch / epochs)
    for point in range(group + start * GROUPS, min(group + end * GROUPS, count), GROUPS):
        x, y = places[point, 0], places[point, 1]
        bits = _mixed(seed + np.uint64(epoch) * np.uint64(count) + np.uint64(point))
        for edge in range(first[point], first[point + 1]):
            rate = rates[edge]
            if int((epoch + 1) * rate) == int(epoch * rate):
                continue
            other = others[edge]
            right, up = x - places[other, 0], y - places[other, 1]
            squared = right * right + up * up
            if squared > 0:
                force = _force(attraction, squared)
                x += 2 * step * _bounded(force * right)
                y += 2 * step * _bounded(force * up)
            for _ in range(NEGATIVES):
                bits += np.uint64(0x9E3779B97F4A7C15)
                # the high half of a product spreads 32 random bits over all points without a division
                stranger = ((_mixed(bits) >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)
                right, up = x - places[stranger, 0], y - places[stranger, 1]
                squared = right * right + up * up
                if squared > 0:
                    force = _force(repulsion, squared)
                    x += step * _bounded(force * right)
                    y += step * _bounded(force * up)
        moved[point, 0], moved[point, 1] = x, y
