"""Jobs submitted to a real Ray with token authentication, from another process and with an empty home."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from jobs import pipeline
from jobs.config import RunConfig
from storage import layout
from storage.manifest import read_manifest
from tests.conftest import ROOT
from tests.jobs.conftest import make_context, serially

pytestmark = pytest.mark.ray

PATH = pipeline.path(RunConfig(signals="mine", audit={"gate": "off"}))
TOKEN = "0123456789abcdef" * 4
SHIPPED_BY_MISTAKE = "key-of-this-machine"


@dataclass(frozen=True)
class Cluster:
    """A Ray of its own: the dashboard's address, an environment that has its token, and a directory elsewhere."""

    address: str
    environment: dict[str, str]
    directory: Path

    def start(self, *arguments: str, address: str | None = None, **variables: str) -> subprocess.Popen[str]:
        """`python -m jobs.submit` in a directory that is not the checkout."""
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.submit", *arguments, "--address", address or self.address],
            cwd=self.directory, env={**self.environment, "PYTHONPATH": str(ROOT), **variables},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # whoever runs the tests in the background has Ctrl-C ignored, and that is inherited
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def submit(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ask(self, *words: str, body: dict | None = None) -> dict:
        """What the dashboard tells whoever has the token, asked without any code of ours."""
        answer = requests.request(
            "GET" if body is None else "POST", "/".join([self.address, "api", "jobs", *words]),
            headers={"Authorization": f"Bearer {TOKEN}"}, json=body, timeout=60,
        )  # fmt: skip
        answer.raise_for_status()
        return answer.json()


def free_ports(count: int) -> list[int]:
    """Ports at which nothing listens, all different."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """`ray start --head` with token authentication, on ports and in a directory of its own, and nothing left of it."""
    folder = Path(tempfile.mkdtemp(prefix="assay", dir="/tmp"))  # Ray's sockets need a short path
    home = folder / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text(TOKEN, encoding="utf-8")
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "PYTHON", "COV_"))
    }
    plain["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), plain["PATH"]])
    environment = {**plain, "HOME": str(home)}
    gcs, dashboard, agent, client, metrics, runtime = free_ports(6)
    command = [
        "ray", "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2", "--node-ip-address=127.0.0.1",
        f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}",
        f"--metrics-export-port={metrics}", f"--runtime-env-agent-port={runtime}",
        f"--temp-dir={folder / 'ray'}", f"--object-store-memory={2**28}",
    ]  # fmt: skip
    with (folder / "start.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**environment, "RAY_AUTH_MODE": "token"}, cwd=folder, start_new_session=True,
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", dashboard), timeout=1):
                break
            assert process.poll() is None, (folder / "start.log").read_text()
            assert time.monotonic() < deadline, "the dashboard did not come up"
            time.sleep(0.1)
        (folder / "elsewhere").mkdir()
        yield Cluster(f"http://127.0.0.1:{dashboard}", environment, folder / "elsewhere")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # what Ray started in groups of their own; workers end by themselves once their raylet is gone
        for pid, line in processes():
            if str(folder) in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def processes() -> Iterator[tuple[int, str]]:
    """Process numbers of this machine with their command lines."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield int(entry.parent.name), entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")


class Severing:
    """A way to the dashboard that breaks off once, where a text first comes by."""

    def __init__(self, address: str, text: bytes) -> None:
        self._target = ("127.0.0.1", int(address.rpartition(":")[2]))
        self._text = text
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.severed = threading.Event()

    def __enter__(self) -> "Severing":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._text in data and not self.severed.is_set():
                    self.severed.set()
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def submission(text: str) -> str:
    """The name of the submission in what was printed."""
    found = re.search(r"^submitted (\S+) to ", text, flags=re.MULTILINE)
    assert found, text
    return found.group(1)


@pytest.fixture(scope="module")
def settings(market: Path, signals: Path, cluster: Cluster) -> list[str]:
    """Of a run with own signals: a file outside the checkout, with the store beside it."""
    text = f'source = "{market}"\nsignals = "{signals}"\nstore = "store"\nrun = "first"\n[search]\ntrials = 4\n'
    text += '[audit]\ngate = "off"\n'
    (cluster.directory / "run.toml").write_text(text, encoding="utf-8")
    return ["--config", "run.toml"]


@dataclass(frozen=True)
class Failing:
    """Two jobs that fail, begun before the others so that their time is shared: one by its ticker, one by its input."""

    ticker: str
    source: subprocess.Popen[str]


@pytest.fixture(scope="module")
def failing(cluster: Cluster, settings: list[str], market: Path) -> Failing:
    """One is begun as KubeRay does it: the code lies in the image, and nothing is shipped."""
    manifest = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text(encoding="utf-8"))
    environment = yaml.safe_load(manifest["spec"]["runtimeEnvYAML"].replace("/opt/assay", str(ROOT)))
    arguments = ["--source", str(market), "--store", str(cluster.directory / "failing")]
    entrypoint = ["python", "-m", "jobs.ingest", *arguments, "--ingest.tickers", json.dumps(["AAAUSDT", "NOPEUSDT"])]
    body = {"submission_id": "failing", "entrypoint": shlex.join(entrypoint), "runtime_env": environment}
    cluster.ask("", body=body)
    return Failing("failing", cluster.start("pipeline", *settings, "--run", "none", "--source", "absent"))


def test_a_run_that_is_submitted_again_resumes_and_gives_the_local_result(
    cluster: Cluster, settings: list[str], failing: Failing, market: Path, signals: Path, tmp_path: Path
):
    given = {"source": str(market), "signals": str(signals), "run": "first", "search": {"trials": 4}}
    submitted = make_context(cluster.directory / "store", **given)

    # Ctrl-C ends the following alone, and says how to take it up again and how to stop the job
    process = cluster.start("pipeline", *settings)
    # by the store, since the log arrives later, maybe when all is done
    deadline = time.monotonic() + 120
    while not submitted.store.exists(layout.manifest("first", "ingest")):
        assert time.monotonic() < deadline, "the job never came to its second stage"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    first = submission(told)
    assert process.returncode == 130, told
    assert f"python -m jobs.submit --follow {first} --address {cluster.address}" in told
    assert f"python -m jobs.submit --stop {first} --address {cluster.address}" in told
    assert cluster.ask(first)["status"] == "RUNNING"
    stopped = cluster.submit("--stop", first)
    assert stopped.stderr == f"{first} is being stopped\n"
    before = submitted.store.stamps(layout.tables("first", "bars"))
    ingested = submitted.store.stamp(layout.manifest("first", "ingest"))

    # the same run under another name; and a connection that breaks is taken up where it broke, each line once
    with Severing(cluster.address, b"stage 3 of") as way:
        secret = {"AWS_ACCESS_KEY_ID": SHIPPED_BY_MISTAKE, "AWS_SECRET_ACCESS_KEY": SHIPPED_BY_MISTAKE}
        process = cluster.start("pipeline", *settings, address=way.address, **secret)
        out, told = process.communicate(timeout=300)
        assert way.severed.is_set()
    second = submission(told)
    assert process.returncode == 0, told
    assert second != first
    assert f"the connection to {way.address} is lost" in told
    assert told.splitlines()[-1] == f"{second}: succeeded, exit code 0"
    stages = [line for line in out.splitlines() if line.startswith("stage ")]
    assert stages == [f"stage {n} of 6: {stage.__name__[5:]}" for n, stage in enumerate(PATH, start=1)]
    assert out.splitlines()[-1] == f"report: {submitted.store.address(layout.report('first'))}"
    assert cluster.ask(first)["status"] == "STOPPED"
    assert submitted.store.stamps(layout.tables("first", "bars")) == before != {}
    assert submitted.store.stamp(layout.manifest("first", "ingest")) == ingested

    # the same as here, in this process, without a cluster
    local = make_context(tmp_path / "store", **given)
    manifests = {stage.__name__[5:]: stage.run(local, fan_out=serially) for stage in PATH[:-1]}
    manifests["shortlist"] = PATH[-1].run(local)
    manifest = read_manifest(submitted.store, "first", "pipeline")
    assert manifest is not None
    assert manifest.result_hash == pipeline.summary(local, manifests).result_hash
    assert f"result hash: {manifest.result_hash}" in out.splitlines()

    # what the dashboard shows is what a person may see
    info = cluster.ask(second)
    assert {key: info["metadata"][key] for key in ("job", "run", "store")} == {
        "job": "pipeline",
        "run": "first",
        "store": str(cluster.directory / "store"),
    }
    assert second.endswith(info["metadata"]["commit"])
    assert info["job_id"], "the job did not join the cluster that it was submitted to"
    assert set(info["runtime_env"]["env_vars"]) == {"OMP_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL"}
    assert SHIPPED_BY_MISTAKE not in json.dumps(info)
    assert TOKEN not in json.dumps(info)


def test_exit_codes_are_those_of_the_job(cluster: Cluster, failing: Failing):
    out, told = failing.source.communicate(timeout=240)
    assert failing.source.returncode == 2, told
    assert f"{submission(told)}: failed, exit code 2" in told.splitlines()
    assert f"SourceError: There are no candles at {cluster.directory / 'absent'}" in out
    failed = cluster.submit("--follow", failing.ticker)
    assert failed.returncode == 1, failed.stderr
    assert re.search("^failed: .*NOPEUSDT in ingest", failed.stdout, flags=re.MULTILINE)
    assert "1 failed, 0 tolerated" in failed.stdout
    # by which `ray job submit` and KubeRay end with 1
    assert {cluster.ask(name)["status"] for name in (failing.ticker, submission(told))} == {"FAILED"}


def test_a_wrong_token_is_refused_with_what_to_do(cluster: Cluster, settings: list[str]):
    refused = cluster.submit("pipeline", *settings, RAY_AUTH_TOKEN="another")  # noqa: S106 - no password
    assert refused.returncode == 2
    assert f"The cluster at {cluster.address} does not take this token." in refused.stderr
    assert "RAY_AUTH_TOKEN_PATH" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_job_that_the_cluster_does_not_know_is_named(cluster: Cluster):
    refused = cluster.submit("--follow", "pipeline-of-yesterday")
    assert refused.returncode == 2
    assert "knows no job pipeline-of-yesterday" in refused.stderr
