"""UMAP of windows into the plane: fitted by a seed at any number of threads, and new windows placed one by one.

The steps are those of umap-learn, which is the oracle of each: the strengths of the neighbours, their symmetric graph,
a spectral start and the layout (``quant.umap_layout``). Neighbours are exact (``quant.neighbours``). umap-learn places
new rows in batches, whose rows move each other's places and whose random numbers come from an index that cannot be
stored as plain numbers; here a new window's place hangs on nothing but the window and the fitted ones.

Source: McInnes, Healy, Melville, "UMAP: Uniform Manifold Approximation and Projection" (2018); umap-learn 0.5.12.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import ArpackError, eigsh
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from quant.neighbours import Index, Neighbours, nearest
from quant.umap_layout import Plane, layout

_TOLERANCE = 1e-5
_LEAST_SHARE = 1e-3
_LARGE = 10_000  # points from which the layout takes fewer epochs, as in umap-learn

Strengths = npt.NDArray[np.float32]


class EmbeddingError(ValueError):
    """Rows that cannot be embedded."""


class Placed(NamedTuple):
    """Where rows come to lie, with what decides it.

    Parameters
    ----------
    places
        m × 2.
    neighbours
        Of each row among the fitted ones: m × count.
    weights
        Shares of those in its place, m × count; they sum to 1.
    """

    places: Plane
    neighbours: Neighbours
    weights: Strengths


def fit(
    rows: npt.NDArray[Any],
    *,
    neighbours: int = 30,
    minimum_distance: float = 0.0,
    seed: int = 42,
    epochs: int | None = None,
    threads: int = 1,
) -> Plane:
    """Return the places of rows in the plane, n × 2.

    Parameters
    ----------
    rows
        n × dimensions, finite.
    neighbours
        That a row is kept together with, itself included: 2 to n.
    minimum_distance
        How close they come to lie at least; 0 packs them.
    epochs
        Of the layout; None: 500, or 200 for more than 10,000 rows.
    threads
        Cores to use; they never change the result.

    Raises
    ------
    EmbeddingError
        If there are too few rows for so many neighbours.
    NeighboursError
        If a value is not finite.
    """
    if not 2 <= neighbours <= len(rows):
        raise EmbeddingError(f"{neighbours} neighbours of {len(rows)} rows are asked for; allowed: 2 to {len(rows)}")
    graph = graph_of(nearest(rows, rows, neighbours, threads=threads))
    begin = start(graph, rows, seed)
    if epochs is None:
        epochs = 500 if len(rows) <= _LARGE else 200
    return layout(graph, begin, minimum_distance=minimum_distance, epochs=epochs, seed=seed, threads=threads)


def place(
    queries: npt.NDArray[Any], rows: npt.NDArray[Any] | Index, places: Plane, *, neighbours: int = 30, threads: int = 1
) -> Placed:
    """Return where new rows come to lie among fitted ones: the mean of their neighbours' places, by UMAP's strengths.

    A row that equals a fitted one comes to lie where that lies. Every row is placed by itself: the others of a batch
    do not matter. umap-learn begins so too, and then moves the rows of a batch about.

    Parameters
    ----------
    queries
        m × dimensions.
    rows, places
        The fitted rows, n × dimensions or prepared by ``quant.neighbours.index``, and their places, n × 2.
    """
    found = nearest(rows, queries, min(neighbours, len(places)), threads=threads)
    return _placed(found, places)


def place_again(rows: npt.NDArray[Any], places: Plane, *, neighbours: int = 30, threads: int = 1) -> Placed:
    """Return where each fitted row would come to lie if it were new: by its neighbours without itself.

    How far that is from where it lies tells how well new rows are placed.
    """
    found = nearest(rows, rows, min(neighbours + 1, len(rows)), threads=threads)
    itself = found.indices == np.arange(len(rows))[:, np.newaxis]
    itself[~itself.any(axis=1), -1] = True  # more equal rows than neighbours: one of them goes
    others = (len(rows), -1)
    return _placed(Neighbours(found.indices[~itself].reshape(others), found.distances[~itself].reshape(others)), places)


def _placed(found: Neighbours, places: Plane) -> Placed:
    strengths = np.empty(found.distances.shape, np.float32)
    _strengths(found.distances, strengths)
    same = found.distances == 0
    same &= np.cumsum(same, axis=1) == 1  # the first of several that equal it
    weights = np.where(same.any(axis=1, keepdims=True), same, strengths).astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    where = np.einsum("mk,mkd->md", weights, places[found.indices].astype(np.float64))
    return Placed(where.astype(np.float32), found, weights.astype(np.float32))


def graph_of(found: Neighbours) -> sparse.csr_array:
    """Return the symmetric graph of fitted rows, n × n: how strongly, 0 to 1, each pair of neighbours holds together.

    Parameters
    ----------
    found
        Neighbours of every row among the same rows, itself included.
    """
    count, each = found.indices.shape
    strengths = np.empty(found.distances.shape, np.float32)
    _strengths(found.distances, strengths)
    strengths[found.indices == np.arange(count)[:, np.newaxis]] = 0  # a row does not hold on to itself
    ends = np.arange(0, count * each + 1, each)
    directed = sparse.csr_array((strengths.ravel(), found.indices.ravel(), ends), shape=(count, count))
    directed.eliminate_zeros()
    back = directed.T.tocsr()
    graph = sparse.csr_array(directed + back - directed * back)  # either holds, as if by chance
    graph.sort_indices()
    return graph


@numba.njit(cache=True, nogil=True)
def _strengths(distances, strengths):  # type: ignore[no-untyped-def]
    """umap-learn's ``smooth_knn_dist`` and ``compute_membership_strengths``, row by row.

    The nearest row that is not equal counts in full, the others the less the farther beyond it they are, on a scale on
    which all together count as the logarithm of their number.
    """
    count, each = distances.shape
    target = np.log2(each)
    for row in range(count):
        nearest_other = np.float32(0.0)
        for place in range(each):
            if distances[row, place] > 0:
                nearest_other = distances[row, place]
                break
        low, high, scale = 0.0, np.inf, 1.0
        for _ in range(64):
            total = 0.0
            for place in range(1, each):
                beyond = distances[row, place] - nearest_other
                total += np.exp(-beyond / scale) if beyond > 0 else 1.0
            if abs(total - target) < _TOLERANCE:
                break
            if total > target:
                high = scale
                scale = (low + high) / 2
            else:
                low = scale
                scale = scale * 2 if high == np.inf else (low + high) / 2
        scale = max(scale, _LEAST_SHARE * distances[row].mean())
        for place in range(each):
            beyond = distances[row, place] - nearest_other
            strengths[row, place] = np.exp(-beyond / scale) if beyond > 0 else 1.0


def start(graph: sparse.csr_array, rows: npt.NDArray[Any], seed: int) -> Plane:
    """Return places to begin with, n × 2: the graph's two slowest modes, or the rows' where it is in pieces."""
    # one thread, since the sums of a library's threads hang on their number
    with threadpool_limits(1):
        modes = _spectrum(graph) if csgraph.connected_components(graph)[0] == 1 else None
        if modes is None:
            modes = _principal(rows)
    modes = 10 * (modes / np.abs(modes).max())
    modes += np.random.default_rng(seed).normal(scale=1e-4, size=modes.shape)  # so that no two lie on one place
    low, high = modes.min(axis=0), modes.max(axis=0)
    scaled: Plane = (10 * (modes - low) / (high - low)).astype(np.float32)
    return scaled


def _spectrum(graph: sparse.csr_array) -> npt.NDArray[np.float64] | None:
    degree = np.sqrt(graph.sum(axis=0, dtype=np.float64))
    scaled = sparse.diags_array(1 / degree)
    try:
        values, modes = eigsh(
            sparse.csr_array(scaled @ graph @ scaled), 3, which="LA", v0=degree, tol=1e-4, ncv=min(40, len(degree))
        )
    except ArpackError:
        return None
    return np.asarray(modes[:, np.argsort(-values, kind="stable")[1:]], dtype=np.float64)


def _principal(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    centered = np.asarray(rows, dtype=np.float64) - np.mean(rows, axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centered.T @ centered)
    found: npt.NDArray[np.float64] = centered @ axes[:, -2:]
    return found if found.shape[1] == 2 else np.repeat(found, 2, axis=1)
