"""The update of the archive as a program: `python -m tests.jobs.bulk_driving STORE ENDPOINT`."""

import sys

from actors.connect import connect
from jobs import bulk
from tests.jobs.conftest import make_context

if __name__ == "__main__":
    ingest = {"bar": "15m", "endpoint": sys.argv[2], "rate": 200.0}
    with connect("local", 2):
        bulk.update(make_context(sys.argv[1], source="binance", ingest=ingest))
