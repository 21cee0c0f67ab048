"""Write ``report.html``: the shortlist, its evidence, what was rejected and why, in one page that opens alone.

python -m jobs.report --config run.toml --store URL --run NAME
"""

import datetime
import importlib.metadata
import shlex
from collections import Counter
from dataclasses import asdict

import numpy as np
import pandas as pd

from jobs import audit, market, pattern_page, report_tickers
from jobs.flags import flags
from jobs.gather import gather
from jobs.ingest import assumed
from jobs.shortlist import metrics_frame, trials_frame
from jobs.stage import Context, FanOut, fan_out, require
from quant import report_lines, report_quality, report_table
from quant import report_words as words
from quant.protocols import ALL
from quant.report import DETAILED, Audit, ModelEvaluation, ReportContent, render
from quant.report_evaluation import Comparison
from quant.report_protocols import ProtocolContent
from quant.schemas import (
    ABLATIONS,
    CORRELATIONS,
    EVALUATION,
    EVALUATION_CURVES,
    EVALUATION_GROUPS,
    FAILURES,
    PORTFOLIO,
    PROTOCOL_STEPS,
    PROTOCOLS,
    QUALITY,
    QUARANTINE,
    REPORT_FIGURES,
    SHORTLIST,
    TUNING,
    frame,
)
from storage import layout
from storage.manifest import Manifest, read_manifest
from storage.tables import read_table, write_table

WATERFALLS = 6  # tickers learned from that are told one by one
CLASSES = ("neutral", "long", "short")
LIBRARIES = ("ray", "tensorflow-cpu", "tensorflow", "keras", "pandas", "numpy", "backtesting", "TA-Lib")


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Write the report of a run that the pipeline brought to its end, and print what it says and where it is."""
    print("\n".join(report_lines.lines(write(context, fan_out))))
    print(f"\nreport: {context.store.address(layout.report(context.run))}")
    return require(context, "pipeline")


def write(context: Context, fan_out: FanOut = fan_out) -> ReportContent:
    """Write the report, and the figures of it that are nowhere else; return what it shows."""
    found = content(context, require(context, "pipeline"), fan_out)
    write_table(context.store, context.run, REPORT_FIGURES, report_table.table(found))
    context.store.write(layout.report(context.run), render(found).encode())
    return found


def content(context: Context, pipeline: Manifest, fan_out: FanOut) -> ReportContent:
    """What the report shows, gathered from the manifests and a few tables."""
    brought = bool(context.config.given)
    ingested = market.of(context)
    searched, judged = (require(context, name) for name in ("search", "backtest"))
    shortlist = read_table(context.store, context.run, SHORTLIST)
    chosen = trials_frame(searched)
    quality = quality_frame(ingested)
    now = datetime.datetime.now(datetime.UTC)
    return ReportContent(
        run=context.run,
        created=now.strftime("%Y-%m-%d %H:%M UTC"),
        command=command(context),
        config=context.config.model_dump_json(indent=2, by_alias=True),
        versions=versions(),
        result_hash=pipeline.result_hash,
        parts={name: (part.start, part.end) for name, part in market.parts(context, ingested).items()},
        shortlist=shortlist,
        metrics=metrics_frame(judged),
        details=report_tickers.details(context, shortlist.head(DETAILED), searched, judged, fan_out),
        bar=words.length_of(market.bar_length(ingested)),
        objective=context.config.search.objective,
        trials=max((int(info["trials"]) for info in searched.tickers.values()), default=0),
        rules=context.config.shortlist.model_dump(),
        market=require(context, "shortlist").details,
        portfolio=read_table(context.store, context.run, PORTFOLIO),
        correlations=read_table(context.store, context.run, CORRELATIONS),
        uncharged=uncharged(context, judged),
        failures=failures_frame(pipeline),
        parameters=None if chosen.empty else chosen,
        label_balance=None if brought else label_balance(context),
        evaluation=None if brought else evaluation(require(context, "train")),
        comparison=None if brought else comparison(context),
        rule=rule(context),
        clusters_traded=context.config.patterns.trade,
        patterns=pattern_page.of_the_report(context, fan_out),
        tuning=read_table(context.store, context.run, TUNING)
        if context.config.train.tuned and not brought and not context.config.rejudge
        else None,
        quality=quality,
        reasons=reasons(context, ingested, fan_out),
        assumed=dict(assumed(ingested)),
        audit=audited(context),
        protocols=protocols(context),
        flags=flags_of(context, report_quality.worst(quality), fan_out),
        planted=frozenset(ingested.details["planted"]) if "planted" in ingested.details else None,
    )


def uncharged(context: Context, judged: Manifest) -> tuple[str, ...]:
    """Costs that this run left out."""
    costs = context.config.costs
    missing = sum(int(row["funding_missing"]) for info in judged.tickers.values() for row in info["metrics"])
    left_out = {
        "slippage": not costs.slippage,
        "funding": context.config.ingest.funding is None,
        f"{missing:,} payments of funding that the file lacks": bool(missing),
        "liquidation inside a bar": not costs.maintenance_margin,
    }
    return tuple(name for name, applies in left_out.items() if applies)


def audited(context: Context) -> Audit | None:
    """What the audit of the run found, if it was made."""
    manifest = read_manifest(context.store, context.run, audit.STAGE.name)
    return manifest and Audit(audit.table(manifest), audit.sentences(manifest))


def protocols(context: Context) -> ProtocolContent | None:
    """What the article's protocol would have claimed of this very shortlist, if that was tried."""
    done = read_manifest(context.store, context.run, "protocols")
    summed = read_manifest(context.store, context.run, "protocol_steps")
    if done is None or summed is None or summed.inputs[done.stage] != done.result_hash:
        return None
    if done.inputs["shortlist"] != require(context, "shortlist").result_hash:
        return None
    learned = [ticker for ticker in require(context, "train").details["tickers"] if ticker in done.tickers]
    shown = learned[:WATERFALLS]
    steps = read_table(context.store, context.run, PROTOCOL_STEPS)
    tables = [read_table(context.store, context.run, PROTOCOLS, ticker).assign(ticker=ticker) for ticker in shown]
    first = [table[table["step"] == 0] for table in tables]
    return ProtocolContent(
        steps[steps["scope"].isin([ALL, *shown])], pd.concat(first) if first else frame(PROTOCOLS, [])
    )


def quality_frame(ingested: Manifest) -> pd.DataFrame:
    """What the ingest says of each ticker, with its flags by kind."""
    return pd.DataFrame(
        {
            "ticker": ticker,
            **{name: info[name] for name in ("rows", "first", "last", "gaps", "quarantined")},
            **info.get("flags", {}),
        }
        for ticker, info in ingested.tickers.items()
    )


def reasons(context: Context, ingested: Manifest, fan_out: FanOut) -> pd.DataFrame:
    """Why rows were set aside: rows and tickers by reason."""
    tickers = [ticker for ticker, info in ingested.tickers.items() if info["quarantined"]]
    rows: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for part in gather(set_aside, tickers, context, name="quarantine", shared=context, fan_out=fan_out):
        for found in part:
            rows.update(found)
            times.update(found.keys())
    return pd.DataFrame(
        [(reason, number, times[reason]) for reason, number in sorted(rows.items())],
        columns=["reason", "rows", "tickers"],
    )


def set_aside(tickers: list[str], context: Context) -> list[dict[str, int]]:
    """Rows in the quarantine of some tickers by reason, as a task counts them."""
    tables = (read_table(context.store, context.run, QUARANTINE, ticker, columns=["reason"]) for ticker in tickers)
    return [dict(Counter(table["reason"])) for table in tables]


def flags_of(context: Context, tickers: list[str], fan_out: FanOut) -> dict[str, pd.DataFrame]:
    """What is odd about some tickers."""
    parts = gather(odd, tickers, context, name="flags", shared=context, fan_out=fan_out)
    found = {ticker: table for part in parts for ticker, table in part.items()}
    return {ticker: found[ticker] for ticker in tickers}


def odd(tickers: list[str], context: Context) -> dict[str, pd.DataFrame]:
    """Flags of some tickers, as a task reads them."""
    columns = list(report_quality.FLAG_COLUMNS)
    return {ticker: read_table(context.store, context.run, QUALITY, ticker, columns=columns) for ticker in tickers}


def command(context: Context) -> str:
    """The command that makes the run again, with the settings that differ from the defaults."""
    return shlex.join(["python", "-m", "jobs.pipeline", *flags(context.config)])


def rule(context: Context) -> str | None:
    """The rule that the signals are from and its parameters, in words; None where they are from elsewhere."""
    name, settings = context.config.rule, context.config.rules
    if name is None:
        return None
    sides = [] if settings.side == "both" else [f"{settings.side} only"]
    return f"{name} ({', '.join([*(f'{key} {value:g}' for key, value in settings.of(name).items()), *sides])})"


def versions() -> dict[str, str]:
    """Versions of the libraries that a result rests on, as installed here."""
    installed = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return {name: installed[name.lower()] for name in LIBRARIES if name.lower() in installed}


def evaluation(trained: Manifest) -> ModelEvaluation:
    """How the model did on the validate part."""
    details = trained.details
    return ModelEvaluation(
        confusion=np.array(details["validate"]["confusion"]),
        history=pd.DataFrame(details["history"]),
        train_tickers=tuple(details["tickers"]),
        log_loss=details["validate"]["log_loss"],
        threshold=details["threshold"],
    )


def comparison(context: Context) -> Comparison:
    """The model beside simple ones, and with one thing changed where that was tried on this very model."""
    done, tried = require(context, "evaluate"), read_manifest(context.store, context.run, "ablate")
    known = tried is not None and tried.inputs["evaluate"] == done.result_hash
    return Comparison(
        **{
            name: read_table(context.store, context.run, dataset)
            for name, dataset in (
                ("statistics", EVALUATION),
                ("curves", EVALUATION_CURVES),
                ("groups", EVALUATION_GROUPS),
            )
        },
        ablations=read_table(context.store, context.run, ABLATIONS) if known else None,
        confusions=done.details["confusions"],
        left_out=done.details["left_out"],
        reason=done.details["reason"],
    )


def label_balance(context: Context) -> pd.DataFrame:
    """Counts of the classes: of the windows learned from, and of all tickers' bars."""
    learned = require(context, "train").details["classes"]
    bars = [info["counts"] for info in require(context, "labels").tickers.values()]
    rows = {
        "fit": learned["fit"],
        "validate": learned["validate"],
        "all bars": [sum(int(counts[str(label)]) for counts in bars) for label in range(3)],
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(CLASSES))


def failures_frame(pipeline: Manifest) -> pd.DataFrame:
    """Failures of all stages as a table."""
    return frame(FAILURES, [asdict(row) for row in pipeline.failures])


if __name__ == "__main__":
    from jobs.runner import main

    main("report")
