"""A public bucket on loopback, as S3 lists and serves it, with a plan of what goes wrong."""

import hashlib
import io
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"


class Fault(NamedTuple):
    """An answer in place of the right one; ``cut`` and ``slow`` (seconds) change that one."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    cut: bool = False
    slow: float = 0.0


class Asked(NamedTuple):
    """A request: when it came, in seconds, and for what; of a listing the prefix and the marker."""

    at: float
    key: str
    prefix: str
    marker: str


class Bucket:
    """Objects by key, and what was asked of them.

    ``faults`` are used up one a request for the key (of a listing: ``?`` and its prefix), ``always`` are not.
    """

    def __init__(self, page: int = 1000) -> None:
        self.objects: dict[str, bytes] = {}
        self.page = page
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.always: dict[str, Fault] = {}
        self.pause = 0.0  # seconds before each answer
        self.asked: list[Asked] = []
        self.url = ""
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        """Put a zip and its checksum."""
        self.objects[key] = data
        self.objects[f"{key}.CHECKSUM"] = f"{hashlib.sha256(data).hexdigest()}  {key.rpartition('/')[2]}\n".encode()

    def remove(self, key: str) -> None:
        """Remove a zip and its checksum."""
        del self.objects[key], self.objects[f"{key}.CHECKSUM"]

    def zips(self) -> list[str]:
        """Keys of the zips that were asked for."""
        return [each.key for each in self.asked if each.key.endswith(".zip")]

    def listings(self) -> list[Asked]:
        """The requests for listings."""
        return [each for each in self.asked if not each.key]

    def answer(self, path: str) -> Fault:
        """The answer to a request for a path with its query."""
        parts = urlsplit(path)
        key = unquote(parts.path).lstrip("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        prefix, marker = query.get("prefix", ""), query.get("marker", "")
        with self._lock:
            self.asked.append(Asked(time.monotonic(), key, prefix, marker))
            place = key or f"?{prefix}"
            fault = self.faults[place].pop(0) if self.faults[place] else self.always.get(place, Fault())
            right = self.objects.get(key) if key else self.listing(prefix, marker, query.get("delimiter", ""))
        if fault.status != 200 or fault.body is not None:
            return fault._replace(body=fault.body or b"<Error><Code>Fault</Code></Error>")
        if right is None:
            return Fault(404, body=b"<Error><Code>NoSuchKey</Code></Error>")
        return fault._replace(body=right)

    def listing(self, prefix: str, marker: str, delimiter: str) -> bytes:
        """A page of the keys after a marker, in the order of their bytes; what has the delimiter is a folder."""
        entries: dict[str, int | None] = {}
        for key in sorted(self.objects, key=str.encode):
            if not key.startswith(prefix):
                continue
            inside, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key[len(prefix) :], "", "")
            entry = prefix + inside + delimiter if found else key
            if entry.encode() > marker.encode():
                entries[entry] = None if found else len(self.objects[key])
        shown = list(entries.items())[: self.page]
        cut = len(entries) > len(shown)
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        )
        text += f"<Name>data</Name><Prefix>{escape(prefix)}</Prefix><Marker>{escape(marker)}</Marker>"
        if cut and delimiter:
            text += f"<NextMarker>{escape(shown[-1][0])}</NextMarker>"
        text += f"<MaxKeys>{self.page}</MaxKeys><IsTruncated>{str(cut).lower()}</IsTruncated>"
        for entry, size in shown:
            if size is not None:
                text += f'<Contents><Key>{escape(entry)}</Key><ETag>"0"</ETag><Size>{size}</Size></Contents>'
        for entry, size in shown:
            if size is None:
                text += f"<CommonPrefixes><Prefix>{escape(entry)}</Prefix></CommonPrefixes>"
        return (text + "</ListBucketResult>").encode()


@contextmanager
def serving(bucket: Bucket) -> Iterator[Bucket]:
    """Serve a bucket at ``bucket.url``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = bucket.answer(self.path)
            time.sleep(bucket.pause)
            body = answer.body or b""
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                if answer.slow:
                    self.wfile.write(body[: len(body) // 2])
                    time.sleep(answer.slow)
                    self.wfile.write(body[len(body) // 2 :])
                else:
                    self.wfile.write(body[: len(body) // 2] if answer.cut else body)
            except ConnectionError:  # whoever asked has gone
                self.close_connection = True
            if answer.cut:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    bucket.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kline_zip(name: str, rows: int = 4, seed: int = 0) -> bytes:
    """A zip of klines as Binance writes it, always the same bytes for the same name."""
    lines = [f"{1704067200000 + 900000 * row},1,2,0.5,1.{seed},{row},0,0,0,0,0,0" for row in range(rows)]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name.replace(".zip", ".csv")), "\n".join(lines))
    return packed.getvalue()


def fill(bucket: Bucket, symbol: str, parts: list[str], market: str = "futures/um", interval: str = "15m") -> None:
    """Put the files of a symbol: a part is a month (2024-01) or a day (2024-01-31)."""
    for part in parts:
        period = "monthly" if len(part) == 7 else "daily"
        stem = f"{symbol}-{interval}-{part}"
        kind = f"klines/{symbol}/{interval}" if interval != "fundingRate" else f"fundingRate/{symbol}"
        bucket.put(f"data/{market}/{period}/{kind}/{stem}.zip", kline_zip(f"{stem}.zip"))
