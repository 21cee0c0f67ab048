"""Where everything of a run is kept: the only module that formats a key.

runs/<run>/
    tables/<dataset>/ticker=<quoted>/data.parquet     or tables/<dataset>/data.parquet
    manifests/<stage>.json                            written last: the stage is complete
    receipts/<stage>/<fingerprint>/<digest>.json      what one shard finished
    progress/<stage>.json                             how far the stage was when last heard of
    models/<name>/<file>   checkpoints/<name>/…   exports/<file>   report.html   patterns.html
    config.json                                       the configuration of the job that was last started
archive/<source>/                                     market data as a service gave it, for all runs
"""

import re
from typing import NamedTuple
from urllib.parse import quote as percent_quote
from urllib.parse import unquote as percent_unquote

from storage.errors import StoreError

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_NAME = re.compile(_WORD)
_FINGERPRINT_DIGITS = 16
_PLACES = {
    "manifests": re.compile(rf"(?P<name>{_WORD})\.json"),
    "progress": re.compile(rf"(?P<name>{_WORD})\.json"),
    "receipts": re.compile(rf"(?P<name>{_WORD})/(?P<rest>{_WORD})/{_WORD}\.json"),
    "tables": re.compile(rf"(?P<name>{_WORD})/(?:ticker=(?P<rest>[^/]*)/)?data\.parquet"),
    "models": re.compile(rf"(?P<name>{_WORD})/(?P<rest>{_WORD})"),
    "checkpoints": re.compile(rf"(?P<name>{_WORD})/(?P<rest>.+)"),
    "exports": re.compile(rf"(?P<name>{_WORD})(?:/{_WORD})*"),
    "report.html": re.compile(""),
    "patterns.html": re.compile(""),
    "config.json": re.compile(""),
}


def quote(ticker: str) -> str:
    """Percent-quote a ticker as Hive readers decode it; ASCII letters, digits and ``_ . - ~`` stay.

    Raises
    ------
    StoreError
        Where the text holds a lone surrogate, which no encoding can carry.
    """
    try:
        return percent_quote(ticker, safe="")
    except UnicodeEncodeError as error:
        raise StoreError(f"the ticker {ticker!a} holds a lone surrogate; only valid text can be stored") from error


def unquote(quoted: str) -> str:
    """Read back what ``quote`` wrote.

    Raises
    ------
    StoreError
        Where the text is not what ``quote`` writes, so that it would be kept under another key.
    """
    try:
        ticker = percent_unquote(quoted, errors="strict")
    except UnicodeDecodeError:
        ticker = None
    if ticker is None or quote(ticker) != quoted:
        raise StoreError(
            f"{quoted!a} is not a ticker as storage.layout.quote writes it; another program has put it among "
            "the run's tables: move it away"
        )
    return ticker


def runs() -> str:
    """Prefix of all runs."""
    return "runs"


def run_prefix(run: str) -> str:
    """Prefix of everything of a run."""
    return f"{runs()}/{_named('run', run)}"


def tables(run: str, dataset: str) -> str:
    """Prefix of a dataset: the directory that Hive readers are given."""
    return f"{run_prefix(run)}/tables/{_named('dataset', dataset)}"


def table(run: str, dataset: str, ticker: str | None = None) -> str:
    """Key of a table: of one ticker, or of a dataset that is not kept by ticker."""
    folder = tables(run, dataset)
    return f"{folder}/data.parquet" if ticker is None else f"{folder}/ticker={quote(ticker)}/data.parquet"


def ticker_of(key: str) -> str | None:
    """Return the ticker of a table's key; None where the key is not that of a table kept by ticker."""
    match = re.fullmatch(r"runs/[^/]+/tables/[^/]+/ticker=([^/]*)/data\.parquet", key)
    return unquote(match.group(1)) if match else None


def manifests(run: str) -> str:
    """Prefix of the manifests of a run."""
    return f"{run_prefix(run)}/manifests"


def manifest(run: str, stage: str) -> str:
    """Key of a stage's manifest."""
    return f"{manifests(run)}/{_named('stage', stage)}.json"


def receipts(run: str, stage: str, fingerprint: str | None = None) -> str:
    """Prefix of a stage's receipts: all, or those of one fingerprint."""
    folder = f"{run_prefix(run)}/receipts/{_named('stage', stage)}"
    return folder if fingerprint is None else f"{folder}/{_named('fingerprint', fingerprint)[:_FINGERPRINT_DIGITS]}"


def receipt(run: str, stage: str, fingerprint: str, digest: str) -> str:
    """Key of the receipt of one shard."""
    return f"{receipts(run, stage, fingerprint)}/{_named('digest', digest)}.json"


def progress(run: str, stage: str) -> str:
    """Key of what was last heard of a stage."""
    return f"{run_prefix(run)}/progress/{_named('stage', stage)}.json"


def models(run: str, name: str) -> str:
    """Prefix of a model's files."""
    return f"{run_prefix(run)}/models/{_named('model', name)}"


def model(run: str, name: str, file: str) -> str:
    """Key of one file of a model."""
    return f"{models(run, name)}/{_named('file', file)}"


def checkpoints(run: str, name: str) -> str:
    """Prefix of the checkpoints of a training."""
    return f"{run_prefix(run)}/checkpoints/{_named('checkpoint', name)}"


def export(run: str, *names: str) -> str:
    """Key of an exported file: its name, after those of the folders it lies in."""
    return "/".join([run_prefix(run), "exports", *(_named("file", name) for name in names)])


def report(run: str) -> str:
    """Key of the report."""
    return f"{run_prefix(run)}/report.html"


def patterns(run: str) -> str:
    """Key of the page of the patterns."""
    return f"{run_prefix(run)}/patterns.html"


def config(run: str) -> str:
    """Key of the configuration of the job that was last started."""
    return f"{run_prefix(run)}/config.json"


def archive(source: str, *names: str) -> str:
    """Key of market data as a service gave it, kept for all runs; names may be any text, such as a ticker."""
    return "/".join(["archive", _named("source", source), *map(quote, names)])


class Place(NamedTuple):
    """What a key of a run is.

    ``kind`` is the folder below the run, or the name of a file straight below it. ``name`` is the stage, the dataset
    or the model; ``rest`` what follows it: of a receipt the fingerprint's digits, of a table the ticker (empty for one
    that is not kept by ticker), of a checkpoint the path.
    """

    kind: str
    name: str
    rest: str


def place(run: str, key: str) -> Place | None:
    """Say what a key of a run is; None where this module formats no such key.

    Raises
    ------
    StoreError
        Where the name of the run cannot be one.
    """
    kind, _, path = key.removeprefix(f"{run_prefix(run)}/").partition("/")
    if not key.startswith(f"{run_prefix(run)}/"):
        return None
    pattern = _PLACES.get(kind)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        return None
    groups = match.groupdict(default="")
    if "ticker=" in path and kind == "tables":
        try:
            unquote(groups["rest"])
        except StoreError:
            return None
    return Place(kind, groups.get("name", ""), groups.get("rest", ""))


def _named(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"the {kind} name {name!a} cannot be used in a key: allowed are 1 to 100 ASCII letters, digits, "
            "'.', '_' and '-', beginning with a letter or a digit"
        )
    return name
