"""The rules that hold the tree together."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jobs", "actors", "storage", "quant")


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _modules(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def test_dependency_contracts_hold():
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout


def test_only_actors_imports_ray():
    assert [path for path in _modules("jobs", "storage", "quant") if "ray" in _imports(path)] == []


def test_keras_and_tensorflow_are_imported_in_one_module():
    users = {
        path.relative_to(ROOT).as_posix() for path in _modules(*PACKAGES) if _imports(path) & {"keras", "tensorflow"}
    }
    assert users == {"quant/network.py"}


def test_importing_the_jobs_does_not_import_tensorflow():
    code = "import sys, jobs.pipeline; print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "False"


def test_package_initialisers_are_empty():
    assert [path for package in PACKAGES if (path := ROOT / package / "__init__.py").read_text(encoding="utf-8")] == []


def test_nothing_is_installed_into_site_packages():
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["tool"]["setuptools"]["packages"] == []


def test_no_pickle_or_eval():
    forbidden = {"pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}
    assert [path for path in _modules(*PACKAGES) if _imports(path) & forbidden] == []


def test_locks_pin_by_hash_and_name_no_registry():
    for name in ("requirements.lock", "requirements-gpu.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pins
        assert all(line.rstrip().endswith("\\") for line in pins), "every pin is followed by its hashes"
        assert "://" not in text
        assert "index-url" not in text
        assert "find-links" not in text
