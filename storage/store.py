"""A store of bytes by key, opened by URL: a directory, memory, or S3.

    store = open_store("s3://bucket/research")
    store.write("runs/first/report.html", b"…")

Puts are atomic: a reader sees the old object, the new one, or none. A store pickles, and holds no credentials.
"""

import builtins
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from storage.entries import Entry, Unfinished
from storage.errors import KeyMissing, StoreError, StoreUnavailableError, due
from storage.keys import checked, checked_prefix, flaw
from storage.local import LocalBackend
from storage.memory import MemoryBackend
from storage.meter import count
from storage.urls import Location, parse

__all__ = ["KeyMissing", "Store", "StoreError", "StoreUnavailableError", "open_store"]


class Backend(Protocol):
    """Where the bytes rest.

    Methods raise FileNotFoundError where a key is missing, and otherwise an OSError whose text says what is
    wrong and what to do, a BackendUnavailableError where that holds for every key. Listings come in any order.
    """

    def read(self, key: str) -> bytes: ...
    def open(self, key: str) -> BinaryIO: ...
    def write(self, key: str, data: bytes) -> None: ...
    def create(self, key: str, data: bytes) -> bool: ...
    def exists(self, key: str) -> bool: ...
    def names(self, prefix: str) -> Iterator[str]: ...
    def stamp(self, key: str) -> str: ...
    def stamps(self, prefix: str) -> Iterator[tuple[str, str]]: ...
    def entries(self, prefix: str) -> Iterator[tuple[str, Entry]]: ...
    def unfinished(self, prefix: str) -> Iterator[Unfinished]: ...
    def folders(self, prefix: str) -> Iterator[str]: ...
    def delete(self, key: str) -> None: ...
    def delete_all(self, keys: Sequence[str]) -> None: ...
    def abandon(self, write: Unfinished) -> None: ...
    def delete_prefix(self, prefix: str) -> None: ...
    def address(self, key: str) -> str: ...


@dataclass(frozen=True)
class Store:
    """Objects by key; made by ``open_store``.

    Keys are relative and joined by ``/``; see ``storage.keys`` for what they may hold. A prefix means whole
    segments: ``runs/a`` holds ``runs/a/x`` and not ``runs/ab/x``.

    Every method raises ``StoreError`` where the key is not allowed, access is denied, the bucket is missing or
    the disk refuses, in one paragraph that names the store, the key and what to do; ``StoreUnavailableError``, which is
    one, where every other key would meet the same.
    """

    url: str
    backend: Backend = field(repr=False)

    def read(self, key: str) -> bytes:
        """Return the bytes under a key.

        Raises
        ------
        KeyMissing
            Where the store has no such key.
        """
        with self._reported("read", checked(key, self.url)):
            data = self.backend.read(key)
        count(bytes_read=len(data))
        return data

    def open(self, key: str) -> BinaryIO:
        """Return a file to read parts of, for objects of which only a part is wanted; the caller closes it.

        Raises
        ------
        KeyMissing
            Where the store has no such key.
        """
        with self._reported("open", checked(key, self.url)):
            return self.backend.open(key)

    def write(self, key: str, data: bytes) -> None:
        """Put bytes under a key, at once and as a whole; what was there before is replaced."""
        with self._reported("write", checked(key, self.url)):
            self.backend.write(key, data)
        count(bytes_written=len(data))

    def create(self, key: str, data: bytes) -> bool:
        """Put bytes under a key that holds nothing, and return whether that was done; else what is there stays.

        Of several that create the same key at once, one succeeds. The data should tell its writer, for where answers
        get lost on their way, the same bytes there count as put by this call.
        """
        with self._reported("create", checked(key, self.url)):
            created = self.backend.create(key, data)
        count(bytes_written=len(data) if created else 0)
        return created

    def exists(self, key: str) -> bool:
        """Whether there is an object under the key; a folder is none."""
        with self._reported("look up", checked(key, self.url)):
            return self.backend.exists(key)

    def list(self, prefix: str = "") -> builtins.list[str]:
        """Return the keys below a prefix, sorted; unfinished writes and names that are no keys are left out."""
        with self._reported("list", checked_prefix(prefix, self.url)):
            return sorted(key for key in self.backend.names(prefix.removesuffix("/")) if flaw(key) is None)

    def stamp(self, key: str) -> str:
        """Return a text that changes when the object does, without reading it.

        Raises
        ------
        KeyMissing
            Where the store has no such key.
        """
        with self._reported("look up", checked(key, self.url)):
            return self.backend.stamp(key)

    def stamps(self, prefix: str = "") -> dict[str, str]:
        """Return the keys below a prefix with the ``stamp`` of each, from the listing alone."""
        with self._reported("list", checked_prefix(prefix, self.url)):
            return {key: stamp for key, stamp in self.backend.stamps(prefix.removesuffix("/")) if flaw(key) is None}

    def entries(self, prefix: str = "") -> dict[str, Entry]:
        """Return the keys below a prefix with size and time of change, from the listing alone."""
        with self._reported("list", checked_prefix(prefix, self.url)):
            return {key: entry for key, entry in self.backend.entries(prefix.removesuffix("/")) if flaw(key) is None}

    def unfinished(self, prefix: str = "") -> builtins.list[Unfinished]:
        """Return the writes below a prefix that have not ended, those of writers that are gone among them."""
        with self._reported("list", checked_prefix(prefix, self.url)):
            return sorted(
                self.backend.unfinished(prefix.removesuffix("/")), key=lambda write: (write.key, write.upload)
            )

    def folders(self, prefix: str = "") -> builtins.list[str]:
        """Return the names straight below a prefix that have keys beneath them, sorted."""
        with self._reported("list", checked_prefix(prefix, self.url)):
            return sorted(name for name in self.backend.folders(prefix.removesuffix("/")) if flaw(name) is None)

    def delete(self, key: str) -> None:
        """Remove the object under a key; nothing happens where there is none."""
        with self._reported("delete", checked(key, self.url)):
            self.backend.delete(key)

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove the objects under these keys, in this order, in as few requests as the store needs."""
        for key in keys:
            checked(key, self.url)
        if keys:
            with self._reported("delete", keys[0]):
                self.backend.delete_all(keys)

    def abandon(self, write: Unfinished) -> None:
        """Remove what an unfinished write takes up; its writer, if it still lives, then fails."""
        with self._reported("abandon the write of", write.key):
            self.backend.abandon(write)

    def delete_prefix(self, prefix: str) -> None:
        """Remove everything below a prefix, which may not be empty: a store is never deleted as a whole."""
        with self._reported("delete", checked(prefix.removesuffix("/"), self.url)):
            self.backend.delete_prefix(prefix.removesuffix("/"))

    def address(self, key: str) -> str:
        """Return where other programs find a key or a prefix: a path for local stores, else a URL."""
        return self.backend.address(checked(key, self.url))

    @contextmanager
    def _reported(self, action: str, key: str) -> Iterator[None]:
        count(requests=1)
        try:
            yield
        except FileNotFoundError as error:
            raise KeyMissing(
                f"the store {self.url} has no key {key!r}; list its keys, or run the stage that writes it"
            ) from error
        except OSError as error:
            raise due(error)(f"cannot {action} {key!r} in the store {self.url}: {error}") from error


def open_store(url: str) -> Store:
    """Open the store at a URL; nothing is contacted or made until it is used.

    Parameters
    ----------
    url
        A path (made absolute here, ``~`` included), ``file:///directory``, ``memory://name`` or
        ``s3://bucket/prefix``. Credentials never belong in it.

    Raises
    ------
    StoreError
        Where the URL is empty or malformed, its scheme is unknown, or it carries credentials or options.
    """
    location = parse(url)
    return Store(location.url, _backend(location))


def _backend(location: Location) -> Backend:
    if location.scheme == "file":
        return LocalBackend(Path(location.path))
    if location.scheme == "memory":
        return MemoryBackend(location.path)
    # s3fs takes most of a second to import, which local runs need not pay
    from storage.s3 import S3Backend

    return S3Backend(location.bucket, location.path)
