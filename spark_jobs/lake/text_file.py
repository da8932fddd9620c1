"""A small text file in the lake, replaced in one step: in a folder by rename, elsewhere by the store's own means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from expectations.files import write_atomically
from spark_jobs.lake.object_store import S3_SCHEMES, scheme_of


def replace_text(spark: SparkSession, address: str, text: str) -> None:
    """Replaces the content of the file at a path or URI; readers see the old content or the new, never a part."""
    if not re.match(r"\w[\w+.-]*:/", address):
        write_atomically(Path(address), text, mode=0o644)
        return
    hadoop = spark._jvm.org.apache.hadoop.fs
    path = hadoop.Path(address)
    system, parent = path.getFileSystem(spark._jsc.hadoopConfiguration()), path.getParent()
    if scheme_of(address) in S3_SCHEMES:  # an object is replaced whole, and a rename is a copy
        _write(system, path, text)
        return
    temporary = hadoop.Path(parent, f".{path.getName()}.new")
    system.mkdirs(parent)
    _write(system, temporary, text)
    # Of the file system itself, `rename` refuses to replace a file.
    overwrite = spark.sparkContext._gateway.new_array(hadoop.Options.Rename, 1)
    overwrite[0] = hadoop.Options.Rename.OVERWRITE
    context = hadoop.FileContext.getFileContext(path.toUri(), spark._jsc.hadoopConfiguration())
    context.rename(temporary, path, overwrite)


def _write(system: Any, path: Any, text: str) -> None:
    stream = system.create(path, True)
    try:
        stream.write(bytearray(text.encode()))
    finally:
        stream.close()
