"""A table's files: which are small, which no version that is needed refers to.

From a table and the versions to keep to lists of files; `delta` writes and deletes. Who needs a version is not known
here. Of Delta's own vacuum only a period of time could be asked for, and registered models refer to versions of any age.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from pyspark.sql import SparkSession

from expectations.tables import TABLES, Table
from spark_jobs.lake import delta
from spark_jobs.lake.delta import DataFile

COMPACTED = tuple(table for table in TABLES.values() if "cycle" not in table.partitions)
"""Tables that grow file by file and are read whole. A cycle's partition of the others is written at once, in few files."""


def small_files(
    spark: SparkSession, lake: str, source: str, table: Table, below_bytes: int
) -> tuple[DataFile, ...]:
    """Files of the newest version that are smaller than `below_bytes`."""
    used = delta.files_of(spark, lake, source, table)
    files = delta.data_files(spark, lake, source, table)
    found = (files[name] for name in sorted(used & files.keys()))
    return tuple(file for file in found if file.size_bytes < below_bytes)


def unused_files(
    spark: SparkSession, lake: str, source: str, table: Table, kept: Collection[int], before: datetime
) -> tuple[DataFile, ...]:
    """Files that neither the newest version nor one of the `kept` refers to, last changed `before` an instant.

    Files of writes that were killed are among them. Raises TableError for a kept version that cannot be listed; of a
    table that was removed and made anew, versions that it does not have yet are nobody's.
    """
    newest = delta.latest_version(spark, lake, source, table)
    if newest is None:
        return ()
    used = set()
    for version in sorted({*kept, newest}):
        if version <= newest:
            used |= delta.files_of(spark, lake, source, table, version)
    files = delta.data_files(spark, lake, source, table)
    limit = before.timestamp() * 1000
    return tuple(
        file for name, file in sorted(files.items()) if name not in used and file.modified_ms < limit
    )
