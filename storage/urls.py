"""What a store's URL says: scheme, bucket and path, or one clear refusal."""

import re
from pathlib import Path
from typing import Literal, NamedTuple, cast
from urllib.parse import unquote

from storage.errors import StoreError
from storage.keys import flaw

Scheme = Literal["file", "memory", "s3"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters or more: one is a drive
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_ALLOWED = "allowed are a path, file:///directory, memory://name and s3://bucket/prefix"


class Location(NamedTuple):
    """A parsed URL: ``bucket`` is empty except for S3; ``path`` is absolute for files, else a prefix or empty."""

    scheme: Scheme
    bucket: str
    path: str

    @property
    def url(self) -> str:
        """The URL in its one normal form."""
        if self.scheme == "file":
            return Path(self.path).as_uri()
        return f"{self.scheme}://" + "/".join(part for part in (self.bucket, self.path) if part)


def parse(url: str) -> Location:
    """Take a store's URL apart; a path without a scheme is a directory, made absolute here.

    Raises
    ------
    StoreError
        Where the URL is empty or malformed, its scheme is unknown, or it carries credentials or options.
    """
    if not url.strip() or not url.isprintable():
        raise StoreError(f"the store URL {url!a} is empty or holds characters that do not print; {_ALLOWED}")
    match = _SCHEME.match(url)
    if match is None:
        if "://" in url:
            raise StoreError(f"the store URL {url!r} has no scheme before '://'; {_ALLOWED}")
        return Location("file", "", _absolute(url))
    scheme = match.group(1).lower()
    if scheme not in ("file", "memory", "s3"):
        raise StoreError(
            f"the store URL {_masked(url)!r} has the unknown scheme {scheme!r}; {_ALLOWED} "
            "(a path that holds a colon is written ./like:this)"
        )
    rest = url[match.end() :]
    if not rest.startswith("//"):
        raise StoreError(f"the store URL {_masked(url)!r} lacks '//' after '{scheme}:'; {_ALLOWED}")
    if "@" in rest.split("/")[2]:
        raise StoreError(
            f"the store URL {_masked(url)!r} carries a user or credentials; leave them out: they are taken from the "
            "standard AWS chain (environment, shared files, roles)"
        )
    return _located(cast(Scheme, scheme), rest[2:], url)


def _located(scheme: Scheme, rest: str, url: str) -> Location:
    if scheme == "file":
        return Location("file", "", _file_path(rest, url))
    bucket, path = ("", rest) if scheme == "memory" else _split(rest)
    if scheme == "s3" and not _BUCKET.fullmatch(bucket):
        raise StoreError(
            f"the store URL {url!r} has no valid bucket name ({bucket!r}): 3 to 63 letters, digits, '.', '_' or '-' "
            "are allowed, as in s3://bucket/prefix"
        )
    path = path.removesuffix("/")
    problem = flaw(path) if path else None
    if problem:
        raise StoreError(
            f"the path {path!r} of the store URL {url!r} cannot be used: {problem}; options such as an endpoint "
            "belong in the environment (AWS_ENDPOINT_URL)"
        )
    return Location(scheme, bucket, path)


def _file_path(rest: str, url: str) -> str:
    host, path = _split(rest)
    if host not in ("", "localhost") or not path:
        raise StoreError(f"the store URL {url!r} needs three slashes and an absolute path, as in file:///data/store")
    try:
        return _absolute("/" + unquote(path, errors="strict"))
    except UnicodeDecodeError as error:
        raise StoreError(f"the store URL {url!r} holds percent signs that are not UTF-8; write a plain path") from error


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreError(f"the path {path!r} cannot be used as a store: {error}; name a directory") from error


def _split(rest: str) -> tuple[str, str]:
    host, _, path = rest.partition("/")
    return host, path


def _masked(url: str) -> str:
    """Hide what stands before an @, which may be a password."""
    return re.sub(r"//.*@", "//…@", url)
