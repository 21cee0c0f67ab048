"""Every figure of the page is in a table of the run."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant import report_words as words
from quant.report import ReportContent, render
from quant.report_table import table
from quant.schemas import REPORT_FIGURES
from storage.store import open_store
from storage.tables import read_table, write_table
from tests.quant.pattern_content import pattern_content
from tests.quant.report_content import grid, report_content
from tests.quant.test_report import Page, audit_of, opened

NUMBER = re.compile(r"[+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?%?|∞")
FORMS = (".2f", ",.2f", ".3f", "+.3f", ",.1f", "g", ".2g", ".3g")


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return report_content(
        tickers=20, patterns=pattern_content(), audit=audit_of(("labels", "demo:AAA", "warning", "3 bars"))
    )


@pytest.fixture(scope="module")
def figures(content: ReportContent) -> pd.DataFrame:
    return table(content)


@pytest.fixture(scope="module")
def html(content: ReportContent) -> str:
    return render(content)


def test_rows_are_a_table_of_the_run(figures: pd.DataFrame) -> None:
    store = open_store("memory://report-figures")
    write_table(store, "run", REPORT_FIGURES, figures)
    pd.testing.assert_frame_equal(read_table(store, "run", REPORT_FIGURES), figures)


def written(value: float) -> Iterator[str]:
    """The ways in which the page writes a number."""
    for digits in (0, 1, 2):
        shares = [words.percent(value, signed, digits) for signed in (False, True)]
        yield from (text.removesuffix(unit) for text in shares for unit in ("", "%"))  # a difference is so many points
    yield from (f"{value:{form}}".replace("-", "−") for form in FORMS)
    yield from (words.probability(value).lstrip("<>"), words.decimal(value))
    if np.isfinite(value) and value == int(value):
        yield words.count(value)


def numbers_of(tables: Iterable[pd.DataFrame]) -> set[str]:
    """Every number in some tables as the page may write it, and every number in their texts."""
    found = set()
    for frame in tables:
        for name in frame.columns:
            values = frame[name].dropna().unique()
            if pd.api.types.is_numeric_dtype(frame[name]):
                found |= {text for value in values for sign in (1, -1) for text in written(sign * float(value))}
            else:
                said = NUMBER.findall(" ".join(map(str, values)))
                found.update(said)
            if name == "minimum_profit":  # numbers within a text
                found |= {text for number in said for text in written(float(number))}
    return found


def missing(texts: Iterable[str], tables: Iterable[pd.DataFrame], content: ReportContent, said: str = "") -> list[str]:
    """Numbers in texts that are in none of the tables, nor said by the page's own words; names and days are none."""
    known = numbers_of(tables) | set(said.split())
    names = "|".join(re.escape(name) for name in sorted(content.shortlist["ticker"], key=len, reverse=True))
    dates = r"\d{4}-\d\d(-\d\d)?( \d\d:\d\d)?"
    plain = (re.sub(f"{names}|{dates}|F1", " ", text) for text in texts)
    return [number for text in plain for number in NUMBER.findall(text) if number not in known]


SECTIONS = {
    # tables, sections of report_figures, numbers of the page's own words
    "verdict": ((), ("verdict",), "10%"),
    "shortlist": (("shortlist",), ("verdict",), "90%"),
    "together": (("correlations",), ("portfolio",), "1.00"),
    "promise": ((), ("verdict",), "1"),
    "rejected": (("shortlist",), ("verdict",), ""),
    "calendar": ((), ("calendar", "labels"), ""),
    "model": (("tuning", "evaluation"), ("model", "verdict"), "95% 0.5"),
    "patterns": (("patterns",), ("patterns",), "10%"),
    "audit": (("audit",), ("audit",), ""),
    "quality": (("failures",), ("quality",), ""),
    "reproduce": ((), ("run",), ""),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_number_that_a_section_shows_is_in_a_table(
    section: str, content: ReportContent, figures: pd.DataFrame, html: str
) -> None:
    inside = re.search(rf'<section id="{section}".*?</section>', html, flags=re.DOTALL)
    assert inside is not None
    page = Page(re.sub(r"<details><summary>Configuration.*?</details>", "", inside[0], flags=re.DOTALL))
    names, parts, said = SECTIONS[section]
    compared = content.comparison
    of_a_name = {
        "shortlist": [content.shortlist],
        "correlations": [content.correlations],
        "tuning": [content.tuning],
        "failures": [content.failures],
        "audit": [content.audit.findings],
        "patterns": [content.patterns.outcomes, content.patterns.counts],
        "evaluation": [compared.statistics, compared.curves, compared.groups, compared.ablations],
    }
    tables = [frame for name in names for frame in of_a_name[name]]
    assert missing(page.words, [*tables, figures[figures["section"].isin(parts)]], content, said) == []
    assert NUMBER.search(" ".join(page.words))


def test_every_number_of_an_opened_row_is_in_a_table_of_its_ticker(
    content: ReportContent, figures: pd.DataFrame, html: str
) -> None:
    rows = opened(Page(html))
    own = [content.shortlist, content.metrics, content.parameters, figures]
    for place, (ticker, row) in enumerate(rows.items()):
        tables = [frame[frame["ticker"] == ticker] for frame in own]
        if ticker in content.details:
            verdict = content.shortlist.set_index("ticker").loc[ticker]
            trials = grid(verdict["choose_sharpe"], np.random.default_rng(place))[0]
            tables += [content.details[ticker].folds, trials]
        assert missing(texts({**row, "picture": None}), tables, content) == [], ticker


def texts(value: Any) -> Iterator[str]:
    """The texts in nested lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)


def numbers(value: Any) -> Iterator[float]:
    """The numbers in nested lists."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)


def test_every_number_that_is_drawn_is_in_a_table(content: ReportContent, figures: pd.DataFrame, html: str) -> None:
    data, compared = json.loads(Page(html).raw["data"]), content.comparison
    for name, tables in {
        "history": [figures[figures["section"] == "model"]],
        "promises": [content.shortlist],
        "portfolio": [content.portfolio],
        "evaluation": [compared.curves, compared.groups, compared.ablations],
    }.items():
        known = [frame.select_dtypes("number").to_numpy(float, na_value=np.nan).ravel() for frame in tables]
        known = np.concatenate([*known, [0.0]])
        shown = np.array([*numbers({key: data[name][key] for key in data[name] if key != "epoch"})])
        assert len(shown) > 10
        assert max(np.nanmin(np.abs(known - value)) for value in shown) < 1e-3, name
