import threading
from collections.abc import Iterator

import pytest

from quant.prefetch import prefetched


@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_items_come_in_their_order(ahead: int, count: int) -> None:
    assert list(prefetched(iter(range(count)), ahead)) == list(range(count))


def test_as_many_as_asked_for_are_prepared_ahead() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    given = prefetched(items(), ahead=2)
    assert next(given) == 0
    assert third.wait(5)  # 1 and 2 are prepared, while 0 is used
    assert made == [0, 1, 2]
    given.close()
    assert made == [0, 1, 2]


def test_an_error_comes_where_its_item_would_have() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the store is away")

    given = prefetched(items(), ahead=3)
    assert next(given) == 1
    with pytest.raises(OSError, match="the store is away"):
        next(given)
