"""Spark jobs, one module per table it writes: pure transforms and a `main(spark, job)`."""
