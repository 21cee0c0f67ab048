"""UMAP against umap-learn, step by step; the same at any number of threads; new windows placed one by one."""

import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse
from sklearn.manifold import trustworthiness

from quant import embedding, patterns
from quant import umap_layout as layout
from quant.embedding import EmbeddingError
from quant.neighbours import nearest

ROWS = 1_500

# umap-learn says that a seed keeps it to one thread, which is what is beaten here
pytestmark = pytest.mark.filterwarnings("ignore:n_jobs value 1 overridden:UserWarning")


@pytest.fixture(scope="module")
def umap() -> Any:
    """umap-learn, whose import and seeded calls warn."""
    warnings.simplefilter("ignore")
    import umap

    return umap


@pytest.fixture(scope="module")
def rows() -> npt.NDArray[np.float32]:
    """Heavy-tailed clouds of several sizes along curves, as windows of features are."""
    generator = np.random.default_rng(0)
    centers = generator.normal(scale=1, size=(6, 60))
    which = generator.integers(6, size=ROWS)
    bent = np.outer(generator.uniform(-3, 3, ROWS), generator.normal(size=60))
    rows = centers[which] + bent * (which[:, np.newaxis] % 2) + generator.standard_t(4, size=(ROWS, 60))
    rows[10:15] = rows[10]  # equal windows, as a market that stands still has them
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def places(rows: npt.NDArray[np.float32]) -> layout.Plane:
    return embedding.fit(rows, neighbours=15, seed=42)


@pytest.mark.parametrize("neighbours", [5, 30])
def test_the_graph_is_umap_learns(umap: Any, rows: npt.NDArray[np.float32], neighbours: int):
    found = nearest(rows, rows, neighbours)
    expected, _, _ = umap.umap_.fuzzy_simplicial_set(
        rows, neighbours, None, "euclidean", knn_indices=found.indices, knn_dists=found.distances
    )
    graph = embedding.graph_of(found)
    assert graph.nnz == expected.nnz
    assert abs(graph - expected.tocsr()).max() < 1e-4  # where a search for the scale ends within its tolerance


@pytest.mark.parametrize("distance", [0.0, 0.1, 0.7])
def test_the_curve_is_umap_learns(umap: Any, distance: float):
    np.testing.assert_allclose(layout.curve(distance), umap.umap_.find_ab_params(1.0, distance), rtol=1e-6)


@pytest.mark.parametrize("distance", [0.0, 0.3])
def test_forces_are_umap_learns_to_a_hundredth(distance: float):
    a, b = layout.curve(distance)
    attraction, repulsion = layout._forces(a, b)
    for squared in 10 ** np.random.default_rng(0).uniform(-10, 5, 2_000):
        power = a * squared**b
        attracted, repelled = layout._force(attraction, squared), layout._force(repulsion, squared)
        assert attracted == pytest.approx(-2 * a * b * squared ** (b - 1) / (1 + power), rel=0.01)
        assert repelled == pytest.approx(2 * b / ((0.001 + squared) * (1 + power)), rel=0.01)


def test_distances_beyond_the_table_count_as_its_ends():
    attraction, _ = layout._forces(*layout.curve(0.0))
    assert layout._force(attraction, 1e-30) == attraction[0]
    assert layout._force(attraction, 1e30) == attraction[-1]


def test_neighbours_stay_as_near_as_umap_learn_keeps_them(
    umap: Any, rows: npt.NDArray[np.float32], places: layout.Plane
):
    theirs = umap.UMAP(n_neighbors=15, min_dist=0.0, n_components=2, random_state=42).fit_transform(rows)
    ours, expected = (trustworthiness(rows, found, n_neighbors=15) for found in (places, theirs))
    assert ours > expected - 0.01
    assert trustworthiness(rows, np.random.default_rng(0).normal(size=places.shape), n_neighbors=15) < expected - 0.1


def test_the_seed_alone_decides(rows: npt.NDArray[np.float32], places: layout.Plane, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layout, "_FEWEST", 20)  # so that these few rows are worth several threads
    for threads in (1, 2, 3, 7):
        assert embedding.fit(rows, neighbours=15, seed=42, threads=threads).tobytes() == places.tobytes()
    assert embedding.fit(rows, neighbours=15, seed=43).tobytes() != places.tobytes()


def test_a_graph_in_pieces_is_laid_out(rows: npt.NDArray[np.float32]):
    apart = np.concatenate([rows[:200], rows[200:400] + 1_000])
    found = embedding.fit(apart, neighbours=5)
    assert np.isfinite(found).all()
    beside = nearest(found, found, 2).indices[:, 1]
    assert ((beside < 200) == (np.arange(400) < 200)).mean() > 0.97


def test_points_without_edges_stay():
    start = np.random.default_rng(0).uniform(0, 10, (4, 2)).astype(np.float32)
    found = layout.layout(sparse.csr_array((4, 4)), start, minimum_distance=0.0, epochs=10, seed=0)
    np.testing.assert_array_equal(found, start)


def test_an_equal_window_lies_where_its_equal_lies(rows: npt.NDArray[np.float32], places: layout.Plane):
    found = embedding.place(rows, rows, places, neighbours=15)
    first = np.arange(ROWS)
    first[10:15] = 10
    np.testing.assert_array_equal(found.places, places[first])


def test_a_new_window_lies_amid_its_neighbours_by_their_strengths(
    umap: Any, rows: npt.NDArray[np.float32], places: layout.Plane
):
    new = rows[:50] + np.float32(0.3)
    found = embedding.place(new, rows, places, neighbours=15)
    sigmas, rhos = umap.umap_.smooth_knn_dist(found.neighbours.distances, 15.0, local_connectivity=1.0)
    for row in range(len(new)):
        beyond = np.maximum(0, found.neighbours.distances[row] - rhos[row]) / sigmas[row]
        weights = np.exp(-beyond) / np.exp(-beyond).sum()
        expected = weights @ places[found.neighbours.indices[row]].astype(np.float64)
        np.testing.assert_allclose(found.places[row], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-5)


def test_a_new_window_hangs_on_no_other(rows: npt.NDArray[np.float32], places: layout.Plane):
    new = rows[:300] * np.float32(1.01)
    whole = embedding.place(new, rows, places, neighbours=15, threads=2)
    for row in (0, 150, 299):
        alone = embedding.place(new[row : row + 1], rows, places, neighbours=15)
        np.testing.assert_array_equal(whole.places[row], alone.places[0])
        np.testing.assert_array_equal(whole.weights[row], alone.weights[0])


def test_new_windows_lie_where_umap_learn_moves_them(umap: Any, rows: npt.NDArray[np.float32]):
    fitted = umap.UMAP(n_neighbors=15, min_dist=0.0, n_components=2, random_state=42).fit(rows[:1_200])
    moved = fitted.transform(rows[1_200:])
    ours = embedding.place(rows[1_200:], rows[:1_200], fitted.embedding_, neighbours=15).places
    apart = np.linalg.norm(ours - moved, axis=1) / fitted.embedding_.std()
    assert np.median(apart) < 0.1
    assert np.quantile(apart, 0.95) < 0.5


def test_windows_placed_again_by_the_others_stay_near(rows: npt.NDArray[np.float32], places: layout.Plane):
    found = embedding.place_again(rows, places, neighbours=15)
    itself = found.neighbours.indices == np.arange(ROWS)[:, np.newaxis]
    assert not itself[np.r_[:10, 15:ROWS]].any()
    assert found.neighbours.indices.shape == (ROWS, 15)
    assert np.median(np.linalg.norm(found.places - places, axis=1)) < 0.1 * places.std()


def test_too_few_rows_are_named():
    with pytest.raises(EmbeddingError, match="30 neighbours of 12 rows"):
        embedding.fit(np.zeros((12, 3)))


def test_cuml_is_used_where_it_is_there(umap: Any, rows: npt.NDArray[np.float32], monkeypatch: pytest.MonkeyPatch):
    """Its UMAP takes umap-learn's parameters, so that one can stand for the other."""
    package, module = ModuleType("cuml"), ModuleType("cuml.manifold")
    package.__spec__ = ModuleSpec("cuml", None)
    module.UMAP = umap.UMAP
    monkeypatch.setitem(sys.modules, "cuml", package)
    monkeypatch.setitem(sys.modules, "cuml.manifold", module)
    assert patterns.reducer("auto") == "cuml"
    given = {"neighbours": 15, "minimum_distance": 0.0, "threads": 1}
    found = patterns.reduced(rows, "cuml", 1, **given)
    np.testing.assert_array_equal(found, patterns.reduced(rows, "umap-learn", 1, **given))
