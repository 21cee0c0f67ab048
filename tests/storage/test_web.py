"""The HTTP client against a server on loopback that answers as it is told to."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from storage import web as module
from storage.web import NotThereError, RefusedError, ServiceUnavailableError, Web, WebError, checked, retry_after

Script = Callable[[http.server.BaseHTTPRequestHandler], None]
TYPICAL = 1000


class Server(http.server.ThreadingHTTPServer):
    """Answers request after request by its scripts, the last of them for all that follow."""

    daemon_threads = True
    scripts: list[Script]
    headers: list[dict[str, str]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.headers.append({name.lower(): value for name, value in self.headers.items()})
        script = server.scripts.pop(0) if len(server.scripts) > 1 else server.scripts[0]
        script(self)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.scripts, server.headers = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def answer(status: int, body: bytes = b"", announced: int | None = None, **headers: str) -> Script:
    def script(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if announced is None else announced))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return script


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    """No length, and bytes until whoever asked has gone."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(1 << 16))
    except OSError:
        return


def dripping(handler: http.server.BaseHTTPRequestHandler) -> None:
    """A byte now and then, each in time for the read timeout."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.05)
    except OSError:
        return


def hung_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(attempts=3) as web:
        yield web


def test_the_bytes_come_as_they_are_kept(server: Server, web: Web):
    body = bytes(range(256)) * 1000
    server.scripts = [answer(200, body)]
    assert web.get(f"{server.url}/a", len(body)) == body
    assert server.headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "passing",
    [hung_up, answer(503), answer(500), answer(408), answer(200, b"abc", announced=9)],
    ids=["hung up", "503", "500", "408", "cut"],
)
def test_what_passes_is_tried_again(server: Server, web: Web, passing: Script):
    server.scripts = [passing, answer(200, b"whole")]
    assert web.get(server.url, TYPICAL) == b"whole"
    assert len(server.headers) == 2


def test_when_it_does_not_pass_that_is_said(server: Server, web: Web):
    server.scripts = [answer(503, b"<html><h1>Slow &amp; down</h1>\n</html>")]
    with pytest.raises(ServiceUnavailableError, match=r"in 3 attempts .* the service answered 503: Slow & down\. Run"):
        web.get(server.url, TYPICAL)
    assert len(server.headers) == 3


def test_nobody_listens(web: Web):
    with pytest.raises(ServiceUnavailableError, match="the connection failed"):
        web.get("http://127.0.0.1:1/x", TYPICAL)


def test_what_is_not_there_is_not_asked_for_twice(server: Server, web: Web):
    server.scripts = [answer(404, b"gone")]
    with pytest.raises(NotThereError, match=r"nothing at http://127.0.0.1:\d+/a \(404\)"):
        web.get(f"{server.url}/a", TYPICAL)
    assert len(server.headers) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_named_and_not_followed(server: Server, web: Web, status: int):
    server.scripts = [answer(status, Location=f"{server.url}/elsewhere")]
    with pytest.raises(RefusedError, match=rf"leads to 'http://127.0.0.1:\d+/elsewhere' \({status}\)"):
        web.get(server.url, TYPICAL)
    assert len(server.headers) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 451, 501])
def test_refusals_are_told_in_plain_words(server: Server, web: Web, status: int):
    page = b"<html><script>alert('x')</script><b>Access</b>\r\n denied \x1b[31m" + b"very " * 100 + b"</html>"
    server.scripts = [answer(status, page)]
    with pytest.raises(RefusedError) as caught:
        web.get(server.url, TYPICAL)
    assert f"was refused with {status}: Access denied ?[31mvery very" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    assert len(server.headers) == 1


@pytest.mark.parametrize("large", [answer(200, bytes(TYPICAL + 1)), endless], ids=["announced", "endless"])
def test_no_more_than_the_limit_is_read(server: Server, web: Web, large: Script):
    server.scripts = [large]
    with pytest.raises(RefusedError, match="more than the 1,000 bytes"):
        web.get(server.url, TYPICAL)


def test_an_answer_that_is_packed_is_not_unpacked(server: Server, web: Web):
    server.scripts = [answer(200, b"x", Content_Encoding="gzip")]
    with pytest.raises(RefusedError, match="came packed as 'gzip'"):
        web.get(server.url, TYPICAL)


def test_an_answer_that_drips_does_not_last_for_ever(server: Server):
    server.scripts = [dripping]
    began = time.monotonic()
    with Web(attempts=1, answer_seconds=0.3) as web, pytest.raises(ServiceUnavailableError, match="not complete after"):
        web.get(server.url, TYPICAL)
    assert time.monotonic() - began < 2


def test_a_service_that_says_nothing_is_not_waited_for_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "READ_SECONDS", 0.2)
    server.scripts = [lambda handler: time.sleep(1)]
    with Web(attempts=1) as web, pytest.raises(ServiceUnavailableError, match="the connection failed"):
        web.get(server.url, TYPICAL)


@pytest.mark.parametrize(
    ("status", "header", "held"),
    [
        (429, "7", 7.0),
        (418, "0.5", 0.5),
        (503, "3", 3.0),
        (429, "86400", module.LONGEST_HOLD),
        (429, "soon", module.HOLD_UNASKED),
        (418, "", module.HOLD_UNASKED),
    ],
)
def test_a_service_that_wants_to_be_left_alone_is(server: Server, status: int, header: str, held: float):
    holds: list[float] = []
    taken: list[int] = []
    server.scripts = [answer(status, **({"Retry_After": header} if header else {})), answer(200, b"whole")]
    with Web(take=lambda: taken.append(1), hold=holds.append) as web:
        assert web.get(server.url, TYPICAL) == b"whole"
    assert holds == [held]
    assert len(taken) == 2  # each attempt counts


def test_retry_after_is_read_in_seconds_and_as_a_date():
    now = 1_700_000_000.0
    assert retry_after(formatdate(now + 90, usegmt=True), now) == 90
    assert retry_after(formatdate(now - 90, usegmt=True), now) == 0
    assert retry_after("-5", now) == 0
    assert [retry_after(text, now) for text in ("", "nan", "inf", "1e9", "tomorrow", "9" * 40)] == [None] * 6


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "file:///etc/passwd",
        "host/x",
        "http://",
        "http:///x",
        "http://host:99999/x",
        "http://[::1/x",
        "",
    ],
)
def test_only_web_addresses_are_asked(web: Web, url: str):
    with pytest.raises(RefusedError, match=r"allowed are http://host|is malformed"):
        web.get(url, TYPICAL)


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(RefusedError, match="carries credentials") as caught:
        checked("https://me:secret@host/x")
    assert "secret" not in str(caught.value)


def test_no_credentials_of_this_machine_and_no_cookies_are_sent(
    server: Server, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.scripts = [answer(200, b"x", Set_Cookie="who=me")]
    web.get(server.url, TYPICAL)
    web.get(server.url, TYPICAL)
    assert all("authorization" not in headers and "cookie" not in headers for headers in server.headers)


def test_every_error_is_one_that_a_job_explains():
    assert all(issubclass(error, WebError) for error in (NotThereError, RefusedError, ServiceUnavailableError))
