"""The command line of `jobs.submit` up to the point where a cluster is asked."""

import datetime
import re
import subprocess
from pathlib import Path

import pytest

from jobs.config import RunConfig
from jobs.runner import ConfigError
from jobs.submit import absolute, program, refuse_elsewhere, submission_name, submit, version
from storage.errors import StoreError
from tests.conftest import ROOT

NOWHERE = "http://127.0.0.1:1"  # never asked: each of these is refused before


def test_the_name_of_a_submission_says_job_time_and_commit():
    east = datetime.timezone(datetime.timedelta(hours=2))
    moment = datetime.datetime(2026, 3, 4, 5, 6, 7, tzinfo=east)
    assert submission_name("pipeline", moment, "0123456789-dirty") == "pipeline-20260304T030607Z-0123456789-dirty"


def test_the_version_is_the_commit_and_says_whether_files_differ(tmp_path: Path):
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert version(tmp_path) == "unversioned"
    git("init")
    (tmp_path / "a").write_text("1", encoding="utf-8")
    git("add", "a")
    git("commit", "-m", "a")
    commit = git("rev-parse", "HEAD")[:10]
    assert version(tmp_path) == commit
    (tmp_path / "a").write_text("2", encoding="utf-8")
    assert version(tmp_path) == f"{commit}-dirty"
    (tmp_path / "below").mkdir()
    assert version(tmp_path / "below") == "unversioned"


def test_paths_are_made_absolute_and_urls_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = {"source": "candles", "store": "s3://bucket/research", "signals": f"file://{tmp_path}/a%20b.csv"}
    config, local = absolute(RunConfig.model_validate({**settings, "ingest": {"funding": "./rates.csv", "bar": "1h"}}))
    expected = {"source": f"{tmp_path}/candles", "signals": f"{tmp_path}/a b.csv"}
    assert local == {**expected, "ingest.funding": f"{tmp_path}/rates.csv"}
    assert (config.source, config.signals, config.store) == (*expected.values(), "s3://bucket/research")
    assert (config.ingest.funding, config.ingest.bar) == (f"{tmp_path}/rates.csv", "1h")
    assert absolute(RunConfig(store="s3://bucket")) == (RunConfig(store="s3://bucket"), {})


def test_paths_of_this_machine_are_refused_where_nodes_are_elsewhere(caplog: pytest.LogCaptureFixture):
    local = {"store": "/home/me/store"}
    with pytest.raises(
        ConfigError, match=r"store = /home/me/store: .*10\.0\.0\.1, 10\.0\.0\.2.*s3:// URL, or say --shared"
    ):
        refuse_elsewhere(local, ["10.0.0.1", "10.0.0.2"], NOWHERE)
    refuse_elsewhere(local, [], NOWHERE)
    assert "a node that joins the cluster later must have them too" in caplog.text


@pytest.mark.parametrize(
    ("settings", "error", "complaint"),
    [
        ({"address": "10.0.0.1:6379"}, ConfigError, r"address = '10\.0\.0\.1:6379': a submitted job joins the cluster"),
        ({"store": "memory://x"}, ConfigError, "store = 'memory://x': memory:// is that of one process"),
        ({"store": "s3://bucket", "source": "s3://key:verysecret@bucket"}, StoreError, "carries a user or credentials"),
        ({"store": "s3://bucket", "ingest": {"tickers": ['a"b']}}, ConfigError, "cannot be written as a flag"),
    ],
)
def test_what_would_mean_something_else_there_is_refused(settings: dict, error: type[Exception], complaint: str):
    with pytest.raises(error, match=complaint) as caught:
        submit("pipeline", RunConfig.model_validate(settings), NOWHERE)
    assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], r"'' is not a job\. The job comes first"),
        (["--store", "x", "pipeline"], "'--store' is not a job"),
        (["pipelin"], "did you mean pipeline"),
        (["submit"], "'submit' is not a job"),
        (["pipeline", "--config", "absent.toml"], r"absent\.toml: No such file"),
        (["pipeline", "--labels.take", "3"], r"labels\.take = '3': input should be less than 1"),
    ],
)
def test_a_wrong_command_is_explained_before_a_cluster_is_asked(arguments: list[str], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        program(arguments)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ([], "pipeline"),
        (["JOB=tune", "CONFIG=run.toml"], "tune --config run.toml"),
        (
            ["STORE=s3://b", "RUN=first", "ADDRESS=http://h:1", "ARGS=--no-wait"],
            "pipeline --address http://h:1 --store s3://b --run first --no-wait",
        ),
    ],
)
def test_make_submit_is_that_command(variables: list[str], expected: str):
    shown = subprocess.run(
        ["make", "--dry-run", "--assume-old=setup", "submit", *variables],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", "")
    said = re.search(r"python -m jobs\.submit (.*)", shown)
    assert said is not None
    assert " ".join(said.group(1).split()) == expected
