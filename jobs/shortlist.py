"""Judge all tickers together: who passes once the number of candidates is counted in; export who did.

python -m jobs.shortlist --config run.toml --store URL --run NAME
"""

from typing import Any

import pandas as pd

from jobs import market
from jobs.stage import Context, Stage, now, require, stage_fingerprint
from quant import export
from quant.parameters import from_row
from quant.schemas import SHORTLIST
from quant.shortlist import shortlist
from storage import layout
from storage.manifest import Manifest, read_manifest, write_manifest
from storage.tables import write_table

STAGE = Stage("shortlist", 1, ("search", "backtest"), (SHORTLIST,))


def run(context: Context) -> Manifest:
    """Bring the shortlist of the run, and its exports, up to date."""
    settings = context.config.shortlist.model_dump()
    identity = stage_fingerprint(context, STAGE, settings)
    done = read_manifest(context.store, context.run, STAGE.name)
    if done is not None and done.fingerprint == identity:
        return done
    searched, judged = require(context, "search"), require(context, "backtest")
    chosen = {ticker: info["chosen"] for ticker, info in searched.tickers.items() if info["chosen"]}
    frame = shortlist(metrics_frame(judged), trials_frame(chosen), **settings)
    table = write_table(context.store, context.run, SHORTLIST, frame)
    write_exports(context, frame, chosen, judged)
    manifest = Manifest(
        stage=STAGE.name,
        fingerprint=identity,
        config=settings,
        versions={"stage": STAGE.version, SHORTLIST.name: SHORTLIST.version},
        inputs={name: require(context, name).result_hash for name in STAGE.inputs},
        tickers={},
        rows={SHORTLIST.name: table.rows},
        hashes={SHORTLIST.name: table.hash},
        failures=[],
        created=now(),
        details={"shortlisted": frame.loc[frame["shortlisted"], "ticker"].tolist()},
    )
    write_manifest(context.store, context.run, manifest)
    return manifest


def metrics_frame(judged: Manifest) -> pd.DataFrame:
    """Figures of all tickers and parts, from the manifest alone: no round trip a ticker."""
    rows = [{"ticker": ticker, **row} for ticker, info in judged.tickers.items() for row in info["metrics"]]
    return pd.DataFrame(rows)


def trials_frame(chosen: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """The chosen trial of every ticker that has one."""
    return pd.DataFrame([{"ticker": ticker, **row} for ticker, row in chosen.items()])


def write_exports(context: Context, frame: pd.DataFrame, chosen: dict[str, dict[str, Any]], judged: Manifest) -> None:
    """Write ``custom_assets.json`` and ``.txt`` for the article's bot."""
    ingested = market.of(context)
    part = market.parts(context, ingested)["judge"]
    figures = {
        ticker: row for ticker, info in judged.tickers.items() for row in info["metrics"] if row["part"] == "judge"
    }
    assets = export.custom_assets(
        frame,
        {ticker: from_row(row) for ticker, row in chosen.items()},
        figures,
        optimizer_used=f"{context.config.search.sampler} - {context.config.search.objective}",
        model_name="own signals" if context.config.signals else f"{context.config.train.architecture}.keras",
        start=part.start,
        end=part.end,
        timeframe=f"{market.bar_length(ingested) / pd.Timedelta(minutes=1):g} minutes",
    )
    for name in ("custom_assets.json", "custom_assets.txt"):
        context.store.write(layout.export(context.run, name), export.to_json(assets).encode())


if __name__ == "__main__":
    from jobs.runner import main

    main("shortlist")
