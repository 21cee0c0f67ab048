"""Read bars from a demo market, files at any URL, bulk data or an exchange; keep what is sound, quarantine the rest.

python -m jobs.ingest --source PATH_OR_URL --store URL --run NAME
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd

from jobs import rows, sessions, sources
from jobs.archive import Archive
from jobs.config import RunConfig
from jobs.config_data import BULK, OWN_FUNDING, Ingest
from jobs.gather import gather
from jobs.rates import Rate
from jobs.sources import Source, SourceError
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, run_stage
from quant import bars, demo, demo_shapes, quality
from quant.demo import DemoMarket
from quant.demo_shapes import ShapeMarket
from quant.schemas import BARS, FUNDING, QUALITY, QUARANTINE, frame
from storage.hashing import fingerprint
from storage.manifest import Manifest

STAGE = Stage("ingest", 4, (), (BARS, QUARANTINE, QUALITY, FUNDING))
NOTES_SHOWN = 5
logger = logging.getLogger("assay")

MadeUp = DemoMarket | ShapeMarket


class Order(NamedTuple):
    """What the bars of a ticker are made of: a market or a file, None where there is none; and its funding rates."""

    origin: MadeUp | Source | None
    rates: pd.Series | None = None


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the bars of the run up to date, and the sessions that they make where its calendar is of sessions.

    Where the source is a service, what it has is first brought into the store's archive.
    """
    config = context.config
    settings = {"source": config.source, **config.ingest.model_dump(mode="json", exclude={"endpoint", "rate"})}
    details = {}
    files: list[sources.File] = []
    naming, flaws = config.ingest, dict[str, str]()
    if market := made_up(context):
        settings["demo"] = asdict(market)
        if isinstance(market, DemoMarket):
            details["planted"] = list(demo.planted(market))
    elif config.service:
        archive = fetched(context, fan_out)
        naming = naming.model_copy(update={"venue": archive.venue, "market": archive.market})
        files = sources.archived(context.store, archive, naming)
        flaws = archive.flaws
        settings["flaws"] = sorted(flaws)  # what was not brought up to date is not done, whatever the files say
    elif config.source != "samples":
        files = sources.files(config.source, config.ingest)
    if files:
        settings["files"] = fingerprint({file.key: file.stamp for file in files})
    funding = rows.fetch(config.ingest.funding) if config.ingest.funding not in (None, OWN_FUNDING) else None
    if funding:
        settings["funding"] = funding.content

    def items() -> list[Item]:
        found = made_up_items(market) if market else file_items(context, files, naming, flaws, fan_out)
        return charged(wanted(config.ingest.tickers, found), funding)

    manifest = run_stage(context, stage(config), items, produce, settings=settings, fan_out=fan_out, details=details)
    tell(manifest)
    sessions.run(context, fan_out)
    return manifest


def fetched(context: Context, fan_out: FanOut) -> Archive:
    """What the service of the run has, brought into the archive; for a plan, the archive as it is."""
    # ccxt and the HTTP clients take a while to import, which runs on files need not pay
    from jobs import bulk, exchange

    service = bulk if context.config.source == BULK else exchange
    return service.kept(context.config) if context.planned else service.update(context, fan_out)


def assumed(manifest: Manifest) -> list[tuple[str, list[str]]]:
    """What was assumed while reading, with the tickers that it holds for; what holds for most comes first."""
    noted: dict[str, list[str]] = defaultdict(list)
    for ticker, info in manifest.tickers.items():
        for note in info.get("notes", ()):
            noted[note].append(ticker)
    return sorted(noted.items(), key=lambda each: (-len(each[1]), each[0]))


def tell(manifest: Manifest) -> None:
    """Log what was assumed while reading, each once with the tickers that it holds for."""
    shown = assumed(manifest)
    for note, those in shown[:NOTES_SHOWN]:
        logger.warning("ingest: %s (%s%s)", note, those[0], f" and {len(those) - 1} more" * (len(those) > 1))
    if len(shown) > NOTES_SHOWN:
        logger.warning("ingest: %d more notes are in the stage's manifest", len(shown) - NOTES_SHOWN)


def stage(config: RunConfig) -> Stage:
    """The stage with its cost: reading and checking a file, or making up a ticker of an embedded market."""
    if config.source in ("demo", "shapes"):
        return replace(STAGE, rate=Rate(ticker=0.013, row=1.7e-6, requests=4, written_row=43, memory_row=350))
    return replace(
        STAGE,
        rate=Rate(ticker=0.023, row=1e-6, requests=5, read_row=50, written=4_000, written_row=43, memory_row=450),
    )


def made_up_items(market: MadeUp) -> list[Item]:
    """One item a ticker of an embedded market."""
    return [Item(ticker, Order(market), rows=market.bars) for ticker in names(market)]


def file_items(
    context: Context, files: list[sources.File], naming: Ingest, flaws: Mapping[str, str], fan_out: FanOut
) -> list[Item]:
    """One item a ticker that the files hold, or that of the samples.

    Whether a Parquet holds one ticker or many its columns tell: tasks look into the files.

    Parameters
    ----------
    flaws
        Why what a service has of a symbol could not be fetched: failures of these tickers.
    """
    if context.config.source == "samples":
        return [Item(source.ticker, Order(source), rows=source.rows) for source in sources.of_the_library()]
    found = gather(sources.of_files, files, context, name="sources", shared=naming, fan_out=fan_out)
    known = {source.ticker: source for source in sources.by_ticker(chain(*found))}
    for symbol, flaw in flaws.items():
        ticker, _ = sources.canonical(symbol, naming)
        known[ticker] = Source(ticker, symbol, "files", flaw=flaw)
    return [Item(ticker, Order(source), rows=source.rows) for ticker, source in sorted(known.items())]


def wanted(names: Sequence[str], items: list[Item]) -> list[Item]:
    """The items of the tickers or symbols asked for, all where none is; one without an origin for an unknown name."""
    if not names:
        return items
    chosen = [item for item in items if item.ticker in names or _symbol(item) in names]
    known = {name for item in chosen for name in (item.ticker, _symbol(item))}
    return chosen + [Item(name, Order(None)) for name in sorted(set(names) - known)]


def charged(items: list[Item], funding: rows.File | None) -> list[Item]:
    """The items with the funding rates of each."""
    if funding is None:
        return items
    rates = rows.parse(funding, "rate").named([item.ticker for item in items])
    return [replace(item, payload=item.payload._replace(rates=rates.get(item.ticker))) for item in items]


def made_up(context: Context) -> MadeUp | None:
    """The embedded market as configured; None where bars come from elsewhere."""
    settings = context.config.ingest
    if context.config.source == "demo":
        return DemoMarket(seed=settings.demo_seed, edge=settings.demo_edge)
    if context.config.source == "shapes":
        return ShapeMarket(seed=settings.demo_seed, edge=settings.demo_edge)
    return None


def names(market: MadeUp) -> list[str]:
    """Tickers of an embedded market."""
    return demo.names(market) if isinstance(market, DemoMarket) else demo_shapes.names(market)


def produce(context: Context, item: Item, _extra: None) -> Produced:
    """Bars of one ticker, the rows that did not become bars, and its funding rates.

    Raises
    ------
    SourceError
        If the source has no such ticker, or cannot be read.
    """
    order: Order = item.payload
    (raw, own_rates, notes), address = _raw(context, item.ticker, order)
    funding = own_rates if order.rates is None else order.rates
    rates = frame(FUNDING, []) if funding is None else funding.astype(np.float64).to_frame()
    told = {"funding": len(rates), "notes": list(notes), "source": address}
    if raw is None:
        return Produced(
            {BARS: frame(BARS, []), QUARANTINE: frame(QUARANTINE, []), QUALITY: frame(QUALITY, []), FUNDING: rates},
            {"rows": 0, **told},
        )
    bar = grid(context.config.ingest, raw, address)
    sound, quarantine = bars.validate(raw, bar, source=address)
    length = bar or bars.infer_bar(sound.index)
    # what is a gap to a market that closes only its sessions tell, which are known once all tickers are read
    spacing = None if context.config.ingest.calendar == "sessions" else bar
    flagged = quality.flags(sound, spacing)
    return Produced(
        {BARS: sound, QUARANTINE: quarantine, QUALITY: flagged, FUNDING: rates},
        {
            "rows": len(sound),
            "first": str(sound.index[0]),
            "last": str(sound.index[-1]),
            "bar_seconds": length.total_seconds(),
            "gaps": int(bars.segments(sound.index, spacing)[-1]),
            "quarantined": len(quarantine),
            "flags": quality.counts(flagged),
            **told,
        },
    )


def grid(settings: Ingest, raw: pd.DataFrame, address: str) -> pd.Timedelta | None:
    """Length that the bars of a source must keep to; None where sessions within a day shift with daylight saving."""
    length = settings.length
    if length is None:
        length = bars.infer_bar(bars.validate(raw, None, source=address)[0].index)
    intraday = length < pd.Timedelta(days=1)
    return None if settings.calendar == "sessions" and intraday else length


def _raw(context: Context, ticker: str, order: Order) -> tuple[sources.Content, str]:
    """What the source of a ticker holds, and what errors call it."""
    if isinstance(order.origin, DemoMarket):
        return sources.Content(demo.bars(order.origin, ticker).reset_index()), f"demo market, {ticker}"
    if isinstance(order.origin, ShapeMarket):
        return sources.Content(demo_shapes.bars(order.origin, ticker).reset_index()), f"market of shapes, {ticker}"
    if order.origin is not None:
        return sources.read(order.origin, context.config.ingest), order.origin.address
    raise SourceError(
        f"{context.config.source} has no ticker {ticker}. "
        "Run without --ingest.tickers to see all, or check the spelling."
    )


def _symbol(item: Item) -> str:
    return item.ticker.partition(":")[2]


if __name__ == "__main__":
    from jobs.runner import main

    main("ingest")
