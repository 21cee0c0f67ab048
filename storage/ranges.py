"""A file read by ranges: every part is fetched when it is read, and the neighbourhood of small parts with it."""

import io
from collections.abc import Callable

BLOCK_BYTES = 2**20  # fetched at least


class RangedFile(io.RawIOBase):
    """A binary file of known size; ``fetch(start, stop)`` returns exactly these bytes of it."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        """Fetches nothing yet."""
        self._size, self._fetch = size, fetch
        self._position = 0
        self._start, self._block = 0, b""

    def readable(self) -> bool:
        """True: what it is for."""
        return True

    def seekable(self) -> bool:
        """True: what it is for."""
        return True

    def tell(self) -> int:
        """Return where the next read starts."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to where the next read starts, and return that."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}; allowed is 0 or more")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the file goes, from what was fetched before where that holds all of it."""
        stop = min(self._position + len(buffer), self._size)
        count = max(0, stop - self._position)
        if count and not (self._start <= self._position and stop <= self._start + len(self._block)):
            self._block = self._fetch(self._position, min(self._size, max(stop, self._position + BLOCK_BYTES)))
            self._start = self._position
        offset = self._position - self._start
        buffer[:count] = self._block[offset : offset + count]
        self._position += count
        return count
