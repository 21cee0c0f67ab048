"""Clusters of points in a plane: found, given to later points, and how far they can be trusted.

Points are n × 2 (or any other number of dimensions), labels are whole numbers from 0, and −1 is noise: points of no
cluster. Equal seeds give equal results at any number of threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import xlogy
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Points = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]
Method = Literal["kmeans", "hdbscan"]

NOISE, ALL = -1, -2
"""Labels of points of no cluster and, where clusters are listed, of all points."""

REPEATABLE = 0.9
"""Stability from which clusters count as the same ones again; see :func:`best_count`."""

_STARTS = 10
_MOST_FOR_SILHOUETTE = 5_000
_STREAM = 1985
_NO_INFORMATION = float(np.finfo(np.float64).eps)
_COLUMNS = ("count", "stability", "stability_error", "silhouette")


class ClusterError(ValueError):
    """Points, labels, counts or options from which no clusters, or no figure of clusters, can be had."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of points.

    Attributes
    ----------
    method
        ``kmeans`` or ``hdbscan``.
    labels
        Of each point (n): 0 … count − 1, or −1 for noise, which k-means does not know.
    centres
        Count × dimensions. Of k-means, which gives points to the nearest one; of HDBSCAN the means of the members,
        for orientation only: its clusters may have any shape.
    """

    method: Method
    labels: Integers
    centres: npt.NDArray[np.float64]

    @property
    def count(self) -> int:
        """Number of clusters, noise not counted."""
        return len(self.centres)


def kmeans(points: Points, count: int, seed: int) -> Clusters:
    """Cluster by scikit-learn's ``KMeans`` with ten starts.

    One thread alone: several add up the centres in whichever order they finish.

    Raises
    ------
    ClusterError
        If the points are not a matrix of finite numbers, or hold fewer different ones than there shall be clusters,
        or an option is not a whole number within its bounds.
    """
    # here, since it takes a second that most processes can do without
    from sklearn.cluster import KMeans

    values = _points(points)
    _check_whole("count", count, 1)
    _check_whole("seed", seed, 0)
    different = len(np.unique(values, axis=0))
    if different < count:
        raise ClusterError(f"count is {count}; allowed: at most as many as there are different points, {different}")
    with threadpool_limits(1):
        model = KMeans(count, random_state=seed, n_init=_STARTS).fit(values)
    return Clusters("kmeans", model.labels_.astype(np.int64), model.cluster_centers_.astype(np.float64))


def density(points: Points, smallest: int) -> Clusters:
    """Cluster by scikit-learn's ``HDBSCAN``: dense regions of any shape, and as many as there are, maybe none.

    Parameters
    ----------
    smallest
        Fewest points that make a cluster; what is sparser is noise.

    Raises
    ------
    ClusterError
        If the points are not a matrix of finite numbers, or ``smallest`` is not a whole number from 2 to how many
        there are.
    """
    # here, since it takes a second that most processes can do without
    from sklearn.cluster import HDBSCAN

    values = _points(points)
    _check_whole("smallest", smallest, 2)
    if smallest > len(values):
        raise ClusterError(f"smallest is {smallest}; allowed: at most the number of points, {len(values)}")
    with threadpool_limits(1):
        labels = HDBSCAN(min_cluster_size=smallest, copy=True).fit(values).labels_.astype(np.int64)
    members = np.bincount(labels[labels != NOISE])
    sums = [np.bincount(labels[labels != NOISE], column[labels != NOISE]) for column in values.T.astype(np.float64)]
    return Clusters("hdbscan", labels, np.column_stack(sums) / members[:, None])


def nearest(points: Points, centres: npt.NDArray[np.floating[Any]]) -> Integers:
    """Give each point (n) to the nearest centre by Euclidean distance, of equally near ones to the lower number.

    Raises
    ------
    ClusterError
        If points and centres are not matrices of finite numbers and of as many columns, or there is no centre.
    """
    values, places = _points(points), _points(centres, "centres")
    if values.shape[1] != places.shape[1]:
        raise ClusterError(f"points have {values.shape[1]} columns; allowed: {places.shape[1]}, as the centres")
    labels = np.zeros(len(values), dtype=np.int64)
    least = np.full(len(values), np.inf)
    # centre by centre, so that memory does not grow with their number
    for label, place in enumerate(places.astype(np.float64)):
        distance = ((values - place) ** 2).sum(axis=1)
        nearer = distance < least
        labels[nearer] = label
        least[nearer] = distance[nearer]
    return labels


def vote(
    neighbours: npt.NDArray[np.integer[Any]], weights: npt.NDArray[np.floating[Any]], labels: npt.NDArray[Any]
) -> Integers:
    """Give each new point (m) the label that weighs most among its neighbours, of equally heavy ones the lowest.

    Noise is a label as the others: a point whose neighbours mostly are of no cluster is of none.

    Parameters
    ----------
    neighbours
        Rows (m × k) of the points that were clustered.
    weights
        Of each neighbour (m × k), 0 or more, at least one above 0 in each row.
    labels
        Of the points that were clustered (n), −1 for noise.

    Raises
    ------
    ClusterError
        If neighbours, weights or labels are not as described.
    """
    known = _labels(labels, "labels")
    rows, heavy = np.asarray(neighbours), np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape != heavy.shape or rows.dtype.kind not in "iu":
        raise ClusterError(
            f"neighbours have the type {rows.dtype} and the shape {rows.shape}, weights the shape {heavy.shape}; "
            "allowed: whole numbers (m, k) and (m, k)"
        )
    if rows.size and not (rows.min() >= 0 and rows.max() < len(known)):
        raise ClusterError(f"neighbours are rows {rows.min()} to {rows.max()}; allowed: 0 to {len(known) - 1}")
    wrong = np.flatnonzero(~(np.isfinite(heavy) & (heavy >= 0)).all(axis=1) | ~(heavy > 0).any(axis=1))
    if len(wrong):
        raise ClusterError(
            f"weights of row {wrong[0]} are {heavy[wrong[0]].tolist()!r:.200}; "
            "allowed: finite numbers from 0, at least one above 0"
        )
    width = int(known.max(initial=NOISE)) - NOISE + 1
    places = known[rows] - NOISE + np.arange(len(rows))[:, None] * width
    sums = np.bincount(places.ravel(), heavy.ravel(), minlength=len(rows) * width).reshape(len(rows), width)
    heaviest: Integers = sums.argmax(axis=1).astype(np.int64) + NOISE
    return heaviest


def choose_count(points: Points, counts: Sequence[int], seed: int, resamples: int) -> pd.DataFrame:
    """Try several numbers of clusters for :func:`kmeans`: do the same clusters come back, and are they apart?

    Stability: k-means is fitted anew on bootstrap samples of the points, all points are given to the centres found,
    and these labels are compared with those of the fit on all points by :func:`agreement`. All counts see the same
    bootstrap samples. Source of the idea: Hennig, "Cluster-Wise Assessment of Cluster Stability", Computational
    Statistics and Data Analysis 52 (2007). Silhouette: Rousseeuw, "Silhouettes", Journal of Computational and Applied
    Mathematics 20 (1987), of at most 5,000 points, drawn once for all counts.

    Costs ``resamples + 1`` fits a count: 0.1 to 0.2 s each at 27,000 points in a plane.

    Returns
    -------
    A row a count, as given: ``count``, ``stability`` (mean over the resamples, 1 where all points keep their company),
    ``stability_error`` (its standard deviation over the resamples, NaN of fewer than two) and ``silhouette`` (mean,
    −1 … 1).

    Raises
    ------
    ClusterError
        As :func:`kmeans`, of the points and of each bootstrap sample; if there is no count, one is below 2 or there
        twice; or if there are no more points than the highest count.
    """
    # here, since it takes a second that most processes can do without
    from sklearn.metrics import silhouette_score

    values = _points(points)
    _check_whole("resamples", resamples, 1)
    _check_whole("seed", seed, 0)
    for count in counts:
        _check_whole("a count", count, 2)
    if not len(counts) or len(set(counts)) < len(counts) or max(counts) >= len(values):
        raise ClusterError(
            f"counts are {list(counts)!r:.200} for {len(values)} points; "
            "allowed: one or more different ones, all below the number of points"
        )
    generator = np.random.default_rng([seed, _STREAM])
    shown = np.sort(generator.permutation(len(values))[:_MOST_FOR_SILHOUETTE])
    samples = [np.sort(generator.integers(0, len(values), len(values))) for _ in range(resamples)]
    rows = []
    for count in counts:
        whole = kmeans(values, count, seed)
        again = [
            agreement(whole.labels, nearest(values, kmeans(values[sample], count, seed).centres)) for sample in samples
        ]
        with threadpool_limits(1):
            apart = _silhouette(silhouette_score, values[shown], whole.labels[shown])
        error = float(np.std(again, ddof=1)) if resamples > 1 else np.nan
        rows.append((count, float(np.mean(again)), error, apart))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def best_count(table: pd.DataFrame) -> int:
    """Return the number of clusters to take: of those that come back, the one whose clusters are furthest apart.

    A count qualifies if its stability is at least `REPEATABLE` or, where the most stable count does not clearly reach
    that, within one ``stability_error`` of the most stable. Of these the highest silhouette is taken, of equal ones
    the lowest count.

    Stability alone cannot choose: it says whether a partition can be repeated, and few large clusters nearly always
    can, so the highest stability mostly means the lowest count. Silhouette alone cannot either: it looks at one fit.
    So the one is the condition and the other the measure. An adjusted Rand index of 0.9 is what Steinley, "Properties
    of the Hubert–Arabie Adjusted Rand Index", Psychological Methods 9 (2004), calls excellent recovery. The error is
    the spread of single resamples, not that of their mean, which would shrink with their number until the rule hung on
    the third decimal of the stability.

    Parameters
    ----------
    table
        Of :func:`choose_count`.

    Raises
    ------
    ClusterError
        If the table is empty, or a column is missing.
    """
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing or not len(table):
        raise ClusterError(
            f"the table of counts has {len(table)} rows and lacks {missing}; allowed: one row or more, of choose_count"
        )
    counts, stability, error, silhouette = (table[name].to_numpy(dtype=np.float64) for name in _COLUMNS)
    first = stability.argmax()
    repeatable = stability >= min(REPEATABLE, stability[first] - np.nan_to_num(error[first]))
    # the last key is the first to count
    order = np.lexsort((counts, -np.nan_to_num(silhouette, nan=-1.0), ~repeatable))
    return int(counts[order[0]])


def agreement(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Adjusted Rand index of two labellings of the same points: 1 where they agree, about 0 by chance.

    Noise counts as one more cluster.

    Raises
    ------
    ClusterError
        If the labels are not one-dimensional whole numbers from −1, equally many.
    """
    # here, since it takes a second that most processes can do without
    from sklearn.metrics import adjusted_rand_score

    first, second = _labels(one, "labels"), _labels(other, "other labels")
    if len(first) != len(second):
        raise ClusterError(f"there are {len(first)} labels and {len(second)} other ones; allowed: as many")
    return float(adjusted_rand_score(first, second))


def normalised_mutual_information(contingency: npt.NDArray[np.integer[Any]]) -> float:
    """What clusters and groups (tickers, months) tell of each other: 0 nothing, 1 everything.

    Mutual information over the mean of the two entropies, as scikit-learn's ``normalized_mutual_info_score`` of the
    labels of all points; as there, 1 where there is only one cluster and only one group. Never 0 by chance: to be read
    against :func:`shuffled_information`.

    Parameters
    ----------
    contingency
        Clusters × groups: number of points of both.

    Raises
    ------
    ClusterError
        If the counts are not a matrix of whole numbers from 0, at least one above 0.
    """
    return _normalised(*_margins(contingency))


def shuffled_information(contingency: npt.NDArray[np.integer[Any]], seed: int, draws: int) -> float:
    """Return the mean :func:`normalised_mutual_information` that chance gives to clusters and groups of these sizes.

    Tables are drawn as if the points had been shuffled: both margins stay, nothing else does (Patefield's algorithm).

    Parameters
    ----------
    contingency
        Clusters × groups: number of points of both.
    draws
        Tables drawn; one has 10 to 20 ms at 20 × 10,000 with five million points.

    Raises
    ------
    ClusterError
        As :func:`normalised_mutual_information`, or if an option is not a whole number within its bounds.
    """
    _, clusters, groups = _margins(contingency)
    _check_whole("draws", draws, 1)
    _check_whole("seed", seed, 0)
    if min(len(clusters), len(groups)) == 1:  # the only table there is; SciPy draws impossible ones of a single column
        return _normalised(np.outer(clusters, groups) // clusters.sum(), clusters, groups)
    from scipy.stats import random_table  # a third of a second to import, which is needed here alone

    tables = random_table(clusters, groups, seed=np.random.default_rng([seed, _STREAM]))
    # one at a time: a hundred of 20 × 10,000 would be 160 MB
    return float(np.mean([_normalised(tables.rvs(), clusters, groups) for _ in range(draws)]))


def _normalised(counts: Integers, clusters: Integers, groups: Integers) -> float:
    if len(clusters) == len(groups) == 1:
        return 1.0
    total = float(clusters.sum())

    def entropy(sizes: Integers) -> float:
        shares = sizes / total
        return float(-xlogy(shares, shares).sum())

    # each cell's log of its share over what independence gives it, so that no large numbers cancel out
    row, column = np.nonzero(counts)
    cells = counts[row, column].astype(np.float64)
    expected = clusters[row].astype(np.float64) * groups[column]
    information = float((cells / total * (np.log(cells) + np.log(total) - np.log(expected))).sum())
    if information <= _NO_INFORMATION:
        return 0.0
    return information / ((entropy(clusters) + entropy(groups)) / 2)


def _margins(contingency: npt.NDArray[np.integer[Any]]) -> tuple[Integers, Integers, Integers]:
    """Return the counts without empty clusters and groups, and their sums over groups and over clusters."""
    counts = np.asarray(contingency)
    if counts.ndim != 2 or counts.dtype.kind not in "iu" or not counts.any() or counts.min() < 0:
        raise ClusterError(
            f"counts have the type {counts.dtype} and the shape {counts.shape}, the least is "
            f"{counts.min() if counts.size else None}; allowed: a matrix of whole numbers from 0, at least one above 0"
        )
    counts = counts.astype(np.int64)
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    return counts, counts.sum(axis=1), counts.sum(axis=0)


def _silhouette(score: Any, values: Points, labels: Integers) -> float:
    # of a large sample, a small cluster may not be among the points drawn
    if not 2 <= len(np.unique(labels)) < len(labels):
        return float("nan")
    return float(score(values, labels))


def _points(points: npt.ArrayLike, name: str = "points") -> Points:
    values = np.asarray(points)
    if values.dtype.kind in "iu":
        values = values.astype(np.float64)
    if values.ndim != 2 or not values.size or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise ClusterError(
            f"{name} have the type {values.dtype} and the shape {values.shape}, some maybe not finite; "
            "allowed: a matrix of finite numbers, not empty"
        )
    return values


def _labels(labels: npt.ArrayLike, name: str) -> Integers:
    values = np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "iu" or (len(values) and values.min() < NOISE):
        raise ClusterError(
            f"{name} have the type {values.dtype} and the shape {values.shape}, the least is "
            f"{values.min(initial=0) if values.dtype.kind in 'iu' else None}; allowed: (n,) whole numbers from {NOISE}"
        )
    return values.astype(np.int64)


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ClusterError(f"{name} is {value!r}; allowed: whole numbers from {least}")
