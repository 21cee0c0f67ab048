"""An HTTP proxy on loopback that passes requests on to an S3 server, or does to them what networks and servers do.

with FaultProxy(endpoint) as proxy:
    proxy.plan = first(RESET, 2, "read")
    ...  # the environment's AWS_ENDPOINT_URL is proxy.url
    assert proxy.done == Counter({RESET: 2})
"""

import contextlib
import http.client
import os
import random
import re
import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Literal, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

Kind = Literal["answer", "reset", "lost", "cut", "silent", "halting", "partly"]
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


class Request(NamedTuple):
    """What came: its number from 0 on, what it asks for, and its path and query."""

    number: int
    operation: str
    path: str


@dataclass(frozen=True)
class Fault:
    """What is done to a request.

    Parameters
    ----------
    kind
        answer: an error in place of the server's answer. reset: a TCP reset in the midst of the request. lost: the
        server does it, and the connection is reset before it can say so. cut: the answer breaks off. silent: nothing
        is read beyond the head and nothing said. halting: half of the answer comes, then nothing. partly: of the keys
        to be deleted, every other one is said to have failed.
    code
        S3's for the error; without one, a page as balancers give it.
    """

    name: str
    kind: Kind
    status: int = 0
    code: str = ""


SLOW_DOWN = Fault("slow down", "answer", 503, "SlowDown")
INTERNAL = Fault("internal error", "answer", 500, "InternalError")
BAD_GATEWAY = Fault("bad gateway", "answer", 502)
UNAVAILABLE = Fault("unavailable", "answer", 503)
GATEWAY_TIMEOUT = Fault("gateway timeout", "answer", 504)
TOO_MANY = Fault("too many requests", "answer", 429, "TooManyRequests")
REQUEST_TIMEOUT = Fault("request timeout", "answer", 400, "RequestTimeout")
RESET = Fault("reset", "reset")
LOST = Fault("lost answer", "lost")
CUT = Fault("cut answer", "cut")
SILENT = Fault("silence", "silent")
HALTING = Fault("half an answer", "halting")
PASSING = (
    *(SLOW_DOWN, INTERNAL, BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT, TOO_MANY, REQUEST_TIMEOUT),
    *(RESET, LOST, CUT, SILENT, HALTING),
)

DENIED = Fault("denied", "answer", 403, "AccessDenied")
EXPIRED = Fault("expired", "answer", 400, "ExpiredToken")
BAD_REQUEST = Fault("bad request", "answer", 400, "InvalidArgument")
NO_BUCKET = Fault("no bucket", "answer", 404, "NoSuchBucket")
NO_UPLOAD = Fault("no upload", "answer", 404, "NoSuchUpload")
PARTLY_SLOW = Fault("slow for some keys", "partly", 200, "SlowDown")
PARTLY_DENIED = Fault("denied for some keys", "partly", 200, "AccessDenied")

Plan = Callable[[Request], Fault | None]


def nothing(request: Request) -> None:
    """Pass everything on."""


def always(fault: Fault, *operations: str) -> Plan:
    """Do this to every request, or to every one of these operations."""
    return lambda request: fault if not operations or request.operation in operations else None


def in_turn(faults: Iterable[Fault], *operations: str) -> Plan:
    """Do one after another to the first requests, or to the first of these operations."""
    left, lock = iter(list(faults)), threading.Lock()

    def plan(request: Request) -> Fault | None:
        with lock:
            return next(left, None) if not operations or request.operation in operations else None

    return plan


def first(fault: Fault, times: int, *operations: str) -> Plan:
    """Do this to the first requests, or to the first of these operations."""
    return in_turn([fault] * times, *operations)


def share(faults: Mapping[Fault, float], seed: int) -> Plan:
    """Do each of these to a share of the requests, drawn by the number of the request."""

    def plan(request: Request) -> Fault | None:
        draw = random.Random(f"{seed} {request.number}").random()
        for fault, portion in faults.items():
            draw -= portion
            if draw < 0:
                return fault
        return None

    return plan


class FaultProxy:
    """Passes requests on to ``target``, an http:// URL, except for what the plan says; see the module.

    Attributes
    ----------
    plan
        Asked for every request; may be changed at any time.
    requests
        What came, in order.
    done
        How often each fault was done.
    echo
        Whether errors that it answers hold the head of the request, credentials included.
    """

    def __init__(self, target: str) -> None:
        """Listens once it is entered."""
        self.target = urlsplit(target).netloc
        self.plan: Plan = nothing
        self.requests: list[Request] = []
        self.done: Counter[Fault] = Counter()
        self.echo = False
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._port = 0
        self._listen()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        """Start to listen."""
        return self

    def __exit__(self, *_: object) -> None:
        """End, and let go of whom it keeps waiting."""
        self._stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections, and break those that there are, as a server that is restarted."""
        self._stop()
        try:
            yield
        finally:
            self._listen()

    def count(self, *operations: str) -> int:
        """How many requests of these operations came."""
        return sum(request.operation in operations for request in self.requests)

    def decide(self, method: str, path: str) -> Fault | None:
        """Count a request, and say what is to be done to it."""
        with self._lock:
            request = Request(len(self.requests), operation(method, path), path)
            self.requests.append(request)
        fault = self.plan(request)
        if fault is not None:
            with self._lock:
                self.done[fault] += 1
        return fault

    def _listen(self) -> None:
        self.closing.clear()
        self._server = _Server(self._port, self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _stop(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.disconnect()


def operation(method: str, path: str) -> str:
    """What a request asks of S3."""
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    of_bucket = parts.path.strip("/").count("/") == 0
    if method == "HEAD":
        return "head bucket" if of_bucket else "head"
    if method == "GET":
        return "list" if of_bucket else "read"
    if method == "PUT":
        return "create bucket" if of_bucket else "part" if "partNumber" in query else "write"
    if method == "POST":
        return "delete" if "delete" in query else "create" if "uploads" in query else "complete"
    return "abort" if "uploadId" in query else "delete"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # small buffers, inherited by connections: who is not read from notices
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        super().server_bind()

    def disconnect(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Clients go away; that is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)
        self.upstream = http.client.HTTPConnection(self.server.proxy.target, timeout=60)

    def finish(self) -> None:
        self.upstream.close()
        self.server.open.discard(self.connection)
        super().finish()

    def _serve(self) -> None:
        fault = self.server.proxy.decide(self.command, self.path)
        if fault is None:
            self.wfile.write(self._passed_on(self._body()))
            return
        getattr(self, f"_{fault.kind}")(fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815  names that the base class calls

    def _answer(self, fault: Fault) -> None:
        self._body()
        said = " ".join(self.headers.as_string().split()) if self.server.proxy.echo else fault.name
        body = (
            f"<Error><Code>{fault.code}</Code><Message>{said}</Message></Error>"
            if fault.code
            else f"<html><body><h1>{fault.status}</h1><p>{said}</body></html>"
        ).encode()
        kind = b"application/xml" if fault.code else b"text/html"
        if self.command == "HEAD":
            self.wfile.write(_message(fault.status, [(b"Content-Length", b"0")], b"", of_head=True))
        else:
            self.wfile.write(_message(fault.status, [(b"Content-Type", kind)], body))

    def _reset(self, fault: Fault) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
        self._hang_up()

    def _lost(self, fault: Fault) -> None:
        self._passed_on(self._body())
        self._hang_up()

    def _cut(self, fault: Fault) -> None:
        answer = self._passed_on(self._body())
        self.wfile.write(answer[: _half(answer)])
        self.close_connection = True

    def _silent(self, fault: Fault) -> None:
        self.server.proxy.closing.wait()
        self.close_connection = True

    def _halting(self, fault: Fault) -> None:
        answer = self._passed_on(self._body())
        self.wfile.write(answer[: _half(answer)])
        self._silent(fault)

    def _partly(self, fault: Fault) -> None:
        names = re.findall(rb"<Key>(.*?)</Key>", self._body())
        for name in names[1::2]:
            upstream = http.client.HTTPConnection(self.server.proxy.target, timeout=60)
            upstream.request("DELETE", f"{urlsplit(self.path).path.rstrip('/')}/{name.decode()}", headers=self._head())
            upstream.getresponse().read()
            upstream.close()
        entries = b"".join(
            b"<Error><Key>%s</Key><Code>%s</Code><Message>not this one</Message></Error>" % (name, fault.code.encode())
            for name in names[::2]
        )
        body = b'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%s</DeleteResult>' % entries
        self.wfile.write(_message(200, [(b"Content-Type", b"application/xml")], body))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _head(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}

    def _passed_on(self, body: bytes) -> bytes:
        """Let the server do it, and return its answer as it goes over the wire."""
        self.upstream.request(self.command, self.path, body or None, self._head())
        answer = self.upstream.getresponse()
        content, length = answer.read(), answer.headers.get("Content-Length")
        head = [(n.encode(), v.encode()) for n, v in answer.headers.items() if n.lower() not in HOP_BY_HOP]
        if self.command == "HEAD":
            return _message(answer.status, [*head, (b"Content-Length", (length or "0").encode())], b"", of_head=True)
        return _message(answer.status, head, content)

    def _hang_up(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.open.discard(self.connection)
        os.close(self.connection.detach())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def _message(status: int, head: list[tuple[bytes, bytes]], body: bytes, *, of_head: bool = False) -> bytes:
    """An answer as it goes over the wire; one to a HEAD says how long the body would be and has none."""
    if not of_head:
        head = [*head, (b"Content-Length", b"%d" % len(body))]
    lines = b"".join(b"%s: %s\r\n" % entry for entry in head)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, http.client.responses[status].encode(), lines, body)


def _half(answer: bytes) -> int:
    """Where half of the body has come; of an answer without one, half of the head."""
    start = answer.index(b"\r\n\r\n") + 4
    return start + (len(answer) - start) // 2 if len(answer) > start else start // 2
