"""What can go wrong between here and S3: which of it may pass by itself, and what to tell a person."""

import os
import re
from typing import Any

from aiohttp import ClientConnectorCertificateError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
)
from botocore.parsers import ResponseParserError

from storage.errors import BackendUnavailableError
from storage.patience import GaveUpError

# Of a whole request or of one key among those to be deleted.
PASSING_CODES = {
    *("InternalError", "ServiceUnavailable", "SlowDown", "OperationAborted", "ConditionalRequestConflict"),
    *("RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"),
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
    *("TooManyRequests", "TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded"),
    # what arrived there is not what was sent
    *("IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),
}
# No answer came, or not the whole of it; XML that was cut is no XML.
PASSING_ERRORS = (ConnectionError, HTTPClientError, IncompleteReadError, FlexibleChecksumError, ResponseParserError)
PASSING_STATUSES = {408, 429}
LASTING_STATUSES = {501, 505, 507}  # not implemented, HTTP version, storage full
DENIED_CODES = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ACCESS_KEY_ID")
LONGEST_TEXT = 500  # of what a server says


def passing(error: Exception) -> bool:
    """Whether an error may pass by itself: overload, a lost connection, an answer that came late or in part."""
    if isinstance(error, ClientError):
        status = status_of(error)
        return (
            code_of(error) in PASSING_CODES
            or status in PASSING_STATUSES
            or (500 <= status < 600 and status not in LASTING_STATUSES)
        )
    if isinstance(_reason(error), ClientConnectorCertificateError | ValueError | TypeError):
        return False  # a certificate, or a request that cannot be made
    return isinstance(error, PASSING_ERRORS)


def code_of(error: BaseException | None) -> str:
    """S3's code for what went wrong; for an answer without a body, to a HEAD, the HTTP status as text."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def status_of(error: BaseException) -> int:
    """HTTP status of the answer, 0 where there was none."""
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def missing(error: BaseException) -> bool:
    """Whether a key is not there; or, where the answer had no body to say so, its bucket."""
    return status_of(error) == 404 and code_of(error) != "NoSuchBucket"


def no_bucket(bucket: str) -> OSError:
    """What to raise where there is no such bucket."""
    return BackendUnavailableError(
        f"the bucket {bucket!r} does not exist; create it, or correct the URL or AWS_ENDPOINT_URL"
    )


def explained(error: Exception, bucket: str) -> OSError:
    """What to raise in place of an error that is no missing key, in words that say what to do."""
    if isinstance(error, GaveUpError):
        times = "1 attempt" if error.attempts == 1 else f"{error.attempts} attempts"
        return BackendUnavailableError(
            f"{times} within {error.seconds:.0f} s failed, the last by: {said(error.error)}; check AWS_ENDPOINT_URL, "
            "the region, the network and whether the service is up, then run the same command again "
            "(AWS_MAX_ATTEMPTS sets how often a request is tried)"
        )
    if code_of(error) == "NoSuchBucket":
        return no_bucket(bucket)
    if code_of(error) in DENIED_CODES or status_of(error) in {401, 403}:
        return BackendUnavailableError(
            f"access denied ({said(error)}); check that the AWS credentials found here may list the bucket "
            f"{bucket!r} and get, put and delete its objects"
        )
    if isinstance(error, NoCredentialsError):
        return BackendUnavailableError(
            "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, "
            "or run where a role provides them"
        )
    if isinstance(error, BotoCoreError):  # no answer of a server: configuration, credentials, certificates
        return BackendUnavailableError(f"{said(error)}; check AWS_ENDPOINT_URL, the AWS configuration and the network")
    if status_of(error) == 412:
        return OSError("the object was replaced while it was being read; read it again")
    return OSError(f"{said(error)}; check AWS_ENDPOINT_URL, the region and what the service can do")


def said(error: BaseException) -> str:
    """The error and its reason on one line, without anything that is nobody's business."""
    text, reason = str(error) or type(error).__name__, str(_reason(error) or "")
    if isinstance(error, ClientError):  # its own text speaks of botocore's retries, which are off
        details = error.response.get("Error", {})
        text = f"{error.operation_name} was answered by {code_of(error)}: {details.get('Message', '')}"
    line = " ".join((text if reason in text else f"{text} ({reason})").split())
    line = re.sub(r"//[^/\s]*@", "//…@", line)  # a password in an endpoint's URL
    for name in SECRETS:
        if secret := os.environ.get(name):
            line = line.replace(secret, "…")
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"


def _response(error: BaseException | None) -> dict[str, dict[str, Any]]:
    response: dict[str, dict[str, Any]] = getattr(error, "response", None) or {}
    return response


def _reason(error: BaseException) -> object:
    """What botocore's error was made from; its text often leaves that out."""
    return getattr(error, "kwargs", {}).get("error")
