"""Set-up: the virtual environment, Delta's jars, and Spark's fast start."""
