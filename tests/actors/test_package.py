"""What is shipped with a job: the code, and neither data nor secrets nor more than the bound."""

import shutil
from pathlib import Path

import pytest

from actors.package import BOUND, PackageError, check, files
from tests.conftest import ROOT

LEFT_OUT = (
    *(".git/config", ".venv/lib/a.py", ".env", ".aws/credentials", "jobs/private.pem", "quant/__pycache__/a.pyc"),
    *("store/runs/a/b.parquet", "tests/test_a.py", "docs/a.md", "benchmarks/a.py", "shared/data/a.parquet"),
    *(".mypy_cache/a", ".pytest_cache/a", ".ruff_cache/a", ".hypothesis/a", ".import_linter_cache/a", "a.egg-info/b"),
    *("requirements.lock", "dist/a.whl", "build/a"),
)
KEPT = ("jobs/a.py", "storage/store/a.py", "quant/report_page/page.html.jinja", "deploy/runtime_env.yaml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with this project's lists of exclusions, and with everything that may lie about in one."""
    for name in (*LEFT_OUT, *KEPT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_code_is_shipped_and_nothing_else(checkout: Path):
    assert set(files(checkout)) == {*KEPT, ".gitignore", ".rayignore"}
    assert files(checkout)["jobs/a.py"] == 5


def test_the_code_of_this_project_is_shipped_whole():
    shipped = files(ROOT)
    for package in ("jobs", "actors", "storage", "quant"):
        code = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.*") if path.suffix != ".pyc"}
        assert {name for name in code if not name.endswith((".nbi", ".nbc"))} <= shipped.keys()
    assert {name.partition("/")[0] for name in shipped}.isdisjoint({"tests", "docs", ".git", ".venv", "shared"})
    assert sum(shipped.values()) < BOUND / 8


def test_more_than_the_bound_is_refused_with_the_largest_files_named(checkout: Path):
    (checkout / "candles.csv").write_bytes(b"x" * 3_000_000)
    (checkout / "jobs" / "notebook.ipynb").write_bytes(b"x" * 1_500_000)
    bound = sum(files(checkout).values())
    assert check(checkout, bound) == bound
    with pytest.raises(
        PackageError, match=r"4\.3 MiB in 8 files.*candles\.csv \(2\.9 MiB\), jobs/notebook\.ipynb"
    ) as caught:
        check(checkout, bound - 1)
    assert "a line in .rayignore" in str(caught.value)
