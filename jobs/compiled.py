"""Compiled loops, ready in this worker: one process a machine compiles them, and the others wait for its cache."""

import os
import tempfile
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from quant import engine

PATIENCE = 120.0  # seconds; several times what compiling takes


def lock() -> Path:
    """File that the processes of one user on a machine share."""
    owner = os.getuid() if hasattr(os, "getuid") else "any"
    return Path(tempfile.gettempdir()) / f"assay-{owner}-compile.lock"


@lru_cache(maxsize=1)
def ready() -> None:
    """Compile or load the engine once a process; of many workers that start together on a machine, one compiles.

    Without the lock, eight of them on two cores would all compile the same, for most of a minute. That is all it is
    for: where it cannot be had, each compiles for itself.
    """
    try:
        with FileLock(lock(), timeout=PATIENCE):
            engine.warm_up()
    except (Timeout, OSError):
        engine.warm_up()
