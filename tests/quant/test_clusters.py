"""Clusters against scikit-learn, slow restatements, and clusters that are known."""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.metrics.cluster import expected_mutual_information
from threadpoolctl import threadpool_limits

from quant import clusters
from quant.clusters import (
    ClusterError,
    agreement,
    best_count,
    choose_count,
    density,
    kmeans,
    nearest,
    normalised_mutual_information,
    shuffled_information,
    vote,
)

CORNERS = np.array([(x, y) for x, y in product((-4, 0, 4), repeat=2)], dtype=np.float64)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On cores that others use, scikit-learn's threads wait for each other for seconds."""
    with threadpool_limits(1):
        yield


def blobs(size: int, spread: float = 0.5, seed: int = 0, centres: np.ndarray = CORNERS) -> tuple[np.ndarray, ...]:
    """Return points and the number of the blob that each is of, shuffled."""
    generator = np.random.default_rng(seed)
    kinds = generator.permutation(np.repeat(np.arange(len(centres)), size))
    return centres[kinds] + generator.standard_normal((len(kinds), 2)) * spread, kinds


def expanded(contingency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster and the group of each point."""
    places = np.repeat(np.arange(contingency.size), contingency.ravel())
    return np.divmod(places, contingency.shape[1])


# ---------------------------------------------------------------- finding them


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_kmeans_is_that_of_the_notebook(kind: type) -> None:
    points = blobs(300, 1.5)[0].astype(kind)
    model = KMeans(n_clusters=8, random_state=42, n_init=10)
    expected = model.fit_predict(points)
    found = kmeans(points, 8, 42)
    assert (found.method, found.count) == ("kmeans", 8)
    assert np.array_equal(found.labels, expected)
    assert np.allclose(found.centres, model.cluster_centers_, rtol=1e-6)
    assert not np.array_equal(found.labels, kmeans(points, 8, 43).labels)


def test_density_is_that_of_scikit_learn_with_noise_and_the_members_means() -> None:
    points, kinds = blobs(80, 0.2, centres=CORNERS[:3])
    strays = np.random.default_rng(1).uniform(20, 90, (30, 2))
    points = np.concatenate([points, strays])
    found = density(points, 20)
    assert np.array_equal(found.labels, HDBSCAN(min_cluster_size=20, copy=True).fit_predict(points))
    assert (found.method, found.count) == ("hdbscan", 3)
    assert (found.labels[-30:] == -1).mean() > 0.5
    assert agreement(found.labels[:-30], kinds) > 0.9
    for label in range(3):
        assert found.centres[label] == pytest.approx(points[found.labels == label].mean(axis=0))


def test_nothing_dense_is_no_cluster() -> None:
    found = density(np.random.default_rng(0).standard_normal((40, 2)), 40)
    assert found.count == 0
    assert found.centres.shape == (0, 2)
    assert (found.labels == -1).all()


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    points = blobs(1200, 2.0)[0]  # many chunks of k-means, no clear clusters

    def everything(threads: int) -> tuple[np.ndarray, ...]:
        with threadpool_limits(threads):
            found, dense = kmeans(points, 9, 1), density(points[:3000], 30)
            table = choose_count(points[:2000], [3, 9], 1, 2)
        return found.labels, found.centres, dense.labels, dense.centres, table.to_numpy()

    for one, two in zip(everything(1), everything(2), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: kmeans(np.zeros((5, 2)), 2, 0), "count is 2; .*different points, 1"),
        (lambda: kmeans(np.zeros(5), 1, 0), r"points have .* shape \(5,\)"),
        (lambda: kmeans(np.array([[0.0, np.nan]]), 1, 0), "not finite"),
        (lambda: kmeans(CORNERS, 0, 0), "count is 0; allowed: whole numbers from 1"),
        (lambda: kmeans(CORNERS, 2, -1), "seed is -1"),
        (lambda: density(CORNERS, 1), "smallest is 1; allowed: whole numbers from 2"),
        (lambda: density(CORNERS, 10), "smallest is 10; allowed: at most the number of points, 9"),
        (lambda: nearest(CORNERS, np.zeros((2, 3))), "points have 2 columns; allowed: 3"),
        (lambda: nearest(CORNERS, np.zeros((0, 2))), "centres have"),
        (lambda: agreement(np.zeros(3, dtype=int), np.zeros(4, dtype=int)), "3 labels and 4"),
        (lambda: agreement(np.zeros(3), np.zeros(3, dtype=int)), "labels have the type float64"),
        (lambda: agreement(np.array([-2]), np.array([0])), "least is -2"),
    ],
)
def test_what_cannot_be_clustered_is_refused_by_name(call, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        call()


# ---------------------------------------------------------------- given to later points


def test_nearest_is_the_prediction_of_scikit_learn() -> None:
    fitted, later = blobs(200, 1.5)[0], blobs(200, 2.5, seed=1)[0]
    model = KMeans(12, random_state=3, n_init=10).fit(fitted)
    found = kmeans(fitted, 12, 3)
    assert np.array_equal(nearest(later, found.centres), model.predict(later))
    assert np.array_equal(nearest(fitted, found.centres), found.labels)


small = st.integers(-3, 3).map(float)


@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 8), st.just(2)), elements=small),
    arrays.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(2)), elements=small),
)
def test_nearest_is_a_loop_over_the_distances_with_ties_to_the_lower(points: np.ndarray, centres: np.ndarray) -> None:
    expected = []
    for x, y in points:
        distances = [(x - a) ** 2 + (y - b) ** 2 for a, b in centres]
        expected.append(distances.index(min(distances)))
    assert nearest(points, centres).tolist() == expected


@given(st.data())
def test_vote_is_a_loop_over_the_neighbours_with_ties_to_the_lower(data: st.DataObject) -> None:
    labels = np.array(data.draw(st.lists(st.integers(-1, 3), min_size=1, max_size=8)))
    shape = data.draw(st.tuples(st.integers(0, 5), st.integers(1, 6)))
    neighbours = data.draw(arrays.arrays(np.int64, shape, elements=st.integers(0, len(labels) - 1)))
    weights = data.draw(arrays.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    weights[:, 0] = np.maximum(weights[:, 0], 0.25)
    expected = []
    for row, heavy in zip(neighbours, weights, strict=True):
        sums: Counter[int] = Counter()
        for neighbour, weight in zip(row, heavy, strict=True):
            sums[int(labels[neighbour])] += weight
        most = max(sums.values())
        expected.append(min(label for label, weight in sums.items() if weight == most))
    assert vote(neighbours, weights, labels).tolist() == expected


def test_a_point_among_noise_is_noise() -> None:
    labels = np.array([-1, -1, 2, 0])
    neighbours = np.array([[0, 1, 2], [2, 3, 0], [2, 0, 3]])
    weights = np.array([[0.3, 0.3, 0.5], [0.5, 0.5, 0.1], [0.5, 0.5, 0.1]], dtype=np.float32)
    assert vote(neighbours, weights, labels).tolist() == [-1, 0, -1]


@pytest.mark.parametrize(
    ("neighbours", "weights", "said"),
    [
        ([[0, 4]], [[1.0, 1.0]], "rows 0 to 4; allowed: 0 to 3"),
        ([[-1, 0]], [[1.0, 1.0]], "rows -1 to 0"),
        ([[0, 1]], [[1.0]], r"weights the shape \(1, 1\)"),
        ([[0.0, 1.0]], [[1.0, 1.0]], "type float64"),
        ([[0, 1], [0, 1]], [[1.0, 0.0], [0.0, 0.0]], "weights of row 1"),
        ([[0, 1]], [[1.0, -0.1]], "weights of row 0"),
        ([[0, 1]], [[1.0, np.nan]], "weights of row 0"),
    ],
)
def test_votes_that_are_none_are_refused(neighbours: list, weights: list, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        vote(np.array(neighbours), np.array(weights), np.array([0, 1, -1, 2]))


# ---------------------------------------------------------------- how many


def test_stability_and_silhouette_are_what_they_are_called() -> None:
    points = blobs(30, 1.0)[0]
    table = choose_count(points, [4, 9], 5, 6)
    assert table.columns.tolist() == ["count", "stability", "stability_error", "silhouette"]
    assert table["count"].tolist() == [4, 9]
    generator = np.random.default_rng([5, clusters._STREAM])
    generator.permutation(len(points))
    samples = [np.sort(generator.integers(0, len(points), len(points))) for _ in range(6)]
    for count, stability, error, silhouette in table.itertuples(index=False):
        whole = KMeans(count, random_state=5, n_init=10).fit(points)
        again = [KMeans(count, random_state=5, n_init=10).fit(points[sample]) for sample in samples]
        indices = [adjusted_rand_score(whole.labels_, model.predict(points)) for model in again]
        assert stability == pytest.approx(np.mean(indices))
        assert error == pytest.approx(np.std(indices, ddof=1))
        assert silhouette == pytest.approx(silhouette_score(points, whole.labels_))


def test_silhouette_of_many_points_is_that_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(60)[0]
    whole = choose_count(points, [9], 0, 1)
    monkeypatch.setattr(clusters, "_MOST_FOR_SILHOUETTE", 200)
    some = choose_count(points, [9], 0, 1)
    assert some["silhouette"][0] != whole["silhouette"][0]
    assert some["silhouette"][0] == pytest.approx(whole["silhouette"][0], abs=0.05)
    assert math.isnan(some["stability_error"][0])


@pytest.mark.parametrize("planted", [4, 6, 9])
def test_the_number_of_blobs_is_found(planted: int) -> None:
    points, kinds = blobs(70, 0.6, seed=planted, centres=CORNERS[:planted])
    table = choose_count(points, range(2, 13), 0, 5)
    assert best_count(table) == planted
    assert table.set_index("count")["stability"][planted] > 0.97
    assert agreement(kmeans(points, planted, 0).labels, kinds) > 0.97


def test_a_cloud_without_clusters_is_not_stable_beyond_few() -> None:
    cloud = np.random.default_rng(2).standard_normal((600, 2))
    table = choose_count(cloud, [2, 9, 12], 0, 8).set_index("count")
    assert (table["stability"][[9, 12]] < clusters.REPEATABLE).all()
    assert (table["silhouette"] < 0.45).all()


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        # the one furthest apart of those that come back
        ([(2, 1.00, 0.0, 0.3), (5, 0.92, 0.1, 0.6), (8, 0.7, 0.1, 0.9)], 5),
        # none reaches 0.9: those within one error of the most stable
        ([(2, 0.80, 0.1, 0.3), (5, 0.72, 0.3, 0.5), (8, 0.6, 0.3, 0.9)], 5),
        ([(2, 0.80, 0.01, 0.3), (5, 0.72, 0.3, 0.5), (8, 0.6, 0.3, 0.9)], 2),
        # the most stable just reaches it: its own error still counts
        ([(2, 0.91, 0.05, 0.3), (5, 0.87, 0.1, 0.5)], 5),
        # ties go to the lower count, whatever the order; one resample has no error
        ([(8, 1.0, np.nan, 0.5), (5, 1.0, np.nan, 0.5)], 5),
    ],
)
def test_the_rule_for_the_best_count(rows: list, best: int) -> None:
    assert best_count(pd.DataFrame(rows, columns=["count", "stability", "stability_error", "silhouette"])) == best


@pytest.mark.parametrize("counts", [[], [2, 2], [1, 2], [9], [2.0]])
def test_counts_that_are_none_are_refused(counts: list) -> None:
    with pytest.raises(ClusterError, match="count"):
        choose_count(CORNERS, counts, 0, 1)


def test_a_table_of_nothing_has_no_best_count() -> None:
    with pytest.raises(ClusterError, match=r"0 rows and lacks .*silhouette"):
        best_count(pd.DataFrame({"count": [], "stability": []}))


# ---------------------------------------------------------------- what they tell of tickers and months


tables = arrays.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.integers(0, 9))


@given(tables.filter(lambda table: table.any()))
@settings(max_examples=60)
def test_information_is_that_of_scikit_learn_and_of_a_loop(table: np.ndarray) -> None:
    found = normalised_mutual_information(table)
    assert found == pytest.approx(normalized_mutual_info_score(*expanded(table)), abs=1e-12)
    total, information, entropies = table.sum(), 0.0, 0.0
    for row, column in product(*map(range, table.shape)):
        if table[row, column]:
            expected = table[row].sum() * table[:, column].sum()
            information += table[row, column] / total * math.log(table[row, column] * total / expected)
    for margin in (table.sum(axis=0), table.sum(axis=1)):
        entropies += sum(size / total * math.log(total / size) for size in margin if size)
    assert found == pytest.approx(2 * information / entropies if entropies else 1.0, abs=1e-12)


def test_information_is_everything_or_nothing() -> None:
    assert normalised_mutual_information(np.diag([3, 40, 500])) == pytest.approx(1.0)
    assert normalised_mutual_information(np.outer([3, 40, 500], [7, 1, 2])) == 0.0


def test_information_by_chance_is_its_expectation() -> None:
    table = np.random.default_rng(0).poisson(np.outer([9, 5, 2], [1, 2, 1, 0.3, 2]))
    table[:, 1] = [40, 0, 0]  # what the clusters tell is no part of what chance tells
    one, other = expanded(table)
    entropies = [normalised_entropy(margin) for margin in (table.sum(axis=0), table.sum(axis=1))]
    expected = expected_mutual_information(table, table.sum()) / np.mean(entropies)
    found = shuffled_information(table, 1, 2000)
    assert found == pytest.approx(expected, rel=0.05)
    generator = np.random.default_rng(3)
    shuffled = [normalized_mutual_info_score(one, generator.permutation(other)) for _ in range(300)]
    assert found == pytest.approx(np.mean(shuffled), rel=0.1)
    assert found < 0.3 * normalised_mutual_information(table)
    assert found == shuffled_information(table, 1, 2000) != shuffled_information(table, 2, 2000)


def normalised_entropy(sizes: np.ndarray) -> float:
    shares = sizes / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def test_five_million_points_of_ten_thousand_tickers() -> None:
    generator = np.random.default_rng(0)
    table = generator.poisson(np.outer(generator.random(20), generator.random(10_000)) * 100)
    table[:, ::1000] = 0
    found, chance = normalised_mutual_information(table), shuffled_information(table, 0, 5)
    # independent but for the draws
    assert found == pytest.approx(chance, rel=0.01)
    assert 0 < chance < 0.01


@pytest.mark.parametrize("table", [[[0, 0]], [[1, -1]], [1, 2], [[1.0, 2.0]]])
def test_counts_of_nothing_are_refused(table: list) -> None:
    for function in (normalised_mutual_information, lambda counts: shuffled_information(counts, 0, 1)):
        with pytest.raises(ClusterError, match="whole numbers from 0, at least one above 0"):
            function(np.array(table))


@pytest.mark.parametrize("counts", [[[163], [217], [220]], [[163, 217, 220]]])
def test_one_cluster_or_one_group_tells_nothing(counts: list[list[int]]):
    """SciPy 1.18 draws tables with negative counts where there is a single column."""
    table = np.array(counts)
    assert clusters.normalised_mutual_information(table) == 0
    assert clusters.shuffled_information(table, 0, 3) == 0
