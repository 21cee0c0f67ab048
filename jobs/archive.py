"""What the updating of an archive from a service leaves for ingest."""

from typing import NamedTuple


class Archive(NamedTuple):
    """Market data of a service in the store.

    ``prefix`` is the key prefix below which all its files lie, funding included; ``flaws`` say by symbol why it is
    not up to date.
    """

    prefix: str
    venue: str
    market: str
    flaws: dict[str, str]
