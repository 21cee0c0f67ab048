"""What is shipped with a submitted job: the files of the checkout, measured before they travel."""

import logging
from pathlib import Path

from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

BOUND = 32 * 2**20  # bytes; Ray itself carries 500 MiB, which every new node would wait for
NAMED = 5  # largest files in a refusal

_silent = logging.getLogger("assay.package")
_silent.setLevel(logging.CRITICAL)  # Ray writes a line for every file of exclusions that it reads


class PackageError(ValueError):
    """A working directory that is not shipped."""


def files(directory: Path) -> dict[str, int]:
    """Returns the bytes of every file that Ray would ship, by its path below the directory.

    `.rayignore` and `.gitignore` leave out, in any folder; so do Ray's own exclusions.
    """
    found: dict[str, int] = {}

    def measure(path: Path) -> None:
        if path.is_file():
            found[path.relative_to(directory).as_posix()] = path.stat().st_size

    directory = directory.absolute()
    left_out = [_get_excludes(directory, get_runtime_env_default_excludes())]
    _dir_travel(directory, left_out, measure, include_gitignore=True, logger=_silent)
    return found


def check(directory: Path, bound: int = BOUND) -> int:
    """Returns the bytes that would be shipped.

    Raises:
        PackageError: they are more than the bound, in bytes.
    """
    sizes = files(directory)
    total = sum(sizes.values())
    if total > bound:
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:NAMED]
        named = ", ".join(f"{name} ({_megabytes(sizes[name])})" for name in largest)
        raise PackageError(
            f"The working directory {directory} is {_megabytes(total)} in {len(sizes)} files; allowed is "
            f"{_megabytes(bound)}, since every node fetches it. The largest are {named}. Move data out of it, or leave "
            "it out by a line in .rayignore."
        )
    return total


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
