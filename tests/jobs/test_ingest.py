"""Bad input costs the ticker that it belongs to, says what and where, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actors.sharding import SHARDS_PER_WORKER
from jobs import ingest
from jobs.stage import AllFailedError, Context
from quant.schemas import BARS, QUALITY, QUARANTINE
from storage.local import LocalBackend
from storage.manifest import Manifest
from storage.tables import read_table
from tests.conftest import random_walk
from tests.jobs.conftest import make_context, serially


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "candles"
    path.mkdir()
    random_walk(200).reset_index().to_parquet(path / "GOODUSDT.parquet")
    return path


def ingested(folder: Path, tmp_path: Path, **settings: object) -> tuple[Context, Manifest]:
    context = make_context(tmp_path / "store", source=str(folder), run="first", ingest=settings)
    return context, ingest.run(context, fan_out=serially)


def raw() -> pd.DataFrame:
    return random_walk(200).reset_index()


def with_value(column: str, row: int, value: object) -> pd.DataFrame:
    frame = raw()
    frame.loc[row, column] = value
    return frame


MIXED = pd.DataFrame(
    {
        **{name: raw()[name] for name in ("open", "high", "low", "close", "volume")},
        "time": ["2024-01-01T00:00:00+00:00", "2024-01-01T01:15:00"] * 100,
    }
)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (raw().to_parquet()[:300], r"BADUSDT\.parquet: the file is truncated or broken"),
        (b"", r"BADUSDT\.parquet: the file is empty \(0 bytes\)"),
        (raw().iloc[:0].to_parquet(), r"BADUSDT\.parquet: .*(empty|no rows|0 rows|no bars)"),
        (raw().drop(columns="volume").to_parquet(), r"BADUSDT\.parquet: .*volume"),
        (raw().drop(columns="time").to_parquet(), r"BADUSDT\.parquet: there is no column of times"),
        (raw().assign(close="x").to_parquet(), r"BADUSDT\.parquet: .*close.*'x'"),
        (raw().assign(close=np.nan).to_parquet(), r"BADUSDT\.parquet: "),
        (MIXED.to_parquet(), r"BADUSDT\.parquet: some times have a zone and others"),
    ],
    ids=["truncated", "no bytes", "no rows", "no volume", "no time", "text", "all NaN", "mixed zones"],
)
def test_a_source_that_cannot_be_used_is_a_named_failure(folder: Path, tmp_path: Path, content: bytes, complaint: str):
    (folder / "BADUSDT.parquet").write_bytes(content)
    context, manifest = ingested(folder, tmp_path)
    assert list(manifest.tickers) == ["local-um:GOODUSDT"]
    (failure,) = manifest.failures
    assert failure.ticker == "local-um:BADUSDT"
    assert re.search(complaint, failure.message), failure.message
    assert "\n" not in failure.message
    assert len(read_table(context.store, context.run, BARS, "local-um:GOODUSDT")) == 200


@pytest.mark.parametrize(
    ("frame", "row"),
    [
        (with_value("close", 7, np.nan), 7),
        (with_value("high", 9, 1.0), 9),
        (with_value("low", 9, 1e9), 9),
        (with_value("open", 9, -1.0), 9),
        (with_value("volume", 9, -1.0), 9),
        (with_value("close", 9, np.inf), 9),
    ],
    ids=["NaN price", "high below low", "low above high", "negative price", "negative volume", "infinite"],
)
def test_a_bad_row_goes_to_quarantine_with_its_reason(folder: Path, tmp_path: Path, frame: pd.DataFrame, row: int):
    frame.to_parquet(folder / "BADUSDT.parquet")
    context, manifest = ingested(folder, tmp_path)
    assert not manifest.failures
    assert manifest.tickers["local-um:BADUSDT"]["quarantined"] == 1
    rejected = read_table(context.store, context.run, QUARANTINE, "local-um:BADUSDT")
    assert rejected["row"].tolist() == [row]
    assert rejected["reason"].str.len().min() > 0
    assert len(read_table(context.store, context.run, BARS, "local-um:BADUSDT")) == 199


def test_unsorted_and_duplicate_times_are_mended(folder: Path, tmp_path: Path):
    shuffled = pd.concat([raw().sample(frac=1, random_state=1), raw().iloc[[5]]])
    shuffled.to_parquet(folder / "BADUSDT.parquet")
    context, manifest = ingested(folder, tmp_path)
    assert not manifest.failures
    mended, sound = (read_table(context.store, context.run, BARS, f"local-um:{t}USDT") for t in ("BAD", "GOOD"))
    pd.testing.assert_frame_equal(mended, sound)
    assert manifest.tickers["local-um:BADUSDT"]["quarantined"] == 1


def test_a_bar_off_the_grid_is_rejected_though_no_length_was_configured(folder: Path, tmp_path: Path):
    with_value("time", 9, raw()["time"][9] + pd.Timedelta("1min")).to_parquet(folder / "BADUSDT.parquet")
    _, manifest = ingested(folder, tmp_path)
    assert manifest.tickers["local-um:BADUSDT"]["quarantined"] == 1
    assert manifest.tickers["local-um:BADUSDT"]["bar_seconds"] == 900


def test_gaps_stay_gaps(folder: Path, tmp_path: Path):
    raw().drop(index=range(50, 60)).to_parquet(folder / "BADUSDT.parquet")
    _, manifest = ingested(folder, tmp_path)
    assert manifest.tickers["local-um:BADUSDT"]["gaps"] == 1
    assert manifest.tickers["local-um:BADUSDT"]["rows"] == 190


def test_an_unknown_ticker_is_a_failure_of_its_own(folder: Path, tmp_path: Path):
    _, manifest = ingested(folder, tmp_path, tickers=("GOODUSDT", "NOPEUSDT"))
    assert list(manifest.tickers) == ["local-um:GOODUSDT"]
    assert [failure.ticker for failure in manifest.failures] == ["NOPEUSDT"]
    assert "has no ticker NOPEUSDT" in manifest.failures[0].message


def test_a_changed_file_is_read_again(folder: Path, tmp_path: Path):
    _, before = ingested(folder, tmp_path)
    random_walk(300).reset_index().to_parquet(folder / "GOODUSDT.parquet")
    _, after = ingested(folder, tmp_path)
    assert before.tickers["local-um:GOODUSDT"]["rows"] == 200
    assert after.tickers["local-um:GOODUSDT"]["rows"] == 300


def test_hostile_names_climb_nowhere(folder: Path, tmp_path: Path):
    wide = pd.concat({"../../x": random_walk(50), "BTC/USDT:USDT": random_walk(50)}, axis=1)
    wide.to_parquet(folder / "wide.parquet")
    (folder / "GOODUSDT.parquet").unlink()
    context, manifest = ingested(folder, tmp_path)
    assert sorted(manifest.tickers) == ["local-um:../../x", "local-um:BTCUSDT"]
    assert len(read_table(context.store, context.run, BARS, "local-um:../../x")) == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["candles", "store"]


def test_when_nothing_can_be_read_the_run_says_so(folder: Path, tmp_path: Path):
    (folder / "GOODUSDT.parquet").write_bytes(b"junk")
    with pytest.raises(AllFailedError, match=r"none of the 1 tickers came through.*GOODUSDT\.parquet"):
        ingested(folder, tmp_path)


def test_an_unchanged_source_is_listed_and_no_file_of_it_opened(folder: Path, tmp_path: Path):
    context, before = ingested(folder, tmp_path)

    def refused(*_: object, **__: object) -> Iterator[Any]:
        raise AssertionError("a task was started")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalBackend, "open", refused)
        assert ingest.run(context, fan_out=refused).created == before.created


def test_many_tickers_are_many_shards(tmp_path: Path):
    context = make_context(tmp_path / "store", source="demo", run="first")
    seen: list[int] = []

    def counted(function: Any, shards: list[Any], **_: Any) -> Iterator[Any]:
        seen.append(len(shards))
        return iter(())

    with pytest.raises(IndexError):  # nothing came back, so there is not even a failure to name
        ingest.run(context, fan_out=counted)
    assert seen == [SHARDS_PER_WORKER * context.workers]


def test_what_is_odd_is_flagged_and_left_as_it_is(folder: Path, tmp_path: Path):
    odd = raw().drop(index=range(50, 60))
    odd.loc[100:105, "volume"] = 0.0
    odd.to_parquet(folder / "ODDUSDT.parquet")
    context, manifest = ingested(folder, tmp_path)
    flagged = read_table(context.store, context.run, QUALITY, "local-um:ODDUSDT")
    assert flagged[["kind", "bars"]].to_numpy().tolist() == [["gap", 10], ["zero volume", 6]]
    counts = manifest.tickers["local-um:ODDUSDT"]["flags"]
    assert {kind: count for kind, count in counts.items() if count} == {"gap": 1, "zero volume": 1}
    assert not any(manifest.tickers["local-um:GOODUSDT"]["flags"].values())
    kept = read_table(context.store, context.run, BARS, "local-um:ODDUSDT")
    assert kept["volume"].tolist() == odd["volume"].tolist()


def test_a_market_that_closes_has_no_gaps_of_a_fixed_length(folder: Path, tmp_path: Path):
    days = random_walk(200).set_axis(pd.bdate_range("2024-01-01", periods=200, tz="UTC", name="time"))
    days.reset_index().to_parquet(folder / "GOODUSDT.parquet")
    _, closing = ingested(folder, tmp_path, calendar="sessions")
    assert closing.tickers["local-um:GOODUSDT"]["gaps"] == 0
    _, continuous = ingested(folder, tmp_path)
    assert continuous.tickers["local-um:GOODUSDT"]["gaps"] == 39  # weekends
