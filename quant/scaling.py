"""Scaling of features with statistics of the fit part, kept as text beside the model that was trained on them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

Kind = Literal["robust", "minmax"]
KINDS: tuple[str, ...] = get_args(Kind)

_ROWS_AT_ONCE = 65_536

FloatArray = npt.NDArray[np.float64]


class ScalingError(ValueError):
    """Statistics that cannot be fitted, applied or read."""


@dataclass(frozen=True)
class Scaler:
    """Statistics of a fit part, one center and scale a column: scaled = (value − center) / scale, within ± clip.

    Parameters
    ----------
    kind
        ``robust``: median and interquartile range; ``minmax``: minimum and range.
    columns
        Names of the features, in order.
    center, scale
        In the unit of each feature; scales are positive, 1 for a constant column.
    clip
        Largest absolute value after scaling.

    Raises
    ------
    ScalingError
        If the parts do not fit together or a number is out of bounds.
    """

    kind: Kind
    columns: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    clip: float

    def __post_init__(self) -> None:
        """Refuse statistics that would not scale."""
        _check_kind(self.kind)
        if not len(self.columns) == len(self.center) == len(self.scale) > 0:
            raise ScalingError(
                f"scaler has {len(self.columns)} columns, {len(self.center)} centers and {len(self.scale)} scales; "
                "there must be one center and one scale a column"
            )
        for column, center, scale in zip(self.columns, self.center, self.scale, strict=True):
            if not (np.isfinite(center) and np.isfinite(scale) and scale > 0):
                raise ScalingError(
                    f"scaler's column {column!r} has center {center} and scale {scale}; both must be finite and the "
                    "scale positive"
                )
        _check_clip(self.clip)

    def transform(self, rows: pd.DataFrame | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return scaled values as float32, clipped to ± ``clip`` (infinities too); NaN stays NaN.

        Parameters
        ----------
        rows
            Frame with at least the scaler's columns, or an array whose last axis is them, in order: rows × columns or
            windows × length × columns. It is not changed.

        Raises
        ------
        ScalingError
            If a column is missing, or the last axis has another length.
        """
        values = _select(rows, self.columns)
        if values.shape[-1:] != (len(self.columns),):
            raise ScalingError(
                f"rows of shape {values.shape} do not end in the scaler's {len(self.columns)} columns "
                f"({', '.join(self.columns[:5])}, …)"
            )
        center, scale = np.array(self.center), np.array(self.scale)
        scaled = np.empty(values.shape, dtype=np.float32)
        # In double precision, as a price of 60,000 less a center near it keeps few digits in single; by pieces, as
        # the doubles of a whole market would not fit beside it.
        for first in range(0, len(values), _ROWS_AT_ONCE):
            piece = slice(first, first + _ROWS_AT_ONCE)
            scaled[piece] = np.clip((values[piece] - center) / scale, -self.clip, self.clip)
        return scaled

    def to_json(self) -> str:
        """Return the scaler as JSON text, every number to its last digit."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Scaler":
        """Return the scaler that ``to_json`` wrote.

        Raises
        ------
        ScalingError
            If the text is not JSON, or not that of a sound scaler.
        """
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise ScalingError(f"scaler is not JSON: {error}") from error
        expected = [field.name for field in fields(cls)]
        found = list(given) if isinstance(given, dict) else given
        if not isinstance(given, dict) or sorted(given) != sorted(expected):
            raise ScalingError(f"scaler's JSON holds {found!r:.200}; it must hold exactly {', '.join(expected)}")
        if not isinstance(given["columns"], list) or not all(isinstance(name, str) for name in given["columns"]):
            raise ScalingError(f"scaler's columns are {given['columns']!r:.200}; they must be a list of names")
        return cls(
            kind=given["kind"],
            columns=tuple(given["columns"]),
            center=_numbers("center", given["center"]),
            scale=_numbers("scale", given["scale"]),
            clip=given["clip"],
        )


def fit(kind: Kind, rows: pd.DataFrame | npt.NDArray[Any], columns: Sequence[str], clip: float = 10.0) -> Scaler:
    """Return the scaler of the fit part's rows; give it no others.

    Centers and scales equal those of scikit-learn's RobustScaler and MinMaxScaler, NaN left out, a constant column's
    scale 1. Infinities are left out too, which scikit-learn refuses. Columns are taken one by one, so that the memory
    needed beside the rows is one column's.

    Parameters
    ----------
    kind
        ``robust`` or ``minmax``.
    rows
        Frame with at least ``columns``, or an array rows × columns in their order.
    columns
        Names of the features.
    clip
        Largest absolute value after scaling, positive.

    Raises
    ------
    ScalingError
        If the kind or the clip is unknown, a column is missing, or one has no finite value.
    """
    _check_kind(kind)
    _check_clip(clip)
    if not len(columns):
        raise ScalingError("there are no columns to scale")
    statistics = []
    for position, column in enumerate(columns):
        values = np.asarray(_column(rows, position, column, len(columns)), dtype=np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            raise ScalingError(f"column {column!r} has no finite value in the {len(rows)} rows of the fit part")
        statistics.append(_statistics(kind, values))
    center, scale = zip(*statistics, strict=True)
    return Scaler(kind, tuple(columns), center, scale, float(clip))


def _statistics(kind: Kind, values: FloatArray) -> tuple[float, float]:
    if kind == "minmax":
        center, spread = values.min(), values.max() - values.min()
    else:
        lower, center, upper = np.percentile(values, [25.0, 50.0, 75.0])
        spread = upper - lower
    # scikit-learn's bound below which a column counts as constant
    return float(center), 1.0 if spread < 10 * np.finfo(np.float64).eps else float(spread)


def _column(rows: pd.DataFrame | npt.NDArray[Any], position: int, column: str, count: int) -> Any:
    if isinstance(rows, pd.DataFrame):
        return _present(rows, (column,))[column]
    if rows.ndim != 2 or rows.shape[1] != count:
        raise ScalingError(f"rows have shape {rows.shape}; it must be rows × {count} columns")
    return rows[:, position]


def _select(rows: pd.DataFrame | npt.NDArray[Any], columns: tuple[str, ...]) -> npt.NDArray[Any]:
    return _present(rows, columns)[list(columns)].to_numpy() if isinstance(rows, pd.DataFrame) else rows


def _present(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    missing = [column for column in columns if column not in rows.columns]
    if missing:
        raise ScalingError(f"column {missing[0]!r} is missing; the rows have {', '.join(map(str, rows.columns))}")
    return rows


def _numbers(name: str, given: Any) -> tuple[float, ...]:
    if not isinstance(given, list) or not all(type(number) in (int, float) for number in given):
        raise ScalingError(f"scaler's {name} is {given!r:.200}; it must be a list of numbers")
    return tuple(float(number) for number in given)


def _check_kind(kind: object) -> None:
    if kind not in KINDS:
        raise ScalingError(f"kind of scaler is {kind!r}; allowed are {', '.join(KINDS)}")


def _check_clip(clip: object) -> None:
    if not isinstance(clip, int | float) or isinstance(clip, bool) or not 0 < clip < np.inf:
        raise ScalingError(f"clip is {clip!r}; allowed are positive finite numbers")
