"""The article's file: key for key, read by the article's own reader."""

import json
import math
from typing import Any

import pandas as pd
import pytest

from quant.export import ExportError, custom_assets, to_json
from quant.parameters import BracketParameters

START, END = pd.Timestamp("2024-03-02 11:45", tz="UTC"), pd.Timestamp("2024-05-14 03:45", tz="UTC")
ROI = ((50, 0.054), (100, 0.05), (150, 0.045), (200, 0.04), (300, 0.03), (500, 0.01))
ARTICLE = BracketParameters(0.052, 0.055, 0.054, 0.052, 0.055, 0.054, 1, 0.045, 0.005, ROI)
FIGURES_OF_QNT = {"win_rate": 0.6854, "total_return": 0.30059, "expectancy": 0.0040557, "sharpe": 0.6621}
ENTRY = {
    "Optimizer_used": "grid - expectancy",
    "model_name": "cnn-15",
    "Optimizer_result": (
        "The backtest of QNT/USDT:USDT was run from 2024-03-02 11:45:00 to 2024-05-14 03:45:00 "
        "(72 days 16 hours 00 minutes) on bars of 15 minutes. Win rate - 68.54%, return - 30.059%, "
        "expectancy - 0.40557% and Sharpe ratio - 0.6621."
    ),
    "stop_loss_percent_long": 0.052,
    "take_profit_percent_long": 0.055,
    "limit_long": 0.054,
    "stop_loss_percent_short": 0.052,
    "take_profit_percent_short": 0.055,
    "limit_short": 0.054,
    "margin_leverage": 1,
    "TRAILING_ACTIVATE_PCT": 0.045,
    "TRAILING_STOP_PCT": 0.005,
    "roi_at_50": 0.054,
    "roi_at_100": 0.05,
    "roi_at_150": 0.045,
    "roi_at_200": 0.04,
    "roi_at_300": 0.03,
    "roi_at_500": 0.01,
}


def export(parameters: dict[str, BracketParameters], shortlist: pd.DataFrame | None = None, **rest: Any) -> Any:
    if shortlist is None:
        shortlist = pd.DataFrame({"ticker": list(parameters), "shortlisted": True, "rank": range(len(parameters))})
    words = {"optimizer_used": "grid - expectancy", "model_name": "cnn-15", "timeframe": "15 minutes"}
    figures = rest.pop("figures", dict.fromkeys(parameters, FIGURES_OF_QNT))
    return custom_assets(shortlist, parameters, figures, start=START, end=END, **words)


def test_fields_are_the_articles_in_its_order() -> None:
    assets = export({"binance-um:QNTUSDT": ARTICLE})
    assert assets == {"QNT/USDT:USDT": ENTRY}
    assert list(assets["QNT/USDT:USDT"]) == list(ENTRY)


def test_articles_reader_reads_the_text() -> None:
    assets = export({"binance-um:QNTUSDT": ARTICLE, "binance-um:币安人生USDT": BracketParameters()})
    text = to_json(assets)
    assert text.isascii()  # the reader opens the file in whatever encoding its machine has
    assert json.loads(text) == assets
    assert to_json(export({"binance-um:QNTUSDT": ARTICLE, "binance-um:币安人生USDT": BracketParameters()})) == text
    assert '"margin_leverage": 1,' in text


def test_parts_that_are_off_are_null() -> None:
    entry = export({"binance-um:ETHUSDT": BracketParameters(leverage=2.5)})["ETH/USDT:USDT"]
    assert {name for name, value in entry.items() if value is None} == set(ENTRY) - {
        "Optimizer_used",
        "model_name",
        "Optimizer_result",
        "margin_leverage",
    }
    assert entry["margin_leverage"] == 2.5


def test_only_shortlisted_tickers_are_written_best_first() -> None:
    tickers = ["demo:BBBUSDT", "demo:AAAUSDT", "demo:CCCUSDT"]
    shortlist = pd.DataFrame({"ticker": tickers, "shortlisted": [True, True, False], "rank": [2, 1, 3]})
    assets = export(dict.fromkeys(tickers, ARTICLE), shortlist)
    assert list(assets) == ["AAA/USDT:USDT", "BBB/USDT:USDT"]


def test_empty_shortlist_is_an_empty_file() -> None:
    shortlist = pd.DataFrame({"ticker": ["demo:AAAUSDT"], "shortlisted": [False], "rank": [1]})
    assert json.loads(to_json(export({"demo:AAAUSDT": ARTICLE}, shortlist))) == {}


def test_roi_is_what_the_table_asks_for_at_that_many_bars() -> None:
    table = BracketParameters(minimum_profit=((80, 0.02), (200, -1.0)))
    entry = export({"demo:AAAUSDT": table})["AAA/USDT:USDT"]
    assert [entry[f"roi_at_{bars}"] for bars in (50, 100, 150, 200, 300, 500)] == [None, 0.02, 0.02, -1.0, -1.0, -1.0]
    assert entry["Optimizer_result"].endswith("Time table of exits - 0.02 from 80 bars, -1.0 from 200 bars.")


def test_undefined_figure_is_said_in_words() -> None:
    figures = {"demo:AAAUSDT": FIGURES_OF_QNT | {"sharpe": math.nan}}
    entry = export({"demo:AAAUSDT": ARTICLE}, figures=figures)["AAA/USDT:USDT"]
    assert entry["Optimizer_result"].endswith("Sharpe ratio - undefined.")


def test_two_tickers_of_one_name_are_refused() -> None:
    tickers = ["binance-um:ETHUSDT", "bybit-um:ETHUSDT"]
    with pytest.raises(ExportError, match=r"binance-um:ETHUSDT and bybit-um:ETHUSDT .* ETH/USDT:USDT"):
        export(dict.fromkeys(tickers, ARTICLE))


@pytest.mark.parametrize(("lacking", "message"), [("parameters", "without parameters"), ("figures", "without figures")])
def test_shortlisted_ticker_without_its_evidence_is_named(lacking: str, message: str) -> None:
    shortlist = pd.DataFrame({"ticker": ["demo:AAAUSDT"], "shortlisted": [True], "rank": [1]})
    parameters = {} if lacking == "parameters" else {"demo:AAAUSDT": ARTICLE}
    with pytest.raises(ExportError, match=f"demo:AAAUSDT is shortlisted {message}"):
        export(parameters, shortlist, figures={})
