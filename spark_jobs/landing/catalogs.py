"""Tables by their names in Spark's catalogs: what kind they are, and where.

A Delta table is followed from version to version (`source_tables`). A table of Parquet, ORC or Avro files, as Hive keeps
them, has no versions: it is its files, and these are ingested as landed files are.
"""

from __future__ import annotations

from typing import TypeVar

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from spark_jobs.config import FileMapping
from spark_jobs.landing.files import LandingError, path_key
from spark_jobs.landing.listing import is_path
from spark_jobs.landing.scanning import cause

_M = TypeVar("_M", bound=FileMapping)
_OF_FILES = ("parquet", "orc", "avro")
_SESSION = "spark_catalog"
"""Name of the session's own catalog."""
_ERRORS = (PySparkException, Py4JJavaError)


def kind_and_place(spark: SparkSession, table: str) -> tuple[str, str]:
    """The kind of a catalog's table (`delta`, `parquet`, `view` …) and its folder. Raises LandingError when there is none."""
    try:
        spark._jsparkSession.sessionState().sqlParser().parseMultipartIdentifier(table)
        described = spark.sql(f"DESCRIBE TABLE EXTENDED {table}").collect()
    except _ERRORS as error:
        raise LandingError(
            f"table {table} cannot be found: {cause(error)}; name it as Spark does, catalog.schema.name, and give Spark the "
            "catalog's settings; a folder has a slash in its name (./events)"
        ) from None
    facts = {row["col_name"]: row["data_type"] for row in described}
    kind = (facts.get("Provider") or facts.get("Type") or "unknown").lower()
    if kind == "hive":
        kind = next((one for one in _OF_FILES if one in facts.get("InputFormat", "").lower()), kind)
    return kind, facts.get("Location", "")


def by_files(spark: SparkSession, mapping: _M) -> _M:
    """The mapping of a catalog's table of plain files as one of these files; any other as it is. Raises LandingError for
    a table of a kind that cannot be read."""
    if mapping.table is None or is_path(mapping.table):
        return mapping
    kind, place = kind_and_place(spark, mapping.table)
    if kind == "delta":
        return mapping
    if kind not in _OF_FILES:
        raise LandingError(
            f"table {mapping.table} is of the kind {kind}; tables of Delta, Parquet, ORC and Avro can be read: write its rows "
            "to one of these"
        )
    _refuse_scattered(spark, mapping.table, place)
    return mapping.model_copy(update={"table": None, "files": (place,), "format": kind})


def _refuse_scattered(spark: SparkSession, table: str, place: str) -> None:
    """Raises LandingError for a table with a partition outside its folder."""
    session = spark._jsparkSession.sessionState()
    converters, option = spark._jvm.scala.jdk.javaapi.CollectionConverters, spark._jvm.scala.Option
    *above, own = converters.asJava(session.sqlParser().parseMultipartIdentifier(table))
    if len(above) == 2 and above[0] != _SESSION:
        raise LandingError(
            f"table {table} is of plain files in a catalog that does not say where its partitions are: name its folder {place} "
            "as files instead"
        )
    schema = option.apply(above[-1]) if above and above != [_SESSION] else option.empty()
    name = spark._jvm.org.apache.spark.sql.catalyst.TableIdentifier(own, schema)
    try:
        if session.catalog().getTableMetadata(name).partitionColumnNames().isEmpty():
            return
        partitions = converters.asJava(session.catalog().listPartitions(name, option.empty()))
    except _ERRORS as error:
        raise LandingError(f"the partitions of table {table} cannot be listed: {cause(error)}") from None
    for partition in partitions:
        where = path_key(partition.location().toString())
        if not where.startswith(f"{path_key(place).rstrip('/')}/"):
            raise LandingError(
                f"table {table} has a partition in {where}, outside its folder {place}: name the folders as files instead"
            )
