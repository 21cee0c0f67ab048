"""Files of candles are read for what they are, or refused in a sentence: never a traceback, never a wrong bar."""

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.bars import COLUMNS, BarsError, validate
from quant.candle_files import LARGEST_JSON, CandleFileError, Parsed, parse

RAW = Path(os.environ.get("ASSAY_MARKET_DATA", Path(__file__).parents[3] / "shared" / "data")) / "raw_formats"
LIMIT = 1 << 26
TIMES = pd.date_range("2024-03-30 20:00", periods=40, freq="15min", tz="UTC")
MILLISECONDS = TIMES.as_unit("ms").astype("int64").tolist()
CLOSES = [100 + number / 8 for number in range(40)]
ROWS = [[close, close + 1, close - 1, close, 10 + number] for number, close in enumerate(CLOSES)]


def frame() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=list(COLUMNS)).assign(date=TIMES)


def lists() -> bytes:
    return json.dumps([[time, *row] for time, row in zip(MILLISECONDS, ROWS, strict=True)]).encode()


def csv_of(times: list[str], header: str = "time,open,high,low,close,volume") -> bytes:
    rows = [",".join([time, *map(str, row)]) for time, row in zip(times, ROWS, strict=True)]
    return ("\n".join([header, *rows]) + "\n").encode()


def naive() -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M:%S}" for time in TIMES]


def klines(scale: int = 1) -> bytes:
    rows = [
        f"{time * scale},{','.join(map(str, row))},{(time + 900_000) * scale - 1},1.5,7,0.5,0.25,0\n"
        for time, row in zip(MILLISECONDS, ROWS, strict=True)
    ]
    return "".join(rows).encode()


def zipped(content: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("BTCUSDT-15m-2024-03.csv",):
            archive.writestr(name, content)
    return buffer.getvalue()


def feather(compression: str = "lz4", **others: object) -> bytes:
    buffer = io.BytesIO()
    frame().assign(**others).to_feather(buffer, compression=compression)
    return buffer.getvalue()


def records() -> bytes:
    rows = [[time // 1000, *row] for time, row in zip(MILLISECONDS, ROWS, strict=True)]
    return json.dumps([dict(zip(("time", *COLUMNS), row, strict=True)) for row in rows]).encode()


FORMATS: dict[str, Callable[[], bytes]] = {
    "CSV": lambda: csv_of(naive()),
    "klines": klines,
    "klines in a zip": lambda: zipped(klines()),
    "lists": lists,
    "lists in gzip": lambda: gzip.compress(lists(), mtime=0),
    "records": records,
    "feather": feather,
    "Parquet": lambda: frame().to_parquet(),
}


def bars(parsed: Parsed) -> pd.DataFrame:
    assert parsed.kind == "bars"
    found, quarantine = validate(parsed.frame, None)
    assert quarantine.empty
    return found


EXPECTED = validate(frame(), None)[0]

REAL = {
    "backtrader_ETHUSDT_15m.csv": (59703, "2023-01-01 00:00", "2024-10-02 07:30", 2486.58),
    "binance_vision_noheader_ADABTC-1m-2021-11-27.csv": (10, "2021-11-27 00:00", "2021-11-27 00:09", 0.00002865),
    "bybit_1d_ROSEUSDT.csv": (1401, "2022-01-14 00:00", "2025-11-13 00:00", 0.02006),
    "ethusdt_15m_opentime_last.csv": (1000, "2021-02-01 12:45", "2021-02-11 22:30", 1778.10),
    "freqtrade_UNITTEST_BTC-1m.json": (13681, "2017-11-04 23:02", "2017-11-14 22:59", 0.00270002),
    "freqtrade_XRP_USDT_USDT-1h-futures.json.gz": (100, "2021-11-17 01:00", "2021-11-21 04:00", 1.0765),
    "freqtrade_badname_ETH_USDT_-15m-futures.feather": (102460, "2023-01-01 00:00", "2025-12-03 06:45", 3067.21),
    "freqtrade_spot_ETH_USDT-15m.json": (13843, "2021-01-12 00:00", "2021-06-05 14:15", 2633.01),
    "freqtrade_spot_ETH_USDT-1h.json": (4090, "2021-01-01 00:00", "2021-06-20 16:00", 2123.38),
    "freqtrade_um_BTC_USDT_USDT-15m-futures.json": (3355, "2025-09-19 00:00", "2025-10-23 22:30", 109954.7),
    "freqtrade_um_ETH_USDT_USDT-15m-futures.feather": (106512, "2022-01-01 00:00", "2025-01-14 11:45", 3216.22),
    "futures-um-klines-BTCUSDT-1h-2024-10-28.zip": (24, "2024-10-28 00:00", "2024-10-28 23:00", 69940.0),
    "gravestone_1h_ETHUSDT.csv": (4500, "2025-09-13 08:00", "2026-03-19 19:00", 2143.86),
    "gravestone_4h_ETHUSDT.csv": (4500, "2024-02-28 20:00", "2026-03-19 16:00", 2143.88),
    "kronos_spot_ADAUSDT_15m.parquet": (35040, "2025-04-10 17:00", "2026-04-10 16:45", 0.2549),
    "misrori_LUNAUSDT_1h.csv": (23551, "2021-04-04 21:00", "2023-12-30 20:00", 0.8569),
    "scanner_1000000BOBUSDT_15m_365.csv": (13422, "2025-06-05 08:30", "2025-10-23 03:45", 0.02936),
    "scanner_币安人生USDT_1h_365.csv": (69, "2025-10-20 11:00", "2025-10-23 07:00", 0.28284),
    "spot-klines-BTCUSDT-1h-2024-10-28.zip": (24, "2024-10-28 00:00", "2024-10-28 23:00", 69962.21),
}


@pytest.mark.market_data
@pytest.mark.parametrize("name", REAL)
def test_a_file_as_it_is_published_is_read(name: str) -> None:
    rows, first, last, close = REAL[name]
    parsed = parse((RAW / name).read_bytes(), limit=LIMIT)
    found, quarantine = validate(parsed.frame, None)
    assert (parsed.kind, len(parsed.frame)) == ("bars", rows)
    assert set(quarantine["reason"]) <= {"duplicate row"}  # Bybit's file has its last bar twice
    assert (str(found.index[0])[:16], str(found.index[-1])[:16]) == (first, last)
    assert found["close"].iloc[-1] == close


@pytest.mark.market_data
@pytest.mark.parametrize(
    ("name", "rows", "last", "rate"),
    [
        ("freqtrade_um_ETH_USDT_USDT-1h-funding_rate.feather", 7089, "2026-05-17 00:00", 0.00007161),
        ("gravestone_funding_ETHUSDT.csv", 200, "2026-03-20 00:00", -0.00006348),
    ],
)
def test_funding_as_it_is_published_is_read(name: str, rows: int, last: str, rate: float) -> None:
    parsed = parse((RAW / name).read_bytes(), limit=LIMIT)
    times = parsed.frame["time"]
    end = times.iloc[-1] if times.dtype.kind == "M" else pd.Timestamp(times.iloc[-1], unit="ms")
    assert (parsed.kind, len(parsed.frame), str(end)[:16]) == ("funding", rows, last)
    assert parsed.frame["rate"].iloc[-1] == pytest.approx(rate, abs=1e-9)


@pytest.mark.market_data
def test_every_published_file_is_known_here() -> None:
    others = {path.name for path in RAW.iterdir()} - set(REAL)
    refused = "lfs_pointer_BTC_USDT_USDT-15m-futures.feather"
    funding = {"freqtrade_um_ETH_USDT_USDT-1h-funding_rate.feather", "gravestone_funding_ETHUSDT.csv"}
    assert others == {refused, *funding}
    with pytest.raises(CandleFileError, match="git-LFS pointer"):
        parse((RAW / refused).read_bytes(), limit=LIMIT)


@pytest.mark.parametrize("name", FORMATS)
def test_every_form_is_the_same_bars(name: str) -> None:
    pd.testing.assert_frame_equal(bars(parse(FORMATS[name](), limit=LIMIT)), EXPECTED, check_freq=False)


def test_microseconds_are_told_from_milliseconds() -> None:
    pd.testing.assert_frame_equal(bars(parse(klines(1000), limit=LIMIT)), EXPECTED, check_freq=False)


@pytest.mark.parametrize(
    ("times", "header"),
    [
        (naive(), "DATE;Open;High;LOW;close;Volume"),
        ([f"{time:%Y-%m-%dT%H:%M:%S}Z" for time in TIMES], "time,open,high,low,close,Volume"),
        ([f"{time.tz_convert('Asia/Tokyo').isoformat()}" for time in TIMES], "time,open,high,low,close,volume"),
        ([f"{time.tz_convert('Europe/Berlin').isoformat()}" for time in TIMES], "time,open,high,low,close,volume"),
        ([str(time // 1000) for time in MILLISECONDS], '"time","open","high","low","close","volume"'),
        ([str(time + 899_999) for time in MILLISECONDS], "close_time,open,high,low,close,volume"),
        ([f"{time + pd.Timedelta('15min'):%Y-%m-%d %H:%M}" for time in TIMES], "Close time,open,high,low,close,volume"),
    ],
    ids=["semicolons", "UTC", "Tokyo", "over a clock change", "seconds", "milliseconds of close", "text of close"],
)
def test_headers_and_times_of_many_kinds(times: list[str], header: str) -> None:
    data = csv_of(times, header)
    data = data.replace(b",", b";") if ";" in header else data
    pd.testing.assert_frame_equal(bars(parse(data, limit=LIMIT)), EXPECTED, check_freq=False)


def test_shifted_closes_and_naive_times_are_noted() -> None:
    closes = [f"{time + pd.Timedelta('15min'):%Y-%m-%d %H:%M}" for time in TIMES]
    notes = parse(csv_of(closes, "close_time,open,high,low,close,volume"), limit=LIMIT).notes
    assert [any(word in note for note in notes) for word in ("read as UTC", "shifted to the opens")] == [True, True]
    assert parse(csv_of([f"{time}Z" for time in naive()]), limit=LIMIT).notes == ()


def test_a_zone_is_applied_and_an_hour_that_it_skips_is_no_time() -> None:
    parsed = parse(csv_of(naive()), limit=LIMIT, zone="Europe/Berlin")
    found, quarantine = validate(parsed.frame, None)
    assert found.index[0] == TIMES[0] - pd.Timedelta("1h")
    assert quarantine["reason"].tolist() == ["unparsable time"] * 4
    assert "2024-03-31 02:00:00 in Europe/Berlin" in quarantine["detail"].iloc[0]
    with pytest.raises(CandleFileError, match="zone 'Mars/Olympus' is unknown"):
        parse(csv_of(naive()), limit=LIMIT, zone="Mars/Olympus")


def test_names_that_cannot_be_told_are_mapped() -> None:
    data = csv_of(naive(), "Kerze,open,high,low,close,Volume BTC")
    mapped = {"time": "Kerze", "volume": "Volume BTC"}
    pd.testing.assert_frame_equal(bars(parse(data, limit=LIMIT, columns=mapped)), EXPECTED, check_freq=False)
    with pytest.raises(CandleFileError, match="'volume' is missing; the columns are Kerze"):
        parse(data, limit=LIMIT)
    with pytest.raises(CandleFileError, match="'x' of the mapping is unknown; allowed are time"):
        parse(data, limit=LIMIT, columns={"x": "Kerze"})
    with pytest.raises(CandleFileError, match=r"'Candle' \(for time\) is missing"):
        parse(data, limit=LIMIT, columns={"time": "Candle"})


def test_an_unnamed_index_of_times_is_the_time_and_one_of_numbers_is_not() -> None:
    data = frame().set_index("date").rename_axis(None).to_parquet()
    pd.testing.assert_frame_equal(bars(parse(data, limit=LIMIT)), EXPECTED, check_freq=False)
    with pytest.raises(CandleFileError, match="no column of times"):
        parse(frame().drop(columns="date").set_axis(np.arange(40)[::-1]).to_parquet(), limit=LIMIT)


def test_an_absurd_number_is_left_to_quarantine() -> None:
    data = csv_of(naive()).replace(b",101.0,102.0,", b",101.0,1e400,", 1)
    data = data.replace(b",102.0,103.0,101.0,", b",102.0,103.0,-5,")
    quarantine = validate(parse(data, limit=LIMIT).frame, None)[1]
    assert quarantine["reason"].tolist() == ["infinite price", "price not positive"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"\n \n", r"empty \(3 bytes\)"),
        (b"<!DOCTYPE html><html>502</html>", "web page"),
        (gzip.compress(b"  <html>", mtime=0), "web page"),
        (b'{"code":-1121,"msg":"Invalid symbol."}', "a message, not candles:.*Invalid symbol"),
        (b"[]", "empty list"),
        (b"[" * 100_000, "JSON is truncated or broken"),
        (b'[{"time": 1}]', "'open' is missing"),
        (b"[[1, 2]]", "neither a list of records nor"),
        (b"\xff\xd8\xff\xe0 a picture", "not text"),
        (b"hello", "no known form"),
        (b"1,2,3,4,5,6\n", "no header and 6 columns"),
        (b"time,open,high,low,close,volume\n", "no rows"),
        (b"time,open,high,low,close,volume,close\n1,1,1,1,1,1,1\n", "2 columns are named 'close'"),
        (csv_of(naive()).replace(b",102.0,", b",1o2.0,", 1), "'high' is not numeric; row 8 holds '1o2.0'"),
        (csv_of(naive()).replace(b",102.0,", b","), "truncated or broken"),
        (csv_of([f"{time:%d.%m.%Y %H:%M}" for time in TIMES]), r"times like '30.03.2024 20:00' cannot be read"),
        (csv_of([f"{time:%Y%m%d}" for time in TIMES]), "times like '20240330' are not numbers since 1970"),
        (csv_of([f"{time:%Y%m%d%H%M}" for time in TIMES]), "times like '202403302000' are not numbers since 1970"),
        (csv_of([f"{time:%Y%m%d%H%M%S}" for time in TIMES]), "times like '20240330200000' are not numbers"),
        (csv_of([str(number) for number in range(40)]), "times like '0' are not numbers since 1970"),
        (csv_of([naive()[0] + "Z", *naive()[1:]]), "some times have a zone and others"),
        (frame().assign(ticker=["A", "B"] * 20).to_parquet(), "holds 2 tickers, 'A' and 'B'"),
        (frame().rename(columns={"open": "('A', 'open')"}).to_parquet(), "wide"),
        (feather(ticker=pd.Categorical(["A"] * 40)), "'ticker' holds dictionary.*allowed are numbers, times and text"),
        (frame().assign(close=True).to_parquet(), "'close' holds bool"),
    ],
)  # fmt: skip
def test_what_is_no_candles_is_called_what_it_is(data: bytes, complaint: str) -> None:
    with pytest.raises(CandleFileError, match=complaint) as caught:
        parse(data, limit=LIMIT)
    assert "\n" not in str(caught.value)


def encrypted() -> bytes:
    data = bytearray(zipped(klines()))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (zipped(b"0" * 200_000), "unpacks to more than 100,000 bytes"),
        (gzip.compress(b"0" * 200_000, mtime=0), "more than 100,000 bytes unpacked"),
        (b"1," * 60_000, "more than 100,000 bytes; split"),
        (pd.concat([frame()] * 100).assign(close=1.0).to_parquet(), "more than 100,000 bytes unpacked"),
        (zipped(zipped(klines())), "holds another archive"),
        (gzip.compress(gzip.compress(b"1", mtime=0), mtime=0), "holds another archive"),
        (zipped(klines(), "a.csv", "b.csv"), "2 members"),
        (zipped(b"", "folder/"), "only the folder"),
        (b"PK\x05\x06" + bytes(18), "0 members"),
        (zipped(klines(), "../../etc/cron.csv"), "leads elsewhere"),
        (zipped(klines(), "/etc/cron.csv"), "leads elsewhere"),
        (zipped(klines(), "..\\x.csv"), "leads elsewhere"),
        (zipped(klines(), "C:\\x.csv"), "leads elsewhere"),
        (encrypted(), "is encrypted; unpack it first"),
        (zipped(klines())[:-40], "truncated or broken"),
        (gzip.compress(klines(), mtime=0)[:-9], "truncated or broken"),
    ],
)
def test_an_archive_that_is_a_trap_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(CandleFileError, match=complaint):
        parse(data, limit=100_000)


def test_json_that_would_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(CandleFileError, match=r"the JSON has .* bytes, and takes twenty times as many to read"):
        parse(b"[" + b" " * LARGEST_JSON, limit=1 << 30)


def test_a_zip_that_lies_about_its_size_is_refused() -> None:
    data = bytearray(zipped(b"0" * 200_000))
    entry = data.index(b"PK\x01\x02") + 24
    data[entry : entry + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(CandleFileError, match="truncated or broken"):
        parse(bytes(data), limit=100_000)


def parsed_or_refused(data: bytes) -> Parsed | None:
    try:
        return parse(data, limit=LIMIT)
    except CandleFileError as error:
        assert str(error)
        assert "\n" not in str(error)
        return None


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(alphabet='0123456789.,;-:T\n[]{}"eaopnclsvmtih', max_size=300)))
def test_random_bytes_are_refused_or_read(data: bytes | str) -> None:
    parsed_or_refused(data if isinstance(data, bytes) else data.encode())


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_part_of_a_file_holds_no_other_bar(name: str, data: st.DataObject) -> None:
    whole = FORMATS[name]()
    part = parsed_or_refused(whole[: data.draw(st.integers(0, len(whole) - 1))])
    if part is not None:
        found = bars(part)
        pd.testing.assert_frame_equal(found, EXPECTED.iloc[: len(found)], check_freq=False)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_byte_changes_only_what_it_says(name: str, data: st.DataObject) -> None:
    whole = bytearray(FORMATS[name]())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    flipped = parsed_or_refused(bytes(whole))
    if flipped is None or name in ("feather", "Parquet"):  # which carry no checksum
        return
    try:
        found, quarantine = validate(flipped.frame, None)
    except BarsError:
        return
    same = found.reindex(EXPECTED.index).eq(EXPECTED).all(axis=1) if found.index.is_unique else pd.Series(dtype=bool)
    if name.endswith(("in a zip", "in gzip")):
        assert same.all()
        assert len(found) == len(EXPECTED)
    else:
        # one byte is in one row; it holds what the file says, and where it has taken another's time, that is told
        assert (~same).sum() <= 1 + len(quarantine)
        cut = sum("may have been cut" in note for note in flipped.notes)  # the end of the last line was flipped
        assert len(found) + len(quarantine) + cut == len(EXPECTED)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_last_line_that_may_have_been_cut_is_left_out_and_noted(ending: bytes) -> None:
    data = csv_of(naive()).replace(b"\n", ending)
    part = parse(data[: -len(ending) - 1], limit=LIMIT)  # volume 49 has become 4
    assert len(part.frame) == 39
    assert any("may have been cut" in note for note in part.notes)


def test_a_last_line_without_an_end_is_kept_where_it_can_be_no_part() -> None:
    assert len(parse(klines()[:-1], limit=LIMIT).frame) == 40  # what ends it is not read
    fixed = frame().assign(volume=1.2501).to_csv(index=False, float_format="%.4f", columns=["date", *COLUMNS]).encode()
    assert len(parse(fixed[:-1], limit=LIMIT).frame) == 40
    assert len(parse(fixed[:-2], limit=LIMIT).frame) == 39


def test_funding_is_told_from_candles() -> None:
    zeros = frame().assign(open=0.0001, high=0.0, low=0.0, close=0.0, volume=0.0)
    for data in (
        zeros.to_parquet(),
        b"calc_time,funding_interval_hours,last_funding_rate\n1704067200000,8,0.0001\n",
        b'[{"symbol":"BTCUSDT","fundingTime":1704067200000,"fundingRate":"0.00010000"}]',
    ):
        parsed = parse(data, limit=LIMIT)
        assert parsed.kind == "funding"
        assert parsed.frame["rate"].unique().tolist() == [0.0001]


def test_the_symbol_that_a_file_names_is_told() -> None:
    assert parse(frame().assign(Ticker="LUNAUSDT").to_parquet(), limit=LIMIT).symbol == "LUNAUSDT"
    assert parse(lists(), limit=LIMIT).symbol is None
