"""DataFrames of a few rows that the driver already holds: file names, block offsets, rows of a log.

Spark plans them as local tables. `createDataFrame` from a list would have Python workers produce the
rows, and starting those costs two seconds in every query that reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DateType, LongType, StringType, StructType

_TYPES = {StringType(): pa.string(), LongType(): pa.int64(), DateType(): pa.date32()}


def local_rows(spark: SparkSession, rows: Sequence[tuple], ddl: str) -> DataFrame:
    """`rows` with the columns of `ddl`, in Spark's DDL form. Raises KeyError for a type other than string,
    bigint and date."""
    schema = StructType.fromDDL(ddl)
    fields = [pa.field(field.name, _TYPES[field.dataType], field.nullable) for field in schema]
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return spark.createDataFrame(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), schema)
