"""Set-up: the virtual environment, the jars of Delta and Avro, and Spark's fast start."""
