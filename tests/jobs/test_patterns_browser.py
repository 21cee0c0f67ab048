"""The page of patterns in a real browser: dots, colours, candles of any window, by mouse, by keyboard, on a phone."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant import report
from quant.report_patterns import PatternContent, render
from tests.jobs.chromium import Chromium
from tests.quant.pattern_content import ENDS_BOTH, HORIZON, LENGTH, bars, pattern_content
from tests.quant.report_content import report_content

HOUR = pd.Timedelta(hours=1)
DRIVER = "GPU stall due to ReadPixels"  # what a machine without a graphics card says when a picture is read back
TITLE = "document.getElementById('viewer-ticker').textContent"
DRAWN = "Number(candles.dataset.row) === plane.chosen"
# how many of the canvas' pixels are painted, right after painting, while they can still be read
PAINTED = """(() => {
  const gl = canvas.getContext("webgl");
  plane.painter.paint(plane.view, 4, canvas.width / canvas.clientWidth);
  const bytes = new Uint8Array(4 * canvas.width * canvas.height);
  gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  return bytes.filter((value, place) => place % 4 === 3 && value > 20).length;
})()"""
# a window that no other hides: the mouse over it means it and no other
ALONE = """Array.from(plane.dots.x.keys()).find((row) => %s && plane.dots.viewable[row] === %d
  && nearest(...onScreen(row), 12) === row
  && !Array.from(plane.dots.x.keys()).some((other) => other !== row
    && Math.hypot(onScreen(other)[0] - onScreen(row)[0], onScreen(other)[1] - onScreen(row)[1]) < 3))"""


@pytest.fixture(scope="module")
def content() -> PatternContent:
    return pattern_content()


@pytest.fixture(scope="module")
def patterns(content: PatternContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("patterns") / "patterns.html"
    path.write_text(render(content), encoding="utf-8")
    return path


def shown(page: Chromium, path: Path, **window: int | bool) -> None:
    """Open a page and wait until its dots are there."""
    page.open(path, **window)
    page.wait("plane.painted > 0")


@pytest.fixture
def page(chromium: Chromium, patterns: Path) -> Iterator[Chromium]:
    """The page of patterns, freshly opened; whatever a test does there, nothing goes wrong and nothing is fetched."""
    shown(chromium, patterns)
    yield chromium
    assert problems(chromium) == []
    assert chromium.requests() == [patterns.as_uri()]
    assert [event for event in chromium.events if event.get("method") == "Page.javascriptDialogOpening"] == []


def problems(page: Chromium) -> list[object]:
    return [problem for problem in page.problems() if DRIVER not in str(problem)]


def key(page: Chromium, name: str) -> None:
    for kind in ("keyDown", "keyUp"):
        text = {"text": name} if len(name) == 1 and kind == "keyDown" else {}
        page.send("Input.dispatchKeyEvent", type=kind, key=name, **text)


def mouse(page: Chromium, row: int, *kinds: str) -> None:
    """Move the mouse over a window's dot, and press and release it where that is asked for."""
    page.evaluate("canvas.scrollIntoView({block: 'center', behavior: 'instant'})")
    x, y = page.evaluate(
        f"(() => {{ const box = canvas.getBoundingClientRect(); const [left, top] = onScreen({row});"
        " return [box.left + left, box.top + top]; })()"
    )
    for kind in kinds:
        pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)


def alone(page: Chromium, condition: str = "true", viewable: bool = True) -> int:
    row = page.evaluate(ALONE % (condition, viewable))
    assert row is not None, "no window stands alone"
    return row


def pick(page: Chromium, name: str, value: str) -> None:
    """Pick an entry of a list as a person would."""
    page.evaluate(
        f"(({{ id, value }}) => {{ const node = document.getElementById(id); node.value = value;"
        f" node.dispatchEvent(new Event('change')); }})({json.dumps({'id': name, 'value': value})})"
    )


def candles_of_the_chosen(page: Chromium) -> tuple[str, pd.Timestamp]:
    """Wait for the candles of the window that is chosen; its ticker and time."""
    page.evaluate("candles.scrollIntoView({block: 'center', behavior: 'instant'})")
    page.wait(f"drawn.has(candles) && {DRAWN}")
    ticker, seconds = page.evaluate(
        "[patterns.tickers[plane.dots.ticker[plane.chosen]], plane.dots.time[plane.chosen]]"
    )
    return ticker, pd.Timestamp(seconds, unit="s", tz="UTC")


def test_dots_are_painted_and_every_chart_is_drawn(page: Chromium) -> None:
    assert page.evaluate(PAINTED) > 2_000
    page.evaluate("for (const more of document.querySelectorAll('details')) more.open = true")
    page.send("Emulation.setDeviceMetricsOverride", width=1280, height=12_000, deviceScaleFactor=1, mobile=False)
    page.wait("[...document.querySelectorAll('.chart')].every((chart) => drawn.has(chart))")
    kinds = page.evaluate("[...document.querySelectorAll('.chart')].map((chart) => chart.dataset.chart)")
    counts = {"candles": 1, "profile": 5, "path": 1, "feature": 6, "histogram": 5, "counts": 1}
    assert {kind: kinds.count(kind) for kind in set(kinds)} == counts
    labels = page.evaluate("[...document.querySelectorAll('.chart')].map((chart) => chart.ariaLabel)")
    assert all(label and "undefined" not in label and "NaN" not in label for label in labels)


def test_colour_follows_cluster_outcome_or_ticker(page: Chromium) -> None:
    page.evaluate(
        "window.bytes = null; const kept = plane.painter.colour;"
        "plane.painter.colour = (given) => { window.bytes = given; kept(given); };"
    )
    rows = page.evaluate("Array.from(plane.dots.x.keys()).filter((row) => plane.dots.cluster[row] >= 0)")
    legend = "document.getElementById('plane-legend').textContent"

    def groups(column: str, colour: str) -> None:
        page.click(f"[data-colour={colour}]")
        found = page.evaluate(
            f"{rows}.map((row) => [plane.dots.{column}[row], bytes.slice(4 * row, 4 * row + 3).join()])"
        )
        shades: dict[object, set[str]] = {}
        for value, shade in found:
            shades.setdefault(value, set()).add(shade)
        assert all(len(own) == 1 for own in shades.values())
        assert len({shade for own in shades.values() for shade in own}) == len(shades)

    groups("ticker", "ticker")
    groups("cluster", "cluster")
    assert "Cluster 3" in page.evaluate(legend)
    page.click("[data-colour=outcome]")
    assert page.evaluate("document.querySelector('[data-colour=outcome]').ariaPressed") == "true"
    assert "or more" in page.evaluate(legend)
    ends = page.evaluate("outcomeScale(plane.dots.outcome).ends")
    assert ends[0] == -ends[2] < 0
    unknown = page.evaluate(
        "Array.from(plane.dots.x.keys()).filter((row) => Number.isNaN(plane.dots.outcome[row]))"
        ".map((row) => bytes.slice(4 * row, 4 * row + 3).join())"
    )
    assert set(unknown) == {page.evaluate("Array.from(named('hold')).join()")}


def test_click_on_a_dot_shows_the_candles_of_its_window(page: Chromium, content: PatternContent) -> None:
    row = alone(page, "plane.dots.time[row] > 1755500000 && row > 100")
    mouse(page, row, "mouseMoved", "mousePressed", "mouseReleased")
    assert page.evaluate("plane.chosen") == row
    ticker, end = candles_of_the_chosen(page)
    assert page.evaluate(TITLE) == ticker
    assert f"{end:%Y-%m-%d %H:%M} UTC" in page.evaluate("document.getElementById('viewer-time').textContent")
    frame = content.bars[ticker].dropna(subset="close")
    place = frame.index.get_loc(end)
    expected = frame.iloc[max(0, place - 3 * LENGTH) : place + HORIZON + 1]
    drawn = page.evaluate("candles.data.find((trace) => trace.type === 'candlestick')")
    np.testing.assert_array_equal(pd.DatetimeIndex(drawn["x"]), expected.index)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(drawn[name], expected[name], rtol=1e-4)
    by_name = {trace["name"]: trace for trace in page.evaluate("candles.data.map(({name, x, y}) => ({name, x, y}))")}
    for name, column, tolerance in (
        ("upper band", "bb_upper", 4e-4), ("lower band", "bb_lower", 4e-4), ("volume", "volume", 4e-3),
        ("band width", "bb_width", 4e-3),
    ):  # fmt: skip
        values = pd.Series(by_name[name]["y"], pd.DatetimeIndex(by_name[name]["x"]), dtype=float)
        np.testing.assert_allclose(values.reindex(expected.index), expected[column], rtol=tolerance)
    strength = pd.Series(by_name["RSI"]["y"], pd.DatetimeIndex(by_name["RSI"]["x"]), dtype=float)
    np.testing.assert_allclose(strength.reindex(expected.index), expected["rsi"], atol=0.1001)


def test_the_window_is_shaded_and_so_are_the_bars_looked_ahead(page: Chromium, content: PatternContent) -> None:
    ticker, end = candles_of_the_chosen(page)
    frame = content.bars[ticker].dropna(subset="close")
    place = frame.index.get_loc(end)
    window, after = page.evaluate("candles.layout.shapes.filter((shape) => shape.type === 'rect')")
    assert pd.Timestamp(window["x0"]) == frame.index[place - LENGTH + 1] - HOUR / 2
    assert pd.Timestamp(window["x1"]) == end + HOUR / 2 == pd.Timestamp(after["x0"])
    assert pd.Timestamp(after["x1"]) == frame.index[place + HORIZON] + HOUR / 2
    assert page.evaluate("candles.querySelectorAll('.shapelayer path').length") >= 4


def test_gaps_stay_gaps_and_a_window_across_one_is_said_to_be(page: Chromium, content: PatternContent) -> None:
    frame = content.bars["demo:C004USDT"].dropna(subset="close")
    hole = frame.index[np.argmax(np.diff(frame.index))]
    row = page.evaluate(
        "Array.from(plane.dots.x.keys()).find((row) => plane.dots.viewable[row]"
        f" && plane.dots.time[row] > {hole.timestamp()} && plane.dots.time[row] < {hole.timestamp() + 20 * 3600})"
    )
    page.evaluate(f"choose({row})")
    candles_of_the_chosen(page)
    note = page.evaluate("document.getElementById('viewer-note').textContent")
    assert note == f"This window runs across a gap: its {LENGTH} bars span {LENGTH - 1 + 11} hours."
    lines = page.evaluate("candles.data.filter((trace) => trace.mode === 'lines').map((trace) => trace.y)")
    assert all(any(a is not None and b is None for a, b in itertools.pairwise(line)) for line in lines)


def test_keyboard_alone_walks_from_window_to_window(page: Chromium) -> None:
    page.evaluate("canvas.focus()")
    order = page.evaluate("walk()")
    assert page.evaluate("plane.chosen") == order[0]
    key(page, "ArrowRight")
    key(page, "ArrowRight")
    key(page, "ArrowLeft")
    assert page.evaluate("plane.chosen") == order[1]
    key(page, "ArrowLeft")
    key(page, "ArrowLeft")
    assert page.evaluate("plane.chosen") == order[-1]
    before = page.evaluate("plane.view.scale")
    key(page, "+")
    assert page.evaluate("plane.view.scale") > before
    key(page, "0")
    assert page.evaluate("plane.view.scale") == pytest.approx(before)
    seen = set()
    for _ in range(8):
        key(page, "r")
        seen.add(page.evaluate("plane.chosen"))
    assert len(seen) > 2
    candles_of_the_chosen(page)
    # the buttons of the viewer are reached by Tab and pressed by Enter
    page.evaluate("document.getElementById('viewer-cluster').focus()")
    before = page.evaluate("plane.chosen")
    page.press("Tab")
    page.press("Tab")
    page.press("Enter")
    order = page.evaluate("walk()")
    assert page.evaluate("plane.chosen") == order[(order.index(before) + 1) % len(order)]


def test_window_that_is_asked_for_last_is_the_one_that_is_drawn(page: Chromium) -> None:
    candles_of_the_chosen(page)
    slow, last = page.evaluate(
        "(() => { const rows = walk(); const ticker = plane.dots.ticker[rows[5]];"
        " return [rows[5], rows.find((row) => plane.dots.ticker[row] !== ticker)]; })()"
    )
    # bars of the first are read long after those of the second
    page.evaluate(
        f"const read = barsOf; window.reads = 0; const late = patterns.tickers[plane.dots.ticker[{slow}]];"
        "barsOf = async (ticker) => {"
        " if (ticker === late) await new Promise((done) => setTimeout(done, 250));"
        " const bars = await read(ticker); reads += 1; return bars; };"
        f"choose({slow}); setTimeout(() => choose({last}), 50)"
    )
    page.wait(f"reads >= 2 && plane.chosen === {last}")
    page.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert page.evaluate("plane.chosen") == last
    assert page.evaluate(DRAWN)


def test_the_nearest_dot_is_found_at_any_zoom(page: Chromium) -> None:
    found = page.evaluate(
        """[1, 3, 9].flatMap((factor) => {
          zoom(factor);
          return Array.from({ length: 60 }, (_, turn) => {
            const [left, top] = [(turn * 97) % canvas.clientWidth, (turn * 61) % canvas.clientHeight];
            const far = Array.from(plane.dots.x.keys())
              .map((row) => Math.hypot(onScreen(row)[0] - left, onScreen(row)[1] - top));
            const least = Math.min(...far);
            return [nearest(left, top, 30), least <= 30 ? far.indexOf(least) : -1];
          });
        })"""
    )
    assert [one for one, _ in found] == [other for _, other in found]
    assert 10 < sum(one >= 0 for one, _ in found) < len(found)


def test_hostile_ticker_is_text_in_the_tip_and_in_the_viewer(page: Chromium) -> None:
    row = alone(page, f"patterns.tickers[plane.dots.ticker[row]] === {json.dumps(ENDS_BOTH)}")
    mouse(page, row, "mouseMoved")
    page.wait("!document.getElementById('plane-tip').hidden")
    text = page.evaluate("document.getElementById('plane-tip').textContent")
    assert text.startswith(ENDS_BOTH)
    assert "UTC" in text
    assert "Cluster" in text
    mouse(page, row, "mousePressed", "mouseReleased")
    candles_of_the_chosen(page)
    assert page.evaluate(TITLE) == ENDS_BOTH
    page.click("[data-colour=ticker]")
    assert page.evaluate("document.querySelectorAll('img, [onerror]').length") == 0


def test_window_without_bars_says_so(page: Chromium) -> None:
    mouse(page, alone(page, viewable=False), "mouseMoved", "mousePressed", "mouseReleased")
    assert (
        page.evaluate("document.getElementById('viewer-note').textContent") == "This page holds no bars of this window."
    )
    assert page.evaluate("getComputedStyle(candles).visibility") == "hidden"


def test_one_cluster_can_be_lit_alone_and_walked_through(page: Chromium) -> None:
    everything = page.evaluate(PAINTED)
    page.click("#plane-legend button:nth-child(4)")
    assert page.evaluate("plane.cluster") == 2
    assert page.evaluate("document.getElementById('viewer-cluster').value") == "2"
    assert 0 < page.evaluate(PAINTED.replace("> 20", "> 60")) < everything / 2
    page.click("#viewer-on")
    for _ in range(3):
        assert page.evaluate("plane.dots.cluster[plane.chosen]") == 2
        page.click("#viewer-any")
    page.click("#plane-legend button:nth-child(4)")
    assert page.evaluate("plane.cluster === null")


def test_one_ticker_can_be_lit_alone(page: Chromium) -> None:
    page.click("[data-colour=ticker]")
    page.click("#plane-legend input")
    page.send("Input.insertText", text="demo:C005USDT")
    lit = page.evaluate(
        "Array.from(plane.dots.x.keys()).filter(lit).map((row) => patterns.tickers[plane.dots.ticker[row]])"
    )
    assert set(lit) == {"demo:C005USDT"}


def test_dragging_moves_the_dots_and_chooses_none(page: Chromium) -> None:
    row = alone(page, "row > 50")
    mouse(page, row, "mouseMoved", "mousePressed")
    chosen, left = page.evaluate(f"[plane.chosen, onScreen({row})[0]]")
    box = page.evaluate("(({x, y}) => [x, y])(canvas.getBoundingClientRect())")
    for step in (20, 40, 60):
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + left + step, y=box[1] + 200, button="left",
                  buttons=1)  # fmt: skip
    page.send("Input.dispatchMouseEvent", type="mouseReleased", x=box[0] + left + 60, y=box[1] + 200, button="left")
    assert page.evaluate(f"onScreen({row})[0]") == pytest.approx(left + 60, abs=1)
    assert page.evaluate("plane.chosen") == chosen


def test_feature_scale_and_cluster_are_chosen(page: Chromium, content: PatternContent) -> None:
    page.evaluate("document.getElementById('features').scrollIntoView()")
    for kind in ("profile", "path"):
        page.wait(f"drawn.has(document.querySelector('[data-chart={kind}]'))")
    pick(page, "feature-cluster", "3")
    profiles = content.profiles.set_index(["cluster", "feature"]).sort_values("step")
    path = 100 * np.exp(np.cumsum(np.r_[0, profiles.loc[(3, "log_return"), "mean"].to_numpy()]))
    found = "document.querySelector('[data-chart=path]').data.at(-1).y"
    page.wait(f"Math.abs({found}.at(-1) - {path[-1]}) < 0.01")
    np.testing.assert_allclose(page.evaluate(found), path, rtol=1e-4)
    pick(page, "profile-feature", "rsi_relative")
    chart = "document.querySelector('[data-chart=profile][data-cluster=\"2\"]')"
    page.evaluate(f"{chart}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    page.wait(f"drawn.has({chart}) && {chart}.data.at(-1).y.length === {LENGTH}")
    expected = profiles.loc[(2, "rsi_relative")]
    np.testing.assert_allclose(page.evaluate(f"{chart}.data.at(-1).y"), expected["mean"], rtol=1e-4)
    np.testing.assert_allclose(page.evaluate(f"{chart}.data[1].y"), expected["q90"], rtol=1e-4)
    assert page.evaluate("document.getElementById('profile-unit').textContent") == "in points"
    common = page.evaluate(f"{chart}.layout.yaxis.range")
    page.evaluate("document.getElementById('profile-scale').click()")
    page.wait(f"{chart}.layout.yaxis.range[0] !== {common[0]}")
    low, high = page.evaluate(f"{chart}.layout.yaxis.range")
    assert low <= expected["q10"].min()
    assert high >= expected["q90"].max()
    assert (low, high) != tuple(common)


def test_dots_follow_the_colour_scheme(page: Chromium) -> None:
    page.evaluate("window.before = written(clusterShade(1))")
    page.evaluate(
        "const kept = plane.painter.colour; window.coloured = 0;"
        "plane.painter.colour = (given) => { window.coloured += 1; kept(given); };"
    )
    page.scheme(dark=True)
    page.wait("coloured > 0")
    assert page.evaluate("written(clusterShade(1)) !== before")
    assert page.evaluate(
        "document.querySelector('[data-cluster-swatch=\"1\"]').style.getPropertyValue('--swatch')"
        " === written(clusterShade(1))"
    )


def test_phone_shows_everything_without_scrolling_the_page_sideways(page: Chromium, patterns: Path) -> None:
    shown(page, patterns, width=390, height=844)
    candles_of_the_chosen(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    right = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.card')].map((card) => card.getBoundingClientRect().right))"
    )
    assert right <= 390
    assert page.evaluate(PAINTED) > 1_000


def test_browser_without_webgl_draws_the_dots_by_hand(chromium: Chromium, patterns: Path) -> None:
    script = (
        "const given = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        " return kind === 'webgl' ? null : given.call(this, kind, ...rest); };"
    )
    added = chromium.send("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]
    try:
        shown(chromium, patterns)
        painted = (
            "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)"
            ".data.filter((value, place) => place % 4 === 3 && value > 20).length"
        )
        assert chromium.evaluate(painted) > 2_000
        assert problems(chromium) == []
    finally:
        chromium.send("Page.removeScriptToEvaluateOnNewDocument", identifier=added)


def test_policy_of_the_page_still_refuses(chromium: Chromium, patterns: Path) -> None:
    shown(chromium, patterns)
    chromium.evaluate(
        "window.refused = [];"
        "addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective))"
    )
    chromium.evaluate("fetch('http://127.0.0.1:9/').catch(() => null)")
    chromium.evaluate("document.body.append(element('script', {textContent: 'window.ran = true'}))")
    chromium.wait("refused.length === 2")
    assert set(chromium.evaluate("refused")) == {"connect-src", "script-src-elem"}
    assert chromium.evaluate("window.ran === undefined")


def test_report_of_a_run_has_the_same_section(chromium: Chromium, content: PatternContent, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    kept = {"demo:C003USDT": content.bars["demo:C003USDT"]}
    made = pattern_content(bars=kept)
    path.write_text(report.render(report_content(tickers=8, patterns=made)), encoding="utf-8")
    shown(chromium, path)
    ticker, _ = candles_of_the_chosen(chromium)
    assert ticker == "demo:C003USDT"
    assert set(chromium.evaluate("walk().map((row) => patterns.tickers[plane.dots.ticker[row]])")) == {ticker}
    chromium.evaluate("document.querySelector('[data-chart=profile]').scrollIntoView()")
    chromium.wait("drawn.has(document.querySelector('[data-chart=profile]'))")
    chromium.click("#patterns details:has([data-chart=feature]) summary")
    for chart in ("feature", "counts"):
        chromium.evaluate(f"document.querySelector('[data-chart={chart}]').scrollIntoView()")
        chromium.wait(f"drawn.has(document.querySelector('[data-chart={chart}]'))")
    assert problems(chromium) == []


def test_thirty_thousand_windows_are_smooth(
    chromium: Chromium, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    base = pattern_content()
    rows = generator.integers(0, len(base.points), 32_000)
    spread = {axis: base.points[axis].to_numpy()[rows] + generator.normal(0, 0.3, len(rows)) for axis in ("x", "y")}
    path = tmp_path / "patterns.html"
    path.write_text(render(pattern_content(points=base.points.iloc[rows].assign(**spread))), encoding="utf-8")
    started = time.monotonic()
    shown(chromium, path)
    opened = time.monotonic() - started
    assert chromium.evaluate("plane.dots.x.length") == 30_000
    assert chromium.evaluate(PAINTED) > 10_000
    figures = chromium.evaluate(
        """(async () => {
          const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const [frames, hovers] = [[], []];
          for (let turn = 0; turn < 20; turn += 1) {
            zoom(turn % 2 ? 1.3 : 1 / 1.3);
            const start = performance.now();
            await frame();
            await frame();
            frames.push((performance.now() - start) / 2);
          }
          for (let turn = 0; turn < 200; turn += 1) {
            const start = performance.now();
            tip(nearest(Math.random() * canvas.clientWidth, Math.random() * canvas.clientHeight, 12));
            hovers.push(performance.now() - start);
          }
          return [plane.painted, median(frames), median(hovers)];
        })()"""
    )
    with capsys.disabled():
        print(f"\n30,000 windows: open {opened:.2f} s, a zoom's frame {figures[1]:.1f} ms, a hover {figures[2]:.2f} ms")  # noqa: T201 - of this machine
    assert opened < 15
    assert figures[1] < 500
    assert figures[2] < 100
    assert problems(chromium) == []


def test_bars_of_every_kind_are_read_as_they_were_packed(chromium: Chromium, tmp_path: Path) -> None:
    frame = bars(seed=3, rows=120, price=3e-6)
    frame = frame.assign(bb_upper=1.02 * frame["bb_upper"], volume=0.0)
    frame.loc[frame.index[60], ["rsi", "bb_middle"]] = np.nan
    whole = frame.dropna(subset="close")
    points = pd.DataFrame(
        {"ticker": "odd", "time": whole.index[LENGTH - 1 :: 3], "x": 1.0, "y": 2.0, "cluster": 0, "outcome": np.nan}
    ).assign(hit=pd.NA)
    base = pattern_content()
    made = pattern_content(points=points, bars={"odd": frame}, profiles=base.profiles[base.profiles["cluster"] < 1],
                           outcomes=pd.DataFrame(), histograms=pd.DataFrame(), counts=None)  # fmt: skip
    path = tmp_path / "patterns.html"
    path.write_text(render(made), encoding="utf-8")
    shown(chromium, path)
    found = pd.DataFrame(chromium.evaluate("barsOf('odd')")).astype(float)
    found.index = pd.to_datetime(found.pop("time"), unit="ms", utc=True)
    expected = whole.loc[found.index]
    assert len(found) > 100
    for column, tolerance in {"open": 1e-4, "high": 1e-4, "low": 1e-4, "close": 1e-4, "bb_middle": 1e-4, "volume": 0,
                              "bb_upper": 1e-6, "bb_lower": 1e-6, "bb_width": 4e-3}.items():  # fmt: skip
        np.testing.assert_allclose(found[column], expected[column], rtol=tolerance)
    np.testing.assert_allclose(found["rsi"], expected["rsi"], atol=0.1001)
    candles_of_the_chosen(chromium)
    assert problems(chromium) == []
