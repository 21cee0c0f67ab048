"""Everything that can be set, run or read is documented, and the generated pages are current."""

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from jobs.config import RunConfig, Shortlist
from jobs.runner import names, parse
from quant import protocols
from quant.schemas import DATASETS
from quant.shortlist import DEFAULTS, RULES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generator: ModuleType):
    for path, text in generator.pages().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run `python docs/generate.py`"


def test_every_setting_says_what_it_means(generator: ModuleType):
    assert [name for name, _, meaning in generator.settings(RunConfig) if len(meaning) < 10] == []


def test_every_job_says_what_it_does():
    for name in names():
        first = (importlib.import_module(f"jobs.{name}").__doc__ or "").strip().splitlines()[0]
        assert len(first) > 20, name


def test_every_rule_of_the_shortlist_is_a_setting():
    assert {rule.name for rule in RULES} == set(Shortlist.model_fields)
    assert {name: value for name, value in Shortlist().model_dump().items() if value is not None} == DEFAULTS


def test_every_column_says_what_it_means():
    assert [(d.name, c.name) for d in DATASETS.values() for c in d.columns if not c.meaning] == []


def test_readme_tree_names_every_module():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for package in ("jobs", "actors", "storage", "quant"):
        for path in sorted((ROOT / package).glob("*.py")):
            if path.name != "__init__.py":
                assert re.search(rf"\b{re.escape(path.name)}\b", readme), f"README's tree lacks {package}/{path.name}"


def test_every_trap_of_the_article_is_explained_in_the_order_of_its_removal():
    page = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page.partition("## The traps")[2], re.MULTILINE)
    assert rows == list(protocols.NAMES)


def test_links_in_the_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_valid_and_say_how_they_are_run(path: Path):
    parse("pipeline", "", ["--config", str(path)])
    assert f"--config examples/{path.name}" in path.read_text(encoding="utf-8")
