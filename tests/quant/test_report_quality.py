"""The section of the data: what it says, what it draws, and that it says little where there is little to say."""

import dataclasses
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant import report_quality
from quant.quality import KINDS
from quant.report import ReportContent, ReportError, render
from quant.report_quality import ACROSS, MEANINGS, WORST, picture, section, worst
from tests.quant.report_content import ENDS_SCRIPT, HOSTILE, report_content

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2024-01-01", tz="UTC")
NONE = pd.DataFrame(columns=["reason", "rows", "tickers"])


def tickers(number: int = 3, **changes: Any) -> pd.DataFrame:
    """Tickers of 1,000 bars in 100 days, in which nothing is odd."""
    frame = pd.DataFrame(
        {"ticker": [f"local-um:{chr(65 + place)}" for place in range(number)], "rows": 1_000, "first": str(START),
         "last": str(START + 100 * DAY), "gaps": 0, "quarantined": 0, **dict.fromkeys(KINDS, 0)}
    )  # fmt: skip
    return frame.assign(**changes)


def flags(*rows: tuple[str, float, float]) -> pd.DataFrame:
    """Flags by kind, and first and last day."""
    return pd.DataFrame(
        [(kind, START + first * DAY, START + last * DAY) for kind, first, last in rows],
        columns=["kind", "start", "end"],
    )


def shown(quality: pd.DataFrame, reasons: pd.DataFrame = NONE, unread: int = 0, **some: pd.DataFrame) -> dict[str, Any]:
    named = {f"local-um:{name}": frame for name, frame in some.items()}
    return section(quality, reasons, named, {}, unread, 500, {})


def covered(path: str) -> list[int]:
    """Columns that the rectangles of a path cover."""
    found = re.findall(r"M(\d+) 0h(\d+)v10h-(\d+)z", path)
    assert "".join(f"M{begin} 0h{width}v10h-{back}z" for begin, width, back in found) == path
    assert all(width == back for _, width, back in found)
    return [column for begin, width, _ in found for column in range(int(begin), int(begin) + int(width))]


def test_every_kind_of_flag_has_a_meaning_and_a_colour() -> None:
    assert set(MEANINGS) == set(KINDS)
    assert sorted(kind for kinds in report_quality.GROUPS.values() for kind in kinds) == sorted(KINDS)


def test_where_nothing_is_odd_one_sentence_says_so_and_nothing_more() -> None:
    found = shown(tickers())
    assert found["sentence"] == (
        "3 tickers gave 3,000 bars, from 2024-01-01 to 2024-04-10. Nothing is odd about them: no row was set aside, no "
        "bar is missing, and nothing was flagged."
    )
    assert (found["picture"], found["reasons"], found["kinds"], found["worst"]) == (None, [], [], None)
    content = report_content(tickers=9, quality=tickers(), reasons=None, flags={})
    page = render(content)
    for title in (
        "Where it lies in time",
        "Rows set aside",
        "Flagged, and left as it is",
        "The tickers with most of it",
    ):
        assert title not in page
        assert title in render(report_content(tickers=9))


def test_what_was_set_aside_flagged_or_not_read_is_counted() -> None:
    quality = tickers(gaps=[2, 0, 1], gap=[2, 0, 1], spike=[0, 0, 4], stale=[1, 0, 0], quarantined=[0, 7, 0])
    reasons = pd.DataFrame([("duplicate row", 2, 1), ("high below low", 5, 1)], columns=list(NONE.columns))
    found = shown(quality, reasons, unread=2)
    assert found["sentence"] == (
        "3 tickers gave 3,000 bars, from 2024-01-01 to 2024-04-10. 2 tickers could not be read; the failures below say "
        "why. 7 rows were set aside, 3 gaps stay gaps and 5 places are flagged. What is flagged was used as it came: "
        "a flag is a reason to look, not a verdict."
    )
    assert [(row["reason"], row["rows"], row["tickers"], row["share"]) for row in found["reasons"]] == [
        ("high below low", "5", "1", 5 / 7),
        ("duplicate row", "2", "1", 2 / 7),
    ]
    assert [(row["label"], row["number"], row["tickers"], row["share"]) for row in found["kinds"]] == [
        ("Spike", "4", "1", 1.0),
        ("Gap", "3", "2", 0.75),
        ("Stale run", "1", "1", 0.25),
    ]
    assert found["worst"]["labels"] == ["Quarantined", "Gap", "Spike", "Stale run"]
    assert [(row["ticker"], row["cells"]) for row in found["worst"]["rows"]] == [
        ("local-um:C", ["", "1", "4", ""]),
        ("local-um:A", ["", "2", "", "1"]),
        ("local-um:B", ["7", "", "", ""]),
    ]
    assert worst(quality) == ["local-um:C", "local-um:A"]


def test_a_run_whose_tickers_all_failed_has_a_sentence(content: ReportContent) -> None:
    found = shown(tickers(0), unread=3)
    assert found["sentence"] == "No ticker could be read; the failures below say why."
    assert found["picture"] is None


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return report_content()


def test_only_the_worst_are_in_the_open_table_and_the_others_are_counted() -> None:
    number = WORST + 5
    found = shown(tickers(number, spike=np.arange(number)))
    assert [row["cells"] for row in found["worst"]["rows"]] == [[str(count)] for count in range(number - 1, 4, -1)]
    assert found["worst"]["others"] == 4
    assert len(worst(tickers(number, spike=1))) == WORST


def test_marks_lie_where_the_flags_do() -> None:
    quality = tickers(2, spike=[1, 0], gap=[2, 0], last=[str(START + 100 * DAY), str(START + 50 * DAY)])
    frame = flags(("gap", 10, 20), ("gap", 20, 30), ("spike", 50, 50), ("stale", 100, 100))
    drawn = picture(
        quality, {"local-um:A": frame, "local-um:B": flags()}, {"judge": (START + 40 * DAY, START + 80 * DAY)}
    )
    first, second = drawn["strips"]
    marks = dict(first["marks"])
    per_day = ACROSS // 100
    assert covered(marks["missing"]) == list(range(10 * per_day, 30 * per_day + 1))
    assert covered(marks["jumps"]) == [50 * per_day]
    assert covered(marks["still"]) == [ACROSS - 1]
    assert first["label"] == "local-um:A: 4 flags"
    assert second["marks"] == []
    assert covered(second["bars"]) == list(range(50 * per_day + 1))
    # both tickers up to the middle, and one of them from there
    assert drawn["all"] == f"M0 10H0V0H{50 * per_day + 1}V5H{ACROSS}V10z"
    assert drawn["most"] == "2"
    assert [name for name, _ in drawn["groups"]] == ["missing", "jumps", "still"]
    assert [name for name, _ in picture(quality, {"local-um:A": frame[:2]}, {})["groups"]] == ["missing"]
    assert drawn["parts"] == [("judge", 40 * per_day, 80 * per_day)]


def test_marks_take_no_more_room_than_the_picture_has_columns() -> None:
    """However many flags there are."""
    generator = np.random.default_rng(0)
    first = generator.uniform(0, 100, 50_000)
    frame = flags(*[("gap", day, day) for day in first.tolist()])
    drawn = picture(tickers(1, gap=50_000), {"local-um:A": frame}, {})
    assert sum(len(path) for _, path in drawn["strips"][0]["marks"]) < 20 * ACROSS


def test_a_run_from_before_there_were_flags_is_still_shown() -> None:
    found = shown(tickers(2, gaps=1).drop(columns=list(KINDS)))
    assert found["sentence"].endswith("from 2024-01-01 to 2024-04-10. 2 gaps stay gaps.")


def test_what_comes_from_outside_is_text(content: ReportContent) -> None:
    page = render(content)
    inside = page[page.index('<section id="quality">') : page.index('<section id="reproduce"')]
    assert HOSTILE not in inside
    assert ENDS_SCRIPT not in inside
    assert "&lt;img src=x onerror=alert(1)&gt;&lt;b&gt;: 41 flags" in inside


def test_frames_that_do_not_fit_are_refused(content: ReportContent) -> None:
    for change, complaint in (
        ({"reasons": NONE.drop(columns="rows")}, "reasons lacks rows"),
        ({"flags": {"x": flags(("odd", 1, 2))}}, "flags of x are of the kind 'odd'; allowed: gap, "),
        ({"flags": {"x": flags().drop(columns="end")}}, "flags of x lacks end"),
    ):
        with pytest.raises(ReportError, match=re.escape(complaint)):
            render(dataclasses.replace(content, **change))


def test_what_was_assumed_is_told_with_its_tickers():
    content = report_content(tickers=9, assumed={"times have no zone and were read as UTC": ["<b>AAA", "BBB"]})
    page = render(content)
    assert "Assumed while reading" in page
    assert "Times have no zone and were read as UTC</th><td>2</td>" in page
    assert "&lt;b&gt;AAA" in page
    assert "Assumed while reading" not in render(report_content(tickers=9))
