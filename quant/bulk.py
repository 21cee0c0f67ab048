"""Binance's public bulk data: how its files are named, listed and vouched for, and which of them make a history.

Below ``data/`` lie a folder a market, period and kind, then one a symbol; each zip has a ``.CHECKSUM`` beside it:
``data/futures/um/monthly/klines/BTCUSDT/15m/BTCUSDT-15m-2024-01.zip``. Symbols that are traded no more stay.
"""

import datetime
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")
TREES = {"um": "data/futures/um", "cm": "data/futures/cm", "spot": "data/spot"}
FUNDED = ("um", "cm")
FUNDING = "funding"
"""In place of an interval: the funding rates of a symbol."""
CHECKSUM = ".CHECKSUM"
LARGEST_LISTING = 4 << 20  # bytes of a page: 1,000 keys of 1,024 characters, and what is around them
LARGEST_CHECKSUM = 1_000  # bytes
LONGEST_SYMBOL = 60

Period = Literal["monthly", "daily"]

_SYMBOL = re.compile(r"\w[\w.-]*")
_DIGEST = re.compile(r"(?P<digest>[0-9a-fA-F]{64}) [ *](?P<name>[^\r\n]+)\r?\n?")
_DAY = datetime.timedelta(days=1)


class BulkError(ValueError):
    """Something of the bulk data that is not as it should be."""


class Listed(NamedTuple):
    """An object of a listing: its key and its bytes."""

    key: str
    size: int


class Page(NamedTuple):
    """A page of a listing; ``following`` is the marker of the next one, empty on the last."""

    objects: tuple[Listed, ...]
    folders: tuple[str, ...]
    following: str


class File(NamedTuple):
    """A zip of the bulk data: where it lies, its bytes, and its first and last day."""

    key: str
    size: int
    first: datetime.date
    last: datetime.date

    @property
    def name(self) -> str:
        """Without its folders."""
        return self.key.rpartition("/")[2]

    @property
    def monthly(self) -> bool:
        """Whether it holds a whole month."""
        return self.first != self.last


def checked_interval(bar: str | None) -> str:
    """Return the interval of bars that there are files of.

    Raises
    ------
    BulkError
        For any other.
    """
    if bar not in INTERVALS:
        raise BulkError(f"ingest.bar is {bar!r}; for Binance's bulk data it must be one of {', '.join(INTERVALS)}.")
    return bar


def checked_market(market: str) -> str:
    """Return the market that there are files of.

    Raises
    ------
    BulkError
        For any other.
    """
    if market not in TREES:
        raise BulkError(f"ingest.market is {market!r}; for Binance's bulk data it must be one of {', '.join(TREES)}.")
    return market


def symbol_flaw(symbol: str) -> str | None:
    """Say why a symbol cannot be one, None where it can: letters and digits of any script, ``_``, ``-`` and dots."""
    if len(symbol) > LONGEST_SYMBOL:
        return f"the symbol {symbol[:20]!a}… has {len(symbol)} characters; allowed are {LONGEST_SYMBOL}"
    if not _SYMBOL.fullmatch(symbol):
        return f"the symbol {symbol!a} cannot be one; allowed are letters and digits, '_', '-' and dots within"
    return None


def folder(market: str, period: Period, interval: str = "", symbol: str = "") -> str:
    """Prefix of the symbols of a market, or of the files of one; ``interval`` is one of bars, or ``FUNDING``."""
    if interval == FUNDING:
        return f"{TREES[market]}/{period}/fundingRate/" + (f"{symbol}/" if symbol else "")
    return f"{TREES[market]}/{period}/klines/" + (f"{symbol}/{interval}/" if symbol else "")


def marker(symbol: str, interval: str, day: datetime.date, prefix: str) -> str:
    """What to list after so that daily files from ``day`` on come: the last key that the day before can have."""
    return f"{prefix}{_stem(symbol, interval)}-{(day - _DAY).isoformat()}.zip{CHECKSUM}"


def page(data: bytes) -> Page:
    """Read a page of a listing as S3 writes it.

    Raises
    ------
    BulkError
        If it is a web page, no listing, declares a document type or entities, or cannot be gone on from.
    """
    if len(data) > LARGEST_LISTING:
        raise BulkError(f"a listing has {len(data):,} bytes; allowed are {LARGEST_LISTING:,}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BulkError(f"a listing is not UTF-8: {error.reason} at byte {error.start}") from error
    if _is_web_page(text):
        raise BulkError("a web page came where a listing was due; check the address, and whether a proxy is between")
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise BulkError("a listing declares a document type or entities, which no listing needs; it is not read")
    try:
        root = ET.fromstring(text)  # noqa: S314  bounded, and without declarations
    except (ET.ParseError, ValueError) as error:
        raise BulkError(f"a listing is not valid XML: {error}; it begins {text[:60]!a}") from error
    space = root.tag.removesuffix("ListBucketResult")
    if space == root.tag or (space and not space.startswith("{")):
        raise BulkError(f"what came is no listing of a bucket but {root.tag[:60]!a}; check the address")
    objects = tuple(
        Listed(entry.findtext(f"{space}Key", ""), _size(entry.findtext(f"{space}Size", "")))
        for entry in root.iterfind(f"{space}Contents")
    )
    folders = tuple(entry.findtext(f"{space}Prefix", "") for entry in root.iterfind(f"{space}CommonPrefixes"))
    following = ""
    if root.findtext(f"{space}IsTruncated", "false").strip().lower() == "true":
        # NextMarker comes only with a delimiter
        last = max([entry.key for entry in objects] + list(folders), default="")
        following = root.findtext(f"{space}NextMarker", "") or last
        if not following:
            raise BulkError("a listing says that it goes on, and holds nothing to go on from")
    return Page(objects, folders, following)


def names(folders: Iterable[str], prefix: str) -> list[str]:
    """Names of the folders of a listing that lie straight below its prefix, sorted."""
    return sorted({name.removeprefix(prefix).removesuffix("/") for name in folders if name.startswith(prefix)})


def files(objects: Iterable[Listed], prefix: str, symbol: str, interval: str) -> tuple[list[File], list[str]]:
    """Zips of a symbol among what a listing holds, sorted by day, and keys of zips whose name is of no such kind."""
    known, strange = [], []
    pattern = re.compile(rf"{re.escape(prefix + _stem(symbol, interval))}-(\d{{4}})-(\d\d)(?:-(\d\d))?\.zip", re.ASCII)
    for entry in objects:
        if not entry.key.endswith(".zip"):
            continue
        found = pattern.fullmatch(entry.key)
        days = found and _days(*(int(part) if part else None for part in found.groups()))
        if days:
            known.append(File(entry.key, entry.size, *days))
        else:
            strange.append(entry.key)
    return sorted(known, key=lambda file: (file.first, file.key)), strange


def chosen(
    found: Iterable[File],
    since: datetime.date | None = None,
    until: datetime.date | None = None,
    kept: Collection[tuple[int, int]] = (),
) -> list[File]:
    """Which files to take, sorted by day: every month, and days that lie in none; those that touch the days asked for.

    Each day that any file holds is then held by exactly one of those taken, or lies in one of the months that are
    ``kept`` already.
    """
    found = list(found)
    months = covered(found) | set(kept)
    return sorted(
        (
            file
            for file in found
            if (file.monthly or month(file.first) not in months)
            and (since is None or file.last >= since)
            and (until is None or file.first <= until)
        ),
        key=lambda file: (file.first, file.key),
    )


def covered(found: Iterable[File]) -> set[tuple[int, int]]:
    """The months that monthly files hold."""
    return {month(file.first) for file in found if file.monthly}


def month(day: datetime.date) -> tuple[int, int]:
    """Year and month of a day."""
    return day.year, day.month


def first_uncovered(day: datetime.date, months: Collection[tuple[int, int]]) -> datetime.date:
    """The first day from ``day`` on whose month is not among these."""
    while month(day) in months:
        day = _last_of_month(day) + _DAY
    return day


def digest(data: bytes, name: str) -> str:
    """The SHA-256, in lower-case hexadecimal digits, that a checksum file states of the file of that name.

    Raises
    ------
    BulkError
        If it states none, or that of another file.
    """
    text = data.decode("utf-8", "replace")
    found = _DIGEST.fullmatch(text)
    if found is None:
        kind = "is a web page" if _is_web_page(text) else f"begins {text[:60]!a}"
        raise BulkError(f"{name}{CHECKSUM} {kind}; it must hold 64 hexadecimal digits, two blanks and the name")
    if found["name"] != name:
        raise BulkError(f"{name}{CHECKSUM} is of another file, {found['name'][:80]!a}")
    return found["digest"].lower()


def _stem(symbol: str, interval: str) -> str:
    return f"{symbol}-{'fundingRate' if interval == FUNDING else interval}"


def _days(year: int | None, number: int | None, day: int | None) -> tuple[datetime.date, datetime.date] | None:
    try:
        first = datetime.date(year or 0, number or 0, 1 if day is None else day)
        return first, _last_of_month(first) if day is None else first
    except (ValueError, OverflowError):
        return None


def _last_of_month(day: datetime.date) -> datetime.date:
    return (day.replace(day=28) + 4 * _DAY).replace(day=1) - _DAY


def _size(text: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,15}\s*", text):
        raise BulkError(f"a listing says that an object has {text[:40]!a} bytes")
    return int(text)


def _is_web_page(text: str) -> bool:
    return text.lstrip()[:200].lower().startswith(("<!doctype html", "<html"))
