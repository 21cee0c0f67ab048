import io
import logging

import pytest

from actors.progress import Progress, Snapshot, amount, duration, told


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_have_rate_and_time_left_and_come_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(250, "features", stream=stream, interval=5.0, clock=clock) as progress:
        for failed in [0] * 119 + [1] + [0] * 129 + [1]:
            clock.now += 0.08
            progress.advance(failed=failed, note="demo:A")
    assert stream.getvalue().splitlines() == [
        "features: 0/250 tickers",
        "features: 63/250 tickers (25%), 12.5/s, 15 s left, demo:A",
        "features: 126/250 tickers (50%), 12.5/s, 10 s left, 1 failed, demo:A",
        "features: 189/250 tickers (76%), 12.5/s, 5 s left, 1 failed, demo:A",
        "features: 250 tickers in 20 s (12.5/s), 2 failed",
    ]


def test_the_time_left_goes_by_weight_where_units_differ() -> None:
    stream, clock = io.StringIO(), Clock()
    heard: list[Snapshot] = []
    with told(heard.append), Progress(4, "search", stream=stream, interval=0, clock=clock, weight=10.0) as progress:
        for weight in (5.0, 3.0, 1.0, 1.0):  # the heaviest first, as shards come
            clock.now += 12 * weight
            progress.advance(weight=weight)
    lines = stream.getvalue().splitlines()
    assert lines[1:4] == [
        "search: 1/4 tickers (25%), 1.0/min, 1 min 00 s left",
        "search: 2/4 tickers (50%), 1.2/min, 24 s left",
        "search: 3/4 tickers (75%), 1.7/min, 12 s left",
    ]
    assert [one.share for one in heard] == [0.0, 0.5, 0.8, 0.9, 1.0]


def test_weights_that_are_all_nothing_leave_the_count() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(4, "search", stream=stream, interval=0, clock=clock, weight=0.0) as progress:
        clock.now += 5
        progress.advance(weight=0.0)
    assert stream.getvalue().splitlines()[1] == "search: 1/4 tickers (25%), 12.0/min, 15 s left"


def test_the_last_line_says_where_an_interrupted_stage_stopped() -> None:
    stream, clock = io.StringIO(), Clock()
    with pytest.raises(KeyboardInterrupt), Progress(10, "search", "assets", stream, clock=clock) as progress:
        clock.now += 90
        progress.advance(3)
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == "search: stopped at 3/10 assets in 1 min 30 s (2.0/min)"


def test_no_work_at_all_is_two_lines() -> None:
    stream = io.StringIO()
    with Progress(0, "labels", stream=stream, clock=Clock()):
        pass
    assert stream.getvalue() == "labels: 0/0 tickers\nlabels: 0 tickers in 0 s\n"


def test_a_terminal_gets_a_bar_and_the_last_line() -> None:
    stream = Terminal()
    with Progress(4, "train", "epochs", stream) as progress:
        for _ in range(4):
            progress.advance(note="loss 0.7")
    bar, last = stream.getvalue().rstrip("\n").rsplit("\r", 1)
    assert "train:" in bar and "0/4" in bar and "epochs" in bar
    assert last.startswith("train: 4 epochs in 0 s")


def test_lines_go_to_the_logger_where_it_is_set_up(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="assay"), Progress(1, "labels", clock=Clock()) as progress:
        progress.advance()
    assert caplog.messages == ["labels: 0/1 tickers", "labels: 1 tickers in 0 s"]
    assert capsys.readouterr().err == ""


def test_lines_go_to_standard_error_where_nothing_is_set_up(capsys: pytest.CaptureFixture) -> None:
    with Progress(1, "labels", clock=Clock()) as progress:
        progress.advance()
    assert capsys.readouterr().err == "labels: 0/1 tickers\nlabels: 1 tickers in 0 s\n"


def test_a_negative_total_is_refused() -> None:
    with pytest.raises(ValueError, match="labels: the total is -1 tickers"):
        Progress(-1, "labels")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_listener_is_told_at_the_start_now_and_then_and_at_the_end() -> None:
    heard: list[Snapshot] = []
    clock = Clock()
    with told(heard.append), Progress(40, "predict", stream=io.StringIO(), clock=clock, before=2) as progress:
        for _ in range(40):
            clock.now += 1.0
            progress.advance(note="demo:A")
    assert [(one.done, one.seconds, one.stopped) for one in heard] == [
        (0, 0.0, False), (10, 10.0, False), (20, 20.0, False), (30, 30.0, False), (40, 40.0, False),
    ]  # fmt: skip
    assert {(one.stage, one.unit, one.before, one.total) for one in heard} == {("predict", "tickers", 2, 40)}
    with pytest.raises(KeyboardInterrupt), told(heard.append), Progress(2, "train", stream=io.StringIO()) as progress:
        progress.advance()
        raise KeyboardInterrupt
    assert (heard[-1].stage, heard[-1].done, heard[-1].stopped) == ("train", 1, True)
    count = len(heard)
    with Progress(1, "train", stream=io.StringIO(), clock=clock) as progress:
        progress.advance()
    assert len(heard) == count


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (812, "812 B"), (999.4, "999 B"), (999.6, "1 kB"), (4_200_000, "4.2 MB"), (1.613e9, "1.61 GB")],
)
def test_bytes_are_said_in_three_digits(size: float, text: str) -> None:
    assert amount(size) == text
