"""What storage raises; every message is one paragraph that names the place and what to do about it."""


class StoreError(ValueError):
    """The store, or something in it, cannot be used as asked."""


class StoreUnavailableError(StoreError):
    """The store as a whole cannot be used: it does not answer, lets nobody in, or is gone. No key is at fault."""


class KeyMissing(StoreError):  # noqa: N818  says what happened; the store itself works
    """The store works and holds nothing under that key."""


class SchemaError(ValueError):
    """A table does not agree with its dataset in ``quant.schemas``."""


class BackendUnavailableError(OSError):
    """Raised by a backend where a ``StoreUnavailableError`` is due."""


def due(error: OSError) -> type[StoreError]:
    """Which error a backend's own stands for."""
    return StoreUnavailableError if isinstance(error, BackendUnavailableError) else StoreError
