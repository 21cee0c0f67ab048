"""A configuration and the flags written from it are the same thing."""

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from jobs.config import RunConfig
from jobs.flags import flags
from jobs.runner import parse
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_the_flags_of_an_example_give_it_again(path: Path):
    config = parse("pipeline", "", ["--config", str(path)])
    assert config != RunConfig()
    assert parse("pipeline", "", flags(config)) == config


def test_the_defaults_need_no_flags():
    assert flags(RunConfig()) == []


FRACTION = st.floats(min_value=1e-6, max_value=0.99)
SPAN = st.fixed_dictionaries({"low": FRACTION, "high": FRACTION}, optional={"log": st.booleans(), "step": FRACTION})
ZONES = st.sampled_from([None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-5, minutes=-30))])
MOMENT = st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2090, 1, 1), timezones=ZONES)
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXT = st.text(CHARACTERS, min_size=1).filter(lambda text: text != "null")
LISTED = st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters='"\\'), min_size=1)


@examples(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "run": TEXT,
            "signals": TEXT,
            "ingest": st.fixed_dictionaries({"tickers": st.lists(LISTED, max_size=3)}),
            "split": st.fixed_dictionaries({"start": MOMENT}),
            "train": st.fixed_dictionaries({"gpu": st.booleans(), "class_weights": st.booleans()}),
            "evaluate": st.fixed_dictionaries({"enabled": st.booleans()}),
            "search": st.fixed_dictionaries(
                {
                    "stop_loss": st.lists(st.none() | FRACTION, max_size=3) | SPAN,
                    "minimum_profit": st.lists(st.lists(st.tuples(st.integers(), st.floats(-1, 1)))),
                }
            ),
            "costs": st.fixed_dictionaries({"commission": st.floats(-0.09, 0.09)}),
            "shortlist": st.fixed_dictionaries({"deflated_sharpe": st.none() | FRACTION, "minimum_trades": st.none()}),
        },
    )
)
def test_any_flags_give_their_configuration_again(settings: dict):
    config = RunConfig.model_validate(settings)
    assert parse("pipeline", "", flags(config)) == config
