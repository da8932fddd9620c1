"""Which module may import which, and which versions belong together."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.settings import CHECKOUT

FOLDERS = ("dags", "pipeline", "model", "spark_jobs", "expectations")
TESTED_ELSEWHERE = {
    "pipeline/__main__.py": "tests/pipeline/test_main.py, which pytest cannot name __main__",
    "pipeline/local/__main__.py": "tests/pipeline/local/test_main.py, likewise",
    "pipeline/registry/served_model.py": "tests/pipeline/registry/test_served_code.py: MLflow runs a copy of it",
}
"""Modules without a test file of their name, and why."""


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            yield str(path.relative_to(CHECKOUT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module, *, at_the_top: bool = False) -> set[str]:
    nodes = tree.body if at_the_top else list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def test_imports_point_one_way():
    program = Path(sys.executable).parent / "lint-imports"
    answer = subprocess.run(
        [str(program), "--no-cache", "--no-logo"], check=False, cwd=CHECKOUT, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_pyspark_and_its_client_have_one_version():
    # Both ship the package `pyspark`; the Spark provider of Airflow requires the client.
    pins = dict(
        re.findall(r"^(pyspark(?:-client)?)==(\S+)", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE)
    )
    assert set(pins) == {"pyspark", "pyspark-client"}
    assert pins["pyspark"] == pins["pyspark-client"]


def test_the_contracts_of_tables_need_the_standard_library_alone():
    (_, tree), *_ = [entry for entry in modules("expectations") if entry[0] == "expectations/tables.py"]
    assert imported(tree) <= sys.stdlib_module_names


def test_the_map_and_the_program_start_without_an_engine():
    heavy = {"pyspark", "torch", "mlflow", "great_expectations", "airflow"}
    light = (
        "pipeline/workflows/refresh_cycle.py",
        "pipeline/__main__.py",
        "pipeline/config.py",
        "pipeline/presets.py",
        "pipeline/cycle/definition.py",
    )
    for path, tree in modules("pipeline"):
        if path in light:
            assert not imported(tree, at_the_top=True) & heavy, path


def test_every_module_says_what_it_is():
    assert [path for path, tree in modules(*FOLDERS) if not ast.get_docstring(tree)] == []


def test_nothing_loaded_is_unpickled_and_no_assert_checks_input():
    unpickled, asserted = [], []
    for path, tree in modules(*FOLDERS):
        unpickled += [path] if imported(tree) & {"pickle", "cloudpickle", "dill", "joblib", "shelve"} else []
        asserted += [path] if any(isinstance(node, ast.Assert) for node in ast.walk(tree)) else []
    assert unpickled == []
    assert asserted == []


def test_every_module_has_a_test_file_of_its_name():
    missing = []
    for path, _ in modules(*FOLDERS):
        module = Path(path)
        if module.name == "__init__.py" or path in TESTED_ELSEWHERE:
            continue
        if not (CHECKOUT / "tests" / module.parent / f"test_{module.name}").is_file():
            missing.append(path)
    assert missing == []


def test_every_exception_is_still_needed():
    assert [path for path in TESTED_ELSEWHERE if not (CHECKOUT / path).is_file()] == []
