"""Say how two runs of a store differ: in configuration, data, stage by stage, and in what they come to.

python -m jobs.compare FIRST SECOND --store URL

Read-only, from the store alone, like `jobs.status`. It ends with exit code 0 where the results are the same, 1 where
they differ and 2 where a run is missing. In place of the two names, --compare.runs '["FIRST", "SECOND"]' does as well.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from jobs import pipeline
from jobs.stage import Context
from quant.schemas import EVALUATION, SHORTLIST
from storage import layout
from storage.errors import KeyMissing
from storage.manifest import Manifest, list_runs, read_config, read_manifest
from storage.store import Store
from storage.tables import read_table

DIFFERENT = 1
SHOWN = 20
"""Rows of a table at most; of more, their number is told."""
NAMELESS = ("run", "store", "compare")  # settings that say where, and not what
BESIDE = ("pipeline", "audit")  # manifests that are no result of their own
PATH = ("search", "placebo")  # of stages that read the same, the one that is done first
FIGURES = ("macro_f1", "log_loss", "direction_auc")
COLUMNS = {"median Sharpe of candidates": "judge_sharpe", "median deflated Sharpe": "deflated_sharpe"}

Row = tuple[str, ...]


class MissingRunError(ValueError):
    """A run that is to be compared and is not there, or no two names."""


@dataclass(frozen=True)
class Run:
    """What the store has of a run; its tables are read when they are asked for."""

    store: Store
    name: str

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """Manifest of every complete stage."""
        names = [key.rpartition("/")[2].removesuffix(".json") for key in self.store.list(layout.manifests(self.name))]
        found = {name: read_manifest(self.store, self.name, name) for name in names}
        return {name: manifest for name, manifest in found.items() if manifest}

    @cached_property
    def settings(self) -> dict[str, str]:
        """Every setting by its whole name, as text: those of the whole path, else of the job that was started last."""
        whole = self.manifests.get("pipeline")
        return dict(_flat(whole.config if whole else read_config(self.store, self.name)))

    @cached_property
    def shortlist(self) -> pd.DataFrame:
        """Every ticker's verdict; empty where the run did not come so far."""
        try:
            return read_table(self.store, self.name, SHORTLIST).set_index("ticker")
        except KeyMissing:
            return pd.DataFrame(columns=[column.name for column in SHORTLIST.columns]).set_index("ticker")

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Hash of the bars and of every table that the result hash covers."""
        return {
            name: value
            for manifest in self.manifests.values()
            if manifest.stage not in BESIDE
            for name, value in manifest.hashes.items()
            if name in ("bars", *pipeline.HASHED)
        }

    @cached_property
    def figures(self) -> dict[str, float | None]:
        """What the run comes to, by name."""
        table = self.shortlist
        details = self.manifests["shortlist"].details if "shortlist" in self.manifests else {}
        candidates = table[table["stage"] != "choose"]
        kinds: Mapping[str, Any] = details.get("placebo_entries") or {}
        searched, entries = sum(map(len, kinds.values())), sum(map(sum, kinds.values()))
        found: dict[str, float | None] = {
            "tickers": float(len(table)) if len(table) else None,
            "candidates": details.get("candidates"),
            "shortlisted": float(table["shortlisted"].sum()) if len(table) else None,
            "placebo entries a market": entries / searched if searched else None,
        }
        found |= {name: _median(candidates[column]) for name, column in COLUMNS.items()}
        if "train" in self.manifests:
            validate = self.manifests["train"].details.get("validate", {})
            found |= {f"model, {name} on validate": validate[name] for name in FIGURES if name in validate}
        try:
            judged = read_table(self.store, self.name, EVALUATION)
            own = judged[(judged["model"] == "cnn") & judged["statistic"].isin(FIGURES)]
            found |= {
                f"model, {name} on choose": float(value)
                for name, value in zip(own["statistic"], own["estimate"], strict=True)
            }
        except KeyMissing:
            pass
        return found


def look(context: Context) -> int:
    """Print how the two runs differ, and return the exit code.

    Raises
    ------
    MissingRunError
        If there are no two names, or the store holds nothing of one.
    """
    names = context.config.compare.runs
    if len(names) != 2:
        raise MissingRunError(
            "compare needs the names of two runs: python -m jobs.compare FIRST SECOND --store URL, or --compare.runs "
            '\'["FIRST", "SECOND"]\'.'
        )
    there = list_runs(context.store)
    for name in names:
        if name not in there:
            raise MissingRunError(
                f"{context.store.url} holds no run '{name}' (--compare.runs); the runs there: "
                f"{', '.join(there) or 'none'}."
            )
    first, second = (Run(context.store, name) for name in names)
    print("\n".join(told(first, second)))
    return 0 if same(first, second) else DIFFERENT


def same(first: Run, second: Run) -> bool:
    """Whether the two have the same bars and the same results, as far as the result hash goes."""
    return first.hashes == second.hashes


def told(first: Run, second: Run) -> Iterator[str]:
    """All that is printed, a line at a time."""
    yield f"'{first.name}' and '{second.name}' in {first.store.url}"
    head = (first.name, second.name)
    for title, none, header, rows in (
        ("configuration", "the same", ("setting", *head), configuration(first, second)),
        ("data", "the same", ("what", *head), data(first, second)),
        ("stages", "neither has one", ("stage", "results", "settings and inputs"), stages(first, second)),
        ("figures", "neither has any", ("figure", *head), figures(first, second)),
        ("shortlist", "no ticker on either", ("ticker", "what", "why"), shortlisted(first, second)),
    ):
        yield f"\n{title}:" if rows else f"\n{title}: {none}"
        if rows:
            yield from _table(header, rows)
    yield f"\n{parting(first, second)}"


def configuration(first: Run, second: Run) -> list[Row]:
    """Settings that differ, but for those that name run and store."""
    names = dict.fromkeys([*first.settings, *second.settings])
    return [
        (name, first.settings.get(name, "—"), second.settings.get(name, "—"))
        for name in names
        if name.partition(".")[0] not in NAMELESS and first.settings.get(name) != second.settings.get(name)
    ]


def data(first: Run, second: Run) -> list[Row]:
    """How the bars differ: tickers that one run lacks, and of the others span and rows."""
    bars = [_bars(run) for run in (first, second)]
    rows = []
    for ticker in sorted({*bars[0], *bars[1]}):
        here, there = (known.get(ticker, "not there") for known in bars)
        if here != there:
            rows.append((ticker, here, there))
    hashes = [run.hashes.get("bars", "") for run in (first, second)]
    if hashes[0] != hashes[1]:
        rows.insert(0, ("hash of all bars", *(value[:12] or "none" for value in hashes)))
        rows.insert(0, ("tickers", *(f"{len(known):,}" for known in bars)))
    return rows


def stages(first: Run, second: Run) -> list[Row]:
    """Every stage in the order of the path: whether its results are the same, and whether it was asked the same."""
    rows = []
    for name in order(first, second):
        here, there = first.manifests.get(name), second.manifests.get(name)
        if here is None or there is None:
            rows.append((name, f"only '{(second if here is None else first).name}' has it", ""))
            continue
        alike = here.result_hash == there.result_hash
        asked = "same" if here.fingerprint == there.fingerprint else "differ"
        rows.append((name, "same" if alike else "differ", asked))
    return rows


def figures(first: Run, second: Run) -> list[Row]:
    """What the two come to, side by side."""
    names = dict.fromkeys([*first.figures, *second.figures])
    rows = [(name, _number(first.figures.get(name)), _number(second.figures.get(name))) for name in names]
    return [row for row in rows if row[1:] != ("—", "—")]


def shortlisted(first: Run, second: Run) -> list[Row]:
    """Tickers that are on both shortlists, and those on one, with the rules that kept them off the other."""
    before, after = (set(run.shortlist.index[run.shortlist["shortlisted"].astype(bool)]) for run in (first, second))
    rows = [(ticker, "kept", "") for ticker in sorted(before & after)]
    rows += [(ticker, "gained", f"in '{first.name}' {_why(first, ticker)}") for ticker in sorted(after - before)]
    rows += [(ticker, "lost", f"in '{second.name}' {_why(second, ticker)}") for ticker in sorted(before - after)]
    return rows


def parting(first: Run, second: Run) -> str:
    """Where the two part first, in a sentence."""
    if same(first, second):
        return "The results are the same."
    for name, results, asked in stages(first, second):
        if results != "same" and name in {*first.manifests} & {*second.manifests}:
            why = "with the same settings and inputs" if asked == "same" else "having been asked for something else"
            return f"The results differ. They part at the stage {name}, {why}."
        if results != "same":
            return f"The results differ. They part at the stage {name}: {results}."
    return "The results differ."


def order(first: Run, second: Run) -> list[str]:
    """Stages of either run, in the order in which they were done."""
    known = {**second.manifests, **first.manifests}
    names = [name for name in known if name not in BESIDE]

    # a stage comes after all that it reads
    def depth(name: str) -> int:
        inputs = [one for one in known[name].inputs if one in known] if name in known else []
        return 1 + max(map(depth, inputs), default=0)

    return sorted(names, key=lambda name: (depth(name), PATH.index(name) if name in PATH else len(PATH), name))


def arguments(given: Sequence[str]) -> list[str]:
    """Turn two names among the arguments into the setting that they stand for."""
    names, rest, flag = [], [], False
    for argument in given:
        if argument.startswith("-") or flag:
            rest.append(argument)
            flag = argument.startswith("--") and "=" not in argument
        else:
            names.append(argument)
    return [*rest, *(["--compare.runs", json.dumps(names)] if names else [])]


def _bars(run: Run) -> dict[str, str]:
    known = run.manifests.get("ingest")
    return {
        ticker: f"{info['rows']:,} from {info.get('first', '—')} to {info.get('last', '—')}"
        for ticker, info in (known.tickers if known else {}).items()
    }


def _why(run: Run, ticker: str) -> str:
    if ticker not in run.shortlist.index:
        return "it is not there"
    row = run.shortlist.loc[ticker]
    failed = str(row["failed"])
    return f"it failed {failed}: {row['reason']}" if failed else str(row["reason"])


def _median(values: pd.Series) -> float | None:
    known = values.astype("float64").dropna()
    return float(known.median()) if len(known) else None


def _number(value: float | None) -> str:
    return "—" if value is None or not math.isfinite(value) else f"{value:.4g}"


def _flat(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(header: Row, rows: Sequence[Row]) -> Iterator[str]:
    shown = [header, *rows[:SHOWN]]
    widths = [max(len(row[place]) for row in shown) for place in range(len(header))]
    for row in shown:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if len(rows) > SHOWN:
        yield f"  … and {len(rows) - SHOWN} more"


if __name__ == "__main__":
    from jobs.runner import main

    main("compare", arguments(sys.argv[1:]))
