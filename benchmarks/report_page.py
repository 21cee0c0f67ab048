"""How large the report of 250 assets is, and how soon a browser lets one use it.

    .venv/bin/python -m benchmarks.report_page

Each shortlisted asset, and ten rejected ones, was traded 300 times on 13,440 bars, drawn as 1,494 candles; all have a
daily equity curve, three folds and a grid of 24 parameter sets. Prints the size of the page, and in headless Chromium,
as medians of some openings (lowest to highest): until the page is loaded, until it is idle for the first time, so that
a click is answered at once, and from a click on the first row until its candles are drawn.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from plotly.offline import get_plotlyjs

from quant.report import render
from quant.report_assets import packed
from tests.jobs.chromium import Chromium
from tests.quant.report_content import report_content

ROW = "#shortlisted-table > tbody"
IDLE = "new Promise((done) => requestIdleCallback(() => done(performance.now())))"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
DRAWN = f"""(async () => {{
  const begun = performance.now();
  document.querySelector("{ROW} .opener").click();
  const frame = () => new Promise(requestAnimationFrame);
  let chart;
  while (!(chart = document.querySelector("{ROW} .candles"))) await frame();
  chart.scrollIntoView();
  while (!drawn.has(chart)) await frame();
  return performance.now() - begun;
}})()"""


def page(folder: Path, tickers: int, shortlisted: int, trades: int) -> Path:
    """Write a report, and say how large it is."""
    html = render(report_content(tickers, shortlisted, rejected=10, traded=trades)).encode()
    print(f"{tickers} assets, {shortlisted} of them shortlisted, {trades} trades each: {len(html) / 1e6:.2f} MB")
    path = folder / f"{shortlisted}.html"
    path.write_bytes(html)
    return path


def opened(browser: Chromium, path: Path, turns: int) -> None:
    """Open a report some times, and say how long that takes."""
    measured: dict[str, list[float]] = {"loaded": [], "idle": [], "row drawn": []}
    for _ in range(turns):
        browser.open(path)
        measured["idle"].append(browser.evaluate(IDLE))
        measured["loaded"].append(browser.evaluate(LOADED))
        measured["row drawn"].append(browser.evaluate(DRAWN))
    for name, milliseconds in measured.items():
        seconds = [value / 1_000 for value in milliseconds]
        print(f"  {name}: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickers", type=int, default=250)
    parser.add_argument("--trades", type=int, default=300)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    binary = shutil.which("chromium")
    if binary is None:
        parser.error("no chromium on this machine (Debian: apt-get install chromium)")
    print(f"the plot library, packed: {len(packed(get_plotlyjs().encode())) / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as place:
        browser = Chromium(binary, Path(place, "profile"))
        try:
            for shortlisted in (20, given.tickers):
                opened(browser, page(Path(place), given.tickers, shortlisted, given.trades), given.turns)
        finally:
            browser.close()
