"""From windows to patterns: reduced to the plane, clustered, and told in real units and in figures."""

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import clusters, embedding
from quant.clusters import ALL, Integers
from quant.pattern_model import Clustering, PatternModel, Reducer
from quant.schemas import PROFILES
from quant.umap_layout import Plane

QUANTILES = (10, 25, 50, 75, 90)
_LOOKED_AT = 4_000  # windows behind the trustworthiness, which takes memory with the square of their number


class ReducerError(ValueError):
    """A reducer that is not there."""


class Drawn(NamedTuple):
    """Windows that patterns are fitted on.

    Parameters
    ----------
    windows
        n × length × features, in real units.
    tickers, times
        Whose each is, and the open of its last bar (UTC).
    outcome, forward_return
        What followed each; NaN where that is not known.
    eligible
        Of how many windows they were drawn.
    """

    windows: npt.NDArray[Any]
    tickers: npt.NDArray[Any]
    times: pd.DatetimeIndex
    outcome: npt.NDArray[np.float64]
    forward_return: npt.NDArray[np.float64]
    eligible: int = 0

    def to_frame(self) -> pd.DataFrame:
        """Return what there is of each beside its values: ticker, time, outcome, forward_return."""
        return pd.DataFrame(
            {
                "ticker": self.tickers,
                "time": self.times,
                "outcome": self.outcome,
                "forward_return": self.forward_return,
            }
        )


def joined(parts: Sequence[Drawn], eligible: int) -> Drawn:
    """Return the windows of several tickers as one."""
    times = pd.DatetimeIndex(parts[0].times.append([part.times for part in parts[1:]]))
    together = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("windows", "tickers", "outcome", "forward_return")
    }
    return Drawn(times=times, eligible=eligible, **together)


def reducer(name: str) -> Reducer:
    """Return which reducer a setting means here: ``auto`` is cuml where it is installed, and else our own."""
    if name == "auto":
        return "cuml" if importlib.util.find_spec("cuml") else "own"
    if name == "own":
        return "own"
    return "cuml" if name == "cuml" else "umap-learn"


def reduced(
    rows: npt.NDArray[Any], reducer: Reducer, seed: int, *, neighbours: int, minimum_distance: float, threads: int
) -> Plane:
    """Return the places of scaled windows in the plane, n × 2.

    Raises
    ------
    ReducerError
        If the reducer is not installed.
    """
    neighbours = min(neighbours, len(rows) - 1)  # as umap-learn does, with a warning
    if reducer == "own":
        places = embedding.fit(
            rows, neighbours=neighbours, minimum_distance=minimum_distance, seed=seed, threads=threads
        )
    else:
        module = "cuml.manifold" if reducer == "cuml" else "umap"
        try:
            umap = importlib.import_module(module).UMAP
        except ImportError as error:
            raise ReducerError(
                f"patterns.reducer is {reducer!r} and {module} cannot be imported ({error}); install it, or set "
                "patterns.reducer to 'own'"
            ) from error
        given = {"n_neighbors": neighbours, "min_dist": minimum_distance, "n_components": 2, "random_state": seed}
        places = umap(**given).fit_transform(rows)
    return np.ascontiguousarray(places, dtype=np.float32)


def clustered(places: Plane, clustering: Clustering, count: int, smallest: int, seed: int) -> Integers:
    """Return the cluster of every place; −1 is noise."""
    found = clusters.kmeans(places, count, seed) if clustering == "kmeans" else clusters.density(places, smallest)
    return found.labels


def profiles(windows: npt.NDArray[Any], labels: Integers, columns: Sequence[str]) -> pd.DataFrame:
    """Return how each feature runs over the windows of each cluster and of all (−2): mean and quantiles, in real units.

    Parameters
    ----------
    windows
        n × length × features, as ``columns`` names them.
    """
    length = windows.shape[1]
    steps = np.arange(1 - length, 1)
    tables = []
    for label in (ALL, *np.unique(labels)):
        mine = np.array(windows if label == ALL else windows[labels == label], dtype=np.float64)
        mine[~np.isfinite(mine)] = np.nan
        mean, quantiles = np.nanmean(mine, axis=0), np.nanquantile(mine, np.array(QUANTILES) / 100, axis=0)
        tables.append(
            pd.DataFrame(
                {
                    "cluster": np.int8(label),
                    "feature": np.repeat(list(columns), length),
                    "step": np.tile(steps, len(columns)),
                    "mean": mean.T.ravel(),
                    **{f"q{share}": one.T.ravel() for share, one in zip(QUANTILES, quantiles, strict=True)},
                }
            )
        )
    return pd.concat(tables, ignore_index=True)[[column.name for column in PROFILES.columns]]


def fit_figures(model: PatternModel, drawn: Drawn, *, threads: int) -> dict[str, float | None]:
    """Return what can be said of the fit itself, by name.

    trustworthiness: whether neighbours in the plane are neighbours before, on a seeded sample. placed_distance,
    placed_kept: how far a window comes to lie from its fitted place when it is placed by the others alone (the median,
    in standard deviations of all places), and the share of windows that keep their cluster then.
    ticker_information, month_information, with …_shuffled: how much the cluster tells of the ticker and of the month.
    """
    # here, since it takes a second that most processes can do without
    from sklearn.manifold import trustworthiness

    generator = np.random.default_rng(model.parameters.seed)
    sample = np.sort(generator.choice(len(model.rows), size=min(_LOOKED_AT, len(model.rows)), replace=False))
    again = embedding.place_again(model.rows, model.places, neighbours=model.parameters.neighbours, threads=threads)
    spread = float(np.sqrt(model.places.astype(np.float64).var(axis=0).sum()))
    moved = np.linalg.norm(again.places.astype(np.float64) - model.places, axis=1)
    kept = clusters.vote(again.neighbours.indices, again.weights, model.labels) == model.labels
    near = min(15, len(sample) // 2 - 1)
    return {
        "trustworthiness": float(trustworthiness(model.rows[sample], model.places[sample], n_neighbors=near)),
        "placed_distance": float(np.median(moved)) / spread,
        "placed_kept": float(kept.mean()),
        **information(model.labels, drawn.tickers, drawn.times, model.parameters.seed),
    }


def information(
    labels: Integers, tickers: npt.NDArray[Any], times: pd.DatetimeIndex, seed: int
) -> dict[str, float | None]:
    """Return how much the cluster tells of the ticker and of the month, and how much it would by chance (0 to 1)."""
    months = times.year * 12 + times.month
    found: dict[str, float | None] = {}
    for name, groups in (("ticker", tickers), ("month", months)):
        table = pd.crosstab(labels, np.asarray(groups)).to_numpy()
        found[f"{name}_information"] = clusters.normalised_mutual_information(table)
        found[f"{name}_information_shuffled"] = clusters.shuffled_information(table, seed, 20)
    return found
