"""What the sections of the configuration share: how a setting is declared, and what many of them are."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
"""Seconds of the units of a length of time."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Sides = tuple[Annotated[float, Field(gt=0, lt=1)] | None, ...]


class Section(BaseModel):
    """A part of the configuration: frozen, and refusing keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Span(Section):
    """Numbers from a low to a high one, to draw from."""

    low: float
    """The smallest value."""
    high: float
    """The largest value."""
    step: float | None = None
    """Distance between neighbouring values; null for all values between. A grid needs one."""
    log: bool = False
    """Whether every factor, rather than every difference, is equally likely."""


class Spans(Section):
    """A section with settings that are a list or a range."""

    @field_validator("*", mode="before")
    @classmethod
    def _range_from_a_flag(cls, value: object) -> object:
        """Take a range out of the list that a flag's JSON arrives in."""
        alone = isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], dict)
        return value[0] if alone else value


def seconds(length: str) -> float:
    """Seconds of a length of time such as "15m"; 0 for a text that is none."""
    found = re.fullmatch(rf"(\d+)([{''.join(UNITS)}])", length)
    return float(found[1]) * UNITS[found[2]] if found else 0.0
