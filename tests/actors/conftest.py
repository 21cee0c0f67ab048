"""One local Ray for the tests of the actors."""

from collections.abc import Iterator

import pytest

from actors.connect import Cluster, connect


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """A local Ray with four logical CPUs, whatever the machine has."""
    with connect("local", 4) as cluster:
        yield cluster
