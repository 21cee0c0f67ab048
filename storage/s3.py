"""Objects in an S3 bucket, or in anything that speaks S3's HTTP interface, by s3fs.

Credentials, region and endpoint come from the standard AWS chain at the time of use (environment,
``AWS_ENDPOINT_URL`` included, shared files, roles); the backend holds none, so a pickled one carries none.

Every request is tried again by one loop, `storage.patience`; s3fs lends its connection and its event loop, and the
retries of both s3fs and botocore are out of the way. botocore's know no body that broke off, those of s3fs no 502 and
no refused connection, and neither single keys of a deletion, a send that stands still, or the clock; and loops
around each other multiply.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError, ResponseStreamingError
from botocore.session import Session
from fsspec.asyn import sync
from s3fs import S3FileSystem

from storage.entries import Entry, Unfinished
from storage.errors import StoreError, due
from storage.patience import GaveUpError, hastily, patiently
from storage.ranges import RangedFile
from storage.s3_errors import PASSING_CODES, code_of, explained, missing, no_bucket, passing, said, status_of

T = TypeVar("T")

PART_BYTES = 8 * 2**20  # a put of more is a multipart upload
PARTS_AT_ONCE = 4
UPLOADS = 3  # of one object, where the parts are gone when it is to be completed
DELETE_KEYS = 1000  # S3's limit for one request

# A request gives up after PATIENCE + CONNECT + READ = 145 seconds at most, beside what its bytes take to travel: up
# to 128 seconds for a part at the slowest. Without answers of any kind, as where a connection is refused, it gives up
# after 10 attempts and 33 to 66 seconds of pauses.
ATTEMPTS = 10  # where AWS_MAX_ATTEMPTS, or max_attempts of AWS' configuration file, is not set
PATIENCE = 120.0  # seconds after the first attempt in which others begin
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0  # without a byte
PRECONDITION_FAILED = 412
NOT_IMPLEMENTED = 501
SLOWEST = 64 * 2**10  # bytes a second, below which a transfer counts as stalled: aiohttp puts no limit to a send


@dataclass(frozen=True)
class S3Backend:
    """A bucket and a prefix in it, which may be empty."""

    bucket: str
    root: str

    def read(self, key: str) -> bytes:
        """Return the bytes of an object; FileNotFoundError where there is none."""
        # one GET: the ranges of a concurrent read could come from two versions of the object
        return self._body(Key=self._name(key))

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading by ranges; FileNotFoundError where there is none."""
        name = self._name(key)
        head = self._ask("head_object", Key=name)

        def fetch(start: int, stop: int) -> bytes:
            try:
                data = self._body(Key=name, Range=f"bytes={start}-{stop - 1}", IfMatch=head["ETag"])
            except OSError as error:  # here nobody above says where it happened
                raise due(error)(f"cannot read a part of {self.address(key)}: {error}") from error
            if len(data) != stop - start:
                raise StoreError(
                    f"cannot read a part of {self.address(key)}: {len(data)} bytes came for {stop - start}; "
                    "the service does not heed ranges"
                )
            return data

        return cast(BinaryIO, RangedFile(head["ContentLength"], fetch))

    def write(self, key: str, data: bytes) -> None:
        """Replace an object as a whole: one PUT, or a multipart upload that shows when it is completed."""
        try:
            if len(data) <= PART_BYTES:
                self._ask("put_object", Key=self._name(key), Body=data)
            else:
                self._write_in_parts(self._name(key), data)
        except FileNotFoundError as error:
            raise OSError(f"{error}, which is no answer to a write; check AWS_ENDPOINT_URL") from error

    def create(self, key: str, data: bytes) -> bool:
        """Put an object where there is none, by one conditional PUT, and say whether that was done."""
        name = self._name(key)
        put = partial(_answer, "put_object", Bucket=self.bucket, Key=name, Body=data, IfNoneMatch="*")
        try:
            self._try(put)
        except FileNotFoundError as error:
            raise OSError(f"{error}, which is no answer to a write; check AWS_ENDPOINT_URL") from error
        except OSError as error:
            status = status_of(error.__cause__) if error.__cause__ else 0
            if status == NOT_IMPLEMENTED:  # by a service without conditions: the next best, with a gap of milliseconds
                if self.exists(key):
                    return False
                self.write(key, data)
                return True
            if status != PRECONDITION_FAILED:
                raise
            # it may have been put by an attempt of ours whose answer was lost on its way, also one that aiohttp made
            with suppress(FileNotFoundError):  # removed since
                return self.read(key) == data
            return False
        return True

    def exists(self, key: str) -> bool:
        """Whether the key is an object."""
        try:
            self._ask("head_object", Key=self._name(key))
        except FileNotFoundError:
            return False
        return True

    def names(self, prefix: str) -> Iterator[str]:
        """Yield every key below a prefix, relative to the root."""
        start = len(self._folder(""))
        for page in self._pages(Prefix=self._folder(prefix)):
            for entry in page.get("Contents", ()):
                yield entry["Key"][start:]

    def stamp(self, key: str) -> str:
        """Size and entity tag of an object; FileNotFoundError where there is none."""
        head = self._ask("head_object", Key=self._name(key))
        return f"{head['ContentLength']}-{head['ETag']}"

    def stamps(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield every key below a prefix with its size and entity tag."""
        start = len(self._folder(""))
        for page in self._pages(Prefix=self._folder(prefix)):
            for entry in page.get("Contents", ()):
                yield entry["Key"][start:], f"{entry['Size']}-{entry['ETag']}"

    def entries(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """Yield every key below a prefix with its size and when it was put."""
        start = len(self._folder(""))
        for page in self._pages(Prefix=self._folder(prefix)):
            for entry in page.get("Contents", ()):
                yield entry["Key"][start:], Entry(entry["Size"], entry["LastModified"])

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Yield every multipart upload below a prefix that was neither completed nor aborted."""
        start = len(self._folder(""))
        arguments: dict[str, Any] = {"Prefix": self._folder(prefix)}
        while True:
            page = self._ask("list_multipart_uploads", **arguments)
            for entry in page.get("Uploads", ()):
                name, upload = entry["Key"], entry["UploadId"]
                with suppress(FileNotFoundError):  # completed since it was listed
                    parts = self._ask("list_parts", Key=name, UploadId=upload).get("Parts", ())
                    size = sum(part["Size"] for part in parts)
                    yield Unfinished(name[start:], upload, size, entry["Initiated"])
            if not page.get("IsTruncated"):
                return
            arguments |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders straight below one."""
        start = len(self._folder(prefix))
        for page in self._pages(Prefix=self._folder(prefix), Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"][start:].removesuffix("/")

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        self._delete_all([self._name(key)])

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove objects, a thousand a request."""
        names = [self._name(key) for key in keys]
        for start in range(0, len(names), DELETE_KEYS):
            self._delete_all(names[start : start + DELETE_KEYS])

    def abandon(self, write: Unfinished) -> None:
        """Abort a multipart upload, if it is still there."""
        with suppress(FileNotFoundError):
            self._ask("abort_multipart_upload", Key=self._name(write.key), UploadId=write.upload)

    def delete_prefix(self, prefix: str) -> None:
        """Remove every object below a prefix."""
        self.delete_all(list(self.names(prefix)))

    def address(self, key: str) -> str:
        """Return the URL by which pandas, Polars and DuckDB read the object."""
        return f"s3://{self.bucket}/{self._name(key)}".removesuffix("/")

    def _name(self, key: str) -> str:
        return f"{self.root}/{key}" if self.root else key

    def _folder(self, prefix: str) -> str:
        name = "/".join(part for part in (self.root, prefix) if part)
        return f"{name}/" if name else ""

    def _body(self, **arguments: Any) -> bytes:
        data: bytes = self._ask("get_object", **arguments)["Body"]
        return data

    def _pages(self, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        while True:
            page = self._ask("list_objects_v2", **arguments)
            yield page
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _write_in_parts(self, name: str, data: bytes) -> None:
        for _ in range(UPLOADS):
            upload = self._ask("create_multipart_upload", Key=name)["UploadId"]
            try:
                self._complete(name, upload, data)
            except FileNotFoundError as error:
                # Somebody cleaned up; or it was completed before, and the answer that said so was lost on its way.
                if code_of(error.__cause__) != "NoSuchUpload":
                    raise
            except BaseException as error:
                if not self._aborted(name, upload) and isinstance(error, OSError):
                    kept = "its parts stay in the bucket, seen by no reader, until a lifecycle rule removes them"
                    raise type(error)(f"{error}; {kept}") from error
                raise
            else:
                return
        raise OSError(f"its parts were removed {UPLOADS} times; see what aborts multipart uploads in {self.bucket!r}")

    def _complete(self, name: str, upload: str, data: bytes) -> None:
        def put(start: int) -> dict[str, Any]:
            number, body = start // PART_BYTES + 1, data[start : start + PART_BYTES]
            answer = self._ask("upload_part", Key=name, UploadId=upload, PartNumber=number, Body=body)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
            waiting = [pool.submit(put, start) for start in range(0, len(data), PART_BYTES)]
            try:
                parts = [part.result() for part in waiting]
            except BaseException:
                pool.shutdown(cancel_futures=True)  # a part on its way would outlive the abort
                raise
        self._ask("complete_multipart_upload", Key=name, UploadId=upload, MultipartUpload={"Parts": parts})

    def _aborted(self, name: str, upload: str) -> bool:
        """Remove the parts of an upload that failed, if the store lets us."""
        try:
            with hastily(), suppress(FileNotFoundError):
                self._ask("abort_multipart_upload", Key=name, UploadId=upload)
        except OSError:
            return False
        return True

    def _delete_all(self, names: list[str]) -> None:
        left = names

        def remove() -> None:
            nonlocal left
            wanted = {"Objects": [{"Key": name} for name in left], "Quiet": True}
            answer = _answer("delete_objects", Bucket=self.bucket, Delete=wanted)
            # the request as a whole succeeds even where single objects could not be removed
            failures = [failure for failure in answer.get("Errors", ()) if failure.get("Code") != "NoSuchKey"]
            left = [failure["Key"] for failure in failures]
            for failure in sorted(failures, key=lambda failure: failure.get("Code") in PASSING_CODES):
                text = f"{failure['Key']} could not be deleted: {failure.get('Message')}"
                raise ClientError({"Error": {"Code": failure.get("Code"), "Message": text}}, "DeleteObjects")

        self._try(remove)

    def _ask(self, method: str, **arguments: Any) -> Mapping[str, Any]:
        """Make one request, as often as it takes.

        FileNotFoundError where the key is not there, else an OSError that says what to do.
        """
        try:
            return self._try(lambda: _answer(method, Bucket=self.bucket, **arguments))
        except FileNotFoundError as error:
            if code_of(error.__cause__) in {"NoSuchKey", "NoSuchUpload"}:
                raise
            # the answer to a HEAD does not say whether the key or the bucket is missing
            try:
                self._try(lambda: _answer("head_bucket", Bucket=self.bucket))
            except FileNotFoundError:
                raise no_bucket(self.bucket) from error
            raise

    def _try(self, request: Callable[[], T]) -> T:
        try:
            attempts = _connection().attempts
            return patiently(request, passing=passing, attempts=attempts, seconds=PATIENCE, said=said)
        except (GaveUpError, BotoCoreError, ClientError) as error:
            if missing(error):
                raise FileNotFoundError(said(error)) from error
            raise explained(error, self.bucket) from error


class _Connection(NamedTuple):
    filesystem: S3FileSystem
    attempts: int


def _answer(method: str, **arguments: Any) -> Mapping[str, Any]:
    """Make one request once, and return the answer with its body, if any, as bytes."""
    filesystem = _connection().filesystem
    answer: Mapping[str, Any] = sync(filesystem.loop, _request, filesystem, method, arguments)
    return answer


async def _request(filesystem: S3FileSystem, method: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    client = await filesystem.set_session()
    try:
        async with asyncio.timeout(CONNECT_SECONDS + _seconds(len(arguments.get("Body", b"")))) as limit:
            answer: dict[str, Any] = await getattr(client, method)(**arguments)
            if (body := answer.get("Body")) is not None:
                # what is fewer bytes than announced raises, by aiohttp and by botocore
                limit.reschedule(asyncio.get_running_loop().time() + _seconds(answer["ContentLength"]))
                try:
                    answer["Body"] = await body.read()
                finally:
                    body.close()
            return answer
    except TimeoutError as error:
        raise ReadTimeoutError(endpoint_url=client.meta.endpoint_url) from error
    except aiohttp.ClientError as error:
        raise ResponseStreamingError(error=error) from error


def _seconds(size: int) -> float:
    return READ_SECONDS + size / SLOWEST


def _connection() -> _Connection:
    settings = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _connected(os.getpid(), tuple(settings), CONNECT_SECONDS, READ_SECONDS)


@lru_cache(maxsize=4)
def _connected(process: int, settings: tuple[tuple[str, str], ...], connect: float, read: float) -> _Connection:
    """One connection pool for a process and its AWS settings: it survives neither a fork nor a change of them.

    s3fs' own caches are off: that of instances does not see the settings, that of listings does not see what
    other processes write.
    """
    try:
        attempts = Session().get_config_variable("max_attempts")
    except ValueError:
        attempts = 0
    if attempts is not None and attempts < 1:
        raise OSError("AWS_MAX_ATTEMPTS, or max_attempts in AWS' configuration file, is no whole number of 1 or more")
    filesystem = S3FileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "connect_timeout": connect,
            "read_timeout": read,
            "max_pool_connections": 100,  # a request must not wait for others while its time runs
        },
    )
    return _Connection(filesystem, attempts or ATTEMPTS)
