"""What a run leaves for those who trade the shortlist: tables, the article's file, and files for freqtrade."""

import logging
import posixpath
from typing import Any

import pandas as pd

from jobs import market
from jobs.stage import Context
from quant import export, export_freqtrade
from quant.export import ExportError
from quant.parameters import BracketParameters, from_row
from quant.schemas import PARAMETERS
from storage import layout
from storage.manifest import Manifest

logger = logging.getLogger("assay")


def write(context: Context, verdicts: pd.DataFrame, chosen: dict[str, dict[str, Any]], judged: Manifest) -> None:
    """Write every export of a shortlist; ``chosen`` holds the row of the chosen set by ticker."""
    parameters = {ticker: from_row(row) for ticker, row in chosen.items()}
    files = {
        **tables(verdicts, chosen),
        **article(context, verdicts, parameters, judged),
        **freqtrade(context, verdicts, parameters),
    }
    for name, content in files.items():
        context.store.write(layout.export(context.run, *name.split("/")), content)


def tables(verdicts: pd.DataFrame, chosen: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    """The shortlist with the chosen parameters, as CSV and as Parquet."""
    rows = pd.DataFrame([{"ticker": ticker, **row} for ticker, row in chosen.items()])
    parameters = rows.reindex(columns=["ticker", *(column.name for column in PARAMETERS)])
    whole = verdicts.merge(parameters, on="ticker", how="left")
    return {
        "shortlist.csv": whole.to_csv(index=False, lineterminator="\n").encode(),
        "shortlist.parquet": whole.to_parquet(index=False),
    }


def article(
    context: Context, verdicts: pd.DataFrame, parameters: dict[str, BracketParameters], judged: Manifest
) -> dict[str, bytes]:
    """``custom_assets.json`` and ``.txt`` for the article's bot."""
    ingested = market.of(context)
    part = market.parts(context, ingested)["judge"]
    assets = export.custom_assets(
        verdicts,
        parameters,
        {ticker: row for ticker, info in judged.tickers.items() for row in info["metrics"] if row["part"] == "judge"},
        optimizer_used=f"{context.config.search.sampler} - {context.config.search.objective}",
        model_name=model_name(context),
        start=part.start,
        end=part.end,
        timeframe=f"{market.bar_length(ingested) / pd.Timedelta(minutes=1):g} minutes",
    )
    return {name: export.to_json(assets).encode() for name in ("custom_assets.json", "custom_assets.txt")}


def model_name(context: Context) -> str:
    """What the signals are from, in a word."""
    if context.config.signals:
        return "own signals"
    if context.config.patterns.trade:
        return "clusters of patterns"
    if context.config.rule:
        return f"rule {context.config.rule}"
    return posixpath.basename(context.config.model or f"{context.config.train.architecture}.keras")


def freqtrade(context: Context, verdicts: pd.DataFrame, parameters: dict[str, BracketParameters]) -> dict[str, bytes]:
    """A pair list, the parameters by pair and the strategy that reads them; none where freqtrade cannot trade so."""
    if context.config.search.policy != "reverse":
        logger.info("shortlist: no files for freqtrade, which can follow the policy reverse alone")
        return {}
    bar = market.bar_length(market.of(context))
    try:
        pairs = export_freqtrade.pair_list(verdicts, bar)
    except ExportError as error:
        logger.info("shortlist: no files for freqtrade: %s", error)
        return {}
    return {
        "freqtrade/pair_list.json": export.to_json(pairs).encode(),
        "freqtrade/assay_parameters.json": export.to_json(
            export_freqtrade.parameters(verdicts, parameters, bar)
        ).encode(),
        "freqtrade/AssayBracket.py": export_freqtrade.strategy(pairs["timeframe"]).encode(),
    }
