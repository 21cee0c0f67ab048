"""Which errors of a run may pass by themselves, so that the next round of `--every` is worth while."""

from actors.connect import ClusterConnectionError
from actors.outcome import ClusterLostError
from jobs.archive import ServiceAwayError, ServiceError
from jobs.every import Word
from jobs.gather import GatherError
from jobs.market import NoLaterBarsError
from jobs.rows import RowsError
from jobs.sources import SourceError
from jobs.stage import AllFailedError
from quant.bulk import BulkError
from storage.errors import StoreError, StoreUnavailableError
from storage.lease import LeaseHeldError
from storage.web import ServiceUnavailableError, WebError

AWAY = (
    *(StoreUnavailableError, ServiceUnavailableError, ServiceAwayError),
    *(ClusterConnectionError, ClusterLostError, NoLaterBarsError),
)
"""What is raised where a service may come back, and where bars may follow."""
MISSING = (StoreError, SourceError, ServiceError, WebError, BulkError, RowsError, GatherError, AllFailedError)
"""What is raised where the source is away, and also where it never was."""


def word(error: Exception) -> Word:
    """Say in a word of `jobs.every.Ended` what an error means for the rounds that follow."""
    package = type(error).__module__.partition(".")[0]
    if isinstance(error, AWAY) or package == "ray":
        return "away"
    if isinstance(error, MISSING) and not isinstance(error, LeaseHeldError):
        return "missing"
    return "refused" if package in {"jobs", "actors", "storage", "quant"} else "bug"
