"""Each backend by the contract, and what is its own."""

import datetime
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from storage import s3
from storage.entries import Unfinished
from storage.store import KeyMissing, Store, StoreError, open_store
from tests.storage.conftest import point_at
from tests.storage.contract import DurableStoreContract, StoreContract
from tests.storage.fault_proxy import LOST, SLOW_DOWN, Fault, FaultProxy, first

NO_CONDITIONS = Fault("no conditions", "answer", 501, "NotImplemented")


class TestLocal(DurableStoreContract):
    interruption = """
import pathlib, sys, time
def replace(self, target):
    print("held back", flush=True)
    time.sleep(600)
pathlib.Path.replace = replace
"""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}/store"

    def test_an_unfinished_write_is_there_but_never_listed(self, store: Store) -> None:
        folder = Path(store.address("folder"))
        folder.mkdir(parents=True)
        (folder / ".0123456789abcdef.partial").write_bytes(b"half")
        assert store.list() == store.folders() == []
        (found,) = store.unfinished()
        assert (found.key, found.size) == ("folder/.0123456789abcdef.partial", 4)
        assert abs(datetime.datetime.now(datetime.UTC) - found.changed) < datetime.timedelta(minutes=1)
        store.delete_prefix("folder")
        assert not folder.exists()

    def test_directories_that_are_empty_go_with_the_last_key_but_for_the_topmost(self, store: Store) -> None:
        for key in ("runs/a/x/1", "runs/a/y/2", "runs/b/3"):
            store.write(key, b"")
        store.delete_all(["runs/a/x/1", "runs/b/3"])
        assert sorted(path.name for path in Path(store.address("runs")).rglob("*")) == ["2", "a", "y"]
        store.delete_all(["runs/a/y/2"])
        assert list(Path(store.address("runs")).iterdir()) == []

    def test_only_a_temporary_file_is_abandoned(self, store: Store) -> None:
        store.write("folder/key", b"")
        store.abandon(Unfinished("folder/key", "", 0, datetime.datetime.now(datetime.UTC)))
        assert store.list() == ["folder/key"]

    def test_a_failed_write_leaves_no_temporary_file(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(self: Path, target: Path) -> None:
            raise OSError(28, "No space left on device", str(target))

        store.write("folder/key", b"old")
        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(StoreError, match=r"cannot write 'folder/key' .* the disk is full; free some space"):
            store.write("folder/key", b"new")
        assert [path.name for path in Path(store.address("folder")).iterdir()] == ["key"]
        assert store.read("folder/key") == b"old"

    def test_data_reaches_the_disk_before_the_name(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        steps: list[str] = []
        replace = Path.replace

        def replaced(self: Path, target: Path) -> Path:
            steps.append("replace")
            return replace(self, target)

        monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append("fsync"))
        monkeypatch.setattr(Path, "replace", replaced)
        store.write("key", b"data")
        assert steps == ["fsync", "replace", "fsync"]

    def test_files_have_the_mode_of_other_files(self, store: Store, tmp_path: Path) -> None:
        store.write("key", b"")
        (tmp_path / "other").touch()
        assert Path(store.address("key")).stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_a_file_where_a_directory_is_due(self, store: Store) -> None:
        store.write("a", b"")
        with pytest.raises(StoreError, match=r"cannot write 'a/b' in the store file://.* a file stands where a dir"):
            store.write("a/b", b"")

    def test_a_directory_where_a_file_is_due(self, store: Store) -> None:
        store.write("a/b", b"")
        with pytest.raises(StoreError, match="a directory stands where a file is due"):
            store.write("a", b"")
        assert store.list() == ["a/b"]

    def test_a_root_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        store = open_store(str(tmp_path / "file"))
        with pytest.raises(StoreError, match=r"cannot write 'key' in the store file://.*/file: .* move it away"):
            store.write("key", b"")

    def test_creates_where_the_file_system_has_no_hard_links(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: Path, target: Path) -> None:
            raise OSError(1, "Operation not permitted", str(self))

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        assert store.create("folder/key", b"first") is True
        assert store.create("folder/key", b"second") is False
        assert store.read("folder/key") == b"first"
        assert store.unfinished() == []

    def test_a_directory_is_not_taken_for_what_is_there(self, store: Store) -> None:
        store.write("a/b", b"")
        with pytest.raises(StoreError, match=r"cannot create 'a' in the store .* a directory stands where a file"):
            store.create("a", b"")

    @pytest.mark.parametrize(("number", "text"), [(13, "Permission denied"), (30, "Read-only file system")])
    def test_a_directory_that_may_not_be_written(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, number: int, text: str
    ) -> None:
        def refuse(self: Path, mode: str) -> None:
            raise OSError(number, text, str(self))

        # a real read-only directory would not stop root, as whom containers run tests
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(StoreError, match=rf"cannot write 'key' in the store file://.*: {text.lower()} at .*choose"):
            store.write("key", b"")

    def test_a_directory_that_may_not_be_read_is_not_empty(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: str) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        store.write("a/b", b"")
        monkeypatch.setattr(os, "scandir", refuse)
        for use in (store.list, store.folders, lambda: store.delete_prefix("a")):
            with pytest.raises(StoreError, match=r"permission denied at .*check the owner"):
                use()

    def test_paths_and_urls_are_one_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        stores = {
            open_store(url) for url in ("a b/c", "~/a b/c", f"{tmp_path}/x/../a b/c/", f"file://{tmp_path}/a%20b/c")
        }
        assert [store.url for store in stores] == [f"file://{tmp_path}/a%20b/c"]
        assert stores.pop().address("key") == f"{tmp_path}/a b/c/key"

    def test_names_that_are_no_keys_are_left_out(self, store: Store) -> None:
        store.write("folder/key", b"")
        Path(store.address("folder"), "a:b").touch()
        assert store.list() == ["folder/key"]


class TestMemory(StoreContract):
    @pytest.fixture
    def url(self) -> Iterator[str]:
        root = uuid4().hex
        yield f"memory://{root}"
        open_store("memory://").delete_prefix(root)

    def test_the_root_holds_all_others(self, store: Store) -> None:
        store.write("key", b"data")
        assert open_store("memory://").read(f"{store.url.removeprefix('memory://')}/key") == b"data"


class TestS3(DurableStoreContract):
    interruption = """
import sys, time
import storage.s3
answer = storage.s3._answer
def held(method, **arguments):
    if method == "complete_multipart_upload":
        print("held back", flush=True)
        time.sleep(600)
    return answer(method, **arguments)
storage.s3._answer = held
"""

    @pytest.fixture
    def url(self, bucket: str) -> str:
        return f"s3://{bucket}/{uuid4().hex}"

    def test_a_bucket_may_be_the_root(self, store: Store, bucket: str) -> None:
        root = open_store(f"s3://{bucket}")
        store.write("key", b"data")
        key = f"{store.url.removeprefix(f's3://{bucket}/')}/key"
        assert key in root.list()
        assert root.read(key) == b"data"
        assert root.address(key) == store.address("key") == f"{store.url}/key"

    def test_large_objects_go_in_parts(self, store: Store, monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
        monkeypatch.setattr(s3, "PART_BYTES", 5 * 2**20)
        data = os.urandom(11 * 2**20)
        store.write("key", data)
        assert store.read("key") == data
        name = store.address("key").removeprefix(f"s3://{bucket}/")
        assert boto3.client("s3").head_object(Bucket=bucket, Key=name)["ETag"].endswith('-3"')

    def test_what_was_created_by_an_attempt_whose_answer_was_lost_counts(
        self, s3_endpoint: str, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FaultProxy(s3_endpoint) as proxy:
            point_at(proxy.url, monkeypatch)
            proxy.plan = first(LOST, 1, "write")
            assert store.create("key", b"mine") is True
            proxy.plan = first(SLOW_DOWN, 1, "write")
            assert store.create("key", b"another's") is False
            assert store.read("key") == b"mine"

    def test_a_service_without_conditions_is_asked_and_then_told(
        self, s3_endpoint: str, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FaultProxy(s3_endpoint) as proxy:
            point_at(proxy.url, monkeypatch)
            proxy.plan = first(NO_CONDITIONS, 1, "write")
            assert store.create("key", b"first") is True
            proxy.plan = first(NO_CONDITIONS, 1, "write")
            assert store.create("key", b"second") is False
            assert store.read("key") == b"first"

    def test_a_read_is_one_request(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        # two, a size and then ranges, could meet two versions of the object
        calls: list[str] = []
        answer = s3._answer

        def recorded(method: str, **arguments: Any) -> Mapping[str, Any]:
            calls.append(method)
            return answer(method, **arguments)

        store.write("key", b"data")
        monkeypatch.setattr(s3, "_answer", recorded)
        assert store.read("key") == b"data"
        assert calls == ["get_object"]

    def test_sees_at_once_what_others_write(self, store: Store, bucket: str) -> None:
        store.write("folder/mine", b"1")
        assert store.list() == ["folder/mine"]
        prefix = store.url.removeprefix(f"s3://{bucket}/")
        other = boto3.client("s3")
        other.put_object(Bucket=bucket, Key=f"{prefix}/folder/theirs", Body=b"2")
        other.delete_object(Bucket=bucket, Key=f"{prefix}/folder/mine")
        assert store.list() == ["folder/theirs"]
        assert store.read("folder/theirs") == b"2"
        assert not store.exists("folder/mine")

    def test_a_console_s_folder_marks_are_no_keys(self, store: Store, bucket: str) -> None:
        boto3.client("s3").put_object(Bucket=bucket, Key=f"{store.url.removeprefix(f's3://{bucket}/')}/folder/")
        assert store.list() == []

    def test_works_in_a_forked_process(self, store: Store) -> None:
        store.write("key", b"parent")
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_rewrite, args=(store,))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert store.read("key") == b"parent and child"

    def test_the_endpoint_is_that_of_the_moment(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.write("key", b"")
        with _refusing_server() as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            with pytest.raises(StoreError, match="access denied"):
                store.read("key")

    def test_a_missing_bucket_is_not_a_missing_key(self, aws: None) -> None:
        store = open_store("s3://never-made/prefix")
        for use in _uses(store):
            with pytest.raises(StoreError, match="the bucket 'never-made' does not exist; create it") as caught:
                use()
            assert not isinstance(caught.value, KeyMissing)
            assert "s3://never-made/prefix" in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_denied_access_says_who_must_be_let_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with _refusing_server() as endpoint:
            point_at(endpoint, monkeypatch)
            store = open_store("s3://private/prefix")
            for use in _uses(store):
                with pytest.raises(StoreError, match=r"access denied .*check that the AWS credentials") as caught:
                    use()
                assert not isinstance(caught.value, KeyMissing)
                assert "s3://private/prefix" in str(caught.value)
                assert "s3cr3t" not in str(caught.value)

    def test_absent_credentials_say_where_they_come_from(self, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StoreError, match="no AWS credentials were found; set AWS_ACCESS_KEY_ID"):
            open_store("s3://research").write("key", b"")

    def test_an_endpoint_that_does_not_answer(self, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:9.*check AWS_ENDPOINT_URL"):
            open_store("s3://research").read("key")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\nb", "do not print"),
        ("gs://bucket/x", "unknown scheme 'gs'"),
        ("http://host/x", "unknown scheme 'http'"),
        ("runs:2024", r"unknown scheme 'runs'.*\./like:this"),
        ("://x", "no scheme"),
        ("s3:/bucket", "lacks '//'"),
        ("file:relative", "lacks '//'"),
        ("file://", "three slashes"),
        ("file://host/share", "three slashes"),
        ("file:///a%ff", "not UTF-8"),
        ("s3://", "no valid bucket"),
        ("s3:///key", "no valid bucket"),
        ("s3://b!/key", "no valid bucket"),
        ("s3://bucket/a/../b", r"the segment '\.\.'"),
        ("s3://bucket//a", "the segment ''"),
        ("s3://bucket/a?endpoint_override=x", "AWS_ENDPOINT_URL"),
        ("memory://a/./b", r"the segment '\.'"),
    ],
)
def test_a_bad_url_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint) as caught:
        open_store(url)
    assert "\n" not in str(caught.value)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(StoreError, match="standard AWS chain") as caught:
        open_store("s3://AKIA:s3cr3t@bucket/prefix")
    assert "s3cr3t" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("s3://bucket/a/", "s3://bucket/a"),
        ("S3://bucket", "s3://bucket"),
        ("memory://", "memory://"),
        ("file:///data//x/", "file:///data/x"),
        ("file://localhost/data", "file:///data"),
        ("/data/a:b", "file:///data/a%3Ab"),
    ],
)
def test_a_url_has_one_normal_form(url: str, normal: str) -> None:
    store = open_store(url)
    assert store.url == normal
    assert open_store(store.url) == store


def _uses(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: store.read("key"),
        lambda: store.write("key", b""),
        lambda: store.create("key", b""),
        lambda: store.exists("key"),
        lambda: store.list(),
        lambda: store.entries("runs"),
        lambda: store.unfinished("runs"),
        lambda: store.folders("runs"),
        lambda: store.delete("key"),
        lambda: store.delete_all(["key"]),
        lambda: store.delete_prefix("runs"),
    ]


def _rewrite(store: Store) -> None:
    store.write("key", store.read("key") + b" and child")


class _Refusal(BaseHTTPRequestHandler):
    """Answers everything as S3 answers a stranger."""

    def _refuse(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _refuse  # noqa: N815  names that the base class calls

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def _refusing_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusal)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
