"""The commands of `make`: they exist, say what they do, and work from a folder with spaces."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from pipeline.settings import CHECKOUT

GROUPS = {
    "The environment": ["help", "setup", "clean"],
    "Cycles": ["demo", "ui", "status", "stop"],
    "Development": ["test", "check", "fix", "proof"],
}
TARGETS = [target for group in GROUPS.values() for target in group]


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        check=False, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip


def test_make_alone_prints_help_about_every_target():
    answer = make(CHECKOUT)
    assert answer.returncode == 0
    assert re.findall(r"^  make (\w+)", answer.stdout, re.MULTILINE) == TARGETS
    assert answer.stdout == make(CHECKOUT, "help").stdout


def test_help_groups_the_commands_with_an_example_each():
    text, _, exit_codes = make(CHECKOUT).stdout.partition("exit codes: ")
    heads = re.findall(r"^(\w.+?) +for example: make (\w+).*\n((?:  make .+\n)+)", text, re.MULTILINE)
    groups = {head: re.findall(r"^  make (\w+)", commands, re.MULTILINE) for head, _, commands in heads}
    assert groups == GROUPS
    assert all(example in groups[head] for head, example, _ in heads)
    assert exit_codes.startswith("0 done; 2 failed")


def test_every_target_is_phony():
    phony = re.search(r"^\.PHONY: (.+)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert phony and phony[1].split() == TARGETS


def test_a_missing_python_is_one_line():
    answer = make(CHECKOUT, "setup", "PYTHON=/nowhere/python3.11")
    assert answer.returncode != 0
    assert answer.stderr.splitlines()[0] == (
        "set-up: /nowhere/python3.11 was not found; install Python 3.11, or name it: make PYTHON=/path/to/python3.11"
    )


def test_recipes_work_from_a_folder_with_spaces(tmp_path: Path):
    # The environment's programs are small scripts that print how they were called.
    folder = tmp_path / "a folder with spaces"
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in (
        "python",
        "ruff",
        "lint-imports",
        "yamllint",
        "check-jsonschema",
        "hadolint",
        "fake-python3.11",
    ):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (programs / name).chmod(0o755)
    shutil.copy(CHECKOUT / "Makefile", folder / "Makefile")

    def lines(*arguments: str) -> list[str]:
        answer = make(folder, *arguments, f"PYTHON={programs / 'fake-python3.11'}")
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.splitlines()

    setup = ["fake-python3.11 -P pipeline/setup/environment.py", "python -m pipeline.setup.jars"]
    assert lines("setup") == setup
    assert lines("demo") == [*setup, "python -m pipeline.local.demo --source ml-100k"]
    assert lines("demo", "SOURCE=my log.toml")[-1] == "python -m pipeline.local.demo --source my log.toml"
    assert lines("test") == [*setup, "python -m pytest -n 2 --dist loadfile --no-loadscope-reorder"]
    assert lines("status") == ["python -m pipeline status"]
    assert lines("status", "SOURCE=my log.toml") == ["python -m pipeline status --source my log.toml"]
    assert lines("stop") == ["python -m pipeline.local stop"]


def test_check_changes_nothing_and_fix_does():
    text = (CHECKOUT / "Makefile").read_text()
    check, fix = (
        re.search(rf"^{name}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1] for name in ("check", "fix")
    )
    assert "--fix" not in check and "ruff format --check" in check
    assert "ruff check --fix" in fix


def test_clean_keeps_the_state(tmp_path: Path):
    shutil.copy(CHECKOUT / "Makefile", tmp_path / "Makefile")
    for name in (".venv", ".reprise", ".pytest_cache"):
        (tmp_path / name).mkdir()
    answer = make(tmp_path, "clean")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".reprise", "Makefile"]
    assert 'rm -rf ".reprise"' in answer.stdout


def test_ci_runs_check_and_test():
    lines = (CHECKOUT / ".ci" / "run").read_text().splitlines()
    assert lines[-2:] == ["make check", "make test"]
