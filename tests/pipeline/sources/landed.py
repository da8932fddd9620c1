"""Tiny landed files of a packaged source, and what its mappings make of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from spark_jobs import events, items
from spark_jobs.config import EventMapping, FileMapping, SourceConfig
from spark_jobs.landing.files import find
from spark_jobs.landing.reading import read_mapped


def parquet(path: Path, *rows: dict[str, Any]) -> None:
    """Writes a Parquet file with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def mapped(
    spark: SparkSession, source: SourceConfig, mapping: FileMapping, landing: Path, *columns: str
) -> list[tuple]:
    """Some columns of every landed line in order, as the jobs read it; `problem` is None for a valid line."""
    if isinstance(mapping, EventMapping):
        expressions, check = events.mapped_expressions(source), partial(events.checked_lines, source=source)
    else:
        expressions, check = (
            items.mapped_expressions(mapping),
            partial(items.checked_lines, mapping=mapping, missing=source.missing),
        )
    files = find(spark, str(landing), mapping.files)
    lines = read_mapped(spark, files, mapping, expressions, "mapping").through(check)
    return [tuple(row) for row in lines.orderBy("line_number").select("problem", *columns).collect()]
