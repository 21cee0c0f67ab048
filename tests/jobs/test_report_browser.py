"""The report in a real browser: what a person does with it, by mouse, by keyboard and on a phone."""

import itertools
import json
from pathlib import Path

import pytest

from quant.report import render
from tests.jobs.chromium import Chromium
from tests.quant.report_content import CHINESE, HOSTILE, report_content

SHORTLISTED = "#shortlisted-table > tbody"
REJECTED = "#rejected-table > tbody"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(report_content()), encoding="utf-8")
    return path


def column(page: Chromium, table: str, number: int) -> list[str]:
    """Texts of a column of the rows that are shown, from top to bottom."""
    return page.evaluate(
        f"[...document.querySelectorAll('{table}')].filter((body) => !body.hidden)"
        f".map((body) => body.rows[0].cells[{number}].firstChild.textContent)"
    )


def open_row(page: Chromium, row: str) -> None:
    """Open a row by its button and wait until it is unpacked."""
    page.click(f"{row} .opener")
    page.wait(f"document.querySelector('{row} .panel-grid') !== null")


def numbers(texts: list[str]) -> list[float]:
    return [float(text.rstrip("%").replace(",", "").replace("−", "-")) for text in texts]


def draw_everything(page: Chromium) -> None:
    page.send("Emulation.setDeviceMetricsOverride", width=1280, height=16_000, deviceScaleFactor=1, mobile=False)
    page.wait("[...document.querySelectorAll('.chart')].every((chart) => drawn.has(chart))")


def test_page_opens_alone_and_draws_every_chart(page: Chromium) -> None:
    draw_everything(page)
    assert page.evaluate("document.querySelectorAll('.multiples .chart .main-svg').length") >= 6
    drawn = page.evaluate("[...document.querySelectorAll('.chart')].map((chart) => chart.getAttribute('aria-label'))")
    # six equities; the portfolio's two; promise, loss and macro-F1; the model's six curves, two by month, the ablations
    assert len(drawn) == 20
    assert any(label.startswith("Direction AUC of 3 models in 3 variants") for label in drawn)
    assert "true positives against false positives of long, for 4 models; the areas are in the table" in drawn[9]
    assert drawn[0].startswith(f"Equity of {HOSTILE}: strategy ends at 1.")


def test_model_table_sorts_and_its_charts_show_every_model(page: Chromium) -> None:
    page.click("#model-table th:nth-child(3) button")
    sorts = page.evaluate(
        "[...document.querySelectorAll('#model-table tbody td:nth-child(3)')].map((c) => c.dataset.sort)"
    )
    known = [float(value) for value in sorts if value]
    assert known == sorted(known, reverse=True)
    assert sorts[-1] == ""
    draw_everything(page)
    names = "[...document.querySelector('[data-curve=roc][data-side=short]').data].map((trace) => trace.name)"
    assert page.evaluate(names) == ["boosted trees", "logistic regression", "majority class", "CNN"]
    months = "document.querySelector('[data-figure=direction_auc]').data.map((trace) => trace.x.length)"
    assert page.evaluate(months) == [3, 3, 3]


def test_charts_wait_until_they_are_near_the_screen(page: Chromium) -> None:
    page.evaluate("document.querySelector('.multiples .chart').scrollIntoView()")
    page.wait("drawn.has(document.querySelector('.multiples .chart'))")
    assert page.evaluate("!drawn.has(document.querySelector('[data-chart=macro_f1]'))")
    page.evaluate("document.querySelector('[data-chart=macro_f1]').scrollIntoView()")
    page.wait("drawn.has(document.querySelector('[data-chart=macro_f1]'))")


def test_the_data_is_drawn_without_a_click_and_marks_have_their_colours(page: Chromium) -> None:
    strips = page.evaluate(
        "[...document.querySelectorAll('.strip')].map((s) => [s.firstElementChild.textContent, "
        "s.querySelectorAll('path').length])"
    )
    assert strips == [["all tickers", 1], [HOSTILE, 4], ["demo:C02USDT", 4], ["parts", 4], ["", 0]]
    colours = page.evaluate("[...document.querySelectorAll('.strip')[1].querySelectorAll('path')].map((p) => "
                            "getComputedStyle(p).fill)")  # fmt: skip
    assert len(set(colours)) == 4
    keys = page.evaluate("[...document.querySelectorAll('#quality .key')].map((k) => "
                         "getComputedStyle(k, '::before').backgroundColor)")  # fmt: skip
    assert keys == colours[1:]
    for table in ("reasons", "kinds", "worst"):
        assert page.evaluate(f"document.getElementById('{table}-table').getBoundingClientRect().height") > 50
    width = page.evaluate("document.querySelector('.strip svg').getBoundingClientRect().width")
    assert width > 500


def test_hostile_names_are_text_everywhere(page: Chromium) -> None:
    draw_everything(page)
    assert column(page, SHORTLISTED, 0)[:2] == [HOSTILE, CHINESE]
    open_row(page, SHORTLISTED)
    assert page.evaluate("document.querySelectorAll('img, [onerror]').length") == 0
    page.evaluate("Plotly.Fx.hover(document.querySelector('[data-chart=promise]'), [{curveNumber: 1, pointNumber: 0}])")
    page.wait("document.querySelector('[data-chart=promise] .hovertext') !== null")
    assert HOSTILE in page.evaluate("document.querySelector('[data-chart=promise] .hovertext').textContent")


def test_the_waterfall_falls_from_the_article_to_the_run(page: Chromium) -> None:
    rows = "[...document.querySelectorAll('.waterfall')[0].tBodies[0].rows]"
    bars = page.evaluate(f"{rows}.map((row) => row.querySelector('.fall span').getBoundingClientRect().toJSON())")
    assert len(bars) == 12
    # each bar begins, at its right, where the one before ends at its left
    for before, after in itertools.pairwise(bars[1:]):
        assert abs(after["right"] - before["left"]) <= 3
    kinds = page.evaluate(f"{rows}.map((row) => row.querySelector('.fall span').className)")
    assert kinds == ["gain"] + ["loss"] * 11
    assert page.evaluate("document.querySelector('#protocols h3').textContent") == HOSTILE
    page.click("#protocols details summary")
    assert page.evaluate("document.querySelectorAll('.traps dt').length") == 11


def test_header_sorts_both_ways(page: Chromium) -> None:
    header = "#shortlisted-table thead th:nth-child(3)"
    page.click(f"{header} button")
    returns = numbers(column(page, SHORTLISTED, 2))
    assert returns == sorted(returns, reverse=True)
    assert len(set(returns)) > 1
    assert page.evaluate(f"document.querySelector('{header}').ariaSort") == "descending"
    page.click(f"{header} button")
    assert numbers(column(page, SHORTLISTED, 2)) == sorted(returns)
    assert page.evaluate(f"document.querySelector('{header}').ariaSort") == "ascending"


def test_missing_figures_sort_last_in_both_directions(page: Chromium) -> None:
    for _ in range(2):
        page.click("#rejected-table thead th:nth-child(1) button")
    assert column(page, REJECTED, 8)[:23] == ["–"] * 23
    for _ in range(2):
        page.click("#rejected-table thead th:nth-child(9) button")
        texts = column(page, REJECTED, 8)
        assert "–" not in texts[:11]
        assert set(texts[11:]) == {"–"}


def test_open_row_stays_with_its_ticker_when_sorted(page: Chromium) -> None:
    open_row(page, SHORTLISTED)
    page.click("#shortlisted-table thead th:nth-child(2) button")
    page.click("#shortlisted-table thead th:nth-child(2) button")
    assert column(page, SHORTLISTED, 1) == ["6", "5", "4", "3", "2", "1"]
    assert page.evaluate("document.querySelector('.detail').previousElementSibling.cells[1].textContent") == "1"


def test_filter_and_stage_show_only_what_fits(page: Chromium) -> None:
    page.click("input[data-filters=rejected-table]")
    page.send("Input.insertText", text="C2")
    assert column(page, REJECTED, 0) == [f"demo:C2{digit}USDT" for digit in range(10)]
    assert page.evaluate("document.querySelector('[data-counts=rejected-table]').textContent") == "10 of 34 shown"
    page.click("button[data-stage=judge]")
    assert column(page, REJECTED, 0) == []
    page.evaluate("document.querySelector('input[data-filters=rejected-table]').select()")
    page.send("Input.insertText", text="NEEDED")
    assert set(column(page, REJECTED, 1)) == {"judge"}
    assert len(column(page, SHORTLISTED, 0)) == 6


def test_row_opens_its_equity_curve_parameters_and_reason_and_closes(page: Chromium) -> None:
    row = f"{SHORTLISTED}:nth-of-type(2)"
    page.click(f"{row} td:nth-of-type(2)")
    page.wait(f"document.querySelector('{row} .panel-grid') !== null")
    page.evaluate(f"document.querySelector('{row} [data-chart=equity]').scrollIntoView()")
    page.wait(f"drawn.has(document.querySelector('{row} [data-chart=equity]'))")
    text = page.evaluate(f"document.querySelector('{row} .panel').innerText")
    for part in ("false-discovery rate 0.033", "Stop loss", "1.50%", "Sharpe ratio", "Timed exit"):
        assert part in text
    assert page.evaluate(f"document.querySelectorAll('{row} [data-chart=equity] .scatterlayer .trace').length") == 2
    page.click(f"{row} .opener")
    assert page.evaluate(f"document.querySelector('{row} .detail').hidden")
    assert page.evaluate(f"document.querySelector('{row} .opener').ariaExpanded") == "false"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("table", [SHORTLISTED, REJECTED])
def test_opened_row_fits_its_table(page: Chromium, report: Path, table: str, width: int) -> None:
    page.open(report, width=width)
    open_row(page, table)
    outside = (
        f"(() => {{ const right = document.querySelector('{table} .panel').getBoundingClientRect().right;"
        f" return [...document.querySelectorAll('{table} .panel table')]"
        ".map((part) => Math.max(0, part.getBoundingClientRect().right - right)); })()"
    )
    assert page.evaluate(outside) == [0] * 6


def panel_rows(page: Chromium, row: str, heading: str) -> list[list[str]]:
    """Texts of the rows of the table that follows a heading of an opened row."""
    return page.evaluate(
        f"[...[...document.querySelectorAll('{row} .panel h4')].find((node) => node.textContent === {heading!r})"
        ".nextElementSibling.tBodies[0].rows].map((line) => [...line.cells].map((cell) => cell.textContent))"
    )


def test_opened_row_lists_its_rules_and_the_evidence_on_choose(page: Chromium) -> None:
    row = f"{REJECTED}:nth-of-type(1)"
    open_row(page, row)
    rules = panel_rows(page, row, "Rules")
    assert [[name, needed, outcome] for name, _, needed, outcome in rules] == [
        ["Trades", "≥ 30", "passed"],
        ["Return", "> 0.0%", "passed"],
        ["Deflated Sharpe", "≥ 0.950", "failed"],
        ["False-discovery rate", "≤ 0.100", "failed"],
    ]
    assert rules[2][1] == "0.410"
    assert page.evaluate(f"[...document.querySelectorAll('{row} .panel td.loss')].map((cell) => cell.textContent)") == [
        "failed",
        "failed",
    ]
    assert panel_rows(page, row, "How much of the search's result is luck") == [
        ["Effective trials", "5.41"],
        ["Deflated Sharpe on choose", "0.872"],
        ["Probability of overfitting", "0.164"],
        ["Stability", "0.63"],
        ["Walk-forward Sharpe", "1.31"],
    ]
    assert page.evaluate(f"[...document.querySelectorAll('{row} .panel abbr')].every((word) => word.title.length > 20)")


def test_opened_row_of_no_candidate_says_that_no_rule_was_applied(page: Chromium) -> None:
    page.click("button[data-stage=choose]")
    open_row(page, f"{REJECTED}[data-stage=choose]")
    assert "None was applied: only candidates are tested on judge." in page.evaluate(
        f"document.querySelector('{REJECTED} .panel').innerText"
    )


def test_equity_is_logarithmic_and_breaks_where_nothing_is_left(page: Chromium) -> None:
    ruin = "({ equity }) => { equity.strategy[equity.strategy.length - 1] = 0; equity.buy_and_hold[5] = null; }"
    page.evaluate(f"detail({CHINESE!r}).then({ruin})")
    chart = f'.chart[data-ticker="{CHINESE}"]'
    page.evaluate(f"document.querySelector('{chart}').scrollIntoView()")
    page.wait(f"drawn.has(document.querySelector('{chart}'))")
    drawn = f"document.querySelector('{chart}')"
    assert page.evaluate(f"{drawn}._fullLayout.yaxis.type") == "log"
    assert page.evaluate(f"[{drawn}.data[1].y.at(-1), {drawn}.data[0].y[5]]") == [None, None]
    assert page.evaluate(f"{drawn}.data[1].y.slice(0, -1).every((value) => value > 0)")
    assert "strategy ends at 0," in page.evaluate(f"{drawn}.getAttribute('aria-label')")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.93, 1.0, 1.18], [0.95, 1, 1.05, 1.1, 1.15]),
        ([0.8, 1.4], [0.8, 1, 1.2, 1.4]),
        ([0.33, None, 1.6], [0.5, 0.7, 1, 1.5]),
        ([0.5, 23], [0.5, 1, 2, 5, 10, 20]),
        ([0, 0.002, 300], [0.01, 0.1, 1, 10, 100]),
        ([1, 1], [1]),
        ([0, 0], []),
    ],
)
def test_labels_of_a_logarithmic_axis_are_few_and_round(
    page: Chromium, values: list[float | None], expected: list[float]
) -> None:
    assert page.evaluate(f"ticks({json.dumps(values)})") == expected


def test_promises_are_drawn_from_zero(page: Chromium) -> None:
    chart = "document.querySelector('[data-chart=promise]')"
    page.evaluate(f"{chart}.scrollIntoView()")
    page.wait(f"drawn.has({chart})")
    low, high = page.evaluate(f"{chart}._fullLayout.xaxis.range")
    assert low == 0
    assert high > page.evaluate("Math.max(...data.promises.choose)")


def test_ticker_without_equity_says_so(page: Chromium) -> None:
    page.click("button[data-stage=choose]")
    open_row(page, f"{REJECTED}[data-stage=choose]")
    text = page.evaluate(f"document.querySelector('{REJECTED} .panel').innerText")
    assert "no equity curve" in text


def test_keyboard_alone_reaches_opens_and_sorts(page: Chromium) -> None:
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.press("Enter")
    assert page.evaluate("location.hash") == "#verdict"
    focus = "document.activeElement.textContent.trim()"
    steps = 0
    while page.evaluate(focus) != "Return":
        page.press("Tab")
        steps += 1
        assert steps < 20
    page.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.ariaSort") == "descending"
    while page.evaluate(focus) != CHINESE:
        page.press("Tab")
        steps += 1
        assert steps < 40
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press(" ")
    assert page.evaluate("document.activeElement.ariaExpanded") == "true"
    assert page.evaluate("document.querySelectorAll('.detail:not([hidden])').length") == 1


def test_phone_shows_everything_without_scrolling_the_page_sideways(page: Chromium, report: Path) -> None:
    page.open(report, width=390, height=844)
    open_row(page, SHORTLISTED)
    page.wait("drawn.has(document.querySelector('.panel .chart'))")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    scroller = "document.querySelector('.scroller')"
    assert page.evaluate(f"{scroller}.scrollWidth > {scroller}.clientWidth")
    page.evaluate(f"{scroller}.scrollLeft = 300")
    left, right = page.evaluate(
        "(({left, right}) => [left, right])(document.querySelector('.panel').getBoundingClientRect())"
    )
    assert left >= 0
    assert right <= 390
    assert page.evaluate("document.querySelector('.opener').getBoundingClientRect().left") >= 0


def test_headers_stay_in_sight_in_a_long_table(page: Chromium) -> None:
    page.evaluate("document.querySelector('#rejected-table').parentElement.scrollTop = 400")
    offset = (
        "document.querySelector('#rejected-table thead th').getBoundingClientRect().top"
        " - document.querySelector('#rejected-table').parentElement.getBoundingClientRect().top"
    )
    assert 0 <= page.evaluate(offset) <= 2


def test_page_and_drawn_charts_follow_the_colour_scheme(page: Chromium) -> None:
    page.evaluate("document.querySelector('.multiples .chart').scrollIntoView()")
    page.wait("drawn.size > 0")
    background = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle([...drawn][0].querySelector('.xtick text')).fill"
    light, light_ink = page.evaluate(background), page.evaluate(ink)
    page.scheme(dark=True)
    assert page.evaluate(background) != light
    page.wait(f"{ink} !== {light_ink!r}")


def test_browser_refuses_what_the_policy_forbids(chromium: Chromium, report: Path) -> None:
    chromium.open(report)
    chromium.evaluate(
        "window.refused = [];"
        "addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective))"
    )
    chromium.evaluate("fetch('http://127.0.0.1:9/').catch(() => null)")
    chromium.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))"
    )
    chromium.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.1:9/x\">')")
    chromium.wait("refused.length === 3")
    assert set(chromium.evaluate("refused")) == {"connect-src", "script-src-elem", "img-src"}
    assert chromium.evaluate("window.ran === undefined")


def test_tickers_that_are_only_listed_come_a_page_at_a_time(chromium: Chromium, tmp_path: Path) -> None:
    content = report_content(tickers=120)
    (tmp_path / "report.html").write_text(render(content, detailed=10), encoding="utf-8")
    chromium.open(tmp_path / "report.html")
    names = content.shortlist.sort_values("rank")["ticker"].tolist()[10:]
    listed = "[...document.querySelectorAll('#others-table tbody th')].map((cell) => cell.textContent)"
    count = "document.getElementById('others-count').textContent"
    assert chromium.evaluate(listed) == names[:50]
    assert chromium.evaluate("document.getElementById('others-back').disabled")
    for first in (50, 100):
        chromium.click("#others-on")
        assert chromium.evaluate(listed) == names[first : first + 50]
    assert chromium.evaluate("document.getElementById('others-on').disabled")
    assert chromium.evaluate(count) == "101 to 110 of 110"
    chromium.click("#others-filter")
    chromium.send("Input.insertText", text=names[7])
    chromium.wait(f"{count} === '1 to 1 of 1'")
    assert chromium.evaluate(listed) == [names[7]]
    assert chromium.problems() == []
