"""What a variant changes, and what it leaves as it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import ablate, ingest, market, variants
from jobs.stage import Context, NoModelError
from quant.network import ARCHITECTURES
from storage.manifest import Manifest, write_manifest
from tests.jobs.conftest import make_context, serially


@pytest.fixture
def context(market: Path, tmp_path: Path) -> Context:
    found = make_context(tmp_path, source=str(market), run="first", train={"tickers": ("BBBUSDT", "CCCUSDT")})
    ingest.run(found, fan_out=serially)
    details: dict[str, Any] = {"tickers": ["local-um:BBBUSDT", "local-um:CCCUSDT"]}
    write_manifest(found.store, found.run, Manifest("train", "x", {}, {}, {}, {}, {}, {}, [], "2026-01-01", details))
    return found


def test_each_variant_changes_one_thing(context: Context) -> None:
    before = json.loads(context.config.model_dump_json(by_alias=True))
    assert list(ablate.changes(context.config)) == list(ablate.VARIANTS)
    for name, change in ablate.changes(context.config).items():
        variant = variants.changed(context, name, change)
        after = json.loads(variant.config.model_dump_json(by_alias=True))
        assert variant.run == f"first-{name}"
        ((section, values),) = change.items()
        ((key, value),) = values.items()
        assert after[section][key] == value != before[section][key]
        after[section][key] = before[section][key]
        # what is left out differs in nothing but its tickers and in saying when its calendar is
        assert after["ingest"].pop("tickers") == ["BBBUSDT", "CCCUSDT"]
        for section, key in (("split", "start"), ("split", "end"), ("train", "tickers")):
            after[section][key] = before[section][key]
        after["run"], after["ingest"]["tickers"] = before["run"], before["ingest"]["tickers"]
        assert after == before


def test_a_variant_has_what_the_run_tuned(context: Context) -> None:
    settings = context.config.train.model_copy(update={"tuned": True})
    asked = replace(context, config=context.config.model_copy(update={"train": settings}))
    best = {"best": {"filters": 7, "dense": 9, "dropout": 0.4, "learning_rate": 0.005}}
    known = {"train": {"architecture": settings.architecture, "steps": settings.steps}}
    write_manifest(asked.store, asked.run, Manifest("tune", "x", known, {}, {}, {}, {}, {}, [], "2026-01-01", best))
    variant = variants.changed(asked, "shuffled_features", {"train": {"shuffle_features": 1}}).config.train
    assert (variant.tuned, variant.filters, variant.dense) == (False, 7, 9)
    assert (variant.dropout, variant.learning_rate) == (0.4, 0.005)


def test_a_variant_has_the_same_parts(context: Context) -> None:
    variant = variants.changed(context, "fewest_steps", {"train": {"steps": 4}})
    ingest.run(variant, fan_out=serially)
    ours, theirs = (market.parts(each, market.of(each)) for each in (context, variant))
    assert theirs == ours
    assert sorted(market.of(variant).tickers) == ["local-um:BBBUSDT", "local-um:CCCUSDT"]


@pytest.mark.parametrize(
    ("settings", "name", "words"),
    [
        ({"features": {"set": "ta193"}}, "other_scale", "features.set = ta193_relative"),
        ({"features": {"set": "pattern8_relative"}}, "other_scale", "features.set = pattern8"),
        ({"labels": {"alignment": "seed"}}, "other_alignment", "labels.alignment = honest"),
        ({"train": {"architecture": "causal"}}, "fewest_steps", "train.steps = 1"),
    ],
)
def test_the_other_way_is_the_other_way(tmp_path: Path, settings: dict[str, Any], name: str, words: str) -> None:
    assert ablate.words(ablate.changes(make_context(tmp_path, **settings).config)[name]) == words


def test_a_variant_that_changes_nothing_is_left_out(tmp_path: Path) -> None:
    least = ARCHITECTURES["cnn_whole"].least_steps
    assert "fewest_steps" not in ablate.changes(make_context(tmp_path, train={"steps": least}).config)


def test_a_run_without_a_model_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoModelError, match="trains no model of its own, since signals is set"):
        ablate.run(make_context(tmp_path, signals="signals.csv"))
