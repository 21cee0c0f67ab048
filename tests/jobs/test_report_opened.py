"""An opened row of the report in a real browser: candles with trades, equity and drawdown, parameters, folds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quant import report_figures
from quant.report import ReportContent, render
from quant.report_candles import MOST, MOST_TRADES, picture
from tests.conftest import random_walk
from tests.jobs.chromium import Chromium
from tests.jobs.test_report_browser import REJECTED, SHORTLISTED, open_row
from tests.quant.report_content import CHINESE, HOSTILE, report_content, trades

FIRST = f"{SHORTLISTED}:nth-of-type(1)"
SECOND = f"{SHORTLISTED}:nth-of-type(2)"


@pytest.fixture(scope="module")
def content() -> ReportContent:
    made = report_content(tickers=20)
    bars = random_walk(3_000)
    often = picture(bars, trades(bars, 700, np.random.default_rng(1)))
    return replace(made, details={**made.details, HOSTILE: replace(made.details[HOSTILE], picture=often)})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, content: ReportContent) -> Path:
    path = tmp_path_factory.mktemp("opened") / "report.html"
    path.write_text(render(content), encoding="utf-8")
    return path


def chart(row: str, kind: str) -> str:
    return f"document.querySelector('{row} [data-chart={kind}]')"


def draw(page: Chromium, row: str, kind: str) -> str:
    """Bring a chart of an opened row into view until it is drawn."""
    node = chart(row, kind)
    page.evaluate(f"{node}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    page.wait(f"drawn.has({node})")
    return node


def test_candles_and_every_trade_are_drawn_where_they_were(page: Chromium, content: ReportContent) -> None:
    picture = content.details[CHINESE].picture
    assert picture is not None
    open_row(page, SECOND)
    node = draw(page, SECOND, "trades")
    candles, gains, losses, entries, exits = page.evaluate(
        f"{node}.data.map(({{ x, y, close, marker }}) => ({{ x, y: y ?? close, symbols: marker?.symbol }}))"
    )
    times = picture.candles.index.strftime("%Y-%m-%dT%H:%M:%S.000Z").tolist()
    assert len(times) <= MOST
    assert candles["x"] == times
    np.testing.assert_allclose(candles["y"], picture.candles["close"], rtol=1e-4)
    trades = picture.trades
    for drawn, end in ((entries, "entry"), (exits, "exit")):
        assert drawn["x"] == trades[f"{end}_time"].dt.strftime("%Y-%m-%dT%H:%M:%S.000Z").tolist()
        np.testing.assert_allclose(drawn["y"], trades[f"{end}_price"], rtol=1e-6)
    assert set(zip(entries["symbols"], trades["side"], strict=True)) == {
        ("triangle-up", "long"),
        ("triangle-down", "short"),
    }
    won = int((trades["trade_return"] > 0).sum())
    assert [len(gains["x"]), len(losses["x"])] == [3 * won, 3 * (len(trades) - won)]
    note = page.evaluate(f"document.querySelector('{SECOND} .panel .note').textContent")
    assert f"Each candle stands for 9 bars of 15 minutes; the {len(trades)} trades" in note


def test_arrows_walk_from_trade_to_trade(page: Chromium, content: ReportContent) -> None:
    picture = content.details[CHINESE].picture
    assert picture is not None
    open_row(page, SECOND)
    node = draw(page, SECOND, "trades")
    said = f"document.querySelector('{SECOND} .walk output').textContent"
    page.click(f"{SECOND} .walk button:nth-child(2)")
    first = picture.trades.iloc[0]
    assert page.evaluate(said).startswith(f"Trade 1 of 40: long, in {first['entry_time']:%Y-%m-%d %H:%M} at ")
    page.wait(f"{node}.data[0].x.length < {len(picture.candles)}")
    shaded = page.evaluate(f"{node}.layout.shapes.map(({{ x0, x1 }}) => [x0, x1])")
    assert shaded == [[f"{first[name]:%Y-%m-%dT%H:%M:%S}.000Z" for name in ("entry_time", "exit_time")]]
    page.evaluate(f"Plotly.Fx.hover({node}, [{{curveNumber: 4, pointNumber: 0}}])")
    page.wait(f"{node}.querySelector('.hovertext') !== null")
    assert f"by {first['exit']}" in page.evaluate(f"{node}.querySelector('.hovertext').textContent")
    page.click(f"{SECOND} .walk button:nth-child(1)")
    last = picture.trades.iloc[-1]
    assert f"Trade 40 of 40: short, in {last['entry_time']:%Y-%m-%d %H:%M}" in page.evaluate(said)
    assert f"by {last['exit']}, " in page.evaluate(said)
    page.click(f"{SECOND} .walk button:nth-child(3)")
    page.wait(f"{node}.data[0].x.length === {len(picture.candles)}")


def test_of_many_trades_the_latest_are_drawn_under_their_own_numbers(page: Chromium, content: ReportContent) -> None:
    often = content.details[HOSTILE].picture
    assert often is not None
    open_row(page, FIRST)
    node = draw(page, FIRST, "trades")
    entries = page.evaluate(f"{node}.data[3].x")
    assert entries == often.trades["entry_time"].dt.strftime("%Y-%m-%dT%H:%M:%S.000Z").tolist()
    assert len(entries) == MOST_TRADES < often.traded == 700
    said = page.evaluate(f"[...document.querySelectorAll('{FIRST} .panel .note')].map((node) => node.textContent)")
    assert "; the latest 400 trades are at their own times" in said[0]
    first = often.trades["exit_time"].iloc[0]
    assert said[1].startswith(
        f"Of 700 trades the latest 400 are drawn, which ended from {first:%Y-%m-%d %H:%M} on. All "
    )
    for button, number in ((2, 301), (1, 700)):
        page.click(f"{FIRST} .walk button:nth-child({button})")
        told = page.evaluate(f"document.querySelector('{FIRST} .walk output').textContent")
        assert told.startswith(f"Trade {number} of 700: ")


def test_drawdowns_of_strategy_and_buy_and_hold_are_drawn(page: Chromium, content: ReportContent) -> None:
    open_row(page, SECOND)
    node = draw(page, SECOND, "falls")
    expected = report_figures.falls(content.details[CHINESE].equity)
    hold, strategy = page.evaluate(f"{node}.data.map(({{ y }}) => y)")
    np.testing.assert_allclose(strategy, expected["strategy"], rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(hold, expected["buy_and_hold"], rtol=1e-4, atol=1e-12)
    said = page.evaluate(f"{node}.nextElementSibling.textContent").replace("−", "-")
    assert f"At worst {expected['strategy'].min():.1%}, for buy and hold {expected['buy_and_hold'].min():.1%}" in said


def test_neighbours_are_drawn_by_distance_and_listed_by_parameter(page: Chromium, content: ReportContent) -> None:
    found = content.details[CHINESE].neighbourhood
    assert found is not None
    open_row(page, SECOND)
    node = draw(page, SECOND, "neighbours")
    others, near, chosen = page.evaluate(f"{node}.data.map(({{ x, y }}) => [x, y])")
    sets = found.sets
    np.testing.assert_allclose(near, sets.loc[sets["near"], ["distance", "score"]].T, rtol=1e-3)
    np.testing.assert_allclose(others, sets.loc[~sets["near"], ["distance", "score"]].T, rtol=1e-3)
    assert chosen[0] == [0]
    steps = page.evaluate(f"[...document.querySelector('{SECOND} .steps').tBodies[0].rows].map((line) => "
                          "[...line.cells].map((cell) => cell.firstChild.textContent))")  # fmt: skip
    assert steps[:2] == [["Stop loss", "1.00%", "1.50%", "3.00%"], ["Take profit", "2.00%", "4.00%", "off"]]


def test_folds_are_listed(page: Chromium) -> None:
    open_row(page, SECOND)
    folds = page.evaluate(
        f"[...[...document.querySelectorAll('{SECOND} .panel table')].at(-1).tBodies[0].rows]"
        ".map((line) => [...line.cells].map((cell) => cell.innerText.split(/\\s*\\n\\s*/)))"
    )
    assert len(folds) == 3
    assert folds[0] == [
        ["2024-07-05", "to 2024-07-17"],
        ["2024-06-11"],
        ["3", "1.60"],
        ["+2.0%", "12 trades"],
        ["1.10"],
    ]


def test_rejected_beyond_the_best_have_no_candles_and_say_so(page: Chromium) -> None:
    pictured, bare = f"{REJECTED}:nth-of-type(2)", f"{REJECTED}:nth-of-type(3)"
    for row in (pictured, bare):
        open_row(page, row)
    assert page.evaluate(f"{chart(pictured, 'trades')} !== null")
    assert page.evaluate(f"{chart(bare, 'trades')}") is None
    assert "for the best of the rejected" in page.evaluate(f"document.querySelector('{bare} .panel .note').textContent")


def test_keyboard_alone_opens_a_row_and_walks_through_its_trades(page: Chromium) -> None:
    page.evaluate(f"document.querySelector('{SECOND} .opener').focus()")
    page.press("Enter")
    page.wait(f"document.querySelector('{SECOND} .panel-grid') !== null")
    for _ in range(2):
        page.press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel") == "Next trade"
    page.press("Enter")
    assert page.evaluate(f"document.querySelector('{SECOND} .walk output').textContent").startswith("Trade 1 of 40")


def test_resized_to_a_phone_everything_opened_fits(page: Chromium) -> None:
    open_row(page, SHORTLISTED)
    draw(page, SHORTLISTED, "trades")
    page.send("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    for kind in ("trades", "equity", "falls", "neighbours"):
        node = draw(page, SHORTLISTED, kind)
        page.wait(f"{node}.querySelector('.main-svg').getBoundingClientRect().right <= 390")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelectorAll('img, [onerror]').length") == 0
    assert HOSTILE in page.evaluate(f"{chart(SHORTLISTED, 'trades')}.getAttribute('aria-label')")
