"""Holding a frame against its dataset: one canonical form for every frame that is written, read or hashed."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from quant.schemas import Column, ColumnType, Dataset
from storage.errors import SchemaError

PARTITION = "ticker"  # the column that Hive readers add from the path
TIME_DTYPE = pd.DatetimeTZDtype("us", "UTC")

# canonical pandas types: where nulls are allowed, and where they are not
_NULLABLE: dict[ColumnType, Any] = {
    "time": TIME_DTYPE,
    "float64": np.dtype("float64"),
    "float32": np.dtype("float32"),
    "int64": pd.Int64Dtype(),
    "int8": pd.Int8Dtype(),
    "bool": pd.BooleanDtype(),
    "string": pd.StringDtype(na_value=np.nan),
}
_FILLED: dict[ColumnType, Any] = {
    **_NULLABLE,
    "int64": np.dtype("int64"),
    "int8": np.dtype("int8"),
    "bool": np.dtype("bool"),
}


def conform(frame: pd.DataFrame, dataset: Dataset, place: str, partial: bool = False) -> pd.DataFrame:
    """Return the frame in the dataset's canonical form.

    Parameters
    ----------
    frame
        Rows in any order. A column of the schema may also be a level of the index that bears its name; an index
        without a name is dropped.
    place
        What the frame is, for messages: ``table 'bars' of ticker 'binance-um:BTCUSDT'``.
    partial
        Whether columns of the schema may be missing.

    Returns
    -------
    pd.DataFrame
        Columns in the order of the schema, open columns after them in the order of the frame, on a RangeIndex:
        times as datetime64[us, UTC], nullable integers and booleans as pandas' masked types. A frame without rows
        is given these types whatever its own.

    Raises
    ------
    SchemaError
        For a column that is missing, not in the schema or there twice, a wrong type (naive times among them), or a
        null where none is allowed.
    """
    flat = _flat(frame, place)
    columns = due_columns(flat.columns, dataset, place, partial)
    return pd.DataFrame(
        {column.name: _typed(flat, column, dataset, place) for column in columns}, index=pd.RangeIndex(len(flat))
    )


def due_columns(names: Iterable[Any], dataset: Dataset, place: str, partial: bool = False) -> list[Column]:
    """Match the names of a frame or file with the schema; open columns follow those listed.

    Raises
    ------
    SchemaError
        For a missing, unknown or repeated column.
    """
    present = list(names)
    repeated = [name for name, times in Counter(present).items() if times > 1]
    if repeated:
        raise SchemaError(f"{place}: the columns {repeated} are there more than once; each may be there once")
    listed = [column.name for column in dataset.columns]
    missing = [name for name in listed if name not in present]
    if missing and not partial:
        raise SchemaError(
            f"{place}: the columns {missing} are missing; due are {listed}, as columns or as a named index"
        )
    extra = [name for name in present if name not in listed]
    kind = dataset.open_columns
    if extra and kind is None:
        raise SchemaError(f"{place}: the columns {extra[:10]} are not in the schema; allowed are {listed}")
    unfit = [name for name in extra if not isinstance(name, str) or name in ("", PARTITION)]
    if unfit:
        raise SchemaError(
            f"{place}: {unfit} cannot be names of columns; allowed is text other than {PARTITION!r}, the partition"
        )
    return [column for column in dataset.columns if column.name in present] + [
        Column(name, kind, "", "", nullable=True) for name in extra if kind
    ]


def check_order(frame: pd.DataFrame, dataset: Dataset, place: str) -> None:
    """Check that a canonical frame is sorted by its key and has no key twice.

    Raises
    ------
    SchemaError
        Naming the first key that is out of order or repeated.
    """
    order = key_index(frame, dataset)
    if order.is_monotonic_increasing and order.is_unique:
        return
    repeated = order.duplicated()
    if repeated.any():
        row = int(repeated.argmax())
        problem = "is there more than once; keys are unique"
    else:
        ranks = order.argsort()
        row = int((ranks != np.arange(len(ranks))).argmax())
        problem = f"is out of order; rows are sorted by {list(dataset.key)}"
    raise SchemaError(f"{place}: the key in {described_key(frame, dataset, row)} {problem}")


def key_index(frame: pd.DataFrame, dataset: Dataset) -> pd.Index:
    """Return the key of each row."""
    key = list(dataset.key)
    return pd.Index(frame[key[0]]) if len(key) == 1 else pd.MultiIndex.from_frame(frame[key])


def described_key(frame: pd.DataFrame, dataset: Dataset, row: int) -> str:
    """Describe a row by its place and key, as in ``row 0 (time=2024-01-01 00:00:00+00:00)``."""
    key = ", ".join(f"{name}={frame[name].iloc[row]}" for name in dataset.key if name in frame.columns)
    return f"row {row} ({key})"


def canonical_dtype(column: Column) -> Any:
    """Return the pandas dtype in which a column is kept in memory."""
    return (_NULLABLE if column.nullable else _FILLED)[column.type]


def _flat(frame: pd.DataFrame, place: str) -> pd.DataFrame:
    names = [name for name in frame.index.names if name is not None]
    if not names:
        return frame.reset_index(drop=True)
    doubled = [name for name in names if name in frame.columns]
    if doubled:
        raise SchemaError(f"{place}: {doubled} are both in the index and among the columns; drop one of the two")
    return frame.reset_index()


def _typed(frame: pd.DataFrame, column: Column, dataset: Dataset, place: str) -> "pd.Series[Any]":
    values: pd.Series[Any] = frame[column.name]
    if values.empty:
        values = pd.Series([], dtype=canonical_dtype(column))
    if not _acceptable(values, column):
        raise SchemaError(
            f"{place}: column {column.name!r} has type {values.dtype}; "
            f"allowed is {_wanted(column)}{_hint(values, column)}"
        )
    absent = values.isna().to_numpy()
    if not column.nullable and absent.any():
        first = described_key(frame, dataset, int(absent.argmax()))
        raise SchemaError(
            f"{place}: column {column.name!r} is null or NaN in {int(absent.sum())} of {len(values)} rows, "
            f"first in {first}; nulls are not allowed in it"
        )
    if column.type == "string":
        _check_text(values, column, place)
    if column.type == "time":
        return _microseconds(values, column, place)
    canonical: pd.Series[Any] = values.astype(canonical_dtype(column))
    return canonical


def _acceptable(values: "pd.Series[Any]", column: Column) -> bool:
    dtype = values.dtype
    match column.type:
        case "time":
            return isinstance(dtype, pd.DatetimeTZDtype) and str(dtype.tz) == "UTC"
        case "string":
            return isinstance(dtype, pd.StringDtype) or pd.api.types.is_object_dtype(dtype)
        case _:
            return dtype in (_NULLABLE[column.type], _FILLED[column.type])


def _wanted(column: Column) -> str:
    if column.type == "time":
        return "datetime64[us, UTC]"
    return "text" if column.type == "string" else str(canonical_dtype(column))


def _hint(values: "pd.Series[Any]", column: Column) -> str:
    if column.type != "time":
        return ""
    if pd.api.types.is_datetime64_dtype(values.dtype):
        return "; say which zone the times are in with tz_localize"
    return "; convert with tz_convert('UTC')" if isinstance(values.dtype, pd.DatetimeTZDtype) else ""


def _check_text(values: "pd.Series[Any]", column: Column, place: str) -> None:
    if isinstance(values.dtype, pd.StringDtype):
        return
    for row, value in enumerate(values):
        if not (_is_text(value) if isinstance(value, str) else pd.api.types.is_scalar(value) and pd.isna(value)):
            raise SchemaError(f"{place}: column {column.name!r} holds {value!a} in row {row}; allowed is valid text")


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _microseconds(values: "pd.Series[Any]", column: Column, place: str) -> "pd.Series[Any]":
    rounded = values.astype(TIME_DTYPE)
    changed = (rounded != values) & values.notna()
    if changed.any():
        row = int(changed.to_numpy().argmax())
        raise SchemaError(
            f"{place}: column {column.name!r} holds {values.iloc[row]} in row {row}, finer than a microsecond; round it"
        )
    return rounded
