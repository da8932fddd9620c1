"""A DataFrame of a few rows at hand: names of files, offsets of blocks, lines of a protocol.

In: tuples. Out: a DataFrame that is planned as a local table. Made from a list, as pyspark does it,
the rows would come out of Python workers, whose start costs two seconds in every query that reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import LongType, StringType, StructType

_TYPES = {StringType(): pa.string(), LongType(): pa.int64()}


def local_rows(spark: SparkSession, rows: Sequence[tuple], ddl: str) -> DataFrame:
    """`rows` with the columns of `ddl`, in Spark's DDL form; text and bigint alone, else KeyError."""
    schema = StructType.fromDDL(ddl)
    fields = [pa.field(field.name, _TYPES[field.dataType], field.nullable) for field in schema]
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return spark.createDataFrame(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), schema)
