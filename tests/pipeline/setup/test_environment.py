from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.setup import environment
from pipeline.setup.environment import SetupError


def java_of_version(folder: Path, version: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    program.chmod(0o755)
    return folder


def test_java_17_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(java_of_version(tmp_path / "jdk", "17.0.15")))
    environment.check_java()


@pytest.mark.parametrize("version", ["11.0.2", "21.0.1", "1.8.0_392"])
def test_another_java_is_refused(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(java_of_version(tmp_path / "jdk", version)))
    with pytest.raises(SetupError, match=r"is Java \d+, Spark 4.1 needs Java 17; install Java 17"):
        environment.check_java()


def test_a_missing_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SetupError, match="Java was not found at .*; install Java 17"):
        environment.check_java()


def test_a_nearly_full_disk_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 2**20))
    with pytest.raises(SetupError, match="has 5 MB left; free 9000 MB"):
        environment.check_disk(Path("/"), environment.NEEDED_MEGABYTES)


def test_another_python_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment.sys, "version_info", (3, 13, 1))
    with pytest.raises(
        SetupError, match=r"this is Python 3.13; install Python 3.11, or name it: make PYTHON="
    ):
        environment.check_python()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "error: Failed to fetch: `a/simple/torch/`\n  Caused by: dns error",
            "the first set-up needs the network",
        ),
        ("ERROR: Could not find a version that satisfies uv==0.13.9", "the first set-up needs the network"),
        ("error: failed to copy: No space left on device (os error 28)", "the disk is full; free 9000 MB"),
        ("error: hash mismatch for torch", "error: hash mismatch for torch"),
    ],
)
def test_the_error_of_a_failed_step_is_one_line(output: str, message: str, capfd: pytest.CaptureFixture[str]):
    script = "import sys; sys.stderr.write(sys.argv[1] + '\\n'); sys.exit(2)"
    with pytest.raises(SetupError) as problem:
        environment._run([sys.executable, "-c", script, output])
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)
    assert capfd.readouterr().err == output + "\n"


def test_an_environment_is_out_of_date_when_its_constraints_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("CONSTRAINTS", "INSTALLER", "STAMP"):
        monkeypatch.setattr(environment, name, tmp_path / name)
    environment.CONSTRAINTS.write_text("numpy==2.4.6")
    environment.INSTALLER.write_text("uv==0.13.9")
    assert not environment.is_made()
    environment.STAMP.write_text(environment.digest())
    assert environment.is_made()
    environment.CONSTRAINTS.write_text("numpy==2.4.7")
    assert not environment.is_made()


def test_it_needs_the_standard_library_alone(tmp_path: Path):
    variables = {**os.environ, "JAVA_HOME": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-P", environment.__file__],
        check=False, env=variables, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 1
    assert answer.stderr.startswith("set-up: Java was not found") and answer.stderr.count("\n") == 1


def test_everything_is_pinned_and_hashed():
    for path in (environment.CONSTRAINTS, environment.INSTALLER):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert lines
        assert [line for line in lines if "==" not in line or "--hash=sha256:" not in line] == []
