"""Names, listings and checksums of the bulk data, and which of its files make a history."""

import datetime
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant import bulk
from quant.bulk import BulkError, File, Listed, Page
from tests.jobs.bucket import HTML, Bucket, fill

SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
DAY = timedelta(days=1)


def listing(inside: str, space: str = SPACE) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult {space}>{inside}</ListBucketResult>'.encode()


def entry(key: str, size: object = 3) -> str:
    return f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>"


def monthly(year: int, month: int) -> File:
    first = date(year, month, 1)
    last = (first + 31 * DAY).replace(day=1) - DAY
    return File(f"m/{first:%Y-%m}", 1, first, last)


def daily(day: date) -> File:
    return File(f"d/{day}", 1, day, day)


def test_the_names_are_those_of_the_public_bucket():
    assert bulk.folder("um", "monthly", "15m", "BTCUSDT") == "data/futures/um/monthly/klines/BTCUSDT/15m/"
    assert bulk.folder("cm", "daily", "1h", "BTCUSD_PERP") == "data/futures/cm/daily/klines/BTCUSD_PERP/1h/"
    assert bulk.folder("spot", "monthly") == "data/spot/monthly/klines/"
    assert bulk.folder("um", "monthly", bulk.FUNDING, "BTCUSDT") == "data/futures/um/monthly/fundingRate/BTCUSDT/"
    prefix = bulk.folder("um", "monthly", "15m", "币安人生USDT")
    keys = [f"{prefix}币安人生USDT-15m-2024-02.zip", f"{prefix}币安人生USDT-15m-2024-02.zip.CHECKSUM"]
    found, strange = bulk.files([Listed(key, 5) for key in keys], prefix, "币安人生USDT", "15m")
    assert found == [File(keys[0], 5, date(2024, 2, 1), date(2024, 2, 29))]
    assert (found[0].name, found[0].monthly, strange) == ("币安人生USDT-15m-2024-02.zip", True, [])


@pytest.mark.parametrize(
    "name",
    [
        *("BTCUSDT-15m-2024-13.zip", "BTCUSDT-15m-2024-02-30.zip", "BTCUSDT-15m-0000-01.zip", "BTCUSDT-1h-2024-01.zip"),
        *("ETHUSDT-15m-2024-01.zip", "x/BTCUSDT-15m-2024-01.zip", "../BTCUSDT-15m-2024-01.zip", "BTCUSDT-15m-2024.zip"),
        *(
            "BTCUSDT-15m-２０２４-01.zip",
            "BTCUSDT-15m-2024-01.zip.zip",
            "BTCUSDT-15m-9999-12-32.zip",
            "\nBTCUSDT-15m-2024-01.zip",
        ),
    ],
)
def test_any_other_zip_is_strange(name: str):
    assert bulk.files([Listed(f"p/{name}", 1)], "p/", "BTCUSDT", "15m") == ([], [f"p/{name}"])


def test_a_page_of_a_listing_is_read_with_where_it_goes_on():
    names = ("A&amp;B", "C")
    folders = "".join(f"<CommonPrefixes><Prefix>p/{name}/</Prefix></CommonPrefixes>" for name in names)
    cut = "<IsTruncated>true</IsTruncated>"
    assert bulk.page(listing(entry("p/a", 7) + entry("p/币"))) == Page((Listed("p/a", 7), Listed("p/币", 3)), (), "")
    assert bulk.page(listing(cut + entry("p/a") + entry("p/b"))).following == "p/b"  # no NextMarker without delimiter
    assert bulk.page(listing(cut + "<NextMarker>p/C/</NextMarker>" + folders)).following == "p/C/"
    page = bulk.page(listing(cut + folders, space=""))
    assert bulk.names([*page.folders, "elsewhere/D/"], "p/") == ["A&B", "C"]
    assert page.following == "p/C/"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HTML, "a web page came where a listing was due"),
        (b"  <html><body>no", "a web page"),
        (b"", "is not valid XML"),
        (b"{}", "is not valid XML"),
        (b"\xff\xfe<\x00", "is not UTF-8"),
        (listing("")[:-5], "is not valid XML"),
        (b"<Error><Code>AccessDenied</Code></Error>", "no listing of a bucket but 'Error'"),
        (b"<FakeListBucketResult/>", "no listing of a bucket"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult/>', "declares a document type or entities"),
        (b'<?xml version="1.0"?><!doctype x SYSTEM "http://x"><ListBucketResult/>', "declares a document type"),
        (listing(entry("k", -1)), "has '-1' bytes"),
        (listing(entry("k", "1e3")), "has '1e3' bytes"),
        (listing(entry("k", "9" * 30)), "bytes"),
        (listing("<IsTruncated>true</IsTruncated>"), "nothing to go on from"),
        (listing(" " * bulk.LARGEST_LISTING), "allowed are 4,194,304"),
    ],
)
def test_what_is_no_listing_is_said(data: bytes, words: str):
    with pytest.raises(BulkError, match=words):
        bulk.page(data)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_broken_listings_are_refused_or_read_and_nothing_else(noise: bytes, at: int):
    whole = listing(entry("p/a") + entry("p/b"))
    for data in (noise, whole[:at] + noise + whole[at + len(noise) :]):
        try:
            assert isinstance(bulk.page(data), Page)
        except BulkError as error:
            assert len(str(error)) < 400
            assert "\n" not in str(error)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "1000SHIBUSDT", "BTCUSDT_240329", "BTCUSD_PERP", "币安人生USDT"])
def test_symbols_of_any_script_can_be_kept(symbol: str):
    assert bulk.symbol_flaw(symbol) is None


@pytest.mark.parametrize(
    "symbol", ["", ".", "..", "../x", "a/b", "a\\b", "A*B", "a b", "\x00", "a\n", "C:", '"', "-x", "A" * 61, "a%2fb"]
)
def test_symbols_that_would_climb_or_cannot_be_kept_are_refused(symbol: str):
    assert "allowed are" in (bulk.symbol_flaw(symbol) or "")


def test_a_checksum_is_of_the_file_that_it_names():
    digest = "Ab" * 32
    assert bulk.digest(f"{digest}  x.zip\n".encode(), "x.zip") == digest.lower()
    assert bulk.digest(f"{digest} *x.zip".encode(), "x.zip") == digest.lower()
    for data, words in {
        f"{digest}  y.zip\n": "is of another file, 'y.zip'",
        HTML.decode(): "is a web page",
        "": "begins ''",
        f"{digest[1:]}  x.zip\n": "64 hexadecimal digits",
        f"{digest}  x.zip\n{digest}  y.zip\n": "64 hexadecimal digits",
    }.items():
        with pytest.raises(BulkError, match=words):
            bulk.digest(data.encode(), "x.zip")


months = st.builds(lambda number: (2020 + number // 12, 1 + number % 12), st.integers(0, 47))
some_days = st.dates(date(2020, 1, 1), date(2023, 12, 31))


@given(st.sets(months, max_size=30), st.sets(some_days, max_size=60), st.sets(months, max_size=5))
def test_joined_each_day_is_there_once_and_months_go_before_days(
    there: set[tuple[int, int]], single: set[date], kept: set[tuple[int, int]]
):
    found = [*map(daily, single), *(monthly(*each) for each in there)]
    taken = bulk.chosen(found, kept=kept)
    held = [file.first + each * DAY for file in taken for each in range((file.last - file.first).days + 1)]
    assert len(held) == len(set(held))
    every = {file.first + each * DAY for file in found for each in range((file.last - file.first).days + 1)}
    assert set(held) == {day for day in every if (day.year, day.month) in there or (day.year, day.month) not in kept}
    assert {file for file in taken if file.monthly} == {file for file in found if file.monthly}
    assert held == sorted(held)


@given(st.sets(months, max_size=20), st.sets(some_days, max_size=40), st.tuples(some_days, some_days))
def test_days_asked_for_are_there_and_no_file_is_taken_without_one(
    there: set[tuple[int, int]], single: set[date], asked: tuple[date, date]
):
    since, until = sorted(asked)
    found = [*map(daily, single), *(monthly(*each) for each in there)]
    whole = bulk.chosen(found)
    taken = bulk.chosen(found, since, until)
    inside = [file for file in whole if any(since <= day <= until for day in days(file))]
    assert taken == inside


def days(file: File) -> list[date]:
    return [file.first + each * DAY for each in range((file.last - file.first).days + 1)]


@given(st.sets(months, max_size=30), some_days)
def test_the_first_uncovered_day_is_the_first(there: set[tuple[int, int]], day: date):
    found = bulk.first_uncovered(day, there)
    assert (found.year, found.month) not in there
    assert all(((day + each * DAY).year, (day + each * DAY).month) in there for each in range((found - day).days))


@given(some_days, some_days)
def test_after_the_marker_come_the_keys_of_that_day_and_later_ones(day: date, other: date):
    prefix = bulk.folder("um", "daily", "15m", "BTCUSDT")
    marker = bulk.marker("BTCUSDT", "15m", day, prefix)
    bucket = Bucket()
    fill(bucket, "BTCUSDT", [other.isoformat()])
    assert all((key > marker) == (other >= day) for key in bucket.objects)


@pytest.mark.parametrize("bar", [None, "", "15min", "1M", "15M", "7m"])
def test_intervals_that_there_are_no_files_of_are_refused(bar: str | None):
    with pytest.raises(BulkError, match=r"ingest\.bar is .* one of 1s, 1m, 3m, 5m, 15m, 30m, 1h, .* 1w"):
        bulk.checked_interval(bar)


def test_a_month_of_every_length_ends_on_its_last_day():
    for number in range(48):
        year, month = 2023 + number // 12, 1 + number % 12
        key = f"p/X-1h-{year}-{month:02d}.zip"
        ((file,), _) = bulk.files([Listed(key, 1)], "p/", "X", "1h")
        following = file.last + datetime.timedelta(days=1)
        assert (file.first.day, following.day, file.first.month) == (1, 1, month)
        assert (following.year, following.month) == (year + month // 12, month % 12 + 1)
