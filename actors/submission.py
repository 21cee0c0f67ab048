"""Jobs on a cluster that runs elsewhere: submitted by way of its dashboard, followed line by line, and stopped."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests
import yaml
from ray._raylet import AuthenticationTokenLoader, Config
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from ray.util.state import list_nodes

from actors.connect import environment

PROBE_SECONDS = 10.0
SILENCE_SECONDS = 30.0  # without a line of the log, after which the job is asked for, lest the connection be dead
PATIENCE_SECONDS = 300.0  # without any answer, after which following ends
PAUSE_SECONDS = (0.5, 10.0)  # between two attempts, doubled from the first to the second
SECRET = ("AWS_", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")  # in the name of a variable
INTERRUPTED = 130  # the exit code of a job that was stopped, as of a program by Ctrl-C
# Ray writes a line for each file of exclusions, and one at the end of each log.
CHATTER = (
    "ray._private.runtime_env.packaging",
    "ray._private.runtime_env.working_dir",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
LOSSES = (RuntimeError, OSError, aiohttp.ClientError, requests.RequestException)


class SubmissionError(RuntimeError):
    """A job that could not be submitted, found or stopped."""


class NameTakenError(SubmissionError):
    """A submission by a name that the cluster knows already."""


class OutcomeUnknownError(SubmissionError):
    """A job whose end could not be seen."""


@dataclass(frozen=True)
class Ended:
    """How a job ended: `code` is its driver's exit code, as a shell says it; `message` is Ray's."""

    status: str
    code: int
    message: str


def runtime_environment(path: Path) -> dict[str, Any]:
    """Reads the runtime environment of submitted jobs from a YAML file.

    Raises:
        SubmissionError: it is no such file, or a variable's name is that of a secret: Ray shows the runtime
            environment to whoever sees the dashboard.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        names = list(found.get("env_vars") or {})
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise SubmissionError(f"The runtime environment {path} cannot be read: {error}") from error
    secret = [name for name in names if any(part in name.upper() for part in SECRET)]
    if secret:
        raise SubmissionError(
            f"The runtime environment {path} sets {', '.join(secret)}, which everyone who sees the dashboard would "
            "read. Leave it out: nodes take credentials from their instance role, or from their own environment."
        )
    return found


class Dashboard:
    """The dashboard of a cluster, by which jobs are submitted, followed and stopped.

    Args:
        address: `http://host:port` of the dashboard, or `host:port`.

    Raises:
        SubmissionError: the address is not allowed, no dashboard answers there, or it does not let us in.
    """

    def __init__(self, address: str) -> None:
        """Reaches the dashboard at the address, and asks for its version."""
        for name in CHATTER:
            logging.getLogger(name).setLevel(logging.ERROR)
        self.address = address if "://" in address else f"http://{address}"
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            shown = f"{parts.scheme}://…@{parts.hostname}" if parts.username else address
            raise SubmissionError(
                f"The dashboard's address is {shown!r}; allowed is http://host:port, as in http://127.0.0.1:8265 "
                "(--address)."
            )
        _ask_for_a_token(self.address)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname, port), timeout=PROBE_SECONDS).close()
        except (OSError, ValueError) as error:
            raise SubmissionError(
                f"No dashboard answers at {self.address}: {error}. Check that the cluster runs and the address "
                "(--address); to one in the cloud, `ray dashboard cluster.yaml` keeps a tunnel open from "
                "http://127.0.0.1:8265."
            ) from error
        with self._explained("ask for its version"), self._first():
            self._client = JobSubmissionClient(self.address)

    def elsewhere(self) -> list[str]:
        """Returns the addresses of the cluster's living nodes that are not this machine."""
        with self._explained("list the nodes"), self._first():
            nodes = list_nodes(self.address, filters=[("state", "=", "ALIVE")], limit=10_000)
        return sorted({node.node_ip for node in nodes if not _is_here(node.node_ip)})

    def submit(
        self,
        entrypoint: str,
        submission: str,
        *,
        metadata: Mapping[str, str],
        environment: Mapping[str, Any],
        directory: Path | None,
    ) -> None:
        """Ships the directory and starts a job; `environment` is Ray's runtime environment without it.

        Raises:
            NameTakenError: there is such a submission.
            SubmissionError: the cluster refuses.
        """
        shipped = {"working_dir": str(directory)} if directory else {}
        with self._explained(f"submit {submission}"):
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=submission,
                runtime_env={**environment, **shipped},
                metadata=dict(metadata),
            )

    def stop(self, submission: str) -> bool:
        """Asks a job to stop, and says whether it ran.

        Raises:
            SubmissionError: the cluster knows no such job.
        """
        with self._explained(f"stop {submission}"):
            return self._client.stop_job(submission)

    def follow(self, submission: str, write: Callable[[str], object], told: Callable[[str], object]) -> Ended:
        """Hands each line of a job's log to `write` as it is written, until the job has ended.

        A connection that is lost is taken up again where it broke off, which `told` hears of. An interrupt leaves the
        job running.

        Raises:
            SubmissionError: the cluster knows no such job, or does not let us in.
            OutcomeUnknownError: nothing answered for five minutes, or the cluster has forgotten the job meanwhile.
        """
        with self._explained(f"follow {submission}"):
            self._client.get_job_info(submission)
        log = _Log(write)
        pause, heard, lost = PAUSE_SECONDS[0], time.monotonic(), False
        while True:
            try:
                asyncio.run(self._tail(submission, log))
                info = self._client.get_job_info(submission)
                if info.status.is_terminal():
                    log.start()
                    log.take(self._client.get_job_logs(submission))
                    log.close()
                    return _ended(info)
                heard, pause, lost = time.monotonic(), PAUSE_SECONDS[0], False
            except AuthenticationError:
                raise self._denied() from None
            except LOSSES as error:
                if "404" in str(error):
                    raise OutcomeUnknownError(str(self._unknown(submission))) from None
                if log.moved:
                    heard, pause, lost = time.monotonic(), PAUSE_SECONDS[0], False
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise OutcomeUnknownError(
                        f"{self.address} has not answered for {PATIENCE_SECONDS / 60:.0f} minutes, the last time with "
                        f"{error}; how {submission} ends is not known. Follow it again once the cluster is reached; "
                        "where the cluster is gone, submit the same run again: what is done is not done twice."
                    ) from error
                if not lost:
                    told(f"the connection to {self.address} is lost; the job goes on, and so shall its log")
                lost = True
            time.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS[1])

    async def _tail(self, submission: str, log: "_Log") -> None:
        """Takes what the cluster sends of the log, which starts at its beginning, until it closes the connection."""
        log.start()
        async with aclosing(self._client.tail_job_logs(submission)) as chunks:
            while True:
                coming = asyncio.ensure_future(anext(chunks, None))
                try:
                    while not (await asyncio.wait({coming}, timeout=SILENCE_SECONDS))[0]:
                        if (await asyncio.to_thread(self._client.get_job_info, submission)).status.is_terminal():
                            return
                finally:
                    if not coming.done():
                        coming.cancel()
                        await asyncio.wait({coming})
                chunk = coming.result()
                if chunk is None:
                    return
                log.take(chunk)

    def _first(self) -> AbstractContextManager[None]:
        """Lets the address given win over Ray's own variables, which Ray would follow elsewhere without a word."""
        return environment({"RAY_API_SERVER_ADDRESS": self.address})

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except AuthenticationError:
            raise self._denied() from None
        except (*LOSSES, RayError, ValueError, KeyError) as error:
            said = str(error)
            if "status code 404" in said and "does not exist" in said:
                raise self._unknown(action.partition(" ")[2]) from None
            # the cluster answers with a traceback, of which the last line says what was wrong
            first, *rest = said.strip().splitlines() or ["no reason given"]
            kind = NameTakenError if "already exists" in said else SubmissionError
            raise kind(
                f"The cluster at {self.address} did not {action}: {' … '.join([first[:200], *rest[-1:]])} "
                "Check that it is a Ray dashboard of the version in the lock."
            ) from error

    def _denied(self) -> SubmissionError:
        return SubmissionError(
            f"The cluster at {self.address} does not take this token. It must be the one that the cluster was started "
            f"with: copy it to ~/.ray/auth_token, or set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH. {_where()}"
        )

    def _unknown(self, submission: str) -> SubmissionError:
        return SubmissionError(
            f"The cluster at {self.address} knows no job {submission}: it may have been started anew, or be another "
            "one. `ray job list` shows its jobs; the same run submitted again goes on where it was."
        )


class _Log:
    """A log that is sent from its start on each connection, and written once, in whole lines."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._rest = ""  # of a line that has not ended
        self._taken = 0  # characters over all connections
        self._sent = 0  # on this connection
        self.moved = False  # whether there was anything new on this connection

    def start(self) -> None:
        self._sent, self.moved = 0, False

    def take(self, chunk: str) -> None:
        new = chunk[max(0, self._taken - self._sent) :]
        self._sent += len(chunk)
        self._taken = max(self._taken, self._sent)
        self.moved = self.moved or bool(new)
        *lines, self._rest = (self._rest + new).split("\n")
        for line in lines:
            self._write(line)

    def close(self) -> None:
        if self._rest:
            self._write(self._rest)
        self._rest = ""


def _ask_for_a_token(address: str) -> None:
    """Turns token authentication on, unless it was turned off by name, and refuses to go without a token."""
    mode = os.environ.setdefault("RAY_AUTH_MODE", "token")
    Config.initialize("")  # Ray has read the mode when it was imported
    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()
    if mode.lower() == "token" and not loader.has_token(ignore_auth_mode=True):
        raise SubmissionError(
            f"There is no token for the cluster at {address}. {_where()} Copy the cluster's there; for a new cluster "
            "make one by `ray get-auth-token --generate` before it is started. A cluster that runs without "
            "authentication, open to everyone who reaches it, is submitted to with RAY_AUTH_MODE=disabled."
        )


def _where() -> str:
    """Says where the token was looked for; never the token."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "It was taken from RAY_AUTH_TOKEN."
    return f"It was looked for in {os.environ.get('RAY_AUTH_TOKEN_PATH') or Path.home() / '.ray' / 'auth_token'}."


def _is_here(address: str) -> bool:
    """Whether an IP address is one of this machine, on which alone one can listen at it."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(target)
    except OSError:
        return False
    return True


def _ended(info: JobDetails) -> Ended:
    code = info.driver_exit_code
    if info.status == JobStatus.STOPPED:
        code = INTERRUPTED
    elif code is None or (code == 0 and info.status != JobStatus.SUCCEEDED):
        code = 0 if info.status == JobStatus.SUCCEEDED else 1  # it failed around its driver: the message says how
    elif code < 0:
        code = 128 - code  # killed by a signal
    return Ended(str(info.status), code, info.message or "")
