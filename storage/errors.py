"""What storage raises; every message is one paragraph that names the place and what to do about it."""


class StoreError(ValueError):
    """The store, or something in it, cannot be used as asked."""


class KeyMissing(StoreError):  # noqa: N818  says what happened; the store itself works
    """The store works and holds nothing under that key."""


class SchemaError(ValueError):
    """A table does not agree with its dataset in ``quant.schemas``."""
