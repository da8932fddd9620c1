from __future__ import annotations

from pyspark.sql import functions as F

from spark_jobs.landing.cells import microseconds, shown


def test_what_json_has_no_words_for_is_shown_as_text(spark):
    rows = spark.sql("SELECT 1 AS n, struct(2 AS a) AS s, INTERVAL '3' DAY AS i")
    cells = [shown(F.col(field.name), field.dataType).alias(field.name) for field in rows.schema]
    assert (
        rows.select(F.to_json(F.struct(*cells))).first()[0] == '{"n":1,"s":{"a":2},"i":"INTERVAL \'3\' DAY"}'
    )


def test_times_in_nanoseconds_become_instants_in_structures_too(spark):
    rows = spark.sql("SELECT named_struct('t', 1999L, 'n', 1999L) AS s UNION ALL SELECT NULL")
    value = microseconds(F.col("s"), rows.schema["s"].dataType, ("s",), frozenset({("s", "t")}))
    found = rows.select(F.unix_micros(value.getField("t")), value.getField("n")).collect()
    assert [tuple(row) for row in found] == [(1, 1999), (None, None)]
