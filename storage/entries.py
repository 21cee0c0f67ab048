"""What a listing says of what a store holds: objects, and writes that were never finished."""

import datetime
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """An object: its size in bytes, and when it was last put, in UTC."""

    size: int
    changed: datetime.datetime


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A write that has not ended, or never will because its writer is gone; no reader sees it.

    Parameters
    ----------
    key
        What would be written; of a local store, which does not know that, the temporary file.
    upload
        Identity of a multipart upload on S3, empty elsewhere.
    size
        Bytes that it takes up.
    changed
        Of a local file the last change, of an upload its beginning, in UTC.
    """

    key: str
    upload: str
    size: int
    changed: datetime.datetime


def at(seconds: float) -> datetime.datetime:
    """Turn seconds since 1970 into a time in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
