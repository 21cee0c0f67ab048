"""Read bars from the demo market, the samples, or files at any URL; keep what is sound, quarantine the rest.

python -m jobs.ingest --source PATH_OR_URL --store URL --run NAME
"""

from dataclasses import asdict

import numpy as np
import pandas as pd

from jobs import rows, sources
from jobs.config import Ingest
from jobs.sources import Source, SourceError
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, run_stage
from quant import bars, demo
from quant.demo import DemoMarket
from quant.schemas import BARS, FUNDING, QUARANTINE, frame
from storage.hashing import fingerprint
from storage.manifest import Manifest

STAGE = Stage("ingest", 2, (), (BARS, QUARANTINE, FUNDING))


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the bars of the run up to date."""
    config = context.config
    settings = {"source": config.source, **config.ingest.model_dump()}
    details = {}
    if config.source == "demo":
        market = demo_market(context)
        items = [Item(ticker, payload=market) for ticker in demo.names(market)]
        settings["demo"] = asdict(market)
        details["planted"] = list(demo.planted(market))
    else:
        found = sources.discover(config.source, config.ingest)
        items = [Item(source.ticker, payload=source) for source in found]
        settings["files"] = fingerprint({source.ticker: source.stamp for source in found})
    wanted = set(config.ingest.tickers)
    if wanted:
        items = [item for item in items if item.ticker in wanted or _symbol(item) in wanted]
        known = {name for item in items for name in (item.ticker, _symbol(item))}
        items += [Item(name) for name in sorted(wanted - known)]
    rates: dict[str, pd.Series] = {}
    if config.ingest.funding:
        file = rows.read(config.ingest.funding, "rate")
        rates, settings["funding"] = file.named([item.ticker for item in items]), file.content
    return run_stage(context, STAGE, items, produce, settings=settings, extra=rates, fan_out=fan_out, details=details)


def demo_market(context: Context) -> DemoMarket:
    """The embedded market as configured."""
    return DemoMarket(seed=context.config.ingest.demo_seed, edge=context.config.ingest.demo_edge)


def produce(context: Context, item: Item, rates: dict[str, pd.Series]) -> Produced:
    """Bars of one ticker, the rows that did not become bars, and its funding rates.

    Raises
    ------
    SourceError
        If the source has no such ticker, or cannot be read.
    """
    raw, address = _raw(context, item)
    bar = grid(context.config.ingest, raw, address)
    sound, quarantine = bars.validate(raw, bar, source=address)
    length = bar or bars.infer_bar(sound.index)
    funding = rates.get(item.ticker)
    return Produced(
        {
            BARS: sound,
            QUARANTINE: quarantine,
            FUNDING: frame(FUNDING, []) if funding is None else funding.astype(np.float64).to_frame(),
        },
        {
            "rows": len(sound),
            "first": str(sound.index[0]),
            "last": str(sound.index[-1]),
            "bar_seconds": length.total_seconds(),
            "gaps": int(bars.segments(sound.index, length)[-1]),
            "quarantined": len(quarantine),
            "funding": 0 if funding is None else len(funding),
            "source": address,
        },
    )


def grid(settings: Ingest, raw: pd.DataFrame, address: str) -> pd.Timedelta | None:
    """Length that the bars of a source must keep to; None where sessions within a day shift with daylight saving."""
    if settings.bar:
        length = pd.Timedelta(settings.bar)
    else:
        length = bars.infer_bar(bars.validate(raw, None, source=address)[0].index)
    intraday = length < pd.Timedelta(days=1)
    return None if settings.calendar == "sessions" and intraday else length


def _raw(context: Context, item: Item) -> tuple[pd.DataFrame, str]:
    if isinstance(item.payload, DemoMarket):
        return demo.bars(item.payload, item.ticker).reset_index(), f"demo market, {item.ticker}"
    if isinstance(item.payload, Source):
        return sources.read(item.payload), item.payload.address
    raise SourceError(
        f"{context.config.source} has no ticker {item.ticker}. "
        "Run without --ingest.tickers to see all, or check the spelling."
    )


def _symbol(item: Item) -> str:
    return item.ticker.partition(":")[2]


if __name__ == "__main__":
    from jobs.runner import main

    main("ingest")
