"""Two versions in one process each run their own code, whatever else is named `model`."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.registry import served_code
from pipeline.registry.served_code import importable, package_name, renamed, write_served_code
from pipeline.settings import CHECKOUT


def test_imports_go_through_the_package():
    text = "from model.config import A\n\ndef f():\n    from expectations import tables\nimport modelling\n"
    assert renamed(text, "reprise_ab") == (
        "from reprise_ab.model.config import A\n\ndef f():\n    from reprise_ab.expectations import tables\n"
        "import modelling\n"
    )


def test_a_module_bound_by_its_bare_name_is_refused():
    with pytest.raises(ValueError, match="from package import name"):
        renamed("import model.config\n", "reprise_ab")


def test_the_name_follows_from_the_content():
    sources = {Path("model/a.py"): "x = 1\n"}
    assert package_name(sources) == package_name(dict(sources))
    assert package_name(sources) != package_name({Path("model/a.py"): "x = 2\n"})
    assert package_name(sources) != package_name({Path("model/b.py"): "x = 1\n"})


def test_the_copied_code_imports_without_the_checkout(tmp_path):
    entry, package = write_served_code(tmp_path)
    assert entry.parent == package.parent == tmp_path
    text = entry.read_text()
    assert f"from {package.name}.model.serving.scoring import Scorer" in text
    code = f"import {package.name}.model.serving.scoring as s; print(s.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.strip() == str(package / "model" / "serving" / "scoring.py")


def test_two_versions_of_the_code_live_side_by_side_and_beside_a_user_s_package(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    entry = checkout / "pipeline" / "registry" / "served_model.py"
    for number in (1, 2):
        for path, text in {
            checkout / "model" / "__init__.py": "",
            checkout
            / "model"
            / "answer.py": f"from expectations.number import NUMBER\nANSWER = 10 * NUMBER + {number}\n",
            checkout / "expectations" / "__init__.py": "",
            checkout / "expectations" / "number.py": f"NUMBER = {number}\n",
            entry: "from model.answer import ANSWER\n",
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(served_code, "CHECKOUT", checkout)
        monkeypatch.setattr(served_code, "ENTRY", entry)
        write_served_code(tmp_path / f"version {number}")
    mine = tmp_path / "mine"
    (mine / "model").mkdir(parents=True)
    (mine / "model" / "__init__.py").write_text("MINE = True\n")
    code = "\n".join(
        [
            "import runpy, sys",
            f"sys.path.insert(0, {str(mine)!r})",
            "import model",
            *(
                f"sys.path.insert(0, {str(tmp_path / f'version {number}')!r}); "
                f"print(runpy.run_path({str(tmp_path / f'version {number}' / 'served_model.py')!r})['ANSWER'])"
                for number in (1, 2)
            ),
            "print(model.MINE)",
        ]
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["11", "22", "True"]


def test_the_served_packages_are_the_ones_that_the_scorer_imports():
    for name in served_code.PACKAGES:
        assert (CHECKOUT / name / "__init__.py").is_file()
    assert served_code.ENTRY.is_file()


def test_a_package_is_importable_in_the_block_and_forgotten_after_it(tmp_path):
    package = tmp_path / "reprise_0123456789ab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    with importable(package):
        importlib.import_module(package.name)
    assert package.name not in sys.modules and str(tmp_path) not in sys.path
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(package.name)
