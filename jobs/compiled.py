"""Compiled loops, ready in this worker: one process a machine compiles them, and the others wait for its cache."""

import os
import tempfile
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from quant import engine


@lru_cache(maxsize=1)
def ready() -> None:
    """Compile or load the engine once a process; of many workers that start together on a machine, one compiles.

    Without the lock, eight of them on two cores would all compile the same, for most of a minute.
    """
    owner = os.getuid() if hasattr(os, "getuid") else "any"
    with FileLock(Path(tempfile.gettempdir()) / f"assay-{owner}-compile.lock"):
        engine.warm_up()
