"""List the jobs: ``python -m jobs``."""

import importlib

from jobs.runner import names


def main() -> None:
    """Print each job with its first line."""
    print("Jobs; run one by `python -m jobs.<name> --help`:\n")
    for name in names():
        summary = (importlib.import_module(f"jobs.{name}").__doc__ or "").strip().splitlines()[0]
        print(f"  {name:<10} {summary}")


if __name__ == "__main__":
    main()
