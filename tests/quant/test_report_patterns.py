import base64
import dataclasses
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant import report
from quant import report_pattern_data as packing
from quant import report_pattern_words as said
from quant.report_assets import ReportError
from quant.report_patterns import PatternContent, render, section
from tests.quant.pattern_content import ENDS_BOTH, HORIZON, LENGTH, bars, pattern_content, seed_content
from tests.quant.report_content import CHINESE, ENDS_SCRIPT, report_content
from tests.quant.test_report import Page

HOUR = pd.Timedelta(hours=1)


@pytest.fixture(scope="module")
def content() -> PatternContent:
    return pattern_content()


@pytest.fixture(scope="module")
def html(content: PatternContent) -> str:
    return render(content)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def shown(content: PatternContent, **changes: object) -> Page:
    return Page(render(dataclasses.replace(content, **changes)))


def columns_of(packed: dict[str, Any]) -> dict[str, np.ndarray]:
    """The columns of packed points, read as their description says."""
    content, at, found = gzip.decompress(base64.b64decode(packed["packed"])), 0, {}
    for name, kind in packed["columns"]:
        found[name] = np.frombuffer(content, np.dtype(kind).newbyteorder("<"), packed["rows"], at)
        at += found[name].nbytes
    assert at == len(content)
    return found


def bars_of(packed: packing.Bars) -> pd.DataFrame:
    """Packed bars, row by row: each code is that of the row before plus a change of 16 bits."""
    content, rows = gzip.decompress(base64.b64decode(packed["packed"])), packed["rows"]

    def number(column: int, row: int) -> int:
        start = 4 * rows + 2 * rows * column
        return content[start + row] + 256 * content[start + rows + row]

    def price(code: int) -> float:
        return float(np.exp(packed["base"] + (code - 1) * packed["step"])) if code else np.nan

    def shortened(code: int) -> float:
        return float(np.array([code << 16], np.uint32).view(np.float32)[0])

    found, seconds, close, middle, strength, width = [], 0, 0, 0, 0, 0
    for row in range(rows):
        opened = (close + number(1, row)) % 65536
        seconds += int.from_bytes(content[4 * row : 4 * row + 4], "little", signed=True)
        close, middle = (close + number(0, row)) % 65536, (middle + number(4, row)) % 65536
        strength, width = (strength + number(5, row)) % 65536, (width + number(6, row)) % 65536
        found.append(
            {
                "time": pd.Timestamp(seconds, unit="s", tz="UTC"), "open": price(opened),
                "high": price((close + number(2, row)) % 65536), "low": price((close - number(3, row)) % 65536),
                "close": price(close), "bb_middle": price(middle), "bb_width": shortened(width),
                "rsi": (strength - 32768) / 5 if strength else np.nan, "volume": shortened(number(7, row)),
            }
        )  # fmt: skip
    return pd.DataFrame(found).set_index("time")


# ---- What was found ----


def test_page_says_which_patterns_differ_on_later_days_and_by_how_much(page: Page) -> None:
    assert "2 of 5 patterns differ from the base rate Cluster 1, Cluster 2. On the choose part" in page.text
    assert (
        "Cluster 1: the outcome followed 11.0% of its 4,700 windows (890 episodes) and 6.9% of all, +4.1 points (95% "
        "interval +2.6 to +5.8 points), q-value 0.00630. On the validate part it was +4.1 points."
    ) in page.text
    assert "The mean return after the window differs from that of all windows for Cluster 1 (+0.21%)." in page.text


def test_one_pattern_differs_in_the_singular(content: PatternContent) -> None:
    outcomes = content.outcomes.assign(
        hit_q_value=content.outcomes["hit_q_value"].mask(content.outcomes["cluster"] == 2, 0.2)
    )
    assert "1 of 5 patterns differs from the base rate" in shown(content, outcomes=outcomes).text


def test_no_pattern_that_differs_is_called_a_good_answer(content: PatternContent) -> None:
    nothing = content.outcomes.assign(hit_q_value=0.6, return_q_value=None)
    page = shown(content, outcomes=nothing)
    assert "No pattern differs from the base rate: none of 5 That is a good answer." in page.text
    assert "The mean return after the window differs" not in page.text


def test_the_largest_q_value_is_the_contents_own(content: PatternContent) -> None:
    assert "none of 5" in shown(content, rate=0.005).text


def test_noise_is_never_said_to_be_a_pattern(content: PatternContent) -> None:
    noisy = content.outcomes.assign(hit_q_value=np.where(content.outcomes["cluster"] == -1, 0.001, 0.9))
    assert "none of 5" in shown(content, outcomes=noisy).text


def test_validate_speaks_where_choose_was_not_looked_at_and_fit_never_does(content: PatternContent) -> None:
    parts = content.outcomes["part"]
    page = shown(content, outcomes=content.outcomes[parts != "choose"])
    assert "On the validate part, whose days had no part in making the clusters." in page.text
    assert "On the validate part it was" not in page.text
    alone = shown(content, outcomes=content.outcomes[parts == "fit"])
    assert "5 clusters, and no later day to test them on" in alone.text
    assert "On the fit part, where the clusters were made, so no evidence" in alone.text


def test_page_without_outcomes_says_so(content: PatternContent) -> None:
    page = shown(content, outcomes=pd.DataFrame(), histograms=pd.DataFrame(), counts=None, figures={})
    assert "no later day to test them on" in page.text
    assert "No outcome was compared with a base rate." in page.text
    assert "Distribution of the outcome" not in page.text
    assert "How many clusters" not in page.text
    assert "None was computed." in page.text


def test_notebooks_own_clusters_come_with_what_they_cannot_tell() -> None:
    text = Page(render(seed_content())).text
    assert "5 clusters of what came before a rise" in text
    for claim in (
        "The outcome is a best case, not a return.",
        "Only winners were clustered.",
        "Nothing was held back.",
    ):
        assert claim in text
    assert "mutual information of cluster and ticker is 0.250, and 0.016 when shuffled." in text
    assert "26,721 windows here are 5,628 episodes." in text
    assert "only windows before a rise were clustered, and no later day was kept" in text
    bare = Page(render(seed_content(figures={"windows": 3.0, "ticker_information": None}))).text
    assert "when shuffled." not in bare
    assert "windows here are" not in bare


def test_figures_that_are_known_are_shown_and_explained(page: Page, content: PatternContent) -> None:
    assert "Clusters and tickers 0.021 0.016 when shuffled Normalised mutual information" in page.text
    assert "Kept when placed 97.3% Share of those" in page.text
    assert said.FIGURES["noise_share"][1] not in page.text
    for label, meaning in said.GLOSSARY.values():
        assert f"{label} {meaning}" in page.text
    everything = dict.fromkeys((*said.FIGURES, *said.SHUFFLED), 0.5)
    assert len(said.figure_cards(everything)) == len(said.FIGURES)


def test_outcomes_are_coloured_only_where_they_hold_after_correction(html: str) -> None:
    assert re.findall(r'class="gain">(\+\d\.\d points)', html) == ["+4.1 points"] * 3
    assert re.findall(r'class="loss">(−\d\.\d points)', html) == ["−2.2 points"] * 3


def test_number_of_clusters_is_marked_as_chosen(page: Page) -> None:
    assert re.findall(r"(\d+) chosen", page.text) == ["5"]
    assert "0.95 ± 0.02" in page.text


# ---- The page itself ----


def test_hostile_text_never_becomes_markup(page: Page) -> None:
    assert "img" not in page.tags
    assert page.handlers == []
    assert page.tags.count("script") == 4
    assert "alert" not in page.raw["script"]
    assert ENDS_SCRIPT in page.text
    assert "<" not in page.raw["data"] + page.raw["pattern-bars"]
    assert ENDS_BOTH in json.loads(page.raw["data"])["patterns"]["tickers"]


def test_data_is_plain_json_and_nothing_points_outside(page: Page) -> None:
    for name in ("data", "pattern-bars"):
        json.loads(page.raw[name], parse_constant=pytest.fail)
    assert {address for address in page.addresses if not address.startswith("#")} == {"data:,"}
    assert "url(" not in page.raw["style"]


@pytest.mark.parametrize("whole", [False, True])
def test_policy_allows_only_the_two_scripts_of_the_page(content: PatternContent, html: str, whole: bool) -> None:
    html = report.render(report_content(tickers=8, patterns=content)) if whole else html
    raw = Page(html).raw
    scripts = (raw["script"], gzip.decompress(base64.b64decode(raw["library"])).decode())
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts}
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert set(re.findall(r"sha256-([^']+)'", policy[1])) == hashes
    assert "unsafe-eval" not in policy[1]


def test_same_content_gives_the_same_page(html: str) -> None:
    assert render(pattern_content()) == html


def test_report_of_a_run_has_the_section_where_there_are_patterns(content: PatternContent) -> None:
    without, with_it = (Page(report.render(report_content(tickers=8, patterns=made))) for made in (None, content))
    assert "patterns" not in json.loads(without.raw["data"])
    assert "pattern-bars" not in without.raw
    assert "plane-dots" not in without.raw["script"]
    assert "Patterns 2 of 5 patterns differ from the base rate" in with_it.text
    assert "How far to trust the clusters" in with_it.text
    assert set(json.loads(with_it.raw["pattern-bars"])) == set(content.bars)


# ---- Points ----


def test_points_are_packed_as_they_are(content: PatternContent) -> None:
    made = section(content)["data"]
    found, points = columns_of(made["points"]), packing.thinned(content.points)
    for name in ("x", "y", "outcome"):
        np.testing.assert_array_equal(found[name], points[name].to_numpy(np.float32))
    assert [made["tickers"][number] for number in found["ticker"]] == points["ticker"].tolist()
    np.testing.assert_array_equal(pd.to_datetime(found["time"], unit="s", utc=True), points["time"])
    np.testing.assert_array_equal(found["cluster"], points["cluster"])
    np.testing.assert_array_equal(found["hit"] == 1, points["hit"].fillna(False))
    np.testing.assert_array_equal(found["hit"] == packing.UNKNOWN, points["outcome"].isna())
    assert np.isnan(found["outcome"]).sum() > 0


def test_too_many_points_are_thinned_the_same_way_each_time() -> None:
    many = pd.DataFrame(
        {"ticker": "a", "time": pd.date_range("2025", periods=100, freq="h", tz="UTC"), "x": range(100)}
    )
    kept = packing.thinned(many, 30)
    assert len(kept) == kept["x"].nunique() == 30
    assert kept["time"].is_monotonic_increasing
    pd.testing.assert_frame_equal(kept, packing.thinned(many, 30))
    assert packing.thinned(many.iloc[::-1], 100)["x"].tolist() == list(range(100))


def test_thirty_thousand_points_stay_below_one_and_a_half_megabytes() -> None:
    points = pattern_content(windows=4_000, tickers=40, rows=300).points
    numbers = {ticker: number for number, ticker in enumerate(sorted(points["ticker"].unique()))}
    packed = packing.packed_points(points, numbers, np.ones(len(points), bool))
    assert len(packed["packed"]) / len(points) * packing.MAXIMUM_POINTS < 1.5e6


# ---- Bars ----


def test_packed_bars_are_those_that_were_given() -> None:
    frame = bars(seed=5, rows=500, price=0.0003).dropna(subset="close")
    found = bars_of(packing.packed_bars(frame))
    np.testing.assert_array_equal(found.index, frame.index)
    for name in (*packing.PRICES, "bb_middle"):
        np.testing.assert_allclose(found[name], frame[name], rtol=1e-4)
    for name in ("volume", "bb_width"):
        np.testing.assert_allclose(found[name], frame[name], rtol=4e-3)
    np.testing.assert_allclose(found["rsi"], frame["rsi"], atol=0.1001)
    assert found["bb_middle"].isna().sum() == 19


def test_bars_of_any_range_can_be_packed() -> None:
    frame = bars(seed=6, rows=60).dropna(subset="close")
    frame = frame.assign(low=frame["low"].where(frame["low"] > frame["low"].min(), 1e-9), volume=0.0, rsi=np.inf)
    frame.loc[frame.index[3], ["volume", "bb_middle"]] = np.nan
    packed = packing.packed_bars(frame)
    found = bars_of(packed)
    np.testing.assert_allclose(found["low"], frame["low"], rtol=packed["step"])
    assert packed["step"] > packing.PRICE_STEP
    assert found["rsi"].isna().all()
    assert found["volume"].isna().tolist() == [row == 3 for row in range(len(frame))]


def test_bands_that_do_not_follow_from_their_width_are_kept_as_they_are() -> None:
    frame = bars(seed=7, rows=60).dropna(subset="close")
    assert not packing.packed_bars(frame)["bands"]
    uneven = frame.assign(bb_upper=frame["bb_upper"] * 1.01)
    packed = packing.packed_bars(uneven)
    assert packed["bands"]
    content = gzip.decompress(base64.b64decode(packed["packed"]))
    kept = np.frombuffer(content, "<f4", 2 * len(frame), 20 * len(frame)).reshape(2, -1)
    np.testing.assert_array_equal(kept[1], uneven["bb_upper"].to_numpy(np.float32))


def test_bars_that_no_window_needs_are_left_out() -> None:
    frame = bars(seed=8, rows=400)
    whole = frame.dropna(subset="close")
    ends = [16, 17, 60, 131, 180, 250, len(whole) - 2]
    times = whole.index[ends].append(pd.DatetimeIndex([frame.index[400 // 3], whole.index[-1] + HOUR]))
    viewable, needed = packing.seen(frame, times, LENGTH, HORIZON)
    assert viewable.tolist() == [False, True, True, True, True, True, True, False, False]
    rows = {row for end in ends[1:] for row in range(end - 3 * LENGTH, end + HORIZON + 1) if 0 <= row < len(whole)}
    np.testing.assert_array_equal(needed.index, whole.index[sorted(rows)])


def test_a_market_of_bars_stays_small() -> None:
    frame = bars(seed=9, rows=3_000).dropna(subset="close")
    assert 446 * len(packing.packed_bars(frame)["packed"]) < 16e6


def test_windows_of_tickers_without_bars_cannot_be_viewed(content: PatternContent) -> None:
    made = section(dataclasses.replace(content, bars={CHINESE: content.bars[CHINESE]}))
    found = columns_of(made["data"]["points"])
    of_it = found["ticker"] == made["data"]["tickers"].index(CHINESE)
    assert 0 < found["viewable"].sum() <= of_it.sum()
    assert not found["viewable"][~of_it].any()
    assert list(made["bars"]) == [CHINESE]
    assert "This page holds no bars, so no window can be viewed." in shown(content, bars={}).text


def test_window_with_too_few_bars_before_it_cannot_be_viewed(content: PatternContent) -> None:
    points = packing.thinned(content.points[content.points["ticker"] == CHINESE]).reset_index(drop=True)
    late = content.bars[CHINESE].loc[points["time"].iloc[2] - (LENGTH - 2) * HOUR :]
    made = section(dataclasses.replace(content, points=points, bars={CHINESE: late}))
    viewable = columns_of(made["data"]["points"])["viewable"]
    assert not viewable[:3].any()
    assert viewable[-1]


# ---- What does not fit ----


def without(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.drop(columns=column)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("protocol", lambda _: "hopeful", "protocol is 'hopeful'; allowed: honest, seed"),
        ("bar", lambda _: "soon", "bar is 'soon'; allowed: a length of time"),
        ("bar", lambda _: "-1h", "bar is '-1h'; allowed"),
        ("length", lambda _: 0, "length is 0; allowed: 1 or more"),
        ("horizon", lambda _: 0, "horizon is 0; allowed: 1 or more"),
        ("points", without("hit"), "points lacks hit"),
        ("points", lambda frame: frame.iloc[:0], "points holds no window"),
        ("points", lambda frame: frame.assign(x=np.nan), "place that is not finite in x"),
        ("points", lambda frame: frame.assign(cluster=-2), r"points holds the cluster -2; allowed: -1 \(noise\)"),
        ("points", lambda frame: frame.assign(time=frame["time"].dt.tz_localize(None)), "points has times of the type"),
        ("profiles", without("q25"), "profiles lacks q25"),
        ("profiles", lambda frame: frame.assign(feature="luck"), "feature of profiles is 'luck'; allowed: atr_"),
        ("profiles", lambda frame: frame[frame["step"] > -5], "have other steps than -17 … 0"),
        ("profiles", lambda frame: frame[frame["cluster"] != 3], "profiles lacks 'atr_relative' of cluster 3"),
        ("outcomes", without("hit_q_value"), "outcomes lacks hit_q_value"),
        ("outcomes", lambda frame: frame.assign(part="judge"), "part of outcomes is 'judge'; allowed: fit, validate"),
        ("histograms", without("low"), "histograms lacks low"),
        ("histograms", lambda frame: frame.assign(high=frame["low"]), "low below high"),
        ("histograms", lambda frame: frame[frame["cluster"] != -2], "histograms lacks the cluster -2"),
        ("histograms", lambda frame: frame.drop(index=40), "histograms of cluster 0 has other bins"),
        ("counts", without("silhouette"), "counts lacks silhouette"),
        ("figures", lambda figures: {**figures, "luck": 1.0}, "figure is 'luck'; allowed: tickers, windows"),
        ("sides", lambda _: {3: "up"}, "side of cluster 3 is 'up'; allowed: long, short"),
        ("bars", lambda kept: {CHINESE: kept[CHINESE].drop(columns="rsi")}, "bars of 'demo:币安人生USDT' lacks rsi"),
        ("bars", lambda kept: {CHINESE: kept[CHINESE].iloc[::-1]}, "are not in order of time"),
        ("bars", lambda kept: {CHINESE: kept[CHINESE].tz_localize(None)}, "has times of the type"),
    ],
)  # fmt: skip
def test_content_that_does_not_fit_is_refused(
    content: PatternContent, name: str, change: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(ReportError, match=message):
        render(dataclasses.replace(content, **{name: change(getattr(content, name))}))
