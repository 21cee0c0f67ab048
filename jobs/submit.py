"""Submit a job to a running cluster, follow its log, and end with its exit code.

    python -m jobs.submit JOB --config run.toml [--address http://127.0.0.1:8265] [--no-wait] [--shared] [settings]
    python -m jobs.submit --follow SUBMISSION
    python -m jobs.submit --stop SUBMISSION

The settings are those of the job, and are checked here, before anything is shipped; the file given by --config need not
lie in the checkout. With it travel the checkout, without what .rayignore names and at most 32 MiB, and the runtime
environment in deploy/runtime_env.yaml; never the credentials of this machine. The submission is named
JOB-TIME-COMMIT. It is not the run: the same run submitted again goes on where it was.

The cluster is entered with Ray's token (~/.ray/auth_token, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH), or where it has none
with RAY_AUTH_MODE=disabled. Paths of this machine are refused where the cluster has other nodes, unless --shared says
that all of them have the same files under the same paths; else name an s3:// URL.

Ctrl-C ends the following and leaves the job running. Exit codes beside the job's own: 2 for a submission that was
refused, 3 where the cluster fell silent and the end is not known, 130 for Ctrl-C and for a job that was stopped.
"""

import argparse
import datetime
import difflib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pydantic_settings import SettingsError

from actors.package import check
from actors.submission import INTERRUPTED, Dashboard, NameTakenError, OutcomeUnknownError, runtime_environment
from jobs.config import RunConfig
from jobs.flags import flags
from jobs.runner import ConfigError, end, names, parse
from storage import urls

PROJECT = Path(__file__).resolve().parents[1]
ADDRESS = "http://127.0.0.1:8265"
UNKNOWN = 3

logger = logging.getLogger("assay")


def submit(job: str, config: RunConfig, address: str, *, shared: bool = False) -> str:
    """Submit a job with a validated configuration and return the name of the submission.

    Parameters
    ----------
    address
        URL of the cluster's dashboard.
    shared
        Whether every node of the cluster has the same files under the same paths as this machine.

    Raises
    ------
    ConfigError
        If the configuration means something else on the cluster than here.
    SubmissionError, PackageError, StoreError
        If the cluster refuses, the checkout is too large, or a URL is not allowed.
    """
    config, local = absolute(config)
    arguments = checked_flags(job, config)
    environment = runtime_environment(PROJECT / "deploy" / "runtime_env.yaml")
    size = check(PROJECT)
    dashboard = Dashboard(address)
    if local and not shared:
        refuse_elsewhere(local, dashboard.elsewhere(), address)
    commit = version()
    while True:
        name = submission_name(job, datetime.datetime.now(datetime.UTC), commit)
        try:
            dashboard.submit(
                shlex.join(["python", "-m", f"jobs.{job}", *arguments]),
                name,
                metadata={"job": job, "run": config.run, "store": config.store, "commit": commit},
                environment=environment,
                directory=PROJECT,
            )
            break
        except NameTakenError:  # by another submission in the same second
            time.sleep(1)
    logger.info("submitted %s to %s, with %.1f MiB of code", name, dashboard.address, size / 2**20)
    return name


def absolute(config: RunConfig) -> tuple[RunConfig, dict[str, str]]:
    """Return the configuration with its paths made absolute, and those paths by the names of their settings.

    A job does not run in the directory that it was submitted from.

    Raises
    ------
    ConfigError
        If the address of a cluster is set, or something rests in memory.
    StoreError
        If a URL is malformed or carries credentials.
    """
    if config.address:
        raise ConfigError(
            f"address = {config.address!r}: a submitted job joins the cluster that it was submitted to. Leave the "
            "setting out of the file; --address names the dashboard."
        )
    given = {"store": config.store, **config.urls}
    places = {name: urls.parse(url) for name, url in given.items()}
    for name, place in places.items():
        if place.scheme == "memory":
            raise ConfigError(
                f"{name} = {given[name]!r}: memory:// is that of one process, and a submitted job has many; allowed "
                "are s3:// and a path that all nodes have."
            )
    local = {name: place.path for name, place in places.items() if place.scheme == "file"}
    top = {name: path for name, path in local.items() if name != "ingest.funding"}
    if "ingest.funding" in local:
        top["ingest"] = config.ingest.model_copy(update={"funding": local["ingest.funding"]})
    return config.model_copy(update=top), local


def checked_flags(job: str, config: RunConfig) -> list[str]:
    """Return the flags of a configuration, by which it reaches the cluster.

    Raises
    ------
    ConfigError
        If they would not give it again there.
    """
    arguments = flags(config)
    try:
        same = parse(job, "", arguments) == config
    except (ConfigError, SettingsError):
        same = False
    if not same:
        raise ConfigError(
            "The configuration holds a text that cannot be written as a flag: 'null', or a quotation mark, a backslash "
            "or a control character in a list. Rename it."
        )
    return arguments


def refuse_elsewhere(local: dict[str, str], elsewhere: list[str], address: str) -> None:
    """Refuse paths of this machine where the cluster has nodes elsewhere; warn of them where it has none yet."""
    paths = ", ".join(f"{name} = {path}" for name, path in local.items())
    if elsewhere:
        raise ConfigError(
            f"{paths}: a path of this machine, but the cluster at {address} has nodes elsewhere "
            f"({', '.join(elsewhere[:3])}{', …' if len(elsewhere) > 3 else ''}), which do not see it. Name an s3:// "
            "URL, or say --shared where all nodes have the same files under this path."
        )
    logger.warning("%s: paths of this machine; a node that joins the cluster later must have them too", paths)


def submission_name(job: str, moment: datetime.datetime, commit: str) -> str:
    """Return the name of a submission: job, second in UTC, commit."""
    return f"{job}-{moment.astimezone(datetime.UTC):%Y%m%dT%H%M%SZ}-{commit}"


def version(directory: Path = PROJECT) -> str:
    """Return the commit of a checkout, with "-dirty" where files differ from it; "unversioned" where there is none."""
    root = _git(directory, "rev-parse", "--show-toplevel")
    commit = _git(directory, "rev-parse", "--short=10", "HEAD")
    if not root or not commit or Path(root).resolve() != directory.resolve():
        return "unversioned"
    return f"{commit}-dirty" if _git(directory, "status", "--porcelain") else commit


def follow(dashboard: Dashboard, name: str) -> int:
    """Print the log of a job until it has ended, and return its exit code."""
    try:
        ended = dashboard.follow(name, lambda line: print(line, flush=True), logger.warning)
    except KeyboardInterrupt:
        more = f"{name} --address {dashboard.address}"
        logger.info("\n%s goes on. Follow it again by `python -m jobs.submit --follow %s`,", name, more)
        logger.info("stop it by `python -m jobs.submit --stop %s`.", more)
        return INTERRUPTED
    except OutcomeUnknownError as error:
        logger.error("\n%s", error)
        return UNKNOWN
    logger.info("%s: %s, exit code %d", name, ended.status.lower(), ended.code)
    if ended.code and ended.message:
        logger.info("%s", ended.message.splitlines()[0])
    return ended.code


def program(arguments: list[str]) -> int:
    """Do what the command line says, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.submit",
        usage="%(prog)s JOB [options] [settings of the job]",
        description=(__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--address",
        metavar="URL",
        default=os.environ.get("RAY_API_SERVER_ADDRESS", ADDRESS),
        help=f"of the cluster's dashboard; by default RAY_API_SERVER_ADDRESS, else {ADDRESS}",
    )
    parser.add_argument("--no-wait", action="store_true", help="end once the job is submitted")
    parser.add_argument("--shared", action="store_true", help="all nodes have this machine's paths")
    parser.add_argument("--follow", metavar="SUBMISSION", help="follow a job that was submitted before")
    parser.add_argument("--stop", metavar="SUBMISSION", help="stop a job that was submitted before")
    known, rest = parser.parse_known_args(arguments)
    if known.stop:
        ran = Dashboard(known.address).stop(known.stop)
        logger.info("%s %s", known.stop, "is being stopped" if ran else "had ended before")
        return 0
    if known.follow:
        return follow(Dashboard(known.address), known.follow)
    job = checked_job(rest)
    name = submit(job, parse(job, "", rest[1:]), known.address, shared=known.shared)
    return 0 if known.no_wait else follow(Dashboard(known.address), name)


def checked_job(rest: list[str]) -> str:
    """Return the job that is named first among the arguments.

    Raises
    ------
    ConfigError
        If none is, or one that is not known.
    """
    jobs = [name for name in names() if name != "submit"]
    given = rest[0] if rest else ""
    if given not in jobs:
        close = difflib.get_close_matches(given, jobs, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise ConfigError(f"{given!r} is not a job{hint} The job comes first, as in `python -m jobs.submit pipeline`.")
    return given


def _git(directory: Path, *arguments: str) -> str:
    """What git says of a checkout; nothing where there is no git, or no checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    said = subprocess.run(  # noqa: S603 - the arguments are ours
        [git, "-C", str(directory), *arguments], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() if said.returncode == 0 else ""


if __name__ == "__main__":
    end(lambda: program(sys.argv[1:]))
