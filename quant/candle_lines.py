"""Lines of plain numbers, as exchanges dump them by the million: read in one pass, where every value is exact.

What is read here is what ``float`` and ``int`` make of the same text, to the last bit. For anything else, be it a
blank, a quote, an exponent or one digit too many, the lines are given back unread, to a reader that knows more.
"""

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt

_POWERS = np.array([float(f"1e{exponent}") for exponent in range(23)])  # all of them exact
_LARGEST = 2**53  # every whole number up to here is a double, and so its quotient by an exact power is rounded once
_LARGEST_TIME = 2**62
_MINUS, _POINT, _ZERO, _NEWLINE, _RETURN = (ord(character) for character in "-.0\n\r")


def read(
    data: bytes, start: int, delimiter: str, width: int, time: int, numbers: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
    """Return the times and numbers of lines, or None where anything in them is not plain.

    Parameters
    ----------
    data, start
        Lines of ``width`` values each, from this byte on; the last may lack its end.
    delimiter
        One ASCII character.
    time
        Place of the column of whole numbers.
    numbers
        Places of other columns; the rest is passed over.

    Returns
    -------
    times, values
        Of n lines: int64 (n), and float64 (columns in the order of ``numbers`` × n).
    """
    text = np.frombuffer(data, dtype=np.uint8)[start:]
    role = np.full(width, -1, dtype=np.int64)  # nothing to be read, or the row of what is read
    for row, place in enumerate((time, *numbers)):
        if role[place] != -1:
            return None  # a column that is two things at once
        role[place] = row
    ends = np.flatnonzero(text == _NEWLINE)
    if len(text) and text[-1] != _NEWLINE:
        ends = np.append(ends, len(text))
    times = np.empty(len(ends), dtype=np.int64)
    values = np.empty((len(numbers), len(ends)), dtype=np.float64)
    plain = _scan(text, ends, ord(delimiter), role, times, values, _POWERS)
    return (times, values) if plain else None


@numba.njit(cache=True, nogil=True)
def _scan(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    text, ends, delimiter, role, times, values, powers
):
    """Return whether all lines are plain; those before the first that is not are read."""
    width = len(role)
    wanted = 0
    for column in range(width):
        if role[column] >= 0:
            wanted = column + 1
    at = 0
    for row in range(len(ends)):
        end = ends[row]
        last = end - 1 if end > at and text[end - 1] == _RETURN else end
        for column in range(wanted):
            kind = role[column]
            if kind < 0:
                while at < last and text[at] != delimiter:
                    at += 1
            else:
                negative = at < last and text[at] == _MINUS
                if negative:
                    at += 1
                start, mantissa, point = at, np.int64(0), -1
                while at < last:
                    digit = np.int64(text[at]) - _ZERO
                    if 0 <= digit <= 9:
                        mantissa = mantissa * 10 + digit
                        if mantissa >= _LARGEST_TIME // 10:
                            return False
                    elif text[at] == _POINT and point < 0 and kind > 0:
                        point = at
                    else:
                        break
                    at += 1
                decimals = at - 1 - point if point >= 0 else 0
                if at - start - (point >= 0) < 1 or (negative and kind == 0):
                    return False  # no digit at all
                if kind == 0:
                    times[row] = mantissa
                else:
                    if mantissa > _LARGEST or decimals >= len(powers):
                        return False
                    value = np.float64(mantissa) / powers[decimals]
                    values[kind - 1, row] = -value if negative else value
            if column < width - 1:
                if at >= last or text[at] != delimiter:
                    return False  # too few values, or something that is no digit
                at += 1
        others = 0
        for place in range(at, last):
            others += (text[place] == delimiter) + (width + 1) * (text[place] == _RETURN)
        if others != max(width - 1 - wanted, 0) or (wanted == width and at != last):
            return False  # too few values, or too many
        at = end + 1
    return True
