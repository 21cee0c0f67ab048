"""Objects in an S3 bucket, or in anything that speaks S3's HTTP interface, by s3fs.

Credentials, region and endpoint come from the standard AWS chain at the time of use (environment,
``AWS_ENDPOINT_URL`` included, shared files, roles); the backend holds none, so a pickled one carries none.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from s3fs import S3FileSystem

from storage.entries import Entry, Unfinished

PART_BYTES = 32 * 2**20  # from two parts on, a put is a multipart upload
DELETE_KEYS = 1000  # S3's limit for one request


@dataclass(frozen=True)
class S3Backend:
    """A bucket and a prefix in it, which may be empty."""

    bucket: str
    root: str

    def read(self, key: str) -> bytes:
        """Return the bytes of an object; FileNotFoundError where there is none."""
        with self._explained():
            # one GET: the ranges of a concurrent read could come from two versions of the object
            data: bytes = _filesystem().cat_file(f"{self.bucket}/{self._name(key)}", max_concurrency=1)
            return data

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading by ranges; FileNotFoundError where there is none."""
        with self._explained():
            file: BinaryIO = _filesystem().open(f"{self.bucket}/{self._name(key)}", "rb")
            return file

    def write(self, key: str, data: bytes) -> None:
        """Replace an object as a whole: one PUT, or a multipart upload that shows when it is completed."""
        with self._explained():
            try:
                _filesystem().pipe_file(f"{self.bucket}/{self._name(key)}", data, chunksize=PART_BYTES)
            except FileNotFoundError as error:
                raise self._no_bucket() from error

    def exists(self, key: str) -> bool:
        """Whether the key is an object."""
        with self._explained():
            try:
                self._call("head_object", Key=self._name(key))
            except FileNotFoundError:
                # the answer to a HEAD does not say whether the key or the bucket is missing
                try:
                    self._call("head_bucket")
                except FileNotFoundError as error:
                    raise self._no_bucket() from error
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
        with self._explained():
            head = self._call("head_object", Key=self._name(key))
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
            with self._explained():
                page = self._call("list_multipart_uploads", **arguments)
            for entry in page.get("Uploads", ()):
                name, upload = entry["Key"], entry["UploadId"]
                with suppress(FileNotFoundError), self._explained():  # completed since it was listed
                    parts = self._call("list_parts", Key=name, UploadId=upload).get("Parts", ())
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
        with suppress(FileNotFoundError), self._explained():
            self._call("abort_multipart_upload", Key=self._name(write.key), UploadId=write.upload)

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

    def _call(self, method: str, **arguments: Any) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = _filesystem().call_s3(method, Bucket=self.bucket, **arguments)
        return answer

    def _pages(self, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        while True:
            with self._explained():
                page = self._call("list_objects_v2", **arguments)
            yield page
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _delete_all(self, names: list[str]) -> None:
        with self._explained():
            answer = self._call("delete_objects", Delete={"Objects": [{"Key": name} for name in names], "Quiet": True})
        # the request as a whole succeeds even where single objects could not be removed
        for failure in answer.get("Errors", ()):
            raise OSError(f"{failure.get('Key')} could not be deleted: {failure.get('Code')}, {failure.get('Message')}")

    def _no_bucket(self) -> OSError:
        return OSError(f"the bucket {self.bucket!r} does not exist; create it, or correct the URL or AWS_ENDPOINT_URL")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what s3fs and botocore raise into FileNotFoundError (no such key) or an OSError that says what to do."""
        try:
            yield
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise self._no_bucket() from error
            raise
        except PermissionError as error:
            raise OSError(
                f"access denied ({error}); check that the AWS credentials found here may list the bucket "
                f"{self.bucket!r} and get, put and delete its objects"
            ) from error
        except NoCredentialsError as error:
            raise OSError(
                "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, "
                "or run where a role provides them"
            ) from error
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"{error}; check AWS_ENDPOINT_URL, the region and the network") from error


def _code(error: BaseException) -> str | None:
    response = getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def _filesystem() -> S3FileSystem:
    settings = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _connected(os.getpid(), tuple(settings))


@lru_cache(maxsize=4)
def _connected(process: int, settings: tuple[tuple[str, str], ...]) -> S3FileSystem:
    """One connection pool for a process and its AWS settings: it survives neither a fork nor a change of them.

    s3fs' own caches are off: that of instances does not see the settings, that of listings does not see what
    other processes write.
    """
    return S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
