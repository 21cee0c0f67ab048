"""Objects in the memory of this process, for tests: fsspec's shared memory file system below one root.

Another process that is sent such a store sees its own, empty memory.
"""

import io
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from fsspec.implementations.memory import MemoryFileSystem

from storage.entries import Entry, Unfinished

_creating = threading.Lock()


@dataclass(frozen=True)
class MemoryBackend:
    """A folder of ``memory://``."""

    root: str

    def read(self, key: str) -> bytes:
        """Return the bytes of an object; FileNotFoundError where there is none."""
        data: bytes = MemoryFileSystem().cat_file(self._path(key))
        return data

    def open(self, key: str) -> BinaryIO:
        """Give the bytes of an object as a file; FileNotFoundError where there is none."""
        return io.BytesIO(self.read(key))

    def write(self, key: str, data: bytes) -> None:
        """Replace an object as a whole."""
        MemoryFileSystem().pipe_file(self._path(key), data)

    def create(self, key: str, data: bytes) -> bool:
        """Put an object where there is none, and say whether that was done."""
        with _creating:
            if self.exists(key):
                return False
            self.write(key, data)
            return True

    def exists(self, key: str) -> bool:
        """Whether the key is an object."""
        return bool(MemoryFileSystem().isfile(self._path(key)))

    def names(self, prefix: str) -> Iterator[str]:
        """Yield every key below a folder."""
        folder = self._path(prefix).rstrip("/") + "/"
        for path in MemoryFileSystem().find(folder):
            if path.startswith(folder):
                yield path[len(self._path("").rstrip("/")) + 1 :]

    def stamp(self, key: str) -> str:
        """Size of an object and when it was put; FileNotFoundError where there is none."""
        details = MemoryFileSystem().info(self._path(key))
        return f"{details['size']}-{details['created']}"

    def stamps(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield every key below a folder with its stamp."""
        for key in self.names(prefix):
            yield key, self.stamp(key)

    def entries(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """Yield every key below a folder with its size and when it was put."""
        for key in self.names(prefix):
            details = MemoryFileSystem().info(self._path(key))
            yield key, Entry(details["size"], details["created"])

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Yield nothing: a put is over when it returns."""
        del prefix
        yield from ()

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders straight below one."""
        start = len(prefix) + 1 if prefix else 0
        yield from {key[start:].split("/")[0] for key in self.names(prefix) if "/" in key[start:]}

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        try:
            MemoryFileSystem().rm_file(self._path(key))
        except FileNotFoundError:
            return

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove objects."""
        for key in keys:
            self.delete(key)

    def abandon(self, write: Unfinished) -> None:
        """Do nothing: there are no unfinished writes."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove every object below a folder."""
        self.delete_all(list(self.names(prefix)))

    def address(self, key: str) -> str:
        """Return the URL by which fsspec and pandas read the object in this process."""
        return f"memory:/{self._path(key)}"

    def _path(self, key: str) -> str:
        return "/" + "/".join(part for part in (self.root, key) if part)
