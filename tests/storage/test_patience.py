"""Attempts, pauses and the bound, by a clock that only pauses move."""

import pytest

from storage import patience
from storage.patience import GaveUpError, hastily, patiently


class Service:
    """Fails so many times, each after so many seconds, and then answers."""

    def __init__(self, failures: int, seconds: float = 0.0) -> None:
        self.failures, self.seconds = failures, seconds
        self.time, self.asked, self.pauses = 0.0, [], []

    def ask(self) -> str:
        self.asked.append(self.time)
        self.time += self.seconds
        if len(self.asked) <= self.failures:
            raise TimeoutError(f"failure {len(self.asked)}")
        return "answer"

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    def patiently(self, attempts: int = 10, seconds: float = 120.0, error: type[Exception] = TimeoutError) -> str:
        return patiently(
            self.ask,
            passing=lambda raised: isinstance(raised, error),
            attempts=attempts,
            seconds=seconds,
            pause=self.pause,
            clock=lambda: self.time,
        )


@pytest.mark.parametrize("failures", [0, 1, 9])
def test_it_is_asked_until_there_is_an_answer(failures: int) -> None:
    service = Service(failures)
    assert service.patiently() == "answer"
    assert len(service.asked) == failures + 1


def test_pauses_double_up_to_the_longest_and_are_never_the_same() -> None:
    services = [Service(9) for _ in range(20)]
    for service in services:
        service.patiently()
        for number, pause in enumerate(service.pauses):
            whole = min(patience.LONGEST_PAUSE, patience.FIRST_PAUSE * 2**number)
            assert whole / 2 <= pause <= whole
    assert len({service.pauses[0] for service in services}) == 20


def test_it_is_given_up_after_so_many_attempts() -> None:
    service = Service(100)
    with pytest.raises(GaveUpError) as caught:
        service.patiently(attempts=4)
    assert (caught.value.attempts, str(caught.value.error)) == (4, "failure 4")
    assert caught.value.seconds == service.time
    assert len(service.asked) == 4


@pytest.mark.parametrize("each", [0.0, 1.0, 20.0, 300.0])
def test_no_attempt_begins_after_so_many_seconds(each: float) -> None:
    service = Service(1_000, each)
    with pytest.raises(GaveUpError):
        service.patiently(attempts=1_000, seconds=60.0)
    assert max(service.asked) <= 60.0
    assert service.time <= 60.0 + each


def test_what_does_not_pass_is_raised_at_once() -> None:
    service = Service(5)
    with pytest.raises(TimeoutError, match="failure 1"):
        service.patiently(error=ValueError)
    assert service.pauses == []


def test_in_haste_few_attempts_are_made() -> None:
    service = Service(100)
    with hastily(), pytest.raises(GaveUpError):
        service.patiently()
    assert len(service.asked) == patience.HASTY_ATTEMPTS
    with hastily(), pytest.raises(GaveUpError):
        service.patiently(attempts=1)
    assert len(service.asked) == patience.HASTY_ATTEMPTS + 1
    assert Service(9).patiently() == "answer"
