"""What is decided before and after a job is submitted; tests/jobs/test_submit.py submits to a real cluster."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ray.job_submission import JobStatus

from actors.submission import Dashboard, SubmissionError, _ended, _is_here, _Log, runtime_environment
from tests.conftest import ROOT


def written(*connections: list[str]) -> list[str]:
    """The lines that come of chunks on one connection after the other, each sent from the start of the log."""
    lines: list[str] = []
    log = _Log(lines.append)
    for chunks in connections:
        log.start()
        for chunk in chunks:
            log.take(chunk)
    log.close()
    return lines


@pytest.mark.parametrize(
    "connections",
    [
        (["one\ntwo\nthree"],),
        (["o", "ne\ntw", "o\n", "thr", "ee"],),
        (["one\ntw"], ["one\n", "two\nthree"]),
        (["one\ntwo\nthree"], ["one"], ["one\ntwo\nthree"]),
        ([], ["one\ntwo\n"], ["one\ntwo\n", "three"]),
    ],
)
def test_each_line_of_a_log_is_written_once(connections: tuple[list[str], ...]):
    assert written(*connections) == ["one", "two", "three"]


class Info:
    """What Ray says of a job that has ended."""

    def __init__(self, status: JobStatus, code: int | None) -> None:
        self.status, self.driver_exit_code, self.message = status, code, None


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.SUCCEEDED, None, 0),
        (JobStatus.FAILED, 2, 2),
        (JobStatus.FAILED, 1, 1),
        (JobStatus.FAILED, None, 1),
        (JobStatus.FAILED, 0, 1),
        (JobStatus.FAILED, -9, 137),
        (JobStatus.STOPPED, None, 130),
        (JobStatus.STOPPED, -15, 130),
    ],
)
def test_the_exit_code_is_the_drivers_as_a_shell_says_it(status: JobStatus, code: int | None, expected: int):
    assert _ended(Info(status, code)).code == expected


def test_addresses_of_this_machine_are_told_from_others():
    assert _is_here("127.0.0.1")
    assert _is_here("127.0.0.7")
    assert not _is_here("198.51.100.7")


@pytest.mark.parametrize("name", ["AWS_PROFILE", "aws_secret_access_key", "RAY_AUTH_TOKEN", "DB_PASSWORD"])
def test_a_secret_in_the_runtime_environment_is_refused_and_not_printed(tmp_path: Path, name: str):
    path = tmp_path / "runtime_env.yaml"
    path.write_text(f"env_vars:\n  OMP_NUM_THREADS: '1'\n  {name}: hidden\n", encoding="utf-8")
    with pytest.raises(SubmissionError, match=name) as caught:
        runtime_environment(path)
    assert "hidden" not in str(caught.value)


def test_a_runtime_environment_that_cannot_be_read_is_named(tmp_path: Path):
    path = tmp_path / "runtime_env.yaml"
    path.write_text("- a list\n", encoding="utf-8")
    for place in (path, tmp_path / "absent.yaml"):
        with pytest.raises(SubmissionError, match=f"{place} cannot be read"):
            runtime_environment(place)


def refused(address: str, home: Path, **variables: str) -> str:
    """What `jobs.submit` answers in a process of its own, since authentication is a matter of the whole process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    run = subprocess.run(
        [sys.executable, "-m", "jobs.submit", "--stop", "anything", "--address", address],
        cwd=ROOT, env={**kept, "HOME": str(home), **variables}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr


def test_without_a_token_it_says_how_to_get_one_and_asks_nobody(tmp_path: Path):
    message = refused("127.0.0.1:1", tmp_path)
    assert "SubmissionError: There is no token for the cluster at http://127.0.0.1:1" in message
    assert f"looked for in {tmp_path}/.ray/auth_token" in message
    assert "ray get-auth-token --generate" in message
    assert not (tmp_path / ".ray").exists()


def test_where_nothing_answers_the_address_is_named(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    message = refused(f"127.0.0.1:{free}", tmp_path, RAY_AUTH_MODE="disabled", RAY_ADDRESS="http://198.51.100.7:1")
    assert f"SubmissionError: No dashboard answers at http://127.0.0.1:{free}" in message
    assert "--address" in message


@pytest.mark.parametrize("address", ["ray://head:10001", "http://", "http://me:secret@head:8265"])
def test_an_address_of_another_form_is_refused(address: str):
    with pytest.raises(SubmissionError, match="allowed is http://host:port") as caught:
        Dashboard(address)
    assert "secret" not in str(caught.value)
