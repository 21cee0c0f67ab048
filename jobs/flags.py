"""A configuration as the flags that make it again: for a command to show, and for one to submit."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.config import RunConfig
from jobs.config_parts import Section


def flags(config: RunConfig) -> list[str]:
    """Return the arguments of a job that give this configuration: those of the settings that differ from the defaults.

    What `jobs.runner.parse` makes of them equals the configuration, whatever file it came from; but for a text "null",
    and for a quotation mark, a backslash or a control character in a list, which no flag can say.
    """
    given = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return [argument for name, value in _flat(RunConfig, given) for argument in _flag(name, value)]


def _flat(section: type[Section], given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its whole name; a range is one value of its setting, and no section."""
    kinds = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
    for name, value in given.items():
        kind: Any = kinds[name]
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _flat(kind, value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    text = value if isinstance(value, str) else "null" if value is None else json.dumps(value, ensure_ascii=False)
    # an argument that starts with a dash would be taken for a flag of its own
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]
