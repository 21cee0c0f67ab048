"""What every ``python -m jobs.<name>`` does around its job: configuration, Ray, errors, exit code.

Exit codes: 0 when failed tickers are within ``--tolerate``, 1 when they are not, 2 for input that
cannot be used (one paragraph on standard error says what and where), 130 when interrupted. A run has one writer at a
time: a job that writes holds its lease, and another is refused.
"""

import _thread
import argparse
import difflib
import importlib
import logging
import pkgutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

import jobs
from actors.connect import connect
from actors.metrics import of_run
from actors.progress import Snapshot, told
from jobs import every, passing
from jobs.config import RunConfig
from jobs.stage import Context, now
from storage import web
from storage.errors import StoreError
from storage.lease import held
from storage.manifest import Manifest, ProgressRecord, read_manifest, write_config, write_progress
from storage.patience import hastily
from storage.store import Store, open_store

# Modules of this folder that are no jobs of their own.
SHARED = {
    *("__main__", "archive", "audit_market", "audit_run", "audit_signals", "bulk", "bulk_symbol", "compiled"),
    *("config", "config_data", "config_model", "config_operations", "config_parts", "config_verdict"),
    *("dataset", "estimate", "every"),
    *("exchange", "exchange_chunks", "exchange_client", "exchange_http", "exchange_symbol", "exchange_universe"),
    *("exports", "flags", "gather", "market", "own_signals", "parquet_markets", "passing"),
    *("pattern_fit", "pattern_outcomes", "pattern_page", "pattern_seed", "pattern_signals"),
    *("protocol_plan", "protocol_trades"),
    *("rates", "report_tickers", "rows", "rule_signals", "runner", "sessions", "shard_log", "sources", "stage"),
    *("standing", "variants"),
}

logger = logging.getLogger("assay")

INTERRUPTED = 130
REFUSED = 2
FAILED = 1


class ConfigError(ValueError):
    """A configuration that cannot be used."""


class Flags(RunConfig, BaseSettings):
    """The configuration as flags: from the command line and ``--config`` alone, never from the environment."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        cli_avoid_json=True,
        cli_parse_none_str="null",  # as in lists, and in the command that a report shows
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        cli_exit_on_error=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out the environment and dotenv files: a run is what its configuration says."""
        return (init_settings,)


def names() -> list[str]:
    """Names of all jobs, in the order of the alphabet."""
    return sorted(module.name for module in pkgutil.iter_modules(jobs.__path__) if module.name not in SHARED)


def main(name: str, arguments: list[str] | None = None) -> None:
    """Run a job as a program: parse, connect, run, report errors, and exit."""
    # under ``python -m`` the job's own module is __main__; its classes must pickle by their real name
    job = importlib.import_module(f"jobs.{name}")
    given = sys.argv[1:] if arguments is None else arguments
    end(lambda: execute(job, parse(name, (job.__doc__ or "").strip(), given)))


def end(program: Callable[[], int]) -> NoReturn:
    """Run a program to its end: with the exit code that it returns, or that of the error which it has explained."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        sys.exit(program())
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again: what is done is not done twice.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not is_ours(error):
            raise
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(REFUSED)


def parse(name: str, summary: str, arguments: list[str]) -> RunConfig:
    """Configuration from ``--config FILE`` and the flags that override it.

    Raises
    ------
    ConfigError
        If the file or a flag names an unknown key, or a value is not allowed.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m jobs.{name}",
        description=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of the settings below; flags override it")
    # the flags are this parser's own, so that --help shows one list
    source = CliSettingsSource(Flags, root_parser=parser)
    known, strange = parser.parse_known_args(arguments)
    if strange:
        options = [flag for action in parser._actions for flag in action.option_strings]
        close = difflib.get_close_matches(strange[0].partition("=")[0], options, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise ConfigError(f"{strange[0]} is not known{hint} `python -m jobs.{name} --help` lists all settings.")
    values = _read_toml(known.config) if known.config else {}
    try:
        flags = Flags(_cli_settings_source=source(parsed_args=known), **values)
    except ValidationError as error:
        raise ConfigError(_explain(error, known.config)) from None
    except SettingsError as error:
        field, _, complaint = str(error).removeprefix("Parsing error encountered for ").partition(": ")
        raise ConfigError(
            f"--{field} is no list or table as JSON writes it ({complaint}); allowed is, for example, '[1, 2]'."
        ) from None
    return RunConfig.model_validate(flags.model_dump(by_alias=True))


def execute(job: ModuleType, config: RunConfig) -> int:
    """Run a job with a validated configuration and return the exit code."""
    store = open_store(config.store)
    for url in config.urls.values():
        open_store(url)  # refuses credentials before the configuration is printed
    if config.ingest.endpoint:
        web.checked(config.ingest.endpoint)
    logger.info("configuration: %s", config.model_dump_json(by_alias=True, exclude_defaults=True))
    if hasattr(job, "look"):
        return int(job.look(Context(config, store)) or 0)
    with held(store, config.run, job.run.__module__, lost=_thread.interrupt_main):
        # before anything else of the run, so that what it needs and how far it is can be told from the store alone
        write_config(store, config.run, config.model_dump(mode="json", by_alias=True))
        if not (config.every and getattr(job, "REPEATS", False)):
            return perform(job.run, config, store)
        # a round is what one run of the command is, in its report, too
        once = partial(perform, job.run, config.model_copy(update={"every": None}), store)
        with every.stopping() as stop:
            return every.rounds(
                config.every,
                config.every_seconds,
                once,
                judge=passing.word,
                worked=lambda: read_manifest(store, config.run, "pipeline") is not None,
                stop=stop,
            )


def perform(
    run: Callable[[Context], Manifest], config: RunConfig, store: Store, started: Callable[[], None] = lambda: None
) -> int:
    """Run a job once on Ray, and return the exit code; ``started`` is called when Ray is there."""
    # a trial that is stopped leaves ranks of its own behind, which Ray finds by way of its dashboard alone
    with connect(config.address, config.workers, dashboard=config.tune.workers > 1) as cluster:
        started()
        context = Context(config, store, workers=max(1, int(cluster.most_cpus)))
        with told(partial(keep, context)), of_run(config.run):
            manifest = run(context)
    failures = manifest.failures
    for row in failures[:10]:
        print(f"failed: {row.ticker} in {row.stage}: {row.error}: {row.message}", file=sys.stderr)
    if len(failures) > 10:
        print(f"… and {len(failures) - 10} more, in the manifest of the stage", file=sys.stderr)
    if len(failures) > config.tolerate:
        print(
            f"{len(failures)} failed, {config.tolerate} tolerated (--tolerate). "
            "Run the same command again to retry the failed ones alone.",
            file=sys.stderr,
        )
        return FAILED
    conclude = getattr(sys.modules[run.__module__], "conclude", None)  # what a job makes of its result
    return int(conclude(manifest)) if conclude else 0


def keep(context: Context, snapshot: Snapshot) -> None:
    """Keep how far a stage is in the store, for `jobs.status`; a store that refuses is no reason to stop or wait."""
    try:
        with hastily():
            write_progress(context.store, context.run, ProgressRecord(**asdict(snapshot), updated=now()))
    except StoreError as error:
        logger.warning("progress is not kept: %s", error)


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised on purpose by this project, for a person to read."""
    return type(error).__module__.partition(".")[0] in {"jobs", "actors", "storage", "quant"}


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}. Give the path of a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path} is not valid TOML: {error}") from None


def _explain(error: ValidationError, path: str | None) -> str:
    """One paragraph: each field that is wrong, its value, and what is allowed."""
    where = f"in {path} or the flags" if path else "in the flags"
    return "; ".join(_explain_one(detail) for detail in error.errors()) + f" ({where})."


def _explain_one(detail: Any) -> str:
    place = [str(part) for part in detail["loc"]]
    name = ".".join(place)
    if detail["type"] != "extra_forbidden":
        message = detail["msg"].removeprefix("Value error, ")
        shown = "" if isinstance(detail["input"], dict | BaseModel) else f" = {detail['input']!r}"
        return f"{name}{shown}: {message[0].lower()}{message[1:]}"
    allowed = _fields(place[:-1])
    close = difflib.get_close_matches(place[-1], allowed, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{name}: there is no such setting{hint} Allowed here: {', '.join(allowed)}"


def _fields(place: list[str]) -> list[str]:
    """Names of the settings of a section."""
    model: Any = RunConfig
    for part in place:
        model = model.model_fields[part].annotation
    return [field.alias or name for name, field in model.model_fields.items()]
