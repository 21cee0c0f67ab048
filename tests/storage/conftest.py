"""A real S3 server on a free port, and the environment that points the AWS chain at it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "research"


@contextmanager
def s3_server() -> Iterator[str]:
    """A moto server, by its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of a moto server."""
    with s3_server() as url:
        yield url


@pytest.fixture
def aws(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard AWS chain, leading to the test server."""
    point_at(s3_endpoint, monkeypatch)


@pytest.fixture
def bucket(aws: None) -> str:
    """Name of an existing bucket."""
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return BUCKET


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the AWS chain reads, and shut out what the machine may have set."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
