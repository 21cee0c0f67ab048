"""The whole pipeline, CNN included, where the answer is known."""

import pytest

from jobs.stage import Context, require
from quant.schemas import EVALUATION
from storage import layout
from storage.tables import read_table
from tests.jobs.conftest import make_context, run_pipeline

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The demo as `make demo` runs it; `benchmarks.demo_recall` runs it by many seeds."""
    return run_pipeline(make_context(tmp_path_factory.mktemp("demo"), run="demo", audit={"gate": "stop"}))


@pytest.mark.timeout(900)
def test_what_is_planted_in_the_demo_market_is_found_and_hardly_anything_else(demo: Context):
    planted = set(require(demo, "ingest").details["planted"])
    listed = set(require(demo, "shortlist").details["shortlisted"])
    assert len(planted) == 6
    assert len(planted & listed) >= 5, f"missed {planted - listed}"
    assert len(listed - planted) <= 1, f"fooled by {listed - planted}"
    page = demo.store.read(layout.report(demo.run)).decode()
    assert "confusion" in page.lower()
    assert "No leak was found by" in page


@pytest.mark.timeout(900)
def test_the_cnn_is_judged_beside_simple_models_out_of_sample(demo: Context):
    table = read_table(demo.store, demo.run, EVALUATION).set_index(["model", "statistic"])
    assert table.loc[("cnn", "macro_f1"), "low"] > table.loc[("majority", "macro_f1"), "high"]
    # most bars hold no direction, so that what a network knows better shows in its probabilities
    for simple in ("majority", "logistic", "boosting"):
        assert table.loc[(simple, "log_loss_at_shares"), "difference_high"] < 0, simple
    assert "Against simple models" in demo.store.read(layout.report(demo.run)).decode()
