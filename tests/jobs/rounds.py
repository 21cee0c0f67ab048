"""Rounds for tests of `jobs.every`, which processes of their own import: light, and steered by a file of words.

As a program (`python -m tests.jobs.rounds FOLDER`) it makes such rounds until it is ended.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jobs.every import Word, rounds, stopping
from storage.errors import StoreUnavailableError


def word(error: Exception) -> Word:
    """What an error means: its own text, where it is a word of `jobs.every`."""
    if isinstance(error, StoreUnavailableError):
        return "away"
    text = str(error)
    return text if text in {"missing", "refused"} else "bug"


def once(started: Callable[[], None], folder: Path) -> int:
    """Do what the first word of the file `words` says, and take it away; note in `done` what came of it."""
    started()
    (folder / "process").write_text(str(os.getpid()))
    words = (folder / "words").read_text().split()
    (folder / "words").write_text(" ".join(words[1:]))
    say(folder, words[0])
    match words[0]:
        case "away":
            raise StoreUnavailableError("the store has gone home.")
        case "missing" | "refused" | "bug":
            raise ValueError(words[0])
        case "dies":
            os._exit(9)
        case "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            time.sleep(30)
        case "long":
            try:
                time.sleep(30)
            except KeyboardInterrupt:
                say(folder, "interrupted")
                raise
    return int(words[0] == "failures")


def say(folder: Path, text: str) -> None:
    """Add a word to the file `done`."""
    with (folder / "done").open("a") as file:
        file.write(f"{text}\n")


if __name__ == "__main__":
    # by its name, under which the process of a round finds it
    from tests.jobs import rounds as here

    with stopping() as stop:
        program = partial(here.once, folder=Path(sys.argv[1]))
        sys.exit(rounds("1h", 3600, program, judge=here.word, worked=lambda: True, stop=stop))
