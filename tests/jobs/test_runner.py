import subprocess
import sys
from pathlib import Path

import pytest

from jobs.config import RunConfig
from jobs.runner import ConfigError, is_ours, main, names, parse

ROOT = Path(__file__).resolve().parents[2]


def configured(tmp_path: Path, text: str, *flags: str) -> RunConfig:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return parse("ingest", "", ["--config", str(path), *flags])


def test_flags_override_the_file(tmp_path: Path):
    config = configured(tmp_path, 'run = "a"\n[labels]\nhorizon = 9\ntake = 0.02\n', "--labels.horizon", "4")
    assert (config.run, config.labels.horizon, config.labels.take) == ("a", 4, 0.02)


def test_null_in_a_list_switches_a_part_off():
    config = parse("search", "", ["--search.stop_loss", "[0.02, null]"])
    assert config.search.stop_loss == (0.02, None)


def test_null_on_the_command_line_switches_a_setting_off():
    config = parse("shortlist", "", ["--shortlist.minimum_trades", "null", "--shortlist.deflated_sharpe=null"])
    assert config.shortlist.minimum_trades is None
    assert config.shortlist.deflated_sharpe is None


def test_the_environment_is_not_a_configuration(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUN", "stranger")
    monkeypatch.setenv("STORE", "s3://stranger")
    config = parse("ingest", "", [])
    assert (config.run, config.store) == ("demo", "store")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[labels]\ntaek = 0.01\n", r"labels\.taek: there is no such setting; did you mean 'take'\?.*run\.toml"),
        ("[lables]\ntake = 0.01\n", r"lables: there is no such setting; did you mean 'labels'\?"),
        ("[labels]\ntake = 3\n", r"labels\.take = 3: input should be less than 1"),
        ('[labels]\nkind = "x"\n', r"labels\.kind = 'x': input should be 'first_touch'"),
        ('[features]\nset = "ta19"\n', r"'ta19' is not a feature set; allowed: .*ta193"),
        ("[split]\nfit = 0.5\n", r"fit \+ validate \+ choose \+ judge is 1\.18; it must be 1"),
        ("[costs]\ncommission = nan\n", r"costs\.commission = nan: input should be a finite number"),
        ("run = \n", r"is not valid TOML"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, complaint: str):
    with pytest.raises(ConfigError, match=complaint) as caught:
        configured(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_flag_are_explained(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        parse("ingest", "", ["--config", str(tmp_path / "absent.toml")])
    with pytest.raises(ConfigError, match=r"--labels\.tke is not known; did you mean --labels\.take\?"):
        parse("ingest", "", ["--labels.tke", "0.01"])


def test_a_list_that_is_none_is_explained():
    with pytest.raises(ConfigError, match=r"--search\.stop_loss is no list or table as JSON writes it"):
        parse("search", "", ["--search.stop_loss", "[0.1"])


def test_a_cluster_that_is_not_there_ends_with_code_2_and_one_paragraph(capsys: pytest.CaptureFixture[str]):
    for address, complaint in (
        ("head", "AddressError: The Ray address is 'head'"),
        ("127.0.0.1:1", "ClusterConnectionError: No Ray cluster answers at '127.0.0.1:1'"),
    ):
        with pytest.raises(SystemExit) as caught:
            main("ingest", ["--store", "memory://nowhere", "--address", address])
        assert caught.value.code == 2
        assert complaint in capsys.readouterr().err


def test_refused_input_ends_with_code_2_and_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main("features", ["--store", str(tmp_path), "--run", "absent/run"])
    assert ended.value.code == 2
    assert "absent/run" in capsys.readouterr().err


def test_credentials_in_a_url_are_refused_and_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main("ingest", ["--store", str(tmp_path), "--source", "s3://key:verysecret@bucket/candles"])
    assert ended.value.code == 2
    assert "verysecret" not in "".join(capsys.readouterr())


def test_only_errors_of_this_project_are_for_people():
    assert is_ours(ConfigError("x"))
    assert not is_ours(ValueError("x"))


def test_the_jobs_are_listed():
    listing = subprocess.run(
        [sys.executable, "-m", "jobs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "pipeline" in names()
    assert all(name in listing for name in names())
    assert "config" not in names()


def test_every_job_shows_its_settings():
    help_text = subprocess.run(
        [sys.executable, "-m", "jobs.search", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--search.stop_loss" in help_text
    assert "--config" in help_text
