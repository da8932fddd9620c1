"""Spark's session, and reading and writing Delta tables with it."""
