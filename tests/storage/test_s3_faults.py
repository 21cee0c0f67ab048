"""The S3 backend through a proxy that does what networks and busy servers do: right in the end, or said clearly."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import boto3
import moto.s3.models
import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from storage import patience, s3
from storage.s3_errors import said
from storage.store import KeyMissing, Store, StoreError, StoreUnavailableError, open_store
from tests.storage.conftest import BUCKET, point_at
from tests.storage.fault_proxy import (
    BAD_GATEWAY,
    BAD_REQUEST,
    CUT,
    DENIED,
    EXPIRED,
    INTERNAL,
    LOST,
    NO_BUCKET,
    NO_UPLOAD,
    PARTLY_DENIED,
    PARTLY_SLOW,
    PASSING,
    REQUEST_TIMEOUT,
    RESET,
    SILENT,
    SLOW_DOWN,
    Fault,
    FaultProxy,
    Request,
    always,
    first,
    in_turn,
    nothing,
    share,
)
from tests.storage.test_store_state import StoreMachine

PART = 64 * 1024
SMALL, LARGE = random.Random(1).randbytes(5_000), random.Random(2).randbytes(11 * PART + 17)


@pytest.fixture(scope="module")
def shared_proxy(s3_endpoint: str) -> Iterator[FaultProxy]:
    with FaultProxy(s3_endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def behind(s3_endpoint: str) -> Any:
    """A client that reaches the server past the proxy."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3_endpoint, **keys)
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def proxy(shared_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    """A proxy on the way to S3 that passes everything on; the client is in a hurry, and its parts are small."""
    point_at(shared_proxy.url, monkeypatch)
    monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr(s3, "PART_BYTES", PART)
    monkeypatch.setattr(s3, "READ_SECONDS", 0.2)
    monkeypatch.setattr(s3, "SLOWEST", 2**30)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.02)
    shared_proxy.plan, shared_proxy.echo = nothing, False
    shared_proxy.requests.clear()
    shared_proxy.done.clear()
    return shared_proxy


@pytest.fixture
def store(proxy: FaultProxy, behind: Any) -> Store:
    """A store with a few objects in it."""
    prefix = uuid4().hex
    for key in ("a/one", "a/two", "a/b/three", "top"):
        behind.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=SMALL)
    return open_store(f"s3://{BUCKET}/{prefix}")


def held(store: Store, behind: Any) -> dict[str, bytes]:
    """What is really there."""
    prefix = store.url.removeprefix(f"s3://{BUCKET}/") + "/"
    found = behind.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
    return {
        entry["Key"].removeprefix(prefix): behind.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        for entry in found
    }


def uploads(behind: Any) -> list[str]:
    """Multipart uploads that were begun and neither completed nor aborted."""
    return [upload["Key"] for upload in behind.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


def read_range(store: Store) -> bytes:
    with store.open("top") as file:
        file.seek(1_000)
        return file.read(3)


START = {"a/one": SMALL, "a/two": SMALL, "a/b/three": SMALL, "top": SMALL}
# By name: what the proxy sees of it, the call, what it returns, and what the store holds afterwards.
Use = tuple[str, Callable[[Store], object], object, dict[str, bytes]]
USES: dict[str, Use] = {
    "read": ("read", lambda store: store.read("top"), SMALL, START),
    "read a range": ("read", read_range, SMALL[1_000:1_003], START),
    "open": ("head", read_range, SMALL[1_000:1_003], START),
    "write": ("write", lambda store: store.write("new", LARGE[:PART]), None, START | {"new": LARGE[:PART]}),
    "begin an upload": ("create", lambda store: store.write("new", LARGE), None, START | {"new": LARGE}),
    "upload a part": ("part", lambda store: store.write("new", LARGE), None, START | {"new": LARGE}),
    "complete an upload": ("complete", lambda store: store.write("new", LARGE), None, START | {"new": LARGE}),
    "exists": ("head", lambda store: (store.exists("top"), store.exists("gone")), (True, False), START),
    "stamp": ("head", lambda store: store.stamp("top").partition("-")[0], str(len(SMALL)), START),
    "list": ("list", lambda store: store.list(), sorted(START), START),
    "stamps": ("list", lambda store: sorted(store.stamps("a")), sorted(START)[:3], START),
    "folders": ("list", lambda store: store.folders("a"), ["b"], START),
    "delete": ("delete", lambda store: store.delete("top"), None, {k: SMALL for k in START if k != "top"}),
    "delete a prefix": ("delete", lambda store: store.delete_prefix("a"), None, {"top": SMALL}),
}


@pytest.mark.parametrize("use", USES)
def test_what_passes_is_waited_out(
    proxy: FaultProxy, store: Store, behind: Any, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call meets every fault, one after another."""
    operation, call, result, after = USES[use]
    # to a HEAD, a timeout of the request is answered as any bad request is
    faults = [fault for fault in PASSING if fault is not REQUEST_TIMEOUT or operation != "head"]
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "20")
    proxy.plan = in_turn(faults, operation)
    assert call(store) == result
    assert proxy.done == Counter(faults)
    assert held(store, behind) == after
    # of creations whose answer was lost nobody knows the name by which to abort them
    assert len(uploads(behind)) == (3 if operation == "create" else 0)
    _abort_all(behind)


def _abort_all(behind: Any) -> None:
    for upload in behind.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
        behind.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])


@pytest.mark.parametrize("use", USES)
def test_what_does_not_pass_is_raised_at_once(proxy: FaultProxy, store: Store, behind: Any, use: str) -> None:
    operation, call, _, _ = USES[use]
    complaints = {
        DENIED: "access denied .*check that the AWS credentials",
        EXPIRED: "400" if operation == "head" else "access denied .*check that the AWS credentials",
        BAD_REQUEST: "400" if operation == "head" else "InvalidArgument",
        NO_BUCKET: f"the bucket '{BUCKET}' does not exist; create it",
    }
    for fault, complaint in complaints.items():
        proxy.requests.clear()
        proxy.plan = always(fault, operation, "head bucket")
        with pytest.raises(StoreError, match=complaint) as caught:
            call(store)
        gone = "400" not in complaint and fault is not BAD_REQUEST
        assert isinstance(caught.value, StoreUnavailableError) == gone
        assert not isinstance(caught.value, KeyMissing)
        assert "\n" not in str(caught.value)
        # of twelve parts some go side by side, and the rest is not tried any more
        assert proxy.count(operation) < 12 if operation == "part" else proxy.count(operation) == 1
        assert uploads(behind) == []
    assert held(store, behind) == START


@pytest.mark.parametrize("use", USES)
def test_an_outage_ends_in_one_paragraph_after_so_many_attempts(
    proxy: FaultProxy, store: Store, behind: Any, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    operation, call, _, _ = USES[use]
    proxy.plan = always(SLOW_DOWN, operation)
    with pytest.raises(
        StoreUnavailableError, match=r"3 attempts within \d+ s failed, the last by: .*503|SlowDown"
    ) as caught:
        call(store)
    for part in (store.url, "cannot", "check AWS_ENDPOINT_URL", "run the same command again", "AWS_MAX_ATTEMPTS"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    # of twelve parts some go side by side, and the rest is not tried any more
    assert proxy.count(operation) < 3 * 12 if operation == "part" else proxy.count(operation) == 3
    assert held(store, behind) == START
    assert uploads(behind) == []


def test_ten_attempts_are_made_unless_the_environment_says_otherwise(proxy: FaultProxy, store: Store) -> None:
    proxy.plan = always(INTERNAL)
    with pytest.raises(StoreUnavailableError, match="10 attempts"):
        store.read("top")
    assert proxy.count("read") == 10


def test_no_attempt_begins_after_the_patience_has_ended(
    proxy: FaultProxy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1000")
    monkeypatch.setattr(s3, "PATIENCE", 1.0)
    monkeypatch.setattr(s3, "READ_SECONDS", 0.05)
    proxy.plan = always(SILENT)
    with pytest.raises(StoreUnavailableError, match=r"\d attempts? within \d s failed, the last by: Read timeout"):
        store.read("top")
    assert proxy.count("read") < 50


@pytest.mark.parametrize("value", ["0", "many"])
def test_a_number_of_attempts_that_is_none_is_named(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", value)
    with pytest.raises(StoreError, match=r"AWS_MAX_ATTEMPTS.* is no whole number of 1 or more"):
        open_store(f"s3://{BUCKET}").read("key")


def test_a_server_that_is_restarted_is_waited_for(
    proxy: FaultProxy, store: Store, behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 5.0)
    assert store.read("top") == SMALL
    with ThreadPoolExecutor() as pool:
        with proxy.away():
            waiting = [pool.submit(store.read, "top"), pool.submit(store.write, "new", LARGE)]
            time.sleep(0.2)
            assert not any(future.done() for future in waiting)
        assert [future.result() for future in waiting] == [SMALL, None]
    assert held(store, behind) == START | {"new": LARGE}


def test_a_host_without_an_address_is_named(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nowhere.invalid:9000")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr(s3, "READ_SECONDS", 20.0)
    with pytest.raises(StoreUnavailableError, match=r"2 attempts .*nowhere\.invalid.*check AWS_ENDPOINT_URL"):
        open_store("s3://research").read("key")


@pytest.mark.timeout(60)
def test_a_server_that_stops_to_take_what_is_sent_is_left(
    proxy: FaultProxy, store: Store, behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # more than the buffers between here and there hold; aiohttp alone would wait forever
    data = bytes(16 * 2**20)
    monkeypatch.setattr(s3, "PART_BYTES", len(data))
    monkeypatch.setattr(s3, "CONNECT_SECONDS", 2.0)
    proxy.plan = first(SILENT, 1, "write")
    store.write("new", data)
    assert proxy.count("write") > 1
    assert held(store, behind)["new"] == data


def test_an_upload_whose_parts_were_removed_is_begun_again(proxy: FaultProxy, store: Store, behind: Any) -> None:
    """By somebody's rule for old uploads, or because it was completed and the answer that said so was lost."""
    removed = []

    def plan(request: Request) -> Fault | None:
        if request.operation != "complete" or removed:
            return None
        removed.append(uploads(behind))
        _abort_all(behind)
        return NO_UPLOAD  # moto has no such answer of its own

    proxy.plan = plan
    store.write("top", LARGE)
    assert len(removed[0]) == 1
    assert (proxy.count("create"), proxy.count("part"), proxy.count("complete")) == (2, 24, 2)
    assert held(store, behind)["top"] == LARGE
    assert uploads(behind) == []


def test_parts_that_cannot_be_removed_either_are_told(
    proxy: FaultProxy, store: Store, behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    proxy.plan = always(BAD_GATEWAY, "part", "abort")
    with pytest.raises(
        StoreUnavailableError, match="its parts stay in the bucket, seen by no reader, until a lifecycle"
    ):
        store.write("top", LARGE)
    assert proxy.count("abort") == patience.HASTY_ATTEMPTS
    assert held(store, behind) == START
    _abort_all(behind)


def test_keys_that_could_not_be_deleted_are_deleted_again_and_no_others(
    proxy: FaultProxy, store: Store, behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[list[str]] = []
    answer = s3._answer

    def recorded(method: str, **arguments: Any) -> Any:
        if method == "delete_objects":
            wanted.append([entry["Key"].partition("/")[2] for entry in arguments["Delete"]["Objects"]])
        return answer(method, **arguments)

    monkeypatch.setattr(s3, "_answer", recorded)
    proxy.plan = first(PARTLY_SLOW, 2, "delete")
    store.delete_prefix("a")
    assert wanted == [["a/b/three", "a/one", "a/two"], ["a/b/three", "a/two"], ["a/b/three"]]
    assert held(store, behind) == {"top": SMALL}


def test_keys_that_may_not_be_deleted_are_named_at_once(proxy: FaultProxy, store: Store) -> None:
    proxy.plan = always(PARTLY_DENIED, "delete")
    with pytest.raises(StoreUnavailableError, match=r"access denied .*a/b/three could not be deleted"):
        store.delete_prefix("a")
    assert proxy.count("delete") == 1


def test_a_bucket_that_vanishes_is_named_by_every_call(proxy: FaultProxy, behind: Any) -> None:
    behind.create_bucket(Bucket="fleeting")
    store = open_store("s3://fleeting/here")
    store.write("top", SMALL)
    file = store.open("top")
    behind.delete_object(Bucket="fleeting", Key="here/top")
    behind.delete_bucket(Bucket="fleeting")
    calls = [file.read, *(lambda call=call: call(store) for _, call, _, _ in USES.values())]
    for call in calls:
        with pytest.raises(StoreUnavailableError, match="the bucket 'fleeting' does not exist") as caught:
            call()
        assert "s3://fleeting/here" in str(caught.value)


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(store: Store) -> None:
    store.write("large", bytes(3 * 2**20))
    with store.open("large") as file:
        assert file.read(10) == bytes(10)
        store.write("large", b"1" * 3 * 2**20)
        file.seek(2**21)
        with pytest.raises(StoreError, match=r"cannot read a part of s3://.*/large: .*replaced while it was"):
            file.read(10)


def test_readers_see_whole_objects_or_none_whatever_goes_wrong(proxy: FaultProxy, store: Store) -> None:
    versions = [bytes([number]) * (PART // 2 if number % 2 else 2 * PART) for number in range(12)]
    store.write("folder/key", versions[0])
    faults = dict.fromkeys((SLOW_DOWN, BAD_GATEWAY, RESET, LOST, CUT), 0.05)
    proxy.plan = share(faults, seed=7)
    done = threading.Event()

    def read_on() -> set[bytes]:
        seen = set()
        while not done.is_set():
            seen.add(store.read("folder/key"))
            try:
                with store.open("folder/key") as file:
                    assert len(set(file.read(1_000))) == 1
            except StoreError as error:
                assert "replaced while it was being read" in str(error)
            assert store.list("folder") == ["folder/key"]
        return seen

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read_on) for _ in range(2)]
        try:
            for version in versions:
                store.write("folder/key", version)
        finally:
            done.set()
        assert set.union(*(reader.result() for reader in readers)) <= set(versions)
    assert store.read("folder/key") == versions[-1]
    assert all(proxy.done[fault] for fault in faults)


def test_any_operations_in_the_midst_of_faults_do_what_they_do_on_a_dict(proxy: FaultProxy, behind: Any) -> None:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__()
            self.store = open_store(f"s3://{BUCKET}/{uuid4().hex}")

    proxy.plan = share(dict.fromkeys((SLOW_DOWN, INTERNAL, BAD_GATEWAY, RESET, LOST, CUT), 0.04), seed=8)
    run_state_machine_as_test(Machine, settings=settings(max_examples=6, stateful_step_count=20, deadline=None))
    assert sum(proxy.done.values()) > 10


def test_credentials_are_in_no_error_even_where_the_server_says_them(
    proxy: FaultProxy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t0ken-testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    proxy.echo = True
    for fault in (DENIED, BAD_REQUEST, SLOW_DOWN, BAD_GATEWAY):
        proxy.plan = always(fault)
        for _, call, _, _ in USES.values():
            with pytest.raises(StoreError) as caught:
                call(store)
            for secret in ("s3cr3t", "AKIAEXAMPLE", "t0ken"):
                assert secret not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:pa55word@127.0.0.1:9")
    with pytest.raises(StoreUnavailableError, match="credentials encoded in URL; check AWS_ENDPOINT_URL") as caught:
        store.read("top")
    assert "pa55word" not in str(caught.value)
    assert "attempts within" not in str(caught.value)
    assert "pa55word" not in said(EndpointConnectionError(endpoint_url="http://user:pa55word@127.0.0.1:9/top"))
