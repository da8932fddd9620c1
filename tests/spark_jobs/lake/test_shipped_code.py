"""The zip of code for executors. Executors that have nothing else: tests/cluster/test_standalone.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from spark_jobs.lake.shipped_code import PACKAGES, ROOT, zipped


def test_equal_code_is_an_equal_zip_that_runs_alone(tmp_path):
    content = zipped(ROOT)
    copy = tmp_path / "elsewhere"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "*.j2"))
    for path in copy.rglob("*.py"):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    assert zipped(copy) == content
    (copy / "spark_jobs" / "events.py").write_text("changed\n")
    assert zipped(copy) != content

    code = tmp_path / "code.zip"
    code.write_bytes(content)
    program = (
        "import spark_jobs.landing.whole_files, spark_jobs.features.language;"
        "print(spark_jobs.landing.whole_files.__file__)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    assert answer.stdout.startswith(str(code))
