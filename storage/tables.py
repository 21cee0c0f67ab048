"""Tables of a run as Hive-partitioned zstd Parquet, held against ``quant.schemas`` on write and on read.

    write_table(store, "first", schemas.BARS, frame, "binance-um:BTCUSDT")
    read_table(store, "first", schemas.BARS, "binance-um:BTCUSDT", columns=["close"])

Other programs read a dataset from ``store.address(layout.tables(run, dataset.name))``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quant.schemas import Column, ColumnType, Dataset
from storage import layout
from storage.conform import check_order, conform, due_columns
from storage.errors import SchemaError, StoreError
from storage.hashing import frame_hash
from storage.store import Store

_ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "time": pa.timestamp("us", tz="UTC"),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "int64": pa.int64(),
    "int8": pa.int8(),
    "string": pa.string(),
    "bool": pa.bool_(),
}
# pandas has no null in its plain integers and booleans
_MASKED = {pa.int64(): pd.Int64Dtype(), pa.int8(): pd.Int8Dtype(), pa.bool_(): pd.BooleanDtype()}
_NAME_KEY, _VERSION_KEY = b"assay.dataset", b"assay.version"


@dataclass(frozen=True)
class Written:
    """A table that was written: the ticker is None where the dataset is not kept by ticker."""

    dataset: str
    ticker: str | None
    rows: int
    hash: str


def write_table(store: Store, run: str, dataset: Dataset, frame: pd.DataFrame, ticker: str | None = None) -> Written:
    """Check a frame and write it as one Parquet file, replacing what was there.

    Parameters
    ----------
    frame
        Rows sorted by the dataset's key and unique in it. Key columns may be the index, by name. Times are
        datetime64 in UTC of any unit; NaN is a null.
    ticker
        The asset, where the dataset is kept by ticker.

    Raises
    ------
    SchemaError
        Where the frame does not agree with the dataset, naming table, ticker, column, value and what is allowed.
    StoreError
        Where the store refuses.
    """
    place = _place(dataset, ticker)
    key = layout.table(run, dataset.name, ticker)
    canonical = conform(frame, dataset, place)
    check_order(canonical, dataset, place)
    store.write(key, _encoded(canonical, dataset, due_columns(canonical.columns, dataset, place)))
    return Written(dataset.name, ticker, len(canonical), frame_hash(canonical, dataset))


def read_table(
    store: Store, run: str, dataset: Dataset, ticker: str | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read a table and check it as on write.

    Parameters
    ----------
    columns
        The columns wanted, in this order; None means all. A time that is the key comes along as the index.

    Returns
    -------
    pd.DataFrame
        Indexed by ``time`` (datetime64[us, UTC]) where that is the key, else on a RangeIndex. Integers and booleans
        that may be null come as pandas' Int8, Int64 and boolean, nulls of floats as NaN.

    Raises
    ------
    KeyMissing
        Where there is no such table.
    StoreError
        Where the file is truncated or corrupt, or the store refuses.
    SchemaError
        Where it holds another dataset or version, does not agree with the schema, or has no such column.
    """
    key = layout.table(run, dataset.name, ticker)
    place = f"{_place(dataset, ticker)}, read from {key!r}"
    timed = dataset.key == ("time",)
    try:
        file = pq.ParquetFile(pa.BufferReader(store.read(key)), page_checksum_verification=True)
        present = _checked_schema(file.schema_arrow, dataset, place)
        wanted = _wanted(columns, present, place)
        loaded = list(dict.fromkeys([*dataset.key, *wanted])) if timed else wanted
        table = file.read(columns=loaded, use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{key!r} in the store {store.url} is no Parquet file or a damaged one ({error}); "
            "delete it and run the stage that writes it again"
        ) from error
    frame = conform(table.to_pandas(types_mapper=_MASKED.get, use_threads=False), dataset, place, partial=True)
    if set(dataset.key) <= set(frame.columns):
        check_order(frame, dataset, place)
    return frame.set_index("time")[[name for name in wanted if name != "time"]] if timed else frame[wanted]


def tickers(store: Store, run: str, dataset: Dataset) -> list[str]:
    """Return the tickers that a dataset kept by ticker holds, sorted.

    Raises
    ------
    StoreError
        Where another program has put something among them, or the store refuses.
    """
    found = (layout.ticker_of(key) for key in store.list(layout.tables(run, dataset.name)))
    return sorted(ticker for ticker in found if ticker is not None)


def _place(dataset: Dataset, ticker: str | None) -> str:
    if dataset.by_ticker and ticker is None:
        raise SchemaError(f"table {dataset.name!r} is kept by ticker; say which ticker is meant")
    if not dataset.by_ticker and ticker is not None:
        raise SchemaError(f"table {dataset.name!r} is one for all tickers; {ticker!r} belongs in a row, if anywhere")
    return f"table {dataset.name!r}" + (f" of ticker {ticker!r}" if dataset.by_ticker else "")


def _encoded(frame: pd.DataFrame, dataset: Dataset, columns: list[Column]) -> bytes:
    schema = pa.schema(
        [pa.field(column.name, _ARROW_TYPES[column.type], nullable=column.nullable) for column in columns],
        metadata={_NAME_KEY: dataset.name, _VERSION_KEY: str(dataset.version)},
    )
    arrays = [pa.array(frame[field.name], type=field.type, from_pandas=True) for field in schema]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        sink,
        compression="zstd",
        # numbers hardly repeat: a dictionary of them is built only to be thrown away
        use_dictionary=[column.name for column in columns if column.type == "string"],
        write_page_checksum=True,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _checked_schema(schema: pa.Schema, dataset: Dataset, place: str) -> list[str]:
    """Check a file's dataset, version, columns and types; return the names of its columns."""
    metadata = schema.metadata or {}
    held = tuple(metadata.get(key, b"").decode() for key in (_NAME_KEY, _VERSION_KEY))
    if held != (dataset.name, str(dataset.version)):
        found = f"dataset {held[0]!r} version {held[1]}" if any(held) else "no dataset of this project"
        raise SchemaError(
            f"{place}, holds {found}; this code reads version {dataset.version} of {dataset.name!r}: "
            "run the stage that writes it again"
        )
    for column in due_columns(schema.names, dataset, place):
        kind = schema.field(column.name).type
        if kind != _ARROW_TYPES[column.type]:
            raise SchemaError(
                f"{place}: column {column.name!r} has type {kind}; allowed is {_ARROW_TYPES[column.type]}"
            )
    return list(schema.names)


def _wanted(columns: Sequence[str] | None, present: list[str], place: str) -> list[str]:
    if columns is None:
        return present
    unknown = [name for name in columns if name not in present]
    if unknown:
        raise SchemaError(f"{place}: has no columns {unknown}; there are {present}")
    return list(columns)
