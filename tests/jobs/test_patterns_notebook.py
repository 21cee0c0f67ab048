"""The notebook's protocol as a job, from files to clusters, against a plain re-statement of the notebook."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from jobs import pattern_fit, pattern_outcomes, pattern_seed, patterns
from jobs.stage import Context, require
from quant.schemas import CLUSTER_OUTCOMES, LANDMARKS, PATTERNS
from storage import layout
from storage.tables import read_table
from tests.jobs.conftest import make_context, serially
from tests.quant.notebook_reference import Windows, all_windows, notebook_scaled, notebook_stack

IOTA = "seed_notebook/KRW-IOTA.parquet"
MARKET = "binance_um_1h_3000x6x446.parquet"
FIELDS = ["open", "high", "low", "close", "volume"]
SEED = {"protocol": "seed", "refits": 0}


def reference(wide: pd.DataFrame) -> Windows:
    """The notebook's windows, answers and places, by its own steps."""
    return all_windows(notebook_scaled(notebook_stack(wide))[0])


def slope_apart(found: np.ndarray, expected: np.ndarray) -> None:
    """All features are equal as 32-bit floats; the slope of on-balance volume to the rounding of pylabwons' product."""
    found, expected = (values.reshape(len(values), -1, 8) for values in (found, expected))
    others = [0, 1, 2, 3, 4, 6, 7]
    np.testing.assert_array_equal(found[..., others], expected[..., others].astype(np.float32))
    np.testing.assert_allclose(found[..., 5], expected[..., 5], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def iota(market_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The one ticker that the notebook shows, its 76 empty rows included, from a file to clusters by umap-learn."""
    context = make_context(
        tmp_path_factory.mktemp("store"),
        source=str(market_data / IOTA),
        run="iota",
        patterns=SEED,
        ingest={"bar": "1h"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn, of a seed and of fewer windows than neighbours
        patterns.run(context, fan_out=serially)
    return context


@pytest.mark.market_data
def test_one_ticker_with_empty_rows_to_the_clusters(iota: Context, market_data: Path):
    bars = pd.read_parquet(market_data / IOTA)[FIELDS]
    scaled, answers, index = reference(pd.concat({"KRW-IOTA": bars}, axis=1))
    found = read_table(iota.store, iota.run, LANDMARKS)
    assert len(found) == len(scaled) == 14
    slope_apart(pattern_fit.read_model(iota).rows, scaled)
    np.testing.assert_array_equal(found["outcome"], answers)
    times = pd.DatetimeIndex([time for time, _ in index]).tz_localize("UTC")
    assert pd.DatetimeIndex(found["time"]).equals(times.as_unit("us"))
    labels = KMeans(8, random_state=42, n_init=10).fit_predict(found[["x", "y"]].to_numpy(np.float32))
    np.testing.assert_array_equal(found["cluster"], labels)


@pytest.mark.market_data
def test_it_is_umap_learn_that_lays_the_notebook_out(iota: Context):
    model = pattern_fit.read_model(iota)
    assert model.parameters.reducer == "umap-learn"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        rows = pattern_seed.windows(iota)[2]
        expected = umap.UMAP(n_neighbors=30, min_dist=0.0, n_components=2, random_state=42).fit_transform(rows)
    np.testing.assert_array_equal(model.places, expected)


@pytest.mark.market_data
def test_the_page_says_what_the_protocol_cannot(iota: Context):
    page = iota.store.read(layout.patterns(iota.run)).decode()
    assert "They do not tell a rise from a fall" in page
    assert read_table(iota.store, iota.run, CLUSTER_OUTCOMES).empty
    assert require(iota, "pattern_outcomes").details["sides"] == {}


@pytest.mark.slow  # tests/quant/test_notebook.py holds the windows of all 446 to the notebook's, and a job's are above
@pytest.mark.market_data
def test_446_tickers_as_the_notebook_cuts_them(market_data: Path, tmp_path: Path):
    context = make_context(
        tmp_path,
        source=str(market_data / MARKET),
        run="all",
        patterns={**SEED, "reducer": "own", "threads": 2, "shown": 500},
    )
    patterns.run(context, fan_out=serially)
    scaled, answers, index = reference(pd.read_parquet(market_data / MARKET))
    found = read_table(context.store, context.run, LANDMARKS)
    assert len(found) == len(scaled) == 39_452
    slope_apart(pattern_fit.read_model(context).rows, scaled)
    np.testing.assert_array_equal(found["outcome"], answers)
    assert [ticker.partition(":")[2] for ticker in found["ticker"]] == [ticker for _, ticker in index]
    kept = read_table(context.store, context.run, PATTERNS, "local-um:BTCUSDT")
    assert len(kept) == (found["ticker"] == "local-um:BTCUSDT").sum()
    # a cluster tells much of the ticker, as the one scaler over prices of all sizes makes it
    figures = require(context, "pattern_fit").details["figures"]
    assert figures["ticker_information"] > 5 * figures["ticker_information_shuffled"]
    assert require(context, "pattern_outcomes").details["episodes"] < len(found) / 2
    assert pattern_outcomes.of_all_time(context).keys() == {"fit"}


def test_a_ticker_that_the_notebooks_scaler_refuses_is_left_out(
    market: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = tmp_path / "market"
    folder.mkdir()
    for path in market.glob("*.parquet"):
        frame = pd.read_parquet(path)
        if path.stem == "BBBUSDT":
            frame.loc[100:110, "volume"] = 0.0  # trade after seven bars without any: v_roc is infinite
        frame.to_parquet(folder / path.name)
    context = make_context(
        tmp_path / "store", source=str(folder), run="x", patterns={**SEED, "reducer": "own", "answer": 0.01}
    )
    patterns.run(context, fan_out=serially)
    assert set(read_table(context.store, context.run, LANDMARKS)["ticker"]) == {
        f"local-um:{name}USDT" for name in ("AAA", "CCC", "DDD")
    }
    assert "local-um:BBBUSDT is left out: feature 'v_roc' is inf" in caplog.text


def test_no_rise_is_named(market: Path, tmp_path: Path):
    context = make_context(tmp_path, source=str(market), run="x", patterns={**SEED, "answer": 5.0})
    with pytest.raises(pattern_seed.SeedError, match="0 windows of 4 tickers end with a rise of 5 or more"):
        patterns.run(context, fan_out=serially)
