"""The report in a terminal says what the page says."""

from quant import report_lines, report_words
from quant.report import render
from tests.quant.report_content import HOSTILE, report_content


def test_every_shortlisted_ticker_has_a_line_and_every_other_stage_a_reason() -> None:
    content = report_content()
    text = "\n".join(report_lines.lines(content))
    assert "6 of 40 tickers hold up on the judge part:" in text
    for ticker in content.shortlist.loc[content.shortlist["shortlisted"], "ticker"]:
        assert ticker in text
    for stage, number in content.shortlist["stage"].value_counts().items():
        if stage != "shortlisted":
            assert f"  {number:>4} on {stage}, for example " in text


def test_it_says_what_the_page_says() -> None:
    content = report_content()
    lines = " ".join(" ".join(report_lines.lines(content)).split())
    page = " ".join(render(content).split())
    for said in (report_words.placebo_sentence(content.market, 6), *report_lines.model(content)):
        assert " ".join(said.split()) in lines
        assert said.replace("'", "&#39;") in page
    assert "selection: 41 tickers in the run, 40 processed without failure" in lines
    assert "known answer: 6 tickers hold a pattern: 6 of them were found, and 0 others let through." in lines
    assert f"On {HOSTILE} the article's protocol makes" in lines
    assert max(map(len, report_lines.lines(content))) <= 200


def test_an_empty_shortlist_is_a_good_answer_and_what_a_run_lacks_is_left_out() -> None:
    bare = report_content(shortlisted=0, comparison=None, quality=None, protocols=None, audit=None)
    text = "\n".join(report_lines.lines(bare))
    assert "none: no evidence that the strategy works on any of them, which is a good answer to have" in text
    for name in ("model:", "data:", "audit:", "the article:"):
        assert name not in text
