"""Fingerprints of what went into a stage and hashes of what came out of it.

Result hashes leave out what may differ between two runs of the same work: the order of rows and columns, the unit
of times, the sign of zero, the payload of a NaN, and what lies beyond nine significant digits of a float64.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant.schemas import Column, ColumnType, Dataset
from storage.conform import check_order, conform, due_columns, key_index

_DIGITS = 9
_LOWEST = -290  # decimal exponents; magnitudes below count as zero
_HIGHEST = 308
# float("1e23") is the nearest double, which arithmetic on powers is not
_POWERS = np.array([float(f"1e{exponent}") for exponent in range(_LOWEST, _HIGHEST + 1)])
_EXPONENT_STEP = 1024  # above the number of exponents, so that mantissa and exponent share an integer
_LIMITS = np.iinfo(np.int64)


def fingerprint(payload: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a mapping: keys sorted, no blanks.

    Parameters
    ----------
    payload
        Text, booleans, integers, finite floats, None, and lists, tuples and mappings (with text as keys) of these.

    Raises
    ------
    ValueError
        For NaN, infinity and any other type, naming where it stands.
    """
    return hashlib.sha256(canonical_json(payload).encode()).hexdigest()


def combine(hashes: Mapping[str, str]) -> str:
    """Hash the sorted pairs of name and hash, such as the tables of a dataset by ticker."""
    return fingerprint(hashes)


def canonical_json(payload: Mapping[str, Any], indent: int | None = None) -> str:
    """Return the one JSON text of a mapping, with sorted keys.

    Raises
    ------
    ValueError
        As for ``fingerprint``.
    """
    _check_plain(payload, "payload")
    separators = (",", ":") if indent is None else None
    return json.dumps(payload, sort_keys=True, separators=separators, allow_nan=False, indent=indent)


def frame_hash(frame: pd.DataFrame, dataset: Dataset) -> str:
    """SHA-256 over the rows of a table, sorted by its key.

    The dataset's name and version and the columns' names and types enter, in the order of the schema, open columns
    by name. float64 is rounded to nine significant digits (half to even; magnitudes under 1e-290 are zero); float32
    enters by its bits, of which nine digits are an exact image.

    Raises
    ------
    SchemaError
        Where the frame does not agree with the dataset, or has a key twice.
    """
    place = f"table {dataset.name!r}"
    rows = conform(frame, dataset, place)
    if not key_index(rows, dataset).is_monotonic_increasing:
        rows = rows.sort_values(list(dataset.key), kind="stable", ignore_index=True)
    check_order(rows, dataset, place)
    columns = _ordered(due_columns(rows.columns, dataset, place), dataset)
    names = [[column.name, column.type] for column in columns]
    digest = hashlib.sha256(
        canonical_json(
            {"dataset": dataset.name, "version": dataset.version, "rows": len(rows), "columns": names}
        ).encode()
    )
    for column in columns:
        for part in _encoded(rows[column.name], column.type):
            digest.update(part)
    return digest.hexdigest()


def _ordered(columns: list[Column], dataset: Dataset) -> list[Column]:
    listed = len(dataset.columns)
    return columns[:listed] + sorted(columns[listed:], key=lambda column: column.name)


def _encoded(values: "pd.Series[Any]", kind: ColumnType) -> list[Any]:
    """Return buffers that are equal exactly where the values are; only text has a length that the rows do not give."""
    if kind == "float32":
        return [_canonical_bits(values.to_numpy())]
    if kind == "float64":
        return [round_digits(values.to_numpy())]
    if kind == "time":
        return [values.to_numpy("datetime64[us]").view(np.int64)]
    missing = values.isna().to_numpy()
    if kind == "string":
        texts = [b"" if absent else text.encode() for text, absent in zip(values, missing, strict=True)]
        return [missing, np.array([len(text) for text in texts], dtype=np.int64), b"".join(texts)]
    return [missing, values.fillna(0).to_numpy(np.int64)]


def _canonical_bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    bits = (values + np.float32(0)).view(np.uint32)  # adding 0 turns -0 into 0
    bits[np.isnan(values)] = np.float32(np.nan).view(np.uint32)
    return bits


def round_digits(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round to nine significant digits, as integers that are equal exactly where the rounded values are.

    Only comparisons, multiplications and divisions are used, which IEEE 754 fixes to the last bit; a logarithm
    would differ between machines.

    Parameters
    ----------
    values
        Any float64. NaN and the infinities have values of their own; magnitudes under 1e-290 count as zero.

    Returns
    -------
    np.ndarray
        sign × (nine-digit mantissa × 1024 + decimal exponent, shifted to be positive).
    """
    magnitude = np.abs(values)
    ordinary = (magnitude >= _POWERS[0]) & np.isfinite(magnitude)
    magnitude = np.where(ordinary, magnitude, 1.0)
    place = np.searchsorted(_POWERS, magnitude, side="right") - 1  # 10 ** (place + _LOWEST) <= magnitude
    shift = place + _LOWEST - (_DIGITS - 1)
    down, up = np.maximum(shift, 0), np.maximum(-shift, 0)
    mantissa = np.rint(magnitude / _power(down) * _power(up)).astype(np.int64)
    carried = mantissa == 10**_DIGITS
    mantissa[carried] = 10 ** (_DIGITS - 1)
    codes: NDArray[np.int64] = mantissa * _EXPONENT_STEP + place + carried
    codes[values < 0] *= -1
    codes[~ordinary] = 0
    codes[np.isnan(values)] = _LIMITS.min
    codes[values == np.inf] = _LIMITS.max
    codes[values == -np.inf] = -_LIMITS.max
    return codes


def _power(exponents: NDArray[np.intp]) -> NDArray[np.float64]:
    """Powers of ten from 0 to 308."""
    powers: NDArray[np.float64] = _POWERS[exponents - _LOWEST]
    return powers


def _check_plain(value: Any, place: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} is {value}; allowed are finite numbers (write an absent one as None)")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{place} has the key {key!r} of type {type(key).__name__}; allowed is text")
            _check_plain(inner, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            _check_plain(inner, f"{place}[{position}]")
    else:
        raise ValueError(
            f"{place} is {value!r} of type {type(value).__name__}; allowed are text, booleans, numbers of Python's "
            "own types, None, lists and mappings"
        )
