"""Bytes from a service by HTTP: bounded in size and time, borne with patiently, and never led elsewhere.

    with Web() as web:
        page = web.get("https://data.binance.vision/data/spot/…", limit=1 << 20)

Nothing is decoded on the way: what comes is what the service keeps.
"""

import email.utils
import html
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import requests
import urllib3

from storage.patience import GaveUpError, patiently

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0  # without a single byte
ANSWER_SECONDS = 600.0  # for all of one answer, however steadily it drips
ATTEMPTS = 10
PATIENCE_SECONDS = 600.0
LONGEST_HOLD = 120.0  # seconds; a service that asks for more is asked again then, and may say so again
HOLD_UNASKED = 5.0  # seconds after "too many requests" that does not say how long
CHUNK = 1 << 16
CONNECTIONS = 16
WORDS = 160  # characters of a refusal that are told
TOO_MANY = {418, 429}  # 418 is how Binance says that it has banned an address for a while
LASTING = {501, 505, 507}  # not implemented, HTTP version, storage full

_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)

logger = logging.getLogger("assay")


class WebError(ValueError):
    """A service that did not give what it was asked for: the address, the answer, and what to do about it."""


class NotThereError(WebError):
    """The service works and has nothing at that address (404)."""


class ServiceUnavailableError(WebError):
    """Every attempt failed with what may pass by itself: the service, or the way to it, is down or overloaded."""


class RefusedError(WebError):
    """An answer that will not change by asking again: a refusal, a redirect, more bytes than allowed."""


class _PassingError(Exception):
    """What may pass by itself; ``hold`` is for how many seconds the service wants to be left alone."""

    def __init__(self, text: str, hold: float = 0.0) -> None:
        super().__init__(text)
        self.hold = hold


def checked(url: str) -> str:
    """Return an address that may be asked.

    Raises
    ------
    RefusedError
        Where it is not http or https, names no host, or carries credentials.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RefusedError(f"the address {url[:200]!a} is malformed: {error}; write https://host/path") from error
    if parts.username is not None or parts.password is not None:
        raise RefusedError(
            f"the address of {parts.hostname} carries credentials, which would end up in logs; leave them out"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise RefusedError(f"the address {url[:200]!a} cannot be asked; allowed are http://host/… and https://host/…")
    return url


@dataclass(frozen=True)
class Web:
    """A client that several threads of a process may use at once.

    Parameters
    ----------
    take
        Called before each attempt; a budget that workers share lets it wait.
    hold
        Called with the seconds for which the service wants no requests (Retry-After, ``LONGEST_HOLD`` at most); by
        default this thread alone waits.
    attempts, seconds
        At most so many attempts of a request, none beginning later than so long after the first.
    answer_seconds
        What the body of one answer may take.
    """

    take: Callable[[], None] = lambda: None
    hold: Callable[[float], None] = time.sleep
    attempts: int = ATTEMPTS
    seconds: float = PATIENCE_SECONDS
    answer_seconds: float = ANSWER_SECONDS
    _session: requests.Session = field(default_factory=lambda: _session(), repr=False)

    def __enter__(self) -> Self:
        """Return the client; its connections are closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, url: str, limit: int) -> bytes:
        """Return the body of a whole answer, of at most ``limit`` bytes.

        Raises
        ------
        NotThereError
            Where there is nothing.
        ServiceUnavailableError
            When attempts or seconds are used up by lost connections, cut answers, 408, 418, 429 and 5xx.
        RefusedError
            For any other answer, redirects among them, and for one of more than ``limit`` bytes.
        """
        checked(url)
        try:
            return patiently(
                lambda: self._attempt(url, limit),
                passing=lambda error: isinstance(error, _PassingError),
                attempts=self.attempts,
                seconds=self.seconds,
                said=lambda error: f"{url}: {error}",
            )
        except GaveUpError as error:
            raise ServiceUnavailableError(
                f"{url} gave no usable answer in {error.attempts} attempts within {error.seconds:.0f} s; the last: "
                f"{error.error}. Run the same command again later: what is done is not done twice."
            ) from error

    def _attempt(self, url: str, limit: int) -> bytes:
        self.take()
        try:
            return self._ask(url, limit)
        except _PassingError as error:
            if error.hold:
                logger.warning("%s: %s; no requests for %.0f s", urlsplit(url).hostname, error, error.hold)
                self.hold(error.hold)
            raise

    def _ask(self, url: str, limit: int) -> bytes:
        try:
            with self._session.get(
                url, stream=True, allow_redirects=False, timeout=(CONNECT_SECONDS, READ_SECONDS)
            ) as answer:
                if answer.status_code == 200:
                    return self._body(answer, url, limit)
                raise _other(answer, url)
        except requests.exceptions.SSLError as error:
            raise RefusedError(
                f"{url}: the certificate of the service is not accepted: {error}. Check the clock of this machine and "
                "its proxy."
            ) from error
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidProxyURL):
                raise RefusedError(f"{url} cannot be asked: {error}") from error
            if isinstance(error, requests.RequestException) and not isinstance(
                error, requests.ConnectionError | requests.Timeout
            ):
                raise RefusedError(f"{url} gave an answer that is not HTTP as it should be: {error}") from error
            raise _PassingError(f"the connection failed ({_first_words(str(error))})") from error

    def _body(self, answer: requests.Response, url: str, limit: int) -> bytes:
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise RefusedError(f"{url} came packed as {encoding[:40]!r}, which was not asked for; check the address")
        announced = answer.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise _too_large(url, limit)
        began, parts, size = time.monotonic(), list[bytes](), 0
        # As much as has come, so that an answer that drips is seen to. One that is cut raises IncompleteRead.
        while chunk := answer.raw.read1(CHUNK, decode_content=False):
            size += len(chunk)
            if size > limit:
                raise _too_large(url, limit)
            if time.monotonic() - began > self.answer_seconds:
                raise _PassingError(f"the answer was not complete after {self.answer_seconds:.0f} s ({size:,} bytes)")
            parts.append(chunk)
        return b"".join(parts)


def _session() -> requests.Session:
    session = requests.Session()
    session.auth = lambda request: request  # in place of what ~/.netrc may hold for the host
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "assay"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))
    return session


def _other(answer: requests.Response, url: str) -> Exception:
    """The error for an answer that is not 200."""
    status = answer.status_code
    if status == 404:
        return NotThereError(f"there is nothing at {url} (404). Check the name, or whether it has been published yet.")
    if 300 <= status < 400:
        to = answer.headers.get("Location", "nowhere")
        return RefusedError(
            f"{url} leads to {_first_words(to)!a} ({status}), where it is not followed. If you trust that address, "
            "give it in place of this one."
        )
    hold = retry_after(answer.headers.get("Retry-After", ""), time.time())
    if status in TOO_MANY:
        return _PassingError(f"too many requests ({status})", min(LONGEST_HOLD, HOLD_UNASKED if hold is None else hold))
    words = _first_words(_start(answer))
    if status == 408 or (status >= 500 and status not in LASTING):
        return _PassingError(f"the service answered {status}: {words}", min(LONGEST_HOLD, hold or 0.0))
    return RefusedError(f"{url} was refused with {status}: {words or 'without a word'}. Check the address.")


def retry_after(value: str, now: float) -> float | None:
    """Seconds from ``now`` (since 1970) that a Retry-After asks for, in seconds or as a date; None for none.

    A time that has passed, like a negative number, is 0.
    """
    value = value.strip()
    if re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", value):
        return max(0.0, float(value))
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _too_large(url: str, limit: int) -> RefusedError:
    return RefusedError(f"{url} has more than the {limit:,} bytes that are allowed for it. Check the address.")


def _start(answer: requests.Response) -> str:
    try:
        return bytes(answer.raw.read1(4096, decode_content=False)).decode("utf-8", "replace")
    except (urllib3.exceptions.HTTPError, OSError):
        return ""


def _first_words(text: str) -> str:
    """The beginning of what a server said, as plain text on one line."""
    plain = " ".join(html.unescape(_MARKUP.sub(" ", text)).split())
    plain = "".join(letter if letter.isprintable() else "?" for letter in plain)
    return plain if len(plain) <= WORDS else f"{plain[:WORDS]}…"
