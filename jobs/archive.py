"""Market data as a service gave it, kept in the store for all runs."""

from typing import NamedTuple


class ServiceError(ValueError):
    """A service that cannot be asked as configured, or refuses: what, and what to do."""


class ServiceAwayError(ServiceError):
    """A service that does not answer, or lets nobody in for a while."""


class Archive(NamedTuple):
    """What of a service is kept.

    Parameters
    ----------
    prefix
        Of the keys in the store below which all its files lie, those of funding rates among them.
    venue, market
        Of the canonical tickers.
    flaws
        Why it is not up to date, by symbol.
    """

    prefix: str
    venue: str
    market: str
    flaws: dict[str, str]
