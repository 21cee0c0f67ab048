"""Everything that can be set, run or read is documented, and the generated pages are current."""

import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from jobs import compare, submit
from jobs.config import RunConfig
from jobs.config_verdict import Shortlist
from jobs.runner import names, parse
from quant import protocols
from quant.schemas import DATASETS
from quant.shortlist import DEFAULTS, RULES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"python -m jobs\.(\w+)((?:\\\n|[^`\n])*)")
FLAG = re.compile(r"(?<![\w-])--([a-z][\w.-]*\w)")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


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


def links(page: Path) -> list[str]:
    """Targets of the links of a page that lead to this repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text(encoding="utf-8")))
    return [target for target in found if "://" not in target]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path):
    for target in links(page):
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_the_index_of_the_docs_names_every_page_once():
    linked = [(DOCS / target).resolve() for target in links(DOCS / "README.md")]
    assert sorted(page for page in linked if page.suffix == ".md" and DOCS in page.parents) == sorted(
        page for page in DOCS.rglob("*.md") if page != DOCS / "README.md"
    )


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Job and flags of every command of a page."""
    for job, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
        yield job, FLAG.findall(rest)


@pytest.fixture
def offered(capsys: pytest.CaptureFixture[str]) -> dict[str, set[str]]:
    """The flags that every job offers by ``--help``."""
    with pytest.raises(SystemExit):
        parse("pipeline", "", ["--help"])
    of_all = set(FLAG.findall(capsys.readouterr().out))
    with pytest.raises(SystemExit):
        submit.program(["--help"])
    of_submit = set(FLAG.findall(capsys.readouterr().out))
    return {name: of_all | of_submit if name == "submit" else of_all for name in names()}


def test_commands_name_jobs_and_flags_that_there_are(offered: dict[str, set[str]]):
    told = [(page.name, job, flags) for page in PAGES for job, flags in commands(page)]
    assert len(told) >= 50
    for page, job, flags in told:
        assert job in offered, page
        assert set(flags) <= offered[job], page


@every_page
def test_commands_to_be_copied_are_accepted_as_they_stand(page: Path):
    if page.name.startswith(("jobs", "add-a-")):  # with placeholders, and with names that the reader adds
        return
    scripts = [text for language, text in FENCED.findall(page.read_text(encoding="utf-8")) if language == "sh"]
    for job, rest in COMMAND.findall("".join(scripts)):
        arguments = shlex.split(rest.replace("\\\n", " "), comments=True)
        if "--config" in arguments:  # a file of the reader's
            place = arguments.index("--config")
            del arguments[place : place + 2]
        if job != "submit":
            parse(job, "", compare.arguments(arguments) if job == "compare" else arguments)


@every_page
def test_configurations_in_the_pages_are_valid(page: Path):
    for language, text in FENCED.findall(page.read_text(encoding="utf-8")):
        if language == "toml":
            RunConfig.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_valid_and_say_how_they_are_run(path: Path):
    parse("pipeline", "", ["--config", str(path)])
    assert f"--config examples/{path.name}" in path.read_text(encoding="utf-8")
