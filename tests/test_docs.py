"""The pages are true: their links lead somewhere, their commands parse, the walkthrough passes every stage."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from pipeline import presets
from pipeline.command_line import parser
from pipeline.settings import CHECKOUT
from pipeline.workflows.refresh_cycle import workflow

DOCS = CHECKOUT / "docs"
GUIDES = [CHECKOUT / "README.md", *(page for page in sorted(DOCS.glob("*.md")) if page.name != "log.md")]
"""Pages about the code as it is; the log tells what was."""
PAGES = [CHECKOUT / "CHANGELOG.md", *GUIDES, *sorted((DOCS / "decisions").glob("*.md"))]
FOLDERS = ("pipeline", "spark_jobs", "model", "expectations", "dags", "tests", "benchmarks", "docs", "docker")
PLACEHOLDERS = {"VERSION": "3"}
"""What stands in a page for a value of the reader's, and a value."""
STAGES = workflow(presets.load("ml-100k"))


def pages(paths: list[Path]) -> pytest.MarkDecorator:
    names = [str(path.relative_to(CHECKOUT)) for path in paths]
    return pytest.mark.parametrize("path", paths, ids=names)


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages(PAGES)
def test_every_relative_link_leads_to_a_file_and_a_heading(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


@pages(GUIDES)
def test_every_module_named_by_its_path_exists(path):
    """A path is whole where it begins with a top folder; else it is the end of one, `suites/events.py`."""
    files = [
        str(file.relative_to(CHECKOUT)) for folder in FOLDERS for file in (CHECKOUT / folder).rglob("*.*")
    ]
    for name in set(
        re.findall(r"(?<![\w./-])((?:[\w-]+/)+[\w-]+\.(?:py|md|yaml|txt|svg))\b", path.read_text())
    ):
        whole = name.split("/")[0] in FOLDERS
        assert name in files if whole else any(file.endswith(f"/{name}") for file in files), name


@pages(GUIDES)
def test_every_command_of_the_program_parses(path):
    for line in re.findall(r"python -m pipeline( [^`#\n]*)?(?=[`#\n])", path.read_text()):
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)]
        if words and not words[0].isupper():
            parser().parse_args(words)


@pages(GUIDES)
def test_every_other_program_can_be_run(path):
    for name in set(re.findall(r"python -m (\w+\.[\w.]*\w)", path.read_text())):
        program = importlib.util.find_spec(name)
        assert program, name
        if program.submodule_search_locations:  # a package
            assert importlib.util.find_spec(f"{name}.__main__"), name


@pages(GUIDES)
def test_every_make_target_exists(path):
    makefile = (CHECKOUT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z]+)", path.read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_walkthrough_passes_every_stage_and_names_its_module():
    text = (DOCS / "walkthrough.md").read_text()
    for stage in STAGES:
        module, _, _ = stage.function.partition(":")
        assert f"`{stage.name}`" in text, stage.name
        assert f"](../{module.replace('.', '/')}.py)" in text, module


def test_the_walkthrough_passes_every_room_of_the_pipeline_but_those_of_a_machine():
    text = (DOCS / "walkthrough.md").read_text()
    rooms = {file.parent.name for file in (CHECKOUT / "pipeline").glob("*/__init__.py")} - {"setup", "local"}
    assert {room for room in rooms if f"](../pipeline/{room}" not in text} == set()


def test_the_labels_page_says_which_stage_runs_again_first():
    text = (DOCS / "labels.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| `(\w+)`", text, re.MULTILINE)
    assert [section for section, *_ in rows] == ["source", "sequences", "objective", "evaluation"]
    config = presets.load("ml-100k")
    for section, keys, stage in rows:
        assert stage == next(one.name for one in STAGES if section in one.sections), section
        assert set(re.findall(r"`(\w+)`", keys)) <= set(type(getattr(config, section)).model_fields), section


def test_the_drawing_of_a_labels_way_is_in_the_page():
    page = DOCS / "labels.md"
    assert "](labels.svg)" in page.read_text()
    drawing = (page.parent / "labels.svg").read_text()
    for word in (
        "events",
        "sequences",
        "evaluation_sequences",
        "target_positions",
        "label",
        "split",
        "cutoff",
    ):
        assert word in drawing, word
