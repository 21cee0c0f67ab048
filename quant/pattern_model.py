"""The fitted patterns: windows of the fit part, where they lie and in which cluster; and how new windows join them.

Kept without pickles: the windows, places and clusters as a table, the scaler and the parameters as JSON.
"""

import functools
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import embedding, neighbours
from quant.clusters import NOISE, Integers, vote
from quant.scaling import Scaler
from quant.umap_layout import Plane

Reducer = Literal["own", "umap-learn", "cuml"]
Clustering = Literal["kmeans", "hdbscan"]

MOST_CLUSTERS = 127
"""Of a model: tables keep them as 8-bit numbers, and no test tells so many apart."""
_FEWEST = 2


class PatternModelError(ValueError):
    """Fitted patterns that do not fit together, or cannot be read."""


@dataclass(frozen=True)
class PatternParameters:
    """What patterns were fitted with.

    Parameters
    ----------
    length
        Bars of a window.
    neighbours, minimum_distance, seed
        Of UMAP.
    count
        Number of clusters, without noise.
    """

    length: int
    neighbours: int
    minimum_distance: float
    seed: int
    reducer: Reducer
    clustering: Clustering
    count: int


class Joined(NamedTuple):
    """Where m windows lie among the fitted ones.

    Parameters
    ----------
    labels
        Clusters; −1 is noise.
    places
        m × 2.
    distances
        To the nearest fitted window, in scaled units: large ones say that nothing like it was fitted.
    """

    labels: Integers
    places: Plane
    distances: npt.NDArray[np.float32]


@dataclass(frozen=True)
class PatternModel:
    """Fitted patterns.

    Parameters
    ----------
    rows
        Scaled windows, n × (length · features), float32, oldest bar first.
    places
        n × 2.
    labels
        Cluster of each, −1 for noise.

    Raises
    ------
    PatternModelError
        If the parts do not fit together.
    """

    parameters: PatternParameters
    scaler: Scaler
    rows: npt.NDArray[np.float32]
    places: Plane
    labels: Integers

    def __post_init__(self) -> None:
        """Refuse parts that would not place a window."""
        width = self.parameters.length * len(self.scaler.columns)
        if self.rows.ndim != 2 or self.rows.shape[1] != width or len(self.rows) < _FEWEST:
            raise PatternModelError(
                f"the fitted windows have shape {self.rows.shape}; there must be {_FEWEST} or more of {width} values: "
                f"{self.parameters.length} bars of {len(self.scaler.columns)} features"
            )
        if self.places.shape != (len(self.rows), 2) or self.labels.shape != (len(self.rows),):
            raise PatternModelError(
                f"{len(self.rows)} fitted windows have places of shape {self.places.shape} and labels of "
                f"{self.labels.shape}; there must be one of each a window"
            )
        for name, values in (("window", self.rows), ("place", self.places)):
            if not np.isfinite(values).all():
                raise PatternModelError(f"fitted {name} {np.argwhere(~np.isfinite(values))[0, 0]} is not finite")
        if len(self.labels) and not (self.labels.min() >= NOISE and self.labels.max() < self.parameters.count):
            raise PatternModelError(
                f"labels go from {self.labels.min()} to {self.labels.max()}; allowed: {NOISE} to "
                f"{self.parameters.count - 1}"
            )

    @functools.cached_property
    def index(self) -> neighbours.Index:
        """The fitted windows, prepared to be searched."""
        return neighbours.index(self.rows, self.parameters.neighbours)

    def join(self, windows: npt.NDArray[Any], *, threads: int = 1) -> Joined:
        """Return the cluster and the place of new windows, scaled already: m × length × features or m × their product.

        A window joins the cluster that its nearest fitted windows are in, weighed by UMAP's strengths. It depends on
        no other window.
        """
        queries = windows.reshape(len(windows), -1)
        placed = embedding.place(
            queries, self.index, self.places, neighbours=self.parameters.neighbours, threads=threads
        )
        labels = vote(placed.neighbours.indices, placed.weights, self.labels)
        return Joined(labels, placed.places, placed.neighbours.distances[:, 0])

    def to_frame(self) -> pd.DataFrame:
        """Return the windows as a table: number, x, y, cluster, and a column a value (w000, w001, …)."""
        named = {
            "number": np.arange(len(self.rows)),
            "x": self.places[:, 0],
            "y": self.places[:, 1],
            "cluster": self.labels.astype(np.int8),
        }
        values = pd.DataFrame(self.rows, columns=[f"w{column:03d}" for column in range(self.rows.shape[1])])
        return pd.concat([pd.DataFrame(named), values], axis=1)

    def to_json(self) -> str:
        """Return the parameters and the scaler as JSON text."""
        return json.dumps(
            {"parameters": asdict(self.parameters), "scaler": json.loads(self.scaler.to_json())}, allow_nan=False
        )

    @classmethod
    def read(cls, text: str, table: pd.DataFrame) -> "PatternModel":
        """Return the model that ``to_json`` and ``to_frame`` wrote; other columns of the table are ignored.

        Raises
        ------
        PatternModelError
            If the text is not JSON or lacks a parameter, or the table lacks a column.
        ScalingError
            If the scaler is none.
        """
        try:
            given = json.loads(text)
            parameters = PatternParameters(**given["parameters"])
            scaler = Scaler.from_json(json.dumps(given["scaler"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise PatternModelError(f"the patterns' JSON is not what this code writes: {error!r}") from error
        _check(parameters)
        names = [f"w{column:03d}" for column in range(parameters.length * len(scaler.columns))]
        missing = [name for name in ("x", "y", "cluster", *names) if name not in table.columns]
        if missing:
            raise PatternModelError(f"the table of fitted windows lacks the column {missing[0]}")
        ordered = table.sort_values("number")
        return cls(
            parameters,
            scaler,
            np.ascontiguousarray(ordered[names], dtype=np.float32),
            np.ascontiguousarray(ordered[["x", "y"]], dtype=np.float32),
            ordered["cluster"].to_numpy(dtype=np.int64),
        )


def _check(given: PatternParameters) -> None:
    whole = {"length": given.length, "neighbours": given.neighbours, "seed": given.seed, "count": given.count}
    for name, value in whole.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise PatternModelError(f"{name} of the patterns is {value!r}; allowed are whole numbers from 0")
    words: dict[str, tuple[str, tuple[str, ...]]] = {
        "reducer": (given.reducer, get_args(Reducer)),
        "clustering": (given.clustering, get_args(Clustering)),
    }
    for name, (word, allowed) in words.items():
        if word not in allowed:
            raise PatternModelError(f"{name} of the patterns is {word!r}; allowed are {', '.join(allowed)}")
