"""What this process has asked of object storage: requests and bytes, counted as they happen.

before = traffic()
…
used = traffic() - before
"""

import threading
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Traffic:
    """Requests, bytes read and bytes written; of a ranged read only the request counts."""

    requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def __add__(self, other: Self) -> "Traffic":
        """Both together."""
        return Traffic(
            self.requests + other.requests,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
        )

    def __sub__(self, earlier: Self) -> "Traffic":
        """What came since an earlier reading."""
        return Traffic(
            self.requests - earlier.requests,
            self.bytes_read - earlier.bytes_read,
            self.bytes_written - earlier.bytes_written,
        )


_lock = threading.Lock()
_counted = Traffic()


def traffic() -> Traffic:
    """Return everything since the process began, of all stores."""
    return _counted


def count(requests: int = 0, bytes_read: int = 0, bytes_written: int = 0) -> None:
    """Add what was just done; for ``storage.store`` alone."""
    global _counted  # one count a process is the point
    with _lock:
        _counted += Traffic(requests, bytes_read, bytes_written)
