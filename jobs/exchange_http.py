"""What an exchange's answers over HTTP must be, what their headers ask for, and addresses on a mirror."""

import datetime
import email.utils
import json
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests

from jobs.exchange_universe import ExchangeError
from storage import web

LARGEST = 64 << 20  # bytes, unpacked; the longest list of markets takes some 5 MB


class MalformedError(requests.exceptions.RequestException):
    """An answer that is not the JSON that was due."""


def check(answer: requests.Response) -> None:
    """Read an answer whole, which must be bounded, and JSON where it is a success.

    Raises
    ------
    MalformedError
        If it is not: ccxt would take a page that is no JSON for an empty one.
    """
    parts, size = [], 0
    for part in answer.iter_content(1 << 16):
        size += len(part)
        if size > LARGEST:
            raise MalformedError(f"an answer of more than {LARGEST:,} bytes")
        parts.append(part)
    body = answer._content = b"".join(parts)
    if not answer.ok or answer.is_redirect:
        return
    try:
        whole = isinstance(json.loads(body), list | dict)
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise MalformedError(f"no JSON, {len(body):,} bytes beginning {body[:40]!r}")


def checked(endpoint: str) -> str:
    """Return the address of a mirror without its closing ``/``.

    Raises
    ------
    ExchangeError
        If it is no http(s) address, or carries credentials or options.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        raise ExchangeError(
            "ingest.endpoint is no address of a mirror; allowed is http:// or https://, a host and a port, "
            "without credentials or options."
        )
    return endpoint.rstrip("/")


def retry_after(header: str, now: datetime.datetime | None = None) -> float:
    """Seconds that a Retry-After header asks for, as a number or as a date; 0 where it cannot be read."""
    return web.retry_after(header, (now or datetime.datetime.now(datetime.UTC)).timestamp()) or 0.0


def moved(address: Any, hostname: str | None, endpoint: str) -> Any:
    """Addresses of an exchange on another host; each keeps its path."""
    if isinstance(address, dict):
        return {name: moved(each, hostname, endpoint) for name, each in address.items()}
    if not isinstance(address, str):
        return address
    there, ours = urlsplit(address.replace("{hostname}", hostname or "")), urlsplit(endpoint)
    return urlunsplit((ours.scheme, ours.netloc, ours.path + there.path, there.query, ""))


def date(header: str) -> datetime.datetime | None:
    """The moment that a header names; None where it names none."""
    try:
        found = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
