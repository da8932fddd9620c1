"""Spark's session and its Delta tables."""
