"""The code that executors on other machines need, sent to them as a zip.

Executors find functions by the names of their modules. The zip holds the packages that they import, without data files,
and is the same to the byte for the same code, so that equal names are equal contents. Third-party packages are not in it: the
workers' Python must have them.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from pyspark import SparkFiles
from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("expectations", "spark_jobs")
"""What a function that an executor runs may import of this project."""


def ship(spark: SparkSession) -> None:
    """Sends the code to every executor of the session, those that come later included; once a session."""
    content = zipped(ROOT)
    name = f"reprise-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if os.path.exists(SparkFiles.get(name)):
        return
    folder = Path(tempfile.mkdtemp(prefix="reprise-code-"))
    # The driver serves the file for as long as executors may come.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / name).write_bytes(content)
    spark.sparkContext.addPyFile(str(folder / name))
    # Spark put it before the checkout, whose modules have data files beside them.
    sys.path[:] = [entry for entry in sys.path if os.path.basename(entry) != name]


def zipped(root: Path) -> bytes:
    """The modules of `PACKAGES` below a folder."""
    paths = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    buffer = io.BytesIO()
    # Not compressed, since what a compressor writes depends on its version.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(paths):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()
