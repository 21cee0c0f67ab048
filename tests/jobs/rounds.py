"""Rounds for tests of `jobs.every`, which processes of their own import: light, and steered by a file of words."""

import time
from collections.abc import Callable
from pathlib import Path

from jobs.every import Word
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
    words = (folder / "words").read_text().split()
    (folder / "words").write_text(" ".join(words[1:]))
    say(folder, words[0])
    match words[0]:
        case "away":
            raise StoreUnavailableError("the store has gone home.")
        case "missing" | "refused" | "bug":
            raise ValueError(words[0])
        case "dies":
            import os

            os._exit(9)
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
