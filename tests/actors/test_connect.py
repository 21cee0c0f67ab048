import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.connect import Cluster, connect
from actors.fan_out import fan_out
from tests.actors import work
from tests.conftest import ROOT

pytestmark = pytest.mark.ray

# The cluster of these tests has a token and listens on loopback only, which Ray has to be told.
JOINING = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


# Only the driver itself knows where the code is.
DRIVER = (
    f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_module('tests.actors.joining', None, '__main__')"
)


def drive(*arguments: str, directory: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    return subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments],
        cwd=directory,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def answer(*arguments: str, **variables: Any) -> dict[str, Any]:
    run = drive(*arguments, **variables)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_local_is_a_ray_of_our_own_whatever_the_environment_says(tmp_path: Path) -> None:
    told = answer("local", directory=tmp_path, RAY_ADDRESS="198.51.100.7:6379", OMP_NUM_THREADS="8")
    assert (told["cluster"]["local"], told["cluster"]["nodes"], told["cluster"]["cpus"]) == (True, 1, 2)
    assert told["cluster"]["memory"] > 0
    assert told["same when nested"] is True
    assert told["worker"] == {
        "OMP_NUM_THREADS": "1",
        "RAY_ADDRESS": None,
        "TOLD": None,
        "code": str(ROOT / "actors" / "outcome.py"),
    }
    assert {address.removeprefix("::ffff:") for address in told["listening"]} == {"127.0.0.1"}
    assert told["running afterwards"] == [False, False]
    assert told["address kept"] is True


def test_an_address_joins_and_ships_the_code(cluster: Cluster, tmp_path: Path) -> None:
    told = answer("join", cluster.address, directory=tmp_path, **JOINING)
    assert (told["cluster"]["local"], told["cluster"]["address"], told["cluster"]["cpus"]) == (
        False,
        cluster.address,
        4,
    )
    assert told["worker"]["OMP_NUM_THREADS"] == "1"
    assert "working_dir_files" in told["worker"]["code"]


@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "3"}, "3")])
def test_a_submitted_job_joins_its_cluster_and_keeps_its_environment(
    cluster: Cluster, given: dict[str, str], threads: str
) -> None:
    variables = {"PYTHONPATH": str(ROOT), "TOLD": "yes", **given}
    submitted = {"runtime_env": {"env_vars": variables}, "metadata": {"job_submission_id": "test"}}
    told = answer("join", RAY_JOB_CONFIG_JSON_ENV_VAR=json.dumps(submitted), RAY_ADDRESS=cluster.address, **JOINING)
    assert (told["cluster"]["local"], told["cluster"]["address"]) == (False, cluster.address)
    assert (told["worker"]["OMP_NUM_THREADS"], told["worker"]["TOLD"]) == (threads, "yes")


def test_a_cluster_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    run = drive("join", f"127.0.0.1:{free}")
    assert f"ConnectionError: No Ray cluster answers at '127.0.0.1:{free}'" in run.stderr


def test_an_address_where_something_else_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        port = server.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-m", "tests.actors.joining", "join", f"127.0.0.1:{port}"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        ) as driver:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            message = driver.stderr.read()
            connection.close()
    assert "ConnectionError" in message
    assert "something other than Ray listens there" in message


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://head:10001", "head", "head:", ":6379"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    assert f"AddressError: The Ray address is '{address}'; allowed are 'host:port'" in drive("join", address).stderr


def test_outside_connect_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(RuntimeError, match="square: Ray is not running"):
        fan_out(work.square, [1], name="square")


@pytest.mark.slow  # Ray waits for its own processes for half a minute
def test_a_ray_whose_agent_is_slow_is_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each process of Ray imports this file; the first agent then sleeps for longer than its raylet waits."""
    (tmp_path / "slow").touch()
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, sys, time\n"
        "mark = pathlib.Path(__file__).with_name('slow')\n"
        "if any(each.endswith('dashboard/agent.py') for each in sys.orig_argv) and mark.exists():\n"
        "    mark.unlink()\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = "from actors.connect import connect\nwith connect('local', 1) as cluster: print(cluster.cpus)"
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "1.0\n"
    assert not (tmp_path / "slow").exists()
    assert "Ray did not come up in time" in process.stderr


def test_no_cpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with pytest.raises(ValueError, match="cpus is 0; allowed is 1 or more"), connect("local", 0):
        pass
