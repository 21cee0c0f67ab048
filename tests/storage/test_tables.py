"""Tables: what is written comes back, other programs read it, and nothing wrong gets in or out."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import schemas
from quant.schemas import DATASETS, Column, Dataset
from storage import layout
from storage.errors import KeyMissing, SchemaError, StoreError
from storage.hashing import frame_hash
from storage.store import Store, open_store
from storage.tables import Written, read_table, tickers, write_table

TICKER = "binance-um:BTCUSDT"
STRANGE = ["BTC/USDT:USDT", "币安人生USDT", "../../x", ".", "..", "a%2Fb", "btc", "BTC", "007x"]


@pytest.fixture
def store() -> Store:
    return open_store(f"memory://{uuid4().hex}")


@pytest.fixture
def features(bars: pd.DataFrame) -> pd.DataFrame:
    values = np.random.default_rng(0).standard_normal((len(bars), 3)).astype(np.float32)
    frame = pd.DataFrame(values, index=bars.index, columns=["rsi", "atr", "日"])
    frame.iloc[:20, 0] = np.nan
    frame.iloc[30, 1] = np.inf
    return frame


def test_bars_come_back_as_they_were(store: Store, bars: pd.DataFrame) -> None:
    written = write_table(store, "first", schemas.BARS, bars, TICKER)
    assert written == Written("bars", TICKER, 3_000, frame_hash(bars, schemas.BARS))
    back = read_table(store, "first", schemas.BARS, TICKER)
    pd.testing.assert_frame_equal(back, bars, check_freq=False)
    assert back.index.dtype == "datetime64[us, UTC]"
    assert store.list() == ["runs/first/tables/bars/ticker=binance-um%3ABTCUSDT/data.parquet"]


def test_features_keep_their_names_order_nulls_and_infinities(store: Store, features: pd.DataFrame) -> None:
    write_table(store, "first", schemas.FEATURES, features, TICKER)
    back = read_table(store, "first", schemas.FEATURES, TICKER)
    pd.testing.assert_frame_equal(back, features, check_freq=False)
    assert frame_hash(back, schemas.FEATURES) == frame_hash(features, schemas.FEATURES)


def test_nullable_integers_stay_integers(store: Store, bars: pd.DataFrame) -> None:
    labels = pd.DataFrame({"label": pd.array([0, 1, None], dtype="Int8"), "outcome": [0.1, -0.1, np.nan]})
    write_table(store, "first", schemas.LABELS, labels.set_index(bars.index[:3]), TICKER)
    back = read_table(store, "first", schemas.LABELS, TICKER)
    assert back.dtypes.astype(str).to_dict() == {"label": "Int8", "outcome": "float64"}
    assert back["label"].isna().tolist() == [False, False, True]


def test_failures_go_into_one_file_for_all_tickers(store: Store) -> None:
    failures = pd.DataFrame(
        [("features", "../../x", "ValueError", "a 'quoted'\ntext"), ("features", "币", "KeyError", "")],
        columns=["stage", "ticker", "error", "message"],
    )
    assert write_table(store, "first", schemas.FAILURES, failures).ticker is None
    back = read_table(store, "first", schemas.FAILURES)
    assert back.to_dict("records") == failures.to_dict("records")
    assert store.list() == ["runs/first/tables/failures/data.parquet"]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_every_dataset_comes_back_full_and_empty(store: Store, dataset: Dataset) -> None:
    ticker = TICKER if dataset.by_ticker else None
    full = example_rows(dataset)
    for frame in (full, full.head(0), pd.DataFrame(columns=full.columns)):
        written = write_table(store, "first", dataset, frame, ticker)
        back = read_table(store, "first", dataset, ticker)
        assert len(back) == written.rows == len(frame)
        assert frame_hash(back, dataset) == written.hash
        assert back.reset_index(drop=dataset.key != ("time",)).dtypes.to_dict() == full.dtypes.to_dict()


def test_chosen_columns_come_in_the_order_asked_for(store: Store, bars: pd.DataFrame) -> None:
    write_table(store, "first", schemas.BARS, bars, TICKER)
    back = read_table(store, "first", schemas.BARS, TICKER, columns=["volume", "close"])
    pd.testing.assert_frame_equal(back, bars[["volume", "close"]], check_freq=False)
    assert read_table(store, "first", schemas.BARS, TICKER, columns=[]).shape == (3_000, 0)
    with pytest.raises(SchemaError, match=r"'binance-um:BTCUSDT'.*no columns \['vwap'\]; there are \['time', 'open'"):
        read_table(store, "first", schemas.BARS, TICKER, columns=["close", "vwap"])


def test_chosen_columns_without_the_key(store: Store) -> None:
    frame = example_rows(schemas.TRADES)
    write_table(store, "first", schemas.TRADES, frame, TICKER)
    back = read_table(store, "first", schemas.TRADES, TICKER, columns=["pnl", "side"])
    pd.testing.assert_frame_equal(back, frame[["pnl", "side"]])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_unit_of_times_and_their_place_do_not_matter(store: Store, bars: pd.DataFrame, unit: str) -> None:
    other = bars.reset_index().astype({"time": f"datetime64[{unit}, UTC]"})[
        ["close", "volume", "time", "low", "high", "open"]
    ]
    written = write_table(store, "first", schemas.BARS, other, TICKER)
    assert written.hash == frame_hash(bars, schemas.BARS)
    pd.testing.assert_frame_equal(read_table(store, "first", schemas.BARS, TICKER), bars, check_freq=False)


def test_the_same_frame_gives_the_same_bytes(store: Store, features: pd.DataFrame) -> None:
    for run in ("first", "second"):
        write_table(store, run, schemas.FEATURES, features.copy(), TICKER)
    first, second = (store.read(layout.table(run, "features", TICKER)) for run in ("first", "second"))
    assert first == second


def test_tickers_are_listed_unquoted(store: Store, bars: pd.DataFrame) -> None:
    for ticker in STRANGE:
        write_table(store, "first", schemas.BARS, bars.head(2), ticker)
    assert tickers(store, "first", schemas.BARS) == sorted(STRANGE)
    assert tickers(store, "first", schemas.LABELS) == []


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=30, deadline=None)
def test_any_ticker_has_its_table(ticker: str) -> None:
    store = open_store(f"memory://{uuid4().hex}")
    frame = example_rows(schemas.BARS)
    write_table(store, "first", schemas.BARS, frame, ticker)
    assert tickers(store, "first", schemas.BARS) == [ticker]
    assert len(read_table(store, "first", schemas.BARS, ticker)) == len(frame)
    store.delete_prefix("runs")


def test_a_foreign_partition_is_pointed_out(store: Store) -> None:
    store.write("runs/first/tables/bars/ticker=BTC USDT/data.parquet", b"")
    with pytest.raises(StoreError, match="'BTC USDT' is not a ticker as"):
        tickers(store, "first", schemas.BARS)


def test_pandas_and_arrow_read_a_directory(tmp_path: Path, bars: pd.DataFrame) -> None:
    store = open_store(f"file://{tmp_path}")
    assert_read_by_others(store, bars)
    # what a killed writer leaves behind is no table to them either
    folder = Path(store.address(layout.tables("first", "bars")), "ticker=BTC")
    (folder / ".0123456789abcdef.partial").write_bytes(b"half")
    assert_read_by_others(store, bars)


def test_pandas_and_arrow_read_a_bucket(bucket: str, bars: pd.DataFrame) -> None:
    assert_read_by_others(open_store(f"s3://{bucket}/{uuid4().hex}"), bars)


def assert_read_by_others(store: Store, bars: pd.DataFrame) -> None:
    for number, ticker in enumerate(STRANGE):
        write_table(store, "first", schemas.BARS, bars.head(number + 1), ticker)
    address = store.address(layout.tables("first", "bars"))
    counts = {ticker: number + 1 for number, ticker in enumerate(STRANGE)}
    by_arrow = ds.dataset(address, partitioning="hive").to_table(use_threads=False).to_pandas()
    by_pandas = pd.read_parquet(address)
    for frame in (by_arrow, by_pandas):
        assert frame["ticker"].astype(str).value_counts().to_dict() == counts
        assert list(frame.columns) == ["time", "open", "high", "low", "close", "volume", "ticker"]
        one = frame[frame["ticker"] == "BTC/USDT:USDT"].drop(columns="ticker").set_index("time")
        pd.testing.assert_frame_equal(one, bars.head(1), check_freq=False)


def test_files_are_zstd_parquet_without_python_objects(store: Store, bars: pd.DataFrame) -> None:
    write_table(store, "first", schemas.BARS, bars, TICKER)
    metadata = pq.ParquetFile(io.BytesIO(store.read(layout.table("first", "bars", TICKER)))).metadata
    assert {metadata.row_group(0).column(column).compression for column in range(6)} == {"ZSTD"}
    assert metadata.metadata[b"assay.dataset"] == b"bars"
    assert metadata.metadata[b"assay.version"] == b"1"
    assert b"pandas" not in metadata.metadata


Damage = Callable[[pd.DataFrame], pd.DataFrame]
WRONG_BARS: dict[str, tuple[Damage, str]] = {
    "missing column": (lambda bars: bars.drop(columns="close"), r"columns \['close'\] are missing; due are \['time'"),
    "no time": (lambda bars: bars.reset_index(drop=True), r"columns \['time'\] are missing"),
    "extra column": (lambda bars: bars.assign(vwap=1.0), r"columns \['vwap'\] are not in the schema; allowed are \['"),
    "repeated column": (
        lambda bars: pd.concat([bars, bars[["close"]]], axis=1),
        r"columns \['close'\] are there more than once",
    ),
    "time twice": (lambda bars: bars.assign(time=bars.index), r"\['time'\] are both in the index and among the"),
    "named index": (lambda bars: bars.rename_axis("date"), r"columns \['time'\] are missing"),
    "wrong type": (lambda bars: bars.astype({"close": "float32"}), "'close' has type float32; allowed is float64"),
    "text": (lambda bars: bars.astype({"close": "str"}), "column 'close' has type str; allowed is float64"),
    "integers": (lambda bars: bars.round().astype({"volume": "int64"}), "column 'volume' has type int64; allowed is"),
    "objects": (lambda bars: bars.astype({"close": object}), "column 'close' has type object; allowed is float64"),
    "null": (
        lambda bars: bars.assign(close=bars["close"].where(bars.index != bars.index[7])),
        r"column 'close' is null or NaN in 1 of 3000 rows, first in row 7 \(time=2024-01-01 01:45:00\+00:00\)",
    ),
    "unsorted": (
        lambda bars: bars.iloc[[0, 1, 3, 2, *range(4, 9)]],
        r"key in row 2 \(time=2024-01-01 00:45:00\+00:00\) is out of order; rows are sorted by \['time'\]",
    ),
    "duplicate": (
        lambda bars: bars.iloc[[0, 1, 1, 2]],
        r"key in row 2 \(time=2024-01-01 00:15:00\+00:00\) is there more than once",
    ),
    "naive": (lambda bars: bars.tz_localize(None), "'time' has type datetime64.us.; allowed is .*tz_localize"),
    "other zone": (lambda bars: bars.tz_convert("Asia/Seoul"), "'time' has type .*Seoul.*; allowed is .*tz_convert"),
    "absent time": (
        lambda bars: bars.set_index(bars.index.where(bars.index != bars.index[2])).rename_axis("time"),
        "column 'time' is null or NaN in 1 of 3000 rows",
    ),
    "nanoseconds": (
        lambda bars: bars.set_index(bars.index.as_unit("ns") + pd.Timedelta(1, "ns")),
        r"column 'time' holds 2024-01-01 00:00:00\.000000001\+00:00 in row 0, finer than a microsecond",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "complaint"), WRONG_BARS.values(), ids=WRONG_BARS.keys())
def test_wrong_bars_are_refused(store: Store, bars: pd.DataFrame, damage: Damage, complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint) as caught:
        write_table(store, "first", schemas.BARS, damage(bars), TICKER)
    assert "table 'bars' of ticker 'binance-um:BTCUSDT'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.list() == []


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [
        ("message", ["a", None], r"'message' is null or NaN in 1 of 2 rows, first in row 1 \(stage=b, ticker=x\)"),
        ("message", ["a", 1], "'message' holds 1 in row 1; allowed is valid text"),
        ("message", ["a", b"b"], "'message' holds b'b' in row 1"),
        ("message", ["a", ["b"]], r"'message' holds \['b'\] in row 1"),
        ("message", pd.Series(["a", "\ud800"], dtype=object), r"'message' holds '\\ud800' in row 1"),
        ("stage", ["b", "a"], r"key in row 0 \(stage=b, ticker=x\) is out of order; .* by \['stage', 'ticker'\]"),
        ("stage", ["a", "a"], r"key in row 1 \(stage=a, ticker=x\) is there more than once"),
    ],
)
def test_wrong_failures_are_refused(store: Store, column: str, values: object, complaint: str) -> None:
    frame = pd.DataFrame({"stage": ["a", "b"], "ticker": "x", "error": "E", "message": "m"})
    with pytest.raises(SchemaError, match=complaint):
        write_table(store, "first", schemas.FAILURES, frame.assign(**{column: values}))


@pytest.mark.parametrize(
    ("rename", "complaint"),
    [
        ({"rsi": "ticker"}, "other than 'ticker'"),
        ({"rsi": 7}, r"\[7\] cannot be names"),
        ({"rsi": ""}, r"\[''\] cannot"),
    ],
)
def test_wrong_names_of_features_are_refused(
    store: Store, features: pd.DataFrame, rename: dict[str, object], complaint: str
) -> None:
    with pytest.raises(SchemaError, match=complaint):
        write_table(store, "first", schemas.FEATURES, features.rename(columns=rename), TICKER)


def test_a_wrong_type_of_a_feature_is_refused(store: Store, features: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match="column 'atr' has type float64; allowed is float32"):
        write_table(store, "first", schemas.FEATURES, features.astype({"atr": "float64"}), TICKER)


def test_a_signal_may_not_be_null(store: Store) -> None:
    signals = example_rows(schemas.SIGNALS).assign(signal=pd.array([1, None], dtype="Int8"))
    with pytest.raises(SchemaError, match="column 'signal' is null or NaN in 1 of 2 rows"):
        write_table(store, "first", schemas.SIGNALS, signals, TICKER)


def test_the_ticker_must_be_given_where_there_is_one(store: Store, bars: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match="'bars' is kept by ticker"):
        write_table(store, "first", schemas.BARS, bars)
    with pytest.raises(SchemaError, match="'failures' is one for all tickers"):
        read_table(store, "first", schemas.FAILURES, "BTC")


def test_a_missing_table_is_a_missing_key(store: Store) -> None:
    with pytest.raises(KeyMissing, match="ticker=binance-um%3ABTCUSDT"):
        read_table(store, "first", schemas.BARS, TICKER)


def test_the_frame_given_is_not_changed(store: Store, bars: pd.DataFrame) -> None:
    before = bars.copy()
    write_table(store, "first", schemas.BARS, bars, TICKER)
    pd.testing.assert_frame_equal(bars, before)


def test_another_version_is_refused_on_read(store: Store, bars: pd.DataFrame) -> None:
    write_table(store, "first", schemas.BARS, bars, TICKER)
    with pytest.raises(
        SchemaError, match="holds dataset 'bars' version 1; this code reads version 2 of 'bars': run the"
    ):
        read_table(store, "first", replace(schemas.BARS, version=2), TICKER)


def test_another_dataset_is_refused_on_read(store: Store, bars: pd.DataFrame) -> None:
    write_table(store, "first", schemas.BARS, bars, TICKER)
    data = store.read(layout.table("first", "bars", TICKER))
    store.write(layout.table("first", "features", TICKER), data)
    with pytest.raises(SchemaError, match="holds dataset 'bars' version 1; this code reads version 1 of 'features'"):
        read_table(store, "first", schemas.FEATURES, TICKER)


def test_a_foreign_parquet_file_is_refused(store: Store, bars: pd.DataFrame) -> None:
    store.write(layout.table("first", "bars", TICKER), bars.reset_index().to_parquet())
    with pytest.raises(SchemaError, match="holds no dataset of this project"):
        read_table(store, "first", schemas.BARS, TICKER)


WRONG_FILES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "missing": (lambda table: table.drop_columns("close"), r"columns \['close'\] are missing"),
    "extra": (lambda table: table.append_column("vwap", table["close"]), r"columns \['vwap'\] are not in the schema"),
    "type": (
        lambda table: table.set_column(4, "close", table["close"].cast(pa.float32())),
        "column 'close' has type float; allowed is double",
    ),
    "zone": (
        lambda table: table.set_column(0, "time", table["time"].cast(pa.timestamp("us"))),
        r"column 'time' has type timestamp\[us\]; allowed is timestamp\[us, tz=UTC\]",
    ),
    "null": (
        lambda table: table.set_column(4, "close", pa.array([None] + [1.0] * 2_999)),
        "column 'close' is null or NaN in 1 of 3000 rows",
    ),
    "nan": (
        lambda table: table.set_column(4, "close", pa.array([float("nan")] + [1.0] * 2_999)),
        "column 'close' is null or NaN in 1 of 3000 rows",
    ),
    "order": (lambda table: table.take([1, 0]), "is out of order"),
    "duplicate": (lambda table: table.take([0, 0]), "is there more than once"),
}


@pytest.mark.parametrize(("damage", "complaint"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_wrong_files_are_refused_on_read(
    store: Store, bars: pd.DataFrame, damage: Callable[[pa.Table], pa.Table], complaint: str
) -> None:
    write_table(store, "first", schemas.BARS, bars, TICKER)
    key = layout.table("first", "bars", TICKER)
    table = pq.read_table(io.BytesIO(store.read(key)))
    fields = [field.with_nullable(True) for field in table.schema]
    damaged = damage(table.cast(pa.schema(fields, table.schema.metadata)))
    sink = io.BytesIO()
    pq.write_table(damaged.replace_schema_metadata(table.schema.metadata), sink)
    store.write(key, sink.getvalue())
    with pytest.raises(SchemaError, match=complaint) as caught:
        read_table(store, "first", schemas.BARS, TICKER)
    assert TICKER in str(caught.value)
    assert key in str(caught.value)


def test_a_truncated_file_is_named(store: Store, bars: pd.DataFrame) -> None:
    write_table(store, "first", schemas.BARS, bars, TICKER)
    key = layout.table("first", "bars", TICKER)
    data = store.read(key)
    for length in (0, 3, 4, 100, len(data) // 2, len(data) - 1):
        store.write(key, data[:length])
        with pytest.raises(StoreError, match=r"no Parquet file or a damaged one .*run the stage") as caught:
            read_table(store, "first", schemas.BARS, TICKER)
        assert key in str(caught.value)
        assert store.url in str(caught.value)


def test_a_damaged_column_name_is_damage(store: Store, bars: pd.DataFrame) -> None:
    write_table(store, "first", schemas.BARS, bars, TICKER)
    key = layout.table("first", "bars", TICKER)
    store.write(key, store.read(key).replace(b"volume", b"vol\xffme"))
    with pytest.raises(StoreError, match="no Parquet file or a damaged one"):
        read_table(store, "first", schemas.BARS, TICKER)


def test_a_flipped_bit_is_never_read_as_data(store: Store, bars: pd.DataFrame) -> None:
    write_table(store, "first", schemas.BARS, bars, TICKER)
    key = layout.table("first", "bars", TICKER)
    data = store.read(key)
    generator = np.random.default_rng(0)
    damaged = 0
    for place in generator.integers(0, len(data), 60):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(generator.integers(8))
        store.write(key, bytes(flipped))
        try:
            back = read_table(store, "first", schemas.BARS, TICKER)
        except (StoreError, SchemaError):
            damaged += 1
        else:
            # what no reader looks at, such as statistics, may differ
            pd.testing.assert_frame_equal(back, bars, check_freq=False)
    assert damaged > 50


def example_rows(dataset: Dataset) -> pd.DataFrame:
    """Two rows of any dataset in its canonical form, with a null wherever one is allowed."""
    columns = list(dataset.columns)
    if dataset.open_columns:
        columns.append(Column("open", dataset.open_columns, "", "", nullable=True))
    return pd.DataFrame({column.name: example_values(column) for column in columns})


def example_values(column: Column) -> "pd.Series":
    values: dict[str, list[object]] = {
        "time": [pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-01-02", tz="UTC")],
        "string": ["a", "币"],
        "bool": [False, True],
    }
    dtypes = {"time": "datetime64[us, UTC]", "string": "str", "int64": "Int64", "int8": "Int8", "bool": "boolean"}
    two = values.get(column.type, [1, 2])
    if column.nullable:
        return pd.Series([two[0], None], dtype=dtypes.get(column.type, column.type))
    plain = column.type if column.type in ("int64", "int8", "bool") else dtypes.get(column.type, column.type)
    return pd.Series(two, dtype=plain)
