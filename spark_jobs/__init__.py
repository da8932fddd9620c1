"""Spark jobs, one module per table: pure transforms, and a `main(spark, job)` that reads and writes."""
